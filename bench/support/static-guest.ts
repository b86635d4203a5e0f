/**
 * A guest that costs nothing: its rings were filled once, and before each burst their index is advanced by 32. What is left
 * is the device side alone.
 */
import {
  DEVICE_REGION_COUNT,
  DEVICE_REGIONS,
  DEVICE_SIZE,
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
} from '../../assembly/layout.js';
import type { Eal } from '../../src/eal/eal.js';
import type { Mempool } from '../../src/mempool.js';

/** Entries that one advance makes available. */
export const BURST = 32;
const RING = 256;
const HDR = 12;
const BUFFER = 2048;

export interface StaticGuest {
  readonly id: number;
  /** The guest "sends" BURST frames. */
  advanceRx(): void;
  /** The guest "posts" BURST receive buffers. */
  advanceTx(): void;
}

/** A virtqueue whose descriptors all point at buffers of `length` bytes. Returns its record and where avail.idx stands. */
function virtqueue(
  eal: Eal,
  name: string,
  fields: readonly [number, number][],
  length: number,
  writable: boolean,
): { queue: number; availIdx: number } {
  const { memory } = eal;
  const reserve = (part: string, lengthBytes: number): number =>
    eal.memzones.reserve(`${name} ${part}`, lengthBytes).address;
  const desc = reserve('desc', RING * 16);
  const avail = reserve('avail', 6 + RING * 2);
  const used = reserve('used', 6 + RING * 8);
  const buffers = reserve('buffers', RING * BUFFER);
  for (let i = 0; i < RING; i++) {
    memory.u64[(desc + i * 16) >>> 3] = BigInt(buffers + i * BUFFER);
    memory.u32[(desc + i * 16 + 8) >>> 2] = length;
    memory.u16[(desc + i * 16 + 12) >>> 1] = writable ? 2 : 0;
    memory.u16[(avail + 4 + i * 2) >>> 1] = i;
  }
  const queue = reserve('queue', QUEUE_SIZE);
  const all: readonly [number, number][] = [
    ...fields,
    [QUEUE_PMD, PMD_VHOST],
    [QUEUE_KICK_FD, -1],
    [QUEUE_CALL_FD, -1],
    [QUEUE_VQ_SIZE, RING],
    [QUEUE_DESC, desc],
    [QUEUE_AVAIL, avail],
    [QUEUE_USED, used],
    [QUEUE_HDR_LEN, HDR],
    [QUEUE_RUN, 1],
  ];
  for (const [field, value] of all) memory.u32[(queue + field) >>> 2] = value;
  return { queue, availIdx: (avail + 2) >>> 1 };
}

/** Makes port `id`, one that the port table does not hand out here, over the rings of such a guest. */
export function staticGuest(eal: Eal, pool: Mempool, id: number, frameLen: number): StaticGuest {
  const { memory, memzones } = eal;
  const device = memzones.reserve(`device ${id}`, DEVICE_SIZE).address;
  // One region that shows the "guest" all of host memory, address for address.
  memory.u32[(device + DEVICE_REGION_COUNT) >>> 2] = 1;
  memory.u64[(device + DEVICE_REGIONS + REGION_LENGTH) >>> 3] = BigInt(memory.endAddress);
  const fields: [number, number][] = [
    [QUEUE_POOL, pool.address],
    [QUEUE_DEVICE, device],
  ];
  const rx = virtqueue(eal, `rx ${id}`, fields, HDR + frameLen, false);
  const tx = virtqueue(eal, `tx ${id}`, fields, BUFFER, true);
  const record = PORT_BASE + id * PORT_SIZE;
  const queues = memzones.reserve(`queues ${id}`, 64).address >>> 2;
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
