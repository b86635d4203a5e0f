/** The port table: numbers, names, limits, two Eals side by side, nothing left behind. */
import t from 'tap';
import { MAX_PORTS, QUEUE_LOCK, QUEUE_RUN } from '../../assembly/layout.js';
import { Burst, findPort, Port, ports } from '../../src/index.js';
import { errorOf, openEal, packetPool, Spy } from './rig.js';

t.test('ports are found by number and by name', async (t) => {
  const eal = await openEal(t);
  t.same(ports(eal), []);
  t.equal(
    errorOf(() => findPort(eal, 0)),
    'ERR_NO_SUCH_PORT: no port 0: there are none',
  );
  const a = await Port.probe(eal, 'net_null0');
  const b = await Port.probe(eal, 'net_ring0');
  t.equal(findPort(eal, 1), b);
  t.equal(findPort(eal, 'net_null0'), a);
  t.equal(
    errorOf(() => findPort(eal, 'net_null1')),
    'ERR_NO_SUCH_PORT: no port net_null1: there are 0 (net_null0), 1 (net_ring0)',
  );
  await t.rejects(Port.probe(eal, 'net_ring0'), {
    code: 'ERR_INVALID_ARGUMENT',
    message: 'net_ring0 exists already, as port 1: choose another number',
  });
  await a.close();
  const c = await Port.probe(eal, 'net_null5');
  t.equal(c.id, 0, 'the lowest free number');
  t.same(ports(eal), [c, b], 'by number');
});

t.test('there are 64 ports', async (t) => {
  const eal = await openEal(t);
  const spy = new Spy();
  const all = [];
  for (let id = 0; id < MAX_PORTS; id++) all.push(await Port.probe(eal, `net_spy${id}`, { driver: spy.driver }));
  t.equal(new Set(all.map((port) => port.macAddress)).size, MAX_PORTS as number, 'each has a MAC address of its own');
  await t.rejects(Port.probe(eal, 'net_spy64', { driver: spy.driver }), {
    code: 'ERR_PORT_LIMIT',
    message: 'net_spy64: all 64 ports are in use: close one first',
  });
  await all[17]!.close();
  t.equal((await Port.probe(eal, 'net_spy64', { driver: spy.driver })).id, 17);
});

t.test('two Eals know nothing of each other', async (t) => {
  const [one, two] = [await openEal(t), await openEal(t)];
  const a = await Port.probe(one, 'net_null0');
  const b = await Port.probe(two, 'net_null0');
  t.equal(a.id, b.id);
  t.same(ports(one), [a]);
  t.same(ports(two), [b]);
});

t.test('cleanup closes every port', async (t) => {
  const eal = await openEal(t);
  const spy = new Spy();
  const port = await Port.probe(eal, 'net_spy0', { driver: spy.driver });
  await eal.cleanup();
  t.equal(port.state, 'closed');
  t.equal(spy.calls.at(-1), 'close');
});

t.test('100 open and close cycles leave nothing behind', async (t) => {
  const eal = await openEal(t);
  const mempool = packetPool(eal);
  const burst = Burst.create(eal, 32);
  let zones: string[] | undefined;
  let free = 0;
  for (let cycle = 0; cycle < 100; cycle++) {
    const pair = [await Port.probe(eal, 'net_ring0,wire=w'), await Port.probe(eal, 'net_ring1,wire=w')];
    for (const port of pair) {
      port.configure({ rxQueueCount: 2, txQueueCount: 2 });
      for (const queue of [0, 1]) {
        port.rxQueueSetup(queue, { mempool, descriptorCount: 64 });
        port.txQueueSetup(queue);
      }
      await port.start();
    }
    if (!mempool.allocBulk(burst, 32)) throw new Error(`cycle ${cycle}: the mempool is empty`);
    const sent = pair[0]!.txBurst(cycle % 2, burst, 32);
    if (sent !== 32) throw new Error(`cycle ${cycle}: ${sent} sent`);
    // a different end goes first each time, with packets on the wire
    for (const port of cycle % 3 === 0 ? pair : pair.reverse()) await port.close();
    if (mempool.inUseCount !== 0) throw new Error(`cycle ${cycle}: ${mempool.inUseCount} mbufs lost`);
    zones ??= eal.memzones.list().map((zone) => zone.name);
    if (cycle === 0) free = eal.memzones.freeBytes;
  }
  t.same(
    eal.memzones.list().map((zone) => zone.name),
    zones,
  );
  t.equal(eal.memzones.freeBytes, free);
  t.same(ports(eal), []);
});

t.test('a closed port moves nothing, and a late lcore finds a shut queue', async (t) => {
  const eal = await openEal(t);
  const mempool = packetPool(eal);
  const burst = Burst.create(eal, 8);
  const spy = new Spy();
  const port = await Port.probe(eal, 'net_spy0', { driver: spy.driver });
  const queue = spy.slot!.rxQueues[0]!;
  port.configure({ rxQueueCount: 1, txQueueCount: 1 });
  port.rxQueueSetup(0, { mempool });
  port.txQueueSetup(0);
  await port.start();
  t.equal(eal.memory.u32[(queue + QUEUE_RUN) >>> 2], 1);
  await port.close();
  t.equal(eal.memory.u32[(queue + QUEUE_RUN) >>> 2], 0);
  t.equal(eal.memory.u32[(queue + QUEUE_LOCK) >>> 2], 0);

  const successor = await Port.probe(eal, 'net_null0,size=60');
  successor.configure({ rxQueueCount: 1, txQueueCount: 1 });
  successor.rxQueueSetup(0, { mempool });
  successor.txQueueSetup(0);
  await successor.start();
  t.equal(port.rxBurst(0, burst), 0, "the old object does not take the new port's packets");
  t.equal(successor.rxBurst(0, burst), 8);
  burst.free(0, 8);
  t.equal(mempool.inUseCount, 0);
});
