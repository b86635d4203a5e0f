/**
 * Who may change a packet's bytes. A packet that goes to several ports is one set of bytes with several references, and an
 * external buffer is a guest's: neither may be written. `mbufPrivateHead` makes the first bytes writable at the price of a few
 * headers, the payload stays where it is.
 */
import {
  MAX_SEGMENTS,
  MBUF_BUF_LEN,
  MBUF_DATA_LEN,
  MBUF_DATA_OFF,
  MBUF_F_EXTERNAL,
  MBUF_F_INDIRECT,
  MBUF_HASH,
  MBUF_L2_LEN,
  MBUF_NB_SEGS,
  MBUF_NEXT,
  MBUF_OL_FLAGS,
  MBUF_PACKET_TYPE,
  MBUF_PKT_LEN,
  MBUF_PORT,
  MBUF_REFCNT,
} from '../layout';
import { copyFrame } from '../mem/copy';
import { attach, mbufAlloc, mbufData, mbufFree } from '../mem/mbuf';
import { mempoolGet } from '../mem/mempool';

const ATTACHED: u32 = MBUF_F_INDIRECT | MBUF_F_EXTERNAL;

/** True if nobody else sees this segment's bytes: its own buffer, one reference. */
// @ts-ignore: decorator
@inline
export function segmentIsPrivate(segment: u32): bool {
  return (load<u32>(segment, MBUF_OL_FLAGS) & ATTACHED) == 0 && atomic.load<u32>(segment, MBUF_REFCNT) == 1;
}

/** What the first segment says about the packet, but for the lengths of its data and the flags. */
// @ts-ignore: decorator
@inline
export function copyPacketFields(to: u32, from: u32): void {
  store<u16>(to, load<u16>(from, MBUF_PORT), MBUF_PORT);
  store<u32>(to, load<u32>(from, MBUF_PACKET_TYPE), MBUF_PACKET_TYPE);
  store<u64>(to, load<u64>(from, MBUF_HASH), MBUF_HASH); // and the VLAN tags
  store<u64>(to, load<u64>(from, MBUF_L2_LEN), MBUF_L2_LEN); // up to MBUF_UDATA
}

/** A place in a chain: segment in the low word, bytes into it in the high one. */
// @ts-ignore: decorator
@inline
export function cursor(segment: u32, offset: u32): u64 {
  return (<u64>offset << 32) | segment;
}

/**
 * Appends `length` bytes of a chain, from `from` on, to a packet that is one segment of its own so far: copied behind its
 * data, where the caller has made sure of the room, or as segments that refer to them. Returns the place behind them, or 0:
 * the pool is exhausted, or the chain ends too soon, or there would be too many segments. Then the packet is still whole
 * enough to be freed.
 */
export function appendFrom(lcoreId: u32, to: u32, from: u64, length: u32, pool: u32, copies: bool): u64 {
  let segment = <u32>from;
  let offset = <u32>(from >> 32);
  let last = to;
  let segments: u32 = 1;
  let left = length;
  while (left != 0) {
    let part = load<u32>(segment, MBUF_DATA_LEN) - offset;
    if (part == 0) {
      segment = load<u32>(segment, MBUF_NEXT);
      if (segment == 0) return 0; // the chain is shorter than it says
      offset = 0;
      continue;
    }
    if (part > left) part = left;
    if (copies) {
      const filled = load<u32>(to, MBUF_DATA_LEN);
      copyFrame(mbufData(to) + filled, mbufData(segment) + offset, part);
      store<u32>(to, filled + part, MBUF_DATA_LEN);
    } else {
      const view: u32 = segments < MAX_SEGMENTS ? mempoolGet(pool, lcoreId) : 0;
      if (view == 0) return 0;
      attach(view, segment);
      store<u32>(view, load<u32>(view, MBUF_OL_FLAGS) & ATTACHED, MBUF_OL_FLAGS);
      store<u32>(view, load<u32>(view, MBUF_DATA_OFF) + offset, MBUF_DATA_OFF);
      store<u64>(view, (<u64>part << 32) | part, MBUF_PKT_LEN); // and MBUF_DATA_LEN
      store<u32>(last, view, MBUF_NEXT);
      store<u16>(to, ++segments, MBUF_NB_SEGS);
      last = view;
    }
    offset += part;
    left -= part;
  }
  store<u32>(to, load<u32>(to, MBUF_PKT_LEN) + length, MBUF_PKT_LEN);
  return cursor(segment, offset);
}

/**
 * The same packet with its first `length` bytes in an mbuf of its own, so that they may be changed; the others are referred
 * to. The caller keeps its reference to `mbuf`. 0 if the bytes are not all in the first segment, do not fit a fresh mbuf, or
 * the pool is exhausted.
 */
export function mbufPrivateHead(lcoreId: u32, mbuf: u32, length: u32, pool: u32): u32 {
  const pktLen = load<u32>(mbuf, MBUF_PKT_LEN);
  const dataLen = load<u32>(mbuf, MBUF_DATA_LEN);
  if (length > dataLen || dataLen > pktLen) return 0;
  const head = mbufAlloc(pool, lcoreId);
  if (head == 0) return 0;
  const room = load<u32>(head, MBUF_BUF_LEN) - load<u32>(head, MBUF_DATA_OFF);
  if (length <= room) {
    copyFrame(mbufData(head), mbufData(mbuf), length);
    store<u64>(head, (<u64>length << 32) | length, MBUF_PKT_LEN); // and MBUF_DATA_LEN
    copyPacketFields(head, mbuf);
    store<u32>(head, load<u32>(mbuf, MBUF_OL_FLAGS) & ~ATTACHED, MBUF_OL_FLAGS);
    if (appendFrom(lcoreId, head, cursor(mbuf, length), pktLen - length, pool, false) != 0) return head;
  }
  mbufFree(head, lcoreId);
  return 0;
}
