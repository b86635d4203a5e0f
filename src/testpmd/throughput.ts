import type { PortStats } from '../index.js';
import type { Throughput } from './format.js';

interface Sample {
  readonly atNs: bigint;
  readonly stats: PortStats;
}

/** Rates "since last show": remembers each port's counters at the last call, as testpmd's nic_stats_display does. */
export class ThroughputMeter {
  readonly #last = new Map<number, Sample>();

  /** Rates since the last call for this port; 0 at the first, and where a counter went back (it was cleared). */
  measure(portId: number, stats: PortStats, atNs: bigint = process.hrtime.bigint()): Throughput {
    const before = this.#last.get(portId);
    this.#last.set(portId, { atNs, stats });
    if (before === undefined || atNs <= before.atNs) return { rxPps: 0, rxBps: 0, txPps: 0, txBps: 0 };
    const seconds = Number(atNs - before.atNs) / 1e9;
    const rate = (now: number, then: number): number => (now > then ? Math.floor((now - then) / seconds) : 0);
    return {
      rxPps: rate(stats.ipackets, before.stats.ipackets),
      rxBps: rate(stats.ibytes * 8, before.stats.ibytes * 8),
      txPps: rate(stats.opackets, before.stats.opackets),
      txBps: rate(stats.obytes * 8, before.stats.obytes * 8),
    };
  }

  /** The counters were set to 0: the next rates count from there. */
  cleared(portId: number, stats: PortStats, atNs: bigint = process.hrtime.bigint()): void {
    if (this.#last.has(portId)) this.#last.set(portId, { atNs, stats });
  }
}
