/**
 * Packet buffers (rte_mbuf). A handle is the address of a 64-byte header; in its pool's element its own
 * buffer follows it:
 *
 *   element: | header, MBUF_SIZE | headroom, MBUF_HEADROOM | data room ... |
 *            ^ handle            ^ MBUF_BUF                ^ data of a fresh mbuf (MBUF_DATA_OFF = MBUF_HEADROOM)
 *
 * INVARIANT of an mbuf that lies in its pool, kept by everything that frees and relied on by everything that allocates
 * without mbufReset (the receive paths):
 *
 *   MBUF_REFCNT = 1, MBUF_NEXT = 0, MBUF_NB_SEGS = 1
 *   MBUF_BUF, MBUF_BUF_LEN: its own buffer; MBUF_POOL: its pool
 *   MBUF_OL_FLAGS: MBUF_F_INDIRECT and MBUF_F_EXTERNAL clear
 *
 * Everything else is left over from its last use: who allocates raw writes MBUF_DATA_OFF, MBUF_DATA_LEN, MBUF_PKT_LEN,
 * MBUF_PORT, MBUF_OL_FLAGS and whatever those flags announce. Who unlinks segments sets MBUF_NB_SEGS = 1 together
 * with MBUF_NEXT = 0, because mbufFreeBulk looks at MBUF_NEXT alone.
 *
 * Whose buffer it is:
 *   direct     its own
 *   indirect   another mbuf's (MBUF_OWNER), never itself indirect; holds one reference to that header
 *   external   nobody's here (a guest window, for instance); holds one reference to the EXT record at MBUF_OWNER
 *
 * Reference counts change atomically except where the caller is the only holder, as in DPDK: then nobody else can look.
 */
import {
  EXT_FREED,
  EXT_REFCNT,
  MAX_SEGMENTS,
  MBUF_BUF,
  MBUF_BUF_LEN,
  MBUF_DATA_LEN,
  MBUF_DATA_OFF,
  MBUF_F_EXTERNAL,
  MBUF_F_INDIRECT,
  MBUF_HASH,
  MBUF_HEADROOM,
  MBUF_L2_LEN,
  MBUF_NB_SEGS,
  MBUF_NEXT,
  MBUF_OL_FLAGS,
  MBUF_OWNER,
  MBUF_PACKET_TYPE,
  MBUF_PKT_LEN,
  MBUF_POOL,
  MBUF_PORT,
  MBUF_REFCNT,
  MBUF_SIZE,
  MBUF_TSO_SEGSZ,
  MBUF_UDATA,
  MBUF_VLAN_TCI,
  MEMPOOL_BUF_LEN,
} from '../layout';
import { mempoolGet, mempoolGetBulk, mempoolPut, mempoolPutBulk } from './mempool';

const ATTACHED: u32 = MBUF_F_INDIRECT | MBUF_F_EXTERNAL;
/** MBUF_NEXT and MBUF_REFCNT as one u64: last segment, one reference. */
const ALONE: u64 = 1 << 32;
/** MBUF_NB_SEGS and MBUF_PORT as one u32: one segment, from no port. */
const ONE_SEGMENT_NO_PORT: u32 = 0xffff_0001;

/** Address of the first byte of a segment's data (rte_pktmbuf_mtod). */
// @ts-ignore: decorator
@inline
export function mbufData(mbuf: u32): u32 {
  return load<u32>(mbuf, MBUF_BUF) + load<u32>(mbuf, MBUF_DATA_OFF);
}

/** Buffer bytes that stay free before the data of a fresh mbuf. */
// @ts-ignore: decorator
@inline
function freshDataOff(bufLen: u32): u32 {
  return bufLen < MBUF_HEADROOM ? bufLen : MBUF_HEADROOM;
}

/** Empties a raw mbuf: no data, full headroom, no flags, no port (rte_pktmbuf_reset). */
// @ts-ignore: decorator
@inline
export function mbufReset(mbuf: u32): void {
  store<u32>(mbuf, freshDataOff(load<u32>(mbuf, MBUF_BUF_LEN)), MBUF_DATA_OFF);
  store<u32>(mbuf, 0, MBUF_NEXT);
  store<u64>(mbuf, 0, MBUF_PKT_LEN); // and MBUF_DATA_LEN
  store<u32>(mbuf, ONE_SEGMENT_NO_PORT, MBUF_NB_SEGS);
  store<u32>(mbuf, load<u32>(mbuf, MBUF_OL_FLAGS) & ATTACHED, MBUF_OL_FLAGS);
  store<u32>(mbuf, 0, MBUF_PACKET_TYPE);
  store<u64>(mbuf, 0, MBUF_HASH); // and the VLAN tags
  store<u64>(mbuf, 0, MBUF_L2_LEN); // and MBUF_L4_LEN, MBUF_L3_LEN, MBUF_TSO_SEGSZ, MBUF_UDATA
}

/** mbufReset of an mbuf straight from its pool: what the invariant promises is not written again. */
// @ts-ignore: decorator
@inline
function resetRaw(mbuf: u32, dataOff: u32): void {
  store<u32>(mbuf, dataOff, MBUF_DATA_OFF);
  store<u64>(mbuf, 0, MBUF_PKT_LEN); // and MBUF_DATA_LEN
  store<u32>(mbuf, ONE_SEGMENT_NO_PORT, MBUF_NB_SEGS);
  v128.store(mbuf, i64x2.splat(0), MBUF_OL_FLAGS); // and MBUF_PACKET_TYPE, MBUF_HASH, the VLAN tags
  store<u64>(mbuf, 0, MBUF_L2_LEN); // up to MBUF_UDATA
}

/** An empty mbuf, 0 when the pool is exhausted (rte_pktmbuf_alloc). */
export function mbufAlloc(pool: u32, lcoreId: u32): u32 {
  const mbuf = mempoolGet(pool, lcoreId);
  if (mbuf != 0) resetRaw(mbuf, freshDataOff(load<u32>(pool, MEMPOOL_BUF_LEN)));
  return mbuf;
}

/** `count` empty mbufs into the array at `objects`, all or nothing: 1 or 0 (rte_pktmbuf_alloc_bulk). */
export function mbufAllocBulk(pool: u32, lcoreId: u32, objects: u32, count: u32): u32 {
  if (mempoolGetBulk(pool, lcoreId, objects, count) == 0) return 0;
  const dataOff = freshDataOff(load<u32>(pool, MEMPOOL_BUF_LEN));
  const end = objects + (count << 2);
  while (objects < end) {
    resetRaw(load<u32>(objects), dataOff);
    objects += 4;
  }
  return 1;
}

/** Gives up one reference to every segment of a packet (rte_pktmbuf_free). 0 is no packet. */
export function mbufFree(mbuf: u32, lcoreId: u32): void {
  while (mbuf != 0) {
    const next = load<u32>(mbuf, MBUF_NEXT);
    mbufFreeSegment(mbuf, lcoreId);
    mbuf = next;
  }
}

/** Gives up one reference to a segment alone; the last one returns it to its pool (rte_pktmbuf_free_seg). */
export function mbufFreeSegment(mbuf: u32, lcoreId: u32): void {
  if (!dropReference(mbuf)) return;
  if (load<u32>(mbuf, MBUF_OL_FLAGS) & ATTACHED) detach(mbuf, lcoreId);
  putBack(mbuf, lcoreId);
}

/** True when the caller held the last reference. */
// @ts-ignore: decorator
@inline
function dropReference(mbuf: u32): bool {
  const references = atomic.load<u32>(mbuf, MBUF_REFCNT);
  if (!ASC_NO_ASSERT) {
    if (references == 0) unreachable(); // somebody dropped a reference that was not theirs
  }
  return references == 1 || atomic.sub<u32>(mbuf, 1, MBUF_REFCNT) == 1;
}

/** Restores what the invariant asks of a direct mbuf whose last reference is gone, and returns it to its pool. */
// @ts-ignore: decorator
@inline
function putBack(mbuf: u32, lcoreId: u32): void {
  store<u64>(mbuf, ALONE, MBUF_NEXT);
  store<u16>(mbuf, 1, MBUF_NB_SEGS);
  mempoolPut(load<u32>(mbuf, MBUF_POOL), lcoreId, mbuf);
}

/** Gives an attached mbuf its own buffer back and drops its hold on the other one (rte_pktmbuf_detach). */
function detach(mbuf: u32, lcoreId: u32): void {
  const flags = load<u32>(mbuf, MBUF_OL_FLAGS);
  const owner = load<u32>(mbuf, MBUF_OWNER);
  const bufLen = load<u32>(load<u32>(mbuf, MBUF_POOL), MEMPOOL_BUF_LEN);
  store<u32>(mbuf, mbuf + MBUF_SIZE, MBUF_BUF);
  store<u32>(mbuf, bufLen, MBUF_BUF_LEN);
  store<u32>(mbuf, freshDataOff(bufLen), MBUF_DATA_OFF);
  store<u32>(mbuf, 0, MBUF_DATA_LEN);
  store<u32>(mbuf, 0, MBUF_OL_FLAGS);
  store<u32>(mbuf, 0, MBUF_OWNER);
  if (flags & MBUF_F_EXTERNAL) {
    releaseExternal(owner);
  } else if (dropReference(owner)) {
    putBack(owner, lcoreId); // an owner is direct: it has nothing to detach from
  }
}

/** The last reference advances EXT_FREED, with release order: the buffer's owner polls it. */
function releaseExternal(ext: u32): void {
  if (atomic.load<u32>(ext, EXT_REFCNT) == 1 || atomic.sub<u32>(ext, 1, EXT_REFCNT) == 1) {
    store<u32>(ext, 0, EXT_REFCNT);
    atomic.store<u32>(ext, load<u32>(ext, EXT_FREED) + 1, EXT_FREED);
  }
}

/**
 * Frees `count` packets (rte_pktmbuf_free_bulk). Runs of plain packets (one segment, one reference, own buffer) of one
 * pool go back in one mempoolPutBulk, straight from the array.
 */
export function mbufFreeBulk(objects: u32, count: u32, lcoreId: u32): void {
  const end = objects + (count << 2);
  let run = objects; // [run, objects): plain packets of `pool`, not put back yet
  let pool: u32 = 0;
  while (objects < end) {
    const mbuf = load<u32>(objects);
    // a plain read of the count will do: what we write after it depends on it, and a count of 1 is ours alone
    if (mbuf != 0 && load<u64>(mbuf, MBUF_NEXT) == ALONE && (load<u32>(mbuf, MBUF_OL_FLAGS) & ATTACHED) == 0) {
      const home = load<u32>(mbuf, MBUF_POOL);
      if (home != pool) {
        if (run < objects) mempoolPutBulk(pool, lcoreId, run, (objects - run) >>> 2);
        run = objects;
        pool = home;
      }
    } else {
      if (run < objects) mempoolPutBulk(pool, lcoreId, run, (objects - run) >>> 2);
      run = objects + 4;
      mbufFree(mbuf, lcoreId);
    }
    objects += 4;
  }
  if (run < end) mempoolPutBulk(pool, lcoreId, run, (end - run) >>> 2);
}

/** One more reference to a header that the caller may touch; `alone`: nobody else can reach it. */
// @ts-ignore: decorator
@inline
function addReference(mbuf: u32, alone: bool): void {
  if (alone && atomic.load<u32>(mbuf, MBUF_REFCNT) == 1) {
    store<u32>(mbuf, 2, MBUF_REFCNT);
  } else {
    atomic.add<u32>(mbuf, 1, MBUF_REFCNT);
  }
}

/** What the first segment says about the packet: port, type, hash, VLAN, header lengths, TSO, user's field. */
// @ts-ignore: decorator
@inline
function copyMetadata(to: u32, from: u32): void {
  store<u16>(to, load<u16>(from, MBUF_PORT), MBUF_PORT);
  store<u32>(to, load<u32>(from, MBUF_PACKET_TYPE), MBUF_PACKET_TYPE);
  store<u64>(to, load<u64>(from, MBUF_HASH), MBUF_HASH); // and the VLAN tags
  store<u64>(to, load<u64>(from, MBUF_L2_LEN), MBUF_L2_LEN); // up to MBUF_UDATA
}

/** Points a fresh mbuf at another's data, and holds on to that buffer (rte_pktmbuf_attach). */
export function attach(clone: u32, mbuf: u32): void {
  const flags = load<u32>(mbuf, MBUF_OL_FLAGS);
  let owner = load<u32>(mbuf, MBUF_OWNER);
  if (flags & MBUF_F_EXTERNAL) {
    atomic.add<u32>(owner, 1, EXT_REFCNT);
    store<u32>(clone, flags, MBUF_OL_FLAGS);
  } else if (flags & MBUF_F_INDIRECT) {
    addReference(owner, atomic.load<u32>(mbuf, MBUF_REFCNT) == 1);
    store<u32>(clone, flags, MBUF_OL_FLAGS);
  } else {
    owner = mbuf;
    addReference(owner, true);
    store<u32>(clone, flags | MBUF_F_INDIRECT, MBUF_OL_FLAGS);
  }
  store<u32>(clone, owner, MBUF_OWNER);
  store<u64>(clone, load<u64>(mbuf, MBUF_BUF), MBUF_BUF); // and MBUF_DATA_OFF
  store<u32>(clone, load<u32>(mbuf, MBUF_BUF_LEN), MBUF_BUF_LEN);
  store<u32>(clone, load<u32>(mbuf, MBUF_DATA_LEN), MBUF_DATA_LEN);
  store<u32>(clone, load<u32>(mbuf, MBUF_DATA_LEN), MBUF_PKT_LEN);
  copyMetadata(clone, mbuf);
}

/**
 * A second packet over the same bytes: one indirect (or external) segment from `pool` for every segment of `mbuf`; 0
 * when the pool is exhausted (rte_pktmbuf_clone). The bytes are shared: nobody may change them while both live.
 */
export function mbufClone(mbuf: u32, pool: u32, lcoreId: u32): u32 {
  const head = mempoolGet(pool, lcoreId);
  if (head == 0) return 0;
  attach(head, mbuf);
  let last = head;
  for (let from = load<u32>(mbuf, MBUF_NEXT); from != 0; from = load<u32>(from, MBUF_NEXT)) {
    const segment = mempoolGet(pool, lcoreId);
    if (segment == 0) {
      mbufFree(head, lcoreId);
      return 0;
    }
    attach(segment, from);
    store<u32>(last, segment, MBUF_NEXT);
    last = segment;
  }
  store<u16>(head, load<u16>(mbuf, MBUF_NB_SEGS), MBUF_NB_SEGS);
  store<u32>(head, load<u32>(mbuf, MBUF_PKT_LEN), MBUF_PKT_LEN);
  return head;
}

/**
 * A packet of its own with bytes [offset, offset + length) of `mbuf`, as many as there are (rte_pktmbuf_copy). 0 when
 * the offset is at or beyond the end, the pool is exhausted, or its buffers are so small that MAX_SEGMENTS do not do.
 */
export function mbufCopy(mbuf: u32, pool: u32, offset: u32, length: u32, lcoreId: u32): u32 {
  const pktLen = load<u32>(mbuf, MBUF_PKT_LEN);
  if (offset >= pktLen) return 0;
  if (length > pktLen - offset) length = pktLen - offset;
  const head = mbufAlloc(pool, lcoreId);
  if (head == 0) return 0;
  copyMetadata(head, mbuf);
  store<u32>(head, load<u32>(mbuf, MBUF_OL_FLAGS) & ~ATTACHED, MBUF_OL_FLAGS);
  let from = mbuf;
  let last = head;
  let segments: u32 = 1;
  let room = load<u32>(head, MBUF_BUF_LEN) - load<u32>(head, MBUF_DATA_OFF);
  let rest = length;
  while (rest != 0) {
    const available = load<u32>(from, MBUF_DATA_LEN);
    if (offset >= available) {
      offset -= available;
      from = load<u32>(from, MBUF_NEXT);
      if (from == 0) break; // the chain is shorter than it says
      continue;
    }
    if (room == 0) {
      const segment: u32 = segments < MAX_SEGMENTS ? mbufAlloc(pool, lcoreId) : 0;
      if (segment == 0) {
        mbufFree(head, lcoreId);
        return 0;
      }
      store<u32>(last, segment, MBUF_NEXT);
      last = segment;
      store<u16>(head, ++segments, MBUF_NB_SEGS);
      room = load<u32>(segment, MBUF_BUF_LEN) - load<u32>(segment, MBUF_DATA_OFF);
      if (room == 0) continue; // an empty buffer: ends at MAX_SEGMENTS
    }
    let part = available - offset;
    if (part > room) part = room;
    if (part > rest) part = rest;
    const filled = load<u32>(last, MBUF_DATA_LEN);
    memory.copy(mbufData(last) + filled, mbufData(from) + offset, part);
    store<u32>(last, filled + part, MBUF_DATA_LEN);
    offset += part;
    room -= part;
    rest -= part;
  }
  store<u32>(head, length - rest, MBUF_PKT_LEN);
  return head;
}

/** Appends packet `tail` to packet `head`: 1, or 0 (nothing changed) beyond MAX_SEGMENTS (rte_pktmbuf_chain). */
export function mbufChain(head: u32, tail: u32): u32 {
  const segments = <u32>load<u16>(head, MBUF_NB_SEGS) + <u32>load<u16>(tail, MBUF_NB_SEGS);
  if (segments > MAX_SEGMENTS || head == tail) return 0;
  let last = head;
  while (load<u32>(last, MBUF_NEXT) != 0) last = load<u32>(last, MBUF_NEXT);
  store<u32>(last, tail, MBUF_NEXT);
  store<u16>(head, segments, MBUF_NB_SEGS);
  store<u32>(head, load<u32>(head, MBUF_PKT_LEN) + load<u32>(tail, MBUF_PKT_LEN), MBUF_PKT_LEN);
  // only a first segment speaks for a packet
  store<u32>(tail, load<u32>(tail, MBUF_DATA_LEN), MBUF_PKT_LEN);
  return 1;
}

/**
 * Points a fresh, direct mbuf at bytes that no mbuf owns (rte_pktmbuf_attach_extbuf): no data in it yet, data offset 0.
 * It takes over one reference of the EXT record, which the caller has counted in EXT_REFCNT beforehand; clones add
 * their own. When the last is gone EXT_FREED advances.
 */
export function mbufAttachExternal(mbuf: u32, ext: u32, address: u32, lengthBytes: u32): void {
  store<u32>(mbuf, address, MBUF_BUF);
  store<u32>(mbuf, lengthBytes, MBUF_BUF_LEN);
  store<u32>(mbuf, 0, MBUF_DATA_OFF);
  store<u64>(mbuf, 0, MBUF_PKT_LEN); // and MBUF_DATA_LEN
  store<u32>(mbuf, ext, MBUF_OWNER);
  store<u32>(mbuf, load<u32>(mbuf, MBUF_OL_FLAGS) | MBUF_F_EXTERNAL, MBUF_OL_FLAGS);
}
