/** Driver side of a packed ring, guest → back end. Virtio 1.2 sections 2.8.21 and 5.1.6.2. */
import {
  DROP_TOO_LONG,
  MBUF_BUF,
  MBUF_DATA_LEN,
  MBUF_DATA_OFF,
  MBUF_F_EXTERNAL,
  MBUF_F_INDIRECT,
  MBUF_NB_SEGS,
  MBUF_NEXT,
  MBUF_OL_FLAGS,
  MBUF_PKT_LEN,
  MBUF_REFCNT,
  QUEUE_DESC,
  QUEUE_FREE_COUNT,
  QUEUE_FREE_HEAD,
  QUEUE_HDR_LEN,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_MAX_TABLE,
  QUEUE_VQ_SIZE,
  STOP_USED,
} from '../layout';
import { mbufFree } from '../mem/mbuf';
import { countDrop, countFrames, expectedLen, MIXED, mixFrame, stopQueue } from '../stats';
import { unbatchPacked } from './driver-in-order';
import { fillTable, txSlotAt } from './driver-table';
import { driverHeaderOut, fits, hasOffload } from './net-header';
import {
  advance,
  availState,
  PACKED_DESC_SIZE,
  PACKED_F_INDIRECT,
  PACKED_F_NEXT,
  PACKED_TAIL,
  packedId,
  packedTail,
  positionIndex,
  positionWrap,
} from './packed';
import { COOKIE_CHAIN, COOKIE_NEXT, lentMbuf, NOT_USED, packedCookieAt, usedTailAt } from './packed-driver';
import { notifyPackedDevice } from './packed-notify';

/** Takes back what the device has sent: at most a ring's worth. */
export function packedDriverReclaim(lcoreId: u32, queue: usize): void {
  reclaim(lcoreId, queue, false);
}

/** The same, where the device answers in order. */
export function packedDriverReclaimInOrder(lcoreId: u32, queue: usize): void {
  reclaim(lcoreId, queue, true);
}

// @ts-ignore: decorator
@inline
function reclaim(lcoreId: u32, queue: usize, inOrder: bool): void {
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  let position = load<u32>(queue, QUEUE_LAST_USED);
  let freeCount = load<u32>(queue, QUEUE_FREE_COUNT);
  let freeHead = load<u32>(queue, QUEUE_FREE_HEAD);
  while (freeCount < size) {
    const tail = usedTailAt(queue, position);
    if (tail == NOT_USED) break;
    if (inOrder && packedId(tail) != positionIndex(position)) {
      if (unbatchPacked(queue, position, tail)) continue;
      stopQueue(queue, STOP_USED);
      break;
    }
    const mbuf = lentMbuf(queue, tail);
    if (mbuf == 0) {
      stopQueue(queue, STOP_USED);
      break;
    }
    // One used descriptor stands for the whole chain: the device skipped the others.
    const cookie = packedCookieAt(queue, packedId(tail));
    const chain = <u32>load<u16>(cookie, COOKIE_CHAIN);
    mbufFree(mbuf, lcoreId);
    store<u32>(cookie, 0);
    store<u16>(cookie, <u16>freeHead, COOKIE_NEXT);
    freeHead = packedId(tail);
    freeCount += chain;
    position = advance(position, chain, size);
  }
  store<u32>(queue, position, QUEUE_LAST_USED);
  store<u32>(queue, freeCount, QUEUE_FREE_COUNT);
  store<u32>(queue, freeHead, QUEUE_FREE_HEAD);
}

/**
 * Sends up to `count` packets of `burst`, and stops before one that the device cannot take as it is: they belong to the
 * device until it returns them.
 */
export function packedDriverSend(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  packedDriverReclaim(lcoreId, queue);
  return send(lcoreId, queue, burst, count, false);
}

/** The same, where the device answers in order: a packet's id is its place in the ring. */
export function packedDriverSendInOrder(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  packedDriverReclaimInOrder(lcoreId, queue);
  return send(lcoreId, queue, burst, count, true);
}

// @ts-ignore: decorator
@inline
function send(lcoreId: u32, queue: usize, burst: usize, count: u32, inOrder: bool): u32 {
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  const hdrLen = load<u32>(queue, QUEUE_HDR_LEN);
  const maxTable = load<u32>(queue, QUEUE_MAX_TABLE);
  const begin = load<u32>(queue, QUEUE_LAST_AVAIL);
  let position = begin;
  let freeCount = load<u32>(queue, QUEUE_FREE_COUNT);
  let freeHead = load<u32>(queue, QUEUE_FREE_HEAD);
  let firstTail: u64 = 0;
  let sent: u32 = 0;
  const expected = expectedLen(queue);
  let mix: u32 = 0;
  while (sent < count) {
    const mbuf: usize = load<u32>(burst + (sent << 2));
    const asked = hasOffload(mbuf);
    if (asked && !fits(queue, mbuf)) break; // the caller does in software what the device does not
    const segments = <u32>load<u16>(mbuf, MBUF_NB_SEGS);
    const dataOff = load<u32>(mbuf, MBUF_DATA_OFF);
    const data = <usize>load<u32>(mbuf, MBUF_BUF) + dataOff;
    // The header may stand in the headroom only where nobody else reads or owns it.
    const pushed =
      dataOff >= hdrLen &&
      load<u32>(mbuf, MBUF_REFCNT) == 1 &&
      (load<u32>(mbuf, MBUF_OL_FLAGS) & (MBUF_F_INDIRECT | MBUF_F_EXTERNAL)) == 0;
    const pieces = pushed ? segments : segments + 1;
    const indirect = pieces > 1 && pieces <= maxTable;
    const needed: u32 = indirect ? 1 : pieces;
    if (needed > freeCount) {
      if (needed <= size) break;
      countDrop(queue, DROP_TOO_LONG); // more segments than the ring has descriptors
      mbufFree(<u32>mbuf, lcoreId);
      store<u32>(burst + (sent << 2), 0);
      sent++;
      mix = MIXED;
      continue;
    }
    const id = inOrder ? positionIndex(position) : freeHead;
    const cookie = packedCookieAt(queue, id);
    freeHead = <u32>load<u16>(cookie, COOKIE_NEXT);
    store<u32>(cookie, <u32>mbuf);
    store<u16>(cookie, <u16>needed, COOKIE_CHAIN);

    let at = pushed ? data - hdrLen : txSlotAt(queue, id);
    let length = pushed ? load<u32>(mbuf, MBUF_DATA_LEN) + hdrLen : hdrLen;
    let segment: usize = pushed ? load<u32>(mbuf, MBUF_NEXT) : mbuf;
    driverHeaderOut(queue, at, hdrLen, mbuf, asked);
    if (indirect) {
      at = fillTable(txSlotAt(queue, id), at, length, segment, pieces, false);
      length = pieces * PACKED_DESC_SIZE;
    }
    const alone: u32 = indirect ? PACKED_F_INDIRECT : 0;
    for (let left = needed; ; left--) {
      const desc = table + positionIndex(position) * PACKED_DESC_SIZE;
      const flags = availState(positionWrap(position)) | (left == 1 ? alone : PACKED_F_NEXT);
      const tail = packedTail(length, id, flags);
      store<u64>(desc, <u64>at);
      if (position == begin) firstTail = tail;
      else store<u64>(desc, tail, PACKED_TAIL);
      position = advance(position, 1, size);
      if (left == 1) break;
      at = <usize>load<u32>(segment, MBUF_BUF) + load<u32>(segment, MBUF_DATA_OFF);
      length = load<u32>(segment, MBUF_DATA_LEN);
      segment = load<u32>(segment, MBUF_NEXT);
    }
    freeCount -= needed;
    sent++;
    const frameLen = load<u32>(mbuf, MBUF_PKT_LEN);
    mix = mixFrame(mix, expected, frameLen, data);
  }
  if (firstTail != 0) {
    store<u32>(queue, freeHead, QUEUE_FREE_HEAD);
    store<u32>(queue, freeCount, QUEUE_FREE_COUNT);
    store<u32>(queue, position, QUEUE_LAST_AVAIL);
    atomic.store<u64>(table + positionIndex(begin) * PACKED_DESC_SIZE, firstTail, PACKED_TAIL);
    notifyPackedDevice(queue, position);
    countFrames(queue, burst, 0, sent, expected, mix);
  }
  return sent;
}
