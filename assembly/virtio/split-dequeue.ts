/**
 * Device side, guest → host: takes available chains from a split ring, copies each frame into an mbuf, and returns the
 * descriptors as used. Virtio 1.2 sections 2.7.5 to 2.7.8 and 5.1.6.
 *
 * Everything in the ring is hostile: each word is read once; a packet that breaks a rule is dropped with its cause
 * and its descriptor goes back to the guest; a ring that breaks one stops.
 */
import {
  DROP_ADDRESS,
  DROP_HEADER,
  DROP_RUNT,
  ETHER_HDR_LEN,
  MBUF_DATA_OFF,
  MBUF_HEADROOM,
  MBUF_L2_LEN,
  MBUF_NB_SEGS,
  MBUF_OL_FLAGS,
  MBUF_PKT_LEN,
  MBUF_SIZE,
  MBUF_VLAN_TCI,
  MEMPOOL_BUF_LEN,
  QUEUE_AVAIL,
  QUEUE_DESC,
  QUEUE_DEVICE,
  QUEUE_HDR_LEN,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_NO_MBUF,
  QUEUE_POOL,
  QUEUE_PORT,
  QUEUE_USED,
  QUEUE_VQ_SIZE,
  STOP_AVAIL_AHEAD,
  STOP_HEAD,
} from '../layout';
import { copyFrame } from '../mem/copy';
import { mempoolGetBulk, mempoolPutBulk } from '../mem/mempool';
import { translate } from '../mem/region';
import { countDrop, countFrames, expectedLen, mixFrame, stopQueue } from '../stats';
import {
  AVAIL_ENTRY_SIZE,
  descAt,
  descTail,
  NET_HDR_CSUM_OFFSET,
  RING_ENTRIES,
  RING_IDX,
  tailFlags,
  tailLen,
  USED_ENTRY_SIZE,
} from './split';
import { isCutVlan } from './frame';
import { gatherDrop } from './gather';
import { asksOffload, HEADER_OK, netHeaderIn } from './net-header';
import { dequeueChain } from './split-chain';
import { notifyDriver } from './split-notify';
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
  let todo = min(min(count, waiting), size);
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
  const device: usize = load<u32>(queue, QUEUE_DEVICE);
  const hdrLen = load<u32>(queue, QUEUE_HDR_LEN);
  const room = load<u32>(pool, MEMPOOL_BUF_LEN) - MBUF_HEADROOM;
  const segmentAndPort = (load<u32>(queue, QUEUE_PORT) << 16) | 1;
  const availRing = avail + RING_ENTRIES;
  const used: usize = load<u32>(queue, QUEUE_USED);
  const usedRing = used + RING_ENTRIES;
  const lastUsed = load<u32>(queue, QUEUE_LAST_USED);

  const expected = expectedLen(queue);
  let mix: u32 = 0;
  let received: u32 = 0;
  let taken: u32 = 0;
  walkBegin(queue);
  while (taken < todo) {
    const head = <u32>load<u16>(availRing + ((lastAvail + taken) & mask) * AVAIL_ENTRY_SIZE);
    if (head >= size) {
      stopQueue(queue, STOP_HEAD);
      break;
    }
    store<u64>(usedRing + ((lastUsed + taken) & mask) * USED_ENTRY_SIZE, <u64>head); // id, and a length of 0: nothing written
    taken++;

    const mbuf: usize = load<u32>(burst + (received << 2));
    const data = mbuf + MBUF_SIZE + MBUF_HEADROOM;
    const desc = descAt(table, head);
    const tail = descTail(desc);
    const length = tailLen(tail);
    let frameLen = length - hdrLen; // means nothing before `length` is compared
    store<u32>(mbuf, MBUF_HEADROOM, MBUF_DATA_OFF);
    store<u32>(mbuf, segmentAndPort, MBUF_NB_SEGS);
    store<u64>(mbuf, 0, MBUF_OL_FLAGS);
    store<u32>(mbuf, 0, MBUF_VLAN_TCI);
    store<u64>(mbuf, 0, MBUF_L2_LEN);

    if (tailFlags(tail) == 0 && length >= hdrLen && frameLen <= room) {
      // One buffer with header and frame: what current drivers send.
      if (frameLen < ETHER_HDR_LEN) {
        countDrop(queue, length <= hdrLen ? DROP_HEADER : DROP_RUNT);
        continue;
      }
      const host = translate(device, load<u64>(desc), length);
      if (host == 0) {
        countDrop(queue, DROP_ADDRESS);
        continue;
      }
      const header = load<u64>(host);
      copyFrame(data, host + hdrLen, frameLen);
      store<u64>(mbuf, ((<u64>frameLen) << 32) | <u64>frameLen, MBUF_PKT_LEN); // and MBUF_DATA_LEN
      if (asksOffload(header)) {
        const fault = netHeaderIn(queue, mbuf, header, load<u16>(host, NET_HDR_CSUM_OFFSET), frameLen);
        if (fault != HEADER_OK) {
          countDrop(queue, fault);
          continue;
        }
      }
    } else {
      frameLen = dequeueChain(lcoreId, queue, mbuf, load<u64>(desc), tail, room);
      if (walkedEnough(queue, count)) todo = taken;
      if (frameLen == 0) continue; // dropped and counted
    }
    if (isCutVlan(data, frameLen)) {
      gatherDrop(lcoreId, queue, mbuf, DROP_RUNT);
      continue;
    }
    received++;
    mix = mixFrame(mix, expected, frameLen, data);
  }

  if (received < allocated) mempoolPutBulk(pool, lcoreId, burst + (received << 2), allocated - received);
  if (taken != 0) {
    const usedIdx = (lastUsed + taken) & 0xffff;
    store<u32>(queue, (lastAvail + taken) & 0xffff, QUEUE_LAST_AVAIL);
    store<u32>(queue, usedIdx, QUEUE_LAST_USED);
    atomic.store<u16>(used, <u16>usedIdx, RING_IDX);
    notifyDriver(lcoreId, queue, usedIdx, taken);
  }
  countFrames(queue, burst, 0, received, expected, mix);
  return received;
}
