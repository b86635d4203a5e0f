/**
 * Notifications on a split ring, both ways, for both sides: each side signals through one index (used.idx or avail.idx),
 * and the other side says in flags, or in an event index behind its own ring, whether it wants to hear of it.
 * Virtio 1.2 sections 2.7.7 and 2.7.10.
 */
import {
  QUEUE_AVAIL,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_SIGNALLED,
  QUEUE_SIGNALLED_VALID,
  QUEUE_USED,
  QUEUE_VQ_FLAGS,
  QUEUE_VQ_SIZE,
  RING_FRESH,
  RING_SIGNALLED,
  RING_STARTED,
  VQ_EVENT_IDX,
} from '../layout';
import { countSuppressed, isOwing, notifyOrOwe, oweMore, payOwed, sendNotification } from './coalesce';
import { availEventAt, needEvent, RING_F_NO_NOTIFY, RING_FLAGS_FIELD, RING_IDX, usedEventAt } from './split';

/**
 * Device: after used.idx became `now`, by `entries` more, interrupts the driver if it asked for it; perhaps later. `urgent`: they
 * bring it packets, and do not just give back what it sent.
 */
export function notifyDriver(lcoreId: u32, queue: usize, now: u32, entries: u32, urgent: bool): void {
  if (isOwing(queue)) {
    oweMore(lcoreId, queue, entries);
    return;
  }
  const avail: usize = load<u32>(queue, QUEUE_AVAIL);
  if (wantsToHear(queue, avail, usedEventAt(avail, load<u32>(queue, QUEUE_VQ_SIZE)), now)) {
    notifyOrOwe(lcoreId, queue, entries, urgent);
  } else countSuppressed(queue);
}

/** Driver: after avail.idx became `now`, kicks the device if it asked for it. */
export function notifyDevice(queue: usize, now: u32): void {
  const used: usize = load<u32>(queue, QUEUE_USED);
  if (wantsToHear(queue, used, availEventAt(used, load<u32>(queue, QUEUE_VQ_SIZE)), now)) sendNotification(queue);
  else countSuppressed(queue);
}

/** `flagsRing` is the ring that the other side writes, `eventAt` its event index. One atomic read of either. */
// @ts-ignore: decorator
@inline
function wantsToHear(queue: usize, flagsRing: usize, eventAt: usize, now: u32): bool {
  if (load<u32>(queue, QUEUE_VQ_FLAGS) & VQ_EVENT_IDX) {
    const event = <u32>atomic.load<u16>(eventAt);
    const before = load<u32>(queue, QUEUE_SIGNALLED);
    const wanted = load<u32>(queue, QUEUE_SIGNALLED_VALID) != RING_SIGNALLED || needEvent(event, now, before);
    store<u32>(queue, now, QUEUE_SIGNALLED);
    store<u32>(queue, RING_SIGNALLED, QUEUE_SIGNALLED_VALID);
    return wanted;
  }
  return (<u32>atomic.load<u16>(flagsRing, RING_FLAGS_FIELD) & RING_F_NO_NOTIFY) == 0;
}

/** Device, first look at a ring that the control plane has just started: no kicks, and used.idx decides where it goes on. */
export function startDeviceRing(queue: usize): void {
  const used: usize = load<u32>(queue, QUEUE_USED);
  // A back end that died between two index writes leaves used.idx behind the base: what it took is lost, nothing twice.
  const usedIdx = <u32>atomic.load<u16>(used, RING_IDX);
  if (usedIdx != load<u32>(queue, QUEUE_LAST_USED)) {
    store<u32>(queue, usedIdx, QUEUE_LAST_USED);
    store<u32>(queue, usedIdx, QUEUE_LAST_AVAIL);
  }
  disarmDevice(queue);
  if (isOwing(queue)) payOwed(queue); // from before it was stopped
  store<u32>(queue, RING_STARTED, QUEUE_SIGNALLED_VALID);
}

// @ts-ignore: decorator
@inline
export function isFresh(queue: usize): bool {
  return load<u32>(queue, QUEUE_SIGNALLED_VALID) == RING_FRESH;
}

/** Device: wants a kick for the next available entry. True if one is there already. */
export function armDevice(queue: usize): bool {
  const used: usize = load<u32>(queue, QUEUE_USED);
  const next = load<u32>(queue, QUEUE_LAST_AVAIL);
  if (load<u32>(queue, QUEUE_VQ_FLAGS) & VQ_EVENT_IDX) {
    atomic.store<u16>(availEventAt(used, load<u32>(queue, QUEUE_VQ_SIZE)), <u16>next);
  } else {
    atomic.store<u16>(used, 0, RING_FLAGS_FIELD);
  }
  return hasAvail(queue);
}

/** Device: entries wait to be taken. */
export function hasAvail(queue: usize): bool {
  return <u32>atomic.load<u16>(load<u32>(queue, QUEUE_AVAIL), RING_IDX) != load<u32>(queue, QUEUE_LAST_AVAIL);
}

/** Device: polls again. With an event index a stale one costs a kick in 65536 entries. */
export function disarmDevice(queue: usize): void {
  if (load<u32>(queue, QUEUE_VQ_FLAGS) & VQ_EVENT_IDX) return;
  atomic.store<u16>(load<u32>(queue, QUEUE_USED), <u16>RING_F_NO_NOTIFY, RING_FLAGS_FIELD);
}

/** Driver: wants an interrupt for the next used entry. True if one is there already. */
export function armDriver(queue: usize): bool {
  const avail: usize = load<u32>(queue, QUEUE_AVAIL);
  const next = load<u32>(queue, QUEUE_LAST_USED);
  if (load<u32>(queue, QUEUE_VQ_FLAGS) & VQ_EVENT_IDX) {
    atomic.store<u16>(usedEventAt(avail, load<u32>(queue, QUEUE_VQ_SIZE)), <u16>next);
  } else {
    atomic.store<u16>(avail, 0, RING_FLAGS_FIELD);
  }
  return hasUsed(queue);
}

/** Driver: entries wait to be taken back. */
export function hasUsed(queue: usize): bool {
  return <u32>atomic.load<u16>(load<u32>(queue, QUEUE_USED), RING_IDX) != load<u32>(queue, QUEUE_LAST_USED);
}

/** Driver: polls again. */
export function disarmDriver(queue: usize): void {
  if (load<u32>(queue, QUEUE_VQ_FLAGS) & VQ_EVENT_IDX) return;
  atomic.store<u16>(load<u32>(queue, QUEUE_AVAIL), <u16>RING_F_NO_NOTIFY, RING_FLAGS_FIELD);
}
