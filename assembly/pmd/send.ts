/**
 * Sending to a virtqueue's peer, for net_vhost and net_virtio_user alike: what the ring's own function leaves, because the
 * ring is full, or because the next packet asks for more than the peer has negotiated and software must do it first.
 */
import {
  DROP_NO_ROOM,
  DROP_OFFLOAD,
  MAX_CHAINS,
  MAX_NOTES,
  PMD_VHOST,
  QUEUE_DROPS,
  QUEUE_FULL,
  QUEUE_GSO,
  QUEUE_PATH,
  QUEUE_PMD,
  QUEUE_RUN,
  QUEUE_VQ_SIZE,
  RUN_ON,
  VQ_PATH_IN_ORDER,
  VQ_PATH_PACKED,
} from '../layout';
import { mbufFree, mbufFreeBulk } from '../mem/mbuf';
import { countDrop } from '../stats';
import { fitInPlace, makeFit } from '../virtio/fallback';
import { fits } from '../virtio/net-header';
import { packedDriverSend, packedDriverSendInOrder } from '../virtio/packed-driver-send';
import { packedEnqueue } from '../virtio/packed-enqueue';
import { splitDriverSend, splitDriverSendInOrder } from '../virtio/split-driver-send';
import { splitEnqueue } from '../virtio/split-enqueue';
import { walkedEnough } from '../virtio/walk';

// @ts-ignore: decorator
@inline
export function isPacked(queue: usize): bool {
  return (load<u32>(queue, QUEUE_PATH) & VQ_PATH_PACKED) != 0;
}

// @ts-ignore: decorator
@inline
export function isInOrder(queue: usize): bool {
  return (load<u32>(queue, QUEUE_PATH) & VQ_PATH_IN_ORDER) != 0;
}

/** Device side: sends what the ring takes, and stops before a packet that the peer cannot take as it is. */
// @ts-ignore: decorator
@inline
export function deviceSend(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  return isPacked(queue)
    ? packedEnqueue(lcoreId, queue, burst, count)
    : splitEnqueue(lcoreId, queue, burst, count);
}

/** Driver side: likewise. */
// @ts-ignore: decorator
@inline
export function driverSend(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  const inOrder = isInOrder(queue);
  if (isPacked(queue)) {
    if (inOrder) return packedDriverSendInOrder(lcoreId, queue, burst, count);
    return packedDriverSend(lcoreId, queue, burst, count);
  }
  if (inOrder) return splitDriverSendInOrder(lcoreId, queue, burst, count);
  return splitDriverSend(lcoreId, queue, burst, count);
}

/**
 * Goes on after the first `sent` packets of `burst`; sent < count. Returns how many are sent then: the rest found the ring
 * full, or a guest that has made the burst work enough, and is counted. The caller holds the queue's lock.
 */
export function sendRest(lcoreId: u32, queue: usize, burst: usize, sent: u32, count: u32): u32 {
  // What one call notes does not fill a large ring: it has not found the ring full before it has been asked as often.
  let again = load<u32>(queue, QUEUE_VQ_SIZE) / (MAX_NOTES - MAX_CHAINS);
  while (sent < count && load<u32>(queue, QUEUE_RUN) == RUN_ON && !walkedEnough(queue, count)) {
    const mbuf = load<u32>(burst + (sent << 2));
    if (fits(queue, mbuf)) {
      if (again-- == 0) break;
      const more = send(lcoreId, queue, burst + (sent << 2), count - sent);
      if (more == 0) break;
      sent += more;
      continue;
    }
    if (fitInPlace(queue, mbuf)) {
      // the others too, so that they are sent and told of together
      for (let i = sent + 1; i < count; i++) {
        const next = load<u32>(burst + (i << 2));
        if (!fits(queue, next)) fitInPlace(queue, next);
      }
    } else {
      if (!sendFitted(lcoreId, queue, mbuf)) break;
      sent++;
      if (sent == count) break;
    }
    const more = send(lcoreId, queue, burst + (sent << 2), count - sent);
    sent += more;
    if (more == 0 && fits(queue, load<u32>(burst + (sent << 2)))) break; // the ring is full
  }
  if (sent < count) store<u64>(queue, load<u64>(queue, QUEUE_FULL) + (count - sent), QUEUE_FULL);
  return sent;
}

function send(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  return load<u32>(queue, QUEUE_PMD) == PMD_VHOST
    ? deviceSend(lcoreId, queue, burst, count)
    : driverSend(lcoreId, queue, burst, count);
}

/** One packet that software makes fit first. True if it was taken: sent, at least in part, or dropped and counted. */
function sendFitted(lcoreId: u32, queue: usize, mbuf: u32): bool {
  const made = makeFit(lcoreId, queue, mbuf);
  const packets = queue + QUEUE_GSO;
  if (made == 0) countDrop(queue, DROP_OFFLOAD);
  else {
    const sent = send(lcoreId, queue, packets, made);
    if (sent < made) mbufFreeBulk(<u32>packets + (sent << 2), made - sent, lcoreId);
    if (sent == 0) return false; // no room: the packet waits
    const counter = queue + (DROP_NO_ROOM << 3);
    store<u64>(counter, load<u64>(counter, QUEUE_DROPS) + (made - sent), QUEUE_DROPS);
  }
  mbufFree(mbuf, lcoreId);
  return true;
}
