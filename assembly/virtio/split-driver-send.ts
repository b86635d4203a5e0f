/** Driver side of a split ring, guest → back end. Virtio 1.2 sections 2.7.13 and 5.1.6.2. */
import {
  CACHE_LINE,
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
  QUEUE_HDRS,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_USED,
  QUEUE_VQ_SIZE,
  STOP_USED,
} from '../layout';
import { mbufFree } from '../mem/mbuf';
import { countDrop, countFrames, expectedLen, MIXED, mixFrame, stopQueue } from '../stats';
import { fits, hasOffload, netHeaderOut, writeNetHeader } from './net-header';
import {
  AVAIL_ENTRY_SIZE,
  DESC_F_NEXT,
  DESC_FLAGS,
  DESC_LEN,
  DESC_NEXT,
  descAt,
  RING_ENTRIES,
  RING_IDX,
  USED_ENTRY_SIZE,
} from './split';
import { isInOrder, unbatchSplit } from './driver-in-order';
import { cookieAt } from './split-driver';
import { notifyDevice } from './split-notify';

/** Takes back what the device has sent: descriptors and mbufs are free again. */
export function splitDriverReclaim(lcoreId: u32, queue: usize): void {
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
  const inOrder = isInOrder(queue);
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
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const avail: usize = load<u32>(queue, QUEUE_AVAIL);
  const mask = load<u32>(queue, QUEUE_VQ_SIZE) - 1;
  const hdrLen = load<u32>(queue, QUEUE_HDR_LEN);
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
    const needed = pushed ? segments : segments + 1;
    if (needed > freeCount) {
      if (needed <= mask) break;
      countDrop(queue, DROP_TOO_LONG); // more segments than the ring has descriptors
      mbufFree(<u32>mbuf, lcoreId);
      store<u32>(burst + (sent << 2), 0);
      sent++;
      mix = MIXED;
      continue;
    }
    const head = freeHead & mask;
    let index = head;
    let desc = descAt(table, index);
    let following = <u32>load<u16>(desc, DESC_NEXT);
    if (pushed) {
      putHeader(queue, data - hdrLen, hdrLen, mbuf, asked);
      store<u64>(desc, <u64>(data - hdrLen));
      const flags: u64 = segments == 1 ? 0 : DESC_F_NEXT;
      store<u64>(
        desc,
        ((<u64>following) << 48) | (flags << 32) | <u64>(load<u32>(mbuf, MBUF_DATA_LEN) + hdrLen),
        DESC_LEN,
      );
    } else {
      const slot = <usize>load<u32>(queue, QUEUE_HDRS) + index * CACHE_LINE;
      putHeader(queue, slot, hdrLen, mbuf, asked);
      store<u64>(desc, <u64>slot);
      store<u64>(desc, ((<u64>following) << 48) | ((<u64>DESC_F_NEXT) << 32) | <u64>hdrLen, DESC_LEN);
    }
    let segment: usize = pushed ? load<u32>(mbuf, MBUF_NEXT) : mbuf;
    for (let left = needed - 1; left != 0; left--) {
      index = following & mask;
      desc = descAt(table, index);
      following = <u32>load<u16>(desc, DESC_NEXT);
      const flags: u64 = left == 1 ? 0 : DESC_F_NEXT;
      store<u64>(desc, <u64>(<usize>load<u32>(segment, MBUF_BUF) + load<u32>(segment, MBUF_DATA_OFF)));
      store<u64>(desc, ((<u64>following) << 48) | (flags << 32) | <u64>load<u32>(segment, MBUF_DATA_LEN), DESC_LEN);
      segment = load<u32>(segment, MBUF_NEXT);
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
function putHeader(queue: usize, at: usize, hdrLen: u32, mbuf: usize, asked: bool): void {
  if (asked) netHeaderOut(queue, at, hdrLen, mbuf);
  else writeNetHeader(at, hdrLen);
}
