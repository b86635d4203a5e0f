/**
 * Notifications that are put off: never beyond the bound, never over a sleep, never by an lcore that makes no promise. The clock is
 * the test's.
 */
import fc from 'fast-check';
import t from 'tap';
import {
  COALESCE_ADAPTIVE,
  COALESCE_OFF,
  COALESCE_ON,
  ENGINE_IO,
  LCORE_BASE,
  LCORE_MODERATED,
  LCORE_OWED_COUNT,
  LCORE_SIZE,
  LOCK_CONTROL,
  QUEUE_CALL_FD,
  QUEUE_COALESCE,
  QUEUE_COALESCE_FRAMES,
  QUEUE_COALESCE_US,
  QUEUE_LOCK,
  QUEUE_NOTIFIED,
  QUEUE_OWED,
  QUEUE_RUN,
} from '../../assembly/layout.js';
import { Burst, type Eal } from '../../src/index.js';
import { Bench } from '../forward/harness.js';
import { NotifyRing, openNotifyLab } from './notify-rig.js';

const USECS = 50;

/** Plays the loop of an lcore: promises to flush, and looks at the clock. */
class Loop {
  readonly #eal: Eal;
  readonly id: number;
  now = 0xffff_ff00; // wraps soon

  constructor(eal: Eal, id = eal.mainLcoreId) {
    this.#eal = eal;
    this.id = id;
    this.promise(true);
    this.look(0);
  }

  promise(on: boolean): void {
    this.#eal.memory.u32[(LCORE_BASE + this.id * LCORE_SIZE + LCORE_MODERATED) >>> 2] = on ? 1 : 0;
  }

  look(passedUs: number, all = false): number {
    this.now = (this.now + passedUs) >>> 0;
    return this.#eal.wasm.lcoreFlush(this.id, this.now, all ? 1 : 0);
  }

  get owing(): number {
    return this.#eal.memory.u32[(LCORE_BASE + this.id * LCORE_SIZE + LCORE_OWED_COUNT) >>> 2]!;
  }
}

function coalesce(ring: NotifyRing, policy: number, usecs = USECS, frames = 32): NotifyRing {
  ring.write(QUEUE_COALESCE, policy);
  ring.write(QUEUE_COALESCE_US, usecs);
  ring.write(QUEUE_COALESCE_FRAMES, frames);
  return ring;
}

t.test('the bound holds: microseconds and frames, whatever comes when', async (t) => {
  const lab = await openNotifyLab(t);
  const loop = new Loop(lab.eal);
  const step = fc.record({ frames: fc.integer({ min: 0, max: 20 }), arm: fc.boolean() });
  // looks at the clock come at a steady pace; the loop cannot foresee that one takes longer
  const pace = fc.integer({ min: 1, max: USECS });
  for (const packed of [false, true]) {
    for (const eventIdx of [false, true]) {
      for (const policy of [COALESCE_ON, COALESCE_ADAPTIVE]) {
        const ring = coalesce(lab.ring({ packed, size: 256, eventIdx }), policy);
        let [joined, told] = [0, 0];
        fc.assert(
          fc.property(pace, fc.array(step, { minLength: 1, maxLength: 60 }), (us, steps) => {
            loop.look(us, true);
            ring.arm();
            let armed = true;
            let waitedUs = 0; // since the first entry that the guest wants to hear of
            let waiting = 0; // entries since then
            let sent = ring.counts().sent;
            for (const { frames, arm } of steps) {
              if (frames > 0) {
                ring.pass(frames);
                if (armed) waiting += frames;
              }
              // the notification came with the burst, or comes with the look at the clock
              const byBurst = ring.counts().sent !== sent;
              if (ring.counts().sent === sent && waiting >= 32) return false;
              loop.look(us);
              const now = ring.counts().sent;
              if (now !== sent) {
                if (waiting > 0 && waitedUs + (byBurst ? 0 : us) > USECS) return false;
                if (waiting > frames) joined++;
                told++;
                [sent, waiting, waitedUs, armed] = [now, 0, 0, false];
                if (!eventIdx) ring.wish('never');
              } else if (waiting > 0) {
                waitedUs += us;
                if (waitedUs >= USECS) return false;
              }
              if (arm && !armed) {
                ring.arm();
                armed = true;
              }
            }
            return true;
          }),
          { numRuns: 300 },
        );
        t.ok(told > 100 && joined > 10, `${told} told, ${joined} of several bursts`);
      }
    }
  }
});

t.test('adaptive: a quiet ring is told at once, a busy one rarely', async (t) => {
  const lab = await openNotifyLab(t);
  const loop = new Loop(lab.eal);
  for (const packed of [false, true]) {
    const ring = coalesce(lab.ring({ packed, size: 256, eventIdx: true }), COALESCE_ADAPTIVE, USECS, 128);
    // request and answer, every 20 us; a guest that has read everything by the time of the next
    for (let i = 0; i < 500; i++) {
      ring.arm();
      ring.pass(1);
      loop.look(0); // the lcore's round ends
      t.equal(ring.counts().sent, i + 1) || t.bailout();
      loop.look(20);
    }
    t.equal(ring.counts().postponed, 0);
    // 1.6 million a second
    let notified = ring.counts().sent;
    for (let i = 0; i < 500; i++) {
      ring.arm();
      ring.pass(8);
      loop.look(5);
    }
    notified = ring.counts().sent - notified;
    t.ok(notified < 70, `${notified} notifications for 4000 packets in 2500 us`);
    t.ok(notified >= 2500 / USECS / 2, 'but some');
    // and quiet again
    loop.look(1000);
    notified = ring.counts().sent;
    for (let i = 0; i < 50; i++) {
      ring.arm();
      ring.pass(1);
      loop.look(1000);
    }
    t.equal(ring.counts().sent, notified + 50);
  }
});

for (const packed of [false, true]) {
  t.test(`first the receiver, then the sender is told, ${packed ? 'packed' : 'split'} ring`, async (t) => {
    const bench = new Bench();
    const out = bench.ringPort(3);
    const context = { ...bench, mainLcoreId: bench.lcoreId };
    const ring = new NotifyRing(context, bench.pool, Burst.create(bench, 64), 40, { packed, size: 64, eventIdx: true });
    ring.write(QUEUE_CALL_FD, 77);
    bench.set(bench.lcore + LCORE_MODERATED, 1);
    bench.streams({ engine: ENGINE_IO, rxPort: 40, txPort: out.id });
    const told: { fd: number; handedOn: number }[] = [];
    bench.notified = (fd) => told.push({ fd, handedOn: out.tx[0]!.count });
    for (const policy of [COALESCE_OFF, COALESCE_ADAPTIVE]) {
      coalesce(ring, policy);
      ring.arm();
      ring.offer(5);
      bench.run(0, 1);
      t.strictSame(told.splice(0), [{ fd: 77, handedOn: 5 }], 'told in the same round, after the packets went on');
      t.equal(bench.collect(out).length, 5);
    }
    bench.set(bench.lcore + LCORE_MODERATED, 0);
    ring.arm();
    ring.offer(1);
    bench.run(0, 1);
    t.strictSame(told, [{ fd: 77, handedOn: 0 }], 'at once by an lcore that makes no promise');
  });
}

t.test('a guest that polls is not owed anything', async (t) => {
  const lab = await openNotifyLab(t);
  const loop = new Loop(lab.eal);
  const ring = coalesce(lab.ring({ packed: false, size: 256, eventIdx: false }), COALESCE_ON);
  ring.wish('never');
  for (let i = 0; i < 100; i++) ring.pass(8);
  t.equal(loop.owing, 0);
  t.same(ring.counts(), { sent: 0, suppressed: 100, postponed: 0 });
});

t.test('half a ring ends the wait, whatever `frames` says', async (t) => {
  const lab = await openNotifyLab(t);
  new Loop(lab.eal);
  const ring = coalesce(lab.ring({ packed: false, size: 16, eventIdx: true }), COALESCE_ON, USECS, 32768);
  ring.arm();
  ring.pass(3);
  ring.pass(4);
  t.equal(ring.counts().sent, 0);
  ring.pass(1);
  t.equal(ring.counts().sent, 1);
});

t.test('an lcore that makes no promise tells at once, also what another owes', async (t) => {
  const lab = await openNotifyLab(t);
  const loop = new Loop(lab.eal);
  const ring = coalesce(lab.ring({ packed: true, size: 256, eventIdx: true }), COALESCE_ON);
  loop.promise(false);
  ring.arm();
  ring.pass(1);
  t.equal(ring.counts().sent, 1);

  loop.promise(true);
  ring.arm();
  ring.pass(1);
  t.equal(ring.counts().sent, 1);
  t.equal(loop.owing, 1);
  const other = new Loop(lab.eal, 7);
  ring.pass(1, other.id);
  t.equal(ring.counts().sent, 2, 'one for both bursts');
  t.equal(ring.read(QUEUE_OWED), 0);
  ring.arm();
  ring.pass(1, other.id);
  t.equal(ring.counts().sent, 3, 'and while it stands in the list of the first, the other never waits');
  loop.look(1);
  t.equal(loop.owing, 0);
  ring.arm();
  ring.pass(1, other.id);
  t.equal(ring.counts().sent, 3);
  t.equal(other.owing, 1);
  t.equal(other.look(0, true), 0);
  t.equal(ring.counts().sent, 4);
});

t.test('no sleep while a notification is owed; a stopped ring is paid too', async (t) => {
  const lab = await openNotifyLab(t);
  const loop = new Loop(lab.eal);
  const ring = coalesce(lab.ring({ packed: false, size: 256, eventIdx: true }), COALESCE_ON);
  const { wasm } = lab.eal;
  ring.arm();
  ring.pass(1);
  ring.write(QUEUE_LOCK, LOCK_CONTROL);
  t.equal(wasm.lcoreArm(loop.id), 1, 'somebody holds the queue: look again');
  t.equal(loop.look(10 * USECS), 1, 'still owed');
  ring.write(QUEUE_LOCK, 0);
  ring.write(QUEUE_RUN, 0);
  t.equal(wasm.lcoreArm(loop.id), 0);
  wasm.lcoreDisarm(loop.id);
  t.equal(ring.read(QUEUE_NOTIFIED), 1);
  t.equal(loop.owing, 0);
});

t.test('more queues than an lcore has places: the others are told at once', async (t) => {
  const lab = await openNotifyLab(t);
  const loop = new Loop(lab.eal);
  const rings = Array.from({ length: 4 }, () =>
    coalesce(lab.ring({ packed: false, size: 16, eventIdx: true }), COALESCE_ON),
  );
  lab.eal.memory.u32[(LCORE_BASE + loop.id * LCORE_SIZE + LCORE_OWED_COUNT) >>> 2] = 31;
  for (const ring of rings) {
    ring.arm();
    ring.pass(1);
  }
  t.same(
    rings.map((ring) => ring.counts().sent),
    [0, 1, 1, 1],
  );
  // the 31 places before hold address 0, a queue that is owed nothing
  t.equal(loop.look(0, true), 0);
  t.equal(rings[0]!.counts().sent, 1);
});
