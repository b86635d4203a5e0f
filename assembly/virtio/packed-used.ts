/**
 * What a burst gives back on a packed ring. Both sides write the ring's cache lines: the used descriptors are noted while the
 * packets are moved, and written one right after the other at the end, so that each line changes hands once. Virtio 1.2
 * section 2.8.8.
 */
import { QUEUE_DESC } from '../layout';
import { noteAt } from './note';
import { PACKED_DESC_SIZE, PACKED_F_WRITE, PACKED_TAIL, packedTail, positionIndex, positionWrap, usedState } from './packed';

// @ts-ignore: decorator
@inline
export function noteUsed(queue: usize, i: u32, index: u32, id: u32, length: u32): void {
  store<u64>(noteAt(queue, i), (<u64>((index << 16) | id) << 32) | <u64>length);
}

/**
 * Gives back the `count` noted chains, not 0, of a burst that began at position `begin`; if they were only read, not `written`,
 * with a length of 0. Last come those of the cache line that the driver looks at, and the first of all, atomically, at the very end.
 */
export function publishUsed(queue: usize, begin: u32, count: u32, written: bool): void {
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const first = positionIndex(begin);
  const here = usedState(positionWrap(begin));
  const beyond = usedState(positionWrap(begin) ^ 1); // the notes stay within one lap: behind the ring's end
  const keep: u64 = written ? -1 : 0xffff_ffff_0000_0000;
  for (let i = count - 1; i != 0; i--) {
    const note = load<u64>(noteAt(queue, i)) & keep;
    const index = <u32>(note >> 48);
    store<u64>(table + index * PACKED_DESC_SIZE, usedTail(note, index < first ? beyond : here), PACKED_TAIL);
  }
  atomic.store<u64>(table + first * PACKED_DESC_SIZE, usedTail(load<u64>(noteAt(queue, 0)) & keep, here), PACKED_TAIL);
}

/**
 * VIRTIO_F_IN_ORDER: one used descriptor, where the burst began, names the last buffer and stands for all of them. For what
 * the guest sent; received lengths would be lost (section 2.8.9).
 */
export function publishBatch(queue: usize, begin: u32, count: u32): void {
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const id = <u32>(load<u64>(noteAt(queue, count - 1)) >> 32) & 0xffff;
  const desc = table + positionIndex(begin) * PACKED_DESC_SIZE;
  atomic.store<u64>(desc, packedTail(0, id, usedState(positionWrap(begin))), PACKED_TAIL);
}

// @ts-ignore: decorator
@inline
function usedTail(note: u64, state: u32): u64 {
  const length = <u32>note;
  return packedTail(length, (<u32>(note >> 32)) & 0xffff, length != 0 ? state | PACKED_F_WRITE : state);
}
