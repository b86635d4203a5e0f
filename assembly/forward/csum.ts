/**
 * csum: every packet leaves with right checksums, computed here or left to the tx port as mbuf flags, and TCP packets are
 * marked for segmentation if the tx port is set up for it. testpmd's `set fwd csum`, `csum set`, `tso set`.
 *
 *               checksum "hw"                                  "sw"
 *   IPv4        0, TX_IP_CKSUM                                 computed
 *   TCP, UDP    pseudo header's sum, TX_TCP_CKSUM, _UDP_CKSUM  computed
 *
 * A packet that its sender wants segmented stays so: its L4 checksum is only made with its segments. UDP without a checksum
 * stays without; SCTP and packets that are cut short, or say another length than they have, pass with their checksums as they
 * were. MAC addresses are written as by the mac engine.
 */
import {
  CHECKSUM_WRITTEN,
  CSUM_IP_HW,
  CSUM_TCP_HW,
  CSUM_UDP_HW,
  CSUM_WRITE_MACS,
  ETHER_HDR_LEN,
  MAX_GSO_SEGMENTS,
  MBUF_DATA_LEN,
  MBUF_F_RX_IP_CKSUM_BAD,
  MBUF_F_RX_IP_CKSUM_GOOD,
  MBUF_F_RX_L4_CKSUM_BAD,
  MBUF_F_RX_L4_CKSUM_NONE,
  MBUF_F_TX_ECN,
  MBUF_F_TX_IP_CKSUM,
  MBUF_F_TX_IPV4,
  MBUF_F_TX_IPV6,
  MBUF_F_TX_L4_MASK,
  MBUF_F_TX_SEG_MASK,
  MBUF_F_TX_TCP_CKSUM,
  MBUF_F_TX_TCP_SEG,
  MBUF_F_TX_UDP_CKSUM,
  MBUF_L2_LEN,
  MBUF_L3_LEN,
  MBUF_L4_LEN,
  MBUF_OL_FLAGS,
  MBUF_PKT_LEN,
  MBUF_TSO_SEGSZ,
  RTE_PTYPE_L3_MASK,
  RTE_PTYPE_L4_MASK,
  RTE_PTYPE_L4_TCP,
  RTE_PTYPE_L4_UDP,
  STREAM_BAD_IP_CKSUM,
  STREAM_BAD_L4_CKSUM,
  STREAM_CSUM,
  STREAM_FILTERED,
  STREAM_TSO_SEGSZ,
  STREAM_TX_PORT,
} from '../layout';
import { mbufData, mbufFree } from '../mem/mbuf';
import {
  be16,
  IPV4_CHECKSUM,
  IPV4_TOTAL_LENGTH,
  IPV6_HDR_LEN,
  IPV6_PAYLOAD_LENGTH,
  TCP_CWR,
  TCP_FLAGS,
  TCP_RST,
  TCP_SYN,
  UDP_CHECKSUM,
} from '../net/headers';
import { l4ChecksumSet, pseudoChecksumSet, storeIpv4Checksum } from '../net/l4-checksum';
import { isIpv4, parsePacket } from '../net/parse';
import { peerMac, portMac, writeMacs } from './mac';
import { ownHeaders } from './own';
import { sendBurst } from './steer';
import { addCounter, receiveBurst } from './stream';

const IP_CKSUM_MASK: u32 = MBUF_F_RX_IP_CKSUM_BAD | MBUF_F_RX_IP_CKSUM_GOOD;

export function pollCsum(lcoreId: u32, stream: usize, burst: usize): u32 {
  const n = receiveBurst(lcoreId, stream, burst);
  if (n == 0) return 0;
  const source = portMac(load<u32>(stream, STREAM_TX_PORT));
  const peer = peerMac(stream);
  let kept: u32 = 0;
  let badIp: u32 = 0;
  let badL4: u32 = 0;
  for (let i: u32 = 0; i < n; i++) {
    const mbuf = load<u32>(burst + (i << 2));
    const flags = load<u32>(mbuf, MBUF_OL_FLAGS);
    if ((flags & IP_CKSUM_MASK) == MBUF_F_RX_IP_CKSUM_BAD) badIp++;
    if ((flags & MBUF_F_RX_L4_CKSUM_NONE) == MBUF_F_RX_L4_CKSUM_BAD) badL4++;
    const done = processPacket(lcoreId, stream, mbuf, peer, source);
    if (done != 0) store<u32>(burst + (kept++ << 2), done);
    else mbufFree(mbuf, lcoreId);
  }
  if (badIp != 0) addCounter(stream, badIp, STREAM_BAD_IP_CKSUM);
  if (badL4 != 0) addCounter(stream, badL4, STREAM_BAD_L4_CKSUM);
  if (kept != n) addCounter(stream, n - kept, STREAM_FILTERED);
  if (kept != 0) sendBurst(lcoreId, stream, burst, kept);
  return n;
}

/** The packet, or one in its place; 0 if its bytes are others' too and no copy of them can be had. */
function processPacket(lcoreId: u32, stream: usize, mbuf: u32, peer: u64, source: u64): u32 {
  if (load<u32>(mbuf, MBUF_DATA_LEN) < ETHER_HDR_LEN) return mbuf;
  const ptype = parsePacket(mbuf);
  const l2 = <u32>load<u8>(mbuf, MBUF_L2_LEN);
  const l3 = <u32>load<u16>(mbuf, MBUF_L3_LEN);
  const own = ownHeaders(lcoreId, mbuf, l2 + l3 + load<u8>(mbuf, MBUF_L4_LEN));
  if (own == 0) return 0;
  const conf = load<u32>(stream, STREAM_CSUM);
  const frame = mbufData(own);
  if (conf & CSUM_WRITE_MACS) writeMacs(frame, peer, source);
  if ((ptype & RTE_PTYPE_L3_MASK) == 0) return own;
  const ip = frame + l2;
  const l4 = ptype & RTE_PTYPE_L4_MASK;
  if (l4 == RTE_PTYPE_L4_TCP) {
    const size = load<u32>(stream, STREAM_TSO_SEGSZ);
    if (size != 0 && isLong(own, ptype, ip, ip + l3, size)) markForSegmentation(own, ptype, ip + l3, size);
    else setL4Checksum(own, ptype, MBUF_F_TX_TCP_CKSUM, (conf & CSUM_TCP_HW) != 0);
  } else if (l4 == RTE_PTYPE_L4_UDP) {
    const asked = load<u32>(own, MBUF_OL_FLAGS) & MBUF_F_TX_L4_MASK;
    if (asked != 0 || load<u16>(ip + l3, UDP_CHECKSUM) != 0) {
      setL4Checksum(own, ptype, MBUF_F_TX_UDP_CKSUM, (conf & CSUM_UDP_HW) != 0);
    }
  }
  if (isIpv4(ptype)) setIpChecksum(own, ip, l3, (conf & CSUM_IP_HW) != 0);
  return own;
}

function setIpChecksum(mbuf: u32, ip: u32, l3: u32, byPort: bool): void {
  let flags = load<u32>(mbuf, MBUF_OL_FLAGS) & ~(MBUF_F_TX_IP_CKSUM | IP_CKSUM_MASK);
  if (byPort) {
    store<u16>(ip, 0, IPV4_CHECKSUM);
    flags |= MBUF_F_TX_IP_CKSUM | MBUF_F_TX_IPV4;
  } else {
    storeIpv4Checksum(ip, l3);
  }
  store<u32>(mbuf, flags, MBUF_OL_FLAGS);
}

function setL4Checksum(mbuf: u32, ptype: u32, flag: u32, byPort: bool): void {
  const flags = load<u32>(mbuf, MBUF_OL_FLAGS);
  if (flags & MBUF_F_TX_SEG_MASK) return;
  const plain = flags & ~(MBUF_F_TX_L4_MASK | MBUF_F_RX_L4_CKSUM_NONE | MBUF_F_TX_IPV4 | MBUF_F_TX_IPV6);
  if (byPort) {
    if (pseudoChecksumSet(mbuf) == CHECKSUM_WRITTEN) store<u32>(mbuf, plain | checksumFlags(ptype, flag), MBUF_OL_FLAGS);
  } else if (l4ChecksumSet(mbuf) == CHECKSUM_WRITTEN) {
    store<u32>(mbuf, plain, MBUF_OL_FLAGS);
  }
}

/** The port has `flag` to do, and until then the checksum is not there. */
// @ts-ignore: decorator
@inline
function checksumFlags(ptype: u32, flag: u32): u32 {
  return flag | MBUF_F_RX_L4_CKSUM_NONE | (isIpv4(ptype) ? MBUF_F_TX_IPV4 : MBUF_F_TX_IPV6);
}

/** More payload than a segment has, in a packet that can be cut: not under way to be cut, and whole by its own account. */
function isLong(mbuf: u32, ptype: u32, ip: u32, tcp: u32, size: u32): bool {
  if (load<u32>(mbuf, MBUF_OL_FLAGS) & MBUF_F_TX_SEG_MASK) return false;
  const l2 = <u32>load<u8>(mbuf, MBUF_L2_LEN);
  const pktLen = load<u32>(mbuf, MBUF_PKT_LEN);
  const ipLen = isIpv4(ptype)
    ? be16(load<u16>(ip, IPV4_TOTAL_LENGTH))
    : be16(load<u16>(ip, IPV6_PAYLOAD_LENGTH)) + IPV6_HDR_LEN;
  if (ipLen != pktLen - l2 || load<u8>(tcp, TCP_FLAGS) & (TCP_SYN | TCP_RST)) return false;
  const payload = pktLen - l2 - load<u16>(mbuf, MBUF_L3_LEN) - load<u8>(mbuf, MBUF_L4_LEN);
  return payload > size && payload <= size * MAX_GSO_SEGMENTS;
}

function markForSegmentation(mbuf: u32, ptype: u32, tcp: u32, size: u32): void {
  if (pseudoChecksumSet(mbuf) != CHECKSUM_WRITTEN) return;
  let flags = load<u32>(mbuf, MBUF_OL_FLAGS) | MBUF_F_TX_TCP_SEG | checksumFlags(ptype, MBUF_F_TX_TCP_CKSUM);
  if (load<u8>(tcp, TCP_FLAGS) & TCP_CWR) flags |= MBUF_F_TX_ECN;
  store<u16>(mbuf, size, MBUF_TSO_SEGSZ);
  store<u32>(mbuf, flags, MBUF_OL_FLAGS);
}
