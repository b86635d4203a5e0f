/** L2Switch on real lcores, over net_ring wires. */
import t from 'tap';
import { nowMs } from '../../src/eal/clock.js';
import { L2Switch } from '../../src/forward/index.js';
import { BROADCAST, frame, station, text } from './harness.js';
import { Lab, until } from './lab.js';

t.test('the example: create, start, and stations find each other', async (t) => {
  const lab = await Lab.open([0, 1], 3);
  const zones = lab.eal.memzones.list().length;
  const ports = lab.inner;
  const sw = L2Switch.create(lab.eal, { ports });
  await sw.start();
  const hello = frame(BROADCAST, station(1));
  lab.send(0, [hello]);
  t.strictSame(await lab.receiveCount(1, 1), [hello]);
  t.strictSame(await lab.receiveCount(2, 1), [hello]);
  const reply = frame(station(1), station(2), 1514);
  lab.send(2, [reply]);
  t.strictSame(await lab.receiveCount(0, 1), [reply]);
  t.strictSame(lab.receive(1), []);

  t.equal(sw.lookup(text(station(1))), ports[0]);
  t.equal(sw.lookup(text(station(2))), ports[2]);
  t.equal(sw.lookup(text(station(3))), undefined);
  t.throws(() => sw.lookup('nobody'), { code: 'ERR_INVALID_ARGUMENT' });
  t.match(sw.entries(), [
    { mac: text(station(1)), port: ports[0]! },
    { mac: text(station(2)), port: ports[2]! },
  ]);
  t.ok(sw.entries().every(({ ageSeconds }) => ageSeconds >= 0 && ageSeconds < 5));
  await sw.stop();
  t.equal(sw.isRunning, false);
  t.match(sw.stats(), {
    rxPackets: 2,
    txPackets: 3,
    txDropped: 0,
    flooded: 1,
    filtered: 0,
    learned: 2,
    moved: 0,
    refused: 0,
    evicted: 0,
    stations: 2,
    tableSize: 4096,
  });
  await sw.start();
  lab.send(1, [frame(station(1), station(3))]);
  t.equal((await lab.receiveCount(0, 1)).length, 1, 'what it learned outlives a stop');
  await until(() => sw.stats().txPackets === 4);
  t.equal(sw.stats().txPackets, 4, 'so does what it counted');
  await sw.close();
  await sw.close();
  t.throws(() => sw.entries(), { code: 'ERR_INVALID_STATE' });
  await t.rejects(sw.start(), { code: 'ERR_INVALID_STATE' });
  t.equal(lab.eal.memzones.list().length, zones);
  t.equal(lab.mempool.inUseCount, 0);
  await lab.close();
});

t.test('a link that goes down takes its stations with it, and only those', async (t) => {
  const lab = await Lab.open([0, 1], 3);
  const sw = L2Switch.create(lab.eal, { ports: lab.inner });
  await sw.start();
  lab.send(0, [frame(BROADCAST, station(1)), frame(BROADCAST, station(2))]);
  lab.send(1, [frame(BROADCAST, station(3))]);
  await until(() => sw.stats().txPackets === 6);
  await lab.wires[0]!.outer.stop();
  t.strictSame(
    sw.entries().map(({ mac }) => mac),
    [text(station(3))],
  );
  for (const wire of [1, 2]) lab.receive(wire);
  lab.send(1, [frame(BROADCAST, station(3), 99)]);
  t.equal((await lab.receiveCount(2, 1)).at(-1)!.length, 99, 'the others go on');
  await lab.wires[0]!.outer.start();
  lab.send(0, [frame(station(3), station(1), 98)]);
  t.equal((await lab.receiveCount(1, 1)).at(-1)!.length, 98, 'and it is there again');
  t.equal(sw.flush(lab.inner[0]!), 1);
  t.equal(sw.lookup(text(station(1))), undefined);
  await lab.close();
  t.equal(sw.isRunning, false, 'cleanup ends it');
});

t.test('ports join and leave while it runs', async (t) => {
  const lab = await Lab.open([0, 1], 3);
  const [a, b, c] = lab.inner;
  const sw = L2Switch.create(lab.eal, { ports: [a!, b!], tableSize: 64 });
  await sw.start();
  lab.send(2, [frame(BROADCAST, station(9))]);
  lab.send(0, [frame(BROADCAST, station(1))]);
  t.equal((await lab.receiveCount(1, 1)).length, 1);
  t.equal(lab.receive(2).length, 0, 'no member yet');
  await sw.addPort(c!);
  t.strictSame(sw.ports, [a, b, c]);
  t.equal((await lab.receiveCount(0, 1)).length, 1, 'what waited on its wire comes in');
  t.equal(sw.lookup(text(station(1))), a, 'the table goes on');
  await t.rejects(sw.addPort(c!), { code: 'ERR_INVALID_ARGUMENT' });
  t.equal(sw.isRunning, true);
  await sw.removePort(a!);
  t.equal(sw.lookup(text(station(1))), undefined);
  await a!.close();
  lab.receive(1);
  lab.send(2, [frame(station(1), station(9))]);
  t.equal((await lab.receiveCount(1, 1)).length, 1);
  await sw.removePort(b!);
  await sw.removePort(c!);
  t.equal(sw.isRunning, false, 'without ports it stops');
  await sw.addPort(c!);
  await sw.start();
  await lab.close();
});

t.test('ageing on the clock of the lcores; sweeps take out what has aged', async (t) => {
  const lab = await Lab.open([0, 1], 2);
  const sw = L2Switch.create(lab.eal, { ports: lab.inner, ageingSeconds: 0.3 });
  await sw.start();
  const start = nowMs();
  lab.send(0, [frame(BROADCAST, station(1))]);
  await until(() => sw.stats().stations === 1);
  await until(() => sw.stats().stations === 0);
  t.ok((nowMs() - start) >>> 0 >= 300);
  t.equal(sw.lookup(text(station(1))), undefined);
  await lab.close();
});

t.test('two lcores share one table and the ports', async (t) => {
  const lab = await Lab.open([0, 1, 2], 4, 2);
  const sw = L2Switch.create(lab.eal, { ports: lab.inner, burst: 8 });
  await sw.start();
  const rounds = 40;
  let received = 0;
  for (let wire = 0; wire < 4; wire++) lab.send(wire, [frame(BROADCAST, station(wire))]);
  await until(() => sw.stats().stations === 4);
  await until(() => sw.stats().txPackets === 12);
  for (let wire = 0; wire < 4; wire++) received += lab.receive(wire).length;
  t.equal(received, 12);
  const got = [0, 0, 0, 0];
  for (let round = 0; round < rounds; round++) {
    for (let wire = 0; wire < 4; wire++) {
      // every port sends to every other, and says which frame of its own it is
      const frames = Array.from({ length: 30 }, (_, i) =>
        frame(station((wire + 1 + (i % 3)) % 4), station(wire), 64, i),
      );
      lab.send(wire, frames);
    }
    await until(() => {
      for (let wire = 0; wire < 4; wire++) got[wire]! += lab.receive(wire).length;
      return got.every((count) => count >= 30 * (round + 1));
    });
  }
  t.strictSame(got, [1200, 1200, 1200, 1200]);
  await sw.stop();
  t.match(sw.stats(), { rxPackets: 4804, txPackets: 4812, txDropped: 0, flooded: 4, filtered: 0, stations: 4 });
  t.equal(lab.mempool.inUseCount, 0);
  await lab.close();
});

t.test('options that mean nothing', async (t) => {
  const lab = await Lab.open([0, 1], 1);
  const ports = lab.inner;
  const bad = { code: 'ERR_INVALID_ARGUMENT' };
  const zones = lab.eal.memzones.list().length;
  for (const options of [
    { ageingSeconds: -1 },
    { ageingSeconds: 1_000_001 },
    { ageingSeconds: Number.NaN },
    { tableSize: 0 },
    { portQuota: 0 },
    { burst: 0 },
  ]) {
    t.throws(() => L2Switch.create(lab.eal, { ports, ...options }), bad, JSON.stringify(options));
  }
  t.throws(() => L2Switch.create(lab.eal, { ports: [ports[0]!, ports[0]!] }), bad);
  t.equal(lab.eal.memzones.list().length, zones);
  await lab.close();
});
