/** The MAC table against a model that is a plain Map, and its behaviour when it is too small for what comes. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { SWITCH_HASH, SWITCH_LOCK, SWITCH_OWNED, SWITCH_TABLE } from '../../assembly/layout.js';
import { MacTable } from '../../src/forward/mac-table.js';
import { Bench, BROADCAST, station, text } from './harness.js';

const bench = new Bench(64);
const PORTS = [0, 1, 5, 63];

/** What each port owns, by the table's own books. */
function owned(table: MacTable): number[] {
  return PORTS.map((port) => bench.get(table.address + SWITCH_OWNED + port * 4));
}

/** The same, by counting. */
function counted(table: MacTable, nowMs: number): number[] {
  const entries = table.entries(nowMs);
  return PORTS.map((port) => entries.filter((entry) => entry.portId === port).length);
}

type Step =
  | { readonly op: 'learn'; readonly mac: number; readonly port: number }
  | { readonly op: 'lookup'; readonly mac: number }
  | { readonly op: 'wait'; readonly ms: number }
  | { readonly op: 'flush'; readonly port: number }
  | { readonly op: 'sweep' };

const AGEING_MS = 1000;
const MACS = 40;

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ op: fc.constant('learn' as const), mac: fc.nat(MACS - 1), port: fc.constantFrom(...PORTS) }),
  },
  { weight: 6, arbitrary: fc.record({ op: fc.constant('lookup' as const), mac: fc.nat(MACS - 1) }) },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant('wait' as const), ms: fc.constantFrom(1, 499, 500, 1000, 1001, 5000) }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('flush' as const), port: fc.constantFrom(...PORTS) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('sweep' as const) }) },
);

t.test('learn, look up, move, age, flush and sweep as a Map would, across the wrap of the clock', async () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 200 }),
      // most sequences cross 2^32 ms
      fc.oneof(fc.integer({ min: -8000, max: 0 }), fc.nat(0xffff_ffff)),
      (steps, startMs) => {
        // room enough that no bucket is ever short: 40 stations in 4096 buckets of 4, at most 3 a port
        const table = new MacTable(bench, { tableSize: 16384, ageingMs: AGEING_MS, quota: 1000 });
        const model = new Map<number, { port: number; seen: number }>();
        let now = startMs;
        const u32 = () => now >>> 0;
        const alive = (mac: number) => {
          const entry = model.get(mac);
          return entry !== undefined && now - entry.seen <= AGEING_MS ? entry.port : -1;
        };
        try {
          for (const action of steps) {
            if (action.op === 'wait') {
              now += action.ms;
            } else if (action.op === 'learn') {
              table.learn(text(station(action.mac)), action.port, u32());
              model.set(action.mac, { port: action.port, seen: now });
            } else if (action.op === 'lookup') {
              assert.equal(table.lookup(text(station(action.mac)), u32()), alive(action.mac));
            } else if (action.op === 'flush') {
              const gone = [...model].filter(([, entry]) => entry.port === action.port);
              for (const [mac] of gone) model.delete(mac);
              assert.equal(table.flush(action.port), gone.length);
            } else {
              const gone = [...model].filter(([mac]) => alive(mac) < 0);
              for (const [mac] of gone) model.delete(mac);
              assert.equal(table.sweep(u32()), gone.length);
            }
          }
          const expected = [...model.keys()].filter((mac) => alive(mac) >= 0);
          const entries = table.entries(u32());
          assert.deepEqual(
            entries.map(({ mac, portId, idleMs }) => `${mac} ${portId} ${idleMs}`).sort(),
            expected.map((mac) => `${text(station(mac))} ${model.get(mac)!.port} ${now - model.get(mac)!.seen}`).sort(),
          );
          table.sweep(u32());
          assert.deepEqual(owned(table), counted(table, u32()));
          assert.deepEqual([table.counters().refused, table.counters().evicted], [0, 0]);
        } finally {
          table.free();
        }
      },
    ),
    { numRuns: 150 },
  );
});

t.test('counters: learned once, moved when the port changes, nothing for what is known', async (t) => {
  const table = new MacTable(bench, { tableSize: 64, ageingMs: AGEING_MS, quota: 64 });
  const mac = text(station(1));
  for (const [port, at] of [
    [0, 0],
    [0, 10],
    [1, 20],
    [1, 30],
    [0, 40],
  ] as const) {
    table.learn(mac, port, at);
    t.equal(table.lookup(mac, at), port);
  }
  t.strictSame(table.counters(), { learned: 1, moved: 2, refused: 0, evicted: 0 });
  t.strictSame(owned(table), [1, 0, 0, 0]);
  table.free();
});

t.test('group and zero addresses are no stations', async (t) => {
  const table = new MacTable(bench, { tableSize: 64, ageingMs: 0, quota: 64 });
  for (const mac of [BROADCAST, [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]]) {
    table.learn(text(mac), 0, 0);
    t.equal(table.lookup(text(mac), 0), -1);
  }
  t.equal(table.entries(0).length, 0);
  t.match(table.counters(), { learned: 0, refused: 0 });
  table.free();
});

t.test('the last millisecond of a life, and ageing 0 = never', async (t) => {
  const mac = text(station(7));
  for (const start of [0, 0xffff_fe00, 0xffff_ffff]) {
    const table = new MacTable(bench, { tableSize: 64, ageingMs: 1000, quota: 64 });
    table.learn(mac, 5, start);
    t.equal(table.lookup(mac, (start + 1000) >>> 0), 5);
    t.equal(table.lookup(mac, (start + 1001) >>> 0), -1);
    t.equal(table.lookup(mac, (start - 1) >>> 0), 5, 'a lcore whose clock is a little behind');
    table.learn(mac, 5, (start + 5000) >>> 0);
    t.equal(table.lookup(mac, (start + 5001) >>> 0), 5, 'a station that speaks again is back');
    table.free();
  }
  const table = new MacTable(bench, { tableSize: 64, ageingMs: 0, quota: 64 });
  table.learn(mac, 5, 0);
  for (const now of [1, 1_000_000_000, 0xffff_ffff]) {
    t.equal(table.sweep(now), 0);
    t.equal(table.lookup(mac, now), 5);
  }
  table.free();
});

t.test('a flood of made-up addresses fills its own share and harms nobody', async (t) => {
  const quota = 512;
  const table = new MacTable(bench, { tableSize: 1024, ageingMs: 300_000, quota });
  table.setHash(0x1234_5678_9abc_def1n);
  const residents = Array.from({ length: 50 }, (_, i) => text(station(i)));
  for (const mac of residents) table.learn(mac, 0, 0);
  for (let i = 0; i < 20_000; i++) table.learn(text(station(0x10000 + i)), 1, i);
  for (const mac of residents) t.equal(table.lookup(mac, 20_000), 0, 'residents survive');
  t.ok(owned(table)[1]! <= quota);
  t.strictSame(owned(table), counted(table, 20_000));
  t.ok(table.entries(20_000).length <= table.capacity);
  const before = table.counters();
  t.ok(before.evicted > 0, 'the flood evicts its own');

  t.test('newcomers on other ports still find room', async (t) => {
    const newcomers = Array.from({ length: 50 }, (_, i) => text(station(0x900000 + i)));
    for (const mac of newcomers) table.learn(mac, 5, 20_001);
    const found = newcomers.filter((mac) => table.lookup(mac, 20_001) === 5).length;
    t.ok(found >= 45, `${found} of 50: one way of each bucket is nobody's alone`);
    for (const mac of residents) t.equal(table.lookup(mac, 20_001), 0);
  });

  t.test('a station that the flood imitates moves, and comes back with its next frame', async (t) => {
    table.learn(residents[0]!, 1, 20_002);
    t.not(table.lookup(residents[0]!, 20_002), 0);
    table.learn(residents[0]!, 0, 20_003);
    t.equal(table.lookup(residents[0]!, 20_003), 0);
    table.sweep(20_003);
    t.strictSame(owned(table), counted(table, 20_003));
  });
  table.free();
});

t.test('one bucket: three ways a port, then its own oldest gives way; full of others, it refuses', async (t) => {
  const table = new MacTable(bench, { tableSize: 4, ageingMs: 1000, quota: 4 });
  t.equal(table.capacity, 4);
  const mac = (n: number) => text(station(n));
  for (const n of [1, 2, 3]) table.learn(mac(n), 0, n);
  table.learn(mac(1), 0, 4); // 2 is the oldest now
  table.learn(mac(4), 0, 5);
  t.strictSame(
    [1, 2, 3, 4].map((n) => table.lookup(mac(n), 5)),
    [0, -1, 0, 0],
  );
  table.learn(mac(5), 1, 6);
  t.equal(table.lookup(mac(5), 6), 1, 'the fourth way is for another port');
  table.learn(mac(6), 5, 7);
  t.equal(table.lookup(mac(6), 7), -1, 'no way left: flooded');
  t.strictSame(table.counters(), { learned: 5, moved: 0, refused: 1, evicted: 1 });
  table.learn(mac(6), 5, 1008);
  t.equal(table.lookup(mac(6), 1008), 5, 'what has aged gives way to anybody');
  t.strictSame(table.counters(), { learned: 6, moved: 0, refused: 1, evicted: 1 });
  t.strictSame(
    owned(table).reduce((sum, n) => sum + n),
    4,
  );
  table.free();
});

t.test('a station that moves to a port without quota is forgotten, so that frames still reach it', async (t) => {
  const table = new MacTable(bench, { tableSize: 64, ageingMs: 0, quota: 1 });
  table.learn(text(station(1)), 0, 0);
  table.learn(text(station(2)), 1, 0);
  table.learn(text(station(1)), 1, 1);
  t.equal(table.lookup(text(station(1)), 1), -1);
  t.equal(table.lookup(text(station(2)), 1), 1);
  t.strictSame(owned(table), [0, 1, 0, 0]);
  table.free();
});

t.test('bounded: whatever comes, nothing is written behind the table', async (t) => {
  const before = bench.memzones.reserve('before', 64);
  const table = new MacTable(bench, { tableSize: 5, ageingMs: 10, quota: 8 });
  const after = bench.memzones.reserve('after', 4096);
  t.equal(table.capacity, 8);
  for (let i = 0; i < 5000; i++) table.learn(text(station((i * 7919) & 0xffffff)), PORTS[i & 3]!, i);
  t.ok(table.entries(5000).length <= 8);
  const clean = (address: number, length: number) =>
    bench.memory.u8.subarray(address, address + length).every((b) => b === 0);
  t.ok(clean(before.address, 64));
  // the scratch address behind the table is the control plane's own
  t.ok(clean(after.address, 4096));
  t.throws(() => new MacTable(bench, { tableSize: 0, ageingMs: 0, quota: 1 }), { code: 'ERR_INVALID_ARGUMENT' });
  t.throws(() => new MacTable(bench, { tableSize: 2 ** 23, ageingMs: 0, quota: 1 }), { code: 'ERR_INVALID_ARGUMENT' });
  table.free();
});

t.test('a lock that a dead lcore left behind is taken over, and the books are put right', async (t) => {
  const table = new MacTable(bench, { tableSize: 64, ageingMs: 0, quota: 64 });
  table.learn(text(station(1)), 0, 0);
  bench.set(table.address + SWITCH_LOCK, 7);
  bench.set(table.address + SWITCH_OWNED, 99);
  table.learn(text(station(2)), 0, 0);
  t.equal(table.lookup(text(station(2)), 0), -1, 'learning gives up');
  t.equal(table.lookup(text(station(1)), 0), 0, 'lookups need no lock');
  table.recover(0);
  t.strictSame(owned(table), [1, 0, 0, 0]);
  table.learn(text(station(2)), 0, 0);
  t.equal(table.lookup(text(station(2)), 0), 0);
  bench.set(table.address + SWITCH_LOCK, 7);
  t.equal(table.flush(0), 2, 'and without recover(), after a while');
  table.free();
});

t.test('the hash spreads neighbouring addresses over the buckets', async (t) => {
  const table = new MacTable(bench, { tableSize: 4096, ageingMs: 0, quota: 4096 });
  t.not(bench.memory.u64[(table.address + SWITCH_HASH) >>> 3], 0n);
  for (let i = 0; i < 1000; i++) table.learn(text(station(i)), 0, 0);
  const buckets = new Set<number>();
  for (let way = 0; way < 4096; way++) {
    if (bench.memory.u64[(table.address + SWITCH_TABLE + way * 16) >>> 3] !== 0n) buckets.add(way >> 2);
  }
  t.ok(buckets.size > 500, `${buckets.size} of 1024 buckets for 1000 stations`);
  t.ok(table.entries(0).length > 950);
  table.free();
});
