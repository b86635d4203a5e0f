/**
 * What a port's user enables: offloads by DPDK's names (RTE_ETH_RX_OFFLOAD_*, RTE_ETH_TX_OFFLOAD_*), and as the data plane's
 * bits. What virtqueue drivers advertise is always there: the peer does it where that was negotiated (./offloads.ts), software
 * does it otherwise.
 */
import {
  ETH_RX_OFFLOAD_IPV4_CKSUM,
  ETH_RX_OFFLOAD_QINQ_STRIP,
  ETH_RX_OFFLOAD_RSS_HASH,
  ETH_RX_OFFLOAD_SCATTER,
  ETH_RX_OFFLOAD_TCP_CKSUM,
  ETH_RX_OFFLOAD_TCP_LRO,
  ETH_RX_OFFLOAD_UDP_CKSUM,
  ETH_RX_OFFLOAD_VLAN_STRIP,
  ETH_TX_OFFLOAD_IPV4_CKSUM,
  ETH_TX_OFFLOAD_MBUF_FAST_FREE,
  ETH_TX_OFFLOAD_MT_LOCKFREE,
  ETH_TX_OFFLOAD_MULTI_SEGS,
  ETH_TX_OFFLOAD_QINQ_INSERT,
  ETH_TX_OFFLOAD_TCP_CKSUM,
  ETH_TX_OFFLOAD_TCP_TSO,
  ETH_TX_OFFLOAD_UDP_CKSUM,
  ETH_TX_OFFLOAD_UDP_TSO,
  ETH_TX_OFFLOAD_VLAN_INSERT,
} from '../../assembly/layout.js';
import type { RxOffload, TxOffload } from './types.js';

/** Every receive offload by its name, with DPDK's bit. */
export const rxOffloadBits: Readonly<Record<RxOffload, number>> = {
  VLAN_STRIP: ETH_RX_OFFLOAD_VLAN_STRIP,
  IPV4_CKSUM: ETH_RX_OFFLOAD_IPV4_CKSUM,
  UDP_CKSUM: ETH_RX_OFFLOAD_UDP_CKSUM,
  TCP_CKSUM: ETH_RX_OFFLOAD_TCP_CKSUM,
  TCP_LRO: ETH_RX_OFFLOAD_TCP_LRO,
  QINQ_STRIP: ETH_RX_OFFLOAD_QINQ_STRIP,
  SCATTER: ETH_RX_OFFLOAD_SCATTER,
  RSS_HASH: ETH_RX_OFFLOAD_RSS_HASH,
};

/** Every send offload by its name, with DPDK's bit. */
export const txOffloadBits: Readonly<Record<TxOffload, number>> = {
  VLAN_INSERT: ETH_TX_OFFLOAD_VLAN_INSERT,
  IPV4_CKSUM: ETH_TX_OFFLOAD_IPV4_CKSUM,
  UDP_CKSUM: ETH_TX_OFFLOAD_UDP_CKSUM,
  TCP_CKSUM: ETH_TX_OFFLOAD_TCP_CKSUM,
  TCP_TSO: ETH_TX_OFFLOAD_TCP_TSO,
  UDP_TSO: ETH_TX_OFFLOAD_UDP_TSO,
  QINQ_INSERT: ETH_TX_OFFLOAD_QINQ_INSERT,
  MT_LOCKFREE: ETH_TX_OFFLOAD_MT_LOCKFREE,
  MULTI_SEGS: ETH_TX_OFFLOAD_MULTI_SEGS,
  MBUF_FAST_FREE: ETH_TX_OFFLOAD_MBUF_FAST_FREE,
};

/** Receive offloads that software does to the packets of one queue. */
const SOFTWARE_RX: readonly RxOffload[] = [
  'VLAN_STRIP',
  'IPV4_CKSUM',
  'UDP_CKSUM',
  'TCP_CKSUM',
  'QINQ_STRIP',
  'RSS_HASH',
];

const VIRTQUEUE_TX: readonly TxOffload[] = [
  'VLAN_INSERT',
  'IPV4_CKSUM',
  'UDP_CKSUM',
  'TCP_CKSUM',
  'TCP_TSO',
  'UDP_TSO',
  'QINQ_INSERT',
  'MULTI_SEGS',
];

/**
 * What net_vhost and net_virtio_user are able to do, as part of their DriverInfo.
 *
 * - Without TCP_LRO a packet that a guest sends to be segmented is delivered whole all the same, marked RX_LRO and ready to be
 *   sent on (TX_TCP_SEG): it is one packet to its sender, and cutting it up is for the port that cannot send it so. DPDK's
 *   net_vhost does likewise.
 * - No MT_LOCKFREE: a second lcore that sends on a queue at the same time is told 0. No MBUF_FAST_FREE: buffers are freed in
 *   bulk wherever they allow it, nobody needs to promise anything.
 */
export const VIRTQUEUE_OFFLOADS: {
  readonly rxOffloadCapabilities: readonly RxOffload[];
  readonly txOffloadCapabilities: readonly TxOffload[];
  readonly rxQueueOffloadCapabilities: readonly RxOffload[];
  readonly txQueueOffloadCapabilities: readonly TxOffload[];
} = {
  rxOffloadCapabilities: [...SOFTWARE_RX, 'TCP_LRO', 'SCATTER'],
  txOffloadCapabilities: VIRTQUEUE_TX,
  rxQueueOffloadCapabilities: SOFTWARE_RX,
  txQueueOffloadCapabilities: VIRTQUEUE_TX,
};

/** The bits of some offloads. */
export function offloadBits<Name extends string>(table: Readonly<Record<Name, number>>, names: Iterable<Name>): number {
  let bits = 0;
  for (const name of names) bits |= table[name];
  return bits >>> 0;
}
