import fc from 'fast-check';
import t from 'tap';
import {
  LCORE_ANY,
  MEMPOOL_CACHE_LEN,
  MEMPOOL_CACHE_SIZE,
  MEMPOOL_CACHES,
  MEMPOOL_RING,
} from '../../assembly/layout.js';
import { Burst } from '../../src/burst.js';
import { Mempool } from '../../src/mempool.js';
import { attachContext, createContext } from './context.js';

const context = createContext();
const { memory, wasm } = context;
const any = attachContext(context.shared, LCORE_ANY);

/** Length of an lcore's cache, read from memory. */
function cached(pool: Mempool, lcoreId: number): number {
  return memory.u32[(pool.address + MEMPOOL_CACHES + lcoreId * MEMPOOL_CACHE_SIZE + MEMPOOL_CACHE_LEN) >>> 2]!;
}

function inRing(pool: Mempool): number {
  return wasm.ringCount(memory.u32[(pool.address + MEMPOOL_RING) >>> 2]!);
}

t.test('any gets and puts by several lcores hand out each element once, and fail only when they must', async (t) => {
  const array = new Uint32Array(memory.buffer, context.memzones.reserve('objects', 4096).address, 1024);
  const step = fc.record({
    lcoreId: fc.constantFrom(0, 1, 63, LCORE_ANY),
    get: fc.boolean(),
    count: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 600 })),
  });
  const run = fc.property(
    fc.integer({ min: 1, max: 700 }),
    fc.integer({ min: 0, max: 512 }),
    fc.array(step, { maxLength: 60 }),
    (count, cacheWanted, steps) => {
      const cacheSize = Math.min(cacheWanted, Math.floor(count / 1.5));
      const pool = Mempool.create(context, { name: 'model', count, elementBytes: 8, cacheSize });
      const held: number[] = [];
      try {
        for (const { lcoreId, get, count: wanted } of steps) {
          if (get) {
            const own = lcoreId === LCORE_ANY ? 0 : cached(pool, lcoreId);
            const expected = wanted <= own + inRing(pool) ? 1 : 0;
            if (wasm.mempoolGetBulk(pool.address, lcoreId, array.byteOffset, wanted) !== expected) return false;
            if (expected === 1) held.push(...array.subarray(0, wanted));
          } else {
            const back = held.splice(0, wanted);
            array.set(back);
            wasm.mempoolPutBulk(pool.address, lcoreId, array.byteOffset, back.length);
          }
          if (new Set(held).size !== held.length) return false;
          if (held.some((element) => (element - pool.elements) % pool.strideBytes !== 0)) return false;
          if (held.some((e) => e < pool.elements || e >= pool.elements + count * pool.strideBytes)) return false;
          if (pool.inUseCount !== held.length) return false;
          if ([0, 1, 63].some((id) => cached(pool, id) > Math.floor(1.5 * cacheSize))) return false;
        }
        // everything comes back together, whoever held it
        array.set(held);
        wasm.mempoolPutBulk(pool.address, LCORE_ANY, array.byteOffset, held.length);
        for (const id of [0, 1, 63]) pool.flushCache(id);
        return inRing(pool) === count;
      } finally {
        context.memzones.free(context.memzones.lookup('MP_model')!);
      }
    },
  );
  t.doesNotThrow(() => fc.assert(run, { numRuns: 150 }));
});

t.test(
  'a cache is filled by a get, serves the next ones, and is flushed to its limit past 1.5 × the limit',
  async (t) => {
    const pool = Mempool.create(context, { name: 'cache', count: 1000, elementBytes: 64, cacheSize: 64 });
    const burst = Burst.create(context, 128);
    t.ok(pool.getBulk(burst, 10));
    t.equal(cached(pool, 0), 64, 'refilled to the limit behind the burst');
    t.equal(inRing(pool), 1000 - 74);
    t.ok(pool.getBulk(burst, 64));
    t.equal(cached(pool, 0), 0);
    t.equal(inRing(pool), 1000 - 74, 'the ring was not touched');
    pool.putBulk(burst, 64);
    t.ok(pool.getBulk(burst, 32));
    const [top] = burst.handles;
    pool.putBulk(burst, 32);
    t.ok(pool.getBulk(burst, 32));
    t.equal(burst.handles[0], top, 'last in, first out: what is warm comes again');
    pool.putBulk(burst, 32);
    t.equal(cached(pool, 0), 64);

    const second = Burst.create(context, 33);
    t.ok(Mempool.attach(any, pool.address).getBulk(second, 33), 'past the caches');
    pool.putBulk(second, 32);
    t.equal(cached(pool, 0), 96, '1.5 × the limit is still kept');
    second.handles[0] = second.handles[32]!;
    pool.putBulk(second, 1);
    t.equal(cached(pool, 0), 64, 'one more flushes');

    t.ok(pool.getBulk(burst, 100), 'a burst larger than the cache');
    pool.putBulk(burst, 100);
    pool.flushCache();
    t.equal(cached(pool, 0), 0);
    t.equal(pool.inUseCount, 10, 'the first ten');
  },
);

t.test('an empty pool says so, and works again once something is back', async (t) => {
  for (const cacheSize of [0, 32]) {
    const pool = Mempool.createPktmbuf(context, { name: 'small', count: 50, cacheSize, dataRoomBytes: 64 });
    const burst = Burst.create(context, 64);
    t.notOk(pool.allocBulk(burst, 51));
    t.ok(pool.allocBulk(burst, 50));
    t.equal(pool.alloc(), 0);
    t.notOk(pool.allocBulk(burst, 1));
    t.equal(pool.availCount, 0);
    t.throws(() => pool.free(), { code: 'ERR_INVALID_STATE', message: /50 of 50/ });
    burst.free(0, 50);
    t.equal(pool.availCount, 50);
    const seen = new Set<number>();
    for (let mbuf = pool.alloc(); mbuf !== 0; mbuf = pool.alloc()) {
      burst.handles[seen.size] = mbuf;
      seen.add(mbuf);
    }
    t.equal(seen.size, 50, 'one at a time too');
    for (let i = 0; i < 50; i++) burst.free(i, i + 1);
    t.equal(pool.availCount, 50);
    pool.free();
    burst.release();
  }
});

t.test('elements start at cache lines, an odd number of lines apart, and do not overlap', async (t) => {
  for (const elementBytes of [1, 64, 65, 2240, 4096]) {
    const pool = Mempool.create(context, { name: 'layout', count: 3, elementBytes });
    t.equal(pool.elements % 64, 0);
    t.equal((pool.strideBytes / 64) % 2, 1, `${elementBytes}`);
    t.ok(pool.strideBytes >= elementBytes && pool.strideBytes < elementBytes + 128);
    pool.free();
  }
});

t.test('pools are found by name and by address; what makes no sense is refused', async (t) => {
  const pool = Mempool.createPktmbuf(context, { name: 'known', count: 200, dataRoomBytes: 500 });
  t.match(pool, { name: 'known', count: 200, cacheSize: 133, bufferBytes: 628, dataRoomBytes: 500 });
  const attached = Mempool.attach(any, pool.address);
  t.match(attached, { count: 200, cacheSize: 133, bufferBytes: 628, strideBytes: pool.strideBytes });
  t.throws(() => attached.free(), { code: 'ERR_INVALID_STATE' });
  t.equal(Mempool.lookup(context, 'known')?.address, pool.address);
  t.equal(Mempool.lookup(context, 'unknown'), undefined);
  pool.free();
  t.throws(() => pool.free(), { code: 'ERR_INVALID_STATE' });
  for (const options of [
    { count: 0 },
    { count: 1.5 },
    { count: 100, cacheSize: 68 },
    { count: 10_000, cacheSize: 513 },
    { count: 100, cacheSize: -1 },
    { count: 100, dataRoomBytes: -1 },
    { count: 100, dataRoomBytes: 1 << 21 },
  ]) {
    const create = () => Mempool.createPktmbuf(context, { name: 'refused', ...options });
    t.throws(create, { code: 'ERR_INVALID_ARGUMENT', message: /^mempool refused/ }, JSON.stringify(options));
  }
  t.throws(() => Mempool.createPktmbuf(context, { name: 'huge', count: 100_000 }), { code: 'ERR_NO_MEMORY' });
  const plain = Mempool.create(context, { name: 'plain', count: 4, elementBytes: 8 });
  t.throws(() => plain.alloc(), { code: 'ERR_INVALID_STATE' });
  plain.free();
});
