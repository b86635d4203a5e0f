/** Counters and causes: a drop is always counted, a queue that stops always says why. */
import { MBUF_PKT_LEN, QUEUE_BURSTS, QUEUE_BYTES, QUEUE_DROPS, QUEUE_PACKETS, QUEUE_RUN, QUEUE_STOP_CAUSE } from './layout';

/** One packet dropped for `cause` (DROP_*). Kept out of line: this is no hot path. */
export function countDrop(queue: usize, cause: u32): void {
  const counter = queue + (cause << 3);
  store<u64>(counter, load<u64>(counter, QUEUE_DROPS) + 1, QUEUE_DROPS);
}

/** The queue stops itself for `cause` (STOP_*): no other queue, no other port. The caller holds its lock. */
export function stopQueue(queue: usize, cause: u32): void {
  store<u32>(queue, cause, QUEUE_STOP_CAUSE);
  store<u32>(queue, 0, QUEUE_RUN);
}

/** A burst that moved `packets` packets of `bytes` bytes in all. */
// @ts-ignore: decorator
@inline
export function countBurst(queue: usize, packets: u32, bytes: u64): void {
  store<u64>(queue, load<u64>(queue, QUEUE_PACKETS) + packets, QUEUE_PACKETS);
  store<u64>(queue, load<u64>(queue, QUEUE_BYTES) + bytes, QUEUE_BYTES);
  store<u64>(queue, load<u64>(queue, QUEUE_BURSTS) + 1, QUEUE_BURSTS);
}

/** Bytes of the frames in a burst. */
// @ts-ignore: decorator
@inline
export function burstBytes(burst: usize, count: u32): u64 {
  let bytes: u64 = 0;
  for (let at = burst, end = burst + (count << 2); at < end; at += 4) bytes += load<u32>(load<u32>(at), MBUF_PKT_LEN);
  return bytes;
}
