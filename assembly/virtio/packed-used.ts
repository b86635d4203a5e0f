/**
 * What a burst gives back on a packed ring. Both sides write the ring's cache lines: the used descriptors are noted while the
 * packets are moved, and written one right after the other at the end, so that each line changes hands once. The first of
 * them is stored last, atomically: the driver looks at that one first. Virtio 1.2 section 2.8.8.
 */
import { QUEUE_DESC, QUEUE_USED_LIST } from '../layout';
import { PACKED_DESC_SIZE, PACKED_F_WRITE, PACKED_TAIL, packedTail, positionIndex, positionWrap, usedState } from './packed';

/** Address of the burst's `i`th note: u32 length, u16 buffer id, u16 index of the chain's first descriptor. */
// @ts-ignore: decorator
@inline
export function usedNote(queue: usize, i: u32): usize {
  return queue + QUEUE_USED_LIST + (i << 3);
}

// @ts-ignore: decorator
@inline
export function noteUsed(queue: usize, i: u32, index: u32, id: u32, length: u32): void {
  store<u64>(usedNote(queue, i), (<u64>((index << 16) | id) << 32) | <u64>length);
}

/** Writes the `count` noted descriptors of a burst that began at position `begin`; `count` is not 0. */
export function publishUsed(queue: usize, begin: u32, count: u32): void {
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const first = positionIndex(begin);
  const here = usedState(positionWrap(begin));
  const beyond = usedState(positionWrap(begin) ^ 1); // the notes stay within one lap: behind the ring's end
  for (let i: u32 = 1; i < count; i++) {
    const note = load<u64>(usedNote(queue, i));
    const index = <u32>(note >> 48);
    store<u64>(table + index * PACKED_DESC_SIZE, usedTail(note, index < first ? beyond : here), PACKED_TAIL);
  }
  atomic.store<u64>(table + first * PACKED_DESC_SIZE, usedTail(load<u64>(usedNote(queue, 0)), here), PACKED_TAIL);
}

/**
 * VIRTIO_F_IN_ORDER: one used descriptor, where the burst began, names the last buffer and stands for all of them. For what
 * the guest sent; received lengths would be lost (section 2.8.9).
 */
export function publishBatch(queue: usize, begin: u32, count: u32): void {
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const last = load<u64>(usedNote(queue, count - 1));
  const desc = table + positionIndex(begin) * PACKED_DESC_SIZE;
  atomic.store<u64>(desc, usedTail(last, usedState(positionWrap(begin))), PACKED_TAIL);
}

// @ts-ignore: decorator
@inline
function usedTail(note: u64, state: u32): u64 {
  const length = <u32>note;
  return packedTail(length, (<u32>(note >> 32)) & 0xffff, length != 0 ? state | PACKED_F_WRITE : state);
}
