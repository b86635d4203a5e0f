/**
 * Notes of a burst under way, device side: what has been read of each packet's descriptor, for the loop that copies its frame, and
 * what will be given back. They lie in host memory: a guest that changes its descriptors meanwhile changes nothing.
 */
import { NOTE_SIZE, QUEUE_NOTES } from '../layout';

/** u32: bytes of header and frame. u32, split: head of the chain; packed: u16 buffer id, u16 index of the chain's first descriptor. */
export const NOTE_LENGTH: u32 = 0;
export const NOTE_HEAD: u32 = 4;
/** u64: the first eight bytes of the packet's header, as they were read. u32: where it stands. */
export const NOTE_HEADER: u32 = 8;
export const NOTE_HOST: u32 = 16;

/** A byte of a buffer's second cache line, seen from its beginning. */
export const NEXT_LINE: u32 = 63;

/** Address of the burst's `i`th note. */
// @ts-ignore: decorator
@inline
export function noteAt(queue: usize, i: u32): usize {
  return queue + QUEUE_NOTES + i * NOTE_SIZE;
}
