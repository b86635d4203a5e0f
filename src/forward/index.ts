/** Forwarding: testpmd's engines and the learning switch, run by lcores in Wasm. */
export {
  type CsumConf,
  type ForwardEngine,
  Forwarder,
  type ForwarderOptions,
  type ForwardStats,
  forwardEngines,
  type PortForwardStats,
  type StartOptions,
  type StreamForwardStats,
} from './forwarder.js';
export { L2Switch, type L2SwitchOptions, type L2SwitchStats, type Station } from './l2-switch.js';
export { type PortTopology, planStreams, topologyPeer } from './plan.js';
export type { LcoreFailed } from './runner.js';
export { steeringKey } from './steering.js';
export { toeplitzHash } from './toeplitz.js';
export type { TxVlan } from './tx-vlan.js';
