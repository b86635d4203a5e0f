/**
 * Fixed-size elements, allocated and freed in bulk (rte_mempool). Free elements lie in three places:
 *
 *   cache of an lcore      a stack that only its lcore touches: no atomics; a burst is one block copy off or onto it
 *   common ring            many producers, many consumers; refilled from and flushed to when a cache runs dry or over
 *   caller's hands
 *
 * A cache is refilled to `limit` and flushed back to `limit` once it has grown past 1.5 × limit, so bursts of up to
 * half the limit come and go without the ring. LCORE_ANY (the control plane) uses the ring directly. Get fails only
 * when the caller's own cache and the ring together are short; other lcores' caches are out of reach.
 *
 * A cache is used by one thread at a time: the thread that runs the lcore.
 */
import {
  MAX_LCORES,
  MBUF_BUF,
  MBUF_BUF_LEN,
  MBUF_POOL,
  MBUF_REFCNT,
  MBUF_SIZE,
  MEMPOOL_BUF_LEN,
  MEMPOOL_CACHE_HANDLES,
  MEMPOOL_CACHE_LEN,
  MEMPOOL_CACHE_LIMIT,
  MEMPOOL_CACHE_SIZE,
  MEMPOOL_CACHES,
  MEMPOOL_COUNT,
  MEMPOOL_ELT_SIZE,
  MEMPOOL_ELTS,
  MEMPOOL_RING,
} from '../layout';
import { mbufReset } from './mbuf';
import {
  copyWords,
  ringCount,
  ringDequeueBulk,
  ringDequeueOneMc,
  ringEnqueueBulk,
  ringEnqueueOneMp,
  ringInit,
} from './ring';

/**
 * Fills a pool with all its elements (rte_mempool_create, rte_pktmbuf_pool_init). `ring` has room for the next power of
 * two above `count` slots and is initialised here. With a `bufLen` every element becomes an mbuf, buffer behind
 * it.
 */
export function mempoolInit(
  pool: u32,
  ring: u32,
  elts: u32,
  count: u32,
  eltSize: u32,
  cacheLimit: u32,
  bufLen: u32,
): void {
  store<u32>(pool, ring, MEMPOOL_RING);
  store<u32>(pool, count, MEMPOOL_COUNT);
  store<u32>(pool, eltSize, MEMPOOL_ELT_SIZE);
  store<u32>(pool, elts, MEMPOOL_ELTS);
  store<u32>(pool, cacheLimit, MEMPOOL_CACHE_LIMIT);
  store<u32>(pool, bufLen, MEMPOOL_BUF_LEN);
  for (let lcore: u32 = 0; lcore < MAX_LCORES; lcore++) store<u32>(cacheOf(pool, lcore), 0, MEMPOOL_CACHE_LEN);
  ringInit(ring, 1 << (32 - clz<u32>(count)), 0);
  let element = elts;
  for (let i: u32 = 0; i < count; i++) {
    if (bufLen != 0) initMbuf(pool, element, bufLen);
    ringEnqueueOneMp(ring, element);
    element += eltSize;
  }
}

/** A fresh mbuf: the invariants of mbuf.ts hold from here on (rte_pktmbuf_init). */
function initMbuf(pool: u32, mbuf: u32, bufLen: u32): void {
  memory.fill(mbuf, 0, MBUF_SIZE);
  store<u32>(mbuf, mbuf + MBUF_SIZE, MBUF_BUF);
  store<u32>(mbuf, bufLen, MBUF_BUF_LEN);
  store<u32>(mbuf, pool, MBUF_POOL);
  store<u32>(mbuf, 1, MBUF_REFCNT);
  mbufReset(mbuf);
}

// @ts-ignore: decorator
@inline
function cacheOf(pool: u32, lcoreId: u32): u32 {
  return pool + MEMPOOL_CACHES + lcoreId * MEMPOOL_CACHE_SIZE;
}

/** Address of the handle at `index` of a cache, less MEMPOOL_CACHE_HANDLES. */
// @ts-ignore: decorator
@inline
function handlesAt(cache: u32, index: u32): u32 {
  return cache + MEMPOOL_CACHE_HANDLES + (index << 2);
}

/** Writes `count` elements to the array at `objects`, all or nothing: 1 or 0 (rte_mempool_get_bulk). */
export function mempoolGetBulk(pool: u32, lcoreId: u32, objects: u32, count: u32): u32 {
  if (lcoreId >= MAX_LCORES) return u32(ringDequeueBulk(load<u32>(pool, MEMPOOL_RING), objects, count) == count);
  const cache = cacheOf(pool, lcoreId);
  const length = load<u32>(cache, MEMPOOL_CACHE_LEN);
  if (count > length) return getBulkSlow(pool, cache, objects, count);
  store<u32>(cache, length - count, MEMPOOL_CACHE_LEN);
  copyWords(objects, handlesAt(cache, length - count), count);
  return 1;
}

function getBulkSlow(pool: u32, cache: u32, objects: u32, count: u32): u32 {
  if (refill(pool, cache, count)) {
    const length = load<u32>(cache, MEMPOOL_CACHE_LEN) - count;
    store<u32>(cache, length, MEMPOOL_CACHE_LEN);
    copyWords(objects, handlesAt(cache, length), count);
    return 1;
  }
  // a burst larger than the cache, or a pool that is nearly empty: the whole cache and the rest from the ring
  const length = load<u32>(cache, MEMPOOL_CACHE_LEN);
  const rest = count - length;
  if (ringDequeueBulk(load<u32>(pool, MEMPOOL_RING), objects + (length << 2), rest) != rest) return 0;
  copyWords(objects, handlesAt(cache, 0), length);
  store<u32>(cache, 0, MEMPOOL_CACHE_LEN);
  return 1;
}

/**
 * Brings a cache that holds fewer than `count` up to `limit` + `count`; false when it has no business to, or the ring
 * too little.
 */
function refill(pool: u32, cache: u32, count: u32): bool {
  const limit = load<u32>(pool, MEMPOOL_CACHE_LIMIT);
  if (count > limit) return false;
  const length = load<u32>(cache, MEMPOOL_CACHE_LEN);
  const wanted = limit + count - length;
  if (ringDequeueBulk(load<u32>(pool, MEMPOOL_RING), handlesAt(cache, length), wanted) != wanted) return false;
  store<u32>(cache, length + wanted, MEMPOOL_CACHE_LEN);
  return true;
}

/** Gives `count` elements back (rte_mempool_put_bulk). They must come from this pool. */
export function mempoolPutBulk(pool: u32, lcoreId: u32, objects: u32, count: u32): void {
  const limit = load<u32>(pool, MEMPOOL_CACHE_LIMIT);
  if (lcoreId >= MAX_LCORES || count > limit) {
    ringEnqueueBulk(load<u32>(pool, MEMPOOL_RING), objects, count);
    return;
  }
  const cache = cacheOf(pool, lcoreId);
  const length = load<u32>(cache, MEMPOOL_CACHE_LEN);
  copyWords(handlesAt(cache, length), objects, count);
  store<u32>(cache, length + count, MEMPOOL_CACHE_LEN);
  if (length + count > limit + (limit >>> 1)) flushTo(pool, cache, limit);
}

/** Leaves the oldest `keep` elements in a cache and puts the others into the ring. */
function flushTo(pool: u32, cache: u32, keep: u32): void {
  const length = load<u32>(cache, MEMPOOL_CACHE_LEN);
  if (length <= keep) return;
  ringEnqueueBulk(load<u32>(pool, MEMPOOL_RING), handlesAt(cache, keep), length - keep);
  store<u32>(cache, keep, MEMPOOL_CACHE_LEN);
}

/** One element, 0 when there is none (rte_mempool_get). */
export function mempoolGet(pool: u32, lcoreId: u32): u32 {
  if (lcoreId >= MAX_LCORES) return ringDequeueOneMc(load<u32>(pool, MEMPOOL_RING));
  const cache = cacheOf(pool, lcoreId);
  let length = load<u32>(cache, MEMPOOL_CACHE_LEN);
  if (length == 0) {
    if (!refill(pool, cache, 1)) return ringDequeueOneMc(load<u32>(pool, MEMPOOL_RING));
    length = load<u32>(cache, MEMPOOL_CACHE_LEN);
  }
  store<u32>(cache, --length, MEMPOOL_CACHE_LEN);
  return load<u32>(handlesAt(cache, length));
}

/** Gives one element back (rte_mempool_put). */
export function mempoolPut(pool: u32, lcoreId: u32, object: u32): void {
  const limit = load<u32>(pool, MEMPOOL_CACHE_LIMIT);
  if (lcoreId >= MAX_LCORES || limit == 0) {
    ringEnqueueOneMp(load<u32>(pool, MEMPOOL_RING), object);
    return;
  }
  const cache = cacheOf(pool, lcoreId);
  const length = load<u32>(cache, MEMPOOL_CACHE_LEN);
  store<u32>(handlesAt(cache, length), object);
  store<u32>(cache, length + 1, MEMPOOL_CACHE_LEN);
  if (length + 1 > limit + (limit >>> 1)) flushTo(pool, cache, limit);
}

/** Free elements in the ring and in every cache: exact while nobody uses the pool (rte_mempool_avail_count). */
export function mempoolAvailCount(pool: u32): u32 {
  let count = ringCount(load<u32>(pool, MEMPOOL_RING));
  for (let lcore: u32 = 0; lcore < MAX_LCORES; lcore++) {
    count += atomic.load<u32>(cacheOf(pool, lcore), MEMPOOL_CACHE_LEN);
  }
  // elements that move between the two while we count are seen twice
  const total = load<u32>(pool, MEMPOOL_COUNT);
  return count < total ? count : total;
}

/** Puts an lcore's cached elements into the ring, by that lcore or once it has ended (rte_mempool_cache_flush). */
export function mempoolCacheFlush(pool: u32, lcoreId: u32): void {
  if (lcoreId < MAX_LCORES) flushTo(pool, cacheOf(pool, lcoreId), 0);
}
