/**
 * Waking others. The module's only import: `notify(fd)` signals an eventfd and answers 0, anything else if it could not; it does
 * nothing without an operating system behind it. Inside the process a sleeper is found through its lcore record.
 */
import {
  LCORE_SLEEP_FUTEX,
  LCORE_SLEEP_POLL,
  LCORE_SLEEPING,
  LCORE_WAKE_FD,
  LCORE_WAKE_WORD,
  QUEUE_CALL_FD,
  QUEUE_PEER,
  QUEUE_WAITER,
} from './layout';

// @ts-ignore: decorator
@external('env', 'notify')
declare function notify(fd: i32): i32;

/**
 * Wakes the lcore if it sleeps, or is about to: the word advances first, so that a sleeper that has not yet blocked sees
 * that it changed.
 */
export function wakeLcore(lcore: usize): void {
  atomic.add<u32>(lcore, 1, LCORE_WAKE_WORD);
  const sleeping = atomic.load<u32>(lcore, LCORE_SLEEPING);
  if (sleeping == LCORE_SLEEP_FUTEX) atomic.notify(lcore + LCORE_WAKE_WORD, 1);
  else if (sleeping == LCORE_SLEEP_POLL) notify(load<i32>(lcore, LCORE_WAKE_FD));
}

/**
 * Signals the other side of a queue: its eventfd, or the lcore of this process that sleeps for its end. False if the
 * eventfd could not be written.
 */
export function signalPeer(queue: usize): bool {
  const fd = load<i32>(queue, QUEUE_CALL_FD);
  if (fd >= 0) return notify(fd) == 0;
  const peer: usize = load<u32>(queue, QUEUE_PEER);
  if (peer == 0) return true;
  const waiter: usize = atomic.load<u32>(peer, QUEUE_WAITER);
  if (waiter != 0) wakeLcore(waiter);
  return true;
}
