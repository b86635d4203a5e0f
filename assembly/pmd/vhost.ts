/**
 * net_vhost: the device side of a guest's virtqueues. Its rx queue is the guest's transmit queue, and the reverse. The path,
 * split or packed, was chosen when the queue started (QUEUE_PATH).
 */
import {
  DROP_DISABLED,
  ETH_RX_WORK_MASK,
  QUEUE_DROPS,
  QUEUE_ETH_OFFLOADS,
  QUEUE_RUN,
  QUEUE_USED,
  RUN_DISCARD,
} from '../layout';
import { mbufFreeBulk } from '../mem/mbuf';
import { rxOffload } from '../net/rx-offload';
import { countBurstSize, countEach } from '../stats';
import { packedDequeue } from '../virtio/packed-dequeue';
import { armPackedDevice, disarmPacked, hasPackedAvail, startPackedRing } from '../virtio/packed-notify';
import { splitDequeue } from '../virtio/split-dequeue';
import { armDevice, disarmDevice, hasAvail, isFresh, startDeviceRing } from '../virtio/split-notify';
import { walkBegin } from '../virtio/walk';
import { enterQueue, leaveQueue } from './lock';
import { deviceSend, isPacked, sendRest } from './send';

export function vhostRxBurst(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  if (!enterQueue(queue, lcoreId)) return 0;
  if (isFresh(queue)) startRing(queue);
  const disabled = load<u32>(queue, QUEUE_RUN) == RUN_DISCARD; // as of now: the burst may stop the queue
  let received = isPacked(queue)
    ? packedDequeue(lcoreId, queue, burst, count)
    : splitDequeue(lcoreId, queue, burst, count);
  if (disabled && received != 0) received = discard(lcoreId, queue, burst, received);
  if (load<u32>(queue, QUEUE_ETH_OFFLOADS) & ETH_RX_WORK_MASK) rxOffload(queue, burst, received);
  leaveQueue(queue);
  return received;
}

/** The ring is disabled: what the guest sent is taken and thrown away. */
function discard(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  const counter = queue + (DROP_DISABLED << 3);
  store<u64>(counter, load<u64>(counter, QUEUE_DROPS) + count, QUEUE_DROPS);
  countEach(queue, burst, count, -1);
  countBurstSize(queue, count, -1);
  mbufFreeBulk(burst, count, lcoreId);
  return 0;
}

export function vhostTxBurst(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  if (!enterQueue(queue, lcoreId)) return 0;
  if (isFresh(queue)) startRing(queue);
  walkBegin(queue);
  let sent = deviceSend(lcoreId, queue, burst, count);
  if (sent < count) sent = sendRest(lcoreId, queue, burst, sent, count);
  leaveQueue(queue);
  return sent;
}

/** First look at a ring that the control plane has just started. */
function startRing(queue: usize): void {
  if (isPacked(queue)) startPackedRing(queue);
  else startDeviceRing(queue);
}

/** True if packets wait already. A queue that somebody holds right now counts as waiting: look again. */
export function vhostRxArm(lcoreId: u32, queue: usize, running: bool): bool {
  if (!running) return false;
  if (!enterQueue(queue, lcoreId)) return true;
  if (isFresh(queue)) startRing(queue);
  const waiting = isPacked(queue) ? armPackedDevice(queue) : armDevice(queue);
  leaveQueue(queue);
  return waiting;
}

/** True if packets wait. */
export function vhostRxDisarm(lcoreId: u32, queue: usize): bool {
  if (!enterQueue(queue, lcoreId)) return false;
  if (isPacked(queue)) disarmPacked(load<u32>(queue, QUEUE_USED));
  else disarmDevice(queue);
  const waiting = isPacked(queue) ? hasPackedAvail(queue) : hasAvail(queue);
  leaveQueue(queue);
  return waiting;
}
