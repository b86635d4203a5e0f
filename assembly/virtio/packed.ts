/**
 * The packed virtqueue's shape (virtio 1.2 section 2.8): one ring that both sides write.
 *
 *   descriptor   u64 addr, u32 len, u16 id, u16 flags
 *   driver area, device area: event suppression, u16 off_wrap, u16 flags
 *
 * A position is 16 bits: index in bits 0-14, wrap counter in bit 15. The second half of a descriptor, its `tail`, is read
 * and written at once: length, id and flags belong together.
 */
export const PACKED_DESC_SIZE: u32 = 16;
export const PACKED_TAIL: u32 = 8;

export const PACKED_F_NEXT: u32 = 1;
export const PACKED_F_WRITE: u32 = 2;
export const PACKED_F_INDIRECT: u32 = 4;
export const PACKED_F_AVAIL: u32 = 0x0080;
export const PACKED_F_USED: u32 = 0x8000;
export const PACKED_F_STATE: u32 = 0x8080;
/** The flags that shape a chain. */
export const PACKED_F_SHAPE: u32 = 7;

export const EVENT_OFF_WRAP: u32 = 0;
export const EVENT_FLAGS: u32 = 2;
export const EVENT_ENABLE: u32 = 0;
export const EVENT_DISABLE: u32 = 1;
export const EVENT_DESC: u32 = 2;

// @ts-ignore: decorator
@inline
export function positionIndex(position: u32): u32 {
  return position & 0x7fff;
}

/** 1 or 0. */
// @ts-ignore: decorator
@inline
export function positionWrap(position: u32): u32 {
  return (position >> 15) & 1;
}

/** The position `count` descriptors on; `count` is at most the ring's size. */
// @ts-ignore: decorator
@inline
export function advance(position: u32, count: u32, size: u32): u32 {
  const index = (position & 0x7fff) + count;
  const wrap = position & 0x8000;
  return index >= size ? (index - size) | (wrap ^ 0x8000) : index | wrap;
}

/** State bits of a descriptor that is available at this wrap counter: AVAIL equals it, USED does not. */
// @ts-ignore: decorator
@inline
export function availState(wrap: u32): u32 {
  return wrap ? PACKED_F_AVAIL : PACKED_F_USED;
}

/** State bits of a descriptor that is used at this wrap counter: both equal it. */
// @ts-ignore: decorator
@inline
export function usedState(wrap: u32): u32 {
  return wrap ? PACKED_F_STATE : 0;
}

// @ts-ignore: decorator
@inline
export function packedTail(length: u32, id: u32, flags: u32): u64 {
  return (<u64>((flags << 16) | id) << 32) | <u64>length;
}
// @ts-ignore: decorator
@inline
export function packedLen(tail: u64): u32 {
  return <u32>tail;
}
// @ts-ignore: decorator
@inline
export function packedId(tail: u64): u32 {
  return (<u32>(tail >> 32)) & 0xffff;
}
// @ts-ignore: decorator
@inline
export function packedFlags(tail: u64): u32 {
  return <u32>(tail >> 48);
}
// @ts-ignore: decorator
@inline
export function packedState(tail: u64): u32 {
  return packedFlags(tail) & PACKED_F_STATE;
}

/** Did the position pass the event's on its way from `before` to `now`? Section 2.8.10. */
export function packedNeedEvent(offWrap: u32, now: u32, before: u32, size: u32): bool {
  let event = <i32>positionIndex(offWrap);
  if (positionWrap(offWrap) != positionWrap(now)) event -= <i32>size;
  const distance = (positionIndex(now) - positionIndex(before) + (positionWrap(now) != positionWrap(before) ? size : 0)) & 0xffff;
  return ((<u32>(<i32>positionIndex(now) - event - 1)) & 0xffff) < distance;
}
