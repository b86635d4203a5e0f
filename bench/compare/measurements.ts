/** What `npm run bench:qemu` measures between two guests, from the first one's shell. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { QemuGuest } from '../../test/support/qemu.js';
import { median } from './median.js';

export interface Measurement {
  readonly key: string;
  readonly title: string;
  readonly unit: string;
  readonly digits: number;
  /** Less is better. */
  readonly less?: boolean;
  measure(a: QemuGuest, b: QemuGuest, seconds: number): Promise<number>;
}

export const ADDRESS_A = '10.9.0.1';
export const ADDRESS_B = '10.9.0.2';
/** What iperf3 leaves out at the beginning. */
const WARM_UP_S = 1;
const PINGS_PER_S = 20;
const SETTLE_MS = 500;
/** How long a command may take on top of what it measures. */
const PATIENCE_MS = 60_000;

/** TCP from a to b, in Mbit/s that b received. */
async function throughput(a: QemuGuest, _b: QemuGuest, seconds: number): Promise<number> {
  const line = `iperf3 -c ${ADDRESS_B} -t ${seconds} -O ${WARM_UP_S} -i 0 -f k`;
  const output = await a.must(line, { timeoutMs: (seconds + WARM_UP_S) * 1000 + PATIENCE_MS });
  const found = /([\d.]+) Kbits\/sec\s+receiver/.exec(output);
  if (found === null) throw new Error(`iperf3 says nothing of the receiver:\n${output}`);
  return Number(found[1]) / 1000;
}

/** Packets that b's driver has received, and the guest's clock in seconds at that moment. */
async function received(b: QemuGuest): Promise<{ readonly packets: number; readonly seconds: number }> {
  const output = await b.must('cat /proc/uptime /sys/class/net/eth0/statistics/rx_packets', { timeoutMs: PATIENCE_MS });
  const [seconds = 0, , packets = 0] = output.split(/\s+/).map(Number);
  return { packets, seconds };
}

export const MEASUREMENTS: readonly Measurement[] = [
  { key: 'tcpTso', title: 'TCP, TSO on', unit: 'Mbit/s', digits: 0, measure: throughput },
  {
    key: 'tcpNoTso',
    title: 'TCP, TSO off',
    unit: 'Mbit/s',
    digits: 0,
    async measure(a, b, seconds) {
      await a.must('ethtool -K eth0 tso off');
      const rate = await throughput(a, b, seconds);
      await a.must('ethtool -K eth0 tso on');
      return rate;
    },
  },
  {
    key: 'udp64',
    title: 'UDP, 64 B payload, arrived',
    unit: 'kpps',
    digits: 1,
    async measure(a, b, seconds) {
      // iperf3's own count of what was lost is off where -O leaves out the beginning: the receiver's driver knows.
      await a.must(`iperf3 -c ${ADDRESS_B} -u -l 64 -b 0 -t 3600 >/dev/null 2>&1 &`);
      await sleep(WARM_UP_S * 1000);
      const before = await received(b);
      await sleep(seconds * 1000);
      const after = await received(b);
      await a.must('killall -INT iperf3; wait; true', { timeoutMs: PATIENCE_MS });
      return (after.packets - before.packets) / (after.seconds - before.seconds) / 1000;
    },
  },
  {
    key: 'rtt',
    title: 'round trip, ping median',
    unit: 'us',
    digits: 0,
    less: true,
    async measure(a, _b, seconds) {
      const count = Math.max(20, Math.round(seconds * PINGS_PER_S));
      // the backlog of what was measured before must be gone
      await sleep(SETTLE_MS);
      const line = `ping -c ${count} -i ${1 / PINGS_PER_S} ${ADDRESS_B} | sed -n 's/.*time=//p'`;
      const output = await a.must(line, { timeoutMs: seconds * 1000 + PATIENCE_MS });
      const times = output.split('\n').map(Number.parseFloat).filter(Number.isFinite);
      if (times.length < count / 2) throw new Error(`${times.length} of ${count} pings came back`);
      return median(times) * 1000;
    },
  },
];
