import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { ViaductError } from '../errors.js';
import { type Job, runJob } from './lcore-job.js';
import type { LcoreThread } from './lcore-loop.js';
import type { ErrorRecord, LcoreCommand, LcoreReport, LcoreWorkerData } from './lcore-worker.js';
import { workerExecArgv } from './worker-options.js';

/** What becomes of a job. `ended` is called once, after it the backend runs nothing. */
export interface JobEvents {
  started(): void;
  ended(error?: Error): void;
}

/** The thread behind a lcore. */
export interface LcoreBackend {
  /** Begins a job. Throws what makes it impossible; everything later goes to `events`. */
  launch(job: Job, events: JobEvents): void;
  /** Ends the thread, whatever it does; a job that runs ends with an error. */
  terminate(): Promise<void>;
}

const MAIN_SLICE_MS = 2;
const MAIN_IDLE_MS = 1;

/**
 * The main lcore: jobs share the calling thread with the rest of the program, in short slices. It never blocks: with
 * nothing to do it looks again every millisecond.
 */
export class MainBackend implements LcoreBackend {
  readonly #thread: LcoreThread;

  constructor(thread: LcoreThread) {
    this.#thread = thread;
  }

  launch(job: Job, events: JobEvents): void {
    const habits = { sliceMs: MAIN_SLICE_MS, idle: async () => void (await delay(MAIN_IDLE_MS)) };
    runJob(this.#thread, job, habits, events.started).then(
      () => events.ended(),
      (error: unknown) => events.ended(error instanceof Error ? error : new Error(String(error))),
    );
  }

  async terminate(): Promise<void> {}
}

/** A lcore of its own thread. A thread that failed is replaced at the next launch. */
export class WorkerBackend implements LcoreBackend {
  readonly #data: LcoreWorkerData;
  #worker: Worker | undefined;
  #events: JobEvents | undefined;
  #jobId = 0;

  constructor(data: LcoreWorkerData) {
    this.#data = data;
  }

  /** Starts the thread; resolves when it is pinned and has its instance of the module. */
  async start(): Promise<void> {
    await new Promise<void>((resolve, reject) => this.#spawn(resolve, reject));
  }

  launch(job: Job, events: JobEvents): void {
    const worker = this.#worker ?? this.#spawn();
    const command: LcoreCommand = { jobId: ++this.#jobId, job };
    try {
      worker.postMessage(command);
    } catch (error) {
      throw new ViaductError('ERR_INVALID_ARGUMENT', `the argument of a module must be cloneable: ${error}`, {
        cause: error,
      });
    }
    this.#events = events;
    worker.ref();
  }

  async terminate(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
    this.#end(new Error('the thread was terminated'));
  }

  #spawn(onReady: () => void = () => {}, onFailure: (error: Error) => void = () => {}): Worker {
    const worker = new Worker(new URL('./lcore-worker.js', import.meta.url), {
      name: `lcore-${this.#data.lcoreId}`,
      workerData: this.#data,
      execArgv: workerExecArgv(),
    });
    this.#worker = worker;
    const gone = (error: Error) => {
      onFailure(error);
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      this.#end(error);
    };
    worker.on('message', (report: LcoreReport) => {
      if (report.kind === 'ready') {
        // a lcore that waits keeps no process alive
        if (!this.#events) worker.unref();
        onReady();
      } else if (this.#worker !== worker || report.jobId !== this.#jobId) {
        return;
      } else if (report.kind === 'started') {
        this.#events?.started();
      } else if (report.kind === 'ended') {
        worker.unref();
        this.#end();
      } else {
        gone(rebuildError(report.error));
        void worker.terminate();
      }
    });
    worker.on('error', gone);
    worker.on('exit', (code) => gone(new Error(`the thread ended by itself with exit code ${code}`)));
    return worker;
  }

  #end(error?: Error): void {
    const events = this.#events;
    this.#events = undefined;
    events?.ended(error);
  }
}

function rebuildError(record: ErrorRecord): Error {
  const error = new Error(record.message);
  error.name = record.name;
  if (record.stack !== undefined) error.stack = record.stack;
  return Object.assign(error, record.code === undefined ? {} : { code: record.code });
}
