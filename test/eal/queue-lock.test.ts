import { Worker } from 'node:worker_threads';
import t from 'tap';
import {
  LCORE_BASE,
  LCORE_SIZE,
  LCORE_SLEEP_NONE,
  LCORE_SLEEP_POLL,
  LCORE_SLEEPING,
  LCORE_STATE,
  LCORE_STATE_DEAD,
  LCORE_STATE_RUNNING,
  LOCK_CONTROL,
  PORT_BASE,
  PORT_RXQ_COUNT,
  PORT_RXQS,
  PORT_SIZE,
  QUEUE_GATE_ENABLED,
  QUEUE_GATE_READY,
  QUEUE_GATE_STARTED,
  QUEUE_KICK_FD,
  QUEUE_LOCK,
  QUEUE_PORT,
  QUEUE_RUN,
  QUEUE_STOP_CAUSE,
  STOP_TRAP,
} from '../../assembly/layout.js';
import { hostMemory } from '../../src/eal/memory.js';
import {
  closeGate,
  joinGates,
  openGate,
  releaseLocksOf,
  replaceKickFd,
  withQueueLock,
} from '../../src/eal/queue-lock.js';

const END = 0x10_0000;
const QUEUE = 0x8_0000;
const lcoreField = (id: number, field: number) => (LCORE_BASE + id * LCORE_SIZE + field) >>> 2;
const queueField = (field: number, queue = QUEUE) => (queue + field) >>> 2;

const fresh = () => hostMemory({ buffer: new SharedArrayBuffer(END) }, END);

t.test('the lock is held while the function runs, and freed whatever it does', async (t) => {
  const memory = fresh();
  const lock = queueField(QUEUE_LOCK);
  const held = withQueueLock(memory, QUEUE, () => memory.u32[lock]);
  t.equal(held, LOCK_CONTROL);
  t.equal(memory.u32[lock], 0);
  t.throws(() =>
    withQueueLock(memory, QUEUE, () => {
      throw new Error('inside');
    }),
  );
  t.equal(memory.u32[lock], 0);
});

t.test('a live holder that does not let go is named', async (t) => {
  const memory = fresh();
  memory.u32[queueField(QUEUE_LOCK)] = 6;
  memory.u32[queueField(QUEUE_PORT)] = 3;
  memory.u32[lcoreField(5, LCORE_STATE)] = LCORE_STATE_RUNNING;
  t.throws(() => withQueueLock(memory, QUEUE, () => 0, { timeoutMs: 20 }), {
    code: 'ERR_INVALID_STATE',
    message: /queue 0 of port 3 is held by lcore 5/,
  });
  t.equal(memory.u32[queueField(QUEUE_LOCK)], 6, 'it keeps its lock');
  memory.u32[queueField(QUEUE_LOCK)] = LOCK_CONTROL;
  t.throws(() => withQueueLock(memory, QUEUE, () => 0, { timeoutMs: 5 }), { message: /another control thread/ });
});

t.test('a dead holder loses its lock', async (t) => {
  const memory = fresh();
  memory.u32[queueField(QUEUE_LOCK)] = 6;
  memory.u32[lcoreField(5, LCORE_STATE)] = LCORE_STATE_DEAD;
  t.equal(
    withQueueLock(memory, QUEUE, () => 'done', { timeoutMs: 0 }),
    'done',
  );
  t.equal(memory.u32[queueField(QUEUE_LOCK)], 0);
});

t.test('two threads that lock never meet inside', async (t) => {
  const memory = fresh();
  const url = new URL('../../src/eal/', import.meta.url).href;
  const worker = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads');
    (async () => {
      const { hostMemory } = await import('${url}memory.js');
      const { withQueueLock } = await import('${url}queue-lock.js');
      const memory = hostMemory({ buffer: workerData }, ${END});
      parentPort.postMessage('ready');
      for (let i = 0; i < 20000; i++) withQueueLock(memory, ${QUEUE}, () => memory.u32[64]++);
      parentPort.postMessage('done');
    })();`,
    { eval: true, workerData: memory.buffer },
  );
  await new Promise((resolve) => worker.once('message', resolve));
  const done = new Promise((resolve) => worker.once('message', resolve));
  for (let i = 0; i < 20000; i++) withQueueLock(memory, QUEUE, () => memory.u32[64]!++);
  await done;
  await worker.terminate();
  t.equal(memory.u32[64], 40000);
});

t.test('a queue runs only with every gate open and no stop cause', async (t) => {
  const memory = fresh();
  const run = () => memory.u32[queueField(QUEUE_RUN)];
  const gates = [QUEUE_GATE_STARTED, QUEUE_GATE_READY, QUEUE_GATE_ENABLED];
  for (const [i, gate] of gates.entries()) {
    t.equal(run(), 0, `${i} gates`);
    openGate(memory, QUEUE, gate);
  }
  t.equal(run(), 1);
  for (const gate of gates) {
    closeGate(memory, QUEUE, gate);
    t.equal(run(), 0);
    openGate(memory, QUEUE, gate);
    t.equal(run(), 1);
  }
  memory.u32[queueField(QUEUE_STOP_CAUSE)] = STOP_TRAP;
  joinGates(memory, QUEUE);
  t.equal(run(), 0);
  openGate(memory, QUEUE, QUEUE_GATE_READY);
  t.equal(run(), 0, 'a gate does not hide the cause');
});

t.test("a dead lcore's queues are stopped and freed, nobody else's", async (t) => {
  const memory = fresh();
  const port = PORT_BASE + 2 * PORT_SIZE;
  const [mine, free, others] = [QUEUE, QUEUE + 1024, QUEUE + 2048];
  memory.u32[(port + PORT_RXQS) >>> 2] = 0x9_0000;
  memory.u32[(port + PORT_RXQ_COUNT) >>> 2] = 3;
  memory.u32.set([mine, free, others], 0x9_0000 >>> 2);
  for (const queue of [mine, free, others]) openGate(memory, queue, 7);
  memory.u32[queueField(QUEUE_LOCK, mine)] = 6;
  memory.u32[queueField(QUEUE_LOCK, others)] = 7;
  t.same(releaseLocksOf(memory, 5), [mine]);
  const fields = (queue: number) =>
    [QUEUE_LOCK, QUEUE_RUN, QUEUE_STOP_CAUSE].map((field) => memory.u32[queueField(field, queue)]);
  t.same(fields(mine), [0, 0, STOP_TRAP]);
  t.same(fields(free), [0, 1, 0]);
  t.same(fields(others), [7, 1, 0]);
});

t.test('a kick descriptor is given back when nobody sleeps on it any more', async (t) => {
  const memory = fresh();
  const woken: number[] = [];
  memory.i32[queueField(QUEUE_KICK_FD)] = -1;
  t.equal(
    replaceKickFd(memory, QUEUE, 12, (id) => woken.push(id)),
    -1,
  );
  t.same(woken, [], 'there was none that anybody could sleep on');
  memory.u32[lcoreField(4, LCORE_SLEEPING)] = LCORE_SLEEP_POLL;
  const old = replaceKickFd(memory, QUEUE, -1, (id) => {
    woken.push(id);
    t.equal(memory.i32[queueField(QUEUE_KICK_FD)], -1, 'replaced before anybody is woken');
    memory.u32[lcoreField(id, LCORE_SLEEPING)] = LCORE_SLEEP_NONE;
  });
  t.equal(old, 12);
  t.same(woken, [4]);
});
