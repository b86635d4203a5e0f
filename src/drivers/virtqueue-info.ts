/** What is known of a virtqueue from its queue record: for `info()`, `show rxq info` and people who look for a fault. */
import {
  QUEUE_GATE_ENABLED,
  QUEUE_GATE_READY,
  QUEUE_GATES,
  QUEUE_OFFLOADS,
  QUEUE_PATH,
  QUEUE_RUN,
  QUEUE_VQ_FLAGS,
  QUEUE_VQ_SIZE,
  RUN_ON,
  VQ_EVENT_IDX,
  VQ_IN_ORDER,
  VQ_INDIRECT,
  VQ_MERGEABLE,
  VQ_PATH_PACKED,
} from '../../assembly/layout.js';
import type { HostMemory } from '../eal/memory.js';
import { offloadNames } from './offloads.js';
import type { VirtqueueInfo } from './types.js';

/** What the record says now; undefined while the peer has given it no ring. */
export function virtqueueInfo(memory: HostMemory, queue: number): VirtqueueInfo | undefined {
  const read = (field: number): number => Atomics.load(memory.u32, (queue + field) >>> 2);
  const ringSize = read(QUEUE_VQ_SIZE);
  const gates = read(QUEUE_GATES);
  if (ringSize === 0 || (gates & QUEUE_GATE_READY) === 0) return undefined;
  const flags = read(QUEUE_VQ_FLAGS);
  const layout = read(QUEUE_PATH) === VQ_PATH_PACKED ? 'packed' : 'split';
  const words: string[] = [layout];
  if (flags & VQ_IN_ORDER) words.push('in-order');
  if (flags & VQ_MERGEABLE) words.push('mergeable');
  return {
    layout,
    path: words.join(' '),
    ringSize,
    eventIdx: (flags & VQ_EVENT_IDX) !== 0,
    indirect: (flags & VQ_INDIRECT) !== 0,
    enabled: (gates & QUEUE_GATE_ENABLED) !== 0,
    running: read(QUEUE_RUN) === RUN_ON,
    offloads: offloadNames(read(QUEUE_OFFLOADS)),
  };
}
