/**
 * Rings full of anything: descriptors, indexes and event areas out of a seeded generator, both layouts, both directions. Never
 * a trap, never a byte read or written outside the guest's regions, every mbuf and every packet accounted for, bounded work.
 */
import t from 'tap';
import { QUEUE_BYTES, QUEUE_LAST_AVAIL, QUEUE_PACKETS, QUEUE_WALKED, WALKS_PER_PACKET } from '../../assembly/layout.js';
import { createRig, END_OF_FIRST, END_OF_LAST, frameOf, hasCanary, LAYOUTS, REGIONS, type RigRing } from './rig.js';

const rig = createRig(1200);
const { guest } = rig;
const SEED = 20261121;
/** Rings and tables lie at the front of the regions. */
const RING_ROOM = 1 << 16;

/** xorshift32: the same on every machine. */
function generator(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

type Random = ReturnType<typeof generator>;

/** Mostly addresses and lengths at which something may go wrong. */
function address(random: Random): bigint {
  const at = random(4096);
  switch (random(12)) {
    case 0:
      return BigInt(END_OF_FIRST - at);
    case 1:
      return BigInt(END_OF_LAST - at);
    case 2:
      return BigInt(REGIONS[random(2)]!.guestAddress - 1 - random(64));
    case 3:
      return 0xffff_ffff_ffff_ffffn - BigInt(at);
    case 4:
      return (BigInt(random(0x7fff_ffff)) << 32n) | BigInt(random(0x7fff_ffff));
    case 5:
      return BigInt(random(0x7fff_ffff));
    default:
      return BigInt(REGIONS[random(2)]!.guestAddress + random(1 << 20));
  }
}

function length(random: Random): number {
  switch (random(10)) {
    case 0:
      return 0;
    case 1:
      return random(13);
    case 2:
      return 16 * random(40);
    case 3:
      return random(70_000);
    case 4:
      return 0xffff_ffff - random(64);
    default:
      return 12 + random(3000);
  }
}

/** A descriptor somewhere in the guest's memory. `tail` writes the last two u16: flags and next, or id and flags. */
function desc(random: Random, at: number, size: number, packed: boolean, tablesAt: readonly number[]): void {
  let flags = [0, 0, 1, 1, 2, 2, 3, 4, random(8), random(0x1_0000)][random(10)]!;
  let [where, bytes] = [address(random), length(random)];
  if (flags & 4 && random(4) > 0) {
    where = BigInt(guest.guestAddress(tablesAt[random(tablesAt.length)]!));
    bytes = 16 * (1 + random(size)) + (random(8) === 0 ? random(16) : 0);
  }
  const index = random(16) === 0 ? random(0x1_0000) : random(size);
  if (packed && random(12) > 0) flags = (flags & 0x7f7f) | (random(8) === 0 ? [0, 0x8080][random(2)]! : 0x80);
  guest.writeU64(at, where);
  guest.u32[(at >>> 2) + 2] = bytes;
  guest.u16[(at >>> 1) + 6] = packed ? index : flags;
  guest.u16[(at >>> 1) + 7] = packed ? flags : index;
}

/** All that the guest can write. Packed: available in the lap where the device stands, as often as not. */
function scribble(random: Random, ring: RigRing, packed: boolean, wrap: number, tablesAt: readonly number[]): void {
  for (let i = 0; i < ring.size; i++) {
    const at = ring.desc + 16 * i;
    desc(random, at, ring.size, packed, tablesAt);
    if (packed && wrap === 0) guest.u16[(at >>> 1) + 7] = guest.u16[(at >>> 1) + 7]! ^ 0x8080;
  }
  for (const table of tablesAt) {
    for (let i = 0; i < ring.size; i++) desc(random, table + 16 * i, ring.size, packed, tablesAt);
  }
  if (packed) {
    guest.u32[ring.avail >>> 2] = random(0x7fff_ffff);
    return;
  }
  for (let i = 0; i < ring.size; i++) {
    guest.u16[((ring.avail + 4) >>> 1) + i] = random(40) === 0 ? random(0x1_0000) : random(ring.size);
  }
  guest.u16[ring.avail >>> 1] = random(0x1_0000);
  guest.u16[(ring.avail + 4 + 2 * ring.size) >>> 1] = random(0x1_0000);
  const used = guest.u16[(ring.used >>> 1) + 1]!;
  guest.u16[(ring.avail >>> 1) + 1] = random(16) === 0 ? random(0x1_0000) : used + random(ring.size + 1);
  // The device's own area is the guest's to write, too.
  if (random(4) === 0) guest.u16[ring.used >>> 1] = random(0x1_0000);
}

for (const layout of LAYOUTS) {
  t.test(`${layout}: rings of random bytes`, async (t) => {
    const random = generator(SEED);
    const packed = layout === 'packed';
    const totals = { rounds: 0, received: 0, sent: 0, dropped: 0, stopped: 0 };
    const frames = Array.from({ length: 24 }, (_, i) => frameOf(i, 14 + ((i * 397) % 1900)));
    const large = frameOf(99, 9000);
    const sum = (drops: Record<string, number>) => Object.values(drops).reduce((a, b) => a + b, 0);
    // Payload that can be told from the canaries around: many a plain header, some that ask for anything.
    const payload = new Uint8Array((1 << 20) - RING_ROOM);
    for (let i = 0; i < payload.length; i++) payload[i] = (i >>> 7) % 8 === 0 || random(50) === 0 ? random(256) : 0;
    for (let run = 0; run < 1500; run++) {
      const ringSize = packed ? 1 + random(40) : 1 << (1 + random(6));
      const { tx, rx } = rig.boot({
        layout,
        ringSize,
        hdrLen: random(4) === 0 ? 10 : 12,
        mergeable: random(2) === 0,
        indirect: random(4) !== 0,
        eventIdx: random(2) === 0,
        hostOffloads: random(3) === 0 ? 0 : random(128),
        guestOffloads: random(128),
      });
      const tablesAt = [0, 1].map((region) => guest.allocateIn(region, 16 * ringSize, 16));
      for (const { guestAddress } of REGIONS) guest.u8.set(payload, guest.offsetOf(guestAddress + RING_ROOM));
      for (let round = 0; round < 6; round++) {
        for (const [ring, queue] of [
          [tx, rig.rxQueue],
          [rx, rig.txQueue],
        ] as const) {
          scribble(random, ring, packed, rig.get(queue, QUEUE_LAST_AVAIL) >>> 15, tablesAt);
        }
        const most = (count: number) => ringSize + count * WALKS_PER_PACKET + 2 * ringSize + 1200;
        const got = rig.receive(32);
        if (got.some(hasCanary)) throw new Error(`run ${run}: bytes from outside the regions`);
        if (rig.get(rig.rxQueue, QUEUE_WALKED) > most(32)) throw new Error(`run ${run}: too much work to receive`);
        totals.received += got.length;
        const handles = Array.from({ length: 1 + random(8) }, () =>
          rig.packet(frames[random(24)]!, random(2) ? [7] : []),
        );
        if (random(4) === 0) handles.push(rig.packet(large, [2000, 4000, 6000, 8000]));
        totals.sent += rig.send(...handles);
        if (rig.get(rig.txQueue, QUEUE_WALKED) > most(handles.length))
          throw new Error(`run ${run}: too much work to send`);
        rig.check();
        totals.rounds++;
      }
      totals.dropped += sum(rig.drops(rig.rxQueue)) + sum(rig.drops(rig.txQueue));
      for (const queue of [rig.rxQueue, rig.txQueue]) {
        if (rig.stopped(queue) !== undefined) totals.stopped++;
        if (rig.counter(queue, QUEUE_BYTES) < 14 * rig.counter(queue, QUEUE_PACKETS)) throw new Error('bytes');
      }
      if (run % 100 === 99) rig.checkPool();
    }
    t.ok(totals.received > 500, `received ${totals.received}`);
    t.ok(totals.sent > 500, `sent ${totals.sent}`);
    t.ok(totals.dropped > 2000, `dropped ${totals.dropped}`);
    t.ok(totals.stopped > 100, `queues stopped ${totals.stopped}`);
    t.pass(`${totals.rounds} rounds`);
  });
}
