/** The switch engine: who gets which frame, in which order, and that every mbuf comes back. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { ENGINE_L2, MBUF_REFCNT, QUEUE_RUN } from '../../assembly/layout.js';
import { MacTable } from '../../src/forward/mac-table.js';
import type { StreamRecords } from '../../src/forward/stream-records.js';
import { Bench, BROADCAST, frame, type RingPort, station } from './harness.js';

const AGEING_MS = 1000;

/** A switch over ring ports 0 ... count − 1 and any others that are members too. */
class TestSwitch {
  readonly bench: Bench;
  readonly ports: RingPort[];
  readonly table: MacTable;
  readonly records: StreamRecords;

  constructor(count: number, others: readonly number[] = [], bench = new Bench(), burst = 32) {
    this.bench = bench;
    this.ports = Array.from({ length: count }, (_, id) => bench.ringPort(id));
    this.table = new MacTable(bench, { tableSize: 4096, ageingMs: AGEING_MS, quota: 4096 });
    this.table.setMembers([...this.ports.map((port) => port.id), ...others], 4096);
    const stream = { engine: ENGINE_L2, burst, state: this.table.address, scratch: true };
    this.records = bench.streams(...this.ports.map((port) => ({ ...stream, rxPort: port.id })));
  }

  /** Frames that come in on one port, and what then goes out of each. */
  send(port: number, frames: readonly Uint8Array[], nowMs = 0): Uint8Array[][] {
    this.bench.inject(
      this.ports[port]!,
      frames.map((bytes) => this.bench.packet(bytes)),
    );
    this.bench.run(nowMs);
    return this.ports.map((member) => this.bench.collect(member));
  }

  total(field: 'rxPackets' | 'txPackets' | 'txDropped' | 'filtered' | 'flooded'): number {
    return this.records.counters().reduce((sum, stream) => sum + stream[field], 0);
  }
}

t.test('learns, then sends a frame only where its destination is', async (t) => {
  const sw = new TestSwitch(4);
  const hello = frame(BROADCAST, station(1));
  t.strictSame(sw.send(1, [hello]), [[hello], [], [hello], [hello]], 'broadcast: all but the ingress');
  const unknown = frame(station(9), station(2));
  t.strictSame(sw.send(2, [unknown]), [[unknown], [unknown], [], [unknown]], 'unknown: the same');
  const reply = frame(station(1), station(3));
  t.strictSame(sw.send(3, [reply]), [[], [reply], [], []], 'known: its port alone');
  t.strictSame(sw.send(1, [frame(station(3), station(1))])[3]!.length, 1);
  t.equal(sw.total('flooded'), 2);
  t.equal(sw.total('txPackets'), 8);
  t.equal(sw.bench.pool.inUseCount, 0);
});

t.test('a frame whose destination lives on its own port is filtered', async (t) => {
  const sw = new TestSwitch(3);
  sw.send(0, [frame(BROADCAST, station(1)), frame(BROADCAST, station(2))]);
  t.strictSame(sw.send(0, [frame(station(2), station(1))]), [[], [], []]);
  t.equal(sw.total('filtered'), 1);
  t.strictSame(sw.send(0, [frame(station(1), station(1))]), [[], [], []], 'to itself');
  t.equal(sw.total('filtered'), 2);
  t.equal(sw.bench.pool.inUseCount, 0);
});

t.test('a station that moves is relearned at once', async (t) => {
  const sw = new TestSwitch(3);
  const to = frame(station(1), station(5));
  sw.send(0, [frame(BROADCAST, station(1))]);
  t.strictSame(sw.send(2, [to]), [[to], [], []]);
  sw.send(1, [frame(BROADCAST, station(1))]);
  t.strictSame(sw.send(2, [to]), [[], [to], []]);
  // in the middle of a burst: before its frame the old port, after it the new one
  const away = frame(BROADCAST, station(6));
  sw.send(1, [away]);
  const burst = [frame(station(6), station(5)), frame(station(9), station(6)), frame(station(6), station(5))];
  t.strictSame(sw.send(2, burst), [[burst[1]], [burst[0], burst[1]], []]);
  t.equal(sw.total('filtered'), 1, 'the last one: its destination is now on its own port');
});

t.test('ageing: a silent station is flooded to again', async (t) => {
  const sw = new TestSwitch(3);
  const start = 0xffff_ff00;
  const to = frame(station(1), station(2));
  sw.send(0, [frame(BROADCAST, station(1))], start);
  t.strictSame(sw.send(1, [to], (start + AGEING_MS) >>> 0), [[to], [], []]);
  t.strictSame(sw.send(1, [to], (start + AGEING_MS + 1) >>> 0), [[to], [], [to]]);
});

t.test('what no bridge forwards: link-local groups, runts; group sources are forwarded, not learned', async (t) => {
  const sw = new TestSwitch(2);
  for (const last of [0x00, 0x01, 0x0e, 0x0f]) {
    t.strictSame(sw.send(0, [frame([0x01, 0x80, 0xc2, 0, 0, last], station(1))]), [[], []]);
  }
  for (const group of [
    [0x01, 0x80, 0xc2, 0, 0, 0x10],
    [0x01, 0x80, 0xc2, 0, 0, 0x20],
    [0x33, 0x33, 0, 0, 0, 1],
  ]) {
    t.equal(sw.send(0, [frame(group, station(1))])[1]!.length, 1);
  }
  t.strictSame(sw.send(0, [new Uint8Array(13)]), [[], []]);
  t.equal(sw.total('filtered'), 5);
  t.equal(sw.send(0, [frame(BROADCAST, BROADCAST)])[1]!.length, 1);
  t.equal(sw.table.entries(0).length, 1);
  t.equal(sw.bench.pool.inUseCount, 0);
});

t.test('ports: down, stopped, no member', async (t) => {
  const sw = new TestSwitch(3);
  const hello = frame(BROADCAST, station(1));
  sw.bench.setLink(1, false);
  t.strictSame(sw.send(0, [hello]), [[], [], [hello]], 'a flood passes a port that is down over');
  sw.bench.setLink(2, false);
  sw.send(0, [hello]);
  t.match([sw.total('txDropped'), sw.total('filtered')], [0, 1], 'nobody to send to');
  sw.bench.setLink(2, true);
  sw.bench.set(sw.bench.queue(2, 'tx') + QUEUE_RUN, 0);
  sw.send(0, [hello]);
  t.equal(sw.total('txDropped'), 1, 'up, but its queue stands still');
  sw.bench.set(sw.bench.queue(2, 'tx') + QUEUE_RUN, 1);
  sw.bench.setLink(1, true);
  sw.send(2, [frame(BROADCAST, station(3))]);
  sw.table.setMembers([0, 1], 4096);
  const to = frame(station(3), station(1));
  t.strictSame(sw.send(0, [to]), [[], [to], []], 'a station on a port that has left is unknown');
  t.equal(sw.bench.pool.inUseCount, 0);
});

t.test('flooding: every mbuf comes back, chains too, whoever the ports are', async (t) => {
  for (const [rings, nulls] of [
    [1, 2],
    [2, 0],
    [2, 1],
    [3, 3],
    [1, 1],
    [4, 0],
  ] as const) {
    const bench = new Bench();
    const others = Array.from({ length: nulls }, (_, i) => 10 + i);
    for (const id of others) bench.nullPort(id);
    const sw = new TestSwitch(rings, others, bench);
    const parts = [frame(BROADCAST, station(1), 30), Uint8Array.from([1, 2, 3]), Uint8Array.from([4, 5])];
    const packets = Array.from({ length: 70 }, () => bench.packet(...parts));
    bench.inject(sw.ports[0]!, packets);
    bench.run();
    for (const port of sw.ports.slice(1)) {
      const handles = bench.collectHandles(port);
      t.equal(handles.length, 70);
      for (const mbuf of handles) {
        t.strictSame(Buffer.concat(bench.segments(mbuf)), Buffer.concat(parts));
        t.equal(bench.get(mbuf + MBUF_REFCNT), 1, 'a ring port’s mbuf is its own: the other side may write');
      }
      t.equal(new Set(handles).size, 70);
      for (const mbuf of handles) bench.wasm.mbufFree(mbuf, bench.lcoreId);
    }
    t.equal(sw.total('txPackets') + sw.total('filtered'), 70 * Math.max(1, rings - 1 + nulls));
    t.equal(bench.pool.inUseCount, 0);
  }
});

t.test('flooding with an empty pool: copies are drops, the rest goes on', async (t) => {
  const bench = new Bench(48);
  const sw = new TestSwitch(4, [], bench);
  const sent = Array.from({ length: 32 }, (_, i) => frame(BROADCAST, station(i)));
  const out = sw.send(0, sent);
  t.equal(sw.total('txPackets') + sw.total('txDropped'), 96);
  t.equal(
    out.reduce((sum, frames) => sum + frames.length, 0),
    sw.total('txPackets'),
  );
  t.ok(sw.total('txPackets') >= 32);
  t.equal(bench.pool.inUseCount, 0);
});

t.test('a guest that floods made-up sources does not come between others', async (t) => {
  const bench = new Bench();
  const sw = new TestSwitch(3, [], bench);
  sw.table.setMembers([0, 1, 2], 1365);
  sw.send(0, [frame(BROADCAST, station(1))]);
  sw.send(1, [frame(BROADCAST, station(2))]);
  for (let i = 0; i < 100; i++) {
    const noise = Array.from({ length: 64 }, (_, k) => frame(station(2), station(0x20000 + i * 64 + k), 60));
    sw.send(2, noise, i);
    const [there, back] = [frame(station(2), station(1), 64, i), frame(station(1), station(2), 64, i)];
    t.strictSame(sw.send(0, [there], i), [[], [there], []]);
    t.strictSame(sw.send(1, [back], i), [[back], [], []]);
  }
  t.equal(sw.total('flooded'), 2);
  t.equal(sw.total('txDropped'), 0);
  t.ok(sw.table.entries(100).filter((entry) => entry.portId === 2).length <= 1365);
  t.equal(bench.pool.inUseCount, 0);
});

t.test('any traffic: as a model of a switch would, in order, nothing lost', async () => {
  const bench = new Bench();
  let round = 0;
  const address = fc.oneof(
    { weight: 8, arbitrary: fc.nat(7).map((n) => station(n)) },
    { weight: 1, arbitrary: fc.constant(BROADCAST) },
    { weight: 1, arbitrary: fc.constant([0, 0, 0, 0, 0, 0]) },
  );
  const burst = fc.record({
    port: fc.nat(3),
    frames: fc.array(fc.record({ to: address, from: address, length: fc.integer({ min: 14, max: 200 }) }), {
      minLength: 1,
      maxLength: 40,
    }),
    waitMs: fc.constantFrom(0, 1, 400, 1001),
  });
  const ports = Array.from({ length: 4 }, (_, id) => bench.ringPort(id));
  fc.assert(
    fc.property(fc.array(burst, { maxLength: 30 }), fc.constantFrom(1, 8, 32), (bursts, burstSize) => {
      const table = new MacTable(bench, { tableSize: 4096, ageingMs: AGEING_MS, quota: 4096 });
      table.setMembers([0, 1, 2, 3], 4096);
      const stream = { engine: ENGINE_L2, burst: burstSize, state: table.address, scratch: true };
      const records = bench.streams(...ports.map((port) => ({ ...stream, rxPort: port.id })));
      const known = new Map<string, { port: number; seen: number }>();
      let now = 0xffff_f000 + round++;
      try {
        for (const { port, frames, waitMs } of bursts) {
          now += waitMs;
          const expected: Uint8Array[][] = [[], [], [], []];
          const sent = frames.map(({ to, from, length }, seed) => frame(to, from, length, seed));
          frames.forEach(({ to, from }, i) => {
            if ((from[0]! & 1) === 0 && `${from}` !== '0,0,0,0,0,0') known.set(`${from}`, { port, seen: now });
            const entry = known.get(`${to}`);
            const target = entry !== undefined && now - entry.seen <= AGEING_MS ? entry.port : -1;
            for (let other = 0; other < 4; other++) {
              if (other !== port && (target === -1 || target === other)) expected[other]!.push(sent[i]!);
            }
          });
          bench.inject(
            ports[port]!,
            sent.map((bytes) => bench.packet(bytes)),
          );
          bench.run(now >>> 0);
          assert.deepEqual(
            ports.map((member) => bench.collect(member)),
            expected,
          );
        }
        assert.equal(bench.pool.inUseCount, 0);
      } finally {
        records.free();
        table.free();
      }
    }),
    { numRuns: 60 },
  );
});

t.test('a known destination that ages while its source goes on talking in the same burst', async (t) => {
  const sw = new TestSwitch(2);
  sw.send(0, [frame(BROADCAST, station(1))], 0);
  const late = AGEING_MS + 1;
  const echo = [frame(station(2), station(1)), frame(station(1), station(1))];
  t.equal(sw.send(0, echo, late)[1]!.length, 1, 'its own frame brings it back before the second is looked up');
});
