/** When the other side is told: the event index of both layouts against its definition, and against nonsense (G18). */
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import t from 'tap';
import { QUEUE_SIGNALLED_VALID, RING_STARTED } from '../../assembly/layout.js';
import { openNotifyLab } from './notify-rig.js';

const sizes = [16, 256] as const;

t.test('the event index: told if and only if the entry that it names is among the new ones', async (t) => {
  const lab = await openNotifyLab(t);
  for (const packed of [false, true]) {
    for (const size of sizes) {
      const ring = lab.ring({ packed, size, eventIdx: true });
      const laps = packed ? 4 * size : 0x2_0000;
      const near = fc.integer({ min: -2 * size, max: 2 * size });
      fc.assert(
        fc.property(
          fc.oneof(fc.integer({ min: size, max: laps }), fc.constantFrom(0x1_0000 - 3, 0x1_0000, 2 * size)),
          fc.integer({ min: 0, max: size - 1 }),
          fc.integer({ min: 1, max: size }),
          near,
          (count, ago, frames, offset) => {
            // since the last notification there are at most as many entries as the ring has
            const quiet = Math.min(ago, size - frames);
            ring.seek(count, quiet);
            const event = ring.position(Math.max(count + offset, 0));
            ring.wish(event);
            const before = ring.counts();
            if (ring.pass(frames) !== frames) return false;
            let passed = false;
            for (let entry = count - quiet; entry < count + frames; entry++) passed ||= ring.position(entry) === event;
            const after = ring.counts();
            const told = after.sent - before.sent;
            return told === (passed ? 1 : 0) && after.suppressed - before.suppressed === 1 - told;
          },
        ),
        { numRuns: 1500 },
      );
    }
  }
  t.pass();
});

t.test('without an event index: as the flags say', async (t) => {
  const lab = await openNotifyLab(t);
  for (const packed of [false, true]) {
    const ring = lab.ring({ packed, size: 16, eventIdx: false });
    ring.wish('never');
    for (let i = 0; i < 40; i++) ring.pass(3);
    t.same(ring.counts(), { sent: 0, suppressed: 40, postponed: 0 });
    ring.wish('always');
    for (let i = 0; i < 40; i++) ring.pass(3);
    t.same(ring.counts(), { sent: 40, suppressed: 40, postponed: 0 });
  }
});

t.test('packed, without an event index: flags that are reserved then ask for every notification', async (t) => {
  const lab = await openNotifyLab(t);
  const ring = lab.ring({ packed: true, size: 16, eventIdx: false });
  let bursts = 0;
  // Section 2.8.10: 2 (DESC) only with the event index, 3 never. A driver that says so may be waiting for any entry.
  for (const flags of [2, 3]) {
    for (const offWrap of [0, 1, 7, 0x8000, 0x8007, 0xffff]) {
      for (let i = 0; i < 20; i++) {
        ring.write32(ring.wishAddress, (flags << 16) | offWrap);
        ring.pass(3);
        bursts++;
      }
    }
  }
  t.same(ring.counts(), { sent: bursts, suppressed: 0, postponed: 0 });
});

t.test('a ring that has just started is told of its first entries, whatever the event index says', async (t) => {
  const lab = await openNotifyLab(t);
  const ring = lab.ring({ packed: false, size: 16, eventIdx: true });
  ring.wish(0x7777);
  ring.write(QUEUE_SIGNALLED_VALID, RING_STARTED);
  ring.pass(1);
  t.equal(ring.counts().sent, 1);
});

t.test('G18: nonsense in the event fields: a burst moves its packets and decides once', async (t) => {
  const lab = await openNotifyLab(t);
  for (const packed of [false, true]) {
    const ring = lab.ring({ packed, size: 64, eventIdx: true });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffff }), fc.integer({ min: 1, max: 32 }), (word, frames) => {
        const { sent, suppressed } = ring.counts();
        ring.wish(word);
        if (ring.pass(frames) !== frames) return false;
        const now = ring.counts();
        return now.sent - sent + now.suppressed - suppressed === 1;
      }),
      { numRuns: 3000 },
    );
    ring.arm();
    const { sent } = ring.counts();
    ring.pass(1);
    t.equal(ring.counts().sent, sent + 1, 'and once the guest is sane again, it is told');
  }
});

t.test('G18: flipped by another thread: no livelock, and nothing is lost once it ends', async (t) => {
  const lab = await openNotifyLab(t);
  for (const packed of [false, true]) {
    const ring = lab.ring({ packed, size: 256, eventIdx: true });
    const stop = new Int32Array(new SharedArrayBuffer(8));
    const flipper = new Worker(
      `const { buffer, at, stop } = require('node:worker_threads').workerData;
       const words = new Uint32Array(buffer);
       let x = 1;
       Atomics.store(stop, 1, 1);
       Atomics.notify(stop, 1);
       while (Atomics.load(stop, 0) === 0) {
         x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
         words[at >>> 2] = x;
       }`,
      { eval: true, workerData: { buffer: lab.eal.memory.u8.buffer, at: ring.wishAddress, stop } },
    );
    for (let turn = 0; turn < 1000 && Atomics.load(stop, 1) === 0; turn++) await new Promise((go) => setTimeout(go, 5));
    let taken = 0;
    const bursts = 20_000;
    for (let i = 0; i < bursts; i++) taken += ring.pass(1 + (i % 32));
    Atomics.store(stop, 0, 1);
    await new Promise((done) => flipper.once('exit', done));
    t.equal(taken, ring.count, 'every packet');
    const { sent, suppressed } = ring.counts();
    t.equal(sent + suppressed, bursts, 'one decision a burst');
    ring.arm();
    ring.pass(1);
    t.equal(ring.counts().sent, sent + 1);
  }
});
