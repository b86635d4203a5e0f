/** The ethdev API's shapes: rte_eth_dev_info, rte_eth_conf, rte_eth_stats and their like, in TypeScript's spelling. */
import type { Coalescing, DescriptorLimits, QueueState, RxOffload, TxOffload } from '../drivers/types.js';

// The shapes that drivers see too stand with them: no arrow points up.
export type { DescriptorLimits, PortConf, QueueState, RxOffload, TxOffload } from '../drivers/types.js';

/** What a port can do: rte_eth_dev_info. */
export interface PortInfo {
  readonly portId: number;
  /** vdev name, `net_vhost0`. */
  readonly name: string;
  /** Driver name, `net_vhost`. */
  readonly driver: string;
  /** MAC as `02:00:00:00:00:01`. */
  readonly macAddress: string;
  readonly maxRxQueues: number;
  readonly maxTxQueues: number;
  readonly minMtu: number;
  readonly maxMtu: number;
  readonly rxDescriptors: DescriptorLimits;
  readonly txDescriptors: DescriptorLimits;
  readonly rxOffloadCapabilities: readonly RxOffload[];
  readonly txOffloadCapabilities: readonly TxOffload[];
  /** Those that rxQueueSetup and txQueueSetup may enable for one queue. */
  readonly rxQueueOffloadCapabilities: readonly RxOffload[];
  readonly txQueueOffloadCapabilities: readonly TxOffload[];
  /** Configured counts, 0 before configure. */
  readonly rxQueueCount: number;
  readonly txQueueCount: number;
  /** What every queue of a port that interrupts a guest begins with; in force is Port.coalescing(). Absent for other ports. */
  readonly coalescing?: Coalescing;
  /** Driver's own facts for people: socket path, negotiated features, guest memory, ring layout. */
  readonly driverInfo: Readonly<Record<string, string | number | boolean>>;
}

/** rte_eth_link. */
export interface LinkStatus {
  readonly up: boolean;
  readonly speedMbps: number;
  readonly duplex: 'full' | 'half';
  readonly autoneg: boolean;
}

/** rte_eth_stats. Counters since the last statsReset; exact up to 2^53. */
export interface PortStats {
  readonly ipackets: number;
  readonly opackets: number;
  readonly ibytes: number;
  readonly obytes: number;
  /** Packets that the port lost because nobody took them in time. */
  readonly imissed: number;
  /** Received packets thrown away, every cause but rxNombuf. */
  readonly ierrors: number;
  /** Packets that could not be sent. */
  readonly oerrors: number;
  /** Receive failures because the mempool was empty. */
  readonly rxNombuf: number;
  readonly queueIpackets: readonly number[];
  readonly queueOpackets: readonly number[];
  readonly queueIbytes: readonly number[];
  readonly queueObytes: readonly number[];
  readonly queueErrors: readonly number[];
}

/** rte_eth_xstat with its name. */
export interface Xstat {
  readonly name: string;
  readonly value: number;
}

/** RTE_ETH_EVENT_*: what a port tells its owner. */
export interface PortEvents {
  /** RTE_ETH_EVENT_INTR_LSC. */
  linkUp: [];
  linkDown: [reason: string];
  /** RTE_ETH_EVENT_QUEUE_STATE: a queue was enabled or disabled by the peer, or stopped itself. */
  queueState: [state: QueueState];
  /** RTE_ETH_EVENT_INTR_RMV: the port is gone. */
  removed: [];
}
