/**
 * Checksums of whole packets: IPv4 header, TCP and UDP over IPv4 and IPv6 with their pseudo headers, and the half-done ones
 * that a virtio driver leaves to the device. Packets are parsed anew by every function, which costs some 10 ns and leaves
 * nothing to believe; a packet with other contents than it says is refused or bad, and no byte outside it is touched.
 */
import {
  CHECKSUM_BAD,
  CHECKSUM_GOOD,
  CHECKSUM_OUTSIDE,
  CHECKSUM_REFUSED,
  CHECKSUM_SHARED,
  CHECKSUM_UNKNOWN,
  CHECKSUM_WRITTEN,
  ETHER_HDR_LEN,
  MBUF_DATA_LEN,
  MBUF_L2_LEN,
  MBUF_L3_LEN,
  MBUF_NEXT,
  MBUF_PKT_LEN,
  RTE_PTYPE_L4_MASK,
  RTE_PTYPE_L4_TCP,
  RTE_PTYPE_L4_UDP,
} from '../layout';
import { mbufData } from '../mem/mbuf';
import { complement, fold, rawChecksum, rawChecksumMbuf, sumRange } from './checksum';
import {
  be16,
  be32,
  IPV4_ADDRESSES,
  IPV4_CHECKSUM,
  IPV4_TOTAL_LENGTH,
  IPV6_ADDRESS_LEN,
  IPV6_ADDRESSES,
  IPV6_DESTINATION,
  IPV6_EXT_LENGTH,
  IPV6_FRAGMENT_LEN,
  IPV6_HDR_LEN,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  IPV6_ROUTING_DATA,
  IPV6_ROUTING_LEFT,
  IPV6_ROUTING_TYPE,
  PROTO_FRAGMENT,
  PROTO_ROUTING,
  PROTO_TCP,
  PROTO_UDP,
  TCP_CHECKSUM,
  UDP_CHECKSUM,
  UDP_HDR_LEN,
  UDP_LENGTH,
} from './headers';
import { isIpv4, parsePacket } from './parse';
import { segmentIsPrivate } from './private';

/** pseudoSumIpv6: no sum. */
export const NO_DESTINATION: u64 = 0xffff_ffff_ffff_ffff;

/** Checksum of an IPv4 header of `length` bytes, whatever its checksum field holds; as it lies in memory (rte_ipv4_cksum). */
export function ipv4Checksum(ip: u32, length: u32): u32 {
  // taking the field off is adding its complement
  return fold(sumRange(ip, length) + <u64>(<u32>load<u16>(ip, IPV4_CHECKSUM) ^ 0xffff)) ^ 0xffff;
}

/** Writes an IPv4 header's checksum. */
// @ts-ignore: decorator
@inline
export function storeIpv4Checksum(ip: u32, length: u32): void {
  store<u16>(ip, 0, IPV4_CHECKSUM);
  store<u16>(ip, rawChecksum(ip, length) ^ 0xffff, IPV4_CHECKSUM);
}

/** Sum of the pseudo header of RFC 9293 section 3.1, not folded (rte_ipv4_phdr_cksum). */
// @ts-ignore: decorator
@inline
export function pseudoSumIpv4(ip: u32, proto: u32, l4Length: u32): u64 {
  return sumRange(ip + IPV4_ADDRESSES, 8) + <u64>be16(proto) + <u64>be32(l4Length);
}

/**
 * Sum of the pseudo header of RFC 8200 section 8.1, not folded (rte_ipv6_phdr_cksum). `l3`: bytes of the IPv6 header with its
 * extension headers. NO_DESTINATION if a routing header hides where the packet is going.
 */
export function pseudoSumIpv6(ip: u32, l3: u32, proto: u32, l4Length: u32): u64 {
  let destination = ip + IPV6_DESTINATION;
  if (l3 != IPV6_HDR_LEN) {
    destination = finalDestination(ip, l3);
    if (destination == 0) return NO_DESTINATION;
  }
  const addresses = sumRange(ip + IPV6_ADDRESSES, IPV6_ADDRESS_LEN) + sumRange(destination, IPV6_ADDRESS_LEN);
  return addresses + <u64>be32(proto) + <u64>be32(l4Length);
}

/**
 * Address of the last destination: under way along a routing header it stands there, not in the IPv6 header. Routing types
 * 0 (RFC 2460) and 2 (RFC 6275) have it at their end, 4 (RFC 8754) at the start of its list. 0 for other types.
 */
function finalDestination(ip: u32, l3: u32): u32 {
  let destination = ip + IPV6_DESTINATION;
  let proto = <u32>load<u8>(ip, IPV6_NEXT_HEADER);
  let done = IPV6_HDR_LEN;
  while (done < l3) {
    const at = ip + done;
    let length = IPV6_FRAGMENT_LEN;
    if (proto != PROTO_FRAGMENT) length = ((<u32>load<u8>(at, IPV6_EXT_LENGTH)) + 1) << 3;
    if (length > l3 - done) return 0;
    if (proto == PROTO_ROUTING && load<u8>(at, IPV6_ROUTING_LEFT) != 0) {
      const type = <u32>load<u8>(at, IPV6_ROUTING_TYPE);
      if (length < IPV6_ROUTING_DATA + IPV6_ADDRESS_LEN) return 0;
      if (type == 0 || type == 2) destination = at + length - IPV6_ADDRESS_LEN;
      else if (type == 4) destination = at + IPV6_ROUTING_DATA;
      else return 0;
    }
    proto = load<u8>(at);
    done += length;
  }
  return destination;
}

/** pseudoSumIpv4 or pseudoSumIpv6 of a TCP or UDP packet that parsePacket has seen. */
// @ts-ignore: decorator
@inline
export function pseudoSum(ptype: u32, ip: u32, l3: u32, l4Length: u32): u64 {
  const proto = (ptype & RTE_PTYPE_L4_MASK) == RTE_PTYPE_L4_TCP ? PROTO_TCP : PROTO_UDP;
  return isIpv4(ptype) ? pseudoSumIpv4(ip, proto, l4Length) : pseudoSumIpv6(ip, l3, proto, l4Length);
}

// @ts-ignore: decorator
@inline
function isTcpOrUdp(ptype: u32): bool {
  const l4 = ptype & RTE_PTYPE_L4_MASK;
  return l4 == RTE_PTYPE_L4_TCP || l4 == RTE_PTYPE_L4_UDP;
}

/** Offset of the checksum field in a TCP or UDP header. */
// @ts-ignore: decorator
@inline
export function l4ChecksumOffset(ptype: u32): u32 {
  return (ptype & RTE_PTYPE_L4_MASK) == RTE_PTYPE_L4_TCP ? TCP_CHECKSUM : UDP_CHECKSUM;
}

/**
 * Bytes that a TCP or UDP checksum covers besides the pseudo header: what the IP header says, which leaves padding out, and
 * the UDP header for UDP. 0 if the packet does not have them, or the two contradict each other.
 */
function l4Length(mbuf: u32, ptype: u32, ip: u32, l2: u32, l3: u32): u32 {
  const rest = load<u32>(mbuf, MBUF_PKT_LEN) - l2 - l3; // the headers are there
  let length = rest;
  if (isIpv4(ptype)) {
    const total = be16(load<u16>(ip, IPV4_TOTAL_LENGTH));
    if (total != 0) length = total - l3;
  } else {
    const payload = be16(load<u16>(ip, IPV6_PAYLOAD_LENGTH));
    if (payload != 0) length = payload + IPV6_HDR_LEN - l3;
  }
  if (length > rest) return 0;
  if ((ptype & RTE_PTYPE_L4_MASK) == RTE_PTYPE_L4_UDP) {
    const udpLength = be16(load<u16>(ip + l3, UDP_LENGTH));
    if (udpLength < UDP_HDR_LEN || udpLength > length) return 0;
    return udpLength;
  }
  return length;
}

/**
 * The TCP or UDP checksum of a packet (rte_ipv4_udptcp_cksum_mbuf_verify, rte_ipv6_...): CHECKSUM_GOOD, CHECKSUM_BAD, or
 * CHECKSUM_UNKNOWN for anything that is not a whole TCP or UDP packet: fragments, other protocols, data that is not there. No
 * checksum in UDP over IPv4 is good, over IPv6 bad.
 */
export function l4ChecksumVerify(mbuf: u32): u32 {
  return parsedL4Verify(mbuf, parsePacket(mbuf));
}

/** l4ChecksumVerify of a packet that was parsed just now. */
export function parsedL4Verify(mbuf: u32, ptype: u32): u32 {
  if (!isTcpOrUdp(ptype)) return CHECKSUM_UNKNOWN;
  const l2 = <u32>load<u8>(mbuf, MBUF_L2_LEN);
  const l3 = <u32>load<u16>(mbuf, MBUF_L3_LEN);
  const ip = mbufData(mbuf) + l2;
  const length = l4Length(mbuf, ptype, ip, l2, l3);
  if (length == 0) return CHECKSUM_UNKNOWN;
  if ((ptype & RTE_PTYPE_L4_MASK) == RTE_PTYPE_L4_UDP && load<u16>(ip + l3, UDP_CHECKSUM) == 0) {
    return isIpv4(ptype) ? CHECKSUM_GOOD : CHECKSUM_BAD;
  }
  const pseudo = pseudoSum(ptype, ip, l3, length);
  if (pseudo == NO_DESTINATION) return CHECKSUM_UNKNOWN;
  const sum = rawChecksumMbuf(mbuf, l2 + l3, length);
  if (sum == CHECKSUM_OUTSIDE) return CHECKSUM_UNKNOWN;
  return fold(pseudo + sum) == 0xffff ? CHECKSUM_GOOD : CHECKSUM_BAD;
}

/**
 * Computes and writes the TCP or UDP checksum (rte_ipv4_udptcp_cksum_mbuf, rte_ipv6_...). CHECKSUM_WRITTEN, CHECKSUM_REFUSED
 * where l4ChecksumVerify does not know, CHECKSUM_SHARED if the header is not ours alone.
 */
export function l4ChecksumSet(mbuf: u32): u32 {
  return writeL4(mbuf, false);
}

/**
 * Writes the pseudo header's sum into the TCP or UDP checksum field: what a device or a virtio receiver that completes the
 * checksum expects to find there (virtio 1.2 section 5.1.6.2; rte_net_intel_cksum_prepare). Answers as l4ChecksumSet.
 */
export function pseudoChecksumSet(mbuf: u32): u32 {
  return writeL4(mbuf, true);
}

/**
 * pseudoChecksumSet of a packet that was parsed just now. Where the sum is there already, as in a packet that came from a guest,
 * nothing is written, and it does not matter who else refers to the bytes.
 */
export function parsedPseudoSet(mbuf: u32, ptype: u32): u32 {
  if (!isTcpOrUdp(ptype)) return CHECKSUM_REFUSED;
  const l2 = <u32>load<u8>(mbuf, MBUF_L2_LEN);
  const l3 = <u32>load<u16>(mbuf, MBUF_L3_LEN);
  const ip = mbufData(mbuf) + l2;
  const length = l4Length(mbuf, ptype, ip, l2, l3);
  if (length == 0) return CHECKSUM_REFUSED;
  const pseudo = pseudoSum(ptype, ip, l3, length);
  if (pseudo == NO_DESTINATION) return CHECKSUM_REFUSED;
  const field = ip + l3 + l4ChecksumOffset(ptype);
  const sum = fold(pseudo);
  if (<u32>load<u16>(field) == sum) return CHECKSUM_WRITTEN;
  if (!segmentIsPrivate(mbuf)) return CHECKSUM_SHARED;
  store<u16>(field, sum);
  return CHECKSUM_WRITTEN;
}

function writeL4(mbuf: u32, partial: bool): u32 {
  const ptype = parsePacket(mbuf);
  if (!isTcpOrUdp(ptype)) return CHECKSUM_REFUSED;
  const l2 = <u32>load<u8>(mbuf, MBUF_L2_LEN);
  const l3 = <u32>load<u16>(mbuf, MBUF_L3_LEN);
  const ip = mbufData(mbuf) + l2;
  const length = l4Length(mbuf, ptype, ip, l2, l3);
  if (length == 0) return CHECKSUM_REFUSED;
  const pseudo = pseudoSum(ptype, ip, l3, length);
  if (pseudo == NO_DESTINATION) return CHECKSUM_REFUSED;
  if (!segmentIsPrivate(mbuf)) return CHECKSUM_SHARED;
  const field = ip + l3 + l4ChecksumOffset(ptype);
  if (partial) {
    store<u16>(field, fold(pseudo));
    return CHECKSUM_WRITTEN;
  }
  const sum = rawChecksumMbuf(mbuf, l2 + l3, length);
  if (sum == CHECKSUM_OUTSIDE) return CHECKSUM_REFUSED;
  store<u16>(field, complement(fold(pseudo + sum + <u64>(<u32>load<u16>(field) ^ 0xffff))));
  return CHECKSUM_WRITTEN;
}

/** The checksum of a packet's IPv4 header: CHECKSUM_GOOD, CHECKSUM_BAD, or CHECKSUM_UNKNOWN without a whole IPv4 header. */
export function ipv4ChecksumVerify(mbuf: u32): u32 {
  return parsedIpv4Verify(mbuf, parsePacket(mbuf));
}

/** ipv4ChecksumVerify of a packet that was parsed just now. */
export function parsedIpv4Verify(mbuf: u32, ptype: u32): u32 {
  if (!isIpv4(ptype)) return CHECKSUM_UNKNOWN;
  const ip = mbufData(mbuf) + <u32>load<u8>(mbuf, MBUF_L2_LEN);
  return rawChecksum(ip, load<u16>(mbuf, MBUF_L3_LEN)) == 0xffff ? CHECKSUM_GOOD : CHECKSUM_BAD;
}

/** Computes and writes the checksum of a packet's IPv4 header. Answers as l4ChecksumSet. */
export function ipv4ChecksumSet(mbuf: u32): u32 {
  if (!isIpv4(parsePacket(mbuf))) return CHECKSUM_REFUSED;
  if (!segmentIsPrivate(mbuf)) return CHECKSUM_SHARED;
  storeIpv4Checksum(mbufData(mbuf) + <u32>load<u8>(mbuf, MBUF_L2_LEN), load<u16>(mbuf, MBUF_L3_LEN));
  return CHECKSUM_WRITTEN;
}

/**
 * Completes a half-done checksum, as VIRTIO_NET_HDR_F_NEEDS_CSUM asks (virtio 1.2 section 5.1.6.2): sums bytes
 * [csumStart, end of packet), where the field at csumStart + csumOffset holds the pseudo header's sum already, and writes
 * the complement there. CHECKSUM_REFUSED if the field is not inside the packet or csumStart is inside its Ethernet header;
 * CHECKSUM_SHARED, with nothing changed, if the field's bytes are not ours alone (then mbufPrivateHead helps).
 */
export function checksumComplete(mbuf: u32, csumStart: u32, csumOffset: u32): u32 {
  const pktLen = load<u32>(mbuf, MBUF_PKT_LEN);
  if (csumStart < ETHER_HDR_LEN || csumStart > pktLen) return CHECKSUM_REFUSED;
  const length = pktLen - csumStart;
  if (length < 2 || csumOffset > length - 2) return CHECKSUM_REFUSED;
  // the segments of the field's two bytes: one, as a rule
  let offset = csumStart + csumOffset;
  let segment = mbuf;
  while (segment != 0 && offset >= load<u32>(segment, MBUF_DATA_LEN)) {
    offset -= load<u32>(segment, MBUF_DATA_LEN);
    segment = load<u32>(segment, MBUF_NEXT);
  }
  if (segment == 0) return CHECKSUM_REFUSED;
  if (!segmentIsPrivate(segment)) return CHECKSUM_SHARED;
  const first = mbufData(segment) + offset;
  let second = first + 1;
  if (offset + 1 == load<u32>(segment, MBUF_DATA_LEN)) {
    do {
      segment = load<u32>(segment, MBUF_NEXT);
      if (segment == 0) return CHECKSUM_REFUSED;
    } while (load<u32>(segment, MBUF_DATA_LEN) == 0);
    if (!segmentIsPrivate(segment)) return CHECKSUM_SHARED;
    second = mbufData(segment);
  }
  const sum = rawChecksumMbuf(mbuf, csumStart, length);
  if (sum == CHECKSUM_OUTSIDE) return CHECKSUM_REFUSED;
  // words are counted from csumStart: at an odd csumOffset the field's bytes lie across two of them, as the sum has it
  const checksum = complement(sum);
  store<u8>(first, checksum);
  store<u8>(second, checksum >> 8);
  return CHECKSUM_WRITTEN;
}
