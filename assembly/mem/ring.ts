/**
 * A bounded first-in first-out queue of u32 objects between threads (rte_ring). Head and tail indexes run freely modulo
 * 2^32 and are masked into the slots:
 *
 *   consTail ≤ consHead ≤ prodTail ≤ prodHead ≤ consTail + capacity
 *
 *   many producers: move prodHead by compare-and-swap (the slots between are mine), copy, wait until prodTail reaches
 *   my old head (those before me have finished), store prodTail. Consumers likewise with their own pair.
 *   one producer: nobody else moves the head, so head and tail are one: prodTail alone, published after the copy. An
 *   atomic write costs more than copying 32 objects (WebAssembly knows no release store, only the sequentially
 *   consistent one), so this mode has exactly one, the publishing store.
 *
 * The mode of each side is fixed at ringInit: RING_F_SP_ENQ, RING_F_SC_DEQ. A side in single mode must be used by one
 * thread at a time.
 */
import {
  RING_CAPACITY,
  RING_CONS_HEAD,
  RING_CONS_TAIL,
  RING_F_SC_DEQ,
  RING_F_SP_ENQ,
  RING_FLAGS,
  RING_MASK,
  RING_PROD_HEAD,
  RING_PROD_TAIL,
  RING_SIZE,
  RING_SLOTS,
} from '../layout';

/** Looks at the other thread's tail before the waiter gives its CPU away: that thread may have lost its own. */
const SPINS: u32 = 1024;
/** Then sleeps so long at a time, nanoseconds. */
const YIELD_NS: i64 = 20_000;

/** Prepares an empty ring (rte_ring_init). `size` is a power of two; the ring holds size − 1 objects. */
export function ringInit(ring: u32, size: u32, flags: u32): void {
  store<u32>(ring, size, RING_SIZE);
  store<u32>(ring, size - 1, RING_MASK);
  store<u32>(ring, size - 1, RING_CAPACITY);
  store<u32>(ring, flags, RING_FLAGS);
  store<u32>(ring, 0, RING_PROD_HEAD);
  store<u32>(ring, 0, RING_CONS_HEAD);
  atomic.store<u32>(ring, 0, RING_CONS_TAIL);
  atomic.store<u32>(ring, 0, RING_PROD_TAIL);
}

/** Copies `count` u32 forwards. The ranges do not overlap. */
// @ts-ignore: decorator
@inline
export function copyWords(to: u32, from: u32, count: u32): void {
  // 16 a turn: the check for interrupts that V8 puts into every loop costs as much as a move
  while (count >= 16) {
    v128.store(to, v128.load(from));
    v128.store(to, v128.load(from, 16), 16);
    v128.store(to, v128.load(from, 32), 32);
    v128.store(to, v128.load(from, 48), 48);
    to += 64;
    from += 64;
    count -= 16;
  }
  while (count >= 4) {
    v128.store(to, v128.load(from));
    to += 16;
    from += 16;
    count -= 4;
  }
  while (count != 0) {
    store<u32>(to, load<u32>(from));
    to += 4;
    from += 4;
    count--;
  }
}

/** Slots for the objects [head, head + count): in one piece, or in two around the end. */
// @ts-ignore: decorator
@inline
function copyIn(ring: u32, head: u32, objects: u32, count: u32): void {
  const index = head & load<u32>(ring, RING_MASK);
  const slot = ring + RING_SLOTS + (index << 2);
  const toEnd = load<u32>(ring, RING_SIZE) - index;
  if (count <= toEnd) {
    copyWords(slot, objects, count);
  } else {
    copyInWrapped(ring, slot, toEnd, objects, count);
  }
}

function copyInWrapped(ring: u32, slot: u32, toEnd: u32, objects: u32, count: u32): void {
  copyWords(slot, objects, toEnd);
  copyWords(ring + RING_SLOTS, objects + (toEnd << 2), count - toEnd);
}

// @ts-ignore: decorator
@inline
function copyOut(ring: u32, head: u32, objects: u32, count: u32): void {
  const index = head & load<u32>(ring, RING_MASK);
  const slot = ring + RING_SLOTS + (index << 2);
  const toEnd = load<u32>(ring, RING_SIZE) - index;
  if (count <= toEnd) {
    copyWords(objects, slot, count);
  } else {
    copyOutWrapped(ring, slot, toEnd, objects, count);
  }
}

function copyOutWrapped(ring: u32, slot: u32, toEnd: u32, objects: u32, count: u32): void {
  copyWords(objects, slot, toEnd);
  copyWords(objects + (toEnd << 2), ring + RING_SLOTS, count - toEnd);
}

/**
 * How many of `wanted` objects may move when `available` can: bulk takes all or nothing, burst what it gets.
 */
// @ts-ignore: decorator
@inline
function grant(wanted: u32, available: u32, bulk: bool): u32 {
  if (wanted <= available) return wanted;
  return bulk ? 0 : available;
}

/** Reserves slots among many producers: old head in the high word, count in the low one. */
// @ts-ignore: decorator
@inline
function reserveProducer(ring: u32, wanted: u32, bulk: bool): u64 {
  const capacity = load<u32>(ring, RING_CAPACITY);
  while (true) {
    // head before tail: a head that is old then fails the exchange, however far the tail has run
    const head = atomic.load<u32>(ring, RING_PROD_HEAD);
    const count = grant(wanted, capacity + atomic.load<u32>(ring, RING_CONS_TAIL) - head, bulk);
    if (count == 0) return 0;
    if (atomic.cmpxchg<u32>(ring, head, head + count, RING_PROD_HEAD) == head) return (u64(head) << 32) | u64(count);
  }
}

// @ts-ignore: decorator
@inline
function reserveConsumer(ring: u32, wanted: u32, bulk: bool): u64 {
  while (true) {
    const head = atomic.load<u32>(ring, RING_CONS_HEAD);
    const count = grant(wanted, atomic.load<u32>(ring, RING_PROD_TAIL) - head, bulk);
    if (count == 0) return 0;
    if (atomic.cmpxchg<u32>(ring, head, head + count, RING_CONS_HEAD) == head) return (u64(head) << 32) | u64(count);
  }
}

/** Publishes [head, head + count) once everything before it is published. `tail` is the tail's address. */
// @ts-ignore: decorator
@inline
function publishInTurn(tail: u32, head: u32, count: u32): void {
  if (atomic.load<u32>(tail) != head) waitForTurn(tail, head);
  atomic.store<u32>(tail, head + count);
}

/** Bounded by the other lcores' copies only: each is a few dozen instructions, unless its thread lost the CPU. */
function waitForTurn(tail: u32, head: u32): void {
  let spins: u32 = 0;
  while (true) {
    const seen = atomic.load<u32>(tail);
    if (seen == head) return;
    if (++spins >= SPINS) atomic.wait<i32>(tail, seen, YIELD_NS); // nobody notifies: this is a short sleep
  }
}

// @ts-ignore: decorator
@inline
function enqueue(ring: u32, objects: u32, wanted: u32, bulk: bool): u32 {
  if (load<u32>(ring, RING_FLAGS) & RING_F_SP_ENQ) {
    const head = load<u32>(ring, RING_PROD_TAIL);
    const free = load<u32>(ring, RING_CAPACITY) + atomic.load<u32>(ring, RING_CONS_TAIL) - head;
    const count = grant(wanted, free, bulk);
    if (count == 0) return 0;
    copyIn(ring, head, objects, count);
    atomic.store<u32>(ring, head + count, RING_PROD_TAIL);
    return count;
  }
  const reserved = reserveProducer(ring, wanted, bulk);
  const count = u32(reserved);
  if (count == 0) return 0;
  const head = u32(reserved >> 32);
  copyIn(ring, head, objects, count);
  publishInTurn(ring + RING_PROD_TAIL, head, count);
  return count;
}

// @ts-ignore: decorator
@inline
function dequeue(ring: u32, objects: u32, wanted: u32, bulk: bool): u32 {
  if (load<u32>(ring, RING_FLAGS) & RING_F_SC_DEQ) {
    const head = load<u32>(ring, RING_CONS_TAIL);
    const count = grant(wanted, atomic.load<u32>(ring, RING_PROD_TAIL) - head, bulk);
    if (count == 0) return 0;
    copyOut(ring, head, objects, count);
    atomic.store<u32>(ring, head + count, RING_CONS_TAIL);
    return count;
  }
  const reserved = reserveConsumer(ring, wanted, bulk);
  const count = u32(reserved);
  if (count == 0) return 0;
  const head = u32(reserved >> 32);
  copyOut(ring, head, objects, count);
  publishInTurn(ring + RING_CONS_TAIL, head, count);
  return count;
}

/** Adds all `count` objects of the array at `objects`, or none: returns `count` or 0 (rte_ring_enqueue_bulk). */
export function ringEnqueueBulk(ring: u32, objects: u32, count: u32): u32 {
  return enqueue(ring, objects, count, true);
}

/** Adds as many as fit, in order: returns how many (rte_ring_enqueue_burst). */
export function ringEnqueueBurst(ring: u32, objects: u32, count: u32): u32 {
  return enqueue(ring, objects, count, false);
}

/** Takes `count` objects, or none: returns `count` or 0 (rte_ring_dequeue_bulk). */
export function ringDequeueBulk(ring: u32, objects: u32, count: u32): u32 {
  return dequeue(ring, objects, count, true);
}

/** Takes as many as there are, up to `count`: returns how many (rte_ring_dequeue_burst). */
export function ringDequeueBurst(ring: u32, objects: u32, count: u32): u32 {
  return dequeue(ring, objects, count, false);
}

/** One object by value, for callers that have no array: 1, or 0 when full. Many-producer rings only. */
export function ringEnqueueOneMp(ring: u32, object: u32): u32 {
  const reserved = reserveProducer(ring, 1, true);
  if (u32(reserved) == 0) return 0;
  const head = u32(reserved >> 32);
  store<u32>(ring + ((head & load<u32>(ring, RING_MASK)) << 2), object, RING_SLOTS);
  publishInTurn(ring + RING_PROD_TAIL, head, 1);
  return 1;
}

/** One object by value, 0 when empty (so for objects that are addresses). Many-consumer rings only. */
export function ringDequeueOneMc(ring: u32): u32 {
  const reserved = reserveConsumer(ring, 1, true);
  if (u32(reserved) == 0) return 0;
  const head = u32(reserved >> 32);
  const object = load<u32>(ring + ((head & load<u32>(ring, RING_MASK)) << 2), RING_SLOTS);
  publishInTurn(ring + RING_CONS_TAIL, head, 1);
  return object;
}

/** Objects in the ring at some moment of the call (rte_ring_count). */
export function ringCount(ring: u32): u32 {
  // consumer first: the producer only runs ahead meanwhile, so the difference is never negative, but may be too large
  const tail = atomic.load<u32>(ring, RING_CONS_TAIL);
  const count = atomic.load<u32>(ring, RING_PROD_TAIL) - tail;
  const capacity = load<u32>(ring, RING_CAPACITY);
  return count < capacity ? count : capacity;
}

/** Free slots at some moment of the call (rte_ring_free_count). */
export function ringFreeCount(ring: u32): u32 {
  return load<u32>(ring, RING_CAPACITY) - ringCount(ring);
}
