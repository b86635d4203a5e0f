import {
  LCORE_BASE,
  LCORE_SIZE,
  LCORE_SLEEP_POLL,
  LCORE_SLEEPING,
  LCORE_SLEEPS,
  LCORE_STATE,
  LCORE_STATE_DEAD,
  LOCK_CONTROL,
  MAX_LCORES,
  MAX_PORTS,
  PMD_VHOST,
  PORT_BASE,
  PORT_RXQ_COUNT,
  PORT_RXQS,
  PORT_SIZE,
  PORT_TXQ_COUNT,
  PORT_TXQS,
  QUEUE_GATE_ALL,
  QUEUE_GATE_ENABLED,
  QUEUE_GATES,
  QUEUE_ID,
  QUEUE_KICK_FD,
  QUEUE_LOCK,
  QUEUE_PMD,
  QUEUE_POOL,
  QUEUE_PORT,
  QUEUE_RUN,
  QUEUE_STOP_CAUSE,
  RUN_DISCARD,
  RUN_OFF,
  RUN_ON,
  STOP_TRAP,
} from '../../assembly/layout.js';
import { ViaductError } from '../errors.js';
import type { HostMemory } from './memory.js';

/** How long the control plane waits for a lcore that holds a queue: a burst takes microseconds, a descheduled one longer. */
const DEFAULT_TIMEOUT_MS = 2000;

/**
 * Runs `fn` while no lcore touches the queue: the control plane's side of the queue lock. `fn` must not await anything.
 * The lock of a lcore that died is taken over.
 *
 * @throws ERR_INVALID_STATE when a live holder does not let go in time; errors of `fn` pass through
 */
export function withQueueLock<T>(
  memory: HostMemory,
  queueAddress: number,
  fn: () => T,
  { timeoutMs = DEFAULT_TIMEOUT_MS }: { timeoutMs?: number } = {},
): T {
  const index = (queueAddress + QUEUE_LOCK) >>> 2;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const holder = Atomics.compareExchange(memory.u32, index, 0, LOCK_CONTROL);
    if (holder === 0) break;
    if (isDead(memory, holder) && Atomics.compareExchange(memory.u32, index, holder, LOCK_CONTROL) === holder) break;
    if (performance.now() > deadline) throw lockTimeout(memory, queueAddress, holder, timeoutMs);
    // nobody notifies this word: it is a sleep of at most 1 ms, so that the holder gets the CPU
    Atomics.wait(memory.i32, index, holder | 0, 1);
  }
  try {
    return fn();
  } finally {
    Atomics.store(memory.u32, index, 0);
  }
}

/** Recomputes QUEUE_RUN from the gates and the stop cause. Call it with the queue's lock held. */
export function joinGates(memory: HostMemory, queueAddress: number): void {
  const { u32 } = memory;
  const gates = u32[(queueAddress + QUEUE_GATES) >>> 2]!;
  let run = RUN_OFF;
  if (u32[(queueAddress + QUEUE_STOP_CAUSE) >>> 2] === 0) {
    if (gates === QUEUE_GATE_ALL) run = RUN_ON;
    else if ((gates | QUEUE_GATE_ENABLED) === QUEUE_GATE_ALL && isGuestTransmit(u32, queueAddress)) run = RUN_DISCARD;
  }
  Atomics.store(u32, (queueAddress + QUEUE_RUN) >>> 2, run);
}

/** Our rx queue over a vhost ring: the side of it that has a mempool. */
function isGuestTransmit(u32: Uint32Array, queue: number): boolean {
  return u32[(queue + QUEUE_PMD) >>> 2] === PMD_VHOST && u32[(queue + QUEUE_POOL) >>> 2] !== 0;
}

/** Opens gates (QUEUE_GATE_* bits) and joins. Call it with the queue's lock held. */
export function openGate(memory: HostMemory, queueAddress: number, gates: number): void {
  memory.u32[(queueAddress + QUEUE_GATES) >>> 2]! |= gates;
  joinGates(memory, queueAddress);
}

/** Closes gates (QUEUE_GATE_* bits) and joins. Call it with the queue's lock held. */
export function closeGate(memory: HostMemory, queueAddress: number, gates: number): void {
  memory.u32[(queueAddress + QUEUE_GATES) >>> 2]! &= ~gates;
  joinGates(memory, queueAddress);
}

/**
 * Replaces the descriptor that a sleeping lcore waits on (-1: none) and returns the old one, which the caller may then
 * close: no lcore sleeps on it or drains it any more. Without this handshake a lcore could read from an unrelated file
 * that got the closed one's number.
 *
 * @param wake wakes a sleeping lcore: the module's lcoreWake
 */
export function replaceKickFd(
  memory: HostMemory,
  queueAddress: number,
  fd: number,
  wake: (lcoreId: number) => void,
): number {
  const old = Atomics.exchange(memory.i32, (queueAddress + QUEUE_KICK_FD) >>> 2, fd);
  if (old >= 0) leaveSleeps(memory, wake);
  return old;
}

/** Returns once every lcore that slept in poll(2) at the time of the call has come out of it. */
function leaveSleeps(memory: HostMemory, wake: (lcoreId: number) => void): void {
  const { i32, u32 } = memory;
  for (let id = 0; id < MAX_LCORES; id++) {
    const lcore = LCORE_BASE + id * LCORE_SIZE;
    const sleeping = (lcore + LCORE_SLEEPING) >>> 2;
    const sleeps = (lcore + LCORE_SLEEPS) >>> 2;
    if (Atomics.load(u32, sleeping) !== LCORE_SLEEP_POLL) continue;
    const before = Atomics.load(u32, sleeps);
    wake(id);
    while (
      Atomics.load(u32, sleeping) === LCORE_SLEEP_POLL &&
      Atomics.load(u32, sleeps) === before &&
      Atomics.load(u32, (lcore + LCORE_STATE) >>> 2) !== LCORE_STATE_DEAD
    ) {
      Atomics.wait(i32, sleeping, LCORE_SLEEP_POLL, 1);
    }
  }
}

/**
 * A lcore died: stops every queue that it held with STOP_TRAP, because it left it half way through a burst, and frees the
 * locks, so that the lcore's id may be used again. Returns the addresses of those queues.
 */
export function releaseLocksOf(memory: HostMemory, lcoreId: number): number[] {
  const { u32 } = memory;
  const held: number[] = [];
  for (let port = PORT_BASE; port < PORT_BASE + MAX_PORTS * PORT_SIZE; port += PORT_SIZE) {
    for (const [array, count] of [
      [PORT_RXQS, PORT_RXQ_COUNT],
      [PORT_TXQS, PORT_TXQ_COUNT],
    ] as const) {
      const first = u32[(port + array) >>> 2]! >>> 2;
      for (const queue of u32.subarray(first, first + u32[(port + count) >>> 2]!)) {
        const lock = (queue + QUEUE_LOCK) >>> 2;
        if (queue === 0 || Atomics.compareExchange(u32, lock, lcoreId + 1, LOCK_CONTROL) !== lcoreId + 1) continue;
        u32[(queue + QUEUE_STOP_CAUSE) >>> 2] = STOP_TRAP;
        joinGates(memory, queue);
        Atomics.store(u32, lock, 0);
        held.push(queue);
      }
    }
  }
  return held;
}

function isDead(memory: HostMemory, holder: number): boolean {
  const id = holder - 1;
  if (id >= MAX_LCORES) return false;
  return Atomics.load(memory.u32, (LCORE_BASE + id * LCORE_SIZE + LCORE_STATE) >>> 2) === LCORE_STATE_DEAD;
}

function lockTimeout(memory: HostMemory, queueAddress: number, holder: number, timeoutMs: number): ViaductError {
  const port = memory.u32[(queueAddress + QUEUE_PORT) >>> 2];
  const queue = memory.u32[(queueAddress + QUEUE_ID) >>> 2];
  const who = holder === LOCK_CONTROL ? 'another control thread' : `lcore ${holder - 1}`;
  return new ViaductError(
    'ERR_INVALID_STATE',
    `queue ${queue} of port ${port} is held by ${who} for more than ${timeoutMs} ms: stop that lcore first`,
  );
}
