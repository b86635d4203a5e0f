/**
 * rte_ring: objects in and out again on one thread, in the four modes. The calls from JavaScript into Wasm are part of
 * it.
 */
import { Burst } from '../src/burst.js';
import { Eal } from '../src/eal/eal.js';
import { Ring } from '../src/ring.js';
import type { BenchRow } from './report.js';

const eal = await Eal.init({ memoryMiB: 16 });
const burst = Burst.create(eal, 512);
const { ringEnqueueBulk, ringDequeueBulk } = eal.wasm;

const MODES = [
  { title: 'SP/SC', singleProducer: true, singleConsumer: true },
  { title: 'SP/MC', singleProducer: true, singleConsumer: false },
  { title: 'MP/SC', singleProducer: false, singleConsumer: true },
  { title: 'MP/MC', singleProducer: false, singleConsumer: false },
];

function inAndOut(mode: (typeof MODES)[number], count: number): BenchRow {
  const { address } = Ring.create(eal, { name: `${mode.title} ${count}`, count: 1023, ...mode });
  return {
    name: `${mode.title} ${count} in and out`,
    packetsPerIteration: count,
    fn: () => {
      ringEnqueueBulk(address, burst.address, count);
      ringDequeueBulk(address, burst.address, count);
    },
    ...(mode.title === 'SP/SC' && count === 32
      ? { mark: 'DPDK 22.11: about 16 ns a call on the machine of DESIGN 1' }
      : {}),
  };
}

const wrapped = Ring.create(eal, { name: 'wrapped', count: 1023, singleProducer: true, singleConsumer: true });

export const rows: readonly BenchRow[] = [
  ...MODES.map((mode) => inAndOut(mode, 32)),
  ...MODES.map((mode) => inAndOut(mode, 8)),
  {
    name: 'SP/SC 32 in and out, Ring class',
    packetsPerIteration: 32,
    fn: () => {
      wrapped.enqueueBulk(burst, 32);
      wrapped.dequeueBulk(burst, 32);
    },
  },
];

export const close = () => eal.cleanup();
