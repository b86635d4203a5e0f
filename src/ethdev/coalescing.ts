/**
 * Notification coalescing of a queue, in the manner of `ethtool -C`: how long a vhost port may wait before it interrupts its
 * guest. What the data plane does with it is told in assembly/virtio/coalesce.ts, why in docs/performance.md.
 */
import {
  COALESCE_ADAPTIVE,
  COALESCE_OFF,
  COALESCE_ON,
  MAX_VRING_SIZE,
  PMD_VHOST,
  QUEUE_COALESCE,
  QUEUE_COALESCE_FRAMES,
  QUEUE_COALESCE_US,
  QUEUE_PMD,
} from '../../assembly/layout.js';
import { type Coalescing, MAX_COALESCE_US } from '../drivers/types.js';
import type { HostMemory } from '../eal/memory.js';
import { withQueueLock } from '../eal/queue-lock.js';
import { ViaductError } from '../errors.js';

export type { Coalescing };

export interface CoalescingConf extends Partial<Coalescing> {
  /**
   * `tx`: what the port sends, so the guest's receive interrupts; `rx`: what it receives, so the guest's transmit
   * completions. Both when absent.
   */
  readonly direction?: 'rx' | 'tx';
}

/** Whether the queue's driver interrupts a guest. */
export function hasCoalescing(memory: HostMemory, queue: number): boolean {
  return memory.u32[(queue + QUEUE_PMD) >>> 2] === PMD_VHOST;
}

export function readCoalescing(memory: HostMemory, queue: number): Coalescing {
  const read = (field: number) => memory.u32[(queue + field) >>> 2]!;
  const policy = read(QUEUE_COALESCE);
  return {
    usecs: policy === COALESCE_OFF ? 0 : read(QUEUE_COALESCE_US),
    frames: read(QUEUE_COALESCE_FRAMES),
    adaptive: policy === COALESCE_ADAPTIVE,
  };
}

/** Takes effect with the next burst; a notification that is put off already keeps its deadline. */
export function writeCoalescing(memory: HostMemory, queue: number, conf: Coalescing): void {
  const policy = conf.usecs === 0 ? COALESCE_OFF : conf.adaptive ? COALESCE_ADAPTIVE : COALESCE_ON;
  withQueueLock(memory, queue, () => {
    memory.u32[(queue + QUEUE_COALESCE_US) >>> 2] = conf.usecs;
    memory.u32[(queue + QUEUE_COALESCE_FRAMES) >>> 2] = conf.frames;
    memory.u32[(queue + QUEUE_COALESCE) >>> 2] = policy;
  });
}

/** Throws ERR_INVALID_ARGUMENT unless it can be had. */
export function checkCoalescing(label: string, conf: Coalescing): void {
  checkRange(label, 'usecs', conf.usecs, 0, MAX_COALESCE_US);
  checkRange(label, 'frames', conf.frames, 1, MAX_VRING_SIZE);
}

function checkRange(label: string, what: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new ViaductError(
    'ERR_INVALID_ARGUMENT',
    `${label}: setCoalescing: ${what} ${value} must be an integer from ${min} to ${max}`,
  );
}
