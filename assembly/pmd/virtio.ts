/** net_virtio_user: the driver side of virtqueues that a back end serves. */
import {
  COOKIE_SIZE,
  DROP_LINK_DOWN,
  ETH_RX_WORK_MASK,
  QUEUE_AVAIL,
  QUEUE_COOKIES,
  QUEUE_ETH_OFFLOADS,
  QUEUE_POOL,
  QUEUE_STOP_CAUSE,
  QUEUE_VQ_SIZE,
  STOP_NONE,
} from '../layout';
import { mbufFree } from '../mem/mbuf';
import { rxOffload } from '../net/rx-offload';
import { countDrop } from '../stats';
import { packedDriverInit } from '../virtio/packed-driver';
import {
  packedDriverReceive,
  packedDriverReceiveInOrder,
  packedDriverRefill,
  packedDriverRefillInOrder,
} from '../virtio/packed-driver-receive';
import { packedDriverReclaim, packedDriverReclaimInOrder } from '../virtio/packed-driver-send';
import { armPackedDriver, disarmPacked, hasPackedUsed } from '../virtio/packed-notify';
import { splitDriverInit } from '../virtio/split-driver';
import { splitDriverReceive, splitDriverReceiveInOrder, splitDriverRefill } from '../virtio/split-driver-receive';
import { splitDriverReclaim, splitDriverReclaimInOrder } from '../virtio/split-driver-send';
import { armDriver, disarmDriver, hasUsed } from '../virtio/split-notify';
import { enterQueue, leaveQueue } from './lock';
import { driverSend, isInOrder, isPacked, sendRest } from './send';

export function virtioRxBurst(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  if (!enterQueue(queue, lcoreId)) return 0;
  const received = receive(lcoreId, queue, burst, count);
  refill(lcoreId, queue);
  if (load<u32>(queue, QUEUE_ETH_OFFLOADS) & ETH_RX_WORK_MASK) rxOffload(queue, burst, received);
  leaveQueue(queue);
  return received;
}

// @ts-ignore: decorator
@inline
function receive(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  const inOrder = isInOrder(queue);
  if (isPacked(queue)) {
    if (inOrder) return packedDriverReceiveInOrder(lcoreId, queue, burst, count);
    return packedDriverReceive(lcoreId, queue, burst, count);
  }
  if (inOrder) return splitDriverReceiveInOrder(lcoreId, queue, burst, count);
  return splitDriverReceive(lcoreId, queue, burst, count);
}

// @ts-ignore: decorator
@inline
function refill(lcoreId: u32, queue: usize): void {
  if (!isPacked(queue)) splitDriverRefill(lcoreId, queue);
  else if (isInOrder(queue)) packedDriverRefillInOrder(lcoreId, queue);
  else packedDriverRefill(lcoreId, queue);
}

function reclaim(lcoreId: u32, queue: usize): void {
  const inOrder = isInOrder(queue);
  if (isPacked(queue)) {
    if (inOrder) packedDriverReclaimInOrder(lcoreId, queue);
    else packedDriverReclaim(lcoreId, queue);
  } else if (inOrder) splitDriverReclaimInOrder(lcoreId, queue);
  else splitDriverReclaim(lcoreId, queue);
}

export function virtioTxBurst(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  if (!enterQueue(queue, lcoreId)) return 0;
  let sent = driverSend(lcoreId, queue, burst, count);
  if (sent < count) sent = sendRest(lcoreId, queue, burst, sent, count);
  leaveQueue(queue);
  return sent;
}

/** True if packets wait already, or the queue is held right now. */
export function virtioRxArm(lcoreId: u32, queue: usize, running: bool): bool {
  if (!running) return false;
  if (!enterQueue(queue, lcoreId)) return true;
  const waiting = isPacked(queue) ? armPackedDriver(queue) : armDriver(queue);
  leaveQueue(queue);
  return waiting;
}

/** True if packets wait. */
export function virtioRxDisarm(lcoreId: u32, queue: usize): bool {
  if (!enterQueue(queue, lcoreId)) return false;
  disarm(queue);
  const waiting = isPacked(queue) ? hasPackedUsed(queue) : hasUsed(queue);
  leaveQueue(queue);
  return waiting;
}

function disarm(queue: usize): void {
  if (isPacked(queue)) disarmPacked(load<u32>(queue, QUEUE_AVAIL));
  else disarmDriver(queue);
}

/** Before the queue starts: an empty ring over zeroed vring memory. The control plane holds the lock. */
export function virtioQueueInit(queue: usize): void {
  if (isPacked(queue)) packedDriverInit(queue);
  else splitDriverInit(queue);
  disarm(queue);
}

/**
 * After virtioQueueInit, before the device has the ring: posts receive buffers, so that a device finds some with its first
 * packet, however late the first rxBurst comes. The control plane holds the lock. A tx queue has no pool, and needs none.
 */
export function virtioQueueFill(queue: usize, lcoreId: u32): void {
  if (load<u32>(queue, QUEUE_POOL) == 0) return;
  refill(lcoreId, queue);
}

/**
 * After the queue has stopped: frees every mbuf that the ring still holds; of a tx queue they are packets that the device has
 * not returned, and counted. The control plane holds the lock.
 */
export function virtioQueueDrain(queue: usize, lcoreId: u32): void {
  const transmits = load<u32>(queue, QUEUE_POOL) == 0;
  if (transmits && load<u32>(queue, QUEUE_STOP_CAUSE) == STOP_NONE) reclaim(lcoreId, queue);
  const cookies: usize = load<u32>(queue, QUEUE_COOKIES);
  const end = cookies + load<u32>(queue, QUEUE_VQ_SIZE) * COOKIE_SIZE;
  for (let cookie = cookies; cookie < end; cookie += COOKIE_SIZE) {
    const mbuf = load<u32>(cookie);
    if (mbuf == 0) continue;
    if (transmits) countDrop(queue, DROP_LINK_DOWN);
    mbufFree(mbuf, lcoreId);
    store<u32>(cookie, 0);
  }
}
