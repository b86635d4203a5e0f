/** Sends the notifications that an lcore owes (assembly/virtio/coalesce.ts): called by its loop, and before it sleeps. */
import {
  LCORE_NOW_US,
  LCORE_OWED,
  LCORE_OWED_COUNT,
  LCORE_BASE,
  LCORE_SIZE,
  MAX_LCORES,
  QUEUE_LOCK,
  QUEUE_OWED,
  QUEUE_OWED_DEADLINE,
  QUEUE_OWER,
} from '../layout';
import { payOwed } from '../virtio/coalesce';
import { leaveQueue } from './lock';

/**
 * The loop looked at the clock: sends what is due, and what would be late by the next look if that takes as long as
 * this one did; everything if `all`. Returns how many queues are still owed one: not due, or held by another lcore.
 */
export function lcoreFlush(lcoreId: u32, nowUs: u32, all: u32): u32 {
  if (lcoreId >= MAX_LCORES) return 0;
  const lcore: usize = LCORE_BASE + lcoreId * LCORE_SIZE;
  const since = nowUs - load<u32>(lcore, LCORE_NOW_US);
  store<u32>(lcore, nowUs, LCORE_NOW_US);
  const count = load<u32>(lcore, LCORE_OWED_COUNT);
  let kept: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const queue: usize = load<u32>(lcore + (i << 2), LCORE_OWED);
    if (load<u32>(queue, QUEUE_OWED) != 0) {
      const due = all != 0 || <i32>(nowUs + since - load<u32>(queue, QUEUE_OWED_DEADLINE)) >= 0;
      if (!due || !settle(lcoreId, queue)) {
        store<u32>(lcore + (kept << 2), <u32>queue, LCORE_OWED);
        kept++;
        continue;
      }
    }
    atomic.store<u32>(queue, 0, QUEUE_OWER);
  }
  store<u32>(lcore, kept, LCORE_OWED_COUNT);
  return kept;
}

/** False while another lcore, or the control plane, holds the queue: its burst may tell the peer, or we do at the next look. */
function settle(lcoreId: u32, queue: usize): bool {
  if (atomic.cmpxchg<u32>(queue, 0, (lcoreId & 0x7fff_ffff) + 1, QUEUE_LOCK) != 0) return false;
  if (load<u32>(queue, QUEUE_OWED) != 0) payOwed(queue);
  leaveQueue(queue);
  return true;
}
