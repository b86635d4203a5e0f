/**
 * No wake-up is lost: a guest that sleeps until its frame comes back, on a port that puts off every notification. Each wake-up that
 * got lost would be a sleep that ends by its time limit, and those are counted.
 */
import type { Test } from 'tap';
import t from 'tap';
import { ENGINE_IO, LCORE_BASE, LCORE_SIZE, LCORE_STREAM_COUNT, LCORE_STREAMS } from '../../assembly/layout.js';
import { StreamRecords } from '../../src/forward/stream-records.js';
import { Eal, Mempool, Port, silentLogger } from '../../src/index.js';

const MODULE = new URL('./notify-ping.js', import.meta.url);
const TOTAL = 300;

async function open(eal: Eal, mempool: Mempool, vdev: string): Promise<Port> {
  const port = await Port.probe(eal, vdev);
  port.configure({ rxQueueCount: 1, txQueueCount: 1 });
  port.rxQueueSetup(0, { mempool });
  port.txQueueSetup(0);
  await port.start();
  return port;
}

async function pingPong(t: Test, packed: boolean, engine: boolean): Promise<void> {
  const eal = await Eal.init({ memoryMiB: 32, lcores: [0, 1, 2], idlePolls: 2, logger: silentLogger });
  t.teardown(() => eal.cleanup());
  const mempool = Mempool.createPktmbuf(eal, { name: 'packets', count: 1023, cacheSize: 0 });
  const host = await open(eal, mempool, 'net_vhost0,iface=inproc:vm0');
  const guest = await open(eal, mempool, `net_virtio_user0,path=inproc:vm0${packed ? ',packed_vq=1' : ''}`);
  for (let turn = 0; turn < 1000 && !(host.link().up && guest.link().up); turn++) {
    await new Promise((go) => setTimeout(go, 5));
  }
  host.setCoalescing(0, { usecs: 100, frames: 32, adaptive: false });
  const { memory, memzones } = eal;
  const done = memzones.reserve('done', 64).address;
  const arg = { mempool: mempool.address, done, total: TOTAL };
  const [echo, ping] = [eal.lcore(1), eal.lcore(2)];
  if (engine) {
    const stream = { engine: ENGINE_IO, rxPort: host.id, rxQueue: 0, txPort: host.id, txQueue: 0, burst: 32 };
    const records = new StreamRecords(memory, memzones, [{ lcoreIndex: 0, ...stream }]);
    const lcore = LCORE_BASE + echo.id * LCORE_SIZE;
    memory.u32[(lcore + LCORE_STREAMS) >>> 2] = records.lcores[0]!.streams;
    memory.u32[(lcore + LCORE_STREAM_COUNT) >>> 2] = 1;
    echo.setRxQueues(records.lcores[0]!.rxQueues);
    echo.runStreams();
  } else await echo.runModule(MODULE, { ...arg, port: host.id, echo: true });
  await ping.runModule(MODULE, { ...arg, port: guest.id, echo: false });
  for (let turn = 0; turn < 4000 && Atomics.load(memory.u32, done >>> 2) < TOTAL; turn++) {
    await new Promise((go) => setTimeout(go, 5));
  }
  const sleeps = [echo.stats(), ping.stats()];
  await echo.stop();
  await ping.stop();
  t.equal(memory.u32[done >>> 2], TOTAL, 'every frame came back');
  for (const { sleeps: slept, wakeups } of sleeps) t.ok(slept - wakeups <= 1, `${slept} sleeps, ${wakeups} wake-ups`);
  const xstats = Object.fromEntries(host.xstats().map(({ name, value }) => [name, value]));
  t.ok(xstats.tx_q0_guest_notifications_postponed! > 0, 'notifications were put off');
  t.equal(xstats.tx_q0_guest_notifications_error, 0);
}

for (const packed of [false, true]) {
  for (const engine of [false, true]) {
    const name = `${packed ? 'packed' : 'split'} ring, ${engine ? 'io engine' : 'packet function'}`;
    t.test(name, (t) => pingPong(t, packed, engine));
  }
}
