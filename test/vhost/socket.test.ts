/** net_vhost on real sockets with well-behaved peers: files, modes, life and death of the port itself. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { ControlPlane } from '../../src/drivers/vhost/control.js';
import { SocketChannel } from '../../src/drivers/vhost/socket.js';
import { Port } from '../../src/index.js';
import { FrontEndSession } from '../../src/vhost/frontend.js';
import { GUEST_BYTES, PlainPeer, pack, regionBytes, USER_BASE, until } from './plain-peer.js';
import { cannotRun, holdings, openRig } from './socket-rig.js';

t.test('sockets', { skip: cannotRun }, async (t) => {
  const rig = await openRig(t);
  const { os } = rig;

  t.test('a guest comes, sends, is notified, pauses, goes', async (t) => {
    const first = await rig.port(0);
    const asBefore = holdings(rig);
    const states: string[] = [];
    first.port.on('queueState', ({ direction, queue, enabled }) => states.push(`${direction}${queue} ${enabled}`));
    const peer = PlainPeer.connect(os, first.path);
    await peer.goLive();
    await until('link up', () => first.link() === 'up');
    t.strictSame(states, ['tx0 true', 'rx0 true']);
    t.equal(first.port.link().up, true);
    const { driverInfo } = first.port.info();
    t.match(driverInfo, { mode: 'server', connected: true, memoryRegions: 1, memoryMiB: 2 });
    t.match(driverInfo.features, /VIRTIO_F_VERSION_1/);
    for (const fill of [1, 2, 3]) peer.transmit(fill);
    t.strictSame(first.receive(), [1, 2, 3]);
    t.equal(peer.used(1), 3);
    peer.send(18, pack([4, 1], [4, 0]));
    await until('link down', () => first.link() !== 'up');
    peer.transmit(4);
    t.strictSame(first.receive(), [], 'F19: what a disabled ring sends is not received');
    t.equal(peer.used(1), 4, 'F19: but taken, and thrown away');
    t.equal(first.port.xstats().find(({ name }) => name === 'rx_q0_drop_disabled')?.value, 1);
    peer.send(18, pack([4, 1], [4, 1]));
    await until('link up again', () => first.link() === 'up');
    t.strictSame(first.receive(), []);
    peer.transmit(5);
    t.strictSame(first.receive(), [5]);
    peer.send(11, pack([4, 1], [4, 0]));
    const base = await peer.reply();
    t.strictSame([...base.payload], [1, 0, 0, 0, 5, 0, 0, 0], 'next available entry');
    await until('link down', () => first.link() === 'the front end stopped vring 1');
    peer.die();
    await asBefore();
    await until('told', () => first.port.info().driverInfo.connected === false);
    const gone = { connected: false, features: 'not connected', memoryRegions: 0, memoryMiB: 0 };
    t.match(first.port.info().driverInfo, gone, 'nothing of the guest is left');
    await first.port.close();
    t.notOk(existsSync(first.path), 'the socket file is gone');
  });

  t.test('memory slots and acknowledgements, as QEMU 7.2 uses them', async (t) => {
    const one = await rig.port(0);
    const peer = PlainPeer.connect(os, one.path);
    await peer.negotiate();
    t.equal(await peer.ask(36), 64n);
    const half = BigInt(GUEST_BYTES / 2);
    for (const n of [0n, 1n]) {
      const region = regionBytes(n * half, half, USER_BASE + n * half, n * half);
      peer.send(37, Buffer.concat([pack([8, 0]), region]), [peer.memory], 1 | 8);
      t.equal((await peer.reply()).payload.readBigUInt64LE(0), 0n);
    }
    peer.startVring(0);
    peer.startVring(1);
    await until('link up', () => one.link() === 'up');
    t.equal(rig.eal.windows.count, 2);
    peer.transmit(9);
    await peer.settled();
    t.strictSame(one.receive(), [9], 'ring in one region, buffer in the other');
    // The region with the rings goes, with a stray descriptor that is to be closed, and comes back.
    const first = Buffer.concat([pack([8, 0]), regionBytes(0n, half, USER_BASE, 0n)]);
    peer.send(38, first, [peer.memory]);
    await until('link down', () => one.link() !== 'up');
    t.equal(rig.eal.windows.count, 1);
    peer.transmit(10);
    t.strictSame(one.receive(), []);
    peer.send(37, first, [peer.memory]);
    await until('link up', () => one.link() === 'up');
    t.strictSame(one.receive(), [10]);
    await one.port.close();
    await until('thrown out', () => peer.closed);
    t.equal(rig.eal.windows.count, 0);
    peer.die();
  });

  t.test('a stale socket file is replaced, a live one and another file are not', async (t) => {
    const path = rig.path('0.sock');
    os.close(os.unixListen(path));
    t.ok(existsSync(path), 'a dead process left it');
    const one = await rig.port(0);
    await t.rejects(Port.probe(rig.eal, `net_vhost1,iface=${path}`), { code: 'ERR_SOCKET_IN_USE', message: /listens/ });
    await one.port.close();
    writeFileSync(path, 'precious');
    await t.rejects(Port.probe(rig.eal, `net_vhost1,iface=${path}`), {
      code: 'ERR_SOCKET_IN_USE',
      message: /no socket/,
    });
    await t.rejects(Port.probe(rig.eal, `net_vhost1,iface=${rig.path('no/such/dir')}`), {
      code: 'ERR_SYSCALL',
      message:
        /port \d+ \(net_vhost1\): cannot listen on .*no\/such\/dir \(ENOENT\): the directory .*no\/such does not exist: make it \(mkdir -p .*no\/such\), or choose another path/,
    });
    await t.rejects(Port.probe(rig.eal, `net_vhost1,iface=/tmp/${'x'.repeat(120)}`), { code: 'ERR_INVALID_ARGUMENT' });
  });

  t.test("closing removes only the socket's own file", async (t) => {
    const one = await rig.port(2);
    const { unlinkSync } = await import('node:fs');
    unlinkSync(one.path);
    const other = os.unixListen(one.path);
    await one.port.close();
    t.ok(existsSync(one.path));
    os.close(other);
  });

  t.test('client=1 goes on connecting: before the listener is there, and after it went', async (t) => {
    const path = rig.path('3.sock');
    const asBefore = holdings(rig);
    const one = await rig.port(3, ',client=1');
    await until('a warning', () => rig.warnings().some((line) => /cannot connect to .* yet \(ENOENT\)/.test(line)));
    for (let life = 0; life < 2; life++) {
      const listener = os.unixListen(path);
      let fd = -1;
      await until('a connection', () => {
        fd = os.accept(listener);
        return fd >= 0;
      });
      const peer = new PlainPeer(os, fd);
      await peer.goLive();
      await until('link up', () => one.link() === 'up');
      peer.transmit(5);
      t.strictSame(one.receive(), [5]);
      os.close(listener);
      (await import('node:fs')).unlinkSync(path);
      peer.die();
      await until('link down', () => one.link() !== 'up');
    }
    await one.port.close();
    await asBefore();
  });

  t.test('F14: the memory file is sealed against shrinking; one that cannot be is warned of', async (t) => {
    const one = await rig.port(4);
    const peer = PlainPeer.connect(os, one.path);
    await peer.goLive();
    const { ftruncateSync, openSync, closeSync } = await import('node:fs');
    t.throws(() => ftruncateSync(peer.memory, 0), { code: 'EPERM' });
    const plain = rig.path('plain');
    writeFileSync(plain, Buffer.alloc(0x1000));
    const fd = openSync(plain, 'r+');
    rig.warnings();
    peer.send(5, Buffer.concat([pack([4, 1], [4, 0]), regionBytes(0n, 0x1000n, USER_BASE, 0n)]), [fd]);
    closeSync(fd);
    await peer.settled();
    await until('a warning', () => rig.warnings().some((line) => /net_vhost4: .*cannot be sealed/.test(line)));
    peer.die();
    await one.port.close();
  });

  t.test('our own front end against our own back end, over a socket', async (t) => {
    const asBefore = holdings(rig);
    const one = await rig.port(5);
    const channel = new SocketChannel(os, os.unixConnect(one.path));
    const control = ControlPlane.of(rig.eal);
    const front = new FrontEndSession(channel, (timeoutMs) => control.readable(channel.fd, timeoutMs));
    const link = await front.negotiate(1n << 32n);
    t.strictSame([link.features, link.queuePairs, link.memorySlots], [1n << 32n, 1, 64]);
    const memory = os.memfdCreate('front', GUEST_BYTES);
    const whole = { guestAddress: 0n, userAddress: USER_BASE, size: BigInt(GUEST_BYTES), mmapOffset: 0n, fd: memory };
    await front.shareMemory([whole]);
    const at = (offset: number): bigint => USER_BASE + BigInt(offset);
    for (const index of [0, 1]) {
      const ring = { size: 64, desc: at(0x1000), avail: at(0x2000), used: at(0x3000), base: 0, kickFd: -1, callFd: -1 };
      await front.startVring(index, ring);
      await front.enableVring(index, true);
    }
    await front.driverOk();
    await until('link up', () => one.link() === 'up');
    t.equal(await front.stopVring(1), 0);
    t.ok(front.alive());
    const ended = control.readable(channel.fd, 2000);
    await one.port.close();
    t.equal(await ended, true, 'the end of the connection is something to read');
    t.notOk(front.alive());
    t.equal(await control.readable(channel.fd, 1000), true);
    front.close();
    os.close(memory);
    const left = os.eventfd();
    t.equal(await control.readable(left, 5), false, 'nothing to read in time');
    os.close(left);
    await asBefore();
  });

  t.test('devargs: what is not there is refused by name', async (t) => {
    const probe = (args: string) => Port.probe(rig.eal, `net_vhost9,iface=${rig.path('9.sock')}${args}`);
    for (const key of ['linear-buffer', 'postcopy-support', 'iommu-support', 'dequeue-zero-copy']) {
      await t.rejects(probe(`,${key}=1`), { code: 'ERR_DEVARGS', message: new RegExp(`${key}=1`) }, key);
    }
    await t.rejects(probe(',queues=0'), { code: 'ERR_DEVARGS' });
    await t.rejects(Port.probe(rig.eal, 'net_vhost9'), { code: 'ERR_DEVARGS', message: /iface/ });
    const taken = ',queues=2,client=0,tso=0,legacy-ol-flags=1,ext-buffer=1,mtu=1500,iommu-support=0';
    const port = await probe(taken);
    const peer = PlainPeer.connect(os, rig.path('9.sock'));
    t.equal((await peer.ask(1)) & 8n, 8n, 'VIRTIO_NET_F_MTU');
    await peer.negotiate();
    t.equal(await peer.ask(17), 2n, 'queue pairs');
    peer.die();
    await port.close();
  });
});

t.test('a process that ends without closing its port', { skip: cannotRun }, async (t) => {
  const rig = await openRig(t);
  const child = fileURLToPath(new URL('./exit-child.js', import.meta.url));
  const run = async (how: string): Promise<{ code: number | null; left: boolean }> => {
    const path = rig.path(`${how}.sock`);
    const [code] = await once(spawn(process.execPath, [child, path, how], { stdio: 'ignore' }), 'exit');
    return { code: code as number | null, left: existsSync(path) };
  };
  const [exit, thrown, cleanup, kill] = await Promise.all(['exit', 'throw', 'cleanup', 'kill'].map(run));
  t.strictSame(exit, { code: 7, left: false });
  t.strictSame(thrown, { code: 1, left: false });
  t.strictSame(cleanup, { code: 0, left: false });
  t.strictSame(kill, { code: null, left: true }, 'the next one replaces the file');
});
