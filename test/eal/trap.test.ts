/** Rule 7 of the data plane: a fault stops its own queue, never another port, never the process. Not even a trap. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { PORT_BASE, PORT_RXQS, PORT_SIZE, QUEUE_RING } from '../../assembly/layout.js';
import { Burst, Eal, Forwarder, MbufView, Mempool, Port, silentLogger } from '../../src/index.js';

t.test('a trap in one port stops its queue; the lcore and the other port go on', async (t) => {
  const eal = await Eal.init({ lcores: [0, 1], memoryMiB: 64, logger: silentLogger });
  t.teardown(() => eal.cleanup());
  const mempool = Mempool.createPktmbuf(eal, { name: 'trap', count: 511 });
  const burst = Burst.create(eal, 8);
  const packet = new MbufView(eal);
  const ports: Port[] = [];
  for (const name of ['net_ring0', 'net_ring1']) {
    const port = await Port.probe(eal, name);
    port.configure({ rxQueueCount: 1, txQueueCount: 1 });
    port.rxQueueSetup(0, { mempool });
    port.txQueueSetup(0);
    await port.start();
    mempool.allocBulk(burst, 8);
    for (const handle of burst.handles) packet.at(handle).append(64);
    port.txBurst(0, burst, 8);
    ports.push(port);
  }
  const [broken, sound] = ports as [Port, Port];
  const causes: (string | undefined)[] = [];
  broken.on('queueState', ({ cause }) => causes.push(cause));
  const forwarder = new Forwarder(eal, { ports, topology: 'loop', lcores: [1] });
  await forwarder.start();

  // A ring at an odd address: the atomic load of its index traps.
  const { u32 } = eal.memory;
  const queue = u32[u32[(PORT_BASE + broken.id * PORT_SIZE + PORT_RXQS) >>> 2]! >>> 2]!;
  u32[(queue + QUEUE_RING) >>> 2]! += 1;
  while (causes.length === 0) await delay(5);
  t.same(causes, ['trap']);
  const before = sound.stats().ipackets;
  while (sound.stats().ipackets < before + 10_000) await delay(5);
  t.equal(eal.lcore(1).state, 'running');
  u32[(queue + QUEUE_RING) >>> 2]! -= 1;
  await forwarder.stop();
});
