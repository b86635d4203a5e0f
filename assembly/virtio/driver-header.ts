/**
 * The virtio-net header of a packet that a device gave to its driver (virtio 1.2 section 5.1.6.4), as mbuf flags. It lies in
 * front of the first segment's data, in the headroom.
 */
import {
  MBUF_F_RX_L4_CKSUM_GOOD,
  MBUF_HEADROOM,
  MBUF_OL_FLAGS,
  MBUF_SIZE,
  OFFLOAD_CSUM,
  QUEUE_OFFLOADS,
} from '../layout';
import { HEADER_OK, netHeaderIn } from './net-header';
import { NET_HDR_CSUM_OFFSET } from './split';

const F_NEEDS_CSUM: u32 = 1;
const F_DATA_VALID: u32 = 2;

// @ts-ignore: decorator
@inline
export function headerOf(mbuf: usize, hdrLen: u32): usize {
  return mbuf + MBUF_SIZE + MBUF_HEADROOM - hdrLen;
}

/**
 * Flags of a whole packet whose header, at `header`, asks for more than nothing; `word` is its first eight bytes. HEADER_OK, or
 * why the packet is to be dropped. A device says more than a driver: DATA_VALID is "the checksum was verified", where
 * GUEST_CSUM was negotiated.
 */
export function driverHeaderIn(queue: usize, mbuf: usize, header: usize, word: u64, frameLen: u32): u32 {
  const fault = netHeaderIn(queue, mbuf, word, load<u16>(header, NET_HDR_CSUM_OFFSET), frameLen);
  if (fault != HEADER_OK || (<u32>word & (F_NEEDS_CSUM | F_DATA_VALID)) != F_DATA_VALID) return fault;
  if (load<u32>(queue, QUEUE_OFFLOADS) & OFFLOAD_CSUM) {
    store<u32>(mbuf, load<u32>(mbuf, MBUF_OL_FLAGS) | MBUF_F_RX_L4_CKSUM_GOOD, MBUF_OL_FLAGS);
  }
  return HEADER_OK;
}
