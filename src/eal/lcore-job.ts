import { setImmediate as turn } from 'node:timers/promises';
import { ViaductError } from '../errors.js';
import { type ContextExtension, LcoreContext, type LcoreEntry } from './lcore-context.js';
import { functionPoller, type LcoreThread, type Poller, streamPoller } from './lcore-loop.js';

/** What a lcore is told to run. */
export type Job =
  | { readonly kind: 'streams' }
  | {
      readonly kind: 'module';
      /** Module with an LcoreEntry as its default export. */
      readonly url: string;
      /** Module with a ContextExtension as its default export. */
      readonly contextUrl: string | undefined;
      readonly arg: unknown;
    };

/** How a thread runs jobs. */
export interface JobHabits {
  /** Polling between two turns of the thread's event loop. */
  readonly sliceMs: number;
  /** What to do when there is nothing to do. `look` polls once: what is done first when a packet ends that. */
  idle(look: () => void): void | Promise<void>;
}

/**
 * Runs a job until it is told to stop, or ends by itself. `onStarted` is called when it begins to poll.
 * Throws what the job throws.
 */
export async function runJob(thread: LcoreThread, job: Job, habits: JobHabits, onStarted: () => void): Promise<void> {
  if (job.kind === 'streams') {
    onStarted();
    return runLoop(streamPoller(thread), habits, thread.pollMode);
  }
  const context = new LcoreContext(thread, job.arg);
  try {
    const entry = await importDefault<LcoreEntry<object>>(job.url, 'the function that prepares and returns the poll');
    const extend = job.contextUrl
      ? await importDefault<ContextExtension>(job.contextUrl, 'the context extension')
      : (bare: LcoreContext) => bare;
    const poll = await entry(extend(context));
    if (poll === undefined) return;
    if (typeof poll !== 'function') {
      throw new ViaductError(
        'ERR_LCORE_FAILED',
        `the default export of ${job.url} returned ${typeof poll}, no function`,
      );
    }
    onStarted();
    await runLoop(functionPoller(thread, poll), habits, thread.pollMode);
  } finally {
    context.end();
  }
}

async function runLoop(poller: Poller, habits: JobHabits, pollMode: boolean): Promise<void> {
  let lastTurn = performance.now();
  for (;;) {
    const outcome = poller.run(habits.sliceMs);
    if (outcome === 'stopped') return;
    // The turn comes before the sleep: what ends a sleep is a packet, and that does not wait for the event loop.
    if (performance.now() - lastTurn >= habits.sliceMs) {
      await turn();
      lastTurn = performance.now();
    }
    if (outcome === 'idle' && !pollMode) await habits.idle(poller.look);
  }
}

async function importDefault<T>(url: string, what: string): Promise<T> {
  const { default: value } = (await import(url)) as { default?: unknown };
  if (typeof value !== 'function') {
    throw new ViaductError('ERR_INVALID_ARGUMENT', `${url} has no default export that is a function: ${what}`);
  }
  return value as T;
}
