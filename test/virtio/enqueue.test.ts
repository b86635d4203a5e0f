/**
 * Host → guest on split and packed rings against a driver in plain TypeScript and a model of section 5.1.6.4: any frames in
 * any mbufs, any receive buffers. Every byte arrives, num_buffers and used lengths are right, nothing is written beside.
 */
import fc from 'fast-check';
import t from 'tap';
import { MAX_CHAINS } from '../../assembly/layout.js';
import type { Piece } from '../support/split-ring.js';
import { createRig, FILL, frameOf, LAYOUTS, type RigRing, same } from './rig.js';

const rig = createRig(3000);
const { guest } = rig;

/** A receive buffer: bytes of its pieces. */
interface BufferPlan {
  readonly pieces: readonly number[];
  readonly indirect: boolean;
}

const buffers = fc.array(
  fc.record({
    // The first piece holds the header.
    pieces: fc.oneof(
      { weight: 5, arbitrary: fc.tuple(fc.integer({ min: 12, max: 2048 })) },
      { weight: 2, arbitrary: fc.tuple(fc.integer({ min: 12, max: 60 })) },
      {
        weight: 3,
        arbitrary: fc
          .tuple(fc.integer({ min: 12, max: 100 }), fc.array(fc.integer({ min: 0, max: 700 }), { maxLength: 6 }))
          .map(([first, rest]) => [first, ...rest]),
      },
    ),
    indirect: fc.boolean(),
  }),
  { minLength: 1, maxLength: 100, size: 'max' },
);

const frames = fc.array(
  fc.record({
    length: fc.oneof(
      { weight: 6, arbitrary: fc.integer({ min: 14, max: 300 }) },
      { weight: 3, arbitrary: fc.integer({ min: 14, max: 2000 }) },
      { weight: 1, arbitrary: fc.integer({ min: 14, max: 6000 }) },
    ),
    cuts: fc.array(fc.integer({ min: 0, max: 1000 }), { maxLength: 4 }),
  }),
  { minLength: 1, maxLength: 60, size: 'max' },
);

interface Posted {
  readonly id: number;
  readonly pieces: readonly Piece[];
  readonly capacity: number;
  /** Descriptors of the ring itself. */
  readonly descs: number;
}

function post(ring: RigRing, plan: BufferPlan, region: number): Posted | undefined {
  const pieces = plan.pieces
    .slice(0, ring.size)
    .map((length) => ({ offset: guest.allocateIn(region, length), length }));
  for (const { offset, length } of pieces) guest.u8.fill(FILL, offset, offset + length);
  const id = ring.add(pieces, true, plan.indirect);
  if (id < 0) return undefined;
  const capacity = pieces.reduce((sum, { length }) => sum + length, 0);
  return { id, pieces, capacity, descs: plan.indirect ? 1 : pieces.length };
}

/** The first `length` bytes of a buffer; throws if anything behind them, up to the next buffer, was written. */
function contents({ pieces }: Posted, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let done = 0;
  for (const piece of pieces) {
    const here = Math.min(piece.length, length - done);
    bytes.set(guest.bytes(piece.offset, here), done);
    done += here;
    // 16 bytes lie between any two pieces.
    const end = piece.offset + piece.length;
    if (guest.bytes(end, 16).some((byte) => byte !== FILL))
      throw new Error(`written behind a piece of ${piece.length}`);
  }
  if (done !== length) throw new Error(`${length} bytes in a buffer of ${done}`);
  return bytes;
}

/** What becomes of a frame of `length` bytes: filled buffers' lengths, 'drop', or 'wait'. */
function model(posted: readonly Posted[], length: number, merges: boolean, isWholeRing: (of: Posted[]) => boolean) {
  const lengths: number[] = [];
  let left = length;
  for (const { capacity } of posted) {
    const here = Math.min(capacity, left);
    lengths.push(here);
    left -= here;
    if (left === 0) return lengths;
    if (!merges || isWholeRing(posted.slice(0, lengths.length))) return 'drop';
  }
  return 'wait';
}

for (const layout of LAYOUTS) {
  const sizes = layout === 'split' ? [2, 4, 8, 16, 64] : [2, 3, 4, 7, 8, 16, 61];
  t.test(`${layout}: whatever the receive buffers, every byte arrives`, async (t) => {
    let delivered = 0;
    let merged = 0;
    let dropped = 0;
    fc.assert(
      fc.property(
        buffers,
        frames,
        fc.constantFrom(...sizes),
        fc.constantFrom([12, true], [12, false], [10, false]) as fc.Arbitrary<[number, boolean]>,
        fc.integer({ min: 1, max: 40 }),
        (bufferPlans, framePlans, ringSize, [hdrLen, mergeable], burst) => {
          const { rx: ring } = rig.boot({ layout, ringSize, hdrLen, mergeable });
          const posted: Posted[] = [];
          // No packet can have more than all of the ring; a split ring tells of chains only, a packed one of descriptors.
          const isWholeRing = (of: Posted[]) =>
            layout === 'split'
              ? of.length === ringSize
              : of.reduce((sum, { descs }) => sum + descs, 0) === ringSize || of.length === MAX_CHAINS;
          let plan = 0;
          let sent = 0;
          let drops = 0;
          let bytes = 0;
          let arrived = 0;
          const fill = (): number => {
            const before = posted.length;
            for (; plan < bufferPlans.length; plan++) {
              const one = post(ring, bufferPlans[plan]!, plan & 1);
              if (one === undefined) break;
              posted.push(one);
            }
            ring.publish();
            return posted.length - before;
          };
          fill();
          while (sent < framePlans.length) {
            const wave = framePlans.slice(sent, sent + burst);
            const handles = wave.map(({ length, cuts }, i) => {
              const at = cuts.map((cut) => Math.round((cut * length) / 1000)).sort((a, b) => a - b);
              // An mbuf holds 2048 bytes.
              const whole = [0, ...at, length].flatMap((end, n, all) => {
                const more: number[] = [];
                for (let x = (all[n - 1] ?? 0) + 2048; x < end; x += 2048) more.push(x);
                return n === 0 ? [] : [...more, end];
              });
              return rig.packet(frameOf(sent + i, length), whole.slice(0, -1));
            });
            const taken = rig.send(...handles);
            // What the model says of the same packets.
            let expected = 0;
            for (const { length } of wave) {
              const outcome = model(posted, hdrLen + length, mergeable, isWholeRing);
              if (outcome === 'wait') break;
              if (outcome === 'drop') drops++;
              else {
                const wanted = frameOf(sent + expected, length);
                const got = new Uint8Array(hdrLen + length);
                let done = 0;
                let numBuffers = 0;
                outcome.forEach((usedLength, i) => {
                  if (!ring.takeUsed()) throw new Error(`buffer ${i} of ${outcome.length} is not used`);
                  const one = posted.shift()!;
                  if (ring.usedId !== one.id) throw new Error(`id ${ring.usedId}, not ${one.id}`);
                  if (ring.usedLength !== usedLength) throw new Error(`length ${ring.usedLength}, not ${usedLength}`);
                  const part = contents(one, usedLength);
                  if (i === 0 && hdrLen === 12) numBuffers = part[10]! | (part[11]! << 8);
                  got.set(part, done);
                  done += usedLength;
                });
                if (hdrLen === 12 && numBuffers !== outcome.length)
                  throw new Error(`num_buffers ${numBuffers}, not ${outcome.length}`);
                same(got.subarray(0, 10), new Uint8Array(10), 'header');
                same(got.subarray(hdrLen), wanted, `frame of ${length}`);
                if (outcome.length > 1) merged++;
                arrived++;
                bytes += length;
              }
              expected++;
            }
            if (taken !== expected)
              throw new Error(`${taken} taken, not ${expected}; ${JSON.stringify(rig.drops(rig.txQueue))}`);
            if (ring.hasUsed) throw new Error('more was used than the model says');
            sent += taken;
            // Nothing left to give: the packet that waits would wait for ever.
            if (fill() === 0 && taken === 0) break;
          }
          if (rig.packets(rig.txQueue) !== arrived || rig.bytes(rig.txQueue) !== bytes) throw new Error('counters');
          const found = rig.drops(rig.txQueue);
          if ((found.no_room ?? 0) !== drops || Object.keys(found).length > (drops > 0 ? 1 : 0)) {
            throw new Error(`drops ${JSON.stringify(found)}, not ${drops}`);
          }
          if (rig.stopped(rig.txQueue) !== undefined) throw new Error('stopped');
          delivered += arrived;
          dropped += drops;
          rig.check();
        },
      ),
      { numRuns: 500 },
    );
    rig.checkPool();
    t.ok(delivered > 2000, `${delivered} delivered`);
    t.ok(merged > 100, `${merged} over several buffers`);
    t.ok(dropped > 50, `${dropped} did not fit`);
  });

  t.test(`${layout}: many laps around the ring`, async (t) => {
    const { rx: ring } = rig.boot({ layout, ringSize: layout === 'split' ? 128 : 127 });
    const address = guest.guestAddress(guest.allocate(2048));
    const packet = (): number => rig.packet(frameOf(1, 60));
    let total = 0;
    while (total < 70_000) {
      for (let i = 0; i < 96; i++) ring.addOne(address, 2048, true);
      ring.publish();
      for (let i = 0; i < 3; i++) total += rig.send(...Array.from({ length: 32 }, packet));
      while (ring.takeUsed()) if (ring.usedLength !== 72) throw new Error(`used length ${ring.usedLength}`);
      if (ring.inFlight !== 0) throw new Error(`${ring.inFlight} in flight`);
    }
    t.equal(rig.packets(rig.txQueue), total);
    rig.check();
  });

  t.test(`${layout}: the largest burst, plain packets and large ones in turn`, async (t) => {
    const { rx: ring } = rig.boot({ layout, ringSize: 1024, mergeable: true });
    const address = guest.guestAddress(guest.allocate(2048));
    for (let i = 0; i < 1024; i++) ring.addOne(address, 2048, true);
    ring.publish();
    // two buffers for each fourth packet: 640 in all
    const lengths = Array.from({ length: 512 }, (_, i) => (i % 4 === 3 ? 3000 : 60));
    t.equal(rig.send(...lengths.map((length, i) => rig.packet(frameOf(i, length), [Math.min(length, 2000)]))), 512);
    let used = 0;
    let bytes = 0;
    for (; ring.takeUsed(); used++) bytes += ring.usedLength;
    t.equal(used, 640);
    t.equal(
      bytes,
      lengths.reduce((sum, length) => sum + length + 12, 0),
    );
    rig.check();
  });
}
