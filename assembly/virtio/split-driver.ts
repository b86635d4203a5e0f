/**
 * Driver side of a split ring: what a guest does (virtio 1.2 sections 2.7.13, 2.7.14). Guest addresses are linear addresses
 * here, because the memory that the back end sees is this very memory.
 *
 * Free descriptors are linked through their `next` field, from QUEUE_FREE_HEAD on. QUEUE_COOKIES has, for each head that is
 * with the device, its mbuf. The device is trusted with the memory, not with its indexes: an id that was never lent
 * stops the queue.
 */
import {
  COOKIE_SIZE,
  QUEUE_COOKIES,
  QUEUE_DESC,
  QUEUE_FREE_COUNT,
  QUEUE_FREE_HEAD,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_PATH,
  QUEUE_SIGNALLED_VALID,
  QUEUE_VQ_SIZE,
  RING_STARTED,
  VQ_PATH_IN_ORDER,
} from '../layout';
import { DESC_NEXT, descAt } from './split';

/** Empty ring: all descriptors free, linked in order; no interrupts wanted. The vring memory is all zero. */
export function splitDriverInit(queue: usize): void {
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  const table: usize = load<u32>(queue, QUEUE_DESC);
  for (let i: u32 = 0; i < size; i++) {
    store<u16>(descAt(table, i), <u16>(i + 1), DESC_NEXT);
    store<u32>(cookieAt(queue, i), 0);
  }
  // in order: descriptors are taken round and round (section 2.7.5.4), and never linked anew
  if (load<u32>(queue, QUEUE_PATH) & VQ_PATH_IN_ORDER) store<u16>(descAt(table, size - 1), 0, DESC_NEXT);
  store<u32>(queue, 0, QUEUE_FREE_HEAD);
  store<u32>(queue, size, QUEUE_FREE_COUNT);
  store<u32>(queue, 0, QUEUE_LAST_AVAIL);
  store<u32>(queue, 0, QUEUE_LAST_USED);
  store<u32>(queue, RING_STARTED, QUEUE_SIGNALLED_VALID);
}

// @ts-ignore: decorator
@inline
export function cookieAt(queue: usize, id: u32): usize {
  return <usize>load<u32>(queue, QUEUE_COOKIES) + id * COOKIE_SIZE;
}
