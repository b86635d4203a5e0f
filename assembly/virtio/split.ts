/**
 * The split virtqueue's shape (virtio 1.2 section 2.7) and what both sides of it share.
 *
 *   descriptor table   16 bytes each: u64 addr, u32 len, u16 flags, u16 next
 *   available ring     u16 flags, u16 idx, u16 ring[size], u16 used_event
 *   used ring          u16 flags, u16 idx, { u32 id, u32 len } ring[size], u16 avail_event
 *
 * All of it is memory that the other side writes: each field is read once, into a local.
 */
export const DESC_SIZE: u32 = 16;
export const DESC_LEN: u32 = 8;
export const DESC_FLAGS: u32 = 12;
export const DESC_NEXT: u32 = 14;

export const DESC_F_NEXT: u32 = 1;
export const DESC_F_WRITE: u32 = 2;
export const DESC_F_INDIRECT: u32 = 4;
/** The flags that mean something here; the others are ignored, as section 2.7.5 has it. */
export const DESC_F_MASK: u32 = 7;

export const RING_FLAGS_FIELD: u32 = 0;
export const RING_IDX: u32 = 2;
export const RING_ENTRIES: u32 = 4;
export const AVAIL_ENTRY_SIZE: u32 = 2;
export const USED_ENTRY_SIZE: u32 = 8;

/** avail.flags: the driver wants no interrupt. used.flags: the device wants no kick. */
export const RING_F_NO_NOTIFY: u32 = 1;

/** Largest virtio-net header (section 5.1.6), and where two of its fields stand. */
export const NET_HDR_SIZE: u32 = 12;
export const NET_HDR_LEGACY_SIZE: u32 = 10;
export const NET_HDR_CSUM_OFFSET: u32 = 8;
export const NET_HDR_NUM_BUFFERS: u32 = 10;

/** Address of the descriptor. */
// @ts-ignore: decorator
@inline
export function descAt(table: usize, index: u32): usize {
  return table + index * DESC_SIZE;
}

/** The second half of a descriptor, read at once: length, flags and next all belong to the same reading. */
// @ts-ignore: decorator
@inline
export function descTail(desc: usize): u64 {
  return load<u64>(desc, DESC_LEN);
}
// @ts-ignore: decorator
@inline
export function tailLen(tail: u64): u32 {
  return <u32>tail;
}
// @ts-ignore: decorator
@inline
export function tailFlags(tail: u64): u32 {
  return (<u32>(tail >> 32)) & DESC_F_MASK;
}
// @ts-ignore: decorator
@inline
export function tailNext(tail: u64): u32 {
  return <u32>(tail >> 48);
}

/** used_event: behind the available ring. avail_event: behind the used ring. */
// @ts-ignore: decorator
@inline
export function usedEventAt(avail: usize, size: u32): usize {
  return avail + RING_ENTRIES + size * AVAIL_ENTRY_SIZE;
}
// @ts-ignore: decorator
@inline
export function availEventAt(used: usize, size: u32): usize {
  return used + RING_ENTRIES + size * USED_ENTRY_SIZE;
}

/** Did the index pass `event` on its way from `before` to `now`? Section 2.7.7.2, in 16-bit arithmetic. */
// @ts-ignore: decorator
@inline
export function needEvent(event: u32, now: u32, before: u32): bool {
  return ((now - event - 1) & 0xffff) < ((now - before) & 0xffff);
}
