/** Statistics and events: DPDK's names, reset by snapshot, queues that stop themselves. */
import t from 'tap';
import {
  DROP_HEADER,
  DROP_NO_MBUF,
  QUEUE_BYTES,
  QUEUE_DROPS,
  QUEUE_FULL,
  QUEUE_NO_MBUF,
  QUEUE_NOTIFIED,
  QUEUE_PACKETS,
  QUEUE_STOP_CAUSE,
  STOP_HEAD,
  STOP_TRAP,
} from '../../assembly/layout.js';
import { readLiveCounter } from '../../src/ethdev/stats.js';
import { dropCauses, Port, type QueueState } from '../../src/index.js';
import { openEal, packetPool, Spy } from './rig.js';

async function startedSpy(t: import('tap').Test, rxQueueCount = 2, txQueueCount = 1) {
  const eal = await openEal(t);
  const mempool = packetPool(eal);
  const spy = new Spy();
  const port = await Port.probe(eal, 'net_spy0', { driver: spy.driver });
  port.configure({ rxQueueCount, txQueueCount });
  for (let queue = 0; queue < rxQueueCount; queue++) port.rxQueueSetup(queue, { mempool });
  for (let queue = 0; queue < txQueueCount; queue++) port.txQueueSetup(queue);
  await port.start();
  /** Plays the lcore that counts. */
  const count = (queue: number, field: number, value: bigint) => {
    eal.memory.u64[(queue + field) >>> 3]! += value;
  };
  return { eal, spy, port, slot: spy.slot!, count };
}

t.test('names: DPDK first, in its order, then ours', async (t) => {
  const { port } = await startedSpy(t);
  const names = port.xstats().map((xstat) => xstat.name);
  t.same(names.slice(0, 16), [
    'rx_good_packets',
    'tx_good_packets',
    'rx_good_bytes',
    'tx_good_bytes',
    'rx_missed_errors',
    'rx_errors',
    'tx_errors',
    'rx_mbuf_allocation_errors',
    'rx_q0_packets',
    'rx_q0_bytes',
    'rx_q0_errors',
    'rx_q1_packets',
    'rx_q1_bytes',
    'rx_q1_errors',
    'tx_q0_packets',
    'tx_q0_bytes',
  ]);
  t.equal(new Set(names).size, names.length, 'no name comes twice');
  for (const queue of ['rx_q0', 'rx_q1', 'tx_q0']) {
    for (const cause of dropCauses) t.ok(names.includes(`${queue}_drop_${cause}`), `${queue}_drop_${cause}`);
    t.ok(names.includes(`${queue}_notifications_sent`));
    t.ok(names.includes(`${queue}_notifications_suppressed`));
  }
  t.notOk(
    names.some((name) => name.startsWith('rx_q2') || name.startsWith('tx_q1')),
    'configured queues only',
  );
});

t.test('counters are summed over queues and subtracted after a reset', async (t) => {
  const { port, slot, count } = await startedSpy(t);
  const [rx0, rx1] = slot.rxQueues as [number, number];
  const tx0 = slot.txQueues[0]!;
  const play = (times: bigint) => {
    count(rx0, QUEUE_PACKETS, 5n * times);
    count(rx1, QUEUE_PACKETS, 7n * times);
    count(rx1, QUEUE_BYTES, 640n * times);
    count(rx0, QUEUE_DROPS + DROP_HEADER * 8, 2n * times);
    count(rx1, QUEUE_DROPS + DROP_NO_MBUF * 8, 3n * times);
    count(rx0, QUEUE_NO_MBUF, 4n * times);
    count(tx0, QUEUE_PACKETS, 11n * times);
    count(tx0, QUEUE_BYTES, 1100n * times);
    count(tx0, QUEUE_DROPS + DROP_HEADER * 8, 1n * times);
    count(tx0, QUEUE_FULL, 6n * times);
    count(tx0, QUEUE_NOTIFIED, 8n * times);
  };
  const once = {
    ipackets: 12,
    opackets: 11,
    ibytes: 640,
    obytes: 1100,
    imissed: 0,
    ierrors: 2,
    oerrors: 1,
    rxNombuf: 7,
    queueIpackets: [5, 7],
    queueOpackets: [11],
    queueIbytes: [0, 640],
    queueObytes: [1100],
    queueErrors: [2, 3],
  };
  const zero = Object.fromEntries(
    Object.entries(once).map(([key, value]) => [key, Array.isArray(value) ? value.map(() => 0) : 0]),
  );
  t.same(port.stats(), zero);
  play(1n);
  t.same(port.stats(), once);
  const xstats = Object.fromEntries(port.xstats().map(({ name, value }) => [name, value]));
  t.match(xstats, {
    rx_good_packets: 12,
    rx_errors: 2,
    rx_mbuf_allocation_errors: 7,
    rx_q0_errors: 2,
    rx_q0_drop_header: 2,
    rx_q1_drop_no_mbuf: 3,
    tx_q0_full: 6,
    tx_q0_notifications_sent: 8,
  });
  port.statsReset();
  t.same(port.stats(), zero);
  t.ok(
    port.xstats().every(({ value }) => value === 0),
    'xstats too',
  );
  play(1n);
  t.same(port.stats(), once, 'what came after the reset');
  await port.stop();
  t.same(port.stats(), once, 'a stop keeps the counters');
  await port.start();
  t.same(port.stats(), once, 'a start too');
});

t.test('counters beyond 32 bits', async (t) => {
  const { port, slot, eal, count } = await startedSpy(t);
  const rx0 = slot.rxQueues[0]!;
  count(rx0, QUEUE_BYTES, 0xffff_ffffn);
  t.equal(readLiveCounter(eal.memory, rx0 + QUEUE_BYTES), 2 ** 32 - 1);
  port.statsReset();
  count(rx0, QUEUE_BYTES, 2n ** 40n);
  t.equal(port.stats().ibytes, 2 ** 40);
});

t.test('a port that is probed anew counts from zero', async (t) => {
  const { eal, port, slot, spy, count } = await startedSpy(t);
  count(slot.rxQueues[0]!, QUEUE_PACKETS, 9n);
  await port.close();
  const again = await Port.probe(eal, 'net_spy0', { driver: spy.driver });
  t.equal(again.stats().ipackets, 0);
});

t.test('link: events once a change, status in the record', async (t) => {
  const { port, slot } = await startedSpy(t);
  const events: string[] = [];
  port.on('linkUp', () => events.push('up'));
  port.on('linkDown', (reason) => events.push(`down: ${reason}`));
  t.same(port.link(), { up: false, speedMbps: 0, duplex: 'full', autoneg: false });
  slot.linkChanged(true);
  slot.linkChanged(true);
  t.same(port.link(), { up: true, speedMbps: 40_000, duplex: 'full', autoneg: false });
  slot.linkChanged(false, 'the guest was killed');
  slot.linkChanged(false, 'again');
  slot.linkChanged(true);
  t.same(events, ['up', 'down: the guest was killed', 'up']);
});

t.test('queue states: by the peer, and queues that stop themselves', async (t) => {
  const { eal, port, slot } = await startedSpy(t);
  const states: QueueState[] = [];
  const told = () => new Promise<QueueState>((resolve) => port.once('queueState', resolve));
  port.on('queueState', (state) => states.push(state));
  slot.queueChanged({ direction: 'rx', queue: 1, enabled: false });
  t.same(states, [{ direction: 'rx', queue: 1, enabled: false }]);

  const set = (queue: number, cause: number) => Atomics.store(eal.memory.u32, (queue + QUEUE_STOP_CAUSE) >>> 2, cause);
  // the watch keeps no process alive: something else must, while a test waits for it
  const alive = setInterval(() => {}, 1000);
  t.teardown(() => clearInterval(alive));
  let next = told();
  set(slot.rxQueues[0]!, STOP_HEAD);
  t.same(await next, { direction: 'rx', queue: 0, enabled: false, cause: 'head' });
  next = told();
  set(slot.txQueues[0]!, STOP_TRAP);
  t.same(await next, { direction: 'tx', queue: 0, enabled: false, cause: 'trap' });
  t.equal(states.length, 3, 'a fault is told once');

  await port.stop();
  await port.start();
  t.equal(eal.memory.u32[(slot.rxQueues[0]! + QUEUE_STOP_CAUSE) >>> 2], 0, 'a start gives a new chance');
  next = told();
  set(slot.rxQueues[0]!, STOP_HEAD);
  t.same(await next, { direction: 'rx', queue: 0, enabled: false, cause: 'head' }, 'and is told again');
});

t.test('removed: once, and the queues are shut', async (t) => {
  const { eal, port, slot, spy } = await startedSpy(t);
  const events: string[] = [];
  port.on('removed', () => events.push('removed'));
  port.on('linkDown', (reason) => events.push(reason));
  slot.linkChanged(true);
  slot.removed();
  slot.removed();
  t.same(events, ['the device is gone', 'removed']);
  t.equal(port.state, 'removed');
  await port.close();
  t.notOk(spy.calls.includes('stop'), 'a device that is gone is not asked to stop');
  t.same(events.length, 2);
  t.ok(eal.memory.endAddress > 0);
});

t.test('MAC, MTU, promiscuous, info', async (t) => {
  const { port, spy } = await startedSpy(t);
  t.match(port.macAddress, /^02:56:44:00:00:00$/);
  port.setMacAddress('02:00:00:00:00:AB');
  t.equal(port.macAddress, '02:00:00:00:00:ab');
  t.throws(() => port.setMacAddress('01:00:5e:00:00:01'), { code: 'ERR_INVALID_ARGUMENT' });
  t.equal(port.mtu, 1500);
  port.setMtu(9000);
  t.equal(port.mtu, 9000);
  t.throws(() => port.setMtu(9001), { code: 'ERR_INVALID_ARGUMENT', message: /port 0 \(net_spy0\): MTU 9001/ });
  t.equal(port.promiscuous, true);
  port.setPromiscuous(false);
  t.equal(port.promiscuous, false);
  t.same(spy.calls.slice(-3), ['setMac 2:0:0:0:0:171', 'setMtu 9000', 'setPromiscuous false']);
  const info = port.info();
  t.match(info, {
    portId: 0,
    name: 'net_spy0',
    driver: 'net_spy',
    macAddress: '02:00:00:00:00:ab',
    maxRxQueues: 4,
    maxTxQueues: 2,
    rxQueueCount: 2,
    txQueueCount: 1,
    driverInfo: { colour: 'green' },
  });
  t.notOk('speedMbps' in info);
});
