/** Notifications on a packed ring, both ways, for both sides. Virtio 1.2 sections 2.8.10 and 2.8.14. */
import {
  QUEUE_AVAIL,
  QUEUE_DESC,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_SIGNALLED,
  QUEUE_SIGNALLED_VALID,
  QUEUE_USED,
  QUEUE_VQ_FLAGS,
  QUEUE_VQ_SIZE,
  RING_SIGNALLED,
  RING_STARTED,
  VQ_EVENT_IDX,
} from '../layout';
import { countSuppressed, isOwing, notifyOrOwe, oweMore, payOwed, sendNotification } from './coalesce';
import {
  availState,
  EVENT_DESC,
  EVENT_DISABLE,
  EVENT_ENABLE,
  EVENT_FLAGS,
  EVENT_OFF_WRAP,
  PACKED_DESC_SIZE,
  PACKED_TAIL,
  packedNeedEvent,
  packedState,
  positionIndex,
  positionWrap,
  usedState,
} from './packed';

/** Device: after `entries` more are used and it moved to position `now`, interrupts the driver if it asked; see notifyDriver. */
export function notifyPackedDriver(lcoreId: u32, queue: usize, now: u32, entries: u32, urgent: bool): void {
  if (isOwing(queue)) oweMore(lcoreId, queue, entries);
  else if (wantsToHear(queue, load<u32>(queue, QUEUE_AVAIL), now)) notifyOrOwe(lcoreId, queue, entries, urgent);
  else countSuppressed(queue);
}

/** Driver: after it moved to position `now`, kicks the device if it asked for it. */
export function notifyPackedDevice(queue: usize, now: u32): void {
  if (wantsToHear(queue, load<u32>(queue, QUEUE_USED), now)) sendNotification(queue);
  else countSuppressed(queue);
}

/** `event`: the event suppression structure that the other side writes. */
// @ts-ignore: decorator
@inline
function wantsToHear(queue: usize, event: usize, now: u32): bool {
  // Both halves at once: the offset belongs to these flags.
  const wish = atomic.load<u32>(event);
  const flags = (wish >> 16) & 3;
  let wanted = flags != EVENT_DISABLE;
  // Without an event index DESC is reserved: who says it may be waiting for any entry, and is told of each.
  const eventIdx = (load<u32>(queue, QUEUE_VQ_FLAGS) & VQ_EVENT_IDX) != 0;
  if (flags == EVENT_DESC && eventIdx && load<u32>(queue, QUEUE_SIGNALLED_VALID) == RING_SIGNALLED) {
    wanted = packedNeedEvent(wish & 0xffff, now, load<u32>(queue, QUEUE_SIGNALLED), load<u32>(queue, QUEUE_VQ_SIZE));
  }
  store<u32>(queue, now, QUEUE_SIGNALLED);
  store<u32>(queue, RING_SIGNALLED, QUEUE_SIGNALLED_VALID);
  return wanted;
}

/** Device, first look at a ring that the control plane has just started. */
export function startPackedRing(queue: usize): void {
  disarmPacked(load<u32>(queue, QUEUE_USED));
  if (isOwing(queue)) payOwed(queue); // from before it was stopped
  store<u32>(queue, RING_STARTED, QUEUE_SIGNALLED_VALID);
}

/** Polls again: the structure at `event` is this side's own. */
export function disarmPacked(event: usize): void {
  atomic.store<u16>(event, <u16>EVENT_DISABLE, EVENT_FLAGS);
}

/** Device: wants a kick for the next available descriptor. True if one is there already. */
export function armPackedDevice(queue: usize): bool {
  const next = load<u32>(queue, QUEUE_LAST_AVAIL);
  arm(queue, load<u32>(queue, QUEUE_USED), next);
  return hasPackedAvail(queue);
}

/** Device: descriptors wait to be taken. */
export function hasPackedAvail(queue: usize): bool {
  const next = load<u32>(queue, QUEUE_LAST_AVAIL);
  return stateAt(queue, next) == availState(positionWrap(next));
}

/** Driver: wants an interrupt for the next used descriptor. True if one is there already. */
export function armPackedDriver(queue: usize): bool {
  const next = load<u32>(queue, QUEUE_LAST_USED);
  arm(queue, load<u32>(queue, QUEUE_AVAIL), next);
  return hasPackedUsed(queue);
}

/** Driver: descriptors wait to be taken back. */
export function hasPackedUsed(queue: usize): bool {
  const next = load<u32>(queue, QUEUE_LAST_USED);
  return stateAt(queue, next) == usedState(positionWrap(next));
}

function arm(queue: usize, event: usize, next: u32): void {
  if (load<u32>(queue, QUEUE_VQ_FLAGS) & VQ_EVENT_IDX) {
    atomic.store<u16>(event, <u16>next, EVENT_OFF_WRAP);
    atomic.store<u16>(event, <u16>EVENT_DESC, EVENT_FLAGS);
  } else {
    atomic.store<u16>(event, <u16>EVENT_ENABLE, EVENT_FLAGS);
  }
}

function stateAt(queue: usize, position: u32): u32 {
  const desc = <usize>load<u32>(queue, QUEUE_DESC) + positionIndex(position) * PACKED_DESC_SIZE;
  return packedState(atomic.load<u64>(desc, PACKED_TAIL));
}
