/**
 * Who polls what: testpmd's assignment of rx queues to forwarding lcores (simple_fwd_config_setup, rss_fwd_config_setup).
 * Pure functions; src/forward/runner.ts writes their result into shared memory.
 */
import { ViaductError } from '../errors.js';

/**
 * Where a port's packets go: testpmd's --port-topology.
 * - paired: to its neighbour, 0 ↔ 1, 2 ↔ 3; the last of an odd number to itself
 * - chained: to the next one, the last to the first
 * - loop: back to itself
 */
export type PortTopology = 'paired' | 'chained' | 'loop';

/** What a plan needs to know of a port. */
export interface PlannedPort {
  readonly id: number;
  readonly rxQueueCount: number;
  readonly txQueueCount: number;
}

/** One rx queue, who polls it and where its packets go. */
export interface PlannedStream {
  /** Index among the lcores that forward. */
  readonly lcoreIndex: number;
  readonly rxPort: number;
  readonly rxQueue: number;
  readonly txPort: number;
  readonly txQueue: number;
}

/** Index of the port that port `index` of `count` sends to: testpmd's fwd_topology_tx_port_get. */
export function topologyPeer(topology: PortTopology, index: number, count: number): number {
  switch (topology) {
    case 'paired': {
      const peer = index ^ 1;
      return peer < count ? peer : index;
    }
    case 'chained':
      return (index + 1) % count;
    case 'loop':
      return index;
    default:
      throw new ViaductError(
        'ERR_INVALID_ARGUMENT',
        `port topology '${topology as string}' is not one of paired, chained, loop`,
      );
  }
}

/**
 * One stream an rx queue, queue 0 of every port first, as in testpmd. A stream sends on the tx queue of its rx queue's number;
 * where the other port has fewer, on that number modulo their count.
 */
export function planStreams(
  ports: readonly PlannedPort[],
  lcoreCount: number,
  topology: PortTopology,
): PlannedStream[] {
  const streams: Omit<PlannedStream, 'lcoreIndex'>[] = [];
  const queueCount = Math.max(0, ...ports.map((port) => port.rxQueueCount));
  for (let rxQueue = 0; rxQueue < queueCount; rxQueue++) {
    ports.forEach((port, index) => {
      if (rxQueue >= port.rxQueueCount) return;
      const peer = ports[topologyPeer(topology, index, ports.length)]!;
      streams.push({
        rxPort: port.id,
        rxQueue,
        txPort: peer.id,
        txQueue: peer.txQueueCount === 0 ? 0 : rxQueue % peer.txQueueCount,
      });
    });
  }
  return spread(streams, lcoreCount);
}

/**
 * A switch's streams: the same order, but each sends to every port, to tx queue 0 of one that has no other; flows are spread
 * over the queues of those that have several.
 */
export function planSwitch(ports: readonly PlannedPort[], lcoreCount: number): PlannedStream[] {
  return planStreams(ports, lcoreCount, 'loop').map((stream) => ({ ...stream, txQueue: 0 }));
}

/**
 * Consecutive streams to each lcore; where they do not come out even, the last lcores have one more (testpmd's
 * setup_fwd_config_of_each_lcore). Lcores beyond the streams have none.
 */
function spread(streams: readonly Omit<PlannedStream, 'lcoreIndex'>[], lcoreCount: number): PlannedStream[] {
  const used = Math.min(lcoreCount, streams.length);
  if (used === 0) return [];
  const each = Math.floor(streams.length / used);
  const withEach = used - (streams.length % used);
  return streams.map((stream, i) => ({
    ...stream,
    lcoreIndex: i < withEach * each ? Math.floor(i / each) : withEach + Math.floor((i - withEach * each) / (each + 1)),
  }));
}
