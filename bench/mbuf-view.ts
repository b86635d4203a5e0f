/** A packet function's share of the work in TypeScript: MbufView over 32 packets of 64 bytes. */
import { Burst } from '../src/burst.js';
import { Eal } from '../src/eal/eal.js';
import { MbufView } from '../src/mbuf.js';
import { Mempool } from '../src/mempool.js';
import type { BenchRow } from './report.js';

const COUNT = 32;
const eal = await Eal.init({ memoryMiB: 32 });
const pool = Mempool.createPktmbuf(eal, { name: 'bench', count: 1024 });
const burst = Burst.create(eal, COUNT);
pool.allocBulk(burst, COUNT);
const { handles } = burst;
const m = new MbufView(eal);
for (const handle of handles) m.at(handle).append(64);

export const rows: readonly BenchRow[] = [
  {
    name: 'at, swapMacs',
    packetsPerIteration: COUNT,
    mark: '3.3 ns: a bare swap over shared memory, DESIGN 1 and issue 2',
    fn: () => {
      for (let i = 0; i < COUNT; i++) m.at(handles[i]!).swapMacs();
    },
  },
  {
    name: 'at, u16(12)',
    packetsPerIteration: COUNT,
    fn: () => {
      let sum = 0;
      for (let i = 0; i < COUNT; i++) sum += m.at(handles[i]!).u16(12);
      return sum;
    },
  },
  {
    name: 'at, u16(12), u8(23), u32(26), u32(30)',
    packetsPerIteration: COUNT,
    fn: () => {
      let sum = 0;
      for (let i = 0; i < COUNT; i++) {
        m.at(handles[i]!);
        sum += m.u16(12) + m.u8(23) + (m.u32(26) ^ m.u32(30));
      }
      return sum;
    },
  },
  {
    name: 'at, setU16(12)',
    packetsPerIteration: COUNT,
    fn: () => {
      for (let i = 0; i < COUNT; i++) m.at(handles[i]!).setU16(12, 0x0800);
    },
  },
];

export const close = () => eal.cleanup();
