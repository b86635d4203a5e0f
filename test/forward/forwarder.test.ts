/** Forwarder on real lcores, over net_ring wires. */
import t from 'tap';
import { MBUF_BUF, MBUF_DATA_LEN, MBUF_DATA_OFF } from '../../assembly/layout.js';
import { type ForwardEngine, Forwarder, forwardEngines } from '../../src/forward/index.js';
import { frame, station } from './harness.js';
import { Lab, until } from './lab.js';

const frames = (count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => frame(station(from + i), station(500 + i), 60 + i, i));

t.test('io between paired ports: every byte, testpmd’s statistics, a clean end', async (t) => {
  const lab = await Lab.open();
  const zones = lab.eal.memzones.list().length;
  const forwarder = new Forwarder(lab.eal, { ports: lab.inner });
  t.equal(forwarder.isRunning, false);
  await forwarder.start();
  t.equal(forwarder.isRunning, true);
  const [there, back] = [frames(40), frames(7, 100)];
  lab.send(0, there);
  lab.send(1, back);
  t.strictSame(await lab.receiveCount(1, 40), there);
  t.strictSame(await lab.receiveCount(0, 7), back);
  t.equal(forwarder.stats().total.rxPackets, 47);
  const { ports, total } = await forwarder.stop();
  t.equal(forwarder.isRunning, false);
  t.match(ports, [
    { rxPackets: 40, rxDropped: 0, rxTotal: 40, txPackets: 7, txDropped: 0, txTotal: 7 },
    { rxPackets: 7, rxDropped: 0, rxTotal: 7, txPackets: 40, txDropped: 0, txTotal: 40 },
  ]);
  t.equal(ports[0]!.port, lab.wires[0]!.inner);
  t.match(total, { rxPackets: 47, txPackets: 47, txTotal: 47, txDropped: 0, rxErrors: 0, rxNombuf: 0 });
  t.equal(lab.eal.memzones.list().length, zones, 'the stream records are given back');
  t.equal(lab.mempool.inUseCount, 0);

  lab.send(0, frames(1));
  t.strictSame((await forwarder.stop()).total, total, 'stopping again changes nothing');
  await forwarder.start();
  t.equal((await lab.receiveCount(1, 1)).length, 1, 'what waited is forwarded');
  t.equal((await forwarder.stop()).total.rxPackets, 1, 'a new start counts from zero');
  await lab.close();
});

t.test('settings are taken up by the next start, nonsense is refused', async (t) => {
  const lab = await Lab.open();
  const [a, b] = lab.inner as [(typeof lab.inner)[0], (typeof lab.inner)[0]];
  const forwarder = new Forwarder(lab.eal, { ports: [a, b], engine: 'rxonly', burst: 8 });
  t.strictSame(forwardEngines, ['io', 'mac', 'macswap', 'flowgen', 'rxonly', 'txonly', 'csum', 'icmpecho', '5tswap']);
  t.strictSame(
    [forwarder.engine, forwarder.burst, forwarder.topology, forwarder.txPackets],
    ['rxonly', 8, 'paired', [64]],
  );
  t.strictSame(forwarder.lcoreIds, [1]);
  await forwarder.start();
  forwarder.setEngine('mac');
  forwarder.setTopology('loop');
  forwarder.setEthPeer(a, '02:00:00:00:12:34');
  t.equal(forwarder.ethPeer(a), '02:00:00:00:12:34');
  t.equal(forwarder.ethPeer(b), `02:00:00:00:00:0${b.id}`);
  lab.send(0, frames(5));
  await until(() => forwarder.stats().total.rxPackets === 5);
  t.match((await forwarder.stop()).total, { rxPackets: 5, txPackets: 0 });
  await forwarder.start();
  lab.send(0, frames(1));
  const [got] = await lab.receiveCount(0, 1);
  t.strictSame([...got!.subarray(0, 6)], [2, 0, 0, 0, 0x12, 0x34]);
  t.equal([...got!.subarray(6, 12)].map((byte) => byte.toString(16).padStart(2, '0')).join(':'), a.macAddress);
  await t.rejects(forwarder.start(), { code: 'ERR_INVALID_STATE' }, 'it runs');
  await forwarder.stop();

  t.strictSame(forwarder.plan(), [
    { lcoreId: 1, rxPort: a.id, rxQueue: 0, txPort: a.id, txQueue: 0 },
    { lcoreId: 1, rxPort: b.id, rxQueue: 0, txPort: b.id, txQueue: 0 },
  ]);
  const bad = { code: 'ERR_INVALID_ARGUMENT' };
  t.throws(() => forwarder.setEngine('noisy' as ForwardEngine), bad);
  t.throws(() => forwarder.setEngine('toString' as ForwardEngine), bad);
  for (const burst of [0, 513, 1.5]) t.throws(() => forwarder.setBurst(burst), bad);
  t.throws(() => forwarder.setTxPackets([41]), bad);
  t.throws(() => forwarder.setTopology('star' as 'loop'), bad);
  t.throws(() => forwarder.setEthPeer(a, 'nobody'), bad);
  t.throws(() => new Forwarder(lab.eal, { ports: [a, a] }), bad);
  t.throws(() => new Forwarder(lab.eal, { ports: [a], lcores: [] }), bad);
  t.throws(() => new Forwarder(lab.eal, { ports: [a], lcores: [1, 1] }), bad);
  t.throws(() => new Forwarder(lab.eal, { ports: [a], lcores: [7] }), { code: 'ERR_NO_SUCH_LCORE' });
  await t.rejects(forwarder.start({ txFirst: -1 }), bad);
  await t.rejects(new Forwarder(lab.eal, { ports: [] }).start(), { code: 'ERR_INVALID_STATE' });
  forwarder.setEngine('txonly');
  forwarder.setTxPackets([2049]);
  await t.rejects(forwarder.start(), bad, 'more than the pool’s data room');
  t.equal(forwarder.isRunning, false);
  await lab.close();
});

t.test('ports must be started, lcores free', async (t) => {
  const lab = await Lab.open();
  const forwarder = new Forwarder(lab.eal, { ports: lab.inner });
  await lab.wires[1]!.inner.stop();
  await t.rejects(forwarder.start(), { code: 'ERR_INVALID_STATE', message: /net_ring2.*start/ });
  await lab.wires[1]!.inner.start();
  await forwarder.start();
  const other = new Forwarder(lab.eal, { ports: lab.inner });
  const zones = lab.eal.memzones.list().length;
  await t.rejects(other.start(), { code: 'ERR_INVALID_STATE' });
  t.equal(other.isRunning, false);
  t.equal(lab.eal.memzones.list().length, zones);
  lab.send(0, frames(3));
  t.equal((await lab.receiveCount(1, 3)).length, 3, 'the first one is not disturbed');
  await forwarder.stop();
  await other.start();
  await other.stop();
  await lab.close();
});

t.test('tx_first: N bursts of txonly packets from every stream, then the engine', async (t) => {
  const lab = await Lab.open();
  const forwarder = new Forwarder(lab.eal, { ports: lab.inner, engine: 'io', burst: 16, txPackets: [40, 60] });
  await forwarder.start({ txFirst: 3 });
  const got = await lab.receiveCount(0, 48);
  t.equal(got.length, 48);
  t.equal((await lab.receiveCount(1, 48)).length, 48);
  for (const bytes of got) t.strictSame([...bytes.subarray(12, 18)], [8, 0, 0x45, 0, 0, 86]);
  const one = frames(1);
  lab.send(0, one);
  t.strictSame(await lab.receiveCount(1, 1), one);
  t.match((await forwarder.stop()).total, { rxPackets: 1, txPackets: 97, txDropped: 0 });
  t.equal(lab.mempool.inUseCount, 0);
  await lab.close();
});

t.test('ports join and leave while it runs', async (t) => {
  const lab = await Lab.open();
  const forwarder = new Forwarder(lab.eal, { ports: [lab.inner[0]!], topology: 'chained' });
  await forwarder.start();
  lab.send(0, frames(2));
  t.equal((await lab.receiveCount(0, 2)).length, 2);
  await forwarder.addPort(lab.inner[1]!);
  lab.send(0, frames(3));
  t.equal((await lab.receiveCount(1, 3)).length, 3);
  // a packet is with its receiver before it is counted
  await until(() => forwarder.stats().total.txPackets === 5);
  t.match(
    forwarder.stats().ports,
    [
      { rxPackets: 5, txPackets: 2 },
      { rxPackets: 0, txPackets: 3 },
    ],
    'it counts on',
  );
  await t.rejects(forwarder.addPort(lab.inner[1]!), { code: 'ERR_INVALID_ARGUMENT' });
  t.equal(forwarder.isRunning, true, 'a port that is refused changes nothing');
  await forwarder.removePort(lab.inner[0]!);
  await lab.inner[0]!.close();
  lab.send(1, frames(4));
  t.equal((await lab.receiveCount(1, 4)).length, 4);
  await forwarder.removePort(lab.inner[1]!);
  t.equal(forwarder.isRunning, false);
  await lab.close();
});

t.test('the main lcore forwards too, where it is alone; cleanup ends what runs', async (t) => {
  const lab = await Lab.open([0]);
  const forwarder = new Forwarder(lab.eal, { ports: lab.inner });
  t.strictSame(forwarder.lcoreIds, [0]);
  await forwarder.start();
  const sent = frames(20);
  lab.send(0, sent);
  t.strictSame(await lab.receiveCount(1, 20), sent);
  await lab.close();
  t.equal(forwarder.isRunning, false);
  await t.rejects(forwarder.start());
});

t.test('a lcore that fails is told, the forwarder can be stopped and started again', async (t) => {
  const lab = await Lab.open();
  let failure: unknown;
  const forwarder = new Forwarder(lab.eal, {
    ports: lab.inner,
    engine: 'macswap',
    onLcoreFailed: (error) => {
      failure = error;
    },
  });
  await forwarder.start();
  // a frame that ends beyond the memory, so that the engine traps, outside of every queue
  const burst = lab.burst;
  const mbuf = lab.mempool.alloc();
  const set = (field: number, value: number) => {
    lab.eal.memory.u32[(mbuf + field) >>> 2] = value;
  };
  set(MBUF_BUF, 0xffff_ff00);
  set(MBUF_DATA_OFF, 0xf8);
  set(MBUF_DATA_LEN, 64);
  burst.handles[0] = mbuf;
  lab.eal.wasm.ringEnqueueBurst(ringOf(lab), burst.address, 1);
  lab.eal.lcore(1).wake();
  await until(() => failure !== undefined);
  t.match(failure, { code: 'ERR_LCORE_FAILED' });
  await forwarder.stop();
  await forwarder.start();
  lab.send(1, frames(2));
  t.equal((await lab.receiveCount(0, 2)).length, 2);
  await forwarder.stop();
  await lab.close();
});

/** The ring that feeds the first inner port's rx queue. */
function ringOf(lab: Lab): number {
  const zone = lab.eal.memzones.list().find(({ name }) => name === `${lab.inner[0]!.name}-rx0`);
  return zone!.address;
}
