/**
 * Counters and causes: a drop is always counted, a queue that stops always says why.
 *
 * Frames by length and by kind of destination, DPDK's vhost counters, must cost next to nothing. So the loops that move
 * frames only gather whether all frames of the burst are unicast and as long as the last burst's (`mixFrame`): then one
 * addition counts them all. Only a burst that is mixed is looked at again frame by frame.
 */
import {
  BURST_BIN_COUNT,
  MBUF_BUF,
  MBUF_DATA_OFF,
  MBUF_PKT_LEN,
  QUEUE_BROADCAST,
  QUEUE_BURST_BINS,
  QUEUE_BURSTS,
  QUEUE_BYTES,
  QUEUE_DROPS,
  QUEUE_EXPECTED_LEN,
  QUEUE_MULTICAST,
  QUEUE_PACKETS,
  QUEUE_RUN,
  QUEUE_SIZE_BINS,
  QUEUE_STOP_CAUSE,
} from './layout';

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

/** A burst that moved `packets` packets, at least one, of `bytes` bytes in all; neither sizes nor kinds. */
// @ts-ignore: decorator
@inline
export function countBurst(queue: usize, packets: u32, bytes: u64): void {
  store<u64>(queue, load<u64>(queue, QUEUE_PACKETS) + packets, QUEUE_PACKETS);
  store<u64>(queue, load<u64>(queue, QUEUE_BYTES) + bytes, QUEUE_BYTES);
  countBurstSize(queue, packets, 1);
}

/** A burst of `packets` packets, at least one; or takes it back (`one` = -1). */
// @ts-ignore: decorator
@inline
export function countBurstSize(queue: usize, packets: u32, one: u64): void {
  store<u64>(queue, load<u64>(queue, QUEUE_BURSTS) + one, QUEUE_BURSTS);
  // 2^n to 2^(n+1) - 1 packets; the last bin has all above
  const bin = queue + (min<u32>(31 - clz<u32>(packets), BURST_BIN_COUNT - 1) << 3);
  store<u64>(bin, load<u64>(bin, QUEUE_BURST_BINS) + one, QUEUE_BURST_BINS);
}

/** The frame length that `mixFrame` compares with. */
// @ts-ignore: decorator
@inline
export function expectedLen(queue: usize): u32 {
  return load<u32>(queue, QUEUE_EXPECTED_LEN);
}

/** `mix` with one more frame, which begins at `data`: stays 0 as long as all are unicast and of the expected length. */
// @ts-ignore: decorator
@inline
export function mixFrame(mix: u32, expected: u32, frameLen: u32, data: usize): u32 {
  return mix | ((frameLen ^ expected) << 1) | (load<u32>(data) & 1);
}

/** `mix` of a burst whose frames must be looked at one by one. */
export const MIXED: u32 = 0x8000_0000;

/**
 * A burst that took the first `count` packets at `burst`, perhaps none, of which those before `from` are counted already: `lost` of
 * these were dropped. `mix` is mixFrame's over the others, or over more.
 */
// @ts-ignore: decorator
@inline
export function countFrames(queue: usize, burst: usize, from: u32, count: u32, expected: u32, mix: u32, lost: u32 = 0): void {
  if (count == 0) return;
  const frames = count - from;
  if (mix == 0) {
    store<u64>(queue, load<u64>(queue, QUEUE_PACKETS) + frames, QUEUE_PACKETS);
    store<u64>(queue, load<u64>(queue, QUEUE_BYTES) + <u64>expected * frames, QUEUE_BYTES);
    const bin = queue + sizeBin(expected);
    store<u64>(bin, load<u64>(bin, QUEUE_SIZE_BINS) + frames, QUEUE_SIZE_BINS);
  } else countEach(queue, burst + (from << 2), frames, 1);
  if (count != lost) countBurstSize(queue, count - lost, 1);
}

/** Counts frames one by one, but no burst; or takes them back (`one` = -1). Places in the burst that hold 0 are passed over. */
export function countEach(queue: usize, burst: usize, count: u32, one: u64): void {
  let packets: u64 = 0;
  let bytes: u64 = 0;
  let length = load<u32>(queue, QUEUE_EXPECTED_LEN);
  for (let at = burst, end = burst + (count << 2); at < end; at += 4) {
    const mbuf: usize = load<u32>(at);
    if (mbuf == 0) continue;
    length = load<u32>(mbuf, MBUF_PKT_LEN);
    packets += one;
    bytes += one * length;
    const bin = queue + sizeBin(length);
    store<u64>(bin, load<u64>(bin, QUEUE_SIZE_BINS) + one, QUEUE_SIZE_BINS);
    const data = <usize>load<u32>(mbuf, MBUF_BUF) + load<u32>(mbuf, MBUF_DATA_OFF);
    if (load<u8>(data) & 1) {
      const counter = load<u32>(data) == 0xffff_ffff && load<u16>(data, 4) == 0xffff ? QUEUE_BROADCAST : QUEUE_MULTICAST;
      store<u64>(queue + counter, load<u64>(queue + counter) + one);
    }
  }
  store<u64>(queue, load<u64>(queue, QUEUE_PACKETS) + packets, QUEUE_PACKETS);
  store<u64>(queue, load<u64>(queue, QUEUE_BYTES) + bytes, QUEUE_BYTES);
  store<u32>(queue, length, QUEUE_EXPECTED_LEN);
}

/** Byte offset of a frame length's bin. Without a branch: by its highest bit, and at 64 and 1519 by comparison. */
// @ts-ignore: decorator
@inline
function sizeBin(frameLen: u32): u32 {
  const length = min<u32>(frameLen, 1519);
  return (27 - clz<u32>(length | 32) - <u32>(length <= 64) + <u32>(length == 1519)) << 3;
}

/** Bytes of the frames in a burst. */
// @ts-ignore: decorator
@inline
export function burstBytes(burst: usize, count: u32): u64 {
  let bytes: u64 = 0;
  for (let at = burst, end = burst + (count << 2); at < end; at += 4) bytes += load<u32>(load<u32>(at), MBUF_PKT_LEN);
  return bytes;
}
