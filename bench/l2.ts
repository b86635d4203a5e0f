/** The switch's MAC table: lookups and learning, called from JavaScript one by one (that is 2-4 ns of each figure). */
import { Eal } from '../src/eal/eal.js';
import { MacTable } from '../src/forward/mac-table.js';
import type { BenchRow } from './report.js';

const STATIONS = 1024;

const eal = await Eal.init({ memoryMiB: 16 });
const table = new MacTable(eal, { tableSize: 4096, ageingMs: 300_000, quota: 4096 });
const { switchLookup, switchLearn } = eal.wasm;
const { u8 } = eal.memory;

/** Addresses of 8 bytes that hold a MAC each. */
const known = macs(0x02);
const unknown = macs(0x06);
for (let i = 0; i < STATIONS; i++) switchLearn(table.address, known + i * 8, i & 3, 0);

function macs(first: number): number {
  const { address } = eal.memzones.reserve(`macs ${first}`, STATIONS * 8);
  for (let i = 0; i < STATIONS; i++) u8.set([first, 0, 0, 0, i >> 8, i & 0xff], address + i * 8);
  return address;
}

function row(name: string, fn: (mac: number) => void, first: number): BenchRow {
  return {
    name,
    packetsPerIteration: STATIONS,
    fn: () => {
      for (let i = 0; i < STATIONS; i++) fn(first + i * 8);
    },
  };
}

let now = 0;
export const rows: readonly BenchRow[] = [
  row('lookup, known', (mac) => switchLookup(table.address, mac, 0), known),
  row('lookup, unknown', (mac) => switchLookup(table.address, mac, 0), unknown),
  row('learn, known', (mac) => switchLearn(table.address, mac, 0, 0), known),
  row('learn, known, another millisecond', (mac) => switchLearn(table.address, mac, 0, now++ & 0xffff), known),
  row('learn, moved each time', (mac) => switchLearn(table.address, mac, now++ & 3, 0), known),
];

export const close = () => eal.cleanup();
