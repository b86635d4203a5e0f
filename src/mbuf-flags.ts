/** What MBUF_OL_FLAGS and MBUF_PACKET_TYPE say, by DPDK's names (RTE_MBUF_F_*, RTE_PTYPE_*). */
import * as layout from '../assembly/layout.js';

/**
 * Offload flags of an mbuf: `m.olFlags & MbufFlags.RX_VLAN`. The names are DPDK's, the numbers are Viaduct's own.
 *
 * `RX_L4_CKSUM_NONE` is both bits, GOOD and BAD: "the data is whole, its checksum is not there yet"; so compare
 * `(olFlags & MbufFlags.RX_L4_CKSUM_MASK) === MbufFlags.RX_L4_CKSUM_GOOD`.
 */
export const MbufFlags = {
  /** `vlanTci` holds the tag; RX_VLAN_STRIPPED: and it is no longer in the data. */
  RX_VLAN: layout.MBUF_F_RX_VLAN,
  RX_VLAN_STRIPPED: layout.MBUF_F_RX_VLAN_STRIPPED,
  /** `vlanTciOuter` holds the outer tag of two; RX_QINQ_STRIPPED: neither is in the data. */
  RX_QINQ: layout.MBUF_F_RX_QINQ,
  RX_QINQ_STRIPPED: layout.MBUF_F_RX_QINQ_STRIPPED,
  /** `hash` holds the flow hash. */
  RX_RSS_HASH: layout.MBUF_F_RX_RSS_HASH,
  RX_IP_CKSUM_BAD: layout.MBUF_F_RX_IP_CKSUM_BAD,
  RX_IP_CKSUM_GOOD: layout.MBUF_F_RX_IP_CKSUM_GOOD,
  RX_L4_CKSUM_BAD: layout.MBUF_F_RX_L4_CKSUM_BAD,
  RX_L4_CKSUM_GOOD: layout.MBUF_F_RX_L4_CKSUM_GOOD,
  RX_L4_CKSUM_NONE: layout.MBUF_F_RX_L4_CKSUM_NONE,
  RX_L4_CKSUM_MASK: layout.MBUF_F_RX_L4_CKSUM_NONE,
  /** One packet made of several, `tsoSegsz` bytes of payload each. */
  RX_LRO: layout.MBUF_F_RX_LRO,
  /** To be segmented on the way out, `tsoSegsz` bytes of payload each. */
  TX_TCP_SEG: layout.MBUF_F_TX_TCP_SEG,
  TX_UDP_SEG: layout.MBUF_F_TX_UDP_SEG,
  /** A UDP datagram to be sent in IP fragments. Viaduct's own: virtio's UFO. */
  TX_UFO: layout.MBUF_F_TX_UFO,
  /** Checksums that are to be computed on the way out. */
  TX_TCP_CKSUM: layout.MBUF_F_TX_TCP_CKSUM,
  TX_UDP_CKSUM: layout.MBUF_F_TX_UDP_CKSUM,
  TX_IP_CKSUM: layout.MBUF_F_TX_IP_CKSUM,
  /** Which IP the packet is: one of the two beside any TX flag about checksums or segments. */
  TX_IPV4: layout.MBUF_F_TX_IPV4,
  TX_IPV6: layout.MBUF_F_TX_IPV6,
  /** A TCP packet to be segmented has CWR set. Viaduct's own: virtio's ECN. */
  TX_ECN: layout.MBUF_F_TX_ECN,
  /** Tags that are to be inserted on the way out: `vlanTci`; `vlanTciOuter` in front of it. */
  TX_VLAN: layout.MBUF_F_TX_VLAN,
  TX_QINQ: layout.MBUF_F_TX_QINQ,
} as const;

export type MbufFlag = keyof typeof MbufFlags;

/** Flags of one bit, by rising bit; the L4 checksum's two are told as one thing. */
const SINGLE_FLAGS = (Object.entries(MbufFlags) as [MbufFlag, number][])
  .filter(([name]) => !name.startsWith('RX_L4_CKSUM_'))
  .sort(([, a], [, b]) => a - b);

/** Names of the flags that are set: rte_get_rx_ol_flag_list and rte_get_tx_ol_flag_list. */
export function mbufFlagNames(olFlags: number): MbufFlag[] {
  const names = SINGLE_FLAGS.filter(([, flag]) => (olFlags & flag) !== 0).map(([name]) => name);
  const l4 = olFlags & layout.MBUF_F_RX_L4_CKSUM_NONE;
  if (l4 === (layout.MBUF_F_RX_L4_CKSUM_NONE as number)) names.push('RX_L4_CKSUM_NONE');
  else if (l4 === (layout.MBUF_F_RX_L4_CKSUM_GOOD as number)) names.push('RX_L4_CKSUM_GOOD');
  else if (l4 !== 0) names.push('RX_L4_CKSUM_BAD');
  return names;
}

/** Packet types as `packetType` has them, DPDK's numbers: one of each layer, or'ed. */
export const PacketType = {
  L2_ETHER: layout.RTE_PTYPE_L2_ETHER,
  L2_ETHER_VLAN: layout.RTE_PTYPE_L2_ETHER_VLAN,
  L2_ETHER_QINQ: layout.RTE_PTYPE_L2_ETHER_QINQ,
  L3_IPV4: layout.RTE_PTYPE_L3_IPV4,
  L3_IPV4_EXT: layout.RTE_PTYPE_L3_IPV4_EXT,
  L3_IPV6: layout.RTE_PTYPE_L3_IPV6,
  L3_IPV6_EXT: layout.RTE_PTYPE_L3_IPV6_EXT,
  L4_TCP: layout.RTE_PTYPE_L4_TCP,
  L4_UDP: layout.RTE_PTYPE_L4_UDP,
  L4_FRAG: layout.RTE_PTYPE_L4_FRAG,
  L4_SCTP: layout.RTE_PTYPE_L4_SCTP,
  L4_ICMP: layout.RTE_PTYPE_L4_ICMP,
} as const;

const LAYERS = [
  ['L2', layout.RTE_PTYPE_L2_MASK],
  ['L3', layout.RTE_PTYPE_L3_MASK],
  ['L4', layout.RTE_PTYPE_L4_MASK],
] as const;

/** `L2_ETHER L3_IPV4 L4_TCP`; `UNKNOWN` for 0, `L3_UNKNOWN` for a layer with a number of nobody's: rte_get_ptype_name. */
export function packetTypeName(ptype: number): string {
  const names: string[] = [];
  for (const [layer, mask] of LAYERS) {
    const value = (ptype & mask) >>> 0;
    if (value === 0) continue;
    const known = Object.entries(PacketType).find(
      ([name, type]) => name.startsWith(layer) && (type as number) === value,
    );
    names.push(known?.[0] ?? `${layer}_UNKNOWN`);
  }
  return names.join(' ') || 'UNKNOWN';
}
