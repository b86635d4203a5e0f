/** Driver side of a split ring, guest → back end. Virtio 1.2 sections 2.7.13 and 5.1.6.2. */
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
  QUEUE_AVAIL,
  QUEUE_DESC,
  QUEUE_FREE_COUNT,
  QUEUE_FREE_HEAD,
  QUEUE_HDR_LEN,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_MAX_TABLE,
  QUEUE_USED,
  QUEUE_VQ_SIZE,
  STOP_USED,
} from '../layout';
import { mbufFree } from '../mem/mbuf';
import { countDrop, countFrames, expectedLen, MIXED, mixFrame, stopQueue } from '../stats';
import { driverHeaderOut, fits, hasOffload } from './net-header';
import {
  AVAIL_ENTRY_SIZE,
  DESC_F_INDIRECT,
  DESC_F_NEXT,
  DESC_FLAGS,
  DESC_LEN,
  DESC_NEXT,
  DESC_SIZE,
  descAt,
  RING_ENTRIES,
  RING_IDX,
  USED_ENTRY_SIZE,
} from './split';
import { unbatchSplit } from './driver-in-order';
import { fillTable, txSlotAt } from './driver-table';
import { cookieAt } from './split-driver';
import { notifyDevice } from './split-notify';

/** Takes back what the device has sent: descriptors and mbufs are free again. */
export function splitDriverReclaim(lcoreId: u32, queue: usize): void {
  reclaim(lcoreId, queue, false);
}

/** The same, where the device answers in order. */
export function splitDriverReclaimInOrder(lcoreId: u32, queue: usize): void {
  reclaim(lcoreId, queue, true);
}

// @ts-ignore: decorator
@inline
function reclaim(lcoreId: u32, queue: usize, inOrder: bool): void {
  const used: usize = load<u32>(queue, QUEUE_USED);
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  const mask = size - 1;
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const lastUsed = load<u32>(queue, QUEUE_LAST_USED);
  const waiting = (<u32>atomic.load<u16>(used, RING_IDX) - lastUsed) & 0xffff;
  if (waiting == 0) return;
  if (waiting > size) {
    stopQueue(queue, STOP_USED);
    return;
  }
  let freeHead = load<u32>(queue, QUEUE_FREE_HEAD);
  let freeCount = load<u32>(queue, QUEUE_FREE_COUNT);
  for (let i: u32 = 0; i < waiting; i++) {
    let id = load<u32>(used + RING_ENTRIES + ((lastUsed + i) & mask) * USED_ENTRY_SIZE);
    if (inOrder) {
      const oldest = (freeHead + freeCount) & mask;
      if (id != oldest) id = unbatchSplit(queue, lastUsed + i, oldest, waiting - i) ? oldest : size;
    }
    const mbuf: usize = id < size ? load<u32>(cookieAt(queue, id)) : 0;
    if (mbuf == 0) {
      stopQueue(queue, STOP_USED);
      break;
    }
    store<u32>(cookieAt(queue, id), 0);
    mbufFree(<u32>mbuf, lcoreId);
    // The chain's descriptors go back as they are linked; its end is tied to the free list.
    let tail = id;
    let chain: u32 = 1;
    while ((<u32>load<u16>(descAt(table, tail), DESC_FLAGS) & DESC_F_NEXT) != 0 && chain < size) {
      tail = <u32>load<u16>(descAt(table, tail), DESC_NEXT) & mask;
      chain++;
    }
    freeCount += chain;
    if (inOrder) continue; // linked round for ever
    store<u16>(descAt(table, tail), <u16>freeHead, DESC_NEXT);
    freeHead = id;
  }
  store<u32>(queue, freeHead, QUEUE_FREE_HEAD);
  store<u32>(queue, freeCount, QUEUE_FREE_COUNT);
  store<u32>(queue, (lastUsed + waiting) & 0xffff, QUEUE_LAST_USED);
}

/**
 * Sends up to `count` packets of `burst`, and stops before one that the device cannot take as it is: they belong to the
 * device until it returns them.
 */
export function splitDriverSend(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  splitDriverReclaim(lcoreId, queue);
  return send(lcoreId, queue, burst, count);
}

/** The same, where the device answers in order. */
export function splitDriverSendInOrder(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  splitDriverReclaimInOrder(lcoreId, queue);
  return send(lcoreId, queue, burst, count);
}

function send(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const avail: usize = load<u32>(queue, QUEUE_AVAIL);
  const mask = load<u32>(queue, QUEUE_VQ_SIZE) - 1;
  const hdrLen = load<u32>(queue, QUEUE_HDR_LEN);
  const maxTable = load<u32>(queue, QUEUE_MAX_TABLE);
  const before = load<u32>(queue, QUEUE_LAST_AVAIL);
  let freeHead = load<u32>(queue, QUEUE_FREE_HEAD);
  let freeCount = load<u32>(queue, QUEUE_FREE_COUNT);
  let sent: u32 = 0;
  const expected = expectedLen(queue);
  let mix: u32 = 0;
  let next = before;
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
      if (needed <= mask + 1) break;
      countDrop(queue, DROP_TOO_LONG); // more segments than the ring has descriptors
      mbufFree(<u32>mbuf, lcoreId);
      store<u32>(burst + (sent << 2), 0);
      sent++;
      mix = MIXED;
      continue;
    }
    const head = freeHead & mask;
    let desc = descAt(table, head);
    let following = <u32>load<u16>(desc, DESC_NEXT);
    let at = pushed ? data - hdrLen : txSlotAt(queue, head);
    let length = pushed ? load<u32>(mbuf, MBUF_DATA_LEN) + hdrLen : hdrLen;
    let segment: usize = pushed ? load<u32>(mbuf, MBUF_NEXT) : mbuf;
    driverHeaderOut(queue, at, hdrLen, mbuf, asked);
    if (indirect) {
      at = fillTable(txSlotAt(queue, head), at, length, segment, pieces, true);
      store<u64>(desc, <u64>at);
      store<u64>(desc, descriptorTail(pieces * DESC_SIZE, DESC_F_INDIRECT, following), DESC_LEN);
    } else {
      for (let left = pieces; ; left--) {
        store<u64>(desc, <u64>at);
        store<u64>(desc, descriptorTail(length, left == 1 ? 0 : DESC_F_NEXT, following), DESC_LEN);
        if (left == 1) break;
        at = <usize>load<u32>(segment, MBUF_BUF) + load<u32>(segment, MBUF_DATA_OFF);
        length = load<u32>(segment, MBUF_DATA_LEN);
        segment = load<u32>(segment, MBUF_NEXT);
        desc = descAt(table, following & mask);
        following = <u32>load<u16>(desc, DESC_NEXT);
      }
    }
    freeHead = following;
    freeCount -= needed;
    store<u32>(cookieAt(queue, head), <u32>mbuf);
    store<u16>(avail + RING_ENTRIES + (next & mask) * AVAIL_ENTRY_SIZE, <u16>head);
    next++;
    sent++;
    const frameLen = load<u32>(mbuf, MBUF_PKT_LEN);
    mix = mixFrame(mix, expected, frameLen, data);
  }
  if (next != before) {
    store<u32>(queue, freeHead, QUEUE_FREE_HEAD);
    store<u32>(queue, freeCount, QUEUE_FREE_COUNT);
    store<u32>(queue, next & 0xffff, QUEUE_LAST_AVAIL);
    atomic.store<u16>(avail, <u16>next, RING_IDX);
    notifyDevice(queue, next & 0xffff);
    countFrames(queue, burst, 0, sent, expected, mix);
  }
  return sent;
}

// @ts-ignore: decorator
@inline
function descriptorTail(length: u32, flags: u32, next: u32): u64 {
  return ((<u64>next) << 48) | ((<u64>flags) << 32) | <u64>length;
}
