/**
 * Notices that a queue stopped itself. The data plane only writes QUEUE_STOP_CAUSE: it cannot call JavaScript. A slow timer
 * that keeps no process alive looks at the started ports' queues and tells once a fault.
 */
import { QUEUE_STOP_CAUSE } from '../../assembly/layout.js';
import type { HostMemory } from '../eal/memory.js';
import { stopCauseName } from './causes.js';
import type { QueueState } from './types.js';

const PERIOD_MS = 100;

export class QueueWatch {
  readonly #memory: HostMemory;
  readonly #queues: { readonly rxQueues: readonly number[]; readonly txQueues: readonly number[] };
  readonly #tell: (state: QueueState) => void;
  /** Cause that was told of each queue that stands still. */
  readonly #told = new Map<number, number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(
    memory: HostMemory,
    queues: { readonly rxQueues: readonly number[]; readonly txQueues: readonly number[] },
    tell: (state: QueueState) => void,
  ) {
    this.#memory = memory;
    this.#queues = queues;
    this.#tell = tell;
  }

  start(): void {
    this.#told.clear();
    this.#timer ??= setInterval(() => this.look(), PERIOD_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** The peer came back and its queues were revived, maybe between two looks: whatever stands still now is news. */
  forget(): void {
    this.#told.clear();
  }

  /** One look at every queue. */
  look(): void {
    this.#lookAt('rx', this.#queues.rxQueues);
    this.#lookAt('tx', this.#queues.txQueues);
  }

  #lookAt(direction: 'rx' | 'tx', queues: readonly number[]): void {
    for (let queue = 0; queue < queues.length; queue++) {
      const address = queues[queue]!;
      const cause = Atomics.load(this.#memory.u32, (address + QUEUE_STOP_CAUSE) >>> 2);
      if (cause === 0) {
        // the control plane revived it, when the peer came back: a new fault is told again
        this.#told.delete(address);
      } else if (this.#told.get(address) !== cause) {
        this.#told.set(address, cause);
        this.#tell({ direction, queue, enabled: false, cause: stopCauseName(cause) });
      }
    }
  }
}
