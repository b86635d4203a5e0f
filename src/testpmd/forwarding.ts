import { type Eal, Forwarder, L2Switch, type Port, type TxOffload } from '../index.js';
import type { AppOptions } from './app-options.js';
import type { ForwardCounts, StreamCounts } from './format.js';
import type { PortSetup } from './port-setup.js';

/** What a port forwarded, by port. */
export interface PortCounts extends ForwardCounts {
  readonly portId: number;
}

/** What a run has counted. */
export interface Counts {
  readonly ports: readonly PortCounts[];
  /** Empty for the switch, which has no streams with one tx port each. */
  readonly streams: readonly StreamCounts[];
}

/** One run of forwarding, from `start` on: testpmd's engines and the learning switch under one face. */
export interface Forwarding {
  readonly mode: AppOptions['forwardMode'];
  readonly ports: readonly Port[];
  /** Ends it; counts() then stays as it is. */
  stop(): Promise<void>;
  counts(): Counts;
}

export interface ForwardingPlan {
  readonly ports: readonly Port[];
  /** Of the same ports. */
  readonly setups: readonly PortSetup[];
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
  const { ports, setups, lcores, config, onLcoreFailed } = plan;
  const mode = config.forwardMode;
  if (mode === 'l2') throw new Error('l2 is no engine of streams');
  const { burst, portTopology: topology, txPackets, flowCount } = config;
  const options = { ports, lcores, engine: mode, burst, topology, txPackets, flowCount, onLcoreFailed };
  const forwarder = new Forwarder(eal, options);
  for (const { port, txOffloads, tsoSegmentBytes, writeMacs, txVlan } of setups) {
    const by = (offload: TxOffload): 'hw' | 'sw' => (txOffloads.has(offload) ? 'hw' : 'sw');
    const [ip, udp, tcp] = [by('IPV4_CKSUM'), by('UDP_CKSUM'), by('TCP_CKSUM')];
    forwarder.setCsum(port, { ip, udp, tcp, tsoSegmentBytes, writeMacs });
    forwarder.setTxVlan(port, txVlan);
    const peer = config.ethPeers.get(port.id);
    if (peer !== undefined) forwarder.setEthPeer(port, peer);
  }
  await forwarder.start(txFirstBursts > 0 ? { txFirst: txFirstBursts } : {});
  return {
    mode,
    ports,
    stop: async () => void (await forwarder.stop()),
    counts: () => {
      const stats = forwarder.stats();
      return {
        ports: stats.ports.map(({ port, rxPackets, rxDropped, txPackets, txDropped, badIpCksum, badL4Cksum }) => ({
          portId: port.id,
          rxPackets,
          rxDropped,
          txPackets,
          txDropped,
          badIpCksum,
          badL4Cksum,
        })),
        streams: stats.streams,
      };
    },
  };
}

async function startSwitch(eal: Eal, plan: ForwardingPlan): Promise<Forwarding> {
  const { ports, lcores, config, onLcoreFailed } = plan;
  const l2 = L2Switch.create(eal, { ports, lcores, burst: config.burst, onLcoreFailed });
  // The switch counts as a whole; a port's share is what its queues counted since now.
  const before = ports.map(queueCounts);
  const counts = (): Counts => ({ ports: ports.map((port, i) => since(queueCounts(port), before[i]!)), streams: [] });
  let last: Counts | undefined;
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

/** now − before, field by field; a counter that was cleared meanwhile counts from there. */
export function since<T extends object>(now: T, before: Readonly<Partial<T>>): T {
  const result = { ...now } as Record<string, unknown>;
  for (const [field, value] of Object.entries(now)) {
    const then: unknown = before[field as keyof T];
    if (NAMES.has(field) || typeof value !== 'number' || typeof then !== 'number') continue;
    result[field] = value >= then ? value - then : value;
  }
  return result as T;
}

/** Numbers that count nothing. */
const NAMES = new Set(['portId', 'rxPort', 'rxQueue', 'txPort', 'txQueue']);

/** since() for every port and stream. */
export function sinceAll(now: Counts, before: Counts): Counts {
  const sameStream = (a: StreamCounts, b: StreamCounts): boolean =>
    a.rxPort === b.rxPort && a.rxQueue === b.rxQueue && a.txPort === b.txPort && a.txQueue === b.txQueue;
  return {
    ports: now.ports.map((port) => since(port, before.ports.find(({ portId }) => portId === port.portId) ?? {})),
    streams: now.streams.map((stream) => since(stream, before.streams.find((b) => sameStream(stream, b)) ?? {})),
  };
}
