/**
 * Fewer notifications, in the manner of `ethtool -C`: a device may tell its driver of used buffers later, together with others
 * (virtio 1.2 section 5.1.6.5.7 has it as VIRTIO_NET_F_NOTF_COAL). What is wanted and not sent yet is owed: the queue says so
 * (QUEUE_OWED) and stands in the list of the lcore that owes it (LCORE_OWED). It is sent
 *   - when QUEUE_COALESCE_FRAMES entries, or half a ring's, have come together: by the burst that brings the last one;
 *   - when QUEUE_COALESCE_US microseconds have passed since the first: by the lcore's loop, whose rounds between two looks at
 *     the clock are few while anything is owed (lcoreRun, lcoreFlush);
 *   - at the end of the lcore's round, where it only gives back what the driver sent;
 *   - before the lcore sleeps, or does anything else than to poll; at once by an lcore that is in no such loop, and by
 *     any that does not owe it itself.
 *
 * Adaptive: only where the queue is under load, that is where a notification put off would be one for LOAD_PACKETS packets or
 * more. A ring that was quiet is notified at once, so that a lone packet, or a request and its answer, never wait.
 *
 * A driver that polls, and one that has not said that it wants to hear of the next entry, is not owed anything: it costs nothing
 * here. The caller holds the queue's lock.
 */
import { signalPeer } from '../hook';
import {
  COALESCE_ADAPTIVE,
  COALESCE_OFF,
  LCORE_BASE,
  LCORE_MODERATED,
  LCORE_NOW_US,
  LCORE_OWED,
  LCORE_OWED_COUNT,
  LCORE_SIZE,
  MAX_LCORES,
  MAX_OWED,
  QUEUE_COALESCE,
  QUEUE_COALESCE_FRAMES,
  QUEUE_COALESCE_US,
  QUEUE_LAST_USED,
  QUEUE_LOAD_PACKETS,
  QUEUE_LOAD_SINCE,
  QUEUE_LOADED,
  QUEUE_NOTIFIED,
  QUEUE_NOTIFY_ERRORS,
  QUEUE_OWED,
  QUEUE_OWED_DEADLINE,
  QUEUE_OWER,
  QUEUE_PACKETS,
  QUEUE_POSTPONED,
  QUEUE_SIGNALLED,
  QUEUE_SIGNALLED_VALID,
  QUEUE_SUPPRESSED,
  QUEUE_VQ_SIZE,
  RING_SIGNALLED,
} from '../layout';

/** Adaptive: packets that must be expected within QUEUE_COALESCE_US for a notification to wait for them. */
const LOAD_PACKETS: u32 = 16;

// @ts-ignore: decorator
@inline
function countOne(queue: usize, counter: usize): void {
  store<u64>(queue + counter, load<u64>(queue + counter) + 1);
}

/** The other side wants no notification. */
// @ts-ignore: decorator
@inline
export function countSuppressed(queue: usize): void {
  countOne(queue, QUEUE_SUPPRESSED);
}

/** Signals the other side, and counts it. */
export function sendNotification(queue: usize): void {
  if (signalPeer(queue)) countOne(queue, QUEUE_NOTIFIED);
  else countOne(queue, QUEUE_NOTIFY_ERRORS);
}

// @ts-ignore: decorator
@inline
export function isOwing(queue: usize): bool {
  return load<u32>(queue, QUEUE_OWED) != 0;
}

/** Sends what is owed. Reads no guest memory: it may be called when the ring is gone. */
export function payOwed(queue: usize): void {
  store<u32>(queue, 0, QUEUE_OWED);
  // all entries up to here are told of
  store<u32>(queue, load<u32>(queue, QUEUE_LAST_USED), QUEUE_SIGNALLED);
  store<u32>(queue, RING_SIGNALLED, QUEUE_SIGNALLED_VALID);
  sendNotification(queue);
}

/** Device: the driver wants to hear of `entries` more used entries. Sends the notification, or owes it. */
export function notifyOrOwe(lcoreId: u32, queue: usize, entries: u32, urgent: bool): void {
  if (load<u32>(queue, QUEUE_COALESCE) != COALESCE_OFF && postpone(lcoreId, queue, entries)) {
    countOne(queue, QUEUE_POSTPONED);
  } else if (urgent || !oweUntilRoundEnds(lcoreId, queue, entries)) sendNotification(queue);
}

/**
 * To wake a processor that sleeps takes the caller tens of microseconds. Who sent a packet can wait until it has been handed on:
 * first its receiver is told, then, at the end of the lcore's round over its streams, the sender.
 */
function oweUntilRoundEnds(lcoreId: u32, queue: usize, entries: u32): bool {
  const lcore = moderatedLcore(lcoreId);
  if (lcore == 0 || !enlist(lcore, queue)) return false;
  store<u32>(queue, entries, QUEUE_OWED);
  store<u32>(queue, load<u32>(lcore, LCORE_NOW_US), QUEUE_OWED_DEADLINE); // due at the next look
  return true;
}

/** Device: `entries` more while a notification is owed: it waits for them too, or is sent now. */
export function oweMore(lcoreId: u32, queue: usize, entries: u32): void {
  const owed = load<u32>(queue, QUEUE_OWED) + entries;
  const lcore = moderatedLcore(lcoreId);
  if (
    lcore == 0 ||
    load<u32>(queue, QUEUE_OWER) != lcore ||
    owed >= frameLimit(queue) ||
    <i32>(load<u32>(lcore, LCORE_NOW_US) - load<u32>(queue, QUEUE_OWED_DEADLINE)) >= 0
  ) {
    payOwed(queue);
    return;
  }
  store<u32>(queue, owed, QUEUE_OWED);
  countOne(queue, QUEUE_POSTPONED);
}

function postpone(lcoreId: u32, queue: usize, entries: u32): bool {
  const lcore = moderatedLcore(lcoreId);
  if (lcore == 0) return false;
  const now = load<u32>(lcore, LCORE_NOW_US);
  if (load<u32>(queue, QUEUE_COALESCE) == COALESCE_ADAPTIVE && !isUnderLoad(queue, now)) return false;
  if (entries >= frameLimit(queue) || !enlist(lcore, queue)) return false;
  store<u32>(queue, entries, QUEUE_OWED);
  store<u32>(queue, now + load<u32>(queue, QUEUE_COALESCE_US), QUEUE_OWED_DEADLINE);
  return true;
}

/** The lcore's record, 0 if it does not promise to send what is owed. */
function moderatedLcore(lcoreId: u32): usize {
  if (lcoreId >= MAX_LCORES) return 0;
  const lcore: usize = LCORE_BASE + lcoreId * LCORE_SIZE;
  return load<u32>(lcore, LCORE_MODERATED) != 0 ? lcore : 0;
}

/** A ring must not run dry for want of a notification, so at most half of it. */
function frameLimit(queue: usize): u32 {
  return min(load<u32>(queue, QUEUE_COALESCE_FRAMES), load<u32>(queue, QUEUE_VQ_SIZE) >> 1);
}

/** Puts the queue into the lcore's list; false if it is in another's, or the list is full. */
function enlist(lcore: usize, queue: usize): bool {
  const ower: usize = atomic.load<u32>(queue, QUEUE_OWER);
  if (ower == lcore) return true;
  const count = load<u32>(lcore, LCORE_OWED_COUNT);
  if (ower != 0 || count >= MAX_OWED) return false;
  store<u32>(lcore + (count << 2), <u32>queue, LCORE_OWED);
  store<u32>(lcore, count + 1, LCORE_OWED_COUNT);
  atomic.store<u32>(queue, <u32>lcore, QUEUE_OWER);
  return true;
}

/** The load, measured anew whenever QUEUE_COALESCE_US have passed since the last time, over all the time since then. */
function isUnderLoad(queue: usize, now: u32): bool {
  const elapsed = now - load<u32>(queue, QUEUE_LOAD_SINCE);
  const window = load<u32>(queue, QUEUE_COALESCE_US);
  if (elapsed >= window) {
    const packets = load<u32>(queue, QUEUE_PACKETS);
    const moved: u64 = packets - load<u32>(queue, QUEUE_LOAD_PACKETS);
    store<u32>(queue, <u32>(moved * window >= <u64>LOAD_PACKETS * elapsed), QUEUE_LOADED);
    store<u32>(queue, packets, QUEUE_LOAD_PACKETS);
    store<u32>(queue, now, QUEUE_LOAD_SINCE);
  }
  return load<u32>(queue, QUEUE_LOADED) != 0;
}
