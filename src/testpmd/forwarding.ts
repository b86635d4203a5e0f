import { type Eal, Forwarder, L2Switch, type Port } from '../index.js';
import type { AppOptions } from './app-options.js';
import type { ForwardCounts } from './format.js';

/** What a port forwarded, by port. */
export interface PortCounts extends ForwardCounts {
  readonly portId: number;
}

/** One run of forwarding, from `start` on: testpmd's engines and the learning switch under one face. */
export interface Forwarding {
  readonly mode: AppOptions['forwardMode'];
  readonly ports: readonly Port[];
  /** Ends it; counts() then stays as it is. */
  stop(): Promise<void>;
  counts(): PortCounts[];
}

export interface ForwardingPlan {
  readonly ports: readonly Port[];
  /** Ids of the lcores that forward. */
  readonly lcores: readonly number[];
  readonly config: AppOptions;
  readonly onLcoreFailed: (error: unknown) => void;
}

/** Starts to forward as the configuration says. Throws what Forwarder and L2Switch throw. */
export function startForwarding(eal: Eal, plan: ForwardingPlan, txFirstBursts: number): Promise<Forwarding> {
  return plan.config.forwardMode === 'l2' ? startSwitch(eal, plan) : startStreams(eal, plan, txFirstBursts);
}

async function startStreams(eal: Eal, plan: ForwardingPlan, txFirstBursts: number): Promise<Forwarding> {
  const { ports, lcores, config, onLcoreFailed } = plan;
  const mode = config.forwardMode;
  if (mode === 'l2') throw new Error('l2 is no engine of streams');
  const { burst, portTopology: topology, txPackets } = config;
  const forwarder = new Forwarder(eal, { ports, lcores, engine: mode, burst, topology, txPackets, onLcoreFailed });
  for (const port of ports) {
    const peer = config.ethPeers.get(port.id);
    if (peer !== undefined) forwarder.setEthPeer(port, peer);
  }
  await forwarder.start(txFirstBursts > 0 ? { txFirst: txFirstBursts } : {});
  return {
    mode,
    ports,
    stop: async () => void (await forwarder.stop()),
    counts: () =>
      forwarder.stats().ports.map(({ port, rxPackets, rxDropped, txPackets, txDropped }) => ({
        portId: port.id,
        rxPackets,
        rxDropped,
        txPackets,
        txDropped,
      })),
  };
}

async function startSwitch(eal: Eal, plan: ForwardingPlan): Promise<Forwarding> {
  const { ports, lcores, config, onLcoreFailed } = plan;
  const l2 = L2Switch.create(eal, { ports, lcores, burst: config.burst, onLcoreFailed });
  // The switch counts as a whole; a port's share is what its queues counted since now.
  const before = ports.map(queueCounts);
  const counts = (): PortCounts[] => ports.map((port, i) => since(queueCounts(port), before[i]!));
  let last: PortCounts[] | undefined;
  try {
    await l2.start();
  } catch (error) {
    await l2.close();
    throw error;
  }
  return {
    mode: 'l2',
    ports,
    stop: async () => {
      await l2.stop();
      last = counts();
      await l2.close();
    },
    counts: () => last ?? counts(),
  };
}

/** What a port's queues counted: packets, and those that were lost on the way out (ring full, or no room at the guest). */
function queueCounts(port: Port): PortCounts {
  const { ipackets, imissed, opackets, oerrors } = port.stats();
  const full = port.xstats().reduce((sum, { name, value }) => (/^tx_q\d+_full$/.test(name) ? sum + value : sum), 0);
  return { portId: port.id, rxPackets: ipackets, rxDropped: imissed, txPackets: opackets, txDropped: oerrors + full };
}

/** now − before; a counter that was cleared meanwhile counts from there. */
export function since(now: PortCounts, before: ForwardCounts): PortCounts {
  const left = (a: number, b: number): number => (a >= b ? a - b : a);
  return {
    portId: now.portId,
    rxPackets: left(now.rxPackets, before.rxPackets),
    rxDropped: left(now.rxDropped, before.rxDropped),
    txPackets: left(now.txPackets, before.txPackets),
    txDropped: left(now.txDropped, before.txDropped),
  };
}
