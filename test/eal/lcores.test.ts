import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import {
  LCORE_BASE,
  LCORE_RXQ_COUNT,
  LCORE_SIZE,
  LCORE_STATE,
  LCORE_STATE_DEAD,
  PORT_BASE,
  PORT_RXQ_COUNT,
  PORT_RXQS,
  QUEUE_KICK_FD,
  QUEUE_LOCK,
  QUEUE_SIZE,
  QUEUE_STOP_CAUSE,
  QUEUE_WAITER,
  STOP_TRAP,
} from '../../assembly/layout.js';
import { Eal, type EalOptions } from '../../src/eal/eal.js';
import type { Lcore } from '../../src/eal/lcores.js';
import { createLogger } from '../../src/eal/log.js';
import { loadOs } from '../../src/os/index.js';

const { os, missing } = loadOs();
const skip = os ? false : `no operating system services (${missing}): npm install koffi, on Linux`;

/** A module as users write them, from source. */
const program = (source: string) => `data:text/javascript,${encodeURIComponent(source)}`;

const COUNT = program(`
  export default (lcore) => {
    const words = new Int32Array(lcore.memory.buffer, lcore.arg);
    return () => Atomics.add(words, 0, 1) & 0 | 1;
  };
`);

async function init(t: Test, options: EalOptions = {}): Promise<Eal & { lines: string[] }> {
  const lines: string[] = [];
  const logger = createLogger('error', (line) => lines.push(line));
  const eal = await Eal.init({ memoryMiB: 16, lcores: [0, 1, 2], logger, ...options });
  t.teardown(() => eal.cleanup());
  return Object.assign(eal, { lines });
}

/** Waits for something that is bound to happen. */
async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 2000 && !condition(); i++) await delay(2);
  if (!condition()) throw new Error('it did not happen within seconds');
}

for (const id of [0, 1]) {
  t.test(`${id === 0 ? 'the main lcore' : 'a worker'} runs a packet function until it is stopped`, async (t) => {
    const eal = await init(t);
    const { address } = eal.memzones.reserve('words', 64);
    const lcore = eal.lcore(id);
    await lcore.runModule(COUNT, address);
    t.equal(lcore.state, 'running');
    await until(() => eal.memory.u32[address >>> 2]! > 100);
    await t.rejects(lcore.runModule(COUNT, address), { code: 'ERR_INVALID_STATE' });
    t.throws(() => lcore.runStreams(), { code: 'ERR_INVALID_STATE' });
    t.throws(() => lcore.setRxQueues([]), { code: 'ERR_INVALID_STATE' });
    await lcore.stop();
    await lcore.wait();
    t.equal(lcore.state, 'wait');
    const polls = eal.memory.u32[address >>> 2]!;
    await delay(10);
    t.equal(eal.memory.u32[address >>> 2], polls, 'it really stopped');
    t.ok(lcore.stats().busyPolls > 0);
    await lcore.stop();
    await lcore.runModule(COUNT, address);
    await until(() => eal.memory.u32[address >>> 2]! > polls);
    await lcore.stop();
  });

  t.test(
    `${id === 0 ? 'the main lcore' : 'a worker'} whose function throws is dead, and can be launched anew`,
    async (t) => {
      const eal = await init(t);
      const lcore = eal.lcore(id);
      const other = eal.lcore(2);
      const { address } = eal.memzones.reserve('words', 64);
      await other.runModule(COUNT, address);
      const source =
        "export default () => { let n = 0; return () => { if (++n > 9) throw new RangeError('ten'); return n; } }";
      await lcore.runModule(program(source));
      await t.rejects(lcore.wait(), {
        code: 'ERR_LCORE_FAILED',
        message: `lcore ${id} failed: ten`,
        cause: { name: 'RangeError', message: 'ten' },
      });
      t.equal(lcore.state, 'dead');
      t.equal(eal.memory.u32[(LCORE_BASE + id * LCORE_SIZE + LCORE_STATE) >>> 2], LCORE_STATE_DEAD);
      await t.rejects(lcore.wait(), { code: 'ERR_LCORE_FAILED' }, 'whoever asks later hears it too');
      await lcore.stop();
      t.match(eal.lines, [new RegExp(`error: lcore ${id} failed: ten`)]);
      const seen = eal.memory.u32[address >>> 2]!;
      await until(() => eal.memory.u32[address >>> 2]! > seen + 10);
      t.equal(other.state, 'running', 'the others go on');
      await lcore.runModule(COUNT, address + 4);
      await until(() => eal.memory.u32[(address + 4) >>> 2]! > 10);
      t.equal(lcore.state, 'running');
      await lcore.stop();
      await lcore.wait();
      t.equal(lcore.state, 'wait');
    },
  );
}

t.test('a module that never polls: every way to fail reaches runModule', async (t) => {
  const eal = await init(t);
  const lcore = eal.lcore(1);
  const cases: [string, RegExp][] = [
    ["export default () => { throw new Error('early') }", /lcore 1 failed: early/],
    ["export default async () => { throw new Error('late') }", /lcore 1 failed: late/],
    ['export const nothing = 1', /no default export that is a function/],
    ['export default 5', /no default export that is a function/],
    ['export default () => 5', /returned number, no function/],
    ['this is no program', /failed: /],
    ["throw 'a string'", /failed: a string/],
    ['export default () => process.exit(3)', /ended by itself with exit code 3/],
    ["export default () => { setTimeout(() => { throw new Error('loose') }); return new Promise(() => {}) }", /loose/],
  ];
  for (const [source, message] of cases) {
    await t.rejects(lcore.runModule(program(source)), { code: 'ERR_LCORE_FAILED', message }, source);
    t.equal(lcore.state, 'dead');
  }
  await t.rejects(lcore.runModule(new URL('file:///no/such/module.js')), { code: 'ERR_LCORE_FAILED' });
  await t.rejects(
    lcore.runModule(COUNT, () => {}),
    { code: 'ERR_INVALID_ARGUMENT', message: /must be cloneable/ },
  );
  await lcore.runModule(program('export default () => {}'));
  await lcore.wait();
  t.equal(lcore.state, 'wait', 'a module that does its work itself and returns');
});

t.test('a packet function that hangs is ended by force', async (t) => {
  const eal = await init(t);
  const { address } = eal.memzones.reserve('words', 64);
  const source = `
    export default (lcore) => {
      const words = new Int32Array(lcore.memory.buffer, lcore.arg);
      let n = 0;
      return () => { if (n++ > 0) { Atomics.store(words, 0, 1); for (;;); } return 1; };
    }`;
  await eal.lcore(1).runModule(program(source), address);
  await until(() => eal.memory.u32[address >>> 2] === 1);
  await eal.lcore(1).stop(50);
  t.equal(eal.lcore(1).state, 'dead');
  await t.rejects(eal.lcore(1).wait(), { code: 'ERR_LCORE_FAILED', message: /terminated/ });
  await eal.lcore(1).runModule(COUNT, address);
});

t.test('a trap in the data plane is a fault of that lcore; the queue that it held stops', { skip }, async (t) => {
  const eal = await init(t);
  const queue = eal.memzones.reserve('queue', QUEUE_SIZE).address;
  const array = eal.memzones.reserve('array', 64).address;
  const { u32 } = eal.memory;
  u32[array >>> 2] = queue;
  u32[(PORT_BASE + PORT_RXQS) >>> 2] = array;
  u32[(PORT_BASE + PORT_RXQ_COUNT) >>> 2] = 1;
  // holds the queue's lock, then lets Wasm read where no window is
  const source = `
    export default (lcore) => {
      let n = 0;
      return () => {
        if (n++ === 0) return 0;
        new Uint32Array(lcore.memory.buffer)[${(queue + QUEUE_LOCK) >>> 2}] = lcore.lcoreId + 1;
        return lcore.wasm.mempoolAvailCount(${eal.memory.endAddress + 4096});
      };
    }`;
  await eal.lcore(1).runModule(program(source));
  await t.rejects(eal.lcore(1).wait(), { message: /memory access out of bounds/, cause: { name: 'RuntimeError' } });
  t.equal(u32[(queue + QUEUE_LOCK) >>> 2], 0);
  t.equal(u32[(queue + QUEUE_STOP_CAUSE) >>> 2], STOP_TRAP);
});

t.test('the context: arena, rx queues, clock, what to do at the end; an extension wraps it', async (t) => {
  const eal = await init(t, { idlePolls: 5 });
  const words = eal.memzones.reserve('words', 256).address;
  const queue = eal.memzones.reserve('queue', QUEUE_SIZE).address;
  eal.memory.i32[(queue + QUEUE_KICK_FD) >>> 2] = -1; // 0 is standard input, which in CI is always ready
  eal.useContextModule(program("export default (bare) => ({ bare, extended: 'yes' })"));
  const source = `
    export default async ({ bare, extended }) => {
      const out = new Uint32Array(bare.memory.buffer, bare.arg.words);
      const first = bare.allocate(100), second = bare.allocate(64);
      bare.addRxQueue(bare.arg.queue);
      bare.addRxQueue(bare.arg.queue);
      let refused = 0;
      try { bare.allocate(1e6) } catch (error) { refused = error.code === 'ERR_NO_MEMORY' ? 1 : 2 }
      out.set([extended === 'yes' ? 1 : 0, second - first, refused, bare.lcoreId, bare.nowMs() > 0 ? 1 : 0]);
      bare.onEnd(() => { out[5] = out[6] + 1 });
      bare.onEnd(() => { out[6] = 10 });
      return () => 0;
    }`;
  const lcore = eal.lcore(2);
  const { u32 } = eal.memory;
  const record = LCORE_BASE + 2 * LCORE_SIZE;
  await lcore.runModule(program(source), { words, queue });
  t.same([...u32.subarray(words >>> 2, (words >>> 2) + 5)], [1, 128, 1, 2, 1]);
  t.equal(u32[(record + LCORE_RXQ_COUNT) >>> 2], 1);
  // the word is set while it sleeps, and cleared for the look before each sleep
  await until(() => lcore.stats().sleeps > 0 && u32[(queue + QUEUE_WAITER) >>> 2] === record);
  const { wakeups } = lcore.stats();
  eal.wasm.lcoreWake(2);
  await until(() => lcore.stats().wakeups > wakeups);
  await lcore.stop();
  t.equal(u32[(words + 20) >>> 2], 11, 'last registered, first done');
  t.equal(u32[(record + LCORE_RXQ_COUNT) >>> 2], 0);
  t.equal(u32[(queue + QUEUE_WAITER) >>> 2], 0);
});

t.test('--poll: a lcore with nothing to do does not sleep', async (t) => {
  const eal = await init(t, { poll: true });
  await eal.lcore(1).runModule(program('export default () => () => 0'));
  eal.lcore(2).runStreams();
  await until(() => eal.lcore(1).stats().polls > 10_000);
  t.equal(eal.lcore(1).stats().sleeps, 0);
  t.equal(eal.lcore(2).stats().sleeps, 0);
  await Promise.all(eal.lcores.map((lcore: Lcore) => lcore.stop()));
});

t.test('stop right after launch is not lost', async (t) => {
  const eal = await init(t);
  for (let i = 0; i < 20; i++) {
    eal.lcore(1).runStreams();
    await eal.lcore(1).stop();
    t.equal(eal.lcore(1).state, 'wait');
  }
});

t.test('cleanup while lcores poll, sleep, fail and load', async (t) => {
  const eal = await init(t, { lcores: [0, 1, 2, 3, 4] });
  const { address } = eal.memzones.reserve('words', 64);
  await eal.lcore(1).runModule(COUNT, address);
  eal.lcore(2).runStreams();
  await eal
    .lcore(3)
    .runModule(program("export default () => { let n = 0; return () => { if (n++) throw new Error('x'); return 0 } }"));
  const loading = eal.lcore(4).runModule(program('await new Promise(() => {}); export default 1'));
  const failure = t.rejects(loading, { code: 'ERR_LCORE_FAILED' });
  await eal.lcore(0).runModule(COUNT, address);
  await eal.cleanup();
  await failure;
  t.same(
    eal.lcores.map((lcore) => lcore.state),
    ['off', 'off', 'off', 'off', 'off'],
  );
});
