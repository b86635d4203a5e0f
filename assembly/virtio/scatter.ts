/** Mbuf → guest, piece by piece: a walk over receive descriptors, split or packed, asks for the next so many bytes. */
import {
  MBUF_BUF,
  MBUF_DATA_LEN,
  MBUF_DATA_OFF,
  MBUF_NEXT,
  MBUF_PKT_LEN,
  QUEUE_FRAME_LEFT,
  QUEUE_HDR_LEN,
  QUEUE_NUM_BUFFERS,
  QUEUE_SEGMENT,
  QUEUE_SEGMENT_DONE,
} from '../layout';
import { copyFrame } from '../mem/copy';
import { netHeaderOut } from './net-header';
import { NET_HDR_NUM_BUFFERS } from './split';

/** What scatterPiece answers when the first buffer cannot hold the header: the buffer is of no use. */
export const SCATTER_RUNT: u32 = 0xffff_ffff;

/** A new packet. */
export function scatterBegin(queue: usize, mbuf: usize): void {
  store<u32>(queue, load<u32>(mbuf, MBUF_PKT_LEN), QUEUE_FRAME_LEFT);
  store<u32>(queue, <u32>mbuf, QUEUE_SEGMENT);
  store<u32>(queue, 0, QUEUE_SEGMENT_DONE);
  store<u32>(queue, 0, QUEUE_NUM_BUFFERS);
}

// @ts-ignore: decorator
@inline
export function scatterLeft(queue: usize): u32 {
  return load<u32>(queue, QUEUE_FRAME_LEFT);
}

/** The mbuf's pktLen says more than its segments hold: a program's fault, and no buffer will ever complete the packet. */
// @ts-ignore: decorator
@inline
export function scatterBroken(queue: usize): bool {
  return load<u32>(queue, QUEUE_SEGMENT) == 0;
}

/**
 * Writes as much of the packet as [to, to + length) holds, the header first. Returns the bytes written, or SCATTER_RUNT:
 * the header stands whole in the first descriptor, as section 5.1.6.3.2 has drivers post it.
 */
export function scatterPiece(queue: usize, to: usize, length: u32): u32 {
  let written: u32 = 0;
  if (load<u32>(queue, QUEUE_NUM_BUFFERS) == 0) {
    const hdrLen = load<u32>(queue, QUEUE_HDR_LEN);
    if (length < hdrLen) return SCATTER_RUNT;
    netHeaderOut(queue, to, hdrLen, load<u32>(queue, QUEUE_SEGMENT));
    store<u32>(queue, <u32>to + NET_HDR_NUM_BUFFERS, QUEUE_NUM_BUFFERS);
    to += hdrLen;
    length -= hdrLen;
    written = hdrLen;
  }
  let left = load<u32>(queue, QUEUE_FRAME_LEFT);
  let segment: usize = load<u32>(queue, QUEUE_SEGMENT);
  let done = load<u32>(queue, QUEUE_SEGMENT_DONE);
  while (length != 0 && left != 0) {
    const here = load<u32>(segment, MBUF_DATA_LEN) - done;
    if (here == 0) {
      segment = load<u32>(segment, MBUF_NEXT);
      done = 0;
      if (segment == 0) break; // see scatterBroken
      continue;
    }
    const part = min(min(length, here), left);
    copyFrame(to, <usize>load<u32>(segment, MBUF_BUF) + load<u32>(segment, MBUF_DATA_OFF) + done, part);
    to += part;
    done += part;
    length -= part;
    left -= part;
    written += part;
  }
  store<u32>(queue, left, QUEUE_FRAME_LEFT);
  store<u32>(queue, <u32>segment, QUEUE_SEGMENT);
  store<u32>(queue, done, QUEUE_SEGMENT_DONE);
  return written;
}

/** The packet is in, over `buffers` chains: says so in its header. */
export function scatterEnd(queue: usize, buffers: u32): void {
  if (buffers > 1) store<u16>(load<u32>(queue, QUEUE_NUM_BUFFERS), <u16>buffers);
}
