/** Notifications on a packed ring, both ways, for both sides. Virtio 1.2 sections 2.8.10 and 2.8.14. */
import { signalPeer } from '../hook';
import {
  QUEUE_AVAIL,
  QUEUE_DESC,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_NOTIFIED,
  QUEUE_SIGNALLED,
  QUEUE_SIGNALLED_VALID,
  QUEUE_SUPPRESSED,
  QUEUE_USED,
  QUEUE_VQ_FLAGS,
  QUEUE_VQ_SIZE,
  RING_SIGNALLED,
  RING_STARTED,
  VQ_EVENT_IDX,
} from '../layout';
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

/** After this side moved to position `now`: signals the other if its event structure, at `event`, asks for it. */
export function packedNotify(queue: usize, event: usize, now: u32): void {
  // Both halves at once: the offset belongs to these flags.
  const wish = atomic.load<u32>(event);
  const flags = (wish >> 16) & 3;
  let wanted = flags != EVENT_DISABLE;
  if (flags == EVENT_DESC && load<u32>(queue, QUEUE_SIGNALLED_VALID) == RING_SIGNALLED) {
    wanted = packedNeedEvent(wish & 0xffff, now, load<u32>(queue, QUEUE_SIGNALLED), load<u32>(queue, QUEUE_VQ_SIZE));
  }
  store<u32>(queue, now, QUEUE_SIGNALLED);
  store<u32>(queue, RING_SIGNALLED, QUEUE_SIGNALLED_VALID);
  if (wanted) {
    store<u64>(queue, load<u64>(queue, QUEUE_NOTIFIED) + 1, QUEUE_NOTIFIED);
    signalPeer(queue);
  } else {
    store<u64>(queue, load<u64>(queue, QUEUE_SUPPRESSED) + 1, QUEUE_SUPPRESSED);
  }
}

/** Device, first look at a ring that the control plane has just started. */
export function startPackedRing(queue: usize): void {
  disarmPacked(load<u32>(queue, QUEUE_USED));
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
  return stateAt(queue, next) == availState(positionWrap(next));
}

/** Driver: wants an interrupt for the next used descriptor. True if one is there already. */
export function armPackedDriver(queue: usize): bool {
  const next = load<u32>(queue, QUEUE_LAST_USED);
  arm(queue, load<u32>(queue, QUEUE_AVAIL), next);
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
