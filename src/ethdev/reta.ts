/**
 * A port's redirection table (RETA, rte_eth_dev_rss_reta_update): which tx queue, so which receive queue of its guest, a flow goes
 * on by its hash. Forwarding reads it (src/forward/steering.ts); a program of its own can, too.
 */
import { RETA_SIZE } from '../../assembly/layout.js';
import { ViaductError } from '../errors.js';

export class Reta {
  #entries: readonly number[] | undefined;

  /** Somebody has set it. */
  get isSet(): boolean {
    return this.#entries !== undefined;
  }

  /** RETA_SIZE queues; all in turn until somebody says otherwise. */
  table(queueCount: number): readonly number[] {
    return this.#entries ?? Array.from({ length: RETA_SIZE }, (_, i) => (queueCount === 0 ? 0 : i % queueCount));
  }

  /** Changes some entries, or none: ERR_INVALID_ARGUMENT for an entry or a queue that there isn't. */
  set(label: string, entries: Iterable<readonly [index: number, queue: number]>, queueCount: number): void {
    const table = [...this.table(queueCount)];
    for (const [index, queue] of entries) {
      check(label, 'entry', index, RETA_SIZE);
      check(label, 'tx queue', queue, queueCount);
      table[index] = queue;
    }
    this.#entries = table;
  }

  /** As it was at first. */
  reset(): void {
    this.#entries = undefined;
  }
}

function check(label: string, what: string, value: number, count: number): void {
  if (Number.isInteger(value) && value >= 0 && value < count) return;
  const has = count === 0 ? 'there is none' : `there are 0 to ${count - 1}`;
  throw new ViaductError('ERR_INVALID_ARGUMENT', `${label}: redirection table: no ${what} ${value}: ${has}`);
}
