/**
 * Device side, host → guest: copies mbufs into the guest's receive buffers. Virtio 1.2 sections 2.7.7, 2.7.8, 5.1.6.3.
 *
 * A packet goes into one chain, or with mergeable buffers into as many as it needs. Nothing is published before the whole
 * packet is in: one that runs out half way leaves the ring as it was (G16). A receive buffer that breaks a rule is
 * skipped: it goes back with a length of 0 and its cause is counted.
 */
import {
  DROP_NO_ROOM,
  DROP_RX_BUFFER,
  MBUF_BUF,
  MBUF_DATA_OFF,
  MBUF_NB_SEGS,
  MBUF_PKT_LEN,
  QUEUE_AVAIL,
  QUEUE_DESC,
  QUEUE_DEVICE,
  QUEUE_HDR_LEN,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_USED,
  QUEUE_VQ_SIZE,
  STOP_AVAIL_AHEAD,
  STOP_HEAD,
} from '../layout';
import { copyFrame } from '../mem/copy';
import { mbufFreeBulk } from '../mem/mbuf';
import { translate } from '../mem/region';
import { countDrop, countEach, countFrames, expectedLen, MIXED, mixFrame, stopQueue } from '../stats';
import { fits, hasOffload, netHeaderOut, writeNetHeader } from './net-header';
import {
  AVAIL_ENTRY_SIZE,
  DESC_F_WRITE,
  descAt,
  descTail,
  RING_ENTRIES,
  RING_IDX,
  tailFlags,
  tailLen,
  USED_ENTRY_SIZE,
} from './split';
import { scatterLeft } from './scatter';
import { notifyDriver } from './split-notify';
import { enqueueChains, NO_BUFFERS, NO_ROOM } from './split-scatter';
import { walkBegin, walkedEnough, walkWasted } from './walk';

/**
 * Sends up to `count` packets of `burst`, and stops before one that the guest cannot take as it is; those taken are freed. The
 * caller holds the queue's lock. Returns how many.
 */
export function splitEnqueue(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  const avail: usize = load<u32>(queue, QUEUE_AVAIL);
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  const lastAvail = load<u32>(queue, QUEUE_LAST_AVAIL);
  const free = (<u32>atomic.load<u16>(avail, RING_IDX) - lastAvail) & 0xffff;
  if (free > size) {
    stopQueue(queue, STOP_AVAIL_AHEAD);
    return 0;
  }

  const mask = size - 1;
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const device: usize = load<u32>(queue, QUEUE_DEVICE);
  const hdrLen = load<u32>(queue, QUEUE_HDR_LEN);
  const availRing = avail + RING_ENTRIES;
  const used: usize = load<u32>(queue, QUEUE_USED);
  const usedRing = used + RING_ENTRIES;
  const lastUsed = load<u32>(queue, QUEUE_LAST_USED);

  let sent: u32 = 0;
  const expected = expectedLen(queue);
  let mix: u32 = 0;
  let from: u32 = 0; // the first frame that is not counted yet
  let taken: u32 = 0;
  walkBegin(queue);
  while (sent < count && taken < free) {
    const head = <u32>load<u16>(availRing + ((lastAvail + taken) & mask) * AVAIL_ENTRY_SIZE);
    if (head >= size) {
      stopQueue(queue, STOP_HEAD);
      break;
    }
    const mbuf: usize = load<u32>(burst + (sent << 2));
    const frameLen = load<u32>(mbuf, MBUF_PKT_LEN);
    const asked = hasOffload(mbuf);
    if (asked && !fits(queue, mbuf)) break; // the caller does in software what the guest did not negotiate
    const desc = descAt(table, head);
    const address = load<u64>(desc);
    const tail = descTail(desc);

    // One writable buffer that holds it all, one segment: what current drivers post, and most frames are.
    if (tailFlags(tail) == DESC_F_WRITE && load<u16>(mbuf, MBUF_NB_SEGS) == 1 && tailLen(tail) >= hdrLen + frameLen) {
      const host = translate(device, address, tailLen(tail));
      if (host != 0) {
        if (asked) netHeaderOut(queue, host, hdrLen, mbuf);
        else writeNetHeader(host, hdrLen);
        const data = <usize>load<u32>(mbuf, MBUF_BUF) + load<u32>(mbuf, MBUF_DATA_OFF);
        copyFrame(host + hdrLen, data, frameLen);
        mix = mixFrame(mix, expected, frameLen, data);
        const entry = usedRing + ((lastUsed + taken) & mask) * USED_ENTRY_SIZE;
        store<u64>(entry, ((<u64>(hdrLen + frameLen)) << 32) | <u64>head);
        taken++;
        sent++;
        continue;
      }
    }
    const chains = enqueueChains(queue, mbuf, head, address, tail, taken, free);
    if (chains > 0) {
      taken += chains;
      sent++;
      mix = MIXED; // large ones can afford a second look
    } else if (chains == NO_BUFFERS) {
      break; // every buffer that is there would not do: wait for more
    } else if (chains == NO_ROOM) {
      countDrop(queue, DROP_NO_ROOM);
      countEach(queue, burst + (from << 2), sent - from, 1);
      from = ++sent;
    } else {
      countDrop(queue, DROP_RX_BUFFER);
      walkWasted(queue, frameLen - scatterLeft(queue));
      store<u64>(usedRing + ((lastUsed + taken) & mask) * USED_ENTRY_SIZE, <u64>head);
      taken++;
    }
    if (walkedEnough(queue, count)) break;
  }

  if (taken != 0) {
    const usedIdx = (lastUsed + taken) & 0xffff;
    store<u32>(queue, (lastAvail + taken) & 0xffff, QUEUE_LAST_AVAIL);
    store<u32>(queue, usedIdx, QUEUE_LAST_USED);
    atomic.store<u16>(used, <u16>usedIdx, RING_IDX);
    notifyDriver(lcoreId, queue, usedIdx, taken);
  }
  if (sent != 0) {
    countFrames(queue, burst, from, sent, expected, mix);
    mbufFreeBulk(burst, sent, lcoreId);
  }
  return sent;
}
