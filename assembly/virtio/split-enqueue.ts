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
  MAX_CHAINS,
  MAX_NOTES,
  MBUF_PKT_LEN,
  QUEUE_AVAIL,
  QUEUE_DESC,
  QUEUE_HDR_LEN,
  QUEUE_LAST_AVAIL,
  QUEUE_VQ_SIZE,
  STOP_AVAIL_AHEAD,
  STOP_HEAD,
} from '../layout';
import { copyFrame } from '../mem/copy';
import { mbufFreeBulk } from '../mem/mbuf';
import { countDrop, countEach, countFrames, expectedLen, MIXED, mixFrame, stopQueue } from '../stats';
import { fits, hasOffload, netHeaderOut } from './net-header';
import {
  AVAIL_ENTRY_SIZE,
  descAt,
  descTail,
  RING_ENTRIES,
  RING_IDX,
} from './split';
import { NOTE_HOST, noteAt } from './note';
import { scatterLeft } from './scatter';
import { notifyDriver } from './split-notify';
import { findSplit } from './split-plain';
import { noteChain, publishUsed } from './split-used';
import { enqueueChains, NO_BUFFERS, NO_ROOM } from './split-scatter';
import { walkedEnough, walkWasted } from './walk';

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
  const hdrLen = load<u32>(queue, QUEUE_HDR_LEN);
  const availRing = avail + RING_ENTRIES;

  let sent: u32 = 0;
  const expected = expectedLen(queue);
  let mix: u32 = 0;
  let from: u32 = 0; // the first frame that is not counted yet
  let lost: u32 = 0; // dropped of those before it
  let taken: u32 = 0;
  while (sent < count && taken < free && taken < MAX_NOTES) {
    const plain = findSplit(queue, lastAvail + taken, min(min(count - sent, free - taken), MAX_NOTES - taken), taken, burst + (sent << 2));
    for (let i: u32 = 0; i < plain; i++) {
      const mbuf: usize = load<u32>(burst + ((sent + i) << 2));
      const frameLen = load<u32>(mbuf, MBUF_PKT_LEN);
      const data = <usize>load<u32>(mbuf, MBUF_BUF) + load<u32>(mbuf, MBUF_DATA_OFF);
      const host: usize = load<u32>(noteAt(queue, taken + i), NOTE_HOST);
      copyFrame(host + hdrLen, data, frameLen);
      if (hasOffload(mbuf)) netHeaderOut(queue, host, hdrLen, mbuf);
      mix = mixFrame(mix, expected, frameLen, data);
    }
    if (plain != 0) {
      taken += plain;
      sent += plain;
      continue;
    }

    const head = <u32>load<u16>(availRing + ((lastAvail + taken) & mask) * AVAIL_ENTRY_SIZE);
    if (head >= size) {
      stopQueue(queue, STOP_HEAD);
      break;
    }
    const mbuf: usize = load<u32>(burst + (sent << 2));
    if (hasOffload(mbuf) && !fits(queue, mbuf)) break; // the caller does in software what the guest did not negotiate
    const desc = descAt(table, head);
    if (taken + MAX_CHAINS > MAX_NOTES) break;
    const chains = enqueueChains(queue, mbuf, head, load<u64>(desc), descTail(desc), taken, free);
    if (chains > 0) {
      taken += chains;
      sent++;
      mix = MIXED; // large ones can afford a second look
    } else if (chains == NO_BUFFERS) {
      break; // every buffer that is there would not do: wait for more
    } else if (chains == NO_ROOM) {
      countDrop(queue, DROP_NO_ROOM);
      lost++;
      countEach(queue, burst + (from << 2), sent - from, 1);
      from = ++sent;
    } else {
      countDrop(queue, DROP_RX_BUFFER);
      walkWasted(queue, load<u32>(mbuf, MBUF_PKT_LEN) - scatterLeft(queue));
      noteChain(queue, taken++, head, 0);
    }
    if (walkedEnough(queue, count)) break;
  }

  // The packets are freed before anything is published: meanwhile the last frames reach the guest's cache lines.
  if (sent != 0) {
    countFrames(queue, burst, from, sent, expected, mix, lost);
    mbufFreeBulk(burst, sent, lcoreId);
  }
  if (taken != 0) {
    const usedIdx = publishUsed(queue, taken, true);
    notifyDriver(lcoreId, queue, usedIdx, taken, true);
  }
  return sent;
}
