import fc from 'fast-check';
import t from 'tap';
import { RING_CONS_HEAD, RING_CONS_TAIL, RING_PROD_HEAD, RING_PROD_TAIL } from '../../assembly/layout.js';
import { Burst } from '../../src/burst.js';
import { Ring } from '../../src/ring.js';
import { createContext } from './context.js';

const context = createContext();
const MODES = [
  { singleProducer: false, singleConsumer: false },
  { singleProducer: false, singleConsumer: true },
  { singleProducer: true, singleConsumer: false },
  { singleProducer: true, singleConsumer: true },
];
/** Index values around which the four indexes start: fresh, and about to wrap at 2^32. */
const STARTS = [0, 0xffff_fff0, 0xffff_ffff, 0x7fff_fffe];

/** One call: which, and how many objects. */
const operation = fc.record({
  kind: fc.constantFrom<'enqueueBulk' | 'enqueueBurst' | 'dequeueBulk' | 'dequeueBurst'>(
    'enqueueBulk',
    'enqueueBurst',
    'dequeueBulk',
    'dequeueBurst',
  ),
  count: fc.integer({ min: 0, max: 80 }),
});

for (const mode of MODES) {
  const title = `${mode.singleProducer ? 'SP' : 'MP'}/${mode.singleConsumer ? 'SC' : 'MC'}`;
  t.test(`${title}: any calls behave as an array used as a queue`, async (t) => {
    const burst = Burst.create(context, 100);
    const run = fc.property(
      fc.integer({ min: 1, max: 130 }),
      fc.constantFrom(...STARTS),
      fc.array(operation, { maxLength: 60 }),
      (count, start, operations) => {
        const ring = Ring.create(context, { name: 'model', count, ...mode });
        for (const field of [RING_PROD_HEAD, RING_PROD_TAIL, RING_CONS_HEAD, RING_CONS_TAIL]) {
          context.memory.u32[(ring.address + field) >>> 2] = start;
        }
        const model: number[] = [];
        let next = 1;
        try {
          for (const { kind, count } of operations) {
            burst.handles.fill(0xdead_beef);
            if (kind === 'enqueueBulk' || kind === 'enqueueBurst') {
              const free = ring.capacity - model.length;
              const expected = count <= free ? count : kind === 'enqueueBulk' ? 0 : free;
              for (let i = 0; i < count; i++) burst.handles[i] = next + i;
              if (ring[kind](burst, count) !== expected) return false;
              for (let i = 0; i < expected; i++) model.push(next + i);
              next += count;
            } else {
              const expected = count <= model.length ? count : kind === 'dequeueBulk' ? 0 : model.length;
              // from index 7 on: neither end of the array may be touched
              if (ring[kind](burst, count, 7) !== expected) return false;
              const wanted = model.splice(0, expected);
              if (wanted.some((object, i) => burst.handles[7 + i] !== object)) return false;
              if (burst.handles[6] !== 0xdead_beef || burst.handles[7 + expected] !== 0xdead_beef) return false;
            }
            if (ring.count !== model.length || ring.freeCount !== ring.capacity - model.length) return false;
          }
          return true;
        } finally {
          ring.free();
        }
      },
    );
    t.doesNotThrow(() => fc.assert(run, { numRuns: 150 }));
    burst.release();
  });
}

t.test('slots are the next power of two above the count', async (t) => {
  for (const [count, size] of [
    [1, 2],
    [3, 4],
    [4, 8],
    [511, 512],
    [512, 1024],
  ] as const) {
    const ring = Ring.create(context, { name: 'size', count });
    t.equal(ring.size, size);
    t.equal(ring.capacity, size - 1);
    ring.free();
  }
});

t.test('a ring is found by name and by address, and freed once', async (t) => {
  const ring = Ring.create(context, { name: 'found', count: 100, singleProducer: true });
  const burst = Burst.create(context, 4);
  burst.handles.set([5, 6, 7, 8]);
  t.equal(ring.enqueueBulk(burst, 4), 4);
  const attached = Ring.attach(context, ring.address);
  t.match(attached, { size: 128, capacity: 127, singleProducer: true, singleConsumer: false, count: 4 });
  t.equal(Ring.lookup(context, 'found')?.address, ring.address);
  t.equal(Ring.lookup(context, 'lost'), undefined);
  t.throws(() => attached.free(), { code: 'ERR_INVALID_STATE' });
  t.throws(() => Ring.create(context, { name: 'found', count: 1 }), { code: 'ERR_INVALID_ARGUMENT' });
  ring.free();
  t.throws(() => ring.free(), { code: 'ERR_INVALID_STATE' });
  t.throws(() => Ring.attach(context, burst.address), { code: 'ERR_INVALID_ARGUMENT' });
  t.throws(() => Ring.attach(context, context.memory.endAddress), { code: 'ERR_INVALID_ARGUMENT' });
  burst.release();
});

t.test('objects outside their array, or outside the shared memory, are refused', async (t) => {
  const ring = Ring.create(context, { name: 'refuses', count: 100 });
  const burst = Burst.create(context, 8);
  const array = new Uint32Array(context.memory.buffer, burst.address, 8);
  for (const objects of [burst, array]) {
    t.equal(ring.enqueueBurst(objects, 8), 8);
    t.equal(ring.dequeueBurst(objects, 3, 5), 3);
    for (const [count, from] of [
      [9, 0],
      [4, 5],
      [-1, 0],
      [1, -1],
      [1.5, 0],
      [Number.NaN, 0],
    ] as const) {
      t.throws(
        () => ring.enqueueBurst(objects, count, from),
        { code: 'ERR_INVALID_ARGUMENT' },
        `${count} from ${from}`,
      );
    }
  }
  const own = new Uint32Array(new SharedArrayBuffer(32));
  t.throws(() => ring.enqueueBurst(own, 1), { code: 'ERR_INVALID_ARGUMENT', message: /shared memory/ });
  for (const count of [0, -5, 1.5, 2 ** 26, Number.NaN]) {
    t.throws(() => Ring.create(context, { name: 'count', count }), { code: 'ERR_INVALID_ARGUMENT' }, `count ${count}`);
  }
  for (const capacity of [0, 513, 1.5]) {
    t.throws(() => Burst.create(context, capacity), { code: 'ERR_INVALID_ARGUMENT' }, `capacity ${capacity}`);
  }
  ring.free();
  burst.release();
});
