/**
 * Device side of a packed ring, guest → host. Virtio 1.2 sections 2.8.5 to 2.8.9.
 *
 * Chains come back in the order in which they were taken, each in the slot where it began, all at the end of the burst
 * (packed-used.ts).
 */
import {
  DROP_INDEX,
  DROP_RUNT,
  MBUF_HEADROOM,
  MBUF_PKT_LEN,
  MBUF_SIZE,
  MAX_NOTES,
  MEMPOOL_BUF_LEN,
  QUEUE_DESC,
  QUEUE_DEVICE,
  QUEUE_HDR_LEN,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_NO_MBUF,
  QUEUE_PATH,
  QUEUE_POOL,
  QUEUE_PORT,
  QUEUE_VQ_SIZE,
  STOP_CHAIN,
  STOP_HEAD,
  VQ_PATH_IN_ORDER,
} from '../layout';
import { copyFrame } from '../mem/copy';
import { mempoolGetBulk, mempoolPutBulk } from '../mem/mempool';
import { countDrop, countFrames, expectedLen, mixFrame, stopQueue } from '../stats';
import { isCutVlan, mbufBegin } from './frame';
import { gatherDrop } from './gather';
import { asksOffload, HEADER_OK, netHeaderIn } from './net-header';
import {
  advance,
  availState,
  PACKED_DESC_SIZE,
  PACKED_TAIL,
  packedState,
  positionIndex,
  positionWrap,
} from './packed';
import { ENDLESS, packedDequeueChain } from './packed-chain';
import { NOTE_HEADER, NOTE_HOST, NOTE_LENGTH, noteAt } from './note';
import { notifyPackedDriver } from './packed-notify';
import { lookPlain } from './packed-plain';
import { noteUsed, publishBatch, publishUsed } from './packed-used';
import { walkBegin, walkedEnough } from './walk';
import { NET_HDR_CSUM_OFFSET } from './split';

/** Up to `count` packets into `burst`. The caller holds the queue's lock. Returns how many there are. */
export function packedDequeue(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const begin = load<u32>(queue, QUEUE_LAST_AVAIL);
  let position = begin;
  const firstDesc = table + positionIndex(begin) * PACKED_DESC_SIZE;
  if (packedState(atomic.load<u64>(firstDesc, PACKED_TAIL)) != availState(positionWrap(begin))) return 0;

  count = min(count, MAX_NOTES);
  const pool: usize = load<u32>(queue, QUEUE_POOL);
  if (!mempoolGetBulk(pool, lcoreId, burst, count)) {
    store<u64>(queue, load<u64>(queue, QUEUE_NO_MBUF) + 1, QUEUE_NO_MBUF);
    if (count <= 1 || !mempoolGetBulk(pool, lcoreId, burst, 1)) return 0;
    count = 1;
  }
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  const device: usize = load<u32>(queue, QUEUE_DEVICE);
  const hdrLen = load<u32>(queue, QUEUE_HDR_LEN);
  const room = load<u32>(pool, MEMPOOL_BUF_LEN) - MBUF_HEADROOM;
  const segmentAndPort = (load<u32>(queue, QUEUE_PORT) << 16) | 1;

  let walked: u32 = 0;
  let received: u32 = 0;
  let taken: u32 = 0;
  const expected = expectedLen(queue);
  let mix: u32 = 0;
  walkBegin(queue);
  let todo = min(count, size);
  while (taken < todo && walked < size) {
    const plain = lookPlain(queue, position, min(todo - taken, size - walked), taken, room);
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
      walked += plain;
      position = advance(position, plain, size);
      continue;
    }

    const index = positionIndex(position);
    const desc = table + index * PACKED_DESC_SIZE;
    const tail = atomic.load<u64>(desc, PACKED_TAIL);
    if (packedState(tail) != availState(positionWrap(position))) break;
    const mbuf: usize = load<u32>(burst + (received << 2));
    mbufBegin(mbuf, segmentAndPort);
    const chain = packedDequeueChain(lcoreId, queue, mbuf, index, load<u64>(desc), tail, room, size - walked);
    if (chain == ENDLESS) {
      stopQueue(queue, STOP_CHAIN);
      break;
    }
    const frameLen = <u32>chain;
    const id = (<u32>(chain >> 32)) & 0xffff;
    const descs = <u32>(chain >> 48);
    if (id >= size) {
      if (frameLen != 0) gatherDrop(lcoreId, queue, mbuf, DROP_INDEX);
      stopQueue(queue, STOP_HEAD);
      break;
    }
    noteUsed(queue, taken, index, id, 0);
    taken++;
    walked += descs;
    position = advance(position, descs, size);
    if (walkedEnough(queue, count)) todo = 0;
    if (frameLen == 0) continue;
    const data = mbuf + MBUF_SIZE + MBUF_HEADROOM;
    if (isCutVlan(data, frameLen)) {
      gatherDrop(lcoreId, queue, mbuf, DROP_RUNT);
      continue;
    }
    received++;
    mix = mixFrame(mix, expected, frameLen, data);
  }

  if (received < count) mempoolPutBulk(pool, lcoreId, burst + (received << 2), count - received);
  if (taken != 0) {
    store<u32>(queue, position, QUEUE_LAST_AVAIL);
    store<u32>(queue, position, QUEUE_LAST_USED);
    if (load<u32>(queue, QUEUE_PATH) & VQ_PATH_IN_ORDER) publishBatch(queue, begin, taken);
    else publishUsed(queue, begin, taken, false);
    notifyPackedDriver(lcoreId, queue, position, taken, false);
  }
  countFrames(queue, burst, 0, received, expected, mix);
  return received;
}
