/**
 * What a burst gives back on a split ring: the used entries are noted while the packets are moved, and written one right after the
 * other at the end. In between, each of their cache lines, which the driver has read, would hold up the stores behind it: that cost
 * a tenth of the throughput. Virtio 1.2 section 2.7.8.
 */
import { QUEUE_LAST_AVAIL, QUEUE_LAST_USED, QUEUE_USED, QUEUE_VQ_SIZE } from '../layout';
import { NOTE_HEAD, NOTE_LENGTH, noteAt } from './note';
import { RING_ENTRIES, RING_IDX, USED_ENTRY_SIZE } from './split';

// @ts-ignore: decorator
@inline
export function noteChain(queue: usize, i: u32, head: u32, length: u32): void {
  const note = noteAt(queue, i);
  store<u32>(note, length, NOTE_LENGTH);
  store<u32>(note, head, NOTE_HEAD);
}

/** Gives back the `count` noted chains; if they were only read, not `written`, with a length of 0. Returns the used index. */
export function publishUsed(queue: usize, count: u32, written: bool): u32 {
  const used: usize = load<u32>(queue, QUEUE_USED);
  const mask = load<u32>(queue, QUEUE_VQ_SIZE) - 1;
  const lastUsed = load<u32>(queue, QUEUE_LAST_USED);
  const keep: u64 = written ? 0xffff_ffff : 0;
  for (let i: u32 = 0; i < count; i++) {
    const note = noteAt(queue, i);
    const entry = (keep & load<u32>(note, NOTE_LENGTH)) << 32 | <u64>load<u32>(note, NOTE_HEAD);
    store<u64>(used + RING_ENTRIES + ((lastUsed + i) & mask) * USED_ENTRY_SIZE, entry);
  }
  const usedIdx = (lastUsed + count) & 0xffff;
  store<u32>(queue, (load<u32>(queue, QUEUE_LAST_AVAIL) + count) & 0xffff, QUEUE_LAST_AVAIL);
  store<u32>(queue, usedIdx, QUEUE_LAST_USED);
  atomic.store<u16>(used, <u16>usedIdx, RING_IDX);
  return usedIdx;
}
