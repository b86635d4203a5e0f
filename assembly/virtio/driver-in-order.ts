/**
 * Driver side under VIRTIO_F_IN_ORDER: buffers come back in the order in which they were made available, and the device may
 * answer for many with one used entry that names the last of them, and skip the others (virtio 1.2 sections 2.7.9 and 2.8.9).
 * Such an answer is spelt out first, into the entries that were skipped: they are the driver's again. What follows then sees
 * one entry a buffer, as without the feature. Skipped receive buffers were filled to the end.
 *
 * Split: descriptors are taken in ring order, linked for ever, so the oldest head that is lent follows from the free ones.
 * Packed: a chain's id is the index of its first descriptor.
 */
import { QUEUE_DESC, QUEUE_FREE_COUNT, QUEUE_FREE_HEAD, QUEUE_USED, QUEUE_VQ_SIZE } from '../layout';
import { advance, PACKED_DESC_SIZE, PACKED_TAIL, packedId, packedLen, packedTail, positionIndex, positionWrap, usedState } from './packed';
import { COOKIE_CHAIN, packedCookieAt } from './packed-driver';
import { DESC_F_NEXT, DESC_FLAGS, DESC_NEXT, descAt, RING_ENTRIES, USED_ENTRY_SIZE } from './split';

/** "Filled to the end": no buffer is as long. */
const WHOLE_BUFFER: u32 = 0xffff_ffff;

/** Split: head of the oldest chain that is lent, `taken` descriptors after those that are free. */
// @ts-ignore: decorator
@inline
export function oldestHead(queue: usize, taken: u32): u32 {
  const free = load<u32>(queue, QUEUE_FREE_HEAD) + load<u32>(queue, QUEUE_FREE_COUNT);
  return (free + taken) & (load<u32>(queue, QUEUE_VQ_SIZE) - 1);
}

/** Split: the head behind the chain that begins at `head`. */
export function headAfter(queue: usize, head: u32): u32 {
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  let last = head;
  for (let left = size; left != 0 && (<u32>load<u16>(descAt(table, last), DESC_FLAGS) & DESC_F_NEXT) != 0; left--) {
    last = <u32>load<u16>(descAt(table, last), DESC_NEXT) & (size - 1);
  }
  return (last + 1) & (size - 1);
}

/**
 * Split: the used entry at index `slot` names a later head than `oldest`: writes one entry for each chain from there on, at
 * most `waiting`. False: the device named a head that is not lent, or skipped more than it used.
 */
export function unbatchSplit(queue: usize, slot: u32, oldest: u32, waiting: u32): bool {
  const entries = <usize>load<u32>(queue, QUEUE_USED) + RING_ENTRIES;
  const mask = load<u32>(queue, QUEUE_VQ_SIZE) - 1;
  const answer = load<u64>(entries + (slot & mask) * USED_ENTRY_SIZE);
  let head = oldest;
  for (let i: u32 = 0; i < waiting; i++) {
    const last = head == <u32>answer;
    store<u64>(entries + ((slot + i) & mask) * USED_ENTRY_SIZE, last ? answer : ((<u64>WHOLE_BUFFER) << 32) | <u64>head);
    if (last) return true;
    head = headAfter(queue, head);
  }
  return false;
}

/** Packed: the same for the used descriptor `tail` at `position`. False: the device named an id that is not lent. */
export function unbatchPacked(queue: usize, position: u32, tail: u64): bool {
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  const id = packedId(tail);
  let at = position;
  for (let left: i32 = <i32>size; left > 0; ) {
    const index = positionIndex(at);
    const cookie = packedCookieAt(queue, index);
    if (load<u32>(cookie) == 0) return false;
    const last = index == id;
    const length = last ? packedLen(tail) : WHOLE_BUFFER;
    store<u64>(table + index * PACKED_DESC_SIZE, packedTail(length, index, usedState(positionWrap(at))), PACKED_TAIL);
    if (last) return true;
    const chain = <u32>load<u16>(cookie, COOKIE_CHAIN);
    at = advance(at, chain, size);
    left -= <i32>chain;
  }
  return false;
}
