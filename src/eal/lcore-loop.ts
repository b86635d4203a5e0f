import {
  LCORE_BASE,
  LCORE_BUSY_POLLS,
  LCORE_MODERATED,
  LCORE_OWED_COUNT,
  LCORE_POLLS,
  LCORE_RXQ_COUNT,
  LCORE_RXQS,
  LCORE_SIZE,
  LCORE_SLEEP_FUTEX,
  LCORE_SLEEP_NONE,
  LCORE_SLEEP_POLL,
  LCORE_SLEEPING,
  LCORE_SLEEPS,
  LCORE_STOP,
  LCORE_WAKE_FD,
  LCORE_WAKE_WORD,
  LCORE_WAKEUPS,
  MAX_LCORE_RXQS,
  QUEUE_KICK_FD,
  RUN_BUSY,
  RUN_IDLE,
  RUN_STOPPED,
} from '../../assembly/layout.js';
import { ViaductError } from '../errors.js';
import type { Os } from '../os/types.js';
import { nowMs, nowUs } from './clock.js';
import type { MemContext } from './context.js';
import type { WasmExports } from './exports.js';
import type { IdleLimit } from './idle-limit.js';
import type { HostMemory } from './memory.js';
import { releaseLocksOf } from './queue-lock.js';

/** The thread that a loop runs on: one lcore's memory, instance and habits. */
export interface LcoreThread extends MemContext {
  readonly os: Os | undefined;
  /** Never sleep: `--poll`. */
  readonly pollMode: boolean;
  /** When the lcore goes to sleep; a thread that does not sleep leaves it as it is. */
  readonly idleLimit: IdleLimit;
}

/** One poll of a user's packet function: returns how many packets it handled, 0 when there was nothing to do. */
export type PollFunction = () => number;

/** What a lcore polls with. */
export interface Poller {
  /** Polls for about `budgetMs`, or until it is idle or told to stop. */
  run(budgetMs: number): 'busy' | 'idle' | 'stopped';
  /** One round, at once: what a lcore does first when a packet has woken it. */
  look(): void;
}

/** Rounds that one lcoreRun call makes at the most: bounded, so that V8 can replace the code by its optimised form. */
const ROUNDS_PER_CALL = 4096;
/** Calls of a packet function between two looks at the clock and at the stop word. */
const POLLS_PER_LOOK = 64;
/** Tries to send what is owed on queues that others hold: a burst of theirs lasts microseconds. */
const FLUSH_TRIES = 10_000;
/** Longest sleep: whatever goes wrong with a wake-up costs no more than this. */
export const SLEEP_LIMIT_MS = 1000;

/** Address of a lcore's record. */
export function lcoreAddress(lcoreId: number): number {
  return LCORE_BASE + lcoreId * LCORE_SIZE;
}

/** Whether somebody asked the lcore to end what it runs. */
export function stopRequested(memory: HostMemory, lcoreId: number): boolean {
  return Atomics.load(memory.u32, (lcoreAddress(lcoreId) + LCORE_STOP) >>> 2) !== 0;
}

/** Wakes a lcore if it sleeps or is about to; from any thread. The module's lcoreWake in JavaScript. */
export function wakeLcore(memory: HostMemory, os: Os | undefined, lcoreId: number): void {
  const lcore = lcoreAddress(lcoreId);
  Atomics.add(memory.i32, (lcore + LCORE_WAKE_WORD) >>> 2, 1);
  const sleeping = Atomics.load(memory.u32, (lcore + LCORE_SLEEPING) >>> 2);
  if (sleeping === LCORE_SLEEP_FUTEX) Atomics.notify(memory.i32, (lcore + LCORE_WAKE_WORD) >>> 2);
  else if (sleeping === LCORE_SLEEP_POLL) os?.signal(memory.i32[(lcore + LCORE_WAKE_FD) >>> 2]!);
}

/**
 * While `poller` polls, the data plane may put notifications off (assembly/virtio/coalesce.ts): the poller looks at the clock for
 * it, and whatever is owed is sent before anything else happens on this thread.
 */
function moderated(thread: LcoreThread, { run, look }: Poller): Poller {
  const { memory, wasm, lcoreId } = thread;
  const word = (lcoreAddress(lcoreId) + LCORE_MODERATED) >>> 2;
  const within = <T>(poll: () => T): T => {
    memory.u32[word] = 1;
    try {
      return poll();
    } finally {
      memory.u32[word] = 0;
      flushAll(wasm, lcoreId);
    }
  };
  return { run: (budgetMs) => within(() => run(budgetMs)), look: () => within(look) };
}

/** Sends everything that a lcore owes. A queue that another lcore holds is free again within microseconds. */
export function flushAll(wasm: WasmExports, lcoreId: number): void {
  for (let tries = 0; tries < FLUSH_TRIES && wasm.lcoreFlush(lcoreId, nowUs(), 1) !== 0; tries++);
}

/** Polls the streams that LCORE_STREAMS names, inside Wasm. Wasm counts LCORE_POLLS and LCORE_BUSY_POLLS. */
export function streamPoller(thread: LcoreThread): Poller {
  const { wasm, lcoreId, pollMode, idleLimit } = thread;
  const poll = (maxPolls: number, now: number): number => {
    const idlePolls = pollMode ? 0 : idleLimit.polls;
    try {
      return wasm.lcoreRun(lcoreId, maxPolls, idlePolls, now, nowUs());
    } catch (error) {
      if (!outlived(thread, error)) throw error;
      return RUN_BUSY;
    }
  };
  return moderated(thread, {
    run(budgetMs) {
      const start = nowMs();
      for (let now = start; ; ) {
        // a call must be able to be idle: Wasm counts anew in each
        const answer = poll(Math.max(ROUNDS_PER_CALL, idleLimit.polls), now);
        if (answer === RUN_STOPPED) return 'stopped';
        if (answer === RUN_IDLE) return stopRequested(thread.memory, lcoreId) ? 'stopped' : 'idle';
        now = nowMs();
        if ((now - start) >>> 0 >= budgetMs) return 'busy';
      }
    },
    look: () => void poll(1, nowMs()),
  });
}

/**
 * A trap inside a burst, which should not happen, is that queue's fault alone: it stops with the cause `trap`, the lcore goes
 * on with the others. False for a trap outside of every queue.
 */
function outlived({ memory, lcoreId }: LcoreThread, error: unknown): boolean {
  return error instanceof WebAssembly.RuntimeError && releaseLocksOf(memory, lcoreId).length > 0;
}

/** Polls a user's packet function. Throws what it throws, and ERR_LCORE_FAILED when it returns no number. */
export function functionPoller(thread: LcoreThread, poll: PollFunction): Poller {
  const { memory, wasm, lcoreId } = thread;
  const lcore = lcoreAddress(lcoreId);
  const owed = (lcore + LCORE_OWED_COUNT) >>> 2;
  let idle = 0;
  let checked = false;
  const count = (polls: number, busy: number): void => {
    addCounter(memory, lcore + LCORE_POLLS, polls);
    addCounter(memory, lcore + LCORE_BUSY_POLLS, busy);
  };
  const pollOften = (): boolean => {
    const idleLimit = thread.pollMode ? Number.POSITIVE_INFINITY : thread.idleLimit.polls;
    let polls = 0;
    let busy = 0;
    while (polls < POLLS_PER_LOOK && idle < idleLimit) {
      polls++;
      if (poll() > 0) {
        busy++;
        idle = 0;
      } else {
        idle++;
      }
      // a poll is a round: what waited for its end is told now, what has a deadline by then
      if (memory.u32[owed] !== 0) wasm.lcoreFlush(lcoreId, nowUs(), 0);
    }
    wasm.lcoreFlush(lcoreId, nowUs(), 0); // the clock by which the data plane puts off
    count(polls, busy);
    return idle >= idleLimit;
  };
  const first = (): void => {
    const answer: unknown = poll();
    if (typeof answer !== 'number') {
      throw new ViaductError(
        'ERR_LCORE_FAILED',
        `the poll function returned ${answer === null ? 'null' : typeof answer}: it must return how many packets it ` +
          'handled, 0 when there was nothing to do (and be no async function)',
      );
    }
    checked = true;
  };
  return moderated(thread, {
    run(budgetMs) {
      wasm.lcoreFlush(lcoreId, nowUs(), 0);
      if (!checked) first();
      const deadline = performance.now() + budgetMs;
      for (;;) {
        if (stopRequested(memory, lcoreId)) return 'stopped';
        if (pollOften()) {
          idle = 0;
          return 'idle';
        }
        if (performance.now() >= deadline) return 'busy';
      }
    },
    look() {
      wasm.lcoreFlush(lcoreId, nowUs(), 0);
      count(1, poll() > 0 ? 1 : 0);
    },
  });
}

/**
 * Puts a lcore to sleep until a packet comes on one of its rx queues (LCORE_RXQS) or somebody wakes it. With an Os it
 * sleeps in poll(2) on the queues' kick descriptors and its own eventfd, else on a futex.
 */
export class Sleeper {
  readonly #thread: LcoreThread;
  readonly #lcore: number;
  readonly #fds = new Int32Array(1 + MAX_LCORE_RXQS);
  readonly #ready = new Uint8Array(1 + MAX_LCORE_RXQS);
  /** Queues whose descriptor had an error or hang-up in the last sleep, which no read takes away. */
  readonly #broken = new Set<number>();

  constructor(thread: LcoreThread) {
    this.#thread = thread;
    this.#lcore = lcoreAddress(thread.lcoreId);
  }

  /**
   * Returns why it came back: 'busy' = packets were waiting, it did not sleep. A packet that ends the sleep does not wait for
   * what has to be tidied up after one: `look` comes first.
   */
  sleep(look: () => void, timeoutMs = SLEEP_LIMIT_MS): 'busy' | 'woken' | 'timeout' {
    const { memory, wasm, os, lcoreId, idleLimit } = this.#thread;
    const { i32, u32 } = memory;
    const sleeping = (this.#lcore + LCORE_SLEEPING) >>> 2;
    const wakeWord = (this.#lcore + LCORE_WAKE_WORD) >>> 2;
    // The order matters: a waker advances the word, then reads LCORE_SLEEPING; we say that we sleep, then look at
    // everything once more. Whatever happens, one of the two sees the other.
    const word = Atomics.load(i32, wakeWord);
    Atomics.store(u32, sleeping, os ? LCORE_SLEEP_POLL : LCORE_SLEEP_FUTEX);
    try {
      if (stopRequested(memory, lcoreId) || wasm.lcoreArm(lcoreId) !== 0) {
        idleLimit.slept(0);
        return 'busy';
      }
      let woken = true;
      try {
        // LCORE_SLEEPS is also the epoch by which replaceKickFd sees that a sleep is over
        addCounter(memory, this.#lcore + LCORE_SLEEPS, 1);
        if (Atomics.load(i32, wakeWord) !== word) idleLimit.slept(0);
        else woken = os ? this.#poll(os, look, timeoutMs) : this.#wait(word, timeoutMs);
      } finally {
        wasm.lcoreDisarm(lcoreId);
      }
      if (woken) addCounter(memory, this.#lcore + LCORE_WAKEUPS, 1);
      return woken ? 'woken' : 'timeout';
    } finally {
      Atomics.store(u32, sleeping, LCORE_SLEEP_NONE);
      Atomics.notify(i32, sleeping);
    }
  }

  /** Without an Os: on the wake-up word, until it is no longer `word`. */
  #wait(word: number, timeoutMs: number): boolean {
    const { memory, idleLimit } = this.#thread;
    const since = nowUs();
    const answer = Atomics.wait(memory.i32, (this.#lcore + LCORE_WAKE_WORD) >>> 2, word, timeoutMs);
    idleLimit.slept((nowUs() - since) >>> 0);
    return answer !== 'timed-out';
  }

  /** poll(2) over the wake-up eventfd and the kick descriptors; reads away what was signalled. */
  #poll(os: Os, look: () => void, timeoutMs: number): boolean {
    const { i32, u32 } = this.#thread.memory;
    const queues = u32[(this.#lcore + LCORE_RXQS) >>> 2]! >>> 2;
    const count = Math.min(u32[(this.#lcore + LCORE_RXQ_COUNT) >>> 2]!, MAX_LCORE_RXQS);
    const fds = this.#fds;
    fds[0] = i32[(this.#lcore + LCORE_WAKE_FD) >>> 2]!;
    for (let i = 0; i < count; i++) {
      const queue = u32[queues + i]!;
      // a descriptor that is ready for ever must not keep the lcore awake; it gets another chance the time after
      const broken = this.#broken.has(queue);
      fds[1 + i] = broken || queue === 0 ? -1 : Atomics.load(i32, (queue + QUEUE_KICK_FD) >>> 2);
    }
    this.#broken.clear();
    const since = nowUs();
    const readyCount = os.poll(fds, 1 + count, this.#ready, timeoutMs);
    const sleptUs = (nowUs() - since) >>> 0;
    if (readyCount !== 0 && !stopRequested(this.#thread.memory, this.#thread.lcoreId)) look();
    this.#thread.idleLimit.slept(sleptUs);
    if (readyCount === 0) return false;
    if (this.#ready[0] !== 0) os.drain(fds[0]!);
    for (let i = 0; i < count; i++) {
      const queue = u32[queues + i]!;
      if (this.#ready[1 + i] === 2) this.#broken.add(queue);
      // the control plane may have taken the descriptor back meanwhile: then it is not ours to read
      else if (this.#ready[1 + i] === 1 && Atomics.load(i32, (queue + QUEUE_KICK_FD) >>> 2) === fds[1 + i]) {
        os.drain(fds[1 + i]!);
      }
    }
    return true;
  }
}

/** Adds to a u64 counter that only the calling thread writes. */
function addCounter(memory: HostMemory, address: number, value: number): void {
  const index = address >>> 2;
  const before = Atomics.add(memory.u32, index, value);
  if (before + value > 0xffff_ffff) Atomics.add(memory.u32, index + 1, 1);
}
