/** Ports on a worker lcore: a packet function of the user's, in TypeScript, that sleeps when nothing comes. */

import type { Test } from 'tap';
import t from 'tap';
import { LCORE_BASE, LCORE_SIZE, LCORE_SLEEPING } from '../../assembly/layout.js';
import { Burst, Eal, MbufView, Mempool, Port, Ring, silentLogger } from '../../src/index.js';

const MODULE = new URL('./lcore-main.js', import.meta.url);

async function lab(t: Test) {
  const eal = await Eal.init({ memoryMiB: 32, lcores: [0, 1], idlePolls: 64, logger: silentLogger });
  t.teardown(() => eal.cleanup());
  const mempool = Mempool.createPktmbuf(eal, { name: 'packets', count: 511, cacheSize: 0 });
  const ring = Ring.create(eal, { name: 'reports', count: 15 });
  const ports: Port[] = [];
  for (const name of ['net_ring0,wire=w', 'net_ring1,wire=w']) {
    const port = await Port.probe(eal, name);
    port.configure({ rxQueueCount: 1, txQueueCount: 1 });
    port.rxQueueSetup(0, { mempool });
    port.txQueueSetup(0);
    await port.start();
    ports.push(port);
  }
  const [near, far] = ports as [Port, Port];
  const arg = { port: far.id, mempool: mempool.address, ring: ring.address };
  return { eal, mempool, ring, near, far, arg, burst: Burst.create(eal, 32), m: new MbufView(eal) };
}

const soon = () => new Promise((resolve) => setTimeout(resolve, 1));

t.test('a packet function in TypeScript: rx, swap, tx, and sleep', async (t) => {
  const { eal, mempool, ring, near, arg, burst, m } = await lab(t);
  const lcore = eal.lcore(1);
  await lcore.runModule(MODULE, arg);
  const asleep = () => Atomics.load(eal.memory.u32, (LCORE_BASE + LCORE_SIZE + LCORE_SLEEPING) >>> 2) !== 0;
  const report = Burst.create(eal, 4);
  t.equal(ring.dequeueBulk(report, 4), 4);
  t.same([...report.handles], [1, 1, 511, 1], 'lcore id, rx queues, mempool, link');

  for (let round = 0; round < 3; round++) {
    // nothing comes for a while: it goes to sleep, and our packets wake it
    for (let turn = 0; turn < 2000 && !asleep(); turn++) await soon();
    t.ok(asleep(), 'it sleeps');
    t.ok(mempool.allocBulk(burst, 32));
    for (let i = 0; i < 32; i++) {
      m.at(burst.handles[i]!).append(64);
      m.setU32(0, 0x02000000);
      m.setU16(4, i);
      m.setU32(6, 0x06000000);
      m.setU16(10, 1000 + i);
      m.setU32(60, round);
    }
    t.equal(near.txBurst(0, burst, 32), 32);
    let received = 0;
    for (let turn = 0; turn < 2000 && received < 32; turn++) {
      const n = near.rxBurst(0, burst);
      for (let i = 0; i < n; i++) {
        m.at(burst.handles[i]!);
        const swapped = m.u32(0) === 0x06000000 && m.u16(4) === 1000 + received + i;
        const kept = m.u32(6) === 0x02000000 && m.u16(10) === received + i && m.u32(60) === round;
        if (!swapped || !kept) throw new Error(`frame ${received + i} of round ${round} is altered`);
      }
      burst.free(0, n);
      received += n;
      if (n === 0) await soon();
    }
    t.equal(received, 32);
  }
  t.ok(lcore.stats().wakeups > 0, 'packets ended its sleeps');
  await lcore.stop();
  t.equal(ring.dequeueBulk(report, 1), 1);
  t.equal(report.handles[0], 4711, 'onEnd ran in the lcore');
  t.equal(mempool.inUseCount, 0);
});

t.test('faults of a main are the caller’s to see', async (t) => {
  const { eal, near, mempool, arg, burst, m } = await lab(t);
  const lcore = eal.lcore(1);
  await t.rejects(lcore.runModule(MODULE, { ...arg, fault: 'port' }), {
    code: 'ERR_LCORE_FAILED',
    message: /port 63 is not configured: probe and configure it before runModule\(\)/,
  });
  await t.rejects(lcore.runModule(MODULE, { ...arg, fault: 'queue' }), {
    code: 'ERR_LCORE_FAILED',
    message: /port 1 has no rx queue 9; it is configured with 1/,
  });
  await lcore.runModule(MODULE, { ...arg, fault: 'poll' });
  mempool.allocBulk(burst, 1);
  m.at(burst.handles[0]!).append(64);
  t.equal(near.txBurst(0, burst, 1), 1);
  await t.rejects(lcore.wait(), { code: 'ERR_LCORE_FAILED', message: /the packet function failed on purpose/ });
  await lcore.runModule(MODULE, arg);
  await lcore.stop();
});
