/**
 * The device side of a virtqueue alone: the guest is a ring that was filled once, whose index is advanced by 32 before each
 * burst. Dequeue includes taking 32 mbufs from the pool and giving them back, as a forwarder does; enqueue likewise.
 */
import {
  DEVICE_REGION_COUNT,
  DEVICE_REGIONS,
  DEVICE_SIZE,
  MBUF_DATA_LEN,
  MBUF_PKT_LEN,
  PMD_VHOST,
  PORT_BASE,
  PORT_RXQ_COUNT,
  PORT_RXQS,
  PORT_SIZE,
  PORT_TXQ_COUNT,
  PORT_TXQS,
  QUEUE_AVAIL,
  QUEUE_CALL_FD,
  QUEUE_DESC,
  QUEUE_DEVICE,
  QUEUE_HDR_LEN,
  QUEUE_KICK_FD,
  QUEUE_PMD,
  QUEUE_POOL,
  QUEUE_RUN,
  QUEUE_SIZE,
  QUEUE_USED,
  QUEUE_VQ_SIZE,
  REGION_LENGTH,
} from '../assembly/layout.js';
import { Burst } from '../src/burst.js';
import { Eal } from '../src/eal/eal.js';
import { Mempool } from '../src/mempool.js';
import type { BenchRow } from './report.js';

const BURST = 32;
const RING = 256;
const HDR = 12;
const BUFFER = 2048;
const eal = await Eal.init({ memoryMiB: 64 });
const { memory, wasm, mainLcoreId } = eal;
const { rxBurst, txBurst, mbufAllocBulk, mbufFreeBulk } = wasm;
const pool = Mempool.createPktmbuf(eal, { name: 'bench', count: 4095 });
const burst = Burst.create(eal, BURST);

/** A region record that shows the "guest" all of host memory, address for address. */
const device = reserve('device', DEVICE_SIZE);
memory.u32[(device + DEVICE_REGION_COUNT) >>> 2] = 1;
memory.u64[(device + DEVICE_REGIONS + REGION_LENGTH) >>> 3] = BigInt(memory.endAddress);

function reserve(name: string, lengthBytes: number): number {
  return eal.memzones.reserve(name, lengthBytes).address;
}

/** A virtqueue whose descriptors all point at buffers of `length` bytes. Returns its record and where avail.idx stands. */
function virtqueue(name: string, length: number, writable: boolean): { queue: number; availIdx: number } {
  const desc = reserve(`${name} desc`, RING * 16);
  const avail = reserve(`${name} avail`, 6 + RING * 2);
  const used = reserve(`${name} used`, 6 + RING * 8);
  const buffers = reserve(`${name} buffers`, RING * BUFFER);
  for (let i = 0; i < RING; i++) {
    memory.u64[(desc + i * 16) >>> 3] = BigInt(buffers + i * BUFFER);
    memory.u32[(desc + i * 16 + 8) >>> 2] = length;
    memory.u16[(desc + i * 16 + 12) >>> 1] = writable ? 2 : 0;
    memory.u16[(avail + 4 + i * 2) >>> 1] = i;
  }
  const queue = reserve(`${name} queue`, QUEUE_SIZE);
  const fields: [number, number][] = [
    [QUEUE_PMD, PMD_VHOST],
    [QUEUE_POOL, pool.address],
    [QUEUE_KICK_FD, -1],
    [QUEUE_CALL_FD, -1],
    [QUEUE_DEVICE, device],
    [QUEUE_VQ_SIZE, RING],
    [QUEUE_DESC, desc],
    [QUEUE_AVAIL, avail],
    [QUEUE_USED, used],
    [QUEUE_HDR_LEN, HDR],
    [QUEUE_RUN, 1],
  ];
  for (const [field, value] of fields) memory.u32[(queue + field) >>> 2] = value;
  return { queue, availIdx: (avail + 2) >>> 1 };
}

/** A port record over the two queues, past the ids that the port table hands out here. */
function port(id: number, frameLen: number): { id: number; advanceRx(): void; advanceTx(): void } {
  const rx = virtqueue(`rx ${id}`, HDR + frameLen, false);
  const tx = virtqueue(`tx ${id}`, BUFFER, true);
  const record = PORT_BASE + id * PORT_SIZE;
  const queues = reserve(`queues ${id}`, 64) >>> 2;
  memory.u32[queues] = rx.queue;
  memory.u32[queues + 1] = tx.queue;
  memory.u32[(record + PORT_RXQ_COUNT) >>> 2] = 1;
  memory.u32[(record + PORT_TXQ_COUNT) >>> 2] = 1;
  memory.u32[(record + PORT_RXQS) >>> 2] = queues << 2;
  memory.u32[(record + PORT_TXQS) >>> 2] = (queues + 1) << 2;
  const { u16 } = memory;
  return {
    id,
    advanceRx: () => {
      u16[rx.availIdx] = u16[rx.availIdx]! + BURST;
    },
    advanceTx: () => {
      u16[tx.availIdx] = u16[tx.availIdx]! + BURST;
    },
  };
}

const small = port(60, 64);
const large = port(61, 1500);

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
