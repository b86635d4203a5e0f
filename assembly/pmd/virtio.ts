/** net_virtio_user: the driver side of virtqueues that a back end serves. */
import { splitDriverDrain, splitDriverInit } from '../virtio/split-driver';
import { splitDriverReceive, splitDriverRefill } from '../virtio/split-driver-receive';
import { splitDriverSend } from '../virtio/split-driver-send';
import { armDriver, disarmDriver } from '../virtio/split-notify';
import { enterQueue, leaveQueue } from './lock';

export function virtioRxBurst(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  if (!enterQueue(queue, lcoreId)) return 0;
  const received = splitDriverReceive(lcoreId, queue, burst, count);
  splitDriverRefill(lcoreId, queue);
  leaveQueue(queue);
  return received;
}

export function virtioTxBurst(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  if (!enterQueue(queue, lcoreId)) return 0;
  const sent = splitDriverSend(lcoreId, queue, burst, count);
  leaveQueue(queue);
  return sent;
}

/** True if packets wait already, or the queue is held right now. */
export function virtioRxArm(lcoreId: u32, queue: usize, running: bool): bool {
  if (!running) return false;
  if (!enterQueue(queue, lcoreId)) return true;
  const waiting = armDriver(queue);
  leaveQueue(queue);
  return waiting;
}

export function virtioRxDisarm(lcoreId: u32, queue: usize): void {
  if (!enterQueue(queue, lcoreId)) return;
  disarmDriver(queue);
  leaveQueue(queue);
}

/** Before the queue starts: an empty ring over zeroed vring memory. The control plane holds the lock. */
export function virtioQueueInit(queue: usize): void {
  splitDriverInit(queue);
  disarmDriver(queue);
}

/** After the queue has stopped: frees every mbuf that the ring still holds. The control plane holds the lock. */
export function virtioQueueDrain(queue: usize, lcoreId: u32): void {
  splitDriverDrain(queue, lcoreId);
}
