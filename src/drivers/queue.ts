/**
 * QUEUE_ records as the control plane makes them new and opens their gates, over the lock of src/eal/queue-lock.ts.
 * When one of these returns, no lcore is in a burst that began before it.
 */
import {
  LCORE_BASE,
  LCORE_SIZE,
  QUEUE_CALL_FD,
  QUEUE_GATES,
  QUEUE_ID,
  QUEUE_KICK_FD,
  QUEUE_LOCK,
  QUEUE_PMD,
  QUEUE_PORT,
  QUEUE_RUN,
  QUEUE_SIZE,
  QUEUE_WAITER,
} from '../../assembly/layout.js';
import type { MemContext } from '../eal/context.js';
import type { HostMemory } from '../eal/memory.js';
import { joinGates, withQueueLock } from '../eal/queue-lock.js';

/**
 * Opens and shuts QUEUE_GATE_* bits under the lock. A lcore that sleeps on a queue that begins to run is woken: it may have
 * packets, or, on the driver side, must post its receive buffers before any can come.
 */
export function setGates({ memory, wasm }: MemContext, queue: number, open: number, shut = 0): void {
  const begins = withQueueLock(memory, queue, () => {
    const ran = memory.u32[(queue + QUEUE_RUN) >>> 2] === 1;
    memory.u32[(queue + QUEUE_GATES) >>> 2] = (memory.u32[(queue + QUEUE_GATES) >>> 2]! & ~shut) | open;
    joinGates(memory, queue);
    return !ran && memory.u32[(queue + QUEUE_RUN) >>> 2] === 1;
  });
  const waiter = begins ? Atomics.load(memory.u32, (queue + QUEUE_WAITER) >>> 2) : 0;
  if (waiter !== 0) wasm.lcoreWake((waiter - LCORE_BASE) / LCORE_SIZE);
}

/** Makes a record new: everything zero, no fds. A lcore that still polls it finds it not running. */
export function resetQueue(memory: HostMemory, queue: number, pmd: number, port: number, id: number): void {
  withQueueLock(memory, queue, () => {
    const lock = (queue + QUEUE_LOCK) >>> 2;
    memory.u32.fill(0, queue >>> 2, lock);
    memory.u32.fill(0, lock + 1, (queue + QUEUE_SIZE) >>> 2);
    memory.u32[(queue + QUEUE_PMD) >>> 2] = pmd;
    memory.u32[(queue + QUEUE_PORT) >>> 2] = port;
    memory.u32[(queue + QUEUE_ID) >>> 2] = id;
    memory.i32[(queue + QUEUE_KICK_FD) >>> 2] = -1;
    memory.i32[(queue + QUEUE_CALL_FD) >>> 2] = -1;
  });
}
