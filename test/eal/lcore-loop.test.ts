import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import {
  LCORE_BASE,
  LCORE_BUSY_POLLS,
  LCORE_MODERATED,
  LCORE_POLLS,
  LCORE_RXQ_COUNT,
  LCORE_RXQS,
  LCORE_SIZE,
  LCORE_SLEEPING,
  LCORE_SLEEPS,
  LCORE_STOP,
  LCORE_WAKE_FD,
  LCORE_WAKEUPS,
  QUEUE_KICK_FD,
  RUN_BUSY,
  RUN_IDLE,
  RUN_STOPPED,
} from '../../assembly/layout.js';
import type { WasmExports } from '../../src/eal/exports.js';
import { IdleLimit } from '../../src/eal/idle-limit.js';
import { runJob } from '../../src/eal/lcore-job.js';
import { functionPoller, type LcoreThread, Sleeper, streamPoller, wakeLcore } from '../../src/eal/lcore-loop.js';
import { hostMemory, readCounter } from '../../src/eal/memory.js';
import { loadOs, type Os } from '../../src/os/index.js';

const { os, missing } = loadOs();
const skip = os ? false : `no operating system services (${missing}): npm install koffi, on Linux`;
const END = 0x10_0000;
const ID = 3;
const LCORE = LCORE_BASE + ID * LCORE_SIZE;
const RXQS = 0x8_0000;
const QUEUE = 0x9_0000;

/** A lcore whose Wasm side is the given functions. */
function fakeThread(wasm: Partial<WasmExports>, os?: Os, options: Partial<LcoreThread> = {}): LcoreThread {
  const memory = hostMemory({ buffer: new SharedArrayBuffer(END) }, END);
  memory.i32[(LCORE + LCORE_WAKE_FD) >>> 2] = -1;
  const quiet = { lcoreArm: () => 0, lcoreDisarm: () => {}, lcoreFlush: () => 0 };
  return {
    memory,
    wasm: { ...quiet, ...wasm } as WasmExports,
    os,
    lcoreId: ID,
    pollMode: false,
    idleLimit: new IdleLimit(10),
    ...options,
  };
}

const nothing = () => {};
const counter = (thread: LcoreThread, field: number) => readCounter(thread.memory, LCORE + field);

t.test('streams: busy until the slice is over, idle, stopped', async (t) => {
  const calls: (number | undefined)[][] = [];
  const answers = [RUN_BUSY, RUN_BUSY, RUN_IDLE, RUN_STOPPED];
  const thread = fakeThread({
    lcoreRun: (...args) => {
      calls.push(args);
      return answers.shift()!;
    },
  });
  const poll = streamPoller(thread).run;
  t.equal(poll(0), 'busy');
  t.equal(poll(10_000), 'idle');
  t.equal(poll(10_000), 'stopped');
  t.equal(calls.length, 4);
  t.ok(calls.every(([id, rounds, idle]) => id === ID && rounds! >= 1000 && idle === 10));
});

t.test('what ends a sleep is polled at once, before the event loop has its turn', async (t) => {
  const events: string[] = [];
  const thread = fakeThread({
    lcoreRun: () => {
      events.push('poll');
      return events.length < 12 ? RUN_IDLE : RUN_STOPPED;
    },
  });
  const sliceMs = 1;
  const idle = () => {
    const end = performance.now() + 2 * sliceMs; // a long sleep: the event loop's turn is due
    while (performance.now() < end);
    setImmediate(() => events.push('turn'));
    events.push('slept');
  };
  await runJob(thread, { kind: 'streams' }, { sliceMs, idle }, () => {});
  const afterSleep = events.filter((_, i) => events[i - 1] === 'slept');
  t.ok(afterSleep.length > 2);
  t.ok(
    afterSleep.every((event) => event === 'poll'),
    events.join(' '),
  );
  t.ok(events.includes('turn'), 'but it has its turn before the next sleep');
});

t.test('streams: --poll never asks to hear about idleness', async (t) => {
  let idle: number | undefined;
  const lcoreRun = (_id: number, _rounds: number, idlePolls: number) => {
    idle = idlePolls;
    return RUN_BUSY;
  };
  streamPoller(fakeThread({ lcoreRun }, undefined, { pollMode: true })).run(0);
  t.equal(idle, 0);
});

t.test('a packet function: the clock of what is put off goes on, also while nothing is', async (t) => {
  let polls = 0;
  const looks: number[] = [];
  const thread = fakeThread({ lcoreFlush: () => looks.push(polls) && 0 });
  const poll = functionPoller(thread, () => {
    if (++polls === 1000) Atomics.store(thread.memory.u32, (LCORE + LCORE_STOP) >>> 2, 1);
    return 1;
  }).run;
  t.equal(poll(60_000), 'stopped');
  const gaps = looks.slice(1).map((at, i) => at - looks[i]!);
  t.ok(Math.max(...gaps) <= 65, `at most ${Math.max(...gaps)} polls between two looks at the clock`);
});

t.test('a packet function: idle after so many empty polls in a row, each poll counted', async (t) => {
  const results = [0, 1, 0, 0, 32, ...Array(10).fill(0)];
  let calls = 0;
  const thread = fakeThread({});
  const poll = functionPoller(thread, () => results[calls++]!).run;
  t.equal(poll(10_000), 'idle');
  t.equal(calls, results.length);
  t.equal(counter(thread, LCORE_BUSY_POLLS), 2);
  t.ok(counter(thread, LCORE_POLLS) >= results.length - 1);
  results.push(5, ...Array(10).fill(0));
  t.equal(poll(10_000), 'idle');
  t.equal(calls, results.length, 'counted anew after a sleep');
});

t.test('a packet function: stop is seen, a slice ends', async (t) => {
  const thread = fakeThread({});
  let calls = 0;
  const poll = functionPoller(thread, () => {
    calls++;
    return 1;
  }).run;
  t.equal(poll(0), 'busy');
  t.ok(calls > 0);
  thread.memory.u32[(LCORE + LCORE_STOP) >>> 2] = 1;
  t.equal(poll(10_000), 'stopped');
});

t.test('a packet function that returns no number is told so; what it throws passes through', async (t) => {
  for (const answer of [undefined, null, 'x', Promise.resolve(1)]) {
    const poll = functionPoller(fakeThread({}), () => answer as unknown as number).run;
    t.throws(() => poll(0), { code: 'ERR_LCORE_FAILED', message: /must return how many packets/ });
  }
  const fails = functionPoller(fakeThread({}), () => {
    throw new TypeError('mine');
  }).run;
  t.throws(() => fails(0), { name: 'TypeError', message: 'mine' });
});

t.test('it does not sleep when packets wait, or when it is to stop', async (t) => {
  let disarmed = 0;
  const busy = fakeThread({ lcoreArm: () => 1, lcoreDisarm: () => disarmed++ });
  t.equal(new Sleeper(busy).sleep(nothing), 'busy');
  t.equal(disarmed, 0, 'what says that packets wait has armed nothing');
  const stopped = fakeThread({ lcoreArm: () => t.fail('armed') as never });
  stopped.memory.u32[(LCORE + LCORE_STOP) >>> 2] = 1;
  t.equal(new Sleeper(stopped).sleep(nothing), 'busy');
  for (const thread of [busy, stopped]) {
    t.equal(thread.memory.u32[(LCORE + LCORE_SLEEPING) >>> 2], 0);
    t.equal(counter(thread, LCORE_SLEEPS), 0);
  }
});

for (const mode of ['futex', 'poll'] as const) {
  const modeOs = mode === 'poll' ? os : undefined;
  const modeSkip = mode === 'poll' ? skip : false;

  t.test(`${mode}: a wake-up between arming and sleeping is not lost`, { skip: modeSkip }, async (t) => {
    const order: string[] = [];
    const thread: LcoreThread = fakeThread(
      {
        lcoreArm: () => {
          order.push(`armed, sleeping ${thread.memory.u32[(LCORE + LCORE_SLEEPING) >>> 2]}`);
          wakeLcore(thread.memory, modeOs, ID);
          return 0;
        },
        lcoreDisarm: () => void order.push('disarmed'),
      },
      modeOs,
    );
    const fd = modeOs?.eventfd() ?? -1;
    thread.memory.i32[(LCORE + LCORE_WAKE_FD) >>> 2] = fd;
    t.equal(new Sleeper(thread).sleep(nothing, 60_000), 'woken');
    t.same(order, [`armed, sleeping ${mode === 'poll' ? 2 : 1}`, 'disarmed']);
    t.equal(counter(thread, LCORE_SLEEPS), 1);
    t.equal(counter(thread, LCORE_WAKEUPS), 1);
    modeOs?.close(fd);
  });

  t.test(`${mode}: nobody wakes it: it comes back by itself`, { skip: modeSkip }, async (t) => {
    const thread = fakeThread({}, modeOs);
    t.equal(new Sleeper(thread).sleep(nothing, 5), 'timeout');
    t.equal(counter(thread, LCORE_WAKEUPS), 0);
  });

  t.test(`${mode}: another thread wakes it`, { skip: modeSkip }, async (t) => {
    const memory = hostMemory({ buffer: new SharedArrayBuffer(END) }, END);
    const fd = modeOs?.eventfd() ?? -1;
    memory.i32[(LCORE + LCORE_WAKE_FD) >>> 2] = fd;
    const source = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);
    const worker = new Worker(
      `const { parentPort, workerData } = require('node:worker_threads');
      (async () => {
        const { Sleeper } = await import(${source('../../src/eal/lcore-loop.js')});
        const { hostMemory } = await import(${source('../../src/eal/memory.js')});
        const { loadOs } = await import(${source('../../src/os/index.js')});
        const wasm = { lcoreArm: () => 0, lcoreDisarm() {} };
        const os = ${mode === 'poll'} ? loadOs().os : undefined;
        const memory = hostMemory({ buffer: workerData }, ${END});
        const sleeper = new Sleeper({ memory, wasm, os, lcoreId: ${ID}, pollMode: false, idleLimit: { slept() {} } });
        parentPort.postMessage(sleeper.sleep(() => {}, 60000));
      })();`,
      { eval: true, workerData: memory.buffer },
    );
    const answer = new Promise((resolve) => worker.once('message', resolve));
    while (Atomics.load(memory.u32, (LCORE + LCORE_SLEEPING) >>> 2) === 0) await delay(1);
    wakeLcore(memory, modeOs, ID);
    t.equal(await answer, 'woken');
    await worker.terminate();
    modeOs?.close(fd);
  });
}

t.test('poll: a kick wakes it and is read away; descriptors are looked up at each sleep', { skip }, async (t) => {
  const thread = fakeThread({}, os);
  const { memory } = thread;
  const kick = os!.eventfd();
  memory.u32[(LCORE + LCORE_RXQS) >>> 2] = RXQS;
  memory.u32[(LCORE + LCORE_RXQ_COUNT) >>> 2] = 2;
  memory.u32.set([QUEUE, QUEUE + 1024], RXQS >>> 2);
  memory.i32[(QUEUE + QUEUE_KICK_FD) >>> 2] = -1;
  memory.i32[(QUEUE + 1024 + QUEUE_KICK_FD) >>> 2] = kick;
  const sleeper = new Sleeper(thread);
  os!.signal(kick);
  t.equal(sleeper.sleep(nothing, 60_000), 'woken');
  t.equal(sleeper.sleep(nothing, 1), 'timeout', 'the kick was read away');
  os!.signal(kick);
  memory.i32[(QUEUE + 1024 + QUEUE_KICK_FD) >>> 2] = -1;
  t.equal(sleeper.sleep(nothing, 1), 'timeout', 'a descriptor that was taken back is not looked at');
  os!.close(kick);
});

t.test('poll: what woke it is looked at before the kick is read away, but for a stop', { skip }, async (t) => {
  const order: string[] = [];
  const kick = os!.eventfd();
  const thread = fakeThread(
    { lcoreDisarm: () => order.push('disarm') },
    { ...os!, drain: (fd) => order.push(fd === kick ? 'drain' : 'woken') },
  );
  const { memory } = thread;
  memory.i32[(LCORE + LCORE_WAKE_FD) >>> 2] = kick;
  const sleeper = new Sleeper(thread);
  os!.signal(kick);
  sleeper.sleep(() => order.push('look'), 60_000);
  t.strictSame(order.splice(0), ['look', 'drain', 'disarm']);
  Object.assign(thread.wasm, {
    lcoreArm: () => {
      Atomics.store(memory.u32, (LCORE + LCORE_STOP) >>> 2, 1);
      return 0;
    },
  });
  sleeper.sleep(() => order.push('look'), 60_000);
  t.strictSame(order, ['drain', 'disarm']);
  os!.close(kick);
});

t.test('a look is one round, and the same promises hold', async (t) => {
  const calls: number[][] = [];
  const thread = fakeThread({
    lcoreRun: (_id, maxPolls) =>
      calls.push([maxPolls, thread.memory.u32[(LCORE + LCORE_MODERATED) >>> 2]!]) && RUN_BUSY,
    lcoreFlush: (_id, _now, all) => calls.push([-1, all]) && 0,
  });
  streamPoller(thread).look();
  t.strictSame(calls.splice(0), [
    [1, 1],
    [-1, 1],
  ]);
  let polls = 0;
  functionPoller(thread, () => ++polls).look();
  t.equal(polls, 1);
  t.strictSame([counter(thread, LCORE_POLLS), counter(thread, LCORE_BUSY_POLLS)], [1, 1], 'and counted');
  t.strictSame(calls.at(-1), [-1, 1], 'what is owed is sent');
});

t.test('poll: a descriptor that is in error for ever does not keep the lcore awake', { skip }, async (t) => {
  const thread = fakeThread({}, os);
  const { memory } = thread;
  memory.u32[(LCORE + LCORE_RXQS) >>> 2] = RXQS;
  memory.u32[(LCORE + LCORE_RXQ_COUNT) >>> 2] = 1;
  memory.u32[RXQS >>> 2] = QUEUE;
  memory.i32[(QUEUE + QUEUE_KICK_FD) >>> 2] = 9999;
  const sleeper = new Sleeper(thread);
  t.same(
    [1, 2, 3, 4].map(() => sleeper.sleep(nothing, 1)),
    ['woken', 'timeout', 'woken', 'timeout'],
  );
});

t.test('an error while asleep leaves the record awake', { skip }, async (t) => {
  const poll = () => {
    throw new Error('poll broke');
  };
  let disarmed = 0;
  const thread = fakeThread({ lcoreDisarm: () => disarmed++ }, { ...os!, poll });
  t.throws(() => new Sleeper(thread).sleep(nothing, 1), { message: 'poll broke' });
  t.equal(disarmed, 1);
  t.equal(thread.memory.u32[(LCORE + LCORE_SLEEPING) >>> 2], 0);
});
