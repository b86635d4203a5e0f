/**
 * Notifications on a split ring, both ways, for both sides: each side signals through one index (used.idx or avail.idx),
 * and the other side says in flags, or in an event index behind its own ring, whether it wants to hear of it.
 * Virtio 1.2 sections 2.7.7 and 2.7.10.
 */
import { signalPeer } from '../hook';
import {
  QUEUE_AVAIL,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_NOTIFIED,
  QUEUE_SIGNALLED,
  QUEUE_SIGNALLED_VALID,
  QUEUE_SUPPRESSED,
  QUEUE_USED,
  QUEUE_VQ_FLAGS,
  QUEUE_VQ_SIZE,
  RING_FRESH,
  RING_SIGNALLED,
  RING_STARTED,
  VQ_EVENT_IDX,
} from '../layout';
import { availEventAt, needEvent, RING_F_NO_NOTIFY, RING_FLAGS_FIELD, RING_IDX, usedEventAt } from './split';

/** Device: after used.idx became `now`, interrupts the driver if it asked for it. */
export function notifyDriver(queue: usize, now: u32): void {
  const avail: usize = load<u32>(queue, QUEUE_AVAIL);
  notifyOther(queue, avail, usedEventAt(avail, load<u32>(queue, QUEUE_VQ_SIZE)), now);
}

/** Driver: after avail.idx became `now`, kicks the device if it asked for it. */
export function notifyDevice(queue: usize, now: u32): void {
  const used: usize = load<u32>(queue, QUEUE_USED);
  notifyOther(queue, used, availEventAt(used, load<u32>(queue, QUEUE_VQ_SIZE)), now);
}

/** `flagsRing` is the ring that the other side writes, `eventAt` its event index. One atomic read of either. */
// @ts-ignore: decorator
@inline
function notifyOther(queue: usize, flagsRing: usize, eventAt: usize, now: u32): void {
  let wanted: bool;
  if (load<u32>(queue, QUEUE_VQ_FLAGS) & VQ_EVENT_IDX) {
    const event = <u32>atomic.load<u16>(eventAt);
    wanted = load<u32>(queue, QUEUE_SIGNALLED_VALID) != RING_SIGNALLED || needEvent(event, now, load<u32>(queue, QUEUE_SIGNALLED));
    store<u32>(queue, now, QUEUE_SIGNALLED);
    store<u32>(queue, RING_SIGNALLED, QUEUE_SIGNALLED_VALID);
  } else {
    wanted = (<u32>atomic.load<u16>(flagsRing, RING_FLAGS_FIELD) & RING_F_NO_NOTIFY) == 0;
  }
  if (wanted) {
    store<u64>(queue, load<u64>(queue, QUEUE_NOTIFIED) + 1, QUEUE_NOTIFIED);
    signalPeer(queue);
  } else {
    store<u64>(queue, load<u64>(queue, QUEUE_SUPPRESSED) + 1, QUEUE_SUPPRESSED);
  }
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
  return <u32>atomic.load<u16>(load<u32>(queue, QUEUE_AVAIL), RING_IDX) != next;
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
  return <u32>atomic.load<u16>(load<u32>(queue, QUEUE_USED), RING_IDX) != next;
}

/** Driver: polls again. */
export function disarmDriver(queue: usize): void {
  if (load<u32>(queue, QUEUE_VQ_FLAGS) & VQ_EVENT_IDX) return;
  atomic.store<u16>(load<u32>(queue, QUEUE_AVAIL), <u16>RING_F_NO_NOTIFY, RING_FLAGS_FIELD);
}
