/**
 * Device side of a packed ring, host → guest. Virtio 1.2 sections 2.8.7 to 2.8.9 and 5.1.6.3. As on a split ring a packet is
 * published whole or not at all; the first used descriptor of the burst is stored last.
 */
import {
  MAX_CHAINS,
  MAX_USED_LIST,
  DROP_NO_ROOM,
  DROP_RX_BUFFER,
  MBUF_BUF,
  MBUF_DATA_OFF,
  MBUF_NB_SEGS,
  MBUF_PKT_LEN,
  QUEUE_DESC,
  QUEUE_DEVICE,
  QUEUE_HDR_LEN,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_VQ_SIZE,
  STOP_CHAIN,
  STOP_HEAD,
} from '../layout';
import { copyFrame } from '../mem/copy';
import { mbufFreeBulk } from '../mem/mbuf';
import { translate } from '../mem/region';
import { countDrop, countEach, countFrames, expectedLen, MIXED, mixFrame, stopQueue } from '../stats';
import { fits, hasOffload, netHeaderOut, writeNetHeader } from './net-header';
import {
  advance,
  availState,
  PACKED_DESC_SIZE,
  PACKED_F_SHAPE,
  PACKED_F_WRITE,
  PACKED_TAIL,
  packedFlags,
  packedId,
  packedLen,
  packedState,
  positionIndex,
  positionWrap,
} from './packed';
import { notifyPackedDriver } from './packed-notify';
import { scatterLeft } from './scatter';
import { walkBegin, walkedEnough, walkWasted } from './walk';
import { noteUsed, publishUsed } from './packed-used';
import { packedScatter, SCATTER_BAD, SCATTER_ENDLESS, SCATTER_ID, SCATTER_NO_ROOM, SCATTER_WAIT } from './packed-scatter';

/**
 * Sends up to `count` packets of `burst`, and stops before one that the guest cannot take as it is; those taken are freed. The
 * caller holds the queue's lock. Returns how many.
 */
export function packedEnqueue(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  const device: usize = load<u32>(queue, QUEUE_DEVICE);
  const hdrLen = load<u32>(queue, QUEUE_HDR_LEN);
  const begin = load<u32>(queue, QUEUE_LAST_AVAIL);
  let position = begin;
  let sent: u32 = 0;
  const expected = expectedLen(queue);
  let mix: u32 = 0;
  let from: u32 = 0; // the first frame that is not counted yet
  let walked: u32 = 0;
  let given: u32 = 0; // chains noted as used
  walkBegin(queue);
  while (sent < count && walked < size && given < MAX_USED_LIST) {
    const index = positionIndex(position);
    const wrap = positionWrap(position);
    const desc = table + index * PACKED_DESC_SIZE;
    const tail = atomic.load<u64>(desc, PACKED_TAIL);
    if (packedState(tail) != availState(wrap)) break;
    const address = load<u64>(desc);
    const mbuf: usize = load<u32>(burst + (sent << 2));
    const frameLen = load<u32>(mbuf, MBUF_PKT_LEN);
    const asked = hasOffload(mbuf);
    if (asked && !fits(queue, mbuf)) break; // the caller does in software what the guest did not negotiate
    if (
      (packedFlags(tail) & PACKED_F_SHAPE) == PACKED_F_WRITE &&
      load<u16>(mbuf, MBUF_NB_SEGS) == 1 &&
      packedLen(tail) >= hdrLen + frameLen
    ) {
      const id = packedId(tail);
      if (id >= size) {
        stopQueue(queue, STOP_HEAD);
        break;
      }
      const host = translate(device, address, packedLen(tail));
      if (host != 0) {
        if (asked) netHeaderOut(queue, host, hdrLen, mbuf);
        else writeNetHeader(host, hdrLen);
        const data = <usize>load<u32>(mbuf, MBUF_BUF) + load<u32>(mbuf, MBUF_DATA_OFF);
        copyFrame(host + hdrLen, data, frameLen);
        mix = mixFrame(mix, expected, frameLen, data);
        noteUsed(queue, given++, index, id, hdrLen + frameLen);
        position = advance(position, 1, size);
        walked++;
        sent++;
        continue;
      }
    }

    if (given + MAX_CHAINS > MAX_USED_LIST) break;
    const outcome = packedScatter(queue, mbuf, position, address, tail, size - walked, given);
    if (outcome == SCATTER_WAIT) break;
    if (outcome == SCATTER_ENDLESS || outcome == SCATTER_ID) {
      stopQueue(queue, outcome == SCATTER_ID ? STOP_HEAD : STOP_CHAIN);
      break;
    }
    if (outcome == SCATTER_NO_ROOM) {
      countDrop(queue, DROP_NO_ROOM);
      countEach(queue, burst + (from << 2), sent - from, 1);
      from = ++sent;
      continue;
    }
    // Noted as used: the packet's chains, or the bad one with a length of 0.
    given += (outcome & ~SCATTER_BAD) >> 16;
    const descs = outcome & 0xffff;
    position = advance(position, descs, size);
    walked += descs;
    if (outcome & SCATTER_BAD) {
      countDrop(queue, DROP_RX_BUFFER);
      walkWasted(queue, frameLen - scatterLeft(queue));
    } else {
      sent++;
      mix = MIXED; // large ones can afford a second look
    }
    if (walkedEnough(queue, count)) break;
  }

  if (walked != 0) {
    store<u32>(queue, position, QUEUE_LAST_AVAIL);
    store<u32>(queue, position, QUEUE_LAST_USED);
    publishUsed(queue, begin, given);
    notifyPackedDriver(lcoreId, queue, position, walked);
  }
  if (sent != 0) {
    countFrames(queue, burst, from, sent, expected, mix);
    mbufFreeBulk(burst, sent, lcoreId);
  }
  return sent;
}
