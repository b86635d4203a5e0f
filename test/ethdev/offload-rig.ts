/**
 * Two guests and a forwarder between them, made of queue records alone: no control plane negotiates, so that every combination
 * of ring layout and offload can be had.
 *
 *   guest A's driver, tx queue ══ virtqueue ══ host port A, rx   host port B, tx ══ virtqueue ══ guest B's driver, rx queue
 */
import {
  COOKIE_SIZE,
  DEVICE_REGION_COUNT,
  DEVICE_REGIONS,
  DEVICE_SIZE,
  MAX_CHAINS,
  PMD_VHOST,
  PMD_VIRTIO,
  PORT_BASE,
  PORT_RXQ_COUNT,
  PORT_RXQS,
  PORT_SIZE,
  PORT_TXQ_COUNT,
  PORT_TXQS,
  QUEUE_AVAIL,
  QUEUE_CALL_FD,
  QUEUE_COOKIES,
  QUEUE_DESC,
  QUEUE_DEVICE,
  QUEUE_DROPS,
  QUEUE_HDR_LEN,
  QUEUE_KICK_FD,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_MAX_CHAINS,
  QUEUE_MAX_TABLE,
  QUEUE_OFFLOADS,
  QUEUE_PATH,
  QUEUE_PMD,
  QUEUE_POOL,
  QUEUE_RUN,
  QUEUE_SIZE,
  QUEUE_STATS,
  QUEUE_STOP_CAUSE,
  QUEUE_TX_SLOTS,
  QUEUE_USED,
  QUEUE_VQ_SIZE,
  REGION_LENGTH,
  TX_SLOT_SIZE,
  TX_TABLE_MAX,
  VQ_PATH_MERGEABLE,
  VQ_PATH_PACKED,
} from '../../assembly/layout.js';
import type { Mempool } from '../../src/mempool.js';
import { context, LCORE, memory, wasm } from '../net/harness.js';

const RING = 256;
const HDR_LEN = 12;
const { u32 } = memory;
const write = (at: number, value: number): void => {
  u32[at >>> 2] = value;
};
const reserve = (name: string, bytes: number): number => context.memzones.reserve(`rig ${name}`, bytes).address;

export interface RingOptions {
  readonly packed: boolean;
  readonly mergeable?: boolean;
  /** Indirect descriptors (default: none). */
  readonly indirect?: boolean;
  /** OFFLOAD_* that both ends have. */
  readonly offloads: number;
}

/** Ports of the rig: the guests' and the host's. */
export const GUEST_A = 0;
export const HOST_A = 1;
export const HOST_B = 2;
export const GUEST_B = 3;

/** All memory is the guests'. */
const device = reserve('device', DEVICE_SIZE);
write(device + DEVICE_REGION_COUNT, 1);
memory.u64[(device + DEVICE_REGIONS + REGION_LENGTH) >>> 3] = BigInt(memory.endAddress);

function port(id: number, direction: 'rx' | 'tx', pmd: number): number {
  const queue = reserve(`queue ${id}`, QUEUE_SIZE);
  const list = reserve(`list ${id}`, 4);
  write(list, queue);
  const record = PORT_BASE + id * PORT_SIZE;
  write(record + (direction === 'rx' ? PORT_RXQ_COUNT : PORT_TXQ_COUNT), 1);
  write(record + (direction === 'rx' ? PORT_RXQS : PORT_TXQS), list);
  write(queue + QUEUE_PMD, pmd);
  write(queue + QUEUE_DEVICE, device);
  write(queue + QUEUE_KICK_FD, -1);
  write(queue + QUEUE_CALL_FD, -1);
  return queue;
}

/** Queue records by port. */
export const queues = [
  port(GUEST_A, 'tx', PMD_VIRTIO),
  port(HOST_A, 'rx', PMD_VHOST),
  port(HOST_B, 'tx', PMD_VHOST),
  port(GUEST_B, 'rx', PMD_VIRTIO),
] as const;

/** Memory of the two virtqueues: | descriptors | driver area | device area | cookies | slots |, largest first. */
const AREA = { desc: 0, avail: RING * 16, used: RING * 18 + 64, cookies: RING * 26 + 128, slots: RING * 34 + 192 };
const vrings = [0, 1].map((n) => reserve(`vring ${n}`, AREA.slots + RING * TX_SLOT_SIZE));

function connect(driver: number, deviceQueue: number, vring: number, options: RingOptions, pool: number): void {
  memory.u8.fill(0, vring, vring + AREA.cookies + RING * COOKIE_SIZE);
  for (const queue of [driver, deviceQueue]) {
    write(queue + QUEUE_VQ_SIZE, RING);
    write(queue + QUEUE_DESC, vring + AREA.desc);
    write(queue + QUEUE_AVAIL, vring + AREA.avail);
    write(queue + QUEUE_USED, vring + AREA.used);
    write(queue + QUEUE_HDR_LEN, HDR_LEN);
    const mergeable = options.mergeable !== false;
    write(queue + QUEUE_PATH, (options.packed ? VQ_PATH_PACKED : 0) | (mergeable ? VQ_PATH_MERGEABLE : 0));
    write(queue + QUEUE_MAX_CHAINS, mergeable ? MAX_CHAINS : 1);
    write(queue + QUEUE_MAX_TABLE, options.indirect === true ? TX_TABLE_MAX : 0);
    write(queue + QUEUE_OFFLOADS, options.offloads);
    write(queue + QUEUE_STOP_CAUSE, 0);
    const position = options.packed ? 0x8000 : 0;
    write(queue + QUEUE_LAST_AVAIL, position);
    write(queue + QUEUE_LAST_USED, position);
    memory.u32.fill(0, (queue + QUEUE_STATS) >>> 2, (queue + 896) >>> 2);
  }
  write(driver + QUEUE_COOKIES, vring + AREA.cookies);
  write(driver + QUEUE_TX_SLOTS, vring + AREA.slots);
  write(driver + QUEUE_POOL, pool);
  wasm.virtioQueueInit(driver);
}

/** New rings. `hostPool`: what the host receives into; `guestPool`: what guest B posts. */
export function open(sender: RingOptions, receiver: RingOptions, hostPool: Mempool, guestPool: Mempool): void {
  const [guestTx, hostRx, hostTx, guestRx] = queues;
  connect(guestTx, hostRx, vrings[0]!, sender, 0);
  write(hostRx + QUEUE_POOL, hostPool.address);
  connect(guestRx, hostTx, vrings[1]!, receiver, guestPool.address);
  for (const queue of queues) write(queue + QUEUE_RUN, 1);
  wasm.rxBurst(LCORE, GUEST_B, 0, handles, 0); // posts the receive buffers
}

/** Stops the rings and takes back what they hold. */
export function close(): void {
  for (const queue of queues) write(queue + QUEUE_RUN, 0);
  wasm.virtioQueueDrain(queues[0], LCORE);
  wasm.virtioQueueDrain(queues[3], LCORE);
}

/** Room for handles on their way. */
export const MAX_HANDLES = 128;
export const handles = reserve('handles', MAX_HANDLES * 4);

/** Sends handles on a port; those that it does not take throw. */
export function send(portId: number, packets: readonly number[]): void {
  u32.set(packets, handles >>> 2);
  const sent = wasm.txBurst(LCORE, portId, 0, handles, packets.length);
  if (sent !== packets.length) throw new Error(`port ${portId} took ${sent} of ${packets.length}: ${state(portId)}`);
}

/** Whatever a port has for us. */
export function receive(portId: number): number[] {
  const count = wasm.rxBurst(LCORE, portId, 0, handles, MAX_HANDLES);
  return [...u32.subarray(handles >>> 2, (handles >>> 2) + count)];
}

/** From guest A to guest B through the host. */
export function cross(packets: readonly number[]): number[] {
  send(GUEST_A, packets);
  const inside = receive(HOST_A);
  send(HOST_B, inside);
  send(GUEST_A, []); // takes back what the host has let go of
  return receive(GUEST_B);
}

/** Drops of a port's queue by cause, as `cause: count`, and why it stopped. */
export function state(portId: number): string {
  const queue = queues[portId]!;
  const drops = Array.from({ length: 16 }, (_, cause) => memory.u64[(queue + QUEUE_DROPS + cause * 8) >>> 3]!);
  const text = drops.flatMap((count, cause) => (count === 0n ? [] : [`drop ${cause}: ${count}`]));
  return [`stop ${u32[(queue + QUEUE_STOP_CAUSE) >>> 2]}`, ...text].join(', ');
}
