/** Driver side of a split ring, back end → guest: receive buffers out, packets in. Virtio 1.2 sections 2.7.14 and 5.1.6.4. */
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
  QUEUE_AVAIL,
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
  QUEUE_USED,
  QUEUE_VQ_SIZE,
  STOP_USED,
} from '../layout';
import { mbufFree } from '../mem/mbuf';
import { mempoolGetBulk } from '../mem/mempool';
import { countDrop, countFrames, expectedLen, mixFrame, stopQueue } from '../stats';
import { driverHeaderIn, headerOf } from './driver-header';
import { oldestHead, unbatchSplit } from './driver-in-order';
import { asksOffload, HEADER_OK } from './net-header';
import {
  AVAIL_ENTRY_SIZE,
  DESC_F_WRITE,
  DESC_LEN,
  DESC_NEXT,
  descAt,
  NET_HDR_NUM_BUFFERS,
  NET_HDR_SIZE,
  RING_ENTRIES,
  RING_IDX,
  USED_ENTRY_SIZE,
} from './split';
import { cookieAt } from './split-driver';
import { notifyDevice } from './split-notify';

/** Puts as many receive buffers into the ring as there are free descriptors and mbufs, in bulks of REFILL. */
export function splitDriverRefill(lcoreId: u32, queue: usize): void {
  let free = load<u32>(queue, QUEUE_FREE_COUNT);
  if (free < REFILL) return;
  const pool: usize = load<u32>(queue, QUEUE_POOL);
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const avail: usize = load<u32>(queue, QUEUE_AVAIL);
  const mask = load<u32>(queue, QUEUE_VQ_SIZE) - 1;
  const hdrLen = load<u32>(queue, QUEUE_HDR_LEN);
  const length = load<u32>(pool, MEMPOOL_BUF_LEN) - MBUF_HEADROOM + hdrLen;
  const before = load<u32>(queue, QUEUE_LAST_AVAIL);
  let head = load<u32>(queue, QUEUE_FREE_HEAD);
  let next = before;
  while (free >= REFILL) {
    if (!mempoolGetBulk(pool, lcoreId, queue + QUEUE_SCRATCH, REFILL)) {
      store<u64>(queue, load<u64>(queue, QUEUE_NO_MBUF) + 1, QUEUE_NO_MBUF);
      break;
    }
    for (let i: u32 = 0; i < REFILL; i++) {
      const mbuf: usize = load<u32>(queue + (i << 2), QUEUE_SCRATCH);
      const desc = descAt(table, head & mask);
      const following = <u32>load<u16>(desc, DESC_NEXT);
      // The header goes into the headroom, so that the frame begins where a fresh mbuf's data does.
      store<u64>(desc, <u64>(mbuf + MBUF_SIZE + MBUF_HEADROOM - hdrLen));
      store<u64>(desc, ((<u64>following) << 48) | ((<u64>DESC_F_WRITE) << 32) | <u64>length, DESC_LEN);
      store<u32>(cookieAt(queue, head & mask), <u32>mbuf);
      store<u16>(avail + RING_ENTRIES + (next & mask) * AVAIL_ENTRY_SIZE, <u16>(head & mask));
      head = following;
      next++;
    }
    free -= REFILL;
  }
  if (next == before) return;
  store<u32>(queue, head, QUEUE_FREE_HEAD);
  store<u32>(queue, free, QUEUE_FREE_COUNT);
  store<u32>(queue, next & 0xffff, QUEUE_LAST_AVAIL);
  atomic.store<u16>(avail, <u16>next, RING_IDX);
  notifyDevice(queue, next & 0xffff);
}

/** Receive buffers are posted in bulks of this many; a ring is at least that large. */
export const REFILL: u32 = 16;

/** Up to `count` received packets into `burst`. The caller holds the queue's lock. */
export function splitDriverReceive(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  return receive(lcoreId, queue, burst, count, false);
}

/** The same, where the device answers in order. */
export function splitDriverReceiveInOrder(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  return receive(lcoreId, queue, burst, count, true);
}

// @ts-ignore: decorator
@inline
function receive(lcoreId: u32, queue: usize, burst: usize, count: u32, inOrder: bool): u32 {
  const used: usize = load<u32>(queue, QUEUE_USED);
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  const mask = size - 1;
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const hdrLen = load<u32>(queue, QUEUE_HDR_LEN);
  const segmentAndPort = (load<u32>(queue, QUEUE_PORT) << 16) | 1;
  const lastUsed = load<u32>(queue, QUEUE_LAST_USED);
  const waiting = (<u32>atomic.load<u16>(used, RING_IDX) - lastUsed) & 0xffff;
  let taken: u32 = 0;
  let received: u32 = 0;
  const expected = expectedLen(queue);
  let mix: u32 = 0;
  let freeHead = load<u32>(queue, QUEUE_FREE_HEAD);

  if (waiting > size) stopQueue(queue, STOP_USED);
  else
    while (taken < waiting && received < count) {
      let head: usize = 0; // first segment of the packet
      let last: usize = 0;
      let buffers: u32 = 1; // chains of this packet that are still to be taken
      let begun = taken;
      let frameLen: u32 = 0;
      let segments: u32 = 0;
      while (buffers != 0) {
        if (begun == waiting) break; // the rest of a merged packet is not there yet
        const entry = load<u64>(used + RING_ENTRIES + ((lastUsed + begun) & mask) * USED_ENTRY_SIZE);
        let id = <u32>entry;
        if (inOrder && id != oldestHead(queue, begun)) {
          if (unbatchSplit(queue, lastUsed + begun, oldestHead(queue, begun), waiting - begun)) continue;
          id = size;
        }
        const mbuf: usize = id < size ? load<u32>(cookieAt(queue, id)) : 0;
        if (mbuf == 0) {
          stopQueue(queue, STOP_USED);
          break;
        }
        const length = min(<u32>(entry >> 32), load<u32>(descAt(table, id), DESC_LEN));
        let part = length;
        if (head == 0) {
          const data = mbuf + MBUF_SIZE + MBUF_HEADROOM;
          if (length >= hdrLen) {
            part = length - hdrLen;
            if (hdrLen == NET_HDR_SIZE) buffers = <u32>load<u16>(data - hdrLen, NET_HDR_NUM_BUFFERS);
            if (buffers == 0) buffers = 1;
          } else part = 0;
          head = mbuf;
          store<u32>(mbuf, MBUF_HEADROOM, MBUF_DATA_OFF);
        } else {
          store<u32>(last, <u32>mbuf, MBUF_NEXT);
          store<u32>(mbuf, MBUF_HEADROOM - hdrLen, MBUF_DATA_OFF);
        }
        store<u32>(mbuf, segmentAndPort, MBUF_NB_SEGS);
        store<u64>(mbuf, 0, MBUF_OL_FLAGS);
        store<u64>(mbuf, 0, MBUF_L2_LEN);
        store<u32>(mbuf, part, MBUF_DATA_LEN);
        last = mbuf;
        frameLen += part;
        segments++;
        begun++;
        buffers--;
      }
      if (buffers != 0) {
        if (head != 0) unlink(head);
        break;
      }
      // The packet is whole: its descriptors are free, its mbufs are the caller's.
      for (let i = taken; i < begun; i++) {
        const id = load<u32>(used + RING_ENTRIES + ((lastUsed + i) & mask) * USED_ENTRY_SIZE) & mask;
        store<u32>(cookieAt(queue, id), 0);
        if (inOrder) continue; // linked round for ever
        store<u16>(descAt(table, id), <u16>freeHead, DESC_NEXT);
        freeHead = id;
      }
      taken = begun;
      if (frameLen == 0) {
        countDrop(queue, DROP_HEADER);
        mbufFree(head, lcoreId);
        continue;
      }
      store<u32>(head, frameLen, MBUF_PKT_LEN);
      if (segments != 1) store<u16>(head, <u16>segments, MBUF_NB_SEGS);
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

  if (taken != 0) {
    store<u32>(queue, freeHead, QUEUE_FREE_HEAD);
    store<u32>(queue, load<u32>(queue, QUEUE_FREE_COUNT) + taken, QUEUE_FREE_COUNT);
    store<u32>(queue, (lastUsed + taken) & 0xffff, QUEUE_LAST_USED);
  }
  countFrames(queue, burst, 0, received, expected, mix);
  return received;
}

/** Takes the segments of a packet that is not whole yet apart again: they are found anew through their cookies. */
function unlink(head: usize): void {
  while (head != 0) {
    const next: usize = load<u32>(head, MBUF_NEXT);
    store<u32>(head, 0, MBUF_NEXT);
    head = next;
  }
}
