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

// Drivers
export { type Devarg, type Devargs, formatMac, parseMac, parseVdev, type Vdev } from './drivers/devargs.js';
export { driverNames } from './drivers/registry.js';
export type { Driver, DriverInfo, DriverPort, PortSlot } from './drivers/types.js';
// Errors: every one has a `code` and says in its message what to do.
export { type ErrorCode, ViaductError } from './errors.js';
// Ports (rte_ethdev)
export { type DropCause, dropCauses, explainStop, type StopCause, stopCauses } from './ethdev/causes.js';
export { Port, type ProbeOptions, type RxQueueConf, type TxQueueConf } from './ethdev/port.js';
export type { PortState } from './ethdev/port-state.js';
export { findPort, ports } from './ethdev/port-table.js';
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
