/**
 * net_virtio_user against net_vhost of the same process: the two sides of real virtqueues, negotiated by the two vhost-user
 * sessions, in process (inproc:) and, where the operating system is at hand, over a UNIX socket.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import t from 'tap';
import { Burst, Eal, type Logger, MbufView, Mempool, Port, silentLogger } from '../../src/index.js';
import { openPort } from '../support/ports.js';

const HAS_OS = await (async () => {
  const eal = await Eal.init({ memoryMiB: 16 });
  const has = eal.os !== undefined;
  await eal.cleanup();
  return has;
})();

interface Lab {
  readonly eal: Eal;
  readonly mempool: Mempool;
  readonly burst: Burst;
  readonly m: MbufView;
}

async function openLab(t: Test, count = 2047): Promise<Lab> {
  const eal = await Eal.init({ memoryMiB: 32, logger: silentLogger });
  t.teardown(() => eal.cleanup());
  const mempool = Mempool.createPktmbuf(eal, { name: 'packets', count, cacheSize: 0 });
  return { eal, mempool, burst: Burst.create(eal, 64), m: new MbufView(eal) };
}

const open = ({ eal, mempool }: Lab, vdev: string, queues = 1): Promise<Port> => openPort(eal, mempool, vdev, queues);

/** Waits for the link. The event may have come already. */
async function linkIs(port: Port, up: boolean): Promise<void> {
  if (port.link().up === up) return;
  const alive = setInterval(() => {}, 1000);
  await new Promise<void>((resolve) => {
    if (up) port.once('linkUp', resolve);
    else port.once('linkDown', () => resolve());
  });
  clearInterval(alive);
}

/** A frame of `length` bytes whose every byte follows from its number. */
function fill({ m }: Lab, number: number, length: number): void {
  m.append(length);
  m.setU32(0, number);
  for (let i = 4; i < length; i++) m.setU8(i, (number * 7 + i) & 0xff);
}

function intact({ m }: Lab, number: number, length: number): boolean {
  if (m.u32(0) !== number || m.pktLen !== length) return false;
  for (let i = 4; i < length; i++) if (m.u8(i) !== ((number * 7 + i) & 0xff)) return false;
  return true;
}

const lengthOf = (number: number): number => 60 + ((number * 37) % 1455);

/** Sends `total` frames from one queue to the other's, both polled by turns; every one must arrive whole and in order. */
function pour(lab: Lab, from: Port, to: Port, total: number, queue = 0): { received: number; broken: number } {
  const { mempool, burst, m } = lab;
  let [sent, received, broken] = [0, 0, 0];
  for (let turn = 0; turn < total * 4 && received < total; turn++) {
    // a guest's transmit ring gets its descriptors back when it sends, its receive ring its buffers when it receives
    from.rxBurst(queue, burst, 0);
    const want = Math.min(16, total - sent);
    if (want > 0 && mempool.allocBulk(burst, want)) {
      for (let i = 0; i < want; i++) {
        m.at(burst.handles[i]!);
        fill(lab, sent + i, lengthOf(sent + i));
      }
      const took = from.txBurst(queue, burst, want);
      burst.free(took, want);
      sent += took;
    }
    const got = to.rxBurst(queue, burst, 32);
    for (let i = 0; i < got; i++) {
      m.at(burst.handles[i]!);
      if (!intact(lab, received + i, lengthOf(received + i))) broken++;
    }
    burst.free(0, got);
    received += got;
  }
  return { received, broken };
}

function places(t: Test): string[] {
  const all = ['inproc:vm0'];
  if (HAS_OS) {
    const folder = mkdtempSync(join(tmpdir(), 'viaduct-pair-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    all.push(join(folder, 'vm0.sock'));
  }
  return all;
}

t.test('frames of mixed lengths, both ways, whole and in order', async (t) => {
  for (const place of places(t)) {
    for (const guestArgs of ['', ',mrg_rxbuf=0', ',queue_size=32', ',queue_size=1024']) {
      const lab = await openLab(t);
      const host = await open(lab, `net_vhost0,iface=${place}`);
      const guest = await open(lab, `net_virtio_user0,path=${place}${guestArgs}`);
      await Promise.all([linkIs(host, true), linkIs(guest, true)]);
      const label = `${place.startsWith('inproc') ? 'inproc' : 'socket'}${guestArgs}`;
      t.same(pour(lab, guest, host, 1000), { received: 1000, broken: 0 }, `${label}: guest to host`);
      t.same(pour(lab, host, guest, 1000), { received: 1000, broken: 0 }, `${label}: host to guest`);
      t.match(host.stats(), { ipackets: 1000, opackets: 1000, ierrors: 0, oerrors: 0 }, label);
      t.match(guest.stats(), { ipackets: 1000, opackets: 1000, ierrors: 0, oerrors: 0 }, label);
      t.equal(host.stats().ibytes, guest.stats().obytes, label);
      await guest.close();
      await host.close();
      t.equal(lab.mempool.inUseCount, 0, `${label}: every mbuf is back`);
      await lab.eal.cleanup();
    }
  }
});

t.test('what the back end sends at once arrives, though the guest has not polled yet', async (t) => {
  for (const place of places(t)) {
    for (const guestArgs of ['', ',packed_vq=1']) {
      const lab = await openLab(t);
      const { mempool, burst, m } = lab;
      const host = await open(lab, `net_vhost0,iface=${place},queues=2`, 2);
      const guest = await open(lab, `net_virtio_user0,path=${place},queues=2${guestArgs}`, 2);
      const label = `${place.startsWith('inproc') ? 'inproc' : 'socket'}${guestArgs}`;
      await Promise.all([linkIs(host, true), linkIs(guest, true)]);
      for (const queue of [0, 1]) {
        t.ok(mempool.allocBulk(burst, 64));
        for (let i = 0; i < 64; i++) fill({ ...lab, m: m.at(burst.handles[i]!) }, i, lengthOf(i));
        const sent = host.txBurst(queue, burst, 64);
        burst.free(sent, 64);
        t.equal(sent, 64, `${label}: queue ${queue} has buffers`);
      }
      for (const queue of [0, 1]) {
        const got = guest.rxBurst(queue, burst, 64);
        let whole = 0;
        for (let i = 0; i < got; i++) if (intact({ ...lab, m: m.at(burst.handles[i]!) }, i, lengthOf(i))) whole++;
        burst.free(0, got);
        t.equal(whole, 64, `${label}: queue ${queue} delivers them all`);
      }
      await guest.close();
      await host.close();
      t.equal(mempool.inUseCount, 0, `${label}: every mbuf is back`);
      await lab.eal.cleanup();
    }
  }
});

t.test('what was negotiated is told', async (t) => {
  const lab = await openLab(t);
  const guest = await open(lab, 'net_virtio_user0,path=inproc:vm0,mac=02:00:00:00:00:77');
  t.equal(guest.macAddress, '02:00:00:00:00:77');
  t.equal(guest.info().driverInfo.features, 'none yet');
  const host = await open(lab, 'net_vhost0,iface=inproc:vm0');
  await Promise.all([linkIs(host, true), linkIs(guest, true)]);
  const features = String(guest.info().driverInfo.features).split(' ');
  t.ok(features.includes('VIRTIO_F_VERSION_1'));
  t.ok(features.includes('VIRTIO_RING_F_EVENT_IDX'));
  t.ok(features.includes('VIRTIO_NET_F_MRG_RXBUF'));
});

t.test('speed is the speed of the link, in Mbit/s', async (t) => {
  const lab = await openLab(t);
  const guest = await open(lab, 'net_virtio_user0,path=inproc:vm0,speed=25000');
  t.equal(guest.link().speedMbps, 0, 'while it is down there is none');
  await open(lab, 'net_vhost0,iface=inproc:vm0');
  await linkIs(guest, true);
  t.equal(guest.link().speedMbps, 25_000);
});

t.test('two queue pairs are two virtqueues each way', async (t) => {
  const lab = await openLab(t);
  const guest = await open(lab, 'net_virtio_user0,path=inproc:vm0,queues=2', 2);
  const host = await open(lab, 'net_vhost0,iface=inproc:vm0,queues=2', 2);
  await Promise.all([linkIs(host, true), linkIs(guest, true)]);
  for (const queue of [0, 1]) {
    t.same(pour(lab, guest, host, 200, queue), { received: 200, broken: 0 });
    t.same(pour(lab, host, guest, 200, queue), { received: 200, broken: 0 });
  }
  t.same(host.stats().queueIpackets, [200, 200]);
});

t.test('either side may go and come back', async (t) => {
  for (const place of places(t)) {
    const lab = await openLab(t);
    let host = await open(lab, `net_vhost0,iface=${place}`);
    let guest = await open(lab, `net_virtio_user0,path=${place}`);
    const openFds = () => lab.eal.os?.openDescriptorCount();
    let before: number | undefined;
    for (let round = 0; round < 6; round++) {
      await Promise.all([linkIs(host, true), linkIs(guest, true)]);
      t.same(pour(lab, guest, host, 100), { received: 100, broken: 0 });
      t.same(pour(lab, host, guest, 100), { received: 100, broken: 0 });
      if (round % 2 === 0) {
        await guest.close();
        await linkIs(host, false);
        t.equal(lab.mempool.inUseCount, 0);
        // the back end's thread closes its descriptors at its own time
        before ??= openFds();
        for (let turn = 0; turn < 200 && openFds()! > before!; turn++) await new Promise((end) => setTimeout(end, 5));
        t.notOk(openFds()! > before!, 'no descriptor is left behind');
        guest = await open(lab, `net_virtio_user0,path=${place}`);
      } else {
        await host.close();
        await linkIs(guest, false);
        t.equal(lab.mempool.inUseCount, 0, 'a guest whose back end went away holds no mbufs');
        t.equal(guest.txBurst(0, lab.burst, 1), 0);
        host = await open(lab, `net_vhost0,iface=${place}`);
      }
    }
    await lab.eal.cleanup();
  }
});

t.test('stop and start; stopped while nobody is there; closed in the middle of the dialogue', async (t) => {
  for (const place of places(t)) {
    const lab = await openLab(t);
    const guest = await open(lab, `net_virtio_user0,path=${place}`);
    await guest.stop();
    await guest.start();
    const host = await open(lab, `net_vhost0,iface=${place}`);
    await Promise.all([linkIs(host, true), linkIs(guest, true)]);
    await guest.stop();
    t.equal(guest.link().up, false);
    await guest.start();
    await Promise.all([linkIs(host, true), linkIs(guest, true)]);
    t.same(pour(lab, guest, host, 50), { received: 50, broken: 0 });
    for (let turns = 0; turns < 20; turns++) {
      await guest.stop();
      await guest.start();
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
    }
    await guest.close();
    t.equal(lab.mempool.inUseCount, 0);
    await lab.eal.cleanup();
  }
});

t.test(
  'server=1: the guest listens',
  { skip: HAS_OS ? false : 'needs koffi on Linux: npm install koffi' },
  async (t) => {
    const place = places(t)[1]!;
    const lab = await openLab(t);
    const guest = await open(lab, `net_virtio_user0,path=${place},server=1`);
    let host = await open(lab, `net_vhost0,iface=${place},client=1`);
    for (let round = 0; round < 3; round++) {
      await Promise.all([linkIs(host, true), linkIs(guest, true)]);
      t.same(pour(lab, guest, host, 100), { received: 100, broken: 0 });
      await host.close();
      await linkIs(guest, false);
      host = await open(lab, `net_vhost0,iface=${place},client=1`);
    }
    const second = await Port.probe(lab.eal, `net_virtio_user1,path=${place},server=1`);
    second.configure({ rxQueueCount: 1, txQueueCount: 1 });
    second.rxQueueSetup(0, { mempool: lab.mempool });
    second.txQueueSetup(0);
    const zones = lab.eal.memzones.list().length;
    await t.rejects(second.start(), { code: 'ERR_SOCKET_IN_USE' });
    t.equal(lab.eal.memzones.list().length, zones, 'a start that fails leaves nothing behind');
  },
);

t.test('what it cannot do is refused by name', async (t) => {
  const lab = await openLab(t);
  const probe = (args: string) => Port.probe(lab.eal, `net_virtio_user0${args}`);
  await t.rejects(probe(''), { code: 'ERR_DEVARGS', message: /argument 'path' is missing/ });
  await t.rejects(probe(',path=inproc:a,packed_vq=2'), { message: /packed_vq=2/ });
  await t.rejects(probe(',path=inproc:a,queue_size=100'), { message: /'queue_size=100' must be a power of two/ });
  await t.rejects(probe(',path=inproc:a,queue_size=65536'), { message: /from 32 to 32768/ });
  await t.rejects(probe(',path=inproc:'), { message: /a name must follow inproc:/ });
  const port = await probe(',path=inproc:a,vectorized=1,queues=4');
  t.throws(() => port.configure({ rxQueueCount: 2, txQueueCount: 1 }), {
    message: /^port \d+ \(net_virtio_user\d*\): 2 rx and 1 tx queues: virtqueues come in pairs/,
  });
  port.configure({ rxQueueCount: 1, txQueueCount: 1 });
  port.rxQueueSetup(0, { mempool: lab.mempool });
  port.txQueueSetup(0);
  await port.start();
  const rival = await Port.probe(lab.eal, 'net_virtio_user1,path=inproc:a');
  rival.configure({ rxQueueCount: 1, txQueueCount: 1 });
  rival.rxQueueSetup(0, { mempool: lab.mempool });
  rival.txQueueSetup(0);
  await t.rejects(rival.start(), { code: 'ERR_SOCKET_IN_USE', message: /has a frontend already, net_virtio_user0/ });
});

t.test('more queue pairs than the back end has: the link stays down and the log says why', async (t) => {
  const lines: string[] = [];
  const logger: Logger = {
    log: (level, who, what) => {
      if (level === 'warning') lines.push(`${who}: ${what}`);
    },
  };
  const eal = await Eal.init({ memoryMiB: 32, logger });
  t.teardown(() => eal.cleanup());
  const mempool = Mempool.createPktmbuf(eal, { name: 'packets', count: 1023, cacheSize: 0 });
  const lab = { eal, mempool, burst: Burst.create(eal, 8), m: new MbufView(eal) };
  const host = await open(lab, 'net_vhost0,iface=inproc:vm0,queues=1');
  const guest = await open(lab, 'net_virtio_user0,path=inproc:vm0,queues=2', 2);
  for (let turn = 0; turn < 200 && lines.length === 0; turn++) await new Promise((resolve) => setTimeout(resolve, 5));
  t.match(
    lines.join('\n'),
    /^net_virtio_user0: the back end has 1 queue pairs, but the port is configured with 2: configure it with 1, or give the back end 2 \(net_vhost: queues=2\)/,
  );
  t.equal(guest.link().up, false);
  t.equal(host.link().up, false);
});

t.test('cleanup with everything running ends quietly', async (t) => {
  for (const place of places(t)) {
    const lines: string[] = [];
    const eal = await Eal.init({ memoryMiB: 32, logger: { log: (...words) => lines.push(words.join(' ')) } });
    const mempool = Mempool.createPktmbuf(eal, { name: 'packets', count: 1023, cacheSize: 0 });
    const lab = { eal, mempool, burst: Burst.create(eal, 32), m: new MbufView(eal) };
    await open(lab, 'net_null0');
    const host = await open(lab, `net_vhost0,iface=${place}`);
    const guest = await open(lab, `net_virtio_user0,path=${place}`);
    await Promise.all([linkIs(host, true), linkIs(guest, true)]);
    t.same(pour(lab, guest, host, 50), { received: 50, broken: 0 });
    const reasons: string[] = [];
    guest.on('linkDown', (reason) => reasons.push(reason));
    lines.length = 0;
    await eal.cleanup();
    t.same(reasons, ['net_virtio_user0 was stopped'], 'the guest gave notice before its means were gone');
    t.same(
      lines.filter((line) => /^(warning|error)/.test(line)),
      [],
    );
  }
});

t.test('100 open and close cycles leave nothing behind', async (t) => {
  const lab = await openLab(t);
  let zones: string[] | undefined;
  for (let cycle = 0; cycle < 100; cycle++) {
    const host = await open(lab, 'net_vhost0,iface=inproc:vm0');
    const guest = await open(lab, 'net_virtio_user0,path=inproc:vm0');
    await Promise.all([linkIs(host, true), linkIs(guest, true)]);
    const { received } = pour(lab, guest, host, 5);
    if (received !== 5) throw new Error(`cycle ${cycle}: ${received} of 5 arrived`);
    // packets that are on their way when a side goes
    if (lab.mempool.allocBulk(lab.burst, 8)) {
      for (let i = 0; i < 8; i++) lab.m.at(lab.burst.handles[i]!).append(60);
      const sent = guest.txBurst(0, lab.burst, 8);
      lab.burst.free(sent, 8);
    }
    for (const port of cycle % 2 === 0 ? [host, guest] : [guest, host]) await port.close();
    if (lab.mempool.inUseCount !== 0) throw new Error(`cycle ${cycle}: ${lab.mempool.inUseCount} mbufs lost`);
    const now = lab.eal.memzones.list().map((zone) => zone.name);
    zones ??= now;
  }
  t.same(
    lab.eal.memzones.list().map((zone) => zone.name),
    zones,
  );
});
