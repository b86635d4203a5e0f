/**
 * Guest → host on split and packed rings against a driver in plain TypeScript: any frames in any arrangement of descriptors,
 * rings of any size wrapping around many times. Every byte arrives, in order; every descriptor comes back as it should.
 */
import fc from 'fast-check';
import t from 'tap';
import { MBUF_DATA_LEN, MBUF_NB_SEGS, MBUF_NEXT, MBUF_PKT_LEN, MBUF_PORT } from '../../assembly/layout.js';
import { Mempool } from '../../src/mempool.js';
import type { Piece } from '../support/split-ring.js';
import { createRig, frameOf, LAYOUTS, type Rig, type RigRing, same } from './rig.js';

const rig = createRig(3000);
const { guest } = rig;
/** Mbufs smaller than most frames, and smaller than their headers; the invariants hold in them too. */
const pools = [
  rig.pool,
  Mempool.createPktmbuf(rig.context, { name: 'small', count: 3000, dataRoomBytes: 256, cacheSize: 64 }),
  Mempool.createPktmbuf(rig.context, { name: 'tiny', count: 3000, dataRoomBytes: 128, cacheSize: 64 }),
];

/** A packet as a driver may lay it out. */
interface Plan {
  readonly frameLen: number;
  /** Where header and frame are cut, in 1/1000 of their length; the same place twice is a piece of no bytes. */
  readonly cuts: readonly number[];
  readonly headerApart: boolean;
  readonly indirect: boolean;
}

const plans = fc.array(
  fc.record({
    frameLen: fc.oneof(
      { weight: 6, arbitrary: fc.integer({ min: 14, max: 300 }) },
      { weight: 3, arbitrary: fc.integer({ min: 14, max: 2100 }) },
      { weight: 1, arbitrary: fc.integer({ min: 14, max: 9000 }) },
    ),
    cuts: fc.oneof(
      { weight: 3, arbitrary: fc.constant([]) },
      { weight: 3, arbitrary: fc.array(fc.integer({ min: 0, max: 1000 }), { maxLength: 5 }) },
      { weight: 1, arbitrary: fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 12 }) },
    ),
    headerApart: fc.boolean(),
    indirect: fc.boolean(),
  }),
  { minLength: 1, maxLength: 60, size: 'max' },
);

/** Cuts `length` bytes at `offset` into at most `most` pieces. */
function piecesOf(plan: Plan, offset: number, length: number, hdrLen: number, most: number): Piece[] {
  const wanted = plan.cuts.map((cut) => Math.round((cut * length) / 1000));
  if (plan.headerApart) wanted.push(hdrLen);
  const ends = [...wanted.sort((a, b) => a - b).slice(0, most - 1), length];
  let begin = 0;
  return ends.map((end) => {
    const piece = { offset: offset + begin, length: end - begin };
    begin = end;
    return piece;
  });
}

/** Makes it available; its id, or -1 if there is no room. */
function offer(ring: RigRing, plan: Plan, frame: Uint8Array, hdrLen: number): number {
  const length = hdrLen + frame.length;
  const offset = guest.allocateIn(frame.length & 1, length);
  guest.u8.fill(0, offset, offset + hdrLen);
  guest.u8.set(frame, offset + hdrLen);
  const pieces = piecesOf(plan, offset, length, hdrLen, ring.size);
  if (pieces.length === 1 && !plan.indirect) return ring.addOne(guest.guestAddress(offset), length, false);
  return ring.add(pieces, false, plan.indirect);
}

function look(of: Rig, handle: number): void {
  const field = (mbuf: number, offset: number) => of.get(mbuf, offset);
  let bytes = 0;
  let segments = 0;
  for (let segment = handle; segment !== 0; segment = field(segment, MBUF_NEXT), segments++) {
    bytes += field(segment, MBUF_DATA_LEN);
    if (field(segment, MBUF_DATA_LEN) === 0) throw new Error('an empty segment');
  }
  if (bytes !== field(handle, MBUF_PKT_LEN)) throw new Error('pktLen is not the sum of its segments');
  if ((field(handle, MBUF_NB_SEGS) & 0xffff) !== segments) throw new Error('nbSegs is not their number');
  if (of.memory.u16[(handle + MBUF_PORT) >>> 1] !== of.port) throw new Error('the port');
}

for (const layout of LAYOUTS) {
  // Packed rings may have any size (virtio 1.2 section 2.8.10.1).
  const sizes = layout === 'split' ? [2, 4, 8, 16, 64] : [2, 3, 4, 7, 8, 16, 61];
  t.test(`${layout}: whatever the arrangement of descriptors, every byte arrives`, async (t) => {
    let packets = 0;
    fc.assert(
      fc.property(
        plans,
        fc.constantFrom(...sizes),
        fc.constantFrom(10, 12),
        fc.constantFrom(...pools),
        fc.integer({ min: 1, max: 40 }),
        (sequence, ringSize, hdrLen, pool, burst) => {
          const { tx: ring } = rig.boot({ layout, ringSize, hdrLen, pool });
          const waiting: { id: number; frame: Uint8Array }[] = [];
          let sent = 0;
          let bytes = 0;
          while (sent < sequence.length || waiting.length > 0) {
            let refused = false;
            while (sent < sequence.length && !refused) {
              const plan = sequence[sent]!;
              const frame = frameOf(sent, plan.frameLen);
              const id = offer(ring, plan, frame, hdrLen);
              if (id < 0) refused = true;
              else {
                waiting.push({ id, frame });
                sent++;
              }
            }
            ring.publish();
            const frames = rig.receive(burst, (handle) => look(rig, handle));
            if (frames.length === 0) throw new Error(`nothing came; ${JSON.stringify(rig.drops(rig.rxQueue))}`);
            frames.forEach((frame, i) => {
              const { id, frame: wanted } = waiting[i]!;
              same(frame, wanted, `frame of ${wanted.length}`);
              if (!ring.takeUsed()) throw new Error('a descriptor did not come back');
              if (ring.usedId !== id) throw new Error(`id ${ring.usedId}, not ${id}`);
              if (ring.usedLength !== 0) throw new Error('the device wrote into what it may only read');
              bytes += frame.length;
            });
            if (ring.hasUsed) throw new Error('more came back than was taken');
            waiting.splice(0, frames.length);
            packets += frames.length;
          }
          if (rig.packets(rig.rxQueue) !== sequence.length || rig.bytes(rig.rxQueue) !== bytes)
            throw new Error('counters');
          if (rig.stopped(rig.rxQueue) !== undefined) throw new Error('stopped');
          rig.check();
        },
      ),
      { numRuns: 300 },
    );
    for (const pool of pools) rig.checkPool(pool);
    t.ok(packets > 3000, `${packets} packets`);
  });

  t.test(`${layout}: around the end of the ring and of the index's 16 bits`, async (t) => {
    const { tx: ring } = rig.boot({ layout, ringSize: layout === 'split' ? 128 : 127 });
    const offset = guest.allocate(12 + 64);
    guest.u8.fill(0, offset, offset + 12);
    const address = guest.guestAddress(offset);
    let total = 0;
    for (let sent = 0; sent < 140_000; ) {
      for (let i = 0; i < 96; i++, sent++) ring.addOne(address, 12 + 60, false);
      ring.publish();
      for (let i = 0; i < 3; i++) total += rig.receive(32).length;
      while (ring.takeUsed());
      if (ring.inFlight !== 0) throw new Error(`${ring.inFlight} in flight`);
    }
    t.equal(rig.packets(rig.rxQueue), total);
    t.ok(total >= 140_000, 'all of them');
    rig.check();
  });

  t.test(`${layout}: the largest burst, across the ring's end, from two regions in turn`, async (t) => {
    const { tx: ring } = rig.boot({ layout, ringSize: layout === 'split' ? 1024 : 1021 });
    const sent = (count: number) => {
      const frames = Array.from({ length: count }, (_, i) => frameOf(i, 60 + i));
      const plan = { cuts: [], headerApart: false, indirect: false };
      for (const frame of frames) offer(ring, { ...plan, frameLen: frame.length }, frame, 12);
      ring.publish();
      return frames;
    };
    for (const count of [512, 400, 512]) {
      const frames = sent(count);
      const got = rig.receive(512);
      t.equal(got.length, count);
      for (const [i, frame] of frames.entries()) same(got[i], frame, `frame ${i}`);
      while (ring.takeUsed());
      t.equal(ring.inFlight, 0);
    }
    rig.check();
  });
}
