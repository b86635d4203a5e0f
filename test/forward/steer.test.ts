/** Flow steering: which tx queue a packet goes on, order within a flow, queues that are switched off. */
import t from 'tap';
import {
  ENGINE_IO,
  ENGINE_L2,
  MBUF_F_RX_RSS_HASH,
  MBUF_HASH,
  MBUF_OL_FLAGS,
  PORT_BASE,
  PORT_SIZE,
  QUEUE_RUN,
  RETA_SIZE,
  RUN_DISCARD,
  RUN_OFF,
  RUN_ON,
  STEER_RETA_BYTES,
  STEER_RETAS,
  STEER_SCRATCH_SIZE,
  TOEPLITZ_KEY_BYTES,
  TOEPLITZ_TABLE_SIZE,
} from '../../assembly/layout.js';
import { Forwarder, L2Switch } from '../../src/forward/index.js';
import { MacTable } from '../../src/forward/mac-table.js';
import { redirectionTable, writeRedirectionTables } from '../../src/forward/steering.js';
import { flowHashOf } from '../support/net-oracle.js';
import { Bench, BROADCAST, frame, station, text } from './harness.js';
import { Lab, until } from './lab.js';

/** Pseudo-random 16 bits: a Toeplitz hash is linear, and tells flows that differ in few bits apart only with luck. */
const mix = (n: number) => Math.imul(n + 1, 0x9e37_79b1) >>> 16;

const KEY = Uint8Array.from({ length: TOEPLITZ_KEY_BYTES }, (_, i) => mix(i + 1000));

/** UDP from 10.0.0.flow to a station; `sequence` in its payload. */
function packet(flow: number, sequence: number, to: readonly number[] = station(2)): Uint8Array {
  const bytes = new Uint8Array(64);
  bytes.set([...to, ...station(1), 0x08, 0x00, 0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0, 0]);
  bytes.set([10, 0, flow >> 8, flow & 255, 10, 0, 0, 200, mix(flow) >> 8, mix(flow) & 255, 0, 9, 0, 30, 0, 0], 26);
  bytes.set([flow >> 8, flow & 255, sequence >> 8, sequence & 255], 42);
  return bytes;
}
const flowOf = (bytes: Uint8Array) => bytes[42]! * 256 + bytes[43]!;
const sequenceOf = (bytes: Uint8Array) => bytes[44]! * 256 + bytes[45]!;

function tableOf(bench: Bench): number {
  const table = bench.reserve(TOEPLITZ_TABLE_SIZE + TOEPLITZ_KEY_BYTES);
  bench.memory.u8.set(KEY, table + TOEPLITZ_TABLE_SIZE);
  bench.wasm.toeplitzInit(table, table + TOEPLITZ_TABLE_SIZE);
  return table;
}

/** A port's table in a lcore's working area. */
const reta = (bench: Bench, area: number, port: number) =>
  Array.from(
    { length: RETA_SIZE },
    (_, i) => bench.memory.u16[((area + STEER_RETAS + port * STEER_RETA_BYTES) >>> 1) + i]!,
  );

t.test('redirection tables: even, and flows of a queue that runs stay where they are', async (t) => {
  const even = redirectionTable(4, [0, 1, 2, 3]);
  t.strictSame(
    [0, 1, 2, 3].map((queue) => even.filter((q) => q === queue).length),
    [32, 32, 32, 32],
  );
  for (const running of [[0, 1], [2], [0, 1, 3], [3, 0]]) {
    const table = redirectionTable(4, running);
    t.ok(table.every((queue) => running.includes(queue)));
    t.ok(table.every((queue, i) => !running.includes(i % 4) || queue === i % 4));
    const loads = running.map((queue) => table.filter((q) => q === queue).length);
    t.ok(Math.max(...loads) - Math.min(...loads) <= 1, `${running}: ${loads}`);
  }
  t.strictSame(redirectionTable(3, []), redirectionTable(3, [0, 1, 2]), 'none runs: as if all did');
  const used = (count: number, running: readonly number[], index: number, of: number) =>
    [...new Set(redirectionTable(count, running, { index, count: of }))].sort();
  t.strictSame(
    [used(4, [0, 1, 2, 3], 0, 2), used(4, [0, 1, 2, 3], 1, 2)],
    [
      [0, 2],
      [1, 3],
    ],
    'lcores do not meet',
  );
  t.strictSame([used(2, [0, 1], 0, 3), used(2, [0, 1], 1, 3), used(2, [0, 1], 2, 3)], [[0], [1], [0]], 'fewer queues');
  t.strictSame([used(4, [0, 1], 0, 2), used(4, [0, 1], 1, 2)], [[0], [1]], 'two switched off');
  t.strictSame(used(4, [0, 2], 1, 2), [0, 2], 'none of its own left');
});

t.test('a table is written from the queues that run; one that throws its packets away does not count', async (t) => {
  const bench = new Bench(63);
  bench.ringPort(1, { queues: 4 });
  bench.set(bench.queue(1, 'tx', 2) + QUEUE_RUN, RUN_OFF);
  bench.set(bench.queue(1, 'tx', 3) + QUEUE_RUN, RUN_DISCARD);
  const areas = [0, 1].map(() => bench.reserve(STEER_SCRATCH_SIZE));
  writeRedirectionTables(bench.memory, 1, areas);
  areas.forEach((area, index) => {
    t.strictSame(reta(bench, area, 1), redirectionTable(4, [0, 1], { index, count: 2 }));
  });
});

t.test('l2: every packet on its flow’s queue, in order, hashed once', async (t) => {
  const bench = new Bench();
  const [a, b] = [bench.ringPort(0), bench.ringPort(1, { queues: 4 })];
  bench.ringPort(2, { queues: 2 });
  const table = tableOf(bench);
  const macs = new MacTable(bench, { tableSize: 64, ageingMs: 0, quota: 64 });
  macs.setMembers([0, 1, 2], 64);
  macs.learn(text(station(2)), 1, 0);
  const steer = { table, ownFirst: false };
  const records = bench.streams({ engine: ENGINE_L2, rxPort: 0, state: macs.address, scratch: true, steer });
  for (const port of [1, 2]) writeRedirectionTables(bench.memory, port, records.steerAreas);
  const sent = Array.from({ length: 480 }, (_, i) => packet((i * 7) % 61, i));
  bench.inject(
    a,
    sent.map((bytes) => bench.packet(bytes)),
  );
  bench.run();
  const queues = [0, 1, 2, 3].map((queue) => bench.collect(b, queue));
  t.equal(
    queues.reduce((sum, frames) => sum + frames.length, 0),
    480,
  );
  const wanted = reta(bench, records.steerAreas[0]!, 1);
  queues.forEach((frames, queue) => {
    t.ok(frames.length > 480 / 16, `queue ${queue} has its share: ${frames.length}`);
    t.ok(frames.every((bytes) => wanted[flowHashOf(KEY, bytes) % RETA_SIZE] === queue));
    const last = new Map<number, number>();
    const inOrder = frames.every((bytes) => {
      const before = last.get(flowOf(bytes)) ?? -1;
      last.set(flowOf(bytes), sequenceOf(bytes));
      return sequenceOf(bytes) > before;
    });
    t.ok(inOrder, `queue ${queue}`);
  });

  // A packet that has a hash keeps it, whoever made it.
  const known = bench.packet(packet(1, 0));
  bench.set(known + MBUF_OL_FLAGS, MBUF_F_RX_RSS_HASH);
  bench.set(known + MBUF_HASH, 3);
  bench.inject(a, [known]);
  bench.run();
  t.equal(bench.collect(b, wanted[3]!).length, 1);

  // A flood reaches one queue of each port.
  bench.inject(a, [bench.packet(packet(5, 1, BROADCAST)), bench.packet(frame(BROADCAST, station(1)))]);
  bench.run();
  t.equal([0, 1, 2, 3].flatMap((queue) => bench.collect(b, queue)).length, 2);
  t.match(records.counters(), [{ flooded: 2, txPackets: 480 + 1 + 4, txDropped: 0 }]);
});

t.test('l2: without a table, and to ports of one queue, everything goes on queue 0', async (t) => {
  const bench = new Bench();
  const [a, b] = [bench.ringPort(0), bench.ringPort(1, { queues: 3 })];
  const macs = new MacTable(bench, { tableSize: 64, ageingMs: 0, quota: 64 });
  macs.setMembers([0, 1], 64);
  bench.streams({ engine: ENGINE_L2, rxPort: 0, state: macs.address, scratch: true });
  const mbuf = bench.packet(packet(3, 0));
  bench.inject(a, [mbuf]);
  bench.run();
  const [out] = bench.collectHandles(b);
  t.equal(out, mbuf);
  t.equal(bench.get(mbuf + MBUF_OL_FLAGS) & MBUF_F_RX_RSS_HASH, 0, 'no hash was computed');
});

t.test('io: queue pairs keep together; a stream whose own queue is off is steered over the others', async (t) => {
  const bench = new Bench();
  const [a, b] = [bench.ringPort(0, { queues: 4 }), bench.ringPort(1, { queues: 4 })];
  const steer = { table: tableOf(bench), ownFirst: true };
  const stream = { engine: ENGINE_IO, rxPort: 0, txPort: 1, steer };
  const records = bench.streams(...[0, 1, 2, 3].map((q) => ({ ...stream, rxQueue: q, txQueue: q })));
  const write = () => writeRedirectionTables(bench.memory, 1, records.steerAreas);
  write();
  const burst = () => Array.from({ length: 30 }, (_, i) => bench.packet(packet(i, i)));
  const round = () => {
    for (let queue = 0; queue < 4; queue++) bench.inject(a, burst(), queue);
    bench.run();
    return [0, 1, 2, 3].map((queue) => bench.collect(b, queue).length);
  };
  t.strictSame(round(), [30, 30, 30, 30]);
  for (const queue of [2, 3]) bench.set(bench.queue(1, 'tx', queue) + QUEUE_RUN, RUN_OFF);
  write();
  const [q0, q1, q2, q3] = round();
  t.strictSame([q2, q3], [0, 0], 'ethtool -L combined 2');
  t.equal(q0! + q1!, 120, 'nothing is lost');
  t.ok(q0! > 30 && q1! > 30, 'both take some of it');
  for (const queue of [2, 3]) bench.set(bench.queue(1, 'tx', queue) + QUEUE_RUN, RUN_ON);
  write();
  t.strictSame(round(), [30, 30, 30, 30], 'back again');
  t.match(records.counters()[0], { rxPort: 0, rxQueue: 0, txPort: 1, txQueue: 0, rxPackets: 90, txPackets: 90 });
});

t.test('a real Eal: the switch and io steer over a port’s queues, and follow its events', async (t) => {
  const lab = await Lab.open([0, 1], 2, 4);
  const [a, b] = lab.inner as [(typeof lab.inner)[0], (typeof lab.inner)[0]];
  const counts = () => b.stats().queueOpackets;
  const frames = Array.from({ length: 60 }, (_, i) => packet(i, i));
  const sw = L2Switch.create(lab.eal, { ports: [a, b] });
  await sw.start();
  lab.send(0, frames);
  await until(() => counts().reduce((sum, n) => sum + n, 0) === 60);
  t.ok(
    counts().every((n) => n > 0),
    `${counts()}`,
  );
  const address = (queue: number) => lab.eal.memory.u32[(PORT_BASE + b.id * PORT_SIZE + 20) >>> 2]! / 4 + queue;
  const run = (queue: number) => (lab.eal.memory.u32[address(queue)]! + QUEUE_RUN) >>> 2;
  const before = counts();
  for (const queue of [1, 3]) lab.eal.memory.u32[run(queue)] = RUN_OFF;
  b.emit('queueState', { direction: 'tx', queue: 1, enabled: false });
  lab.send(0, frames);
  await until(() => counts().reduce((sum, n) => sum + n, 0) === 120);
  t.strictSame([counts()[1], counts()[3]], [before[1], before[3]], 'a queue that is off gets nothing');
  t.equal(
    counts().reduce((sum, n) => sum + n, 0),
    120,
  );
  for (const queue of [1, 3]) lab.eal.memory.u32[run(queue)] = RUN_ON;
  await sw.close();
  t.equal(b.listenerCount('queueState'), 0, 'its listeners are gone');

  const zones = lab.eal.memzones.list().length;
  const forwarder = new Forwarder(lab.eal, { ports: [a, b] });
  await forwarder.start();
  const last = counts();
  lab.send(0, frames);
  await until(() => forwarder.stats().total.txPackets === 60);
  t.ok(
    counts().every((n, queue) => n > last[queue]!),
    'one rx queue, four tx queues: spread by flow',
  );
  const { streams } = await forwarder.stop();
  t.match(streams, [{ rxPort: a.id, rxQueue: 0, txPort: b.id, txQueue: 0, rxPackets: 60, txPackets: 60 }, {}]);
  t.equal(lab.eal.memzones.list().length, zones);
  await lab.close();
});
