/** net_vhost: the device side of a guest's virtqueues. Its rx queue is the guest's transmit queue, and the reverse. */

import { splitDequeue } from '../virtio/split-dequeue';
import { splitEnqueue } from '../virtio/split-enqueue';
import { armDevice, disarmDevice, isFresh, startDeviceRing } from '../virtio/split-notify';
import { enterQueue, leaveQueue } from './lock';

export function vhostRxBurst(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  if (!enterQueue(queue, lcoreId)) return 0;
  if (isFresh(queue)) startDeviceRing(queue);
  const received = splitDequeue(lcoreId, queue, burst, count);
  leaveQueue(queue);
  return received;
}

export function vhostTxBurst(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  if (!enterQueue(queue, lcoreId)) return 0;
  if (isFresh(queue)) startDeviceRing(queue);
  const sent = splitEnqueue(lcoreId, queue, burst, count);
  leaveQueue(queue);
  return sent;
}

/** True if packets wait already. A queue that somebody holds right now counts as waiting: look again. */
export function vhostRxArm(lcoreId: u32, queue: usize, running: bool): bool {
  if (!running) return false;
  if (!enterQueue(queue, lcoreId)) return true;
  if (isFresh(queue)) startDeviceRing(queue);
  const waiting = armDevice(queue);
  leaveQueue(queue);
  return waiting;
}

export function vhostRxDisarm(lcoreId: u32, queue: usize): void {
  if (!enterQueue(queue, lcoreId)) return;
  disarmDevice(queue);
  leaveQueue(queue);
}
