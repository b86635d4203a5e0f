/**
 * What a packet is: its type and the lengths of its headers, in one pass over the first segment. Nothing outside that
 * segment's data is read, and a header counts only if it lies in it as a whole; so whoever finds a type in MBUF_PACKET_TYPE
 * may read that header without asking again, as long as the data has not changed.
 */
import {
  ETHER_HDR_LEN,
  MBUF_DATA_LEN,
  MBUF_L2_LEN,
  MBUF_PACKET_TYPE,
  RTE_PTYPE_L2_ETHER,
  RTE_PTYPE_L2_ETHER_QINQ,
  RTE_PTYPE_L2_ETHER_VLAN,
  RTE_PTYPE_L3_IPV4,
  RTE_PTYPE_L3_IPV4_EXT,
  RTE_PTYPE_L3_IPV6,
  RTE_PTYPE_L3_IPV6_EXT,
  RTE_PTYPE_L4_FRAG,
  RTE_PTYPE_L4_ICMP,
  RTE_PTYPE_L4_SCTP,
  RTE_PTYPE_L4_TCP,
  RTE_PTYPE_L4_UDP,
} from '../layout';
import { mbufData } from '../mem/mbuf';
import {
  be16,
  ETHER_TYPE,
  ETHER_TYPE_IPV4,
  ETHER_TYPE_IPV6,
  ETHER_TYPE_QINQ,
  ETHER_TYPE_VLAN,
  ICMP_HDR_LEN,
  IPV4_FRAGMENT,
  IPV4_FRAGMENT_MASK,
  IPV4_HDR_LEN,
  IPV4_PROTOCOL,
  IPV4_TOTAL_LENGTH,
  IPV6_EXT_LENGTH,
  IPV6_FRAGMENT_LEN,
  IPV6_HDR_LEN,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  MAX_IPV6_EXTENSIONS,
  PROTO_DESTINATION,
  PROTO_FRAGMENT,
  PROTO_HOP_BY_HOP,
  PROTO_ICMP,
  PROTO_ICMPV6,
  PROTO_ROUTING,
  PROTO_SCTP,
  PROTO_TCP,
  PROTO_UDP,
  SCTP_HDR_LEN,
  TCP_DATA_OFFSET,
  TCP_HDR_LEN,
  UDP_HDR_LEN,
  VLAN_TAG_LEN,
} from './headers';

/** True for a packet type with an IPv4 header: the two have a bit in common that no IPv6 type has. */
// @ts-ignore: decorator
@inline
export function isIpv4(ptype: u32): bool {
  return (ptype & RTE_PTYPE_L3_IPV4) != 0;
}

// @ts-ignore: decorator
@inline
function isVlanType(etherType: u32): bool {
  return etherType == ETHER_TYPE_VLAN || etherType == ETHER_TYPE_QINQ;
}

/** Writes the result. MBUF_L2_LEN, MBUF_L4_LEN (u8), MBUF_L3_LEN (u16) are one word. */
// @ts-ignore: decorator
@inline
function found(mbuf: u32, ptype: u32, l2: u32, l3: u32, l4: u32): u32 {
  store<u32>(mbuf, ptype, MBUF_PACKET_TYPE);
  store<u32>(mbuf, l2 | (l4 << 8) | (l3 << 16), MBUF_L2_LEN);
  return ptype;
}

/**
 * Writes MBUF_PACKET_TYPE, MBUF_L2_LEN, MBUF_L3_LEN and MBUF_L4_LEN from the packet's headers and returns the type
 * (rte_net_get_ptype). Where a header is cut short, malformed, or not in the first segment, the type says what comes before
 * it and its length is 0. A length in the IP header bounds what follows; 0 there is taken as "not said", as in a packet that
 * its sender wants segmented.
 *
 * Up to two VLAN tags; all IPv4 options; IPv6 hop-by-hop, routing, destination and fragment headers, which count into
 * MBUF_L3_LEN. Fragments are L4_FRAG, the first one too.
 */
export function parsePacket(mbuf: u32): u32 {
  const data = mbufData(mbuf);
  const length = load<u32>(mbuf, MBUF_DATA_LEN);
  if (length < ETHER_HDR_LEN) return found(mbuf, 0, 0, 0, 0);
  let l2 = ETHER_HDR_LEN;
  let ptype = RTE_PTYPE_L2_ETHER;
  let etherType = be16(load<u16>(data, ETHER_TYPE));
  if (isVlanType(etherType) && length - l2 >= VLAN_TAG_LEN) {
    etherType = be16(load<u16>(data, ETHER_TYPE + VLAN_TAG_LEN));
    l2 += VLAN_TAG_LEN;
    ptype = RTE_PTYPE_L2_ETHER_VLAN;
    if (isVlanType(etherType) && length - l2 >= VLAN_TAG_LEN) {
      etherType = be16(load<u16>(data, ETHER_TYPE + 2 * VLAN_TAG_LEN));
      l2 += VLAN_TAG_LEN;
      ptype = RTE_PTYPE_L2_ETHER_QINQ;
    }
  }
  if (etherType == ETHER_TYPE_IPV4) return parseIpv4(mbuf, data + l2, length - l2, ptype, l2);
  if (etherType == ETHER_TYPE_IPV6) return parseIpv6(mbuf, data + l2, length - l2, ptype, l2);
  return found(mbuf, ptype, l2, 0, 0);
}

/** `room`: bytes of the segment from the IP header on. */
function parseIpv4(mbuf: u32, ip: u32, room: u32, ptype: u32, l2: u32): u32 {
  if (room < IPV4_HDR_LEN) return found(mbuf, ptype, l2, 0, 0);
  const versionIhl = <u32>load<u8>(ip);
  const l3 = (versionIhl & 0xf) << 2;
  if (versionIhl >> 4 != 4 || l3 < IPV4_HDR_LEN || l3 > room) return found(mbuf, ptype, l2, 0, 0);
  const total = be16(load<u16>(ip, IPV4_TOTAL_LENGTH));
  if (total != 0) {
    if (total < l3) return found(mbuf, ptype, l2, 0, 0);
    if (total < room) room = total;
  }
  ptype |= l3 == IPV4_HDR_LEN ? RTE_PTYPE_L3_IPV4 : RTE_PTYPE_L3_IPV4_EXT;
  if (be16(load<u16>(ip, IPV4_FRAGMENT)) & IPV4_FRAGMENT_MASK) {
    return found(mbuf, ptype | RTE_PTYPE_L4_FRAG, l2, l3, 0);
  }
  return parseL4(mbuf, ip + l3, room - l3, load<u8>(ip, IPV4_PROTOCOL), PROTO_ICMP, ptype, l2, l3);
}

function parseIpv6(mbuf: u32, ip: u32, room: u32, ptype: u32, l2: u32): u32 {
  if (room < IPV6_HDR_LEN || load<u8>(ip) >> 4 != 6) return found(mbuf, ptype, l2, 0, 0);
  const payload = be16(load<u16>(ip, IPV6_PAYLOAD_LENGTH));
  if (payload != 0 && payload < room - IPV6_HDR_LEN) room = payload + IPV6_HDR_LEN;
  let l3 = IPV6_HDR_LEN;
  let proto = <u32>load<u8>(ip, IPV6_NEXT_HEADER);
  if (!isExtension(proto)) {
    return parseL4(mbuf, ip + l3, room - l3, proto, PROTO_ICMPV6, ptype | RTE_PTYPE_L3_IPV6, l2, l3);
  }
  ptype |= RTE_PTYPE_L3_IPV6_EXT;
  for (let i: u32 = 0; i < MAX_IPV6_EXTENSIONS; i++) {
    if (room - l3 < IPV6_FRAGMENT_LEN) return found(mbuf, ptype, l2, l3, 0); // the shortest of them all
    const at = ip + l3;
    if (proto == PROTO_FRAGMENT) return found(mbuf, ptype | RTE_PTYPE_L4_FRAG, l2, l3 + IPV6_FRAGMENT_LEN, 0);
    const length = ((<u32>load<u8>(at, IPV6_EXT_LENGTH)) + 1) << 3;
    if (length > room - l3) return found(mbuf, ptype, l2, l3, 0);
    proto = load<u8>(at);
    l3 += length;
    if (!isExtension(proto)) return parseL4(mbuf, ip + l3, room - l3, proto, PROTO_ICMPV6, ptype, l2, l3);
  }
  return found(mbuf, ptype, l2, l3, 0);
}

// @ts-ignore: decorator
@inline
function isExtension(proto: u32): bool {
  return (
    proto == PROTO_HOP_BY_HOP || proto == PROTO_ROUTING || proto == PROTO_DESTINATION || proto == PROTO_FRAGMENT
  );
}

/** `room`: bytes of the segment that belong to the IP packet, from the L4 header on; `icmp`: protocol number of ICMP here. */
function parseL4(mbuf: u32, at: u32, room: u32, proto: u32, icmp: u32, ptype: u32, l2: u32, l3: u32): u32 {
  if (proto == PROTO_TCP) {
    if (room >= TCP_HDR_LEN) {
      const l4 = (load<u8>(at, TCP_DATA_OFFSET) >> 4) << 2;
      if (l4 >= TCP_HDR_LEN && l4 <= room) return found(mbuf, ptype | RTE_PTYPE_L4_TCP, l2, l3, l4);
    }
  } else if (proto == PROTO_UDP) {
    if (room >= UDP_HDR_LEN) return found(mbuf, ptype | RTE_PTYPE_L4_UDP, l2, l3, UDP_HDR_LEN);
  } else if (proto == icmp) {
    if (room >= ICMP_HDR_LEN) return found(mbuf, ptype | RTE_PTYPE_L4_ICMP, l2, l3, ICMP_HDR_LEN);
  } else if (proto == PROTO_SCTP) {
    if (room >= SCTP_HDR_LEN) return found(mbuf, ptype | RTE_PTYPE_L4_SCTP, l2, l3, SCTP_HDR_LEN);
  }
  return found(mbuf, ptype, l2, l3, 0);
}
