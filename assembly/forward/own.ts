/** Engines that change a packet's headers: they must be theirs to change. */
import { MBUF_POOL } from '../layout';
import { mbufFree } from '../mem/mbuf';
import { mbufPrivateHead, segmentIsPrivate } from '../net/private';

/**
 * A packet with the same bytes whose first `length` may be written: the packet itself where nobody else sees them, else one
 * with a head of its own in its place. 0 if that cannot be had (mempool exhausted): then the packet is still the caller's.
 */
// @ts-ignore: decorator
@inline
export function ownHeaders(lcoreId: u32, mbuf: u32, length: u32): u32 {
  return segmentIsPrivate(mbuf) ? mbuf : copyHeaders(lcoreId, mbuf, length);
}

function copyHeaders(lcoreId: u32, mbuf: u32, length: u32): u32 {
  const own = mbufPrivateHead(lcoreId, mbuf, length, load<u32>(mbuf, MBUF_POOL));
  if (own != 0) mbufFree(mbuf, lcoreId);
  return own;
}
