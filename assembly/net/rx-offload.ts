/**
 * Receive offloads in software: what a port's user has enabled (QUEUE_ETH_OFFLOADS) is done to each packet of a burst, in the
 * order in which a NIC does it: tags off, type, checksums, hash. A queue without any never comes here.
 */
import {
  CHECKSUM_BAD,
  CHECKSUM_GOOD,
  ETH_RX_OFFLOAD_IPV4_CKSUM,
  ETH_RX_OFFLOAD_QINQ_STRIP,
  ETH_RX_OFFLOAD_RSS_HASH,
  ETH_RX_OFFLOAD_TCP_CKSUM,
  ETH_RX_OFFLOAD_UDP_CKSUM,
  ETH_RX_OFFLOAD_VLAN_STRIP,
  MBUF_F_RX_IP_CKSUM_BAD,
  MBUF_F_RX_IP_CKSUM_GOOD,
  MBUF_F_RX_L4_CKSUM_BAD,
  MBUF_F_RX_L4_CKSUM_GOOD,
  MBUF_F_RX_L4_CKSUM_NONE,
  MBUF_OL_FLAGS,
  QUEUE_ETH_OFFLOADS,
  QUEUE_RSS_TABLE,
  RTE_PTYPE_L4_MASK,
  RTE_PTYPE_L4_TCP,
  RTE_PTYPE_L4_UDP,
} from '../layout';
import { parsedIpv4Verify, parsedL4Verify } from './l4-checksum';
import { parsePacket } from './parse';
import { parsedFlowHash } from './toeplitz';
import { qinqStrip, vlanStrip } from './vlan';

const IP_KNOWN: u32 = MBUF_F_RX_IP_CKSUM_GOOD | MBUF_F_RX_IP_CKSUM_BAD;

/** The queue's offloads to `count` packets, which are the caller's alone. */
export function rxOffload(queue: usize, burst: usize, count: u32): void {
  const offloads = load<u32>(queue, QUEUE_ETH_OFFLOADS);
  const table = load<u32>(queue, QUEUE_RSS_TABLE);
  for (let at = burst, end = burst + (count << 2); at < end; at += 4) one(load<u32>(at), offloads, table);
}

function one(mbuf: u32, offloads: u32, table: u32): void {
  const stripped = (offloads & ETH_RX_OFFLOAD_QINQ_STRIP) != 0 && qinqStrip(mbuf) != 0;
  if (!stripped && offloads & ETH_RX_OFFLOAD_VLAN_STRIP) vlanStrip(mbuf);
  const ptype = parsePacket(mbuf);
  if (offloads & ETH_RX_OFFLOAD_IPV4_CKSUM && (load<u32>(mbuf, MBUF_OL_FLAGS) & IP_KNOWN) == 0) {
    mark(mbuf, parsedIpv4Verify(mbuf, ptype), MBUF_F_RX_IP_CKSUM_GOOD, MBUF_F_RX_IP_CKSUM_BAD);
  }
  const l4 = ptype & RTE_PTYPE_L4_MASK;
  const wanted =
    l4 == RTE_PTYPE_L4_TCP ? ETH_RX_OFFLOAD_TCP_CKSUM : l4 == RTE_PTYPE_L4_UDP ? ETH_RX_OFFLOAD_UDP_CKSUM : 0;
  // Good, bad, or "not there yet, but the data is whole": the sender has said so.
  if (offloads & wanted && (load<u32>(mbuf, MBUF_OL_FLAGS) & MBUF_F_RX_L4_CKSUM_NONE) == 0) {
    mark(mbuf, parsedL4Verify(mbuf, ptype), MBUF_F_RX_L4_CKSUM_GOOD, MBUF_F_RX_L4_CKSUM_BAD);
  }
  if (offloads & ETH_RX_OFFLOAD_RSS_HASH && table != 0) parsedFlowHash(mbuf, ptype, table);
}

/** A verdict as flag; none where there is none. */
// @ts-ignore: decorator
@inline
function mark(mbuf: u32, verdict: u32, good: u32, bad: u32): void {
  const flag = verdict == CHECKSUM_GOOD ? good : verdict == CHECKSUM_BAD ? bad : 0;
  store<u32>(mbuf, load<u32>(mbuf, MBUF_OL_FLAGS) | flag, MBUF_OL_FLAGS);
}
