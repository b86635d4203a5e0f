/**
 * The virtio-net header in front of each frame (virtio 1.2 section 5.1.6), and what it means as mbuf flags. A packet that
 * crosses from one guest to another keeps its partial checksum and its size: the sender's header becomes flags, and the
 * flags become the receiver's header.
 *
 *   0 u8 flags   1 u8 gso_type   2 u16 hdr_len   4 u16 gso_size   6 u16 csum_start   8 u16 csum_offset   10 u16 num_buffers
 */
import {
  DROP_FEATURE,
  DROP_OFFLOAD,
  MAX_GSO_SEGMENTS,
  MBUF_DATA_LEN,
  MBUF_F_HDR_MASK,
  MBUF_F_RX_L4_CKSUM_GOOD,
  MBUF_F_RX_L4_CKSUM_NONE,
  MBUF_F_RX_LRO,
  MBUF_F_TX_ECN,
  MBUF_F_TX_IPV4,
  MBUF_F_TX_IPV6,
  MBUF_F_TX_L4_MASK,
  MBUF_F_TX_SEG_MASK,
  MBUF_F_TX_TCP_CKSUM,
  MBUF_F_TX_TCP_SEG,
  MBUF_F_TX_UDP_CKSUM,
  MBUF_F_TX_UDP_SEG,
  MBUF_F_TX_UFO,
  MBUF_F_TX_WORK_MASK,
  MBUF_L2_LEN,
  MBUF_L3_LEN,
  MBUF_L4_LEN,
  MBUF_OL_FLAGS,
  MBUF_TSO_SEGSZ,
  OFFLOAD_CSUM,
  OFFLOAD_ECN,
  OFFLOAD_TSO4,
  OFFLOAD_TSO6,
  OFFLOAD_UFO,
  OFFLOAD_USO4,
  OFFLOAD_USO6,
  QUEUE_OFFLOADS,
  CHECKSUM_WRITTEN,
  RTE_PTYPE_L3_IPV6,
  RTE_PTYPE_L4_MASK,
  RTE_PTYPE_L4_TCP,
  RTE_PTYPE_L4_UDP,
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
  VIRTIO_NET_HDR_GSO_UDP,
  VIRTIO_NET_HDR_GSO_UDP_L4,
} from '../layout';
import { checksumComplete } from '../net/l4-checksum';
import { parsePacket } from '../net/parse';
import { NET_HDR_CSUM_OFFSET, NET_HDR_NUM_BUFFERS, NET_HDR_SIZE } from './split';

const F_NEEDS_CSUM: u32 = 1;
const F_DATA_VALID: u32 = 2;
const TCP_CSUM_OFFSET: u32 = 16;
const UDP_CSUM_OFFSET: u32 = 6;
/** A plain header's csum_offset and num_buffers. */
const PLAIN_TAIL: u32 = 0x0001_0000;

/** netHeaderIn's answer for a packet that may go on. */
export const HEADER_OK: u32 = 0xffff_ffff;

/**
 * Header of a packet without offloads: all zero, and num_buffers 1 where the header has the field. Written only where it is not
 * there already: buffers come round, mostly with the header they had, and a cache line that nobody writes stays with both cores.
 * That a device SHOULD NOT read such a buffer (section 2.7.5.3) is for the guest's secrets; nothing of it leaves this function.
 */
// @ts-ignore: decorator
@inline
export function writeNetHeader(at: usize, hdrLen: u32): void {
  if (load<u64>(at) != 0) store<u64>(at, 0);
  if (hdrLen == NET_HDR_SIZE) {
    if (load<u32>(at, 8) != PLAIN_TAIL) store<u32>(at, PLAIN_TAIL, 8);
  } else if (load<u16>(at, 8) != 0) store<u16>(at, 0, 8);
}

/** Anything in the header that is more than "a plain packet"? `word` is its first eight bytes. */
// @ts-ignore: decorator
@inline
export function asksOffload(word: u64): bool {
  return (<u32>word & 0xffff) != 0;
}

/**
 * The sender's header, read once into `word` and `csumOffset`, as flags of the packet, which is already in mbufs of ours.
 * Returns HEADER_OK or why the packet is to be dropped. DATA_VALID from a driver is ignored (section 5.1.6.2.2).
 */
export function netHeaderIn(queue: usize, mbuf: usize, word: u64, csumOffset: u32, frameLen: u32): u32 {
  const offloads = load<u32>(queue, QUEUE_OFFLOADS);
  const gsoType = (<u32>word >> 8) & 0xff;
  const gsoSize = <u32>(word >> 32) & 0xffff;
  const csumStart = <u32>(word >> 48);
  if ((<u32>word & F_NEEDS_CSUM) == 0) return gsoType == 0 ? HEADER_OK : DROP_OFFLOAD;
  if ((offloads & OFFLOAD_CSUM) == 0) return DROP_FEATURE;
  if (csumStart >= frameLen || frameLen - csumStart < csumOffset + 2) return DROP_OFFLOAD;

  const ptype = parsePacket(<u32>mbuf);
  const l4At = <u32>load<u8>(mbuf, MBUF_L2_LEN) + load<u16>(mbuf, MBUF_L3_LEN);
  const l4 = ptype & RTE_PTYPE_L4_MASK;
  const v6 = (ptype & RTE_PTYPE_L3_IPV6) != 0;
  let flags = v6 ? MBUF_F_TX_IPV6 : MBUF_F_TX_IPV4;
  let known = false;
  if (l4 == RTE_PTYPE_L4_TCP) {
    flags |= MBUF_F_TX_TCP_CKSUM;
    known = csumOffset == TCP_CSUM_OFFSET && csumStart == l4At;
  } else if (l4 == RTE_PTYPE_L4_UDP) {
    flags |= MBUF_F_TX_UDP_CKSUM;
    known = csumOffset == UDP_CSUM_OFFSET && csumStart == l4At;
  }
  if (!known) {
    // SCTP, a tunnel, headers that we do not know: the checksum is completed here and nobody after us needs to know.
    if (gsoType != 0) return DROP_OFFLOAD;
    return checksumComplete(<u32>mbuf, csumStart, csumOffset) == CHECKSUM_WRITTEN ? HEADER_OK : DROP_OFFLOAD;
  }
  if (gsoType != 0) {
    const headers = l4At + load<u8>(mbuf, MBUF_L4_LEN);
    const kind = gsoType & ~VIRTIO_NET_HDR_GSO_ECN;
    let segment: u32 = 0;
    let needs: u32 = 0;
    if (kind == VIRTIO_NET_HDR_GSO_TCPV4 && !v6 && l4 == RTE_PTYPE_L4_TCP) {
      segment = MBUF_F_TX_TCP_SEG;
      needs = OFFLOAD_TSO4;
    } else if (kind == VIRTIO_NET_HDR_GSO_TCPV6 && v6 && l4 == RTE_PTYPE_L4_TCP) {
      segment = MBUF_F_TX_TCP_SEG;
      needs = OFFLOAD_TSO6;
    } else if (kind == VIRTIO_NET_HDR_GSO_UDP && l4 == RTE_PTYPE_L4_UDP) {
      segment = MBUF_F_TX_UFO;
      needs = OFFLOAD_UFO;
    } else if (kind == VIRTIO_NET_HDR_GSO_UDP_L4 && l4 == RTE_PTYPE_L4_UDP) {
      segment = MBUF_F_TX_UDP_SEG;
      needs = v6 ? OFFLOAD_USO6 : OFFLOAD_USO4;
    }
    if (segment == 0) return DROP_OFFLOAD;
    if ((offloads & needs) == 0) return DROP_FEATURE;
    if (gsoType & VIRTIO_NET_HDR_GSO_ECN) {
      if ((offloads & OFFLOAD_ECN) == 0 || segment != MBUF_F_TX_TCP_SEG) return DROP_FEATURE;
      flags |= MBUF_F_TX_ECN;
    }
    // G12: a size of nothing; headers that end beyond the first segment, or are longer than what they carry
    if (gsoSize == 0 || headers > gsoSize || headers >= frameLen || headers > load<u32>(mbuf, MBUF_DATA_LEN)) return DROP_OFFLOAD;
    const payload = frameLen - headers;
    if (payload > gsoSize * MAX_GSO_SEGMENTS) return DROP_OFFLOAD;
    if (payload > gsoSize) {
      flags |= segment | MBUF_F_RX_LRO;
      store<u16>(mbuf, <u16>gsoSize, MBUF_TSO_SEGSZ);
    }
  }
  store<u32>(mbuf, load<u32>(mbuf, MBUF_OL_FLAGS) | flags | MBUF_F_RX_L4_CKSUM_NONE, MBUF_OL_FLAGS);
  return HEADER_OK;
}

/** Does the packet's header say more than "a plain packet"? */
// @ts-ignore: decorator
@inline
export function hasOffload(mbuf: usize): bool {
  return (load<u32>(mbuf, MBUF_OL_FLAGS) & MBUF_F_HDR_MASK) != 0;
}

/** May a packet with offload flags go to this peer as it is? */
// @ts-ignore: decorator
@inline
export function fits(queue: usize, mbuf: usize): bool {
  const flags = load<u32>(mbuf, MBUF_OL_FLAGS);
  if (flags & (MBUF_F_TX_WORK_MASK & ~MBUF_F_TX_L4_MASK)) return false; // IP checksum, VLAN: virtio-net has no such offload
  return (offloadsNeeded(flags) & ~load<u32>(queue, QUEUE_OFFLOADS)) == 0;
}

/** Does this peer take a packet with these flags uncut? Whatever else they ask for. */
export function takesSegments(queue: usize, flags: u32): bool {
  return (offloadsNeeded(flags) & ~load<u32>(queue, QUEUE_OFFLOADS)) == 0;
}

/** OFFLOAD_* bits that a peer must have to take the packet as it is. */
// @ts-ignore: decorator
@inline
function offloadsNeeded(olFlags: u32): u32 {
  let needs: u32 = olFlags & MBUF_F_TX_L4_MASK ? OFFLOAD_CSUM : 0;
  const v6 = (olFlags & MBUF_F_TX_IPV6) != 0;
  if (olFlags & MBUF_F_TX_TCP_SEG) needs |= v6 ? OFFLOAD_TSO6 : OFFLOAD_TSO4;
  if (olFlags & MBUF_F_TX_UDP_SEG) needs |= v6 ? OFFLOAD_USO6 : OFFLOAD_USO4;
  if (olFlags & MBUF_F_TX_UFO) needs |= OFFLOAD_UFO;
  if (olFlags & MBUF_F_TX_ECN) needs |= OFFLOAD_ECN;
  return needs;
}

/** Header of a packet whose flags the receiver takes as they are (section 5.1.6.4): num_buffers is 1 until scatterEnd. */
export function netHeaderOut(queue: usize, at: usize, hdrLen: u32, mbuf: usize): void {
  const flags = load<u32>(mbuf, MBUF_OL_FLAGS);
  if ((flags & MBUF_F_TX_L4_MASK) == 0) {
    writeNetHeader(at, hdrLen);
    const good = (flags & MBUF_F_RX_L4_CKSUM_NONE) == MBUF_F_RX_L4_CKSUM_GOOD;
    if (good && load<u32>(queue, QUEUE_OFFLOADS) & OFFLOAD_CSUM) store<u8>(at, <u8>F_DATA_VALID);
    return;
  }
  const csumStart = <u32>load<u8>(mbuf, MBUF_L2_LEN) + load<u16>(mbuf, MBUF_L3_LEN);
  const udp = (flags & (MBUF_F_TX_UDP_CKSUM | MBUF_F_TX_UDP_SEG | MBUF_F_TX_UFO)) != 0;
  let low: u32 = F_NEEDS_CSUM;
  let high = csumStart << 16;
  if (flags & MBUF_F_TX_SEG_MASK) {
    let gsoType = VIRTIO_NET_HDR_GSO_UDP_L4;
    if (flags & MBUF_F_TX_TCP_SEG) gsoType = flags & MBUF_F_TX_IPV6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
    else if (flags & MBUF_F_TX_UFO) gsoType = VIRTIO_NET_HDR_GSO_UDP;
    if (flags & MBUF_F_TX_ECN) gsoType |= VIRTIO_NET_HDR_GSO_ECN;
    low |= (gsoType << 8) | ((csumStart + load<u8>(mbuf, MBUF_L4_LEN)) << 16);
    high |= <u32>load<u16>(mbuf, MBUF_TSO_SEGSZ);
  }
  store<u32>(at, low);
  store<u32>(at, high, 4);
  store<u16>(at, <u16>(udp ? UDP_CSUM_OFFSET : TCP_CSUM_OFFSET), 8);
  if (hdrLen == NET_HDR_SIZE) store<u16>(at, 1, 10);
}

/**
 * Header of a packet that a driver sends (section 5.1.6.2.1): a driver sets neither num_buffers nor DATA_VALID. `asked`: the packet
 * may ask for more than nothing.
 */
// @ts-ignore: decorator
@inline
export function driverHeaderOut(queue: usize, at: usize, hdrLen: u32, mbuf: usize, asked: bool): void {
  if (asked && load<u32>(mbuf, MBUF_OL_FLAGS) & MBUF_F_TX_L4_MASK) netHeaderOut(queue, at, hdrLen, mbuf);
  else {
    store<u64>(at, 0);
    store<u16>(at, 0, NET_HDR_CSUM_OFFSET);
  }
  if (hdrLen == NET_HDR_SIZE) store<u16>(at, 0, NET_HDR_NUM_BUFFERS);
}
