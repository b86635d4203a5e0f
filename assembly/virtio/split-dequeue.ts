/**
 * Device side, guest → host: takes available chains from a split ring, copies each frame into an mbuf, and returns the
 * descriptors as used. Virtio 1.2 sections 2.7.5 to 2.7.8 and 5.1.6.
 *
 * Everything in the ring is hostile: each word is read once; a packet that breaks a rule is dropped with its cause
 * and its descriptor goes back to the guest; a ring that breaks one stops.
 */
import {
  DROP_RUNT,
  MAX_NOTES,
  MBUF_HEADROOM,
  MBUF_PKT_LEN,
  MBUF_SIZE,
  MEMPOOL_BUF_LEN,
  QUEUE_AVAIL,
  QUEUE_DESC,
  QUEUE_HDR_LEN,
  QUEUE_LAST_AVAIL,
  QUEUE_NO_MBUF,
  QUEUE_POOL,
  QUEUE_PORT,
  QUEUE_VQ_SIZE,
  STOP_AVAIL_AHEAD,
  STOP_HEAD,
} from '../layout';
import { copyFrame } from '../mem/copy';
import { mempoolGetBulk, mempoolPutBulk } from '../mem/mempool';
import { countDrop, countFrames, expectedLen, mixFrame, stopQueue } from '../stats';
import {
  AVAIL_ENTRY_SIZE,
  descAt,
  descTail,
  NET_HDR_CSUM_OFFSET,
  RING_ENTRIES,
  RING_IDX,
} from './split';
import { gatherDrop } from './gather';
import { asksOffload, HEADER_OK, netHeaderIn } from './net-header';
import { dequeueChain } from './split-chain';
import { isCutVlan, mbufBegin } from './frame';
import { NOTE_HEADER, NOTE_HOST, NOTE_LENGTH, noteAt } from './note';
import { notifyDriver } from './split-notify';
import { lookSplit } from './split-plain';
import { noteChain, publishUsed } from './split-used';
import { walkBegin, walkedEnough } from './walk';

/** Up to `count` packets into `burst`. The caller holds the queue's lock. Returns how many there are. */
export function splitDequeue(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  const avail: usize = load<u32>(queue, QUEUE_AVAIL);
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  const lastAvail = load<u32>(queue, QUEUE_LAST_AVAIL);
  const waiting = (<u32>atomic.load<u16>(avail, RING_IDX) - lastAvail) & 0xffff;
  if (waiting == 0) return 0;
  if (waiting > size) {
    stopQueue(queue, STOP_AVAIL_AHEAD);
    return 0;
  }
  let todo = min(min(count, waiting), min(size, MAX_NOTES));
  const pool: usize = load<u32>(queue, QUEUE_POOL);
  if (!mempoolGetBulk(pool, lcoreId, burst, todo)) {
    store<u64>(queue, load<u64>(queue, QUEUE_NO_MBUF) + 1, QUEUE_NO_MBUF);
    // Nearly empty: the packets stay in the ring, and one at a time may still pass.
    if (todo == 1 || !mempoolGetBulk(pool, lcoreId, burst, 1)) return 0;
    todo = 1;
  }

  const allocated = todo;
  const mask = size - 1;
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const hdrLen = load<u32>(queue, QUEUE_HDR_LEN);
  const room = load<u32>(pool, MEMPOOL_BUF_LEN) - MBUF_HEADROOM;
  const segmentAndPort = (load<u32>(queue, QUEUE_PORT) << 16) | 1;
  const availRing = avail + RING_ENTRIES;

  const expected = expectedLen(queue);
  let mix: u32 = 0;
  let received: u32 = 0;
  let taken: u32 = 0;
  walkBegin(queue);
  while (taken < todo) {
    const plain = lookSplit(queue, lastAvail + taken, todo - taken, taken, room);
    for (let i: u32 = 0; i < plain; i++) {
      const note = noteAt(queue, taken + i);
      const mbuf: usize = load<u32>(burst + (received << 2));
      const data = mbuf + MBUF_SIZE + MBUF_HEADROOM;
      const host: usize = load<u32>(note, NOTE_HOST);
      const frameLen = load<u32>(note, NOTE_LENGTH) - hdrLen;
      mbufBegin(mbuf, segmentAndPort);
      copyFrame(data, host + hdrLen, frameLen);
      store<u64>(mbuf, ((<u64>frameLen) << 32) | <u64>frameLen, MBUF_PKT_LEN); // and MBUF_DATA_LEN
      const header = load<u64>(note, NOTE_HEADER);
      let fault = HEADER_OK;
      if (asksOffload(header)) fault = netHeaderIn(queue, mbuf, header, load<u16>(host, NET_HDR_CSUM_OFFSET), frameLen);
      if (fault == HEADER_OK && isCutVlan(data, frameLen)) fault = DROP_RUNT;
      if (fault != HEADER_OK) {
        countDrop(queue, fault);
        continue;
      }
      received++;
      mix = mixFrame(mix, expected, frameLen, data);
    }
    if (plain != 0) {
      taken += plain;
      continue;
    }

    const head = <u32>load<u16>(availRing + ((lastAvail + taken) & mask) * AVAIL_ENTRY_SIZE);
    if (head >= size) {
      stopQueue(queue, STOP_HEAD);
      break;
    }
    noteChain(queue, taken++, head, 0);
    const mbuf: usize = load<u32>(burst + (received << 2));
    const desc = descAt(table, head);
    mbufBegin(mbuf, segmentAndPort);
    const frameLen = dequeueChain(lcoreId, queue, mbuf, load<u64>(desc), descTail(desc), room);
    if (walkedEnough(queue, count)) todo = taken;
    if (frameLen == 0) continue; // dropped and counted
    const data = mbuf + MBUF_SIZE + MBUF_HEADROOM;
    if (isCutVlan(data, frameLen)) {
      gatherDrop(lcoreId, queue, mbuf, DROP_RUNT);
      continue;
    }
    received++;
    mix = mixFrame(mix, expected, frameLen, data);
  }

  if (received < allocated) mempoolPutBulk(pool, lcoreId, burst + (received << 2), allocated - received);
  if (taken != 0) {
    const usedIdx = publishUsed(queue, taken, false);
    notifyDriver(lcoreId, queue, usedIdx, taken, false);
  }
  countFrames(queue, burst, 0, received, expected, mix);
  return received;
}
