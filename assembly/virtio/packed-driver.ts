/**
 * Driver side of a packed ring: what a guest does (virtio 1.2 sections 2.8.21 to 2.8.23). Guest addresses are linear
 * addresses. A cookie per buffer id keeps the mbuf, the chain's length, and the link of the free ids, all in memory of our own:
 * the ring's descriptors are overwritten by the device.
 */
import {
  COOKIE_SIZE,
  QUEUE_COOKIES,
  QUEUE_DESC,
  QUEUE_FREE_COUNT,
  QUEUE_FREE_HEAD,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_SIGNALLED_VALID,
  QUEUE_VQ_SIZE,
  RING_STARTED,
} from '../layout';
import { PACKED_DESC_SIZE, PACKED_TAIL, packedId, packedState, positionIndex, positionWrap, usedState } from './packed';

export const COOKIE_CHAIN: u32 = 4;
export const COOKIE_NEXT: u32 = 6;

/** No used descriptor there yet. */
export const NOT_USED: u64 = 0xffff_ffff_ffff_ffff;

/** Empty ring: all ids free, both wrap counters 1 (section 2.8.1). The vring memory is all zero. */
export function packedDriverInit(queue: usize): void {
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  for (let id: u32 = 0; id < size; id++) {
    const cookie = packedCookieAt(queue, id);
    store<u32>(cookie, 0);
    store<u16>(cookie, <u16>(id + 1), COOKIE_NEXT);
  }
  store<u32>(queue, 0, QUEUE_FREE_HEAD);
  store<u32>(queue, size, QUEUE_FREE_COUNT);
  store<u32>(queue, 0x8000, QUEUE_LAST_AVAIL);
  store<u32>(queue, 0x8000, QUEUE_LAST_USED);
  store<u32>(queue, RING_STARTED, QUEUE_SIGNALLED_VALID);
}

// @ts-ignore: decorator
@inline
export function packedCookieAt(queue: usize, id: u32): usize {
  return <usize>load<u32>(queue, QUEUE_COOKIES) + id * COOKIE_SIZE;
}

/** The tail of the used descriptor at `position`, or NOT_USED. */
// @ts-ignore: decorator
@inline
export function usedTailAt(queue: usize, position: u32): u64 {
  const desc = <usize>load<u32>(queue, QUEUE_DESC) + positionIndex(position) * PACKED_DESC_SIZE;
  const tail = atomic.load<u64>(desc, PACKED_TAIL);
  return packedState(tail) == usedState(positionWrap(position)) ? tail : NOT_USED;
}

/** The mbuf lent under the id of a used descriptor, or 0: the device returned what it does not have. */
// @ts-ignore: decorator
@inline
export function lentMbuf(queue: usize, tail: u64): u32 {
  const id = packedId(tail);
  return id < load<u32>(queue, QUEUE_VQ_SIZE) ? load<u32>(packedCookieAt(queue, id)) : 0;
}
