import {
  LCORE_BUSY_POLLS,
  LCORE_MODERATED,
  LCORE_POLLS,
  LCORE_SLEEP_NONE,
  LCORE_SLEEPING,
  LCORE_SLEEPS,
  LCORE_STATE,
  LCORE_STATE_DEAD,
  LCORE_STATE_OFF,
  LCORE_STATE_RUNNING,
  LCORE_STATE_WAIT,
  LCORE_STOP,
  LCORE_WAKEUPS,
} from '../../assembly/layout.js';
import { ViaductError } from '../errors.js';
import type { LcoreBackend } from './lcore-backend.js';
import { setRxQueues } from './lcore-context.js';
import type { Job } from './lcore-job.js';
import { lcoreAddress } from './lcore-loop.js';
import type { Logger } from './log.js';
import { type HostMemory, readCounter } from './memory.js';
import { releaseLocksOf } from './queue-lock.js';

/** rte_lcore_state_t: waits for work, runs, or died and waits to be launched anew; `off` after cleanup. */
export type LcoreState = 'off' | 'wait' | 'running' | 'dead';

/** Counters of a lcore since Eal.init. */
export interface LcoreStats {
  /** Rounds over the streams, or calls of the packet function. */
  readonly polls: number;
  /** Those that moved at least one packet. */
  readonly busyPolls: number;
  readonly sleeps: number;
  /** Sleeps that a packet or another thread ended, not the time limit. */
  readonly wakeups: number;
}

/** What a Lcore needs of its Eal. */
export interface LcoreOwner {
  readonly memory: HostMemory;
  readonly logger: Logger;
  /** Wakes the lcore if it sleeps. */
  wake(lcoreId: number): void;
  /** Sends the notifications that the lcore owes: it is dead. */
  flush(lcoreId: number): void;
  /** ContextExtension module, see Eal.useContextModule. */
  contextUrl(): string | undefined;
}

/** A poll function that is called for the last time ends within microseconds; one that hangs is ended by force. */
const STOP_TIMEOUT_MS = 5000;

interface RunningJob {
  readonly started: Promise<void>;
  readonly ended: Promise<void>;
}

/** One polling thread: rte_lcore. Made by Eal.init. */
export class Lcore {
  readonly id: number;
  /** CPU that it is pinned to. */
  readonly cpu: number | undefined;
  /** The main lcore is the calling thread: its jobs take turns with the program. */
  readonly isMain: boolean;
  readonly #owner: LcoreOwner;
  readonly #backend: LcoreBackend;
  #job: RunningJob | undefined;
  #failure: ViaductError | undefined;
  #off = false;

  /** @internal Eal.init makes them. */
  constructor(id: number, cpu: number | undefined, isMain: boolean, owner: LcoreOwner, backend: LcoreBackend) {
    this.id = id;
    this.cpu = cpu;
    this.isMain = isMain;
    this.#owner = owner;
    this.#backend = backend;
    this.#setState(LCORE_STATE_WAIT);
  }

  /** rte_eal_get_lcore_state. */
  get state(): LcoreState {
    if (this.#off) return 'off';
    if (this.#job) return 'running';
    return this.#failure ? 'dead' : 'wait';
  }

  /**
   * Polls the streams that the lcore's record names (LCORE_STREAMS) until stop(): what the forwarding engines use.
   *
   * @throws ERR_INVALID_STATE when it runs something, ERR_CLEANED_UP
   */
  runStreams(): void {
    // a failure is reported by wait() and in the log
    this.#launch({ kind: 'streams' }).started.catch(() => {});
  }

  /**
   * Runs a packet function of the user's: rte_eal_remote_launch. `url` names a module whose default export, an LcoreEntry,
   * is called in the lcore's thread. Resolves when the function that it returned is being polled; stop() ends it.
   *
   * @param arg what the module finds as `lcore.arg`; it must be cloneable
   * @throws ERR_INVALID_STATE when the lcore runs something, ERR_INVALID_ARGUMENT, ERR_CLEANED_UP; ERR_LCORE_FAILED
   * (with `cause`) when the module cannot be loaded, or throws before its first poll. A later failure is wait()'s.
   */
  async runModule(url: URL | string, arg?: unknown): Promise<void> {
    const job: Job = { kind: 'module', url: String(url), contextUrl: this.#owner.contextUrl(), arg };
    await this.#launch(job).started;
  }

  /**
   * Asks the running job to end, and resolves when it has. Does nothing when nothing runs. Never rejects: see wait().
   *
   * @param timeoutMs after which the thread of a job that hangs is terminated; wait() then says so
   */
  async stop(timeoutMs = STOP_TIMEOUT_MS): Promise<void> {
    const job = this.#job;
    if (!job) return;
    this.requestStop();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(resolve, timeoutMs, 'late');
    });
    const ended = job.ended.catch(() => {});
    if ((await Promise.race([ended, late])) === 'late') {
      this.#log('error', `does not stop within ${timeoutMs} ms: its thread is terminated`);
      await this.#backend.terminate();
      // the main lcore is this very thread: it cannot be ended by force
      if (!this.isMain) await ended;
    }
    clearTimeout(timer);
  }

  /**
   * Resolves when what the lcore runs has ended, at once when it runs nothing: rte_eal_wait_lcore.
   *
   * @throws ERR_LCORE_FAILED (with `cause`) when the last job failed
   */
  async wait(): Promise<void> {
    await this.#job?.ended;
    if (this.#failure) throw this.#failure;
  }

  /** Wakes the lcore if it sleeps. */
  wake(): void {
    this.#owner.wake(this.id);
  }

  /** Sets the rx queues (addresses of their records) whose packets end the lcore's sleep. Only while it runs nothing. */
  setRxQueues(queueAddresses: readonly number[]): void {
    if (this.#job) {
      throw new ViaductError('ERR_INVALID_STATE', `lcore ${this.id} runs: stop it before its queues are changed`);
    }
    setRxQueues(this.#owner.memory, this.id, queueAddresses);
  }

  stats(): LcoreStats {
    const { memory } = this.#owner;
    const read = (field: number) => readCounter(memory, lcoreAddress(this.id) + field);
    return {
      polls: read(LCORE_POLLS),
      busyPolls: read(LCORE_BUSY_POLLS),
      sleeps: read(LCORE_SLEEPS),
      wakeups: read(LCORE_WAKEUPS),
    };
  }

  /** @internal Sets the stop word and wakes the lcore; synchronous, for the exit of the process. */
  requestStop(): void {
    Atomics.store(this.#owner.memory.u32, (lcoreAddress(this.id) + LCORE_STOP) >>> 2, 1);
    this.wake();
  }

  /** @internal Ends the thread; nothing can be launched afterwards. */
  async shutDown(): Promise<void> {
    this.#off = true;
    await this.#backend.terminate();
    this.#setState(LCORE_STATE_OFF);
  }

  #launch(job: Job): RunningJob {
    if (this.#off) throw new ViaductError('ERR_CLEANED_UP', `lcore ${this.id}: its Eal was cleaned up`);
    if (this.#job) {
      throw new ViaductError('ERR_INVALID_STATE', `lcore ${this.id} runs something already: stop it first`);
    }
    const { memory } = this.#owner;
    // Written before the job is posted: a stop() that comes before the thread begins is not lost
    Atomics.store(memory.u32, (lcoreAddress(this.id) + LCORE_STOP) >>> 2, 0);
    const started = deferred();
    const ended = deferred();
    const before = Atomics.load(memory.u32, (lcoreAddress(this.id) + LCORE_STATE) >>> 2);
    this.#setState(LCORE_STATE_RUNNING);
    try {
      this.#backend.launch(job, {
        started: started.resolve,
        ended: (error) => {
          this.#job = undefined;
          if (error) {
            const failure = this.#fail(error);
            started.reject(failure);
            ended.reject(failure);
          } else {
            this.#setState(LCORE_STATE_WAIT);
            started.resolve();
            ended.resolve();
          }
        },
      });
    } catch (error) {
      this.#setState(before);
      throw error;
    }
    this.#failure = undefined;
    this.#job = { started: started.promise, ended: ended.promise };
    return this.#job;
  }

  #fail(error: Error): ViaductError {
    const { memory } = this.#owner;
    this.#setState(LCORE_STATE_DEAD);
    Atomics.store(memory.u32, (lcoreAddress(this.id) + LCORE_SLEEPING) >>> 2, LCORE_SLEEP_NONE);
    Atomics.store(memory.u32, (lcoreAddress(this.id) + LCORE_MODERATED) >>> 2, 0);
    const held = releaseLocksOf(memory, this.id);
    this.#owner.flush(this.id);
    const queues = held.length > 0 ? ` (${held.length} queues that it was working on are stopped)` : '';
    this.#log('error', `failed: ${error.message}${queues}`);
    this.#failure = new ViaductError('ERR_LCORE_FAILED', `lcore ${this.id} failed: ${error.message}${queues}`, {
      cause: error,
    });
    return this.#failure;
  }

  #setState(state: number): void {
    Atomics.store(this.#owner.memory.u32, (lcoreAddress(this.id) + LCORE_STATE) >>> 2, state);
  }

  #log(level: 'error', message: string): void {
    this.#owner.logger.log(level, 'eal', `lcore ${this.id} ${message}`);
  }
}

/** A promise with its resolve and reject; that nobody awaits its failure is no error. */
function deferred(): { promise: Promise<void>; resolve: () => void; reject: (error: Error) => void } {
  let resolve: () => void = () => {};
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<void>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  promise.catch(() => {});
  return { promise, resolve, reject };
}
