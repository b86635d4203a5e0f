/**
 * Statistics of a port: what its queues counted since the last reset. The lcores own the counters and nobody else writes
 * them, so a reset takes a snapshot and later readings subtract it (rte_eth_stats_reset on a NIC without clear-on-read).
 */
import {
  BURST_BIN_COUNT,
  DROP_COUNT,
  DROP_NO_MBUF,
  PMD_VHOST,
  PMD_VIRTIO,
  QUEUE_BROADCAST,
  QUEUE_BURST_BINS,
  QUEUE_BURSTS,
  QUEUE_BYTES,
  QUEUE_DROPS,
  QUEUE_FULL,
  QUEUE_MULTICAST,
  QUEUE_NO_MBUF,
  QUEUE_NOTIFIED,
  QUEUE_NOTIFY_ERRORS,
  QUEUE_PACKETS,
  QUEUE_PMD,
  QUEUE_POSTPONED,
  QUEUE_SIZE_BINS,
  QUEUE_SLEEPS,
  QUEUE_SUPPRESSED,
  QUEUE_WAKEUPS,
  SIZE_BIN_COUNT,
} from '../../assembly/layout.js';
import type { HostMemory } from '../eal/memory.js';
import { dropCauses } from './causes.js';
import type { PortStats, Xstat } from './types.js';

/** Counters that stand alone in a queue's record. */
const fields = {
  packets: QUEUE_PACKETS,
  bytes: QUEUE_BYTES,
  multicast: QUEUE_MULTICAST,
  broadcast: QUEUE_BROADCAST,
  notified: QUEUE_NOTIFIED,
  suppressed: QUEUE_SUPPRESSED,
  postponed: QUEUE_POSTPONED,
  notifyErrors: QUEUE_NOTIFY_ERRORS,
  bursts: QUEUE_BURSTS,
  full: QUEUE_FULL,
  noMbuf: QUEUE_NO_MBUF,
  sleeps: QUEUE_SLEEPS,
  wakeups: QUEUE_WAKEUPS,
} as const;

/** Rows of them: address, length. */
const rows = {
  drops: [QUEUE_DROPS, DROP_COUNT],
  sizes: [QUEUE_SIZE_BINS, SIZE_BIN_COUNT],
  burstSizes: [QUEUE_BURST_BINS, BURST_BIN_COUNT],
} as const;

const fieldNames = Object.keys(fields) as (keyof typeof fields)[];
const rowNames = Object.keys(rows) as (keyof typeof rows)[];

/** Counters of one queue. */
type QueueCounters = Record<keyof typeof fields, number> & Record<keyof typeof rows, number[]> & { pmd: number };

/** DPDK's names of QUEUE_SIZE_BINS, in its order. */
const sizeNames = [
  'undersize_packets',
  'size_64_packets',
  'size_65_127_packets',
  'size_128_255_packets',
  'size_256_511_packets',
  'size_512_1023_packets',
  'size_1024_1518_packets',
  'size_1519_max_packets',
] as const;

/** QUEUE_BURST_BINS: `1`, `2_3`, `4_7`, ... `512_max`. */
const burstNames = Array.from({ length: BURST_BIN_COUNT }, (_, bin) =>
  bin === 0 ? '1' : bin === BURST_BIN_COUNT - 1 ? `${2 ** bin}_max` : `${2 ** bin}_${2 ** (bin + 1) - 1}`,
);

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
  const counters: Partial<QueueCounters> = { pmd: memory.u32[(queue + QUEUE_PMD) >>> 2]! };
  for (const key of fieldNames) counters[key] = readLiveCounter(memory, queue + fields[key]);
  for (const key of rowNames) {
    const [first, count] = rows[key];
    counters[key] = Array.from({ length: count }, (_, n) => readLiveCounter(memory, queue + first + n * 8));
  }
  return counters as QueueCounters;
}

function subtract(now: QueueCounters, before: QueueCounters | undefined): QueueCounters {
  if (before === undefined) return now;
  for (const key of fieldNames) now[key] -= before[key];
  for (const key of rowNames) now[key] = now[key].map((value, n) => value - before[key][n]!);
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
      pushDriver(list, `rx_q${id}`, queue);
    });
    tx.forEach((queue, id) => {
      pushDriver(list, `tx_q${id}`, queue);
    });
    rx.forEach((queue, id) => {
      pushOwn(list, `rx_q${id}`, queue);
      list.push({ name: `rx_q${id}_sleeps`, value: queue.sleeps });
      list.push({ name: `rx_q${id}_wakeups`, value: queue.wakeups });
    });
    tx.forEach((queue, id) => {
      pushOwn(list, `tx_q${id}`, queue);
      list.push({ name: `tx_q${id}_full`, value: queue.full });
    });
    return list;
  }
}

/**
 * What DPDK's drivers have of their own: 12 counters of net_virtio, and of net_vhost the 21 of its current releases (22.11 has
 * 17 of them: not the notifications that were left out or failed, not mbuf_alloc_failed). Always 0 here, because there is
 * no such thing: notifications sent by the kernel, an IOTLB, copies by a DMA engine.
 */
function pushDriver(list: Xstat[], prefix: string, queue: QueueCounters): void {
  if (queue.pmd !== PMD_VHOST && queue.pmd !== PMD_VIRTIO) return;
  const push = (name: string, value: number) => list.push({ name: `${prefix}_${name}`, value });
  push('good_packets', queue.packets);
  push('good_bytes', queue.bytes);
  push('multicast_packets', queue.multicast);
  push('broadcast_packets', queue.broadcast);
  sizeNames.forEach((name, bin) => {
    push(name, queue.sizes[bin]!);
  });
  if (queue.pmd !== PMD_VHOST) return;
  push('guest_notifications', queue.notified);
  push('guest_notifications_offloaded', 0);
  push('guest_notifications_error', queue.notifyErrors);
  push('guest_notifications_suppressed', queue.suppressed);
  push('iotlb_hits', 0);
  push('iotlb_misses', 0);
  push('inflight_submitted', 0);
  push('inflight_completed', 0);
  push('mbuf_alloc_failed', queue.noMbuf + queue.drops[DROP_NO_MBUF]!);
}

function pushOwn(list: Xstat[], prefix: string, queue: QueueCounters): void {
  const push = (name: string, value: number) => list.push({ name: `${prefix}_${name}`, value });
  push('bursts', queue.bursts);
  burstNames.forEach((name, bin) => {
    push(`bursts_${name}`, queue.burstSizes[bin]!);
  });
  if (queue.pmd === PMD_VHOST) {
    push('guest_notifications_postponed', queue.postponed);
  } else {
    push('notifications_sent', queue.notified);
    push('notifications_suppressed', queue.suppressed);
    push('notifications_error', queue.notifyErrors);
  }
  // under load a notification covers hundreds of packets: a whole number in thousands would be 0
  const ratio = queue.packets === 0 ? 0 : Math.round((queue.notified * 1_000_000) / queue.packets);
  push('notifications_per_million_packets', ratio);
  dropCauses.forEach((cause, index) => {
    push(`drop_${cause}`, queue.drops[index]!);
  });
}
