/**
 * Statistics of a port: what its queues counted since the last reset. The lcores own the counters and nobody else writes
 * them, so a reset takes a snapshot and later readings subtract it (rte_eth_stats_reset on a NIC without clear-on-read).
 */
import {
  DROP_COUNT,
  DROP_NO_MBUF,
  QUEUE_BURSTS,
  QUEUE_BYTES,
  QUEUE_DROPS,
  QUEUE_FULL,
  QUEUE_NO_MBUF,
  QUEUE_NOTIFIED,
  QUEUE_PACKETS,
  QUEUE_SUPPRESSED,
} from '../../assembly/layout.js';
import type { HostMemory } from '../eal/memory.js';
import { dropCauses } from './causes.js';
import type { PortStats, Xstat } from './types.js';

/** Counters of one queue. */
interface QueueCounters {
  packets: number;
  bytes: number;
  notified: number;
  suppressed: number;
  bursts: number;
  full: number;
  noMbuf: number;
  readonly drops: number[];
}

const fields = {
  packets: QUEUE_PACKETS,
  bytes: QUEUE_BYTES,
  notified: QUEUE_NOTIFIED,
  suppressed: QUEUE_SUPPRESSED,
  bursts: QUEUE_BURSTS,
  full: QUEUE_FULL,
  noMbuf: QUEUE_NO_MBUF,
} as const;

/**
 * A u64 counter that another thread advances, as a number. The high word is read twice, so that a carry between the two
 * words never shows as a jump of 2^32.
 */
export function readLiveCounter(memory: HostMemory, address: number): number {
  const low = address >>> 2;
  for (;;) {
    const high = memory.u32[low + 1]!;
    const value = Atomics.load(memory.u32, low);
    if (Atomics.load(memory.u32, low + 1) === high) return high * 0x1_0000_0000 + value;
  }
}

function readQueue(memory: HostMemory, queue: number): QueueCounters {
  const drops: number[] = [];
  for (let cause = 0; cause < DROP_COUNT; cause++) drops.push(readLiveCounter(memory, queue + QUEUE_DROPS + cause * 8));
  const counters: Partial<QueueCounters> = { drops };
  for (const key of Object.keys(fields) as (keyof typeof fields)[]) {
    counters[key] = readLiveCounter(memory, queue + fields[key]);
  }
  return counters as QueueCounters;
}

function subtract(now: QueueCounters, before: QueueCounters | undefined): QueueCounters {
  if (before === undefined) return now;
  for (const key of Object.keys(fields) as (keyof typeof fields)[]) now[key] -= before[key];
  for (let cause = 0; cause < DROP_COUNT; cause++) now.drops[cause]! -= before.drops[cause]!;
  return now;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** The statistics of one port's queues. `rx` and `tx` are the addresses of all its queue records. */
export class StatsReader {
  readonly #memory: HostMemory;
  readonly #rx: readonly number[];
  readonly #tx: readonly number[];
  readonly #snapshots = new Map<number, QueueCounters>();

  constructor(memory: HostMemory, rx: readonly number[], tx: readonly number[]) {
    this.#memory = memory;
    this.#rx = rx;
    this.#tx = tx;
  }

  /** From now on everything counts from zero. */
  reset(): void {
    for (const queue of [...this.#rx, ...this.#tx]) this.#snapshots.set(queue, readQueue(this.#memory, queue));
  }

  #read(queues: readonly number[]): QueueCounters[] {
    return queues.map((queue) => subtract(readQueue(this.#memory, queue), this.#snapshots.get(queue)));
  }

  /** rte_eth_stats_get. Totals are over every queue of the port, also those of an earlier configuration. */
  stats(rxCount: number, txCount: number): PortStats {
    const rx = this.#read(this.#rx);
    const tx = this.#read(this.#tx);
    const lost = sum(rx.map((queue) => queue.drops[DROP_NO_MBUF]!));
    return {
      ipackets: sum(rx.map((queue) => queue.packets)),
      opackets: sum(tx.map((queue) => queue.packets)),
      ibytes: sum(rx.map((queue) => queue.bytes)),
      obytes: sum(tx.map((queue) => queue.bytes)),
      // No driver of ours loses packets behind our back: a full ring holds its sender up.
      imissed: 0,
      ierrors: sum(rx.map((queue) => sum(queue.drops))) - lost,
      oerrors: sum(tx.map((queue) => sum(queue.drops))),
      // packets lost, and bursts that had to leave theirs in the ring
      rxNombuf: lost + sum(rx.map((queue) => queue.noMbuf)),
      queueIpackets: rx.slice(0, rxCount).map((queue) => queue.packets),
      queueOpackets: tx.slice(0, txCount).map((queue) => queue.packets),
      queueIbytes: rx.slice(0, rxCount).map((queue) => queue.bytes),
      queueObytes: tx.slice(0, txCount).map((queue) => queue.bytes),
      queueErrors: rx.slice(0, rxCount).map((queue) => sum(queue.drops)),
    };
  }

  /** rte_eth_xstats_get: DPDK's names first, in DPDK's order, then ours. */
  xstats(rxCount: number, txCount: number): Xstat[] {
    const total = this.stats(rxCount, txCount);
    const list: Xstat[] = [
      { name: 'rx_good_packets', value: total.ipackets },
      { name: 'tx_good_packets', value: total.opackets },
      { name: 'rx_good_bytes', value: total.ibytes },
      { name: 'tx_good_bytes', value: total.obytes },
      { name: 'rx_missed_errors', value: total.imissed },
      { name: 'rx_errors', value: total.ierrors },
      { name: 'tx_errors', value: total.oerrors },
      { name: 'rx_mbuf_allocation_errors', value: total.rxNombuf },
    ];
    const rx = this.#read(this.#rx.slice(0, rxCount));
    const tx = this.#read(this.#tx.slice(0, txCount));
    rx.forEach((queue, id) => {
      list.push({ name: `rx_q${id}_packets`, value: queue.packets });
      list.push({ name: `rx_q${id}_bytes`, value: queue.bytes });
      list.push({ name: `rx_q${id}_errors`, value: sum(queue.drops) });
    });
    tx.forEach((queue, id) => {
      list.push({ name: `tx_q${id}_packets`, value: queue.packets });
      list.push({ name: `tx_q${id}_bytes`, value: queue.bytes });
    });
    rx.forEach((queue, id) => {
      pushOwn(list, `rx_q${id}`, queue);
    });
    tx.forEach((queue, id) => {
      pushOwn(list, `tx_q${id}`, queue);
      list.push({ name: `tx_q${id}_full`, value: queue.full });
    });
    return list;
  }
}

function pushOwn(list: Xstat[], prefix: string, queue: QueueCounters): void {
  list.push({ name: `${prefix}_bursts`, value: queue.bursts });
  list.push({ name: `${prefix}_notifications_sent`, value: queue.notified });
  list.push({ name: `${prefix}_notifications_suppressed`, value: queue.suppressed });
  dropCauses.forEach((cause, index) => {
    list.push({ name: `${prefix}_drop_${cause}`, value: queue.drops[index]! });
  });
}
