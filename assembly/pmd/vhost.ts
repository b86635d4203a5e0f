/**
 * net_vhost: the device side of a guest's virtqueues. Its rx queue is the guest's transmit queue, and the reverse. The path,
 * split or packed, was chosen when the queue started (QUEUE_PATH).
 */
import {
  DROP_DISABLED,
  DROP_NO_ROOM,
  DROP_OFFLOAD,
  QUEUE_BYTES,
  QUEUE_DROPS,
  QUEUE_FULL,
  QUEUE_GSO,
  QUEUE_PACKETS,
  QUEUE_PATH,
  QUEUE_RUN,
  QUEUE_USED,
  RUN_DISCARD,
  RUN_ON,
  VQ_PATH_PACKED,
} from '../layout';
import { mbufFree, mbufFreeBulk } from '../mem/mbuf';
import { burstBytes, countDrop } from '../stats';
import { makeFit } from '../virtio/fallback';
import { fits } from '../virtio/net-header';
import { packedDequeue } from '../virtio/packed-dequeue';
import { packedEnqueue } from '../virtio/packed-enqueue';
import { armPackedDevice, disarmPacked, startPackedRing } from '../virtio/packed-notify';
import { splitDequeue } from '../virtio/split-dequeue';
import { splitEnqueue } from '../virtio/split-enqueue';
import { armDevice, disarmDevice, isFresh, startDeviceRing } from '../virtio/split-notify';
import { enterQueue, leaveQueue } from './lock';

export function vhostRxBurst(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  if (!enterQueue(queue, lcoreId)) return 0;
  if (isFresh(queue)) startRing(queue);
  let received = isPacked(queue)
    ? packedDequeue(lcoreId, queue, burst, count)
    : splitDequeue(lcoreId, queue, burst, count);
  if (load<u32>(queue, QUEUE_RUN) == RUN_DISCARD && received != 0) received = discard(lcoreId, queue, burst, received);
  leaveQueue(queue);
  return received;
}

/** The ring is disabled: what the guest sent is taken and thrown away. */
function discard(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  const counter = queue + (DROP_DISABLED << 3);
  store<u64>(counter, load<u64>(counter, QUEUE_DROPS) + count, QUEUE_DROPS);
  store<u64>(queue, load<u64>(queue, QUEUE_PACKETS) - count, QUEUE_PACKETS);
  store<u64>(queue, load<u64>(queue, QUEUE_BYTES) - burstBytes(burst, count), QUEUE_BYTES);
  mbufFreeBulk(burst, count, lcoreId);
  return 0;
}

export function vhostTxBurst(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  if (!enterQueue(queue, lcoreId)) return 0;
  if (isFresh(queue)) startRing(queue);
  let sent = enqueue(lcoreId, queue, burst, count);
  // It stops early where the ring is full, or before a packet that this guest cannot take as it is.
  while (sent < count && load<u32>(queue, QUEUE_RUN) == RUN_ON) {
    const mbuf = load<u32>(burst + (sent << 2));
    if (fits(queue, mbuf) || !sendFitted(lcoreId, queue, mbuf)) break;
    sent++;
    sent += enqueue(lcoreId, queue, burst + (sent << 2), count - sent);
  }
  if (sent < count) store<u64>(queue, load<u64>(queue, QUEUE_FULL) + (count - sent), QUEUE_FULL);
  leaveQueue(queue);
  return sent;
}

// @ts-ignore: decorator
@inline
function enqueue(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  return isPacked(queue)
    ? packedEnqueue(lcoreId, queue, burst, count)
    : splitEnqueue(lcoreId, queue, burst, count);
}

/** One packet that software makes fit first. True if it was taken: sent, at least in part, or dropped and counted. */
function sendFitted(lcoreId: u32, queue: usize, mbuf: u32): bool {
  const made = makeFit(lcoreId, queue, mbuf);
  const packets = queue + QUEUE_GSO;
  if (made == 0) countDrop(queue, DROP_OFFLOAD);
  else {
    const sent = enqueue(lcoreId, queue, packets, made);
    if (sent < made) mbufFreeBulk(<u32>packets + (sent << 2), made - sent, lcoreId);
    if (sent == 0) return false; // no room: the packet waits
    const counter = queue + (DROP_NO_ROOM << 3);
    store<u64>(counter, load<u64>(counter, QUEUE_DROPS) + (made - sent), QUEUE_DROPS);
  }
  mbufFree(mbuf, lcoreId);
  return true;
}

// @ts-ignore: decorator
@inline
function isPacked(queue: usize): bool {
  return load<u32>(queue, QUEUE_PATH) == VQ_PATH_PACKED;
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

export function vhostRxDisarm(lcoreId: u32, queue: usize): void {
  if (!enterQueue(queue, lcoreId)) return;
  if (isPacked(queue)) disarmPacked(load<u32>(queue, QUEUE_USED));
  else disarmDevice(queue);
  leaveQueue(queue);
}
