/**
 * testpmd's output, to the blank: people's scripts read these blocks. Pure functions from plain values to text without a
 * line break at the end. Widths are those of DPDK 22.11's app/test-pmd/config.c and testpmd.c.
 */
import type { Coalescing, LinkStatus, PortInfo, PortStats, RxOffload, Xstat } from '../index.js';
import { coalescing as coalescingText } from './format-offloads.js';

const left = (value: number, width: number): string => String(value).padEnd(width);
const right = (value: number, width: number): string => String(value).padStart(width);

/** Rates of a port since it was last shown. */
export interface Throughput {
  readonly rxPps: number;
  readonly rxBps: number;
  readonly txPps: number;
  readonly txBps: number;
}

/** `show port stats`: rte_eth_stats with the rates. */
export function portStats(portId: number, stats: PortStats, rate: Throughput): string {
  const border = '########################';
  return `
  ${border} NIC statistics for port ${left(portId, 2)} ${border}
  RX-packets: ${left(stats.ipackets, 10)} RX-missed: ${left(stats.imissed, 10)} RX-bytes:  ${stats.ibytes}
  RX-errors: ${stats.ierrors}
  RX-nombuf:  ${left(stats.rxNombuf, 10)}
  TX-packets: ${left(stats.opackets, 10)} TX-errors: ${left(stats.oerrors, 10)} TX-bytes:  ${stats.obytes}

  Throughput (since last show)
  Rx-pps: ${right(rate.rxPps, 12)}          Rx-bps: ${right(rate.rxBps, 12)}
  Tx-pps: ${right(rate.txPps, 12)}          Tx-bps: ${right(rate.txBps, 12)}
  ${'#'.repeat(76)}`;
}

/** `show port xstats`; `hideZero` as `set xstats-hide-zero on`. */
export function portXstats(portId: number, xstats: readonly Xstat[], hideZero = false): string {
  return [
    `###### NIC extended statistics for port ${left(portId, 2)}`,
    ...xstats.filter((x) => !hideZero || x.value !== 0).map((x) => `${x.name}: ${x.value}`),
  ].join('\n');
}

/** What `show port info` says beside PortInfo. */
export interface PortFacts {
  readonly info: PortInfo;
  readonly link: LinkStatus;
  readonly mtu: number;
  readonly promiscuous: boolean;
  /** Enabled on all rx queues. */
  readonly rxOffloads: readonly RxOffload[];
  /** Devargs as they were given, without the device's name. */
  readonly devargs: string;
  /** What is in force on each queue that interrupts a guest; absent where none does. */
  readonly coalescing?: readonly Coalescing[];
}

const onOff = (on: boolean): string => (on ? 'on' : 'off');

/** `show port info`. Lines that have no meaning here (docs/testpmd.md lists them) are left out, none is invented. */
export function portInfo({ info, link, mtu, promiscuous, devargs, rxOffloads, coalescing }: PortFacts): string {
  const lines = [
    '',
    `********************* Infos for port ${left(info.portId, 2)} *********************`,
    `MAC address: ${info.macAddress.toUpperCase()}`,
    `Device name: ${info.name}`,
    `Driver name: ${info.driver}`,
    `Devargs: ${devargs}`,
    'Connect to socket: 0',
    `Link status: ${link.up ? 'up' : 'down'}`,
    `Link speed: ${linkSpeed(link)}`,
    `Link duplex: ${link.duplex}-duplex`,
    `Autoneg status: ${link.autoneg ? 'On' : 'Off'}`,
    `MTU: ${mtu}`,
    `Promiscuous mode: ${promiscuous ? 'enabled' : 'disabled'}`,
    'Maximum number of MAC addresses: 1',
    'VLAN offload: ',
    `  strip ${onOff(rxOffloads.includes('VLAN_STRIP'))}, filter off, extend off, qinq strip ${onOff(rxOffloads.includes('QINQ_STRIP'))}`,
    `RX offload capabilities: ${info.rxOffloadCapabilities.join(' ') || 'none'}`,
    `TX offload capabilities: ${info.txOffloadCapabilities.join(' ') || 'none'}`,
  ];
  for (const [label, limits, current, most] of [
    ['R', info.rxDescriptors, info.rxQueueCount, info.maxRxQueues],
    ['T', info.txDescriptors, info.txQueueCount, info.maxTxQueues],
  ] as const) {
    lines.push(
      `Current number of ${label}X queues: ${current}`,
      `Max possible ${label}X queues: ${most}`,
      `Max possible number of ${label}XDs per queue: ${limits.max}`,
      `Min possible number of ${label}XDs per queue: ${limits.min}`,
      `${label}XDs number alignment: ${limits.align}${limits.powerOfTwo ? ', a power of two' : ''}`,
    );
  }
  if (coalescing !== undefined) {
    const policies = [...new Set(coalescing.map(coalescingText))];
    lines.push(
      `Interrupt coalescing: ${policies.length === 1 ? policies[0] : 'not the same on all queues, see show (rxq|txq) info'}`,
    );
  }
  for (const [key, value] of Object.entries(info.driverInfo)) lines.push(`${key}: ${value}`);
  return lines.join('\n');
}

/** `10 Gbps`, `None` without a link, as rte_eth_link_speed_to_str. */
export function linkSpeed(link: LinkStatus): string {
  if (link.speedMbps === 0) return link.up ? 'Unknown' : 'None';
  return link.speedMbps % 1000 === 0 ? `${link.speedMbps / 1000} Gbps` : `${link.speedMbps} Mbps`;
}

/** `show port summary`. */
export function portSummary(rows: readonly { info: PortInfo; link: LinkStatus }[], portCount: number): string {
  const lines = [
    `Number of available ports: ${portCount}`,
    'Port MAC Address       Name         Driver         Status   Link',
  ];
  for (const { info, link } of rows) {
    lines.push(
      `${left(info.portId, 4)} ${info.macAddress.toUpperCase().padEnd(17)} ${info.name.padEnd(12)} ${info.driver.padEnd(14)} ` +
        `${(link.up ? 'up' : 'down').padEnd(8)} ${linkSpeed(link)}`,
    );
  }
  return lines.join('\n');
}

/** One port's share of the forwarding. */
export interface ForwardCounts {
  readonly rxPackets: number;
  readonly rxDropped: number;
  readonly txPackets: number;
  readonly txDropped: number;
  /** csum: packets with a bad IP or L4 checksum. */
  readonly badIpCksum?: number;
  readonly badL4Cksum?: number;
}

/** One stream: an rx queue and where its packets go. The l2 engine has no one tx port. */
export interface StreamCounts {
  readonly rxPort: number;
  readonly rxQueue: number;
  readonly txPort: number;
  readonly txQueue: number;
  readonly rxPackets: number;
  readonly txPackets: number;
  readonly txDropped: number;
  readonly badIpCksum?: number;
  readonly badL4Cksum?: number;
}

/**
 * The statistics that `stop` and `show fwd stats all` print: streams that moved something (where a port has several), ports,
 * the sum. `csum` adds that engine's counters.
 */
export function forwardStats(
  ports: readonly (ForwardCounts & { readonly portId: number })[],
  streams: readonly StreamCounts[] = [],
  csum = false,
): string {
  const blocks: string[] = [];
  if (streams.length > ports.length) {
    const busy = streams.filter((s) => s.rxPackets + s.txPackets + s.txDropped > 0);
    blocks.push(...busy.map((stream) => streamBlock(stream, csum)));
  }
  for (const port of ports) {
    blocks.push(
      `
  ${'-'.repeat(22)} Forward statistics for port ${left(port.portId, 2)} ${'-'.repeat(22)}
${counts(port, csum)}
  ${'-'.repeat(76)}`,
    );
  }
  const sum = ports.reduce<ForwardCounts>(
    (a, b) => ({
      rxPackets: a.rxPackets + b.rxPackets,
      rxDropped: a.rxDropped + b.rxDropped,
      txPackets: a.txPackets + b.txPackets,
      txDropped: a.txDropped + b.txDropped,
    }),
    { rxPackets: 0, rxDropped: 0, txPackets: 0, txDropped: 0 },
  );
  blocks.push(
    `
  ${'+'.repeat(15)} Accumulated forward statistics for all ports${'+'.repeat(15)}
${counts(sum)}
  ${'+'.repeat(76)}`,
  );
  return blocks.join('\n');
}

function counts(c: ForwardCounts, csum = false): string {
  const bad = csum
    ? `
  Bad-ipcsum: ${left(c.badIpCksum ?? 0, 14)} Bad-l4csum: ${left(c.badL4Cksum ?? 0, 14)}Bad-outer-l4csum: ${left(0, 14)}
  Bad-outer-ipcsum: ${left(0, 14)}`
    : '';
  return `  RX-packets: ${left(c.rxPackets, 14)} RX-dropped: ${left(c.rxDropped, 13)} RX-total: ${c.rxPackets + c.rxDropped}${bad}
  TX-packets: ${left(c.txPackets, 14)} TX-dropped: ${left(c.txDropped, 13)} TX-total: ${c.txPackets + c.txDropped}`;
}

function streamBlock(s: StreamCounts, csum: boolean): string {
  const route = `RX Port=${right(s.rxPort, 2)}/Queue=${right(s.rxQueue, 2)} -> TX Port=${right(s.txPort, 2)}/Queue=${right(s.txQueue, 2)}`;
  return `
  ------- Forward Stats for ${route} -------
  RX-packets: ${left(s.rxPackets, 14)} TX-packets: ${left(s.txPackets, 14)} TX-dropped: ${left(s.txDropped, 14)}${csum ? badChecksums(s) : ''}`;
}

/** csum's counters of a stream. Outer headers are those of tunnels, which are not looked into. */
function badChecksums({ badIpCksum = 0, badL4Cksum = 0 }: StreamCounts): string {
  return (
    `  RX- bad IP checksum: ${left(badIpCksum, 14)}  Rx- bad L4 checksum: ${left(badL4Cksum, 14)}` +
    ` Rx- bad outer L4 checksum: ${left(0, 14)}\n RX- bad outer IP checksum: ${left(0, 14)}`
  );
}

/** What an lcore polls, for `show config fwd` and `start`. */
export interface ForwardingPlan {
  readonly mode: string;
  readonly portCount: number;
  readonly lcores: readonly {
    readonly id: number;
    readonly streams: readonly { rxPort: number; rxQueue: number; txPort: number; txQueue: number; peer: string }[];
  }[];
}

/** The description of streams by lcore. The l2 engine chooses the tx port of each packet, so its lines name none. */
export function forwardingConfig({ mode, portCount, lcores }: ForwardingPlan): string {
  const streamCount = lcores.reduce((sum, lcore) => sum + lcore.streams.length, 0);
  const lines = [
    `${mode} packet forwarding - ports=${portCount} - cores=${lcores.length} - streams=${streamCount} - NUMA support disabled, MP allocation mode: native`,
  ];
  for (const { id, streams } of lcores) {
    lines.push(`Logical Core ${id} (socket 0) forwards packets on ${streams.length} streams:`);
    for (const s of streams) {
      const to =
        mode === 'l2'
          ? 'the port of its MAC address'
          : `TX P=${s.txPort}/Q=${s.txQueue} (socket 0) peer=${s.peer.toUpperCase()}`;
      lines.push(`  RX P=${s.rxPort}/Q=${s.rxQueue} (socket 0) -> ${to}`);
    }
  }
  return lines.join('\n');
}

/** What `show config rxtx` and `start` say of queues. */
export interface RxTxPlan {
  readonly mode: string;
  readonly burst: number;
  readonly lcoreCount: number;
  /** Lengths of the segments of a generated packet, for txonly. */
  readonly txPackets: readonly number[];
  readonly ports: readonly {
    portId: number;
    /** Masks, as configured. */
    rxOffloads: number;
    txOffloads: number;
    rxQueues: readonly QueuePlan[];
    txQueues: readonly QueuePlan[];
  }[];
}

export interface QueuePlan {
  readonly descriptorCount: number;
  /** Mask, the whole port's included. */
  readonly offloads: number;
}

export function rxtxConfig({ mode, burst, lcoreCount, txPackets, ports }: RxTxPlan): string {
  const lines = [`  ${mode} packet forwarding packets/burst=${burst}`];
  if (mode === 'txonly' || mode === 'flowgen') {
    const total = txPackets.reduce((sum, length) => sum + length, 0);
    lines.push(`  packet len=${total} - nb packet segments=${txPackets.length}`);
  }
  lines.push(`  nb forwarding cores=${lcoreCount} - nb forwarding ports=${ports.length}`);
  const hex = (mask: number): string => `0x${mask.toString(16)}`;
  for (const { portId, rxOffloads, txOffloads, rxQueues, txQueues } of ports) {
    lines.push(
      `  port ${portId}: RX queue number: ${rxQueues.length} Tx queue number: ${txQueues.length}`,
      `    Rx offloads=${hex(rxOffloads)} Tx offloads=${hex(txOffloads)}`,
    );
    for (const [queue, { descriptorCount, offloads }] of rxQueues.entries()) {
      lines.push(`    RX queue: ${queue}`, `      RX desc=${descriptorCount}`, `      RX Offloads=${hex(offloads)}`);
    }
    for (const [queue, { descriptorCount, offloads }] of txQueues.entries()) {
      lines.push(`    TX queue: ${queue}`, `      TX desc=${descriptorCount}`, `      TX offloads=${hex(offloads)}`);
    }
  }
  return lines.join('\n');
}

/** `show config txpkts`. */
export function txPacketsConfig(lengths: readonly number[]): string {
  return `Number of segments: ${lengths.length}\nSegment sizes: ${lengths.join(',')}\nSplit packet: off`;
}

/** DPDK's answer to a port that isn't there. */
export function invalidPort(portId: number, valid: readonly number[]): string {
  return `Invalid port ${portId}\nThe valid ports array is [ ${valid.map((id) => `${id} `).join('')}]`;
}
