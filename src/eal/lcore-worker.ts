/**
 * The entry of a lcore's worker_thread: its own instance of the module over the shared memory, pinned where asked, running
 * one job after another until the main thread terminates it.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { LCORE_SLEEP_NONE, LCORE_SLEEPING, LCORE_STATE, LCORE_STATE_DEAD } from '../../assembly/layout.js';
import { loadOs } from '../os/index.js';
import { IdleLimit } from './idle-limit.js';
import { type Job, runJob } from './lcore-job.js';
import { type LcoreThread, lcoreAddress, Sleeper } from './lcore-loop.js';
import { hostMemory } from './memory.js';
import { instantiate } from './module.js';

/** What the main thread gives a worker. */
export interface LcoreWorkerData {
  readonly module: WebAssembly.Module;
  readonly sharedMemory: WebAssembly.Memory;
  readonly endAddress: number;
  readonly lcoreId: number;
  /** CPUs to run on; undefined without an Os. */
  readonly cpus: readonly number[] | undefined;
  readonly pollMode: boolean;
  readonly idlePolls: number;
}

/** From the main thread. */
export type LcoreCommand = { readonly jobId: number; readonly job: Job };

/** To the main thread. */
export type LcoreReport =
  | { readonly kind: 'ready' }
  | { readonly kind: 'started'; readonly jobId: number }
  | { readonly kind: 'ended'; readonly jobId: number }
  | { readonly kind: 'failed'; readonly jobId: number; readonly error: ErrorRecord };

/** An error on its way to another thread; structured cloning would lose its code and its class's name. */
export interface ErrorRecord {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly code: unknown;
}

const SLICE_MS = 20;

function start(data: LcoreWorkerData): void {
  const port = parentPort!;
  const report = (message: LcoreReport) => port.postMessage(message);
  const { lcoreId } = data;
  const { os } = data.cpus ? loadOs() : {};
  if (os && data.cpus) os.pinThread(data.cpus);
  if (!data.pollMode) os?.useShortSlices();
  const memory = hostMemory(data.sharedMemory, data.endAddress);
  const wasm = instantiate(data.module, data.sharedMemory, os ? (fd) => (os.signal(fd) ? 0 : 1) : () => 0);
  const { pollMode } = data;
  const idleLimit = new IdleLimit(data.idlePolls);
  const thread: LcoreThread = { memory, wasm, os, lcoreId, pollMode, idleLimit };
  const sleeper = new Sleeper(thread);
  const habits = { sliceMs: SLICE_MS, idle: (look: () => void) => void sleeper.sleep(look) };

  port.on('message', ({ jobId, job }: LcoreCommand) => {
    runJob(thread, job, habits, () => report({ kind: 'started', jobId })).then(
      () => report({ kind: 'ended', jobId }),
      (error: unknown) => {
        const lcore = lcoreAddress(lcoreId);
        Atomics.store(memory.u32, (lcore + LCORE_SLEEPING) >>> 2, LCORE_SLEEP_NONE);
        // from here on this thread touches no queue: the control plane may take its locks
        Atomics.store(memory.u32, (lcore + LCORE_STATE) >>> 2, LCORE_STATE_DEAD);
        report({ kind: 'failed', jobId, error: recordError(error) });
      },
    );
  });
  report({ kind: 'ready' });
}

function recordError(error: unknown): ErrorRecord {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error), stack: undefined, code: undefined };
  const code = (error as { code?: unknown }).code;
  return {
    name: error.name,
    message: error.message,
    stack: error.stack,
    code: typeof code === 'string' ? code : undefined,
  };
}

start(workerData as LcoreWorkerData);
