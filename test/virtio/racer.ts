/** The guest's other CPU: a thread that writes into its rings, buffers and tables while the device reads them. */
import { once } from 'node:events';
import { Worker, workerData } from 'node:worker_threads';
import { hostMemory } from '../../src/eal/memory.js';
import type { SharedContext } from '../mem/context.js';

/** A word that the racer writes: one of the values, again and again. */
export interface Target {
  readonly address: number;
  readonly bytes: 1 | 2 | 4;
  readonly values: readonly number[];
}

interface Job {
  readonly shared: SharedContext;
  /** u32: 1 asks it to end; u32: rounds so far. */
  readonly control: number;
  readonly targets: readonly Target[];
}

const WORDS_A_ROUND = 50;

export class Racer {
  readonly #worker: Worker;
  readonly #i32: Int32Array;
  readonly #control: number;

  /** `control`: 8 bytes of shared memory. */
  static async start(shared: SharedContext, control: number, targets: readonly Target[]): Promise<Racer> {
    const { i32 } = hostMemory(shared.memory, shared.endAddress);
    Atomics.store(i32, control >>> 2, 0);
    Atomics.store(i32, (control >>> 2) + 1, 0);
    const job: Job = { shared, control, targets };
    const racer = new Racer(new Worker(new URL(import.meta.url), { workerData: { racer: job } }), i32, control);
    await once(racer.#worker, 'online');
    return racer;
  }

  private constructor(worker: Worker, i32: Int32Array, control: number) {
    this.#worker = worker;
    this.#i32 = i32;
    this.#control = control;
  }

  /** Rounds of WORDS_A_ROUND words written. */
  get rounds(): number {
    return Atomics.load(this.#i32, (this.#control >>> 2) + 1);
  }

  /** Waits until it has gone over its targets, unless it does not run just now. */
  letWrite(): void {
    const before = this.rounds;
    for (let i = 0; i < 2000 && this.rounds === before; i++);
  }

  /** Gives it a moment on a busy machine. */
  letRun(): void {
    Atomics.wait(this.#i32, this.#control >>> 2, 0, 1);
  }

  async stop(): Promise<void> {
    Atomics.store(this.#i32, this.#control >>> 2, 1);
    await once(this.#worker, 'exit');
  }
}

const job = (workerData as { readonly racer?: Job } | null)?.racer;
if (job !== undefined) {
  const { shared, control, targets } = job;
  const { u8, u16, u32, i32 } = hostMemory(shared.memory, shared.endAddress);
  let state = 0x2545f491;
  while (Atomics.load(i32, control >>> 2) === 0) {
    for (let i = 0; i < WORDS_A_ROUND; i++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      const { address, bytes, values } = targets[(state >>> 0) % targets.length]!;
      const value = values[(state >>> 16) % values.length]!;
      if (bytes === 4) u32[address >>> 2] = value;
      else if (bytes === 2) u16[address >>> 1] = value;
      else u8[address] = value;
    }
    Atomics.add(i32, (control >>> 2) + 1, 1);
  }
}
