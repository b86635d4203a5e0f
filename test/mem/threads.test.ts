import t from 'tap';
import { MBUF_REFCNT } from '../../assembly/layout.js';
import { Mempool } from '../../src/mempool.js';
import { Ring } from '../../src/ring.js';
import { createContext } from './context.js';
import { type Job, runThreads } from './thread.js';

const context = createContext(256);
const { memzones, shared } = context;
let zones = 0;

/** Fresh words of shared memory: the start line, a counter, and room for handles. */
function words(count: number): number {
  return memzones.reserve(`words ${zones++}`, count * 4).address;
}

function common(lcoreId: number, line: number, threads: number) {
  return { shared, lcoreId, line, threads, scratch: words(64) };
}

t.test('many producers, many consumers: every object arrives exactly once, each producer in order', async (t) => {
  const each = 1_000_000;
  const threads = 2;
  const ring = Ring.create(context, { name: 'mpmc', count: 1023 });
  const line = words(1);
  const consumed = words(1);
  const jobs: Job[] = [0, 1].map((id) => ({
    ...common(id, line, threads),
    kind: 'ring',
    ring: ring.address,
    first: 1 + id * each,
    last: 1 + (id + 1) * each,
    consume: true,
    total: threads * each,
    consumed,
  }));
  const found = (await runThreads(jobs)) as Uint32Array[];
  const times = new Uint8Array(threads * each + 1);
  let disorder = 0;
  for (const seen of found) {
    const last = [0, 0];
    for (const object of seen) {
      times[object]!++;
      const producer = Math.floor((object - 1) / each);
      if (object <= last[producer]!) disorder++;
      last[producer] = object;
    }
  }
  t.equal(times.indexOf(0, 1), -1, 'none is missing');
  t.ok(
    times.subarray(1).every((count) => count === 1),
    'none came twice',
  );
  t.equal(disorder, 0, 'a consumer sees the objects of one producer in their order');
  t.equal(ring.count, 0);
});

t.test('one producer, one consumer: everything arrives in order', async (t) => {
  const total = 150_000;
  for (const mode of [
    { singleProducer: true, singleConsumer: true },
    { singleProducer: false, singleConsumer: true },
    { singleProducer: true, singleConsumer: false },
  ]) {
    const ring = Ring.create(context, { name: `spsc ${JSON.stringify(mode)}`, count: 127, ...mode });
    const line = words(1);
    const both = { kind: 'ring', ring: ring.address, total, consumed: words(1) } as const;
    const [, seen] = (await runThreads([
      { ...common(0, line, 2), ...both, first: 1, last: 1 + total, consume: false },
      { ...common(1, line, 2), ...both, first: 0, last: 0, consume: true },
    ])) as Uint32Array[];
    t.equal(seen!.length, total);
    t.ok(
      seen!.every((object, i) => object === i + 1),
      'in order',
    );
  }
});

t.test('lcores that share a pool never hold the same packet', async (t) => {
  const pool = Mempool.createPktmbuf(context, { name: 'shared', count: 300, cacheSize: 64, dataRoomBytes: 64 });
  const line = words(1);
  const found = (await runThreads(
    [0, 1, 2].map((id) => ({ ...common(id, line, 3), kind: 'pool', pool: pool.address, rounds: 6000 })),
  )) as { faults: number; got: number }[];
  for (const { faults, got } of found) {
    t.equal(faults, 0);
    t.ok(got > 0);
  }
  t.equal(pool.availCount, 300, 'and all of them are back');
});

t.test('references that threads drop at the same time: the last one frees', async (t) => {
  const count = 20_000;
  const pool = Mempool.createPktmbuf(context, { name: 'refs', count, dataRoomBytes: 0 });
  const handles = words(count);
  const array = new Uint32Array(context.memory.buffer, handles, count);
  t.ok(pool.allocBulk(array, count));
  for (const handle of array) context.memory.u32[(handle + MBUF_REFCNT) >>> 2] = 2;
  const line = words(1);
  await runThreads([0, 1].map((id) => ({ ...common(id, line, 2), kind: 'free', handles, count })));
  t.equal(pool.availCount, count);
  t.ok(
    array.every((handle) => context.memory.u32[(handle + MBUF_REFCNT) >>> 2] === 1),
    'each has one reference again',
  );
});
