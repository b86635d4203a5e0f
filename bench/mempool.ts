/** rte_mempool and rte_pktmbuf: get and put of 32, through an lcore's cache and past it. */
import { LCORE_ANY } from '../assembly/layout.js';
import { Burst } from '../src/burst.js';
import { Eal } from '../src/eal/eal.js';
import { Mempool } from '../src/mempool.js';
import type { BenchRow } from './report.js';

const COUNT = 32;
const eal = await Eal.init({ memoryMiB: 64 });
const burst = Burst.create(eal, COUNT);
const pool = Mempool.createPktmbuf(eal, { name: 'bench', count: 8191 });
const { mempoolGetBulk, mempoolPutBulk, mbufAllocBulk, mbufFreeBulk, mbufClone, mbufFree } = eal.wasm;
const lcoreId = eal.lcoreId;
const original = pool.alloc();

function getAndPut(lcoreId: number) {
  return () => {
    mempoolGetBulk(pool.address, lcoreId, burst.address, COUNT);
    mempoolPutBulk(pool.address, lcoreId, burst.address, COUNT);
  };
}

export const rows: readonly BenchRow[] = [
  { name: 'get and put 32, lcore cache', packetsPerIteration: COUNT, fn: getAndPut(lcoreId) },
  { name: 'get and put 32, common ring', packetsPerIteration: COUNT, fn: getAndPut(LCORE_ANY) },
  {
    name: 'mbuf get raw, free bulk 32',
    packetsPerIteration: COUNT,
    fn: () => {
      mempoolGetBulk(pool.address, lcoreId, burst.address, COUNT);
      mbufFreeBulk(burst.address, COUNT, lcoreId);
    },
  },
  {
    name: 'mbuf alloc, free bulk 32',
    packetsPerIteration: COUNT,
    fn: () => {
      mbufAllocBulk(pool.address, lcoreId, burst.address, COUNT);
      mbufFreeBulk(burst.address, COUNT, lcoreId);
    },
  },
  {
    name: 'mbuf clone, free',
    packetsPerIteration: 1,
    fn: () => mbufFree(mbufClone(original, pool.address, lcoreId), lcoreId),
  },
];

export const close = () => eal.cleanup();
