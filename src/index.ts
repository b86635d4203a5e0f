/**
 * Viaduct: a DPDK-style packet-processing framework. The rings, copies and forwarding loops are WebAssembly over one shared
 * memory; this is the API in front of them, DPDK's concepts in TypeScript's spelling.
 *
 *     import { Eal, Mempool, Port } from 'viaduct';
 *
 *     const eal = await Eal.init({ lcores: [0, 1] });
 *     const mempool = Mempool.createPktmbuf(eal, { name: 'packets', count: 8191 });
 *     const port = await Port.probe(eal, 'net_vhost0,iface=/run/vm0.sock');
 *     port.configure({ rxQueueCount: 1, txQueueCount: 1 });
 *     port.rxQueueSetup(0, { mempool });
 *     port.txQueueSetup(0);
 *     await port.start();
 *
 * @module
 */

// Errors: each has a `code`, and says in its message what to do.

export { type ErrorCode, ViaductError } from './errors.js';

// The environment (rte_eal): memory, lcores, logs.

export { Eal, type EalOptions } from './eal/eal.js';
export type { PollFunction } from './eal/lcore-loop.js';
export type { Lcore, LcoreState, LcoreStats } from './eal/lcores.js';
export { createLogger, type Logger, type LogLevel, silentLogger } from './eal/log.js';
export type { HostMemory } from './eal/memory.js';
export type { Memzone } from './eal/memzone.js';

// Packets and what holds them (rte_mbuf, rte_mempool, rte_ring).

export { Burst, type Objects } from './burst.js';
export { MbufView } from './mbuf.js';
export { type MbufFlag, MbufFlags, mbufFlagNames, PacketType, packetTypeName } from './mbuf-flags.js';
export { Mempool, type MempoolOptions, type PktmbufPoolOptions } from './mempool.js';
export { Ring, type RingOptions } from './ring.js';

// Ports (rte_ethdev).

export { type DropCause, dropCauses, explainStop, type StopCause, stopCauses } from './ethdev/causes.js';
export type { Coalescing, CoalescingConf } from './ethdev/coalescing.js';
export { Port, type ProbeOptions, type RxQueueConf, type TxQueueConf, type VlanOffload } from './ethdev/port.js';
export type { PortState } from './ethdev/port-state.js';
export { findPort, ports } from './ethdev/port-table.js';
export type { TxPrepareFault } from './ethdev/prepare.js';
export type { RxQueueInfo, TxQueueInfo } from './ethdev/queue-conf.js';
export type {
  DescriptorLimits,
  LinkStatus,
  PortConf,
  PortEvents,
  PortInfo,
  PortStats,
  QueueState,
  RxOffload,
  TxOffload,
  Xstat,
} from './ethdev/types.js';

// Packet functions on worker lcores: a module whose default export is an LcoreMain.

export type { LcoreContext, LcoreMain, LcorePort, LcorePortOptions } from './ethdev/lcore-port.js';

// Forwarding in Wasm: testpmd's engines, and the learning switch.

export * from './forward/index.js';

// Drivers: the ones that there are, and the shape of one's own.

export { type Devarg, type Devargs, formatMac, parseMac, parseVdev, type Vdev } from './drivers/devargs.js';
export { rxOffloadBits, txOffloadBits } from './drivers/eth-offloads.js';
export { setGates } from './drivers/queue.js';
export { allDrivers, driverNames } from './drivers/registry.js';
export type {
  Driver,
  DriverInfo,
  DriverPort,
  PortSlot,
  QueueRequest,
  RxQueueSetup,
  TxQueueSetup,
  VirtqueueInfo,
} from './drivers/types.js';
