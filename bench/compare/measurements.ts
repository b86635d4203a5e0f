/** What `npm run bench:qemu` measures between two guests, from the first one's shell. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { QemuGuest } from '../../test/support/qemu.js';

export interface Measurement {
  readonly key: string;
  readonly title: string;
  readonly unit: string;
  readonly digits: number;
  /** Less is better. */
  readonly less?: boolean;
  measure(a: QemuGuest, seconds: number): Promise<number>;
}

export const ADDRESS_A = '10.9.0.1';
export const ADDRESS_B = '10.9.0.2';
/** What iperf3 leaves out at the beginning. */
const WARM_UP_S = 1;
const PINGS_PER_S = 20;
const SETTLE_MS = 500;

/** One iperf3 run to b; its line of the receiving side. */
async function iperf(a: QemuGuest, seconds: number, options: string): Promise<string> {
  const line = `iperf3 -c ${ADDRESS_B} -t ${seconds} -O ${WARM_UP_S} -i 0 -f k ${options}`;
  const output = await a.must(line, { timeoutMs: (seconds + WARM_UP_S) * 1000 + 60_000 });
  const found = /^.*\breceiver\b/m.exec(output);
  if (found === null) throw new Error(`iperf3 says nothing of the receiver:\n${output}`);
  return found[0];
}

async function throughput(a: QemuGuest, seconds: number): Promise<number> {
  const line = await iperf(a, seconds, '');
  return Number(/([\d.]+) Kbits\/sec/.exec(line)?.[1]) / 1000;
}

export const MEASUREMENTS: readonly Measurement[] = [
  { key: 'tcpTso', title: 'TCP, TSO on', unit: 'Mbit/s', digits: 0, measure: throughput },
  {
    key: 'tcpNoTso',
    title: 'TCP, TSO off',
    unit: 'Mbit/s',
    digits: 0,
    async measure(a, seconds) {
      await a.must('ethtool -K eth0 tso off');
      const rate = await throughput(a, seconds);
      await a.must('ethtool -K eth0 tso on');
      return rate;
    },
  },
  {
    key: 'udp64',
    title: 'UDP, 64 B payload, received',
    unit: 'kpps',
    digits: 1,
    async measure(a, seconds) {
      const line = await iperf(a, seconds, '-u -l 64 -b 0');
      const found = /-([\d.]+)\s+sec.*\s(\d+)\/(\d+) \(/.exec(line);
      if (found === null) throw new Error(`iperf3's line is not understood: ${line}`);
      const [time, lost, all] = found.slice(1).map(Number) as [number, number, number];
      return (all - lost) / time / 1000;
    },
  },
  {
    key: 'rtt',
    title: 'round trip, ping median',
    unit: 'us',
    digits: 0,
    less: true,
    async measure(a, seconds) {
      const count = Math.max(20, Math.round(seconds * PINGS_PER_S));
      // the backlog of what was measured before must be gone
      await sleep(SETTLE_MS);
      const line = `ping -c ${count} -i ${1 / PINGS_PER_S} ${ADDRESS_B} | sed -n 's/.*time=//p'`;
      const output = await a.must(line, { timeoutMs: seconds * 1000 + 60_000 });
      const times = output.split('\n').map(Number.parseFloat).filter(Number.isFinite);
      if (times.length < count / 2) throw new Error(`${times.length} of ${count} pings came back`);
      return median(times) * 1000;
    },
  },
];

/** Median of the finite values; NaN if there is none. */
export function median(values: readonly number[]): number {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  if (sorted.length === 0) return Number.NaN;
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
