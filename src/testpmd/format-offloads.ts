/** testpmd's blocks about offloads and queues. Pure functions from plain values to text without a line break at the end. */
import type { Coalescing } from '../index.js';

/** `show port rx_offload capabilities`. What a single queue may have is named there and not with the port. */
export function offloadCapabilities(
  side: 'Rx' | 'Tx',
  portId: number,
  queue: readonly string[],
  port: readonly string[],
): string {
  const rest = port.filter((name) => !queue.includes(name));
  return [
    `${side} Offloading Capabilities of port ${portId} :`,
    `  Per Queue :${names(queue)}`,
    `  Per Port  :${names(rest)}`,
    '',
  ].join('\n');
}

/** `show port rx_offload configuration`: what is in force on the port, and what each queue will have. */
export function offloadConfiguration(
  side: 'Rx' | 'Tx',
  portId: number,
  port: readonly string[],
  queues: readonly (readonly string[])[],
): string {
  return [
    `${side} Offloading Configuration of port ${portId} :`,
    `  Port :${names(port)}`,
    ...queues.map((own, queue) => `  Queue[${String(queue).padStart(2)}] :${names(own)}`),
    '',
  ].join('\n');
}

function names(list: readonly string[]): string {
  return list.map((name) => ` ${name}`).join('');
}

/** Who makes the checksums that csum writes. */
export interface ChecksumPlan {
  readonly ip: boolean;
  readonly udp: boolean;
  readonly tcp: boolean;
}

/** `csum show`: true is hardware. SCTP and tunnels are nobody's. */
export function checksumPlan({ ip, udp, tcp }: ChecksumPlan): string {
  const line = (what: string, hardware: boolean): string => `${what} checksum offload is ${hardware ? 'hw' : 'sw'}`;
  return [
    'Parse tunnel is off',
    line('IP', ip),
    line('UDP', udp),
    line('TCP', tcp),
    line('SCTP', false),
    line('Outer-Ip', false),
    line('Outer-Udp', false),
  ].join('\n');
}

/** `tso show`. */
export function tsoPlan(segmentBytes: number): string {
  return segmentBytes === 0
    ? 'TSO for non-tunneled packets is disabled'
    : `TSO segment size for non-tunneled packets is ${segmentBytes}`;
}

/** When a guest is interrupted, in the words of `ethtool -c`. */
export function coalescing({ usecs, frames, adaptive }: Coalescing): string {
  return usecs === 0 ? 'off' : `usecs ${usecs}, frames ${frames}, adaptive ${adaptive ? 'on' : 'off'}`;
}

/** What is known of a queue. */
export interface QueueFacts {
  readonly portId: number;
  readonly queue: number;
  readonly descriptorCount: number;
  readonly started: boolean;
  readonly offloads: readonly string[];
  /** Rx queues: name of the mempool, data room of its mbufs with headroom. */
  readonly mempool?: string;
  readonly scattered?: boolean;
  /** Where the queue interrupts a guest. */
  readonly coalescing?: Coalescing;
  /** The virtqueue behind it, where there is one. */
  readonly virtqueue?: {
    readonly path: string;
    readonly ringSize: number;
    readonly enabled: boolean;
    readonly running: boolean;
    readonly offloads: readonly string[];
  };
}

/** `show rxq info`, `show txq info`: DPDK's lines where they mean something here, then the virtqueue's. */
export function queueInfo(side: 'RX' | 'TX', facts: QueueFacts): string {
  const { portId, queue, virtqueue } = facts;
  const border = '*********************';
  const lines = [
    '',
    `${border} Infos for port ${String(portId).padEnd(2)}, ${side} queue ${String(queue).padEnd(2)} ${border}`,
  ];
  if (facts.mempool !== undefined) lines.push(`Mempool: ${facts.mempool}`);
  lines.push(`${side} deferred start: off`);
  if (facts.scattered !== undefined) lines.push(`RX scattered packets: ${facts.scattered ? 'on' : 'off'}`);
  lines.push(
    `${side === 'RX' ? 'Rx' : 'Tx'} queue state: ${facts.started ? 'started' : 'stopped'}`,
    `Number of ${side}Ds: ${facts.descriptorCount}`,
    `${side} offloads: ${facts.offloads.join(' ') || 'none'}`,
  );
  if (facts.coalescing !== undefined) lines.push(`Interrupt coalescing: ${coalescing(facts.coalescing)}`);
  if (virtqueue !== undefined) {
    lines.push(
      `Burst mode: ${virtqueue.path}`,
      `Virtqueue size: ${virtqueue.ringSize}`,
      `Virtqueue state: ${virtqueue.running ? 'running' : virtqueue.enabled ? 'enabled, not running' : 'disabled'}`,
      `Virtqueue offloads: ${virtqueue.offloads.join(' ') || 'none'}`,
    );
  }
  return lines.join('\n');
}

/** DPDK's answer where a queue has no information: its error's text and number. */
export function queueInfoFailed(side: 'RX' | 'TX', portId: number, queue: number, error: string): string {
  return `Failed to retrieve information for port: ${portId}, ${side} queue: ${queue}\nerror desc: ${error}`;
}
