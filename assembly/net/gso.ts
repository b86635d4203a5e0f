/**
 * Generic segmentation (rte_gso): one large TCP or UDP packet becomes several that a receiver without the offload takes.
 *
 *   in    | headers | payload ................................ |   in segments that end anywhere
 *   out   | headers' | chunk 0 |  | headers' | chunk 1 |  ...  | headers' | rest |
 *
 * Each packet of the output begins with an mbuf of its own with the headers, put right. Its payload is copied behind them if it
 * fits and is short, or else follows in mbufs that refer to the input's bytes.
 */
import {
  GSO_PARTIAL_CHECKSUM,
  MBUF_BUF_LEN,
  MBUF_DATA_LEN,
  MBUF_DATA_OFF,
  MBUF_F_RX_RSS_HASH,
  MBUF_F_RX_VLAN,
  MBUF_F_RX_VLAN_STRIPPED,
  MBUF_L2_LEN,
  MBUF_L3_LEN,
  MBUF_L4_LEN,
  MBUF_OL_FLAGS,
  MBUF_PACKET_TYPE,
  MBUF_PKT_LEN,
  MBUF_TSO_SEGSZ,
  RTE_PTYPE_L4_FRAG,
  RTE_PTYPE_L4_MASK,
  RTE_PTYPE_L4_TCP,
  RTE_PTYPE_L4_UDP,
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
  VIRTIO_NET_HDR_GSO_UDP,
  VIRTIO_NET_HDR_GSO_UDP_L4,
} from '../layout';
import { copyFrame } from '../mem/copy';
import { mbufAllocBulk, mbufData, mbufFreeBulk } from '../mem/mbuf';
import { complement, fold, rawChecksumMbuf } from './checksum';
import {
  be16,
  be32,
  IPV4_FRAGMENT,
  IPV4_HDR_LEN,
  IPV4_ID,
  IPV4_MORE_FRAGMENTS,
  IPV4_OPTION_COPIED,
  IPV4_OPTION_END,
  IPV4_OPTION_NOP,
  IPV4_TOTAL_LENGTH,
  IPV6_HDR_LEN,
  IPV6_PAYLOAD_LENGTH,
  TCP_CWR,
  TCP_FIN,
  TCP_FLAGS,
  TCP_PSH,
  TCP_RST,
  TCP_SEQUENCE,
  TCP_SYN,
  TCP_URG,
  TCP_URGENT,
  UDP_CHECKSUM,
  UDP_HDR_LEN,
  UDP_LENGTH,
} from './headers';
import { l4ChecksumOffset, NO_DESTINATION, pseudoSum, storeIpv4Checksum } from './l4-checksum';
import { isIpv4, parsePacket } from './parse';
import { appendFrom, copyPacketFields, cursor } from './private';

/** An IP packet's length has 16 bits. */
const MAX_IP_LENGTH: u32 = 0xffff;
/**
 * Payload of a segment up to which it is copied. Measured at 1448 bytes both ways take the same time, mbufs freed again; but a
 * packet in two segments costs more in whatever sends it. At twice that, copying costs more than the second segment saves.
 */
const COPY_MAX: u32 = 2048;
/** Flags that are as true of a segment as they were of the whole. */
const KEPT_FLAGS: u32 = MBUF_F_RX_VLAN | MBUF_F_RX_VLAN_STRIPPED | MBUF_F_RX_RSS_HASH;

/** True if a packet of this type can be cut up in this manner. */
// @ts-ignore: decorator
@inline
function fits(ptype: u32, kind: u32): bool {
  const l4 = ptype & RTE_PTYPE_L4_MASK;
  if (kind == VIRTIO_NET_HDR_GSO_TCPV4) return l4 == RTE_PTYPE_L4_TCP && isIpv4(ptype);
  if (kind == VIRTIO_NET_HDR_GSO_TCPV6) return l4 == RTE_PTYPE_L4_TCP && !isIpv4(ptype);
  if (kind == VIRTIO_NET_HDR_GSO_UDP) return l4 == RTE_PTYPE_L4_UDP && isIpv4(ptype);
  if (kind == VIRTIO_NET_HDR_GSO_UDP_L4) return l4 == RTE_PTYPE_L4_UDP;
  return false;
}

/** True if the IP header, and for UDP the UDP header, says the length that the packet has, or nothing. */
function lengthsAgree(ptype: u32, ip: u32, l3: u32, ipLength: u32): bool {
  if (isIpv4(ptype)) {
    const total = be16(load<u16>(ip, IPV4_TOTAL_LENGTH));
    if (total != 0 && total != ipLength) return false;
  } else {
    const payload = be16(load<u16>(ip, IPV6_PAYLOAD_LENGTH));
    // none, with an extension header: a jumbogram (RFC 2675), whose option would be wrong in the segments
    if (payload == 0 ? l3 != IPV6_HDR_LEN : payload + IPV6_HDR_LEN != ipLength) return false;
  }
  if ((ptype & RTE_PTYPE_L4_MASK) != RTE_PTYPE_L4_UDP) return true;
  const udpLength = be16(load<u16>(ip + l3, UDP_LENGTH));
  return udpLength == 0 || udpLength == ipLength - l3;
}

/**
 * Cuts a packet into segments of `segmentSize` bytes of payload (rte_gso_segment). `gsoType` is the virtio-net header's
 * (ECN is implied: congestion window reduced goes into the first segment only), GSO_PARTIAL_CHECKSUM besides.
 *
 *   GSO_TCPV4, GSO_TCPV6   TCP: sequence numbers go on, IPv4 id counts, FIN and PSH in the last only
 *   GSO_UDP_L4             UDP over IPv4 or IPv6: datagrams of their own
 *   GSO_UDP                one UDP datagram over IPv4 in IP fragments of segmentSize, rounded down to a multiple of 8, with its
 *                          checksum complete
 *
 * IPv4 and L4 checksums are right in the output, or with GSO_PARTIAL_CHECKSUM the L4 field holds the pseudo header's sum,
 * for a receiver that completes checksums; whatever the input had there is not looked at. Mbufs come from `pool`. The input is
 * left as it is, but for the results of parsePacket, and stays the caller's: free it afterwards. Of its olFlags the output
 * has RX_VLAN, RX_VLAN_STRIPPED and RX_RSS_HASH.
 *
 * Writes the packets into the array at `out` and returns how many, at least 1. 0, with nothing taken from the pool: the
 * headers are not of that type or not all in the first segment, they contradict the packet's length, TCP with SYN or RST,
 * segmentSize 0, more than outMax segments, or the pool is exhausted.
 */
export function gsoSegment(
  lcoreId: u32,
  mbuf: u32,
  gsoType: u32,
  segmentSize: u32,
  pool: u32,
  out: u32,
  outMax: u32,
): u32 {
  const ptype = parsePacket(mbuf);
  const kind = gsoType & ~(VIRTIO_NET_HDR_GSO_ECN | GSO_PARTIAL_CHECKSUM);
  if (!fits(ptype, kind)) return 0;
  const fragments = kind == VIRTIO_NET_HDR_GSO_UDP;
  const l2 = <u32>load<u8>(mbuf, MBUF_L2_LEN);
  const l3 = <u32>load<u16>(mbuf, MBUF_L3_LEN);
  const l4 = fragments ? 0 : <u32>load<u8>(mbuf, MBUF_L4_LEN);
  const headers = l2 + l3 + l4;
  const ip = mbufData(mbuf) + l2;
  const pktLen = load<u32>(mbuf, MBUF_PKT_LEN);
  if (pktLen < headers || !lengthsAgree(ptype, ip, l3, pktLen - l2)) return 0;
  const payload = pktLen - headers;
  let chunk = segmentSize < payload ? segmentSize : payload;
  if (fragments) {
    if (pktLen - l2 > MAX_IP_LENGTH) return 0; // offsets would not fit
    if (chunk < payload) chunk &= ~7;
  } else if (kind != VIRTIO_NET_HDR_GSO_UDP_L4 && load<u8>(ip + l3, TCP_FLAGS) & (TCP_SYN | TCP_RST)) {
    return 0;
  }
  if (segmentSize == 0 || l3 + l4 + chunk > MAX_IP_LENGTH) return 0;
  if (chunk == 0 && payload != 0) return 0; // fragments of less than 8
  const count: u32 = payload == 0 ? 1 : (payload - 1) / chunk + 1;
  if (count > outMax) return 0;
  if (pseudoSum(ptype, ip, l3, 0) == NO_DESTINATION) return 0;
  if (!mbufAllocBulk(pool, lcoreId, out, count)) return 0;
  const done = fragments
    ? cutFragments(lcoreId, mbuf, ptype, l2, l3, payload, chunk, pool, out, count)
    : cutSegments(lcoreId, mbuf, ptype, l2, l3, l4, payload, chunk, pool, out, count, gsoType);
  if (done) return count;
  mbufFreeBulk(out, count, lcoreId);
  return 0;
}

/** Bytes that a packet's own mbuf takes. */
// @ts-ignore: decorator
@inline
function roomOf(mbuf: u32): u32 {
  return load<u32>(mbuf, MBUF_BUF_LEN) - load<u32>(mbuf, MBUF_DATA_OFF);
}

/** Begins an output packet: the first `length` bytes of the input, and what is known of it. */
// @ts-ignore: decorator
@inline
function begin(to: u32, from: u32, length: u32): void {
  copyFrame(mbufData(to), mbufData(from), length);
  store<u64>(to, (<u64>length << 32) | length, MBUF_PKT_LEN); // and MBUF_DATA_LEN
  copyPacketFields(to, from);
  store<u16>(to, 0, MBUF_TSO_SEGSZ);
  store<u32>(to, load<u32>(from, MBUF_OL_FLAGS) & KEPT_FLAGS, MBUF_OL_FLAGS);
}

/** TCP and UDP_L4. False if mbufs ran out. */
function cutSegments(
  lcoreId: u32,
  mbuf: u32,
  ptype: u32,
  l2: u32,
  l3: u32,
  l4: u32,
  payload: u32,
  chunk: u32,
  pool: u32,
  out: u32,
  count: u32,
  gsoType: u32,
): bool {
  const headers = l2 + l3 + l4;
  const room = roomOf(load<u32>(out));
  if (headers > room) return false;
  const copies = chunk <= COPY_MAX && chunk <= room - headers;
  // headers are parsed, so they are all in the first segment
  let from = cursor(mbuf, headers);
  let offset: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const part = payload - offset < chunk ? payload - offset : chunk;
    const packet = load<u32>(out + (i << 2));
    begin(packet, mbuf, headers);
    from = appendFrom(lcoreId, packet, from, part, pool, copies);
    if (from == 0) return false;
    const ip = mbufData(packet) + l2;
    if (isIpv4(ptype)) {
      store<u16>(ip, be16(l3 + l4 + part), IPV4_TOTAL_LENGTH);
      store<u16>(ip, be16(be16(load<u16>(ip, IPV4_ID)) + i), IPV4_ID);
      storeIpv4Checksum(ip, l3);
    } else {
      store<u16>(ip, be16(l3 - IPV6_HDR_LEN + l4 + part), IPV6_PAYLOAD_LENGTH);
    }
    if ((ptype & RTE_PTYPE_L4_MASK) == RTE_PTYPE_L4_TCP) fixTcp(ip + l3, offset, i == 0, i == count - 1);
    else store<u16>(ip + l3, be16(UDP_HDR_LEN + part), UDP_LENGTH);
    const field = ip + l3 + l4ChecksumOffset(ptype);
    const pseudo = fold(pseudoSum(ptype, ip, l3, l4 + part));
    store<u16>(field, pseudo);
    if ((gsoType & GSO_PARTIAL_CHECKSUM) == 0) {
      store<u16>(field, complement(rawChecksumMbuf(packet, l2 + l3, l4 + part))); // the pseudo header is summed in its place
    }
    offset += part;
  }
  return true;
}

/** The TCP header of the segment that begins `offset` bytes into the payload. */
// @ts-ignore: decorator
@inline
function fixTcp(tcp: u32, offset: u32, first: bool, last: bool): void {
  store<u32>(tcp, be32(be32(load<u32>(tcp, TCP_SEQUENCE)) + offset), TCP_SEQUENCE);
  let flags = <u32>load<u8>(tcp, TCP_FLAGS);
  if (!last) flags &= ~(TCP_FIN | TCP_PSH);
  if (!first) flags &= ~TCP_CWR; // RFC 3168 section 6.1.2
  if (flags & TCP_URG) {
    // counts from the segment's sequence number on
    const urgent = be16(load<u16>(tcp, TCP_URGENT));
    if (urgent <= offset && !first) {
      flags &= ~TCP_URG;
      store<u16>(tcp, 0, TCP_URGENT);
    } else {
      store<u16>(tcp, be16(urgent - offset), TCP_URGENT);
    }
  }
  store<u8>(tcp, flags, TCP_FLAGS);
}

/** GSO_UDP: `payload` is the UDP datagram with its header. False if mbufs ran out. */
function cutFragments(
  lcoreId: u32,
  mbuf: u32,
  ptype: u32,
  l2: u32,
  l3: u32,
  payload: u32,
  chunk: u32,
  pool: u32,
  out: u32,
  count: u32,
): bool {
  const headers = l2 + l3;
  const room = roomOf(load<u32>(out));
  if (headers + UDP_HDR_LEN > room) return false;
  const copies = chunk <= COPY_MAX && chunk <= room - headers;
  const udp = mbufData(mbuf) + headers;
  // the datagram's sum, what is in the checksum field taken off, UDP's length being the datagram's
  let sum = pseudoSum(ptype, udp - l3, l3, payload);
  sum += <u64>rawChecksumMbuf(mbuf, headers, payload);
  sum += <u64>(<u32>load<u16>(udp, UDP_CHECKSUM) ^ 0xffff);
  if (load<u16>(udp, UDP_LENGTH) == 0) sum += <u64>be16(payload);
  const checksum = complement(fold(sum));

  let from = cursor(mbuf, headers);
  let offset: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const part = payload - offset < chunk ? payload - offset : chunk;
    const packet = load<u32>(out + (i << 2));
    let own: u32 = 0;
    if (i == 0) {
      own = UDP_HDR_LEN; // its checksum is written, so it can't be a reference
      from = cursor(mbuf, headers + UDP_HDR_LEN);
    }
    begin(packet, mbuf, headers + own);
    from = appendFrom(lcoreId, packet, from, part - own, pool, copies);
    if (from == 0) return false;
    const ip = mbufData(packet) + l2;
    if (i == 0) {
      store<u16>(ip + l3, be16(payload), UDP_LENGTH);
      store<u16>(ip + l3, checksum, UDP_CHECKSUM);
    } else {
      dropOptions(ip, l3);
    }
    store<u16>(ip, be16(l3 + part), IPV4_TOTAL_LENGTH);
    if (count != 1) {
      // source fragmentation: "don't fragment" spoke of routers, and of the whole
      store<u16>(ip, be16((offset >> 3) | (i == count - 1 ? 0 : IPV4_MORE_FRAGMENTS)), IPV4_FRAGMENT);
      store<u32>(packet, (ptype & ~RTE_PTYPE_L4_MASK) | RTE_PTYPE_L4_FRAG, MBUF_PACKET_TYPE);
      store<u8>(packet, 0, MBUF_L4_LEN);
    }
    storeIpv4Checksum(ip, l3);
    offset += part;
  }
  return true;
}

/** Options that only the first fragment has become no-operations (RFC 791 section 3.1): the header keeps its length. */
function dropOptions(ip: u32, l3: u32): void {
  let at = IPV4_HDR_LEN;
  while (at < l3) {
    const type = <u32>load<u8>(ip + at);
    if (type == IPV4_OPTION_END) return;
    let length: u32 = 1;
    if (type != IPV4_OPTION_NOP) {
      length = at + 1 < l3 ? <u32>load<u8>(ip + at + 1) : 0;
      if (length < 2 || length > l3 - at) length = l3 - at; // malformed: what is left of it goes
      if ((type & IPV4_OPTION_COPIED) == 0) memory.fill(ip + at, <u8>IPV4_OPTION_NOP, length);
    }
    at += length;
  }
}
