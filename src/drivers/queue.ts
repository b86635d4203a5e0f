/**
 * The control plane's hand on a QUEUE_ record. Whoever changes line 1, QUEUE_RUN or a region that a queue uses holds the
 * queue's lock meanwhile; the data plane try-locks once a burst, so a held lock costs it one empty burst. Works on any thread.
 */
import {
  LCORE_BASE,
  LCORE_SIZE,
  LCORE_STATE,
  LCORE_STATE_DEAD,
  LOCK_CONTROL,
  MAX_LCORES,
  QUEUE_CALL_FD,
  QUEUE_GATE_ALL,
  QUEUE_GATES,
  QUEUE_ID,
  QUEUE_KICK_FD,
  QUEUE_LOCK,
  QUEUE_PMD,
  QUEUE_PORT,
  QUEUE_RUN,
  QUEUE_SIZE,
  QUEUE_STOP_CAUSE,
} from '../../assembly/layout.js';
import type { HostMemory } from '../eal/memory.js';
import { ViaductError } from '../errors.js';

/** A burst holds a lock for microseconds. A thread that the scheduler took away comes back long before this. */
const LOCK_TIMEOUT_MS = 2000;
const LOCK_SPINS = 200;
// Atomics on an Int32Array speak signed numbers
const CONTROL = LOCK_CONTROL | 0;

/**
 * Takes the queue's lock for the control plane. Waits until a burst in progress is over. The lock of a lcore that died in a
 * burst is taken over, and so is that of `selfLcore`, the lcore that calls: it cannot be in a burst, it is here.
 * Throws ERR_INVALID_STATE if the holder does not let go within two seconds.
 */
export function lockQueue(memory: HostMemory, queue: number, selfLcore = -1): void {
  const index = (queue + QUEUE_LOCK) >>> 2;
  let deadline = 0;
  for (let spins = 0; ; spins++) {
    const holder = Atomics.compareExchange(memory.i32, index, 0, CONTROL);
    if (holder === 0) return;
    if (holder !== CONTROL && isGone(memory, holder - 1, selfLcore)) {
      if (Atomics.compareExchange(memory.i32, index, holder, CONTROL) === holder) return;
      continue;
    }
    if (spins < LOCK_SPINS) continue;
    const now = Date.now();
    if (deadline === 0) deadline = now + LOCK_TIMEOUT_MS;
    if (now >= deadline) {
      const port = memory.u32[(queue + QUEUE_PORT) >>> 2];
      const id = memory.u32[(queue + QUEUE_ID) >>> 2];
      const who = holder === CONTROL ? 'another control thread' : `lcore ${holder - 1}`;
      throw new ViaductError(
        'ERR_INVALID_STATE',
        `port ${port}, queue ${id}: ${who} holds it for more than ${LOCK_TIMEOUT_MS} ms. Is that lcore stopped in a debugger?`,
      );
    }
    // The data plane does not notify, so this is a sleep: the holder may need our CPU to go on.
    Atomics.wait(memory.i32, index, holder, 1);
  }
}

function isGone(memory: HostMemory, lcore: number, selfLcore: number): boolean {
  if (lcore === selfLcore) return true;
  if (lcore < 0 || lcore >= MAX_LCORES) return false;
  return Atomics.load(memory.u32, (LCORE_BASE + lcore * LCORE_SIZE + LCORE_STATE) >>> 2) === LCORE_STATE_DEAD;
}

export function unlockQueue(memory: HostMemory, queue: number): void {
  Atomics.store(memory.i32, (queue + QUEUE_LOCK) >>> 2, 0);
}

/** Runs `change` under the lock and joins the gates into QUEUE_RUN afterwards, also when it throws. */
export function withQueueLocked<T>(memory: HostMemory, queue: number, change: () => T, selfLcore = -1): T {
  lockQueue(memory, queue, selfLcore);
  try {
    return change();
  } finally {
    joinGates(memory, queue);
    unlockQueue(memory, queue);
  }
}

/** Lock held: QUEUE_RUN = all gates open and not stopped by a fault. */
export function joinGates(memory: HostMemory, queue: number): boolean {
  const open = memory.u32[(queue + QUEUE_GATES) >>> 2] === QUEUE_GATE_ALL;
  const healthy = memory.u32[(queue + QUEUE_STOP_CAUSE) >>> 2] === 0;
  memory.u32[(queue + QUEUE_RUN) >>> 2] = open && healthy ? 1 : 0;
  return open && healthy;
}

/** Opens and shuts QUEUE_GATE_* bits. Returns whether the queue runs now. When it returns no lcore is in a burst of before. */
export function setGates(memory: HostMemory, queue: number, open: number, shut = 0, selfLcore = -1): boolean {
  lockQueue(memory, queue, selfLcore);
  memory.u32[(queue + QUEUE_GATES) >>> 2] = (memory.u32[(queue + QUEUE_GATES) >>> 2]! & ~shut) | open;
  const runs = joinGates(memory, queue);
  unlockQueue(memory, queue);
  return runs;
}

/** Makes a record new: everything zero, no fds, nobody's lock. A lcore that still polls it finds it not running. */
export function resetQueue(memory: HostMemory, queue: number, pmd: number, port: number, id: number, self = -1): void {
  lockQueue(memory, queue, self);
  const lock = (queue + QUEUE_LOCK) >>> 2;
  memory.u32.fill(0, queue >>> 2, lock);
  memory.u32.fill(0, lock + 1, (queue + QUEUE_SIZE) >>> 2);
  memory.u32[(queue + QUEUE_PMD) >>> 2] = pmd;
  memory.u32[(queue + QUEUE_PORT) >>> 2] = port;
  memory.u32[(queue + QUEUE_ID) >>> 2] = id;
  memory.i32[(queue + QUEUE_KICK_FD) >>> 2] = -1;
  memory.i32[(queue + QUEUE_CALL_FD) >>> 2] = -1;
  unlockQueue(memory, queue);
}
