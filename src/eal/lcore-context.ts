import {
  CACHE_LINE,
  LCORE_ARENA,
  LCORE_ARENA_BYTES,
  LCORE_RXQ_COUNT,
  LCORE_RXQS,
  MAX_LCORE_RXQS,
  QUEUE_WAITER,
} from '../../assembly/layout.js';
import { ViaductError } from '../errors.js';
import type { Os } from '../os/types.js';
import { nowMs } from './clock.js';
import type { MemContext } from './context.js';
import type { WasmExports } from './exports.js';
import { type LcoreThread, lcoreAddress, type PollFunction, stopRequested } from './lcore-loop.js';
import type { HostMemory } from './memory.js';

/**
 * What a module that runs on a lcore starts from: the default export of a module that Lcore.runModule launches. It
 * prepares what it needs and returns one poll of its loop; or does its work itself and returns nothing.
 */
export type LcoreEntry<Context> = (context: Context) => LcoreEntryResult | Promise<LcoreEntryResult>;

// biome-ignore lint/suspicious/noConfusingVoidType: a function without a return statement is meant
export type LcoreEntryResult = PollFunction | undefined | void;

/**
 * The default export of a context module (Eal.useContextModule): makes, of the bare context, the object that users'
 * modules get. This is how the ethdev API reaches a lcore while src/eal knows nothing of it.
 */
export type ContextExtension = (context: LcoreContext) => object;

/** The bare context of one job on a lcore, in the lcore's own thread. */
export class LcoreContext implements MemContext {
  readonly lcoreId: number;
  readonly memory: HostMemory;
  readonly wasm: WasmExports;
  readonly os: Os | undefined;
  /** What runModule was given. */
  readonly arg: unknown;
  readonly #closers: (() => void)[] = [];
  #arenaUsed = 0;

  constructor(thread: LcoreThread, arg: unknown) {
    this.lcoreId = thread.lcoreId;
    this.memory = thread.memory;
    this.wasm = thread.wasm;
    this.os = thread.os;
    this.arg = arg;
  }

  /** Whether the lcore was asked to stop. Only loops of a module's own need to look. */
  get stopRequested(): boolean {
    return stopRequested(this.memory, this.lcoreId);
  }

  /** Milliseconds, monotonic, a u32 that wraps. */
  nowMs(): number {
    return nowMs();
  }

  /**
   * Zeroed host memory that belongs to this job: address of `lengthBytes`, cache-line aligned.
   *
   * @throws ERR_NO_MEMORY when the lcore's arena is used up; larger pieces are reserved by the main thread (memzones) and
   * passed as `arg`
   */
  allocate(lengthBytes: number): number {
    const lcore = lcoreAddress(this.lcoreId);
    const address = this.memory.u32[(lcore + LCORE_ARENA) >>> 2]! + this.#arenaUsed;
    const capacity = this.memory.u32[(lcore + LCORE_ARENA_BYTES) >>> 2]!;
    const rounded = Math.ceil(lengthBytes / CACHE_LINE) * CACHE_LINE;
    if (!(rounded > 0) || rounded > capacity - this.#arenaUsed) {
      throw new ViaductError(
        'ERR_NO_MEMORY',
        `lcore ${this.lcoreId}: ${lengthBytes} bytes wanted, ${capacity - this.#arenaUsed} left of its ${capacity}: ` +
          'make bursts once, outside of the poll function',
      );
    }
    this.#arenaUsed += rounded;
    this.memory.u8.fill(0, address, address + rounded);
    return address;
  }

  /** From now on a packet that comes on this rx queue ends the lcore's sleep. Adding a queue twice does nothing. */
  addRxQueue(queueAddress: number): void {
    const { u32 } = this.memory;
    const lcore = lcoreAddress(this.lcoreId);
    const count = u32[(lcore + LCORE_RXQ_COUNT) >>> 2]!;
    const first = u32[(lcore + LCORE_RXQS) >>> 2]! >>> 2;
    if (u32.subarray(first, first + count).includes(queueAddress)) return;
    setRxQueues(this.memory, this.lcoreId, [...u32.subarray(first, first + count), queueAddress]);
  }

  /** Registers something to do after the last poll, in the lcore's thread; run in reverse order, also after a failure. */
  onEnd(fn: () => void): void {
    this.#closers.push(fn);
  }

  /** Ends the job. For the lcore's own loop. */
  end(): void {
    setRxQueues(this.memory, this.lcoreId, []);
    for (const fn of this.#closers.splice(0).reverse()) fn();
  }
}

/**
 * Replaces the rx queues whose packets wake a lcore. For the lcore's own thread, or while it runs nothing.
 *
 * @throws ERR_INVALID_ARGUMENT for more than 1024 queues
 */
export function setRxQueues(memory: HostMemory, lcoreId: number, queueAddresses: readonly number[]): void {
  const { u32 } = memory;
  if (queueAddresses.length > MAX_LCORE_RXQS) {
    throw new ViaductError(
      'ERR_INVALID_ARGUMENT',
      `lcore ${lcoreId}: ${queueAddresses.length} rx queues, a lcore polls at most ${MAX_LCORE_RXQS}`,
    );
  }
  const lcore = lcoreAddress(lcoreId);
  const first = u32[(lcore + LCORE_RXQS) >>> 2]! >>> 2;
  const count = (lcore + LCORE_RXQ_COUNT) >>> 2;
  for (const queue of u32.subarray(first, first + u32[count]!)) {
    // another lcore may wait for it by now
    if (queue !== 0) Atomics.compareExchange(u32, (queue + QUEUE_WAITER) >>> 2, lcore, 0);
  }
  u32.set(queueAddresses, first);
  Atomics.store(u32, count, queueAddresses.length);
  for (const queue of queueAddresses) Atomics.store(u32, (queue + QUEUE_WAITER) >>> 2, lcore);
}
