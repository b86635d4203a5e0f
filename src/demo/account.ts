/** The demo's book-keeping: every frame that a guest sent is verified at the other one, or in a drop counter. */
import type { PortStats, Xstat } from '../index.js';
import type { GuestCounters } from './counters.js';

/** Counters of both ends of one guest's card. */
export interface CardCounters {
  readonly front: readonly Xstat[];
  readonly back: readonly Xstat[];
  readonly backStats: PortStats;
}

export interface Side {
  readonly name: string;
  readonly guest: GuestCounters;
  readonly card: CardCounters;
}

/** Frames that were lost in one place for one cause. */
export interface Loss {
  readonly where: string;
  readonly cause: string;
  readonly frames: number;
}

/** One direction, from the guest that sent to the guest that received. */
export interface Direction {
  readonly name: string;
  readonly sent: number;
  readonly received: number;
  readonly verified: number;
  readonly altered: number;
  readonly disordered: number;
  /** Sent and not received. */
  readonly lost: number;
  /** Gaps in the sequence that the receiver saw: all of `lost` but what was lost after the last frame that arrived. */
  readonly missing: number;
  readonly losses: readonly Loss[];
  /** Sum of the losses. */
  readonly dropped: number;
}

/** Follows the frames of `from` to `to`: guest's card, switch's rx queue, switch, switch's tx queue, guest's card. */
export function account(from: Side, to: Side): Direction {
  const losses: Loss[] = [];
  const note = (where: string, cause: string, frames: number): void => {
    if (frames !== 0) losses.push({ where, cause, frames });
  };
  for (const [cause, frames] of drops(from.card.front, 'tx')) note(`guest ${from.name}`, cause, frames);
  for (const [cause, frames] of drops(from.card.back, 'rx'))
    note(`switch, receiving from guest ${from.name}`, cause, frames);
  // Between the two queues: what the switch took in and did not hand on. A full ring is the usual cause.
  const full = value(to.card.back, 'tx_q0_full');
  const txDrops = drops(to.card.back, 'tx');
  const handedOn = to.card.backStats.opackets + txDrops.reduce((sum, [, frames]) => sum + frames, 0);
  note(`switch, sending to guest ${to.name}`, 'ring full', full);
  note('switch', 'filtered', from.card.backStats.ipackets - handedOn - full);
  for (const [cause, frames] of txDrops) note(`switch, sending to guest ${to.name}`, cause, frames);
  for (const [cause, frames] of drops(to.card.front, 'rx')) note(`guest ${to.name}`, cause, frames);
  const { received, verified, altered, missing, disordered } = to.guest;
  return {
    name: `${from.name} → ${to.name}`,
    sent: from.guest.sent,
    received,
    verified,
    altered,
    disordered,
    missing,
    lost: from.guest.sent - received,
    losses,
    dropped: losses.reduce((sum, loss) => sum + loss.frames, 0),
  };
}

/** What is wrong with a direction, in words; empty when every frame is accounted for. */
export function faults(d: Direction): string[] {
  const found: string[] = [];
  if (d.sent === 0 || d.verified === 0) found.push(`${d.name}: no frame got through`);
  if (d.altered > 0) found.push(`${d.name}: ${d.altered} frames arrived altered`);
  if (d.disordered > 0) found.push(`${d.name}: ${d.disordered} frames arrived twice or out of order`);
  if (d.lost !== d.dropped) found.push(`${d.name}: ${d.lost} frames were lost, but ${d.dropped} are in drop counters`);
  if (d.missing > d.lost)
    found.push(`${d.name}: the sequence has gaps of ${d.missing} frames, but ${d.lost} were lost`);
  if (d.losses.some(({ frames }) => frames < 0)) found.push(`${d.name}: the switch sent more frames than it received`);
  return found;
}

/** Drops of one direction of queue 0 by cause. */
function drops(xstats: readonly Xstat[], direction: 'rx' | 'tx'): [cause: string, frames: number][] {
  const prefix = `${direction}_q0_drop_`;
  return xstats
    .filter(({ name, value: frames }) => name.startsWith(prefix) && frames > 0)
    .map(({ name, value: frames }) => [name.slice(prefix.length).replaceAll('_', ' '), frames]);
}

function value(xstats: readonly Xstat[], wanted: string): number {
  return xstats.find(({ name }) => name === wanted)?.value ?? 0;
}
