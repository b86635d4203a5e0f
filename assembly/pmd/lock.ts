/**
 * The queue lock: the control plane holds it while it changes a queue, the data plane tries it once a burst, so that two
 * lcores may share a queue and nobody ever waits here.
 */
import { QUEUE_LOCK, QUEUE_RUN } from '../layout';

/** True if the queue runs and is now held by the lcore. Looks before it locks: an idle or stopped queue costs no atomic. */
// @ts-ignore: decorator
@inline
export function enterQueue(queue: usize, lcoreId: u32): bool {
  if (load<u32>(queue, QUEUE_RUN) == 0) return false;
  if (atomic.cmpxchg<u32>(queue, 0, (lcoreId & 0x7fff_ffff) + 1, QUEUE_LOCK) != 0) return false;
  if (load<u32>(queue, QUEUE_RUN) != 0) return true;
  leaveQueue(queue);
  return false;
}

// @ts-ignore: decorator
@inline
export function leaveQueue(queue: usize): void {
  atomic.store<u32>(queue, 0, QUEUE_LOCK);
}
