/** The port's state machine: what is refused, with which words, and what the driver is asked in which order. */
import t from 'tap';
import {
  PORT_BASE,
  PORT_SIZE,
  PORT_STATE,
  PORT_STATE_CONFIGURED,
  PORT_STATE_PROBED,
  PORT_STATE_STARTED,
  PORT_STATE_UNUSED,
} from '../../assembly/layout.js';
import { Mempool, Port } from '../../src/index.js';
import { errorOf, openEal, packetPool, Spy } from './rig.js';

const one = { rxQueueCount: 1, txQueueCount: 1 };

t.test('the straight way', async (t) => {
  const eal = await openEal(t);
  const mempool = packetPool(eal);
  const spy = new Spy();
  const port = await Port.probe(eal, 'net_spy7,colour=red', { driver: spy.driver });
  const record = () => eal.memory.u32[(PORT_BASE + port.id * PORT_SIZE + PORT_STATE) >>> 2];
  t.match(port, { id: 0, name: 'net_spy7', driver: 'net_spy', state: 'probed' });
  t.equal(record(), PORT_STATE_PROBED as number);

  port.configure({ rxQueueCount: 2, txQueueCount: 1, mtu: 9000, rxOffloads: ['SCATTER'] });
  t.equal(port.state, 'configured');
  t.equal(record(), PORT_STATE_CONFIGURED as number);
  port.rxQueueSetup(0, { mempool });
  port.rxQueueSetup(1, { mempool, descriptorCount: 128 });
  port.txQueueSetup(0);
  await port.start();
  t.equal(port.state, 'started');
  t.equal(record(), PORT_STATE_STARTED as number);
  await port.stop();
  t.equal(port.state, 'configured');
  await port.start();
  await port.close();
  t.equal(port.state, 'closed');
  t.equal(record(), PORT_STATE_UNUSED as number);
  await port.close();
  t.same(spy.calls, [
    'probe red',
    'configure 2 1',
    'setMtu 9000',
    'rxQueueSetup 0 256',
    'rxQueueSetup 1 128',
    'txQueueSetup 0 64',
    'start',
    'stop',
    'start',
    'stop',
    'close',
  ]);
});

t.test('illegal orders are refused, with the remedy, and change nothing', async (t) => {
  const eal = await openEal(t);
  const mempool = packetPool(eal);
  const spy = new Spy();
  const port = await Port.probe(eal, 'net_spy0', { driver: spy.driver });
  const attempts = {
    configure: () => port.configure(one),
    rxQueueSetup: () => port.rxQueueSetup(0, { mempool }),
    txQueueSetup: () => port.txQueueSetup(0),
    start: () => port.start(),
    stop: () => port.stop(),
  };
  const refused = async (names: (keyof typeof attempts)[], state: string, remedy: string) => {
    for (const name of names) {
      let message = 'no error';
      try {
        await attempts[name]();
      } catch (error) {
        message = `${(error as { code: string }).code}: ${(error as Error).message}`;
      }
      t.equal(message, `ERR_INVALID_STATE: port 0 (net_spy0): cannot ${name}: ${remedy}`, `${name} while ${state}`);
    }
    t.equal(port.state, state);
  };

  const unconfigured = 'it is not configured: call configure({ rxQueueCount, txQueueCount }) first';
  await refused(['rxQueueSetup', 'txQueueSetup', 'start', 'stop'], 'probed', unconfigured);
  port.configure(one);
  await refused(['stop'], 'configured', 'it is not started');
  await t.rejects(port.start(), {
    code: 'ERR_INVALID_STATE',
    message: 'port 0 (net_spy0): cannot start: rx queue 0 is not set up: call rxQueueSetup(0, { mempool }) first',
  });
  port.rxQueueSetup(0, { mempool });
  await t.rejects(port.start(), { message: /tx queue 0 is not set up: call txQueueSetup\(0\) first$/ });
  port.txQueueSetup(0);
  port.configure(one);
  await t.rejects(port.start(), { message: /rx queue 0 is not set up/ }, 'configure forgets the queues');
  port.rxQueueSetup(0, { mempool });
  port.txQueueSetup(0);
  await port.start();
  await refused(['configure', 'rxQueueSetup', 'txQueueSetup'], 'started', 'it is started: call stop() first');
  await refused(['start'], 'started', 'it is started already');
  spy.slot!.removed();
  await refused(
    ['configure', 'rxQueueSetup', 'txQueueSetup', 'start', 'stop'],
    'removed',
    'its device is gone: only close() is left',
  );
  await port.close();
  const closed = 'it is closed: probe a new one';
  await refused(['configure', 'rxQueueSetup', 'txQueueSetup', 'start', 'stop'], 'closed', closed);
  for (const [name, call] of Object.entries({
    info: () => port.info(),
    link: () => port.link(),
    macAddress: () => port.macAddress,
    setMacAddress: () => port.setMacAddress('02:00:00:00:00:01'),
    mtu: () => port.mtu,
    setMtu: () => port.setMtu(1500),
    promiscuous: () => port.promiscuous,
    setPromiscuous: () => port.setPromiscuous(true),
    stats: () => port.stats(),
    xstats: () => port.xstats(),
    statsReset: () => port.statsReset(),
  })) {
    t.equal(errorOf(call), `ERR_INVALID_STATE: port 0 (net_spy0): cannot ${name}: ${closed}`);
  }
});

t.test('operations under way: later ones wait, synchronous ones are refused', async (t) => {
  const eal = await openEal(t);
  const mempool = packetPool(eal);
  const port = await Port.probe(eal, 'net_null0');
  port.configure(one);
  port.rxQueueSetup(0, { mempool });
  port.txQueueSetup(0);
  const all = [port.start(), port.stop(), port.start()];
  t.match(
    errorOf(() => port.configure(one)),
    /cannot configure: start\(\), stop\(\) or close\(\) is under way: await it first/,
  );
  await Promise.all(all);
  t.equal(port.state, 'started');
  await Promise.all([port.close(), port.close()]);
  t.equal(port.state, 'closed');
});

t.test('configure: counts, offloads and MTU are checked by name', async (t) => {
  const eal = await openEal(t);
  const port = await Port.probe(eal, 'net_spy0', { driver: new Spy().driver });
  const table: [Parameters<typeof port.configure>[0], string, RegExp][] = [
    [{ rxQueueCount: 5, txQueueCount: 1 }, 'ERR_INVALID_ARGUMENT', /rxQueueCount 5 must be an integer from 0 to 4$/],
    [{ rxQueueCount: 1, txQueueCount: 3 }, 'ERR_INVALID_ARGUMENT', /txQueueCount 3 must be an integer from 0 to 2$/],
    [{ rxQueueCount: -1, txQueueCount: 1 }, 'ERR_INVALID_ARGUMENT', /rxQueueCount -1/],
    [{ rxQueueCount: 1.5, txQueueCount: 1 }, 'ERR_INVALID_ARGUMENT', /rxQueueCount 1.5/],
    [{ rxQueueCount: 0, txQueueCount: 0 }, 'ERR_INVALID_ARGUMENT', /no queue at all/],
    [{ ...one, rxOffloads: ['TCP_LRO'] }, 'ERR_OFFLOAD', /rx offload TCP_LRO is not supported; the port has: SCATTER$/],
    [{ ...one, txOffloads: ['TCP_TSO'] }, 'ERR_OFFLOAD', /tx offload TCP_TSO is not supported; the port has: none$/],
    [{ ...one, mtu: 67 }, 'ERR_INVALID_ARGUMENT', /MTU 67 must be an integer from 68 to 9000 bytes$/],
    [{ ...one, mtu: 9001 }, 'ERR_INVALID_ARGUMENT', /MTU 9001/],
  ];
  for (const [conf, code, message] of table) {
    t.throws(() => port.configure(conf), { code, message }, JSON.stringify(conf));
    t.equal(port.state, 'probed');
  }
});

t.test('queue setup: queue numbers, descriptor counts and pools are checked', async (t) => {
  const eal = await openEal(t);
  const mempool = packetPool(eal);
  const plain = Mempool.create(eal, { name: 'plain', count: 16, elementBytes: 64, cacheSize: 0 });
  const port = await Port.probe(eal, 'net_spy0', { driver: new Spy().driver });
  port.configure({ rxQueueCount: 2, txQueueCount: 0 });
  const rx = (queue: number, descriptorCount: number) => port.rxQueueSetup(queue, { mempool, descriptorCount });
  t.match(
    errorOf(() => rx(2, 64)),
    /no rx queue 2; it is configured with rx queues 0 to 1$/,
  );
  t.match(
    errorOf(() => rx(-1, 64)),
    /no rx queue -1/,
  );
  t.match(
    errorOf(() => port.txQueueSetup(0)),
    /no tx queue 0; it is configured with no tx queue$/,
  );
  for (const count of [0, 32, 65, 2048, 64.5]) {
    t.match(
      errorOf(() => rx(0, count)),
      /rx queue 0: descriptorCount \S+ must be a power of two from 64 to 1024$/,
      `${count}`,
    );
  }
  t.match(
    errorOf(() => port.rxQueueSetup(0, { mempool: plain })),
    /an mbuf pool is needed/,
  );
  port.configure(one);
  t.match(
    errorOf(() => port.txQueueSetup(0, { descriptorCount: 48 })),
    /must be a multiple of 32 from 32 to 96$/,
  );
  port.txQueueSetup(0, { descriptorCount: 96 });
});

t.test('a driver that refuses leaves the port as it was', async (t) => {
  const eal = await openEal(t);
  const mempool = packetPool(eal);
  const zones = () => eal.memzones.list().length;
  const spy = new Spy();

  spy.fails.add('probe');
  await t.rejects(Port.probe(eal, 'net_spy0', { driver: spy.driver }), { message: /probe failed on purpose/ });
  const before = zones();
  spy.fails.delete('probe');
  const port = await Port.probe(eal, 'net_spy0', { driver: spy.driver });
  t.equal(port.id, 0, 'the record was given back');
  spy.fails.add('configure');
  t.throws(() => port.configure(one), /configure failed/);
  t.equal(port.state, 'probed');
  spy.fails.delete('configure');
  port.configure(one);
  spy.fails.add('rxQueueSetup');
  t.throws(() => port.rxQueueSetup(0, { mempool }), /rxQueueSetup failed/);
  await t.rejects(port.start(), { message: /rx queue 0 is not set up/ });
  spy.fails.delete('rxQueueSetup');
  const narrow = Mempool.createPktmbuf(eal, { name: 'narrow', count: 8, dataRoomBytes: 63 });
  t.throws(() => port.rxQueueSetup(0, { mempool: narrow }), /mempool narrow have room for 63 bytes: .*64 or more/);
  narrow.free();
  port.rxQueueSetup(0, { mempool });
  port.txQueueSetup(0);
  spy.fails.add('start');
  await t.rejects(port.start(), { message: /start failed/ });
  t.equal(port.state, 'configured');
  spy.fails.delete('start');
  await port.start();
  spy.fails.add('setMac').add('setMtu').add('setPromiscuous');
  const mac = port.macAddress;
  t.throws(() => port.setMacAddress('02:00:00:00:00:99'), /setMac failed/);
  t.throws(() => port.setMtu(1000), /setMtu failed/);
  t.throws(() => port.setPromiscuous(false), /setPromiscuous failed/);
  t.match(port, { macAddress: mac, mtu: 1500, promiscuous: true });
  await port.close();
  t.ok(zones() >= before);
});
