/** Driver side of a packed ring, back end → guest. Virtio 1.2 sections 2.8.22 and 5.1.6.4. */
import {
  DROP_HEADER,
  MBUF_DATA_LEN,
  MBUF_DATA_OFF,
  MBUF_HEADROOM,
  MBUF_L2_LEN,
  MBUF_NB_SEGS,
  MBUF_NEXT,
  MBUF_OL_FLAGS,
  MBUF_PKT_LEN,
  MBUF_SIZE,
  MEMPOOL_BUF_LEN,
  QUEUE_DESC,
  QUEUE_FREE_COUNT,
  QUEUE_FREE_HEAD,
  QUEUE_HDR_LEN,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_NO_MBUF,
  QUEUE_POOL,
  QUEUE_PORT,
  QUEUE_SCRATCH,
  QUEUE_VQ_SIZE,
  STOP_USED,
} from '../layout';
import { mbufFree } from '../mem/mbuf';
import { mempoolGetBulk } from '../mem/mempool';
import { countDrop, countFrames, expectedLen, mixFrame, stopQueue } from '../stats';
import { driverHeaderIn, headerOf } from './driver-header';
import { unbatchPacked } from './driver-in-order';
import { asksOffload, HEADER_OK } from './net-header';
import {
  advance,
  availState,
  PACKED_DESC_SIZE,
  PACKED_F_WRITE,
  PACKED_TAIL,
  packedId,
  packedLen,
  packedTail,
  positionIndex,
  positionWrap,
} from './packed';
import { COOKIE_CHAIN, COOKIE_NEXT, lentMbuf, NOT_USED, packedCookieAt, usedTailAt } from './packed-driver';
import { notifyPackedDevice } from './packed-notify';
import { NET_HDR_NUM_BUFFERS, NET_HDR_SIZE } from './split';
import { REFILL } from './split-driver-receive';

/** Puts as many receive buffers into the ring as there are free descriptors and mbufs, in bulks of REFILL. */
export function packedDriverRefill(lcoreId: u32, queue: usize): void {
  refill(lcoreId, queue, false);
}

/** The same, where the device answers in order: a buffer's id is its place in the ring. */
export function packedDriverRefillInOrder(lcoreId: u32, queue: usize): void {
  refill(lcoreId, queue, true);
}

// @ts-ignore: decorator
@inline
function refill(lcoreId: u32, queue: usize, inOrder: bool): void {
  let free = load<u32>(queue, QUEUE_FREE_COUNT);
  if (free < REFILL) return;
  const pool: usize = load<u32>(queue, QUEUE_POOL);
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  const hdrLen = load<u32>(queue, QUEUE_HDR_LEN);
  const length = load<u32>(pool, MEMPOOL_BUF_LEN) - MBUF_HEADROOM + hdrLen;
  const begin = load<u32>(queue, QUEUE_LAST_AVAIL);
  let head = load<u32>(queue, QUEUE_FREE_HEAD);
  let position = begin;
  let firstTail: u64 = 0;
  while (free >= REFILL) {
    if (!mempoolGetBulk(pool, lcoreId, queue + QUEUE_SCRATCH, REFILL)) {
      store<u64>(queue, load<u64>(queue, QUEUE_NO_MBUF) + 1, QUEUE_NO_MBUF);
      break;
    }
    for (let i: u32 = 0; i < REFILL; i++) {
      const mbuf: usize = load<u32>(queue + (i << 2), QUEUE_SCRATCH);
      const id = inOrder ? positionIndex(position) : head;
      const cookie = packedCookieAt(queue, id);
      const desc = table + positionIndex(position) * PACKED_DESC_SIZE;
      const tail = packedTail(length, id, availState(positionWrap(position)) | PACKED_F_WRITE);
      head = <u32>load<u16>(cookie, COOKIE_NEXT);
      store<u32>(cookie, <u32>mbuf);
      store<u16>(cookie, 1, COOKIE_CHAIN);
      store<u64>(desc, <u64>(mbuf + MBUF_SIZE + MBUF_HEADROOM - hdrLen));
      if (position == begin) firstTail = tail;
      else store<u64>(desc, tail, PACKED_TAIL);
      position = advance(position, 1, size);
    }
    free -= REFILL;
  }
  if (position == begin && firstTail == 0) return;
  store<u32>(queue, head, QUEUE_FREE_HEAD);
  store<u32>(queue, free, QUEUE_FREE_COUNT);
  store<u32>(queue, position, QUEUE_LAST_AVAIL);
  atomic.store<u64>(table + positionIndex(begin) * PACKED_DESC_SIZE, firstTail, PACKED_TAIL);
  notifyPackedDevice(queue, position);
}

/** Up to `count` received packets into `burst`. The caller holds the queue's lock. */
export function packedDriverReceive(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  return receive(lcoreId, queue, burst, count, false);
}

/** The same, where the device answers in order. */
export function packedDriverReceiveInOrder(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  return receive(lcoreId, queue, burst, count, true);
}

// @ts-ignore: decorator
@inline
function receive(lcoreId: u32, queue: usize, burst: usize, count: u32, inOrder: bool): u32 {
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  const hdrLen = load<u32>(queue, QUEUE_HDR_LEN);
  const segmentAndPort = (load<u32>(queue, QUEUE_PORT) << 16) | 1;
  let position = load<u32>(queue, QUEUE_LAST_USED);
  let freed: u32 = 0;
  let received: u32 = 0;
  const expected = expectedLen(queue);
  let mix: u32 = 0;
  while (received < count && freed < size) {
    let head: usize = 0;
    let last: usize = 0;
    let buffers: u32 = 1; // of this packet, still to be taken
    let segments: u32 = 0;
    let frameLen: u32 = 0;
    let next = position;
    while (buffers != 0 && segments < size) {
      const tail = usedTailAt(queue, next);
      if (tail == NOT_USED) break; // the rest of a merged packet is not there yet
      const batch = inOrder && packedId(tail) != positionIndex(next);
      if (batch && unbatchPacked(queue, next, tail)) continue;
      const mbuf: usize = batch ? 0 : lentMbuf(queue, tail);
      if (mbuf == 0) {
        stopQueue(queue, STOP_USED);
        break;
      }
      const length = min(packedLen(tail), load<u32>(load<u32>(queue, QUEUE_POOL), MEMPOOL_BUF_LEN) - MBUF_HEADROOM + hdrLen);
      let part = length;
      store<u32>(mbuf, segmentAndPort, MBUF_NB_SEGS);
      store<u64>(mbuf, 0, MBUF_OL_FLAGS);
      store<u64>(mbuf, 0, MBUF_L2_LEN);
      if (head == 0) {
        part = length > hdrLen ? length - hdrLen : 0;
        // a header that is not all there says nothing
        if (length >= hdrLen && hdrLen == NET_HDR_SIZE) buffers = <u32>load<u16>(headerOf(mbuf, hdrLen), NET_HDR_NUM_BUFFERS);
        if (buffers == 0) buffers = 1;
        store<u32>(mbuf, MBUF_HEADROOM, MBUF_DATA_OFF);
        head = mbuf;
      } else {
        store<u32>(mbuf, MBUF_HEADROOM - hdrLen, MBUF_DATA_OFF);
        store<u32>(last, <u32>mbuf, MBUF_NEXT);
      }
      store<u32>(mbuf, part, MBUF_DATA_LEN);
      last = mbuf;
      frameLen += part;
      segments++;
      buffers--;
      next = advance(next, 1, size);
    }
    if (buffers != 0) {
      // Apart again: the buffers are found anew through their cookies.
      while (head != 0) {
        const rest: usize = load<u32>(head, MBUF_NEXT);
        store<u32>(head, 0, MBUF_NEXT);
        head = rest;
      }
      break;
    }
    while (position != next) {
      release(queue, packedId(usedTailAt(queue, position)));
      position = advance(position, 1, size);
    }
    freed += segments;
    if (frameLen == 0) {
      countDrop(queue, DROP_HEADER);
      mbufFree(<u32>head, lcoreId);
      continue;
    }
    store<u32>(head, frameLen, MBUF_PKT_LEN);
    store<u16>(head, <u16>segments, MBUF_NB_SEGS);
    const word = load<u64>(headerOf(head, hdrLen));
    if (asksOffload(word)) {
      const fault = driverHeaderIn(queue, head, headerOf(head, hdrLen), word, frameLen);
      if (fault != HEADER_OK) {
        countDrop(queue, fault);
        mbufFree(<u32>head, lcoreId);
        continue;
      }
    }
    store<u32>(burst + (received << 2), <u32>head);
    received++;
    mix = mixFrame(mix, expected, frameLen, head + MBUF_SIZE + MBUF_HEADROOM);
  }
  if (freed != 0) {
    store<u32>(queue, load<u32>(queue, QUEUE_FREE_COUNT) + freed, QUEUE_FREE_COUNT);
    store<u32>(queue, position, QUEUE_LAST_USED);
  }
  countFrames(queue, burst, 0, received, expected, mix);
  return received;
}

/** The id is free again; its mbuf is the caller's. */
function release(queue: usize, id: u32): void {
  if (id >= load<u32>(queue, QUEUE_VQ_SIZE)) return;
  const cookie = packedCookieAt(queue, id);
  store<u32>(cookie, 0);
  store<u16>(cookie, <u16>load<u32>(queue, QUEUE_FREE_HEAD), COOKIE_NEXT);
  store<u32>(queue, id, QUEUE_FREE_HEAD);
}
