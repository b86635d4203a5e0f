import { grouped, si } from '../cli/numbers.js';
import { columns, type Screen } from '../cli/screen.js';
import type { LinkStatus, PortStats, Xstat } from '../index.js';

/** What the switch program shows of a port. */
export interface PortView {
  readonly id: number;
  readonly name: string;
  /** Socket, wire or whatever tells people which port it is. */
  readonly target: string;
  readonly link: LinkStatus;
  /** Queue pairs that the port has, and those that its guest uses now. */
  readonly queuePairs: number;
  readonly activePairs: number;
  readonly stats: PortStats;
  readonly xstats: readonly Xstat[];
  /** Stations learned there. */
  readonly stations: number;
}

/** Packets that a port lost, by cause: drops of its queues, and what a full ring did not take. */
export function portDrops(xstats: readonly Xstat[]): { cause: string; packets: number }[] {
  const byCause = new Map<string, number>();
  for (const { name, value } of xstats) {
    const found = /^(rx|tx)_q\d+_(?:drop_(\w+)|(full))$/.exec(name);
    if (found === null || value === 0) continue;
    const cause = `${found[1]} ${found[3] === undefined ? found[2]!.replaceAll('_', ' ') : 'ring full'}`;
    byCause.set(cause, (byCause.get(cause) ?? 0) + value);
  }
  return [...byCause].map(([cause, packets]) => ({ cause, packets }));
}

/**
 * What tells how offloads do: frames longer than an Ethernet frame, which cross the switch uncut, and packets that were lost
 * because of what was asked for them. One line for each port that has any.
 */
export function offloadLines(views: readonly PortView[]): string[] {
  return views.flatMap(({ id, xstats }) => {
    const large = (direction: string): number =>
      sumOf(xstats, new RegExp(`^${direction}_q\\d+_size_1519_max_packets$`));
    const parts = [
      { what: 'large frames rx', packets: large('rx') },
      { what: 'large frames tx', packets: large('tx') },
      { what: 'dropped for an offload that is wrong', packets: sumOf(xstats, /_q\d+_drop_offload$/) },
      { what: 'dropped for a feature that was not negotiated', packets: sumOf(xstats, /_q\d+_drop_feature$/) },
    ].filter(({ packets }) => packets > 0);
    if (parts.length === 0) return [];
    return [`  port ${id}: ${parts.map(({ what, packets }) => `${what} ${grouped(packets)}`).join(', ')}`];
  });
}

function sumOf(xstats: readonly Xstat[], names: RegExp): number {
  return xstats.reduce((sum, { name, value }) => (names.test(name) ? sum + value : sum), 0);
}

/** Rates of all ports since `before`: the status lines and the --stats table. */
export function rateTable(
  screen: Screen,
  now: readonly PortView[],
  before: readonly PortView[],
  seconds: number,
): string[] {
  const rows = [['port', 'link', 'queues', 'rx', '', 'tx', '', 'dropped', 'MACs'].map((cell) => screen.dim(cell))];
  for (const view of now) {
    const old = before.find(({ id }) => id === view.id);
    const rate = (field: 'ipackets' | 'ibytes' | 'opackets' | 'obytes'): number =>
      Math.max(0, view.stats[field] - (old?.stats[field] ?? view.stats[field])) / seconds;
    const drops = portDrops(view.xstats).reduce((sum, { packets }) => sum + packets, 0);
    rows.push([
      `${view.id} ${view.target}`,
      view.link.up ? screen.green('up') : screen.red('down'),
      view.activePairs === view.queuePairs ? String(view.queuePairs) : `${view.activePairs} of ${view.queuePairs}`,
      si(Math.round(rate('ipackets')), 'pps'),
      si(Math.round(rate('ibytes') * 8), 'bit/s'),
      si(Math.round(rate('opackets')), 'pps'),
      si(Math.round(rate('obytes') * 8), 'bit/s'),
      drops === 0 ? '0' : screen.red(grouped(drops)),
      String(view.stations),
    ]);
  }
  return columns(rows);
}

/** What the switch as a whole did, for the totals. */
export interface SwitchTotals {
  readonly flooded: number;
  readonly filtered: number;
  readonly learned: number;
  readonly refused: number;
}

/** The totals at the end: every port's packets and bytes, and where packets were lost. */
export function totals(screen: Screen, views: readonly PortView[], l2: SwitchTotals): string[] {
  const rows = [
    ['port', 'rx packets', 'rx bytes', 'tx packets', 'tx bytes', 'dropped'].map((cell) => screen.dim(cell)),
  ];
  const drops: string[] = [];
  for (const view of views) {
    const { ipackets, ibytes, opackets, obytes } = view.stats;
    const lost = portDrops(view.xstats);
    const sum = lost.reduce((total, { packets }) => total + packets, 0);
    rows.push([`${view.id} ${view.target}`, ...[ipackets, ibytes, opackets, obytes, sum].map(grouped)]);
    for (const { cause, packets } of lost) drops.push(`  port ${view.id}: ${cause}: ${grouped(packets)} packets`);
  }
  const lines = [screen.bold('Totals'), ...columns(rows)];
  lines.push(
    `stations learned ${grouped(l2.learned)}, refused ${grouped(l2.refused)}; packets flooded ${grouped(l2.flooded)}, filtered ${grouped(l2.filtered)}`,
  );
  lines.push(...offloadLines(views));
  lines.push(drops.length === 0 ? 'no packet was dropped' : 'dropped:', ...drops);
  return lines;
}
