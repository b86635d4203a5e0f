/**
 * Guest → mbuf, piece by piece: what a walk over descriptors, split or packed, hands over. The first pieces fill the
 * virtio-net header, copied so that it is read once; the rest is the frame, copied into as many mbufs as it takes.
 */
import {
  DROP_HEADER,
  DROP_NO_MBUF,
  DROP_RUNT,
  DROP_TOO_LONG,
  ETHER_HDR_LEN,
  MAX_FRAME_LEN,
  MAX_SEGMENTS,
  MBUF_DATA_LEN,
  MBUF_DATA_OFF,
  MBUF_HEADROOM,
  MBUF_NB_SEGS,
  MBUF_NEXT,
  MBUF_OL_FLAGS,
  MBUF_PKT_LEN,
  MBUF_SIZE,
  QUEUE_FRAME_DONE,
  QUEUE_HDR_DONE,
  QUEUE_HDR_LEN,
  QUEUE_NET_HDR,
  QUEUE_POOL,
  QUEUE_SEGMENT,
  QUEUE_SEGMENT_DONE,
  QUEUE_SEGMENTS,
} from '../layout';
import { copyFrame } from '../mem/copy';
import { mbufAlloc, mbufFree } from '../mem/mbuf';
import { countDrop } from '../stats';
import { asksOffload, HEADER_OK, netHeaderIn } from './net-header';
import { NET_HDR_CSUM_OFFSET } from './split';

/** No fault: what gatherPiece answers unless the packet is to be dropped. */
export const GATHERED: u32 = 0xffff_ffff;

/** A new packet, whose first segment is `mbuf`. */
export function gatherBegin(queue: usize, mbuf: usize): void {
  store<u32>(queue, 0, QUEUE_HDR_DONE);
  store<u32>(queue, 0, QUEUE_FRAME_DONE);
  store<u32>(queue, <u32>mbuf, QUEUE_SEGMENT);
  store<u32>(queue, 0, QUEUE_SEGMENT_DONE);
  store<u32>(queue, 1, QUEUE_SEGMENTS);
  store<u32>(mbuf, 0, MBUF_DATA_LEN);
}

/** Takes [from, from + length), already translated. Returns GATHERED, or why the packet is to be dropped (DROP_*). */
export function gatherPiece(lcoreId: u32, queue: usize, mbuf: usize, room: u32, from: usize, length: u32): u32 {
  const hdrDone = load<u32>(queue, QUEUE_HDR_DONE);
  const hdrLen = load<u32>(queue, QUEUE_HDR_LEN);
  if (hdrDone < hdrLen) {
    const here = min(length, hdrLen - hdrDone);
    copyFrame(queue + QUEUE_NET_HDR + hdrDone, from, here);
    store<u32>(queue, hdrDone + here, QUEUE_HDR_DONE);
    from += here;
    length -= here;
  }
  const frameDone = load<u32>(queue, QUEUE_FRAME_DONE);
  if (length > MAX_FRAME_LEN - frameDone) return DROP_TOO_LONG;
  store<u32>(queue, frameDone + length, QUEUE_FRAME_DONE);

  let segment: usize = load<u32>(queue, QUEUE_SEGMENT);
  let done = load<u32>(queue, QUEUE_SEGMENT_DONE);
  while (length != 0) {
    if (done == room) {
      const segments = load<u32>(queue, QUEUE_SEGMENTS) + 1;
      if (segments > MAX_SEGMENTS) return DROP_TOO_LONG;
      const more: usize = mbufAlloc(load<u32>(queue, QUEUE_POOL), lcoreId);
      if (more == 0) return DROP_NO_MBUF;
      store<u32>(segment, <u32>more, MBUF_NEXT);
      store<u32>(more, MBUF_HEADROOM, MBUF_DATA_OFF);
      store<u32>(more, 0, MBUF_OL_FLAGS);
      store<u32>(queue, segments, QUEUE_SEGMENTS);
      store<u16>(mbuf, <u16>segments, MBUF_NB_SEGS);
      segment = more;
      done = 0;
    }
    const part = min(length, room - done);
    copyFrame(segment + MBUF_SIZE + MBUF_HEADROOM + done, from, part);
    done += part;
    store<u32>(segment, done, MBUF_DATA_LEN);
    from += part;
    length -= part;
  }
  store<u32>(queue, <u32>segment, QUEUE_SEGMENT);
  store<u32>(queue, done, QUEUE_SEGMENT_DONE);
  return GATHERED;
}

/** The chain has ended: the frame's length, or 0 when it was dropped. */
export function gatherEnd(lcoreId: u32, queue: usize, mbuf: usize): u32 {
  const frameLen = load<u32>(queue, QUEUE_FRAME_DONE);
  if (load<u32>(queue, QUEUE_HDR_DONE) < load<u32>(queue, QUEUE_HDR_LEN) || frameLen == 0) {
    return gatherDrop(lcoreId, queue, mbuf, DROP_HEADER);
  }
  // The first segment holds the Ethernet header whole: it is filled before a second one begins.
  if (frameLen < ETHER_HDR_LEN) return gatherDrop(lcoreId, queue, mbuf, DROP_RUNT);
  store<u32>(mbuf, frameLen, MBUF_PKT_LEN);
  const word = load<u64>(queue, QUEUE_NET_HDR);
  if (asksOffload(word)) {
    const fault = netHeaderIn(queue, mbuf, word, load<u16>(queue, QUEUE_NET_HDR + NET_HDR_CSUM_OFFSET), frameLen);
    if (fault != HEADER_OK) return gatherDrop(lcoreId, queue, mbuf, fault);
  }
  return frameLen;
}

/** Counts the drop and gives the further segments back; the first mbuf stays with the caller, as new. Returns 0. */
export function gatherDrop(lcoreId: u32, queue: usize, mbuf: usize, cause: u32): u32 {
  countDrop(queue, cause);
  const rest: usize = load<u32>(mbuf, MBUF_NEXT);
  if (rest != 0) {
    store<u32>(mbuf, 0, MBUF_NEXT);
    store<u16>(mbuf, 1, MBUF_NB_SEGS);
    mbufFree(<u32>rest, lcoreId);
  }
  return 0;
}
