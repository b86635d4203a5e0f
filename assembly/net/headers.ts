/**
 * Where the fields of packet headers lie, and what their values mean. Fields are in network byte order in a packet; `be16`
 * and `be32` turn a loaded value either way.
 */

// ---- Ethernet II (RFC 894), IEEE 802.1Q tags ----------------------------------------------------------------------------
export const ETHER_TYPE: u32 = 12;
export const VLAN_TAG_LEN: u32 = 4;
export const ETHER_TYPE_IPV4: u32 = 0x0800;
export const ETHER_TYPE_IPV6: u32 = 0x86dd;
export const ETHER_TYPE_VLAN: u32 = 0x8100;
export const ETHER_TYPE_QINQ: u32 = 0x88a8;

// ---- IPv4 (RFC 791) --------------------------------------------------------------------------------------------------
export const IPV4_HDR_LEN: u32 = 20;
export const IPV4_VERSION_IHL: u32 = 0;
export const IPV4_TOTAL_LENGTH: u32 = 2;
export const IPV4_ID: u32 = 4;
/** u16: flags in bits 13-15, offset of the fragment in 8 bytes below. */
export const IPV4_FRAGMENT: u32 = 6;
export const IPV4_MORE_FRAGMENTS: u32 = 0x2000;
export const IPV4_FRAGMENT_MASK: u32 = 0x3fff; // more to come, or an offset
export const IPV4_PROTOCOL: u32 = 9;
export const IPV4_CHECKSUM: u32 = 10;
/** Source, then destination. */
export const IPV4_ADDRESSES: u32 = 12;
export const IPV4_OPTION_END: u32 = 0;
export const IPV4_OPTION_NOP: u32 = 1;
/** Bit of an option's type: goes into every fragment. */
export const IPV4_OPTION_COPIED: u32 = 0x80;

// ---- IPv6 (RFC 8200) ------------------------------------------------------------------------------------------------
export const IPV6_HDR_LEN: u32 = 40;
export const IPV6_PAYLOAD_LENGTH: u32 = 4;
export const IPV6_NEXT_HEADER: u32 = 6;
/** Source, then destination. */
export const IPV6_ADDRESSES: u32 = 8;
export const IPV6_DESTINATION: u32 = 24;
export const IPV6_ADDRESS_LEN: u32 = 16;
/** Every extension header starts with u8 next header; all but the fragment header then say their length. */
export const IPV6_EXT_LENGTH: u32 = 1; // 8-byte units beyond the first
export const IPV6_FRAGMENT_LEN: u32 = 8;
export const IPV6_ROUTING_TYPE: u32 = 2;
export const IPV6_ROUTING_LEFT: u32 = 3;
export const IPV6_ROUTING_DATA: u32 = 8;
/** Extension headers that are followed before the packet counts as one whose L4 is not known. */
export const MAX_IPV6_EXTENSIONS: u32 = 8;

// ---- protocol numbers -------------------------------------------------------------------------------------------------
export const PROTO_HOP_BY_HOP: u32 = 0;
export const PROTO_ICMP: u32 = 1;
export const PROTO_TCP: u32 = 6;
export const PROTO_UDP: u32 = 17;
export const PROTO_ROUTING: u32 = 43;
export const PROTO_FRAGMENT: u32 = 44;
export const PROTO_ICMPV6: u32 = 58;
export const PROTO_DESTINATION: u32 = 60;
export const PROTO_SCTP: u32 = 132;

// ---- TCP (RFC 9293), UDP (RFC 768), SCTP (RFC 9260), ICMP (RFC 792, 4443) ------------------------------------------------------
export const TCP_HDR_LEN: u32 = 20;
export const TCP_SEQUENCE: u32 = 4;
/** u8: header length in 4 bytes, bits 4-7. */
export const TCP_DATA_OFFSET: u32 = 12;
export const TCP_FLAGS: u32 = 13;
export const TCP_CHECKSUM: u32 = 16;
export const TCP_URGENT: u32 = 18;
export const TCP_FIN: u32 = 0x01;
export const TCP_SYN: u32 = 0x02;
export const TCP_RST: u32 = 0x04;
export const TCP_PSH: u32 = 0x08;
export const TCP_URG: u32 = 0x20;
export const TCP_CWR: u32 = 0x80;
export const UDP_HDR_LEN: u32 = 8;
export const UDP_LENGTH: u32 = 4;
export const UDP_CHECKSUM: u32 = 6;
export const SCTP_HDR_LEN: u32 = 12;
/** Type, code, checksum, and the word that every message in use has. */
export const ICMP_HDR_LEN: u32 = 8;

/** A 16-bit value between network and machine order. */
// @ts-ignore: decorator
@inline
export function be16(value: u32): u32 {
  return ((value & 0xff) << 8) | ((value >> 8) & 0xff);
}

/** A 32-bit value between network and machine order. */
// @ts-ignore: decorator
@inline
export function be32(value: u32): u32 {
  return bswap<u32>(value);
}
