/**
 * How much a burst may do for a guest that makes it hard (hostile input G14): chains of empty descriptors, receive buffers of
 * a byte, a bad one behind many good ones. Descriptors beyond the plain case are counted, over all calls of a burst; one that has
 * walked too many ends before its next packet and leaves the rest to the next one, so that others on the lcore have their turn.
 */
import { QUEUE_VQ_SIZE, QUEUE_WALKED, WALKS_PER_PACKET } from '../layout';

/** Bytes whose copying costs as much as a descriptor. */
const BYTES_PER_WALK: u32 = 64;

// @ts-ignore: decorator
@inline
export function walkBegin(queue: usize): void {
  store<u32>(queue, 0, QUEUE_WALKED);
}

/** One more descriptor. */
// @ts-ignore: decorator
@inline
export function walkStep(queue: usize): void {
  store<u32>(queue, load<u32>(queue, QUEUE_WALKED) + 1, QUEUE_WALKED);
}

/** `bytes` were copied for nothing. */
export function walkWasted(queue: usize, bytes: u32): void {
  store<u32>(queue, load<u32>(queue, QUEUE_WALKED) + bytes / BYTES_PER_WALK, QUEUE_WALKED);
}

/** Is it time to end a burst of `count` packets? */
export function walkedEnough(queue: usize, count: u32): bool {
  return load<u32>(queue, QUEUE_WALKED) >= load<u32>(queue, QUEUE_VQ_SIZE) + count * WALKS_PER_PACKET;
}
