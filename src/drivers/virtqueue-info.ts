/** What is known of a virtqueue from its queue record: for `info()`, `show rxq info` and people who look for a fault. */
import {
  QUEUE_GATE_ENABLED,
  QUEUE_GATE_READY,
  QUEUE_GATES,
  QUEUE_MAX_TABLE,
  QUEUE_OFFLOADS,
  QUEUE_PATH,
  QUEUE_RUN,
  QUEUE_VQ_FLAGS,
  QUEUE_VQ_SIZE,
  RUN_ON,
  VQ_EVENT_IDX,
  VQ_PATH_PACKED,
} from '../../assembly/layout.js';
import type { HostMemory } from '../eal/memory.js';
import { offloadNames } from './offloads.js';
import type { VirtqueueInfo } from './types.js';
import { pathName } from './vring-shape.js';

/** What the record says now; undefined while the peer has given it no ring. */
export function virtqueueInfo(memory: HostMemory, queue: number): VirtqueueInfo | undefined {
  const read = (field: number): number => Atomics.load(memory.u32, (queue + field) >>> 2);
  const ringSize = read(QUEUE_VQ_SIZE);
  const gates = read(QUEUE_GATES);
  if (ringSize === 0 || (gates & QUEUE_GATE_READY) === 0) return undefined;
  const path = read(QUEUE_PATH);
  return {
    layout: path & VQ_PATH_PACKED ? 'packed' : 'split',
    path: pathName(path),
    ringSize,
    eventIdx: (read(QUEUE_VQ_FLAGS) & VQ_EVENT_IDX) !== 0,
    indirect: read(QUEUE_MAX_TABLE) !== 0,
    enabled: (gates & QUEUE_GATE_ENABLED) !== 0,
    running: read(QUEUE_RUN) === RUN_ON,
    offloads: offloadNames(read(QUEUE_OFFLOADS)),
  };
}
