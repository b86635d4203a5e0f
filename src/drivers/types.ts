/**
 * The one shape that every driver has. A driver is a plain object in a file of its own; `registry.ts` finds it by name. It
 * fills the port's records in shared memory, so that the data plane and the other lcores need no JavaScript object of it.
 *
 * Who does what. `src/ethdev/port.ts` keeps the state machine, checks arguments, writes the queues' mempool and descriptor
 * count, opens and closes the STARTED gate and counts statistics. A driver opens READY (the ring is known and mapped) and
 * ENABLED (the peer lets it move packets), sets the PMD and its fields, and reports link and queue changes to its PortSlot.
 */
import type { Eal } from '../eal/eal.js';
import type { Devarg, Devargs } from './devargs.js';

/** rte_eth_desc_lim. */
export interface DescriptorLimits {
  readonly min: number;
  readonly max: number;
  /** Counts must be a multiple of this (or a power of two where `powerOfTwo`). */
  readonly align: number;
  readonly powerOfTwo: boolean;
  /** Used when queue setup names no count. */
  readonly default: number;
}

/**
 * RTE_ETH_RX_OFFLOAD_* names: tags off into the mbuf (VLAN_STRIP, QINQ_STRIP), checksums verified into RX_*_CKSUM_GOOD or
 * _BAD, the flow hash computed (RSS_HASH), packets of several segments (SCATTER) or made of several packets (TCP_LRO) taken.
 */
export type RxOffload =
  | 'VLAN_STRIP'
  | 'IPV4_CKSUM'
  | 'UDP_CKSUM'
  | 'TCP_CKSUM'
  | 'TCP_LRO'
  | 'QINQ_STRIP'
  | 'SCATTER'
  | 'RSS_HASH';

/** RTE_ETH_TX_OFFLOAD_* names: what an mbuf's TX_* flags may ask for, and how packets may be handed over. */
export type TxOffload =
  | 'VLAN_INSERT'
  | 'IPV4_CKSUM'
  | 'UDP_CKSUM'
  | 'TCP_CKSUM'
  | 'TCP_TSO'
  | 'UDP_TSO'
  | 'QINQ_INSERT'
  | 'MT_LOCKFREE'
  | 'MULTI_SEGS'
  | 'MBUF_FAST_FREE';

/** rte_eth_conf with the queue counts of rte_eth_dev_configure. */
export interface PortConf {
  readonly rxQueueCount: number;
  readonly txQueueCount: number;
  readonly mtu?: number;
  /** Offloads of all queues: rxmode.offloads, txmode.offloads. */
  readonly rxOffloads?: readonly RxOffload[];
  readonly txOffloads?: readonly TxOffload[];
  /** 40 bytes, the key of RSS_HASH: rx_adv_conf.rss_conf.rss_key. Microsoft's, as most NICs have it, when absent. */
  readonly rssKey?: Uint8Array;
}

export interface QueueState {
  readonly direction: 'rx' | 'tx';
  readonly queue: number;
  readonly enabled: boolean;
  /** Why a queue stopped itself: a STOP_* name, absent otherwise. */
  readonly cause?: string;
}

/** A virtqueue as it was negotiated: what DPDK's queue info calls the queue's burst mode, and more. */
export interface VirtqueueInfo {
  readonly layout: 'split' | 'packed';
  /** The burst function that was chosen, in words: `packed in-order mergeable`. */
  readonly path: string;
  /** Entries: the peer's choice for net_vhost, queue setup's for net_virtio_user. */
  readonly ringSize: number;
  readonly eventIdx: boolean;
  readonly indirect: boolean;
  /** The peer lets it move packets (`ethtool -L`, SET_VRING_ENABLE). */
  readonly enabled: boolean;
  /** It moves packets: the port is started too, and the queue has not stopped itself. */
  readonly running: boolean;
  /** Offloads that the peer may ask of this queue (rx), or takes (tx): `csum`, `tso4`, `tso6`, `ecn`, `ufo`, `uso4`, `uso6`. */
  readonly offloads: readonly string[];
}

/** A poll-mode driver: rte_vdev_driver. */
export interface Driver {
  /** `net_vhost`: devices are `net_vhost0`, `net_vhost1`, ... */
  readonly name: string;
  /** Every devargs key that it knows. Another key is refused with this list. */
  readonly devargs: readonly Devarg[];
  /** Makes the device. Throws ViaductError, and then leaves nothing behind; the port's record is given back by the caller. */
  probe(eal: Eal, slot: PortSlot, args: Devargs): Promise<DriverPort>;
}

/** What a driver is told when it is asked for queue records. */
export interface QueueRequest {
  /** PMD_* of all of them. */
  readonly pmd: number;
  readonly rxQueues: number;
  readonly txQueues: number;
}

/** A port's place in the port table, and the way in which a driver speaks to the port's owner. Main thread only. */
export interface PortSlot {
  /** Index in the port table. */
  readonly id: number;
  /** vdev name, `net_vhost0`. */
  readonly name: string;
  /** Address of the PORT_ record. */
  readonly address: number;
  /** Addresses of the QUEUE_ records, empty until createQueues(). */
  readonly rxQueues: readonly number[];
  readonly txQueues: readonly number[];

  /**
   * Gives the port its queue records, zeroed, with PMD, PORT and ID set and both fds -1; call it once, in probe(). They are
   * taken back after close(). Their memory never becomes anything else than a queue record, so that a lcore that comes late
   * with an old address finds a closed queue, never another's data.
   */
  createQueues(request: QueueRequest): void;
  /** Writes the MAC address (6 bytes) into the port's record. Before this the port has a locally administered one of its id. */
  setMac(mac: Uint8Array): void;
  /** Writes PORT_LINK_UP and tells the owner, once a change. `reason` says why a link went down. */
  linkChanged(up: boolean, reason?: string): void;
  /** Tells the owner that the peer enabled or disabled a queue. Causes of queues that stop themselves are found by the port. */
  queueChanged(state: QueueState): void;
  /** Tells the owner that the device is gone for good; the port can only be closed. */
  removed(): void;
}

/** When a guest is interrupted: notification coalescing in the manner of `ethtool -C`. */
export interface Coalescing {
  /** Microseconds that a notification may be put off, 0 = never put off: `rx-usecs`. At most MAX_COALESCE_US. */
  readonly usecs: number;
  /** Packets that end the wait: `rx-frames`. Half a ring ends it in any case, so 32768 means no other limit. */
  readonly frames: number;
  /** Wait only under load, where a wait would join 16 packets or more: `adaptive-rx on`. */
  readonly adaptive: boolean;
}

export const MAX_COALESCE_US = 10_000;

/** rte_eth_dev_info: the part that the driver knows. */
export interface DriverInfo {
  readonly maxRxQueues: number;
  readonly maxTxQueues: number;
  readonly minMtu: number;
  readonly maxMtu: number;
  readonly rxDescriptors: DescriptorLimits;
  readonly txDescriptors: DescriptorLimits;
  readonly rxOffloadCapabilities: readonly RxOffload[];
  readonly txOffloadCapabilities: readonly TxOffload[];
  /** Those of them that may be enabled for a single queue; none when absent. */
  readonly rxQueueOffloadCapabilities?: readonly RxOffload[];
  readonly txQueueOffloadCapabilities?: readonly TxOffload[];
  readonly speedMbps: number;
  /** What every queue of a port begins with whose driver interrupts a guest. */
  readonly coalescing?: Coalescing;
  /** Facts for people: socket path, negotiated features, ring layout. */
  readonly driverInfo: Readonly<Record<string, string | number | boolean>>;
}

export interface RxQueueSetup {
  /** Address of the mempool. */
  readonly pool: number;
  /** Buffer bytes of its mbufs, headroom included. */
  readonly bufLen: number;
  /** Already checked against DriverInfo.rxDescriptors. */
  readonly descriptorCount: number;
  /** Those of the whole port among them. The data plane does them by QUEUE_ETH_OFFLOADS, which the port writes. */
  readonly offloads: readonly RxOffload[];
}

export interface TxQueueSetup {
  readonly descriptorCount: number;
  readonly offloads: readonly TxOffload[];
}

/**
 * A probed device. Port calls the methods in the order of the state machine, never two at a time:
 * configure → queue setups → start → stop → (configure or start again) → close. start() is called with the STARTED gates shut
 * and they open when it resolves; stop() is called after they are shut, when no lcore is inside a burst any more.
 */
export interface DriverPort {
  /** Facts of now: may change with the peer. */
  info(): DriverInfo;
  /** The virtqueue behind a queue; undefined while the peer has given it no ring. Drivers without virtqueues have no method. */
  virtqueue?(direction: 'rx' | 'tx', queue: number): VirtqueueInfo | undefined;
  /** Legal counts, offloads and MTU; throw to refuse, and nothing changes. */
  configure?(conf: PortConf): void;
  rxQueueSetup?(queue: number, setup: RxQueueSetup): void;
  txQueueSetup?(queue: number, setup: TxQueueSetup): void;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Releases everything. The port is stopped, or its device was removed (then stop() was not called). Must not throw. */
  close(): Promise<void>;
  /** Each is called before the record changes; throw to refuse. Without the method every legal value is taken. */
  setMac?(mac: Uint8Array): void;
  setMtu?(mtu: number): void;
  setPromiscuous?(on: boolean): void;
}

/** Descriptor limits of a driver whose rings are made of powers of two (virtqueues, mem/ring). */
export function powerOfTwoLimits(min: number, max: number, byDefault: number): DescriptorLimits {
  return { min, max, align: 1, powerOfTwo: true, default: byDefault };
}
