/**
 * The device side of a virtqueue alone, before a guest that costs nothing. Dequeue includes taking 32 mbufs from the pool and
 * giving them back, as a forwarder does; enqueue likewise. Then a forwarder over such rings, whole in Wasm and with its packet
 * function in TypeScript.
 */
import {
  ENGINE_MACSWAP,
  LCORE_BASE,
  LCORE_SIZE,
  LCORE_STREAM_COUNT,
  LCORE_STREAMS,
  MBUF_DATA_LEN,
  MBUF_PKT_LEN,
} from '../assembly/layout.js';
import { Burst } from '../src/burst.js';
import { Eal } from '../src/eal/eal.js';
import { LcorePort } from '../src/ethdev/lcore-port.js';
import { StreamRecords } from '../src/forward/stream-records.js';
import { MbufView } from '../src/mbuf.js';
import { Mempool } from '../src/mempool.js';
import type { BenchRow } from './report.js';
import { BURST, staticGuest } from './support/static-guest.js';

const eal = await Eal.init({ memoryMiB: 64 });
const { memory, wasm, mainLcoreId } = eal;
const { rxBurst, txBurst, mbufAllocBulk, mbufFreeBulk } = wasm;
const pool = Mempool.createPktmbuf(eal, { name: 'bench', count: 4095 });
const burst = Burst.create(eal, BURST);

const small = staticGuest(eal, pool, 60, 64);
const large = staticGuest(eal, pool, 61, 1500);

function fill(frameLen: number): void {
  mbufAllocBulk(pool.address, mainLcoreId, burst.address, BURST);
  for (const mbuf of burst.handles) {
    memory.u32[(mbuf + MBUF_PKT_LEN) >>> 2] = frameLen;
    memory.u32[(mbuf + MBUF_DATA_LEN) >>> 2] = frameLen;
  }
}

function check(moved: number): void {
  if (moved !== BURST) throw new Error(`a burst of ${BURST} moved ${moved}`);
}

/** The packet function of the README. */
const port = new LcorePort(eal, small.id);
const packet = new MbufView(eal);
function packetFunction(): number {
  const received = port.rxBurst(0, burst);
  for (let i = 0; i < received; i++) packet.at(burst.handles[i]!).swapMacs();
  const sent = port.txBurst(0, burst, received);
  if (sent < received) burst.free(sent, received);
  return received;
}

/** The same in Wasm: one stream of the main lcore. */
const stream = { engine: ENGINE_MACSWAP, rxPort: small.id, rxQueue: 0, txPort: small.id, txQueue: 0, burst: BURST };
const records = new StreamRecords(memory, eal.memzones, [{ lcoreIndex: 0, ...stream }]);
const lcore = LCORE_BASE + mainLcoreId * LCORE_SIZE;
function chooseEngine(): void {
  memory.u32[(lcore + LCORE_STREAMS) >>> 2] = records.lcores[0]!.streams;
  memory.u32[(lcore + LCORE_STREAM_COUNT) >>> 2] = 1;
}

export const rows: readonly BenchRow[] = [
  {
    name: 'split ring, dequeue 32 × 64 B',
    packetsPerIteration: BURST,
    fn: () => {
      small.advanceRx();
      check(rxBurst(mainLcoreId, small.id, 0, burst.address, BURST));
      mbufFreeBulk(burst.address, BURST, mainLcoreId);
    },
  },
  {
    name: 'split ring, enqueue 32 × 64 B',
    packetsPerIteration: BURST,
    fn: () => {
      small.advanceTx();
      fill(64);
      check(txBurst(mainLcoreId, small.id, 0, burst.address, BURST));
    },
  },
  {
    name: 'split ring, dequeue and enqueue 32 × 64 B (io)',
    packetsPerIteration: BURST,
    fn: () => {
      small.advanceRx();
      small.advanceTx();
      check(rxBurst(mainLcoreId, small.id, 0, burst.address, BURST));
      check(txBurst(mainLcoreId, small.id, 0, burst.address, BURST));
    },
  },
  {
    name: 'split ring, dequeue and enqueue 32 × 1500 B (io)',
    packetsPerIteration: BURST,
    fn: () => {
      large.advanceRx();
      large.advanceTx();
      check(rxBurst(mainLcoreId, large.id, 0, burst.address, BURST));
      check(txBurst(mainLcoreId, large.id, 0, burst.address, BURST));
    },
  },
  {
    name: 'split ring, macswap engine, 32 × 64 B',
    packetsPerIteration: BURST,
    fn: () => {
      small.advanceRx();
      small.advanceTx();
      chooseEngine();
      wasm.lcoreRun(mainLcoreId, 1, 0, 0);
    },
  },
  {
    name: 'split ring, macswap in TypeScript, 32 × 64 B',
    packetsPerIteration: BURST,
    mark: 'at most 1.43 × the row above; ixy.js forwards a packet in 202 ns',
    fn: () => {
      small.advanceRx();
      small.advanceTx();
      packetFunction();
    },
  },
  {
    name: 'JS → Wasm, rxBurst that finds nothing (a call)',
    packetsPerIteration: 1,
    fn: () => rxBurst(mainLcoreId, small.id, 0, burst.address, BURST),
  },
  {
    name: 'JS → Wasm, rxBurst of a port that is not there (a call)',
    packetsPerIteration: 1,
    fn: () => rxBurst(mainLcoreId, 62, 0, burst.address, BURST),
  },
];

export const close = () => eal.cleanup();
