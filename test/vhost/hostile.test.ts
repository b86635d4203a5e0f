/** Hostile front ends on real sockets: each is thrown out by name, leaves nothing behind, and disturbs nobody. */
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { GUEST_BYTES, PlainPeer, pack, regionBytes, tableBytes, USER_BASE, until } from './plain-peer.js';
import { cannotRun, holdings, openRig, type Rig, type RigPort, stillForwards } from './socket-rig.js';

const SIZE = BigInt(GUEST_BYTES);
const good = regionBytes(0n, SIZE, USER_BASE, 0n);

t.test('hostile front ends', { skip: cannotRun }, async (t) => {
  const rig: Rig = await openRig(t);
  const victim: RigPort = await rig.port(0);
  const other: RigPort = await rig.port(1);
  const bystander = PlainPeer.connect(rig.os, other.path);
  await bystander.goLive();
  await until('the other link', () => other.link() === 'up');
  t.teardown(() => bystander.die());

  /** The peer does `attack`; it must be thrown out with a message that matches, and nothing of it may stay. */
  async function thrownOut(t: Test, message: RegExp, attack: (peer: PlainPeer) => unknown) {
    const asBefore = holdings(rig);
    const peer = PlainPeer.connect(rig.os, victim.path);
    await peer.negotiate();
    await attack(peer);
    await until(`thrown out: ${message}`, () => peer.closed);
    peer.die();
    await asBefore();
    const reason = (): string => String(victim.port.info().driverInfo.lastDisconnect);
    await until(`${message} and not ${reason()}`, () => message.test(reason()));
    t.pass(reason());
    await stillForwards(t, other, bystander);
  }

  t.test('F1: region of size 0, past its file, unaligned, wrapping, or larger than the address space', async (t) => {
    const regions: [RegExp, Buffer][] = [
      [/SET_MEM_TABLE: region 0 size is 0/, regionBytes(0n, 0n, USER_BASE, 0n)],
      [/region 0 size .* beyond its file/, regionBytes(0n, SIZE + 0x1000n, USER_BASE, 0n)],
      [/region 0 size .* beyond its file/, regionBytes(0n, SIZE, USER_BASE, 0x1000n)],
      [/region 0 size .* beyond its file/, regionBytes(0n, 1n << 40n, USER_BASE, 0n)],
      [/region 0 mmap offset 2048 is not/, regionBytes(0n, 0x1000n, USER_BASE, 0x800n)],
      [/region 0 mmap offset plus size/, regionBytes(0n, 0x2000n, USER_BASE, (1n << 64n) - 0x1000n)],
      [/region 0 guest address plus size wraps/, regionBytes((1n << 64n) - 0x1000n, 0x2000n, USER_BASE, 0n)],
      [/region 0 user address plus size wraps/, regionBytes(0n, 0x2000n, (1n << 64n) - 0x1000n, 0n)],
    ];
    for (const [message, region] of regions) {
      await thrownOut(t, message, (peer) => peer.send(5, tableBytes(region), [peer.memory]));
    }
    await thrownOut(t, /ADD_MEM_REG: region size .* beyond its file/, (peer) =>
      peer.send(37, Buffer.concat([pack([8, 0]), regionBytes(0n, SIZE * 2n, USER_BASE, 0n)]), [peer.memory]),
    );
    const sparse = rig.os.memfdCreate('sparse', 2 ** 40);
    await thrownOut(t, /region 0 size .* MiB is more than/, (peer) =>
      peer.send(5, tableBytes(regionBytes(0n, 1n << 40n, USER_BASE, 0n)), [sparse]),
    );
    rig.os.close(sparse);
    const event = rig.os.eventfd();
    await thrownOut(t, /beyond its file of 0 bytes/, (peer) => peer.send(5, tableBytes(good), [event]));
    rig.os.close(event);
  });

  t.test('F1: a file that cannot be mapped for writing is refused, with nothing left', async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'viaduct-ro-'));
    const path = join(directory, 'memory');
    const { writeFileSync } = await import('node:fs');
    writeFileSync(path, Buffer.alloc(0x4000));
    const readOnly = openSync(path, 'r');
    await thrownOut(t, /SET_MEM_TABLE: mmap/, (peer) =>
      peer.send(
        5,
        tableBytes(regionBytes(0n, 0x1000n, USER_BASE, 0n), regionBytes(0x10_0000n, 0x1000n, USER_BASE + SIZE, 0n)),
        [peer.memory, readOnly],
      ),
    );
    closeSync(readOnly);
    rmSync(directory, { recursive: true });
  });

  t.test('F2: more regions than the limit, overlaps, fewer or more descriptors than regions', async (t) => {
    const nine = Array.from({ length: 9 }, (_, n) =>
      regionBytes(BigInt(n) << 21n, 0x1000n, USER_BASE + (BigInt(n) << 21n), 0n),
    );
    const table = (count: number): Buffer => tableBytes(...nine.slice(0, count));
    await thrownOut(t, /SET_MEM_TABLE: size 296/, (peer) => peer.send(5, table(9), Array(9).fill(peer.memory)));
    await thrownOut(t, /SET_MEM_TABLE: fds 1 for 2/, (peer) => peer.send(5, table(2), [peer.memory]));
    await thrownOut(t, /SET_MEM_TABLE: fds 0 for 2/, (peer) => peer.send(5, table(2)));
    await thrownOut(t, /SET_MEM_TABLE: fds 3 for 2/, (peer) => peer.send(5, table(2), Array(3).fill(peer.memory)));
    await thrownOut(t, /region 1 guest address .* overlaps/, (peer) =>
      peer.send(5, tableBytes(good, regionBytes(SIZE - 1n, 0x1000n, USER_BASE + SIZE, 0n)), [peer.memory, peer.memory]),
    );
    await thrownOut(t, /ADD_MEM_REG: region is one more than the 64 slots/, async (peer) => {
      for (let n = 0; n < 65; n++) {
        const at = BigInt(n) << 12n;
        peer.send(37, Buffer.concat([pack([8, 0]), regionBytes(at, 0x1000n, USER_BASE + at, at)]), [peer.memory]);
      }
    });
  });

  t.test('F3: descriptors on a message that takes none, too many, truncated ancillary data', async (t) => {
    await thrownOut(t, /SET_OWNER: fds 1/, (peer) => peer.send(3, Buffer.alloc(0), [peer.memory]));
    await thrownOut(t, /SET_VRING_NUM: fds 2/, (peer) => peer.send(8, pack([8, 0]), [peer.memory, peer.memory]));
    await thrownOut(t, /GET_FEATURES: fds 1/, (peer) => peer.send(1, Buffer.alloc(0), [peer.memory]));
    await thrownOut(t, /SET_VRING_KICK: fds 2/, (peer) => peer.send(12, pack([8, 0]), [peer.memory, peer.memory]));
    await thrownOut(t, /fds more than 16/, (peer) => peer.send(12, pack([8, 0]), Array(200).fill(peer.memory)));
    await thrownOut(t, /fds more than 16/, (peer) => {
      const bytes = Buffer.concat([pack([4, 12], [4, 1], [4, 8]), pack([8, 0])]);
      for (let n = 0; n < bytes.length - 1; n++) peer.sendRaw(bytes.subarray(n, n + 1), [peer.memory]);
    });
    await thrownOut(t, /SET_VRING_KICK: fds the descriptor for vring 0 is no eventfd/, (peer) =>
      peer.send(12, pack([8, 0]), [peer.memory]),
    );
  });

  t.test('F4: a queue index beyond the limit, also as 0x10000+n', async (t) => {
    for (const index of [2, 255, 0x10000, 0xffff_ffff]) {
      await thrownOut(t, /SET_VRING_NUM: index/, (peer) => peer.send(8, pack([4, index], [4, 64])));
      await thrownOut(t, /SET_VRING_ENABLE: index/, (peer) => peer.send(18, pack([4, index], [4, 1])));
    }
    await thrownOut(t, /SET_VRING_KICK: index/, (peer) => peer.send(12, pack([8, 0x10000]), [peer.memory]));
    await thrownOut(t, /SET_VRING_CALL: index/, (peer) => peer.send(13, pack([8, 2]), [peer.memory]));
  });

  t.test('F7: vring addresses outside every region', async (t) => {
    await thrownOut(t, /SET_VRING_KICK: desc of vring 0/, (peer) => {
      peer.shareMemory();
      peer.send(8, pack([8, 64n << 32n]));
      peer.send(9, pack([8, 0], [8, USER_BASE + SIZE], [8, USER_BASE], [8, USER_BASE], [8, 0]));
      const event = rig.os.eventfd();
      peer.send(12, pack([8, 0]), [event]);
      rig.os.close(event);
    });
  });

  t.test('F11: features that were not offered, or that change while a ring runs', async (t) => {
    await thrownOut(t, /SET_FEATURES: features not offered: VHOST_F_LOG_ALL/, (peer) =>
      peer.send(2, pack([8, 1n << 26n])),
    );
    await thrownOut(t, /SET_PROTOCOL_FEATURES: features not offered/, (peer) => peer.send(16, pack([8, 1n << 40n])));
    await thrownOut(t, /SET_FEATURES: features changed while/, async (peer) => {
      await peer.goLive();
      peer.send(2, pack([8, 1n << 30n]));
    });
  });

  t.test('F12: length 0xffffffff, a length that disagrees, a version that is none', async (t) => {
    await thrownOut(t, /SET_FEATURES: size 4294967295/, (peer) => peer.sendRaw(pack([4, 2], [4, 1], [4, 0xffff_ffff])));
    await thrownOut(t, /SET_FEATURES: size 7/, (peer) => peer.send(2, Buffer.alloc(7)));
    await thrownOut(t, /GET_FEATURES: size 8/, (peer) => peer.send(1, Buffer.alloc(8)));
    await thrownOut(t, /num_regions/, (peer) => peer.send(5, Buffer.concat([pack([8, 5]), good]), [peer.memory]));
    await thrownOut(t, /flags say version 0/, (peer) => peer.send(1, Buffer.alloc(0), [], 0));
  });

  t.test('F12: half a header, then silence: the other port and the next guest do not wait', async (t) => {
    const asBefore = holdings(rig);
    const silent = PlainPeer.connect(rig.os, victim.path);
    silent.sendRaw(pack([4, 5], [2, 1]), [silent.memory]);
    await stillForwards(t, other, bystander);
    t.notOk(silent.closed, 'it may still go on');
    const second = PlainPeer.connect(rig.os, victim.path);
    await until('one front end a port', () => second.closed);
    second.die();
    silent.die();
    await asBefore();
    const next = PlainPeer.connect(rig.os, victim.path);
    await next.negotiate();
    t.pass('and the next one is served');
    next.die();
    await asBefore();
  });

  t.test('F13: the NOFD bit with a descriptor, and no bit without one', async (t) => {
    for (const request of [12, 13, 14]) {
      await thrownOut(t, /fds a descriptor came, and the NOFD bit/, (peer) =>
        peer.send(request, pack([8, 0x100]), [peer.memory]),
      );
      await thrownOut(t, /fds no descriptor came, and no NOFD bit/, (peer) => peer.send(request, pack([8, 0])));
    }
  });

  t.test('F9: the same message again and again grows nothing', async (t) => {
    const asBefore = holdings(rig);
    const peer = PlainPeer.connect(rig.os, victim.path);
    await peer.goLive();
    await until('link', () => victim.link() === 'up');
    const asLive = holdings(rig);
    const event = rig.os.eventfd();
    for (let n = 0; n < 100; n++) {
      peer.shareMemory();
      peer.send(12, pack([8, 1]), [event]);
      peer.send(13, pack([8, 1]), [event]);
      peer.send(8, pack([4, 1], [4, 64]));
      await peer.settled();
    }
    rig.os.close(event);
    await asLive();
    await stillForwards(t, victim, peer);
    peer.die();
    await asBefore();
  });

  t.test('F15: disconnected after every message of the dialogue', async (t) => {
    const asBefore = holdings(rig);
    for (let steps = 0; steps <= 18; steps++) {
      const peer = PlainPeer.connect(rig.os, victim.path);
      let left = steps;
      const send = peer.sendRaw.bind(peer);
      peer.sendRaw = (bytes, fds) => {
        if (left-- > 0) send(bytes, fds);
      };
      const dialogue = peer.goLive().catch(() => {});
      await until('sent', () => left <= 0 || peer.closed);
      peer.die();
      await dialogue;
      await asBefore();
    }
    t.equal(victim.port.link().up, false);
    await stillForwards(t, other, bystander);
  });

  t.test('F15: ten deaths in full run; each time the guest comes back', async (t) => {
    const asBefore = holdings(rig);
    for (let life = 0; life < 10; life++) {
      const peer = PlainPeer.connect(rig.os, victim.path);
      await peer.goLive();
      await until('link up', () => victim.link() === 'up');
      await stillForwards(t, victim, peer);
      peer.die();
      await until('link down', () => victim.link() === 'the front end disconnected');
      t.equal(victim.receive().length, 0);
      await asBefore();
    }
  });

  t.test('F16: an unknown request is ignored, or answered where an answer is wanted', async (t) => {
    const peer = PlainPeer.connect(rig.os, victim.path);
    await peer.negotiate();
    peer.send(240, Buffer.alloc(100), [peer.memory]);
    peer.send(240, Buffer.alloc(3), [], 1 | 8);
    const answer = await peer.reply();
    t.equal(answer.request, 240);
    t.equal(answer.flags, 1 | 4);
    t.not(answer.payload.readBigUInt64LE(0), 0n);
    await peer.settled();
    peer.die();
  });
});
