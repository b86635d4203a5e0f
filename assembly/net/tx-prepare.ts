/**
 * Makes a packet ready for sending (rte_eth_tx_prepare, rte_net_intel_cksum_prepare): whatever its flags ask for can be done
 * then, by the peer or in software, and what a checksum offload expects in the packet is there.
 *
 * The pseudo header's sum counts the whole L4 length also for a packet that is to be segmented: virtio wants it so (DPDK's
 * virtio PMD puts it right after the common preparation, which leaves the length out).
 */
import {
  CHECKSUM_SHARED,
  CHECKSUM_WRITTEN,
  ETHER_HDR_LEN,
  MAX_FRAME_LEN,
  MAX_GSO_SEGMENTS,
  MAX_SEGMENTS,
  MBUF_DATA_LEN,
  MBUF_F_TX_IP_CKSUM,
  MBUF_F_TX_IPV4,
  MBUF_F_TX_IPV6,
  MBUF_F_TX_L4_MASK,
  MBUF_F_TX_SEG_MASK,
  MBUF_F_TX_TCP_CKSUM,
  MBUF_F_TX_TCP_SEG,
  MBUF_L2_LEN,
  MBUF_L3_LEN,
  MBUF_L4_LEN,
  MBUF_NB_SEGS,
  MBUF_NEXT,
  MBUF_OL_FLAGS,
  MBUF_PACKET_TYPE,
  MBUF_PKT_LEN,
  MBUF_TSO_SEGSZ,
  PREPARE_CHAIN,
  PREPARE_FLAGS,
  PREPARE_HEADERS,
  PREPARE_LENGTH,
  PREPARE_OK,
  PREPARE_SEGSZ,
  PREPARE_SHARED,
  PREPARE_SPLIT_HEADERS,
  RTE_PTYPE_L3_MASK,
  RTE_PTYPE_L4_MASK,
  RTE_PTYPE_L4_TCP,
  RTE_PTYPE_L4_UDP,
} from '../layout';
import { mbufData } from '../mem/mbuf';
import { IPV4_CHECKSUM } from './headers';
import { parsedPseudoSet } from './l4-checksum';
import { isIpv4, parsePacket } from './parse';
import { segmentIsPrivate } from './private';

const TCP_FLAGS: u32 = MBUF_F_TX_TCP_CKSUM | MBUF_F_TX_TCP_SEG;
const UDP_FLAGS: u32 = MBUF_F_TX_L4_MASK & ~TCP_FLAGS;

/** PREPARE_OK, or why the packet cannot be sent; then nothing of it has changed. */
export function prepare(mbuf: u32): u32 {
  const fault = checkChain(mbuf);
  if (fault != PREPARE_OK) return fault;
  const flags = load<u32>(mbuf, MBUF_OL_FLAGS);
  if ((flags & (MBUF_F_TX_L4_MASK | MBUF_F_TX_IP_CKSUM)) == 0) return PREPARE_OK; // a tag needs the Ethernet header only
  if (!sensible(flags)) return PREPARE_FLAGS;
  // The packet is parsed for what its headers are, and must be what its sender says. Parsing writes where the answer is no, too.
  const type = load<u32>(mbuf, MBUF_PACKET_TYPE);
  const lengths = load<u32>(mbuf, MBUF_L2_LEN);
  const refusal = prepareHeaders(mbuf, flags, lengths);
  if (refusal != PREPARE_OK) {
    store<u32>(mbuf, type, MBUF_PACKET_TYPE);
    store<u32>(mbuf, lengths, MBUF_L2_LEN);
  }
  return refusal;
}

function checkChain(mbuf: u32): u32 {
  const pktLen = load<u32>(mbuf, MBUF_PKT_LEN);
  const dataLen = load<u32>(mbuf, MBUF_DATA_LEN);
  if (pktLen < ETHER_HDR_LEN || pktLen > MAX_FRAME_LEN) return PREPARE_LENGTH;
  const count = <u32>load<u16>(mbuf, MBUF_NB_SEGS);
  if (count == 1) return dataLen == pktLen && load<u32>(mbuf, MBUF_NEXT) == 0 ? PREPARE_OK : PREPARE_CHAIN;
  if (count == 0 || count > MAX_SEGMENTS) return PREPARE_CHAIN;
  let left = pktLen;
  let segments: u32 = 0;
  for (let segment = mbuf; segment != 0 && segments <= count; segment = load<u32>(segment, MBUF_NEXT)) {
    const part = load<u32>(segment, MBUF_DATA_LEN);
    if (part > left) return PREPARE_CHAIN;
    left -= part;
    segments++;
  }
  if (left != 0 || segments != count) return PREPARE_CHAIN;
  return dataLen < ETHER_HDR_LEN ? PREPARE_SPLIT_HEADERS : PREPARE_OK;
}

/** One version of IP, one protocol, one way of segmentation. */
function sensible(flags: u32): bool {
  const v4 = (flags & MBUF_F_TX_IPV4) != 0;
  if (v4 == ((flags & MBUF_F_TX_IPV6) != 0)) return false;
  if (flags & MBUF_F_TX_IP_CKSUM && !v4) return false;
  if (flags & TCP_FLAGS && flags & UDP_FLAGS) return false;
  return popcnt<u32>(flags & MBUF_F_TX_SEG_MASK) <= 1;
}

/** `lengths`: MBUF_L2_LEN, MBUF_L4_LEN, MBUF_L3_LEN as the sender says. */
function prepareHeaders(mbuf: u32, flags: u32, lengths: u32): u32 {
  const saidHeaders = (lengths & 0xff) + (lengths >> 16);
  if (saidHeaders > load<u32>(mbuf, MBUF_DATA_LEN) && saidHeaders <= load<u32>(mbuf, MBUF_PKT_LEN)) return PREPARE_SPLIT_HEADERS;
  const ptype = parsePacket(mbuf);
  if ((ptype & RTE_PTYPE_L3_MASK) == 0 || isIpv4(ptype) != ((flags & MBUF_F_TX_IPV4) != 0)) return PREPARE_HEADERS;
  // l2 and l3 always, l4 where segments must begin with it
  const compared: u32 = flags & MBUF_F_TX_SEG_MASK ? 0xffff_ffff : 0xffff_00ff;
  const l4Wanted = flags & TCP_FLAGS ? RTE_PTYPE_L4_TCP : flags & UDP_FLAGS ? RTE_PTYPE_L4_UDP : 0;
  if (l4Wanted != 0 && (ptype & RTE_PTYPE_L4_MASK) != l4Wanted) {
    const saidAll = saidHeaders + ((lengths >> 8) & 0xff);
    return saidAll > load<u32>(mbuf, MBUF_DATA_LEN) ? PREPARE_SPLIT_HEADERS : PREPARE_HEADERS;
  }
  if ((load<u32>(mbuf, MBUF_L2_LEN) ^ lengths) & compared) return PREPARE_HEADERS;
  if (flags & MBUF_F_TX_SEG_MASK) {
    const size = <u32>load<u16>(mbuf, MBUF_TSO_SEGSZ);
    const headers = saidHeaders + load<u8>(mbuf, MBUF_L4_LEN);
    if (size == 0 || load<u32>(mbuf, MBUF_PKT_LEN) - headers > size * MAX_GSO_SEGMENTS) return PREPARE_SEGSZ;
  }
  if (l4Wanted != 0) {
    const answer = parsedPseudoSet(mbuf, ptype);
    if (answer == CHECKSUM_SHARED) return PREPARE_SHARED;
    if (answer != CHECKSUM_WRITTEN) return PREPARE_HEADERS;
  }
  // What computes the header's checksum finds 0 there, as hardware expects; software does not mind.
  if (flags & MBUF_F_TX_IP_CKSUM && segmentIsPrivate(mbuf)) {
    store<u16>(mbufData(mbuf) + (lengths & 0xff), 0, IPV4_CHECKSUM);
  }
  return PREPARE_OK;
}
