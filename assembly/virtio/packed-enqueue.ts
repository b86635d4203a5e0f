/**
 * Device side of a packed ring, host → guest. Virtio 1.2 sections 2.8.7 to 2.8.9 and 5.1.6.3. As on a split ring a packet is
 * published whole or not at all; the first used descriptor of the burst is stored last.
 */
import {
  MAX_CHAINS,
  MAX_NOTES,
  DROP_NO_ROOM,
  DROP_RX_BUFFER,
  MBUF_BUF,
  MBUF_DATA_OFF,
  MBUF_PKT_LEN,
  QUEUE_DESC,
  QUEUE_HDR_LEN,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_VQ_SIZE,
  STOP_CHAIN,
  STOP_HEAD,
} from '../layout';
import { copyFrame } from '../mem/copy';
import { mbufFreeBulk } from '../mem/mbuf';
import { countDrop, countEach, countFrames, expectedLen, MIXED, mixFrame, stopQueue } from '../stats';
import { fits, hasOffload, netHeaderOut } from './net-header';
import {
  advance,
  availState,
  PACKED_DESC_SIZE,
  PACKED_TAIL,
  packedState,
  positionIndex,
  positionWrap,
} from './packed';
import { NOTE_HOST, noteAt } from './note';
import { notifyPackedDriver } from './packed-notify';
import { findPlain } from './packed-plain';
import { scatterLeft } from './scatter';
import { walkedEnough, walkWasted } from './walk';
import { publishUsed } from './packed-used';
import { packedScatter, SCATTER_BAD, SCATTER_ENDLESS, SCATTER_ID, SCATTER_NO_ROOM, SCATTER_WAIT } from './packed-scatter';

/**
 * Sends up to `count` packets of `burst`, and stops before one that the guest cannot take as it is; those taken are freed. The
 * caller holds the queue's lock. Returns how many.
 */
export function packedEnqueue(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  const hdrLen = load<u32>(queue, QUEUE_HDR_LEN);
  const begin = load<u32>(queue, QUEUE_LAST_AVAIL);
  let position = begin;
  let sent: u32 = 0;
  const expected = expectedLen(queue);
  let mix: u32 = 0;
  let from: u32 = 0; // the first frame that is not counted yet
  let lost: u32 = 0; // dropped of those before it
  let walked: u32 = 0;
  let given: u32 = 0; // chains noted as used
  while (sent < count && walked < size && given < MAX_NOTES) {
    const plain = findPlain(queue, position, min(count - sent, min(size - walked, MAX_NOTES - given)), given, burst + (sent << 2));
    for (let i: u32 = 0; i < plain; i++) {
      const mbuf: usize = load<u32>(burst + ((sent + i) << 2));
      const frameLen = load<u32>(mbuf, MBUF_PKT_LEN);
      const data = <usize>load<u32>(mbuf, MBUF_BUF) + load<u32>(mbuf, MBUF_DATA_OFF);
      const host: usize = load<u32>(noteAt(queue, given + i), NOTE_HOST);
      copyFrame(host + hdrLen, data, frameLen);
      if (hasOffload(mbuf)) netHeaderOut(queue, host, hdrLen, mbuf);
      mix = mixFrame(mix, expected, frameLen, data);
    }
    if (plain != 0) {
      given += plain;
      walked += plain;
      sent += plain;
      position = advance(position, plain, size);
      continue;
    }

    const desc = table + positionIndex(position) * PACKED_DESC_SIZE;
    const tail = atomic.load<u64>(desc, PACKED_TAIL);
    if (packedState(tail) != availState(positionWrap(position))) break;
    const mbuf: usize = load<u32>(burst + (sent << 2));
    if (hasOffload(mbuf) && !fits(queue, mbuf)) break; // the caller does in software what the guest did not negotiate
    if (given + MAX_CHAINS > MAX_NOTES) break;
    const outcome = packedScatter(queue, mbuf, position, load<u64>(desc), tail, size - walked, given);
    if (outcome == SCATTER_WAIT) break;
    if (outcome == SCATTER_ENDLESS || outcome == SCATTER_ID) {
      stopQueue(queue, outcome == SCATTER_ID ? STOP_HEAD : STOP_CHAIN);
      break;
    }
    if (outcome == SCATTER_NO_ROOM) {
      countDrop(queue, DROP_NO_ROOM);
      lost++;
      countEach(queue, burst + (from << 2), sent - from, 1);
      from = ++sent;
    } else {
      // Noted as used: the packet's chains, or the bad one with a length of 0.
      given += (outcome & ~SCATTER_BAD) >> 16;
      const descs = outcome & 0xffff;
      position = advance(position, descs, size);
      walked += descs;
      if (outcome & SCATTER_BAD) {
        countDrop(queue, DROP_RX_BUFFER);
        walkWasted(queue, load<u32>(mbuf, MBUF_PKT_LEN) - scatterLeft(queue));
      } else {
        sent++;
        mix = MIXED; // large ones can afford a second look
      }
    }
    if (walkedEnough(queue, count)) break;
  }

  // The packets are freed before anything is published: meanwhile the last frames reach the guest's cache lines.
  if (sent != 0) {
    countFrames(queue, burst, from, sent, expected, mix, lost);
    mbufFreeBulk(burst, sent, lcoreId);
  }
  if (walked != 0) {
    store<u32>(queue, position, QUEUE_LAST_AVAIL);
    store<u32>(queue, position, QUEUE_LAST_USED);
    publishUsed(queue, begin, given, true);
    notifyPackedDriver(lcoreId, queue, position, walked, true);
  }
  return sent;
}
