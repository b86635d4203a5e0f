/** What a guest does to its queues (`ethtool -L`), as lines for people: `queue pair 1 disabled`. */
import type { Port, QueueState } from '../index.js';

/** A guest that changes its queue pairs sends a message for each ring: what comes within this time is told together. */
const GATHER_MS = 50;

/** What is needed of a Port. */
export type WatchedPort = Pick<Port, 'on' | 'state' | 'link' | 'info'>;

/**
 * Tells of queues that the port's guest enables and disables, those of a moment in one line for each state, and at once of a
 * queue that stopped itself. All queues of a link that goes down are told of by the link, and so is the only pair of a port.
 */
export function tellQueueStates(port: WatchedPort, tell: (text: string, stopped: boolean) => void): void {
  const told = new Map<string, boolean>();
  const pending = new Map<string, QueueState>();
  const keyOf = ({ direction, queue }: QueueState): string => `${direction}${queue}`;

  const flush = (): void => {
    const changed = [...pending.values()].filter((state) => told.get(keyOf(state)) !== state.enabled);
    for (const state of changed) told.set(keyOf(state), state.enabled);
    pending.clear();
    if (port.state === 'closed' || port.state === 'removed') return;
    if (!port.link().up || port.info().rxQueueCount === 1) return;
    for (const line of queueStateLines(changed)) tell(line, false);
  };
  port.on('queueState', (state) => {
    if (state.cause !== undefined) {
      told.set(keyOf(state), false);
      tell(`${state.direction} queue ${state.queue} stopped: ${state.cause}`, true);
      return;
    }
    if (pending.size === 0) setTimeout(flush, GATHER_MS).unref();
    pending.set(keyOf(state), state);
  });
}

/** `queue pairs 0-2 enabled`, `rx queue 3 disabled`: at most a line for each state and for pairs, rx and tx alone. */
export function queueStateLines(states: readonly QueueState[]): string[] {
  return [true, false].flatMap((enabled) => {
    const queues = (direction: 'rx' | 'tx'): number[] =>
      states.filter((state) => state.direction === direction && state.enabled === enabled).map(({ queue }) => queue);
    const [rx, tx] = [queues('rx'), queues('tx')];
    const groups: readonly (readonly [what: string, queues: readonly number[]])[] = [
      ['queue pair', rx.filter((queue) => tx.includes(queue))],
      ['rx queue', rx.filter((queue) => !tx.includes(queue))],
      ['tx queue', tx.filter((queue) => !rx.includes(queue))],
    ];
    return groups
      .filter(([, list]) => list.length > 0)
      .map(
        ([what, list]) => `${what}${list.length > 1 ? 's' : ''} ${ranges(list)} ${enabled ? 'enabled' : 'disabled'}`,
      );
  });
}

/** `0-3,5` */
function ranges(numbers: readonly number[]): string {
  const parts: [first: number, last: number][] = [];
  for (const n of [...numbers].sort((a, b) => a - b)) {
    const part = parts.at(-1);
    if (part !== undefined && part[1] === n - 1) part[1] = n;
    else parts.push([n, n]);
  }
  return parts.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
}
