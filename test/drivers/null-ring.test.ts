/** net_null and net_ring end to end: real mbufs through the data plane. */

import type { Test } from 'tap';
import t from 'tap';
import { Burst, type Eal, MbufView, type Mempool, Port } from '../../src/index.js';
import { openEal, packetPool } from '../ethdev/rig.js';

interface Queues {
  readonly rx?: number;
  readonly tx?: number;
  readonly descriptorCount?: number;
}

async function open(eal: Eal, vdev: string, mempool: Mempool, { rx = 1, tx = 1, descriptorCount }: Queues = {}) {
  const port = await Port.probe(eal, vdev);
  port.configure({ rxQueueCount: rx, txQueueCount: tx });
  const count = descriptorCount === undefined ? {} : { descriptorCount };
  for (let queue = 0; queue < rx; queue++) port.rxQueueSetup(queue, { mempool, ...count });
  for (let queue = 0; queue < tx; queue++) port.txQueueSetup(queue);
  await port.start();
  return port;
}

async function lab(t: Test) {
  const eal = await openEal(t);
  const mempool = packetPool(eal);
  const burst = Burst.create(eal, 64);
  const m = new MbufView(eal);
  /** Fills the burst with `count` frames whose first 4 bytes are a number from `first` on. */
  const make = (count: number, first = 0) => {
    if (!mempool.allocBulk(burst, count)) throw new Error('the test has no mbufs left');
    for (let i = 0; i < count; i++) {
      m.at(burst.handles[i]!).append(60 + i);
      m.setU32(0, first + i);
    }
  };
  const numbers = (count: number) => Array.from({ length: count }, (_, i) => m.at(burst.handles[i]!).u32(0));
  return { eal, mempool, burst, m, make, numbers };
}

t.test('net_null makes frames of the asked length and swallows what it is given', async (t) => {
  const { eal, mempool, burst, m } = await lab(t);
  const port = await open(eal, 'net_null0,size=100', mempool);
  t.equal(port.link().up, true);
  t.equal(port.rxBurst(0, burst), 64, 'as many as the burst takes');
  m.at(burst.handles[63]!);
  t.match(m, { pktLen: 100, dataLen: 100, nbSegs: 1, port: port.id, next: 0 });
  t.equal(mempool.inUseCount, 64);
  t.equal(port.txBurst(0, burst, 64), 64);
  t.equal(mempool.inUseCount, 0);
  t.equal(port.rxBurst(0, burst, 3), 3, 'a count of its own');
  burst.free(0, 3);
  t.match(port.stats(), { ipackets: 67, ibytes: 6700, opackets: 64, obytes: 6400, ierrors: 0, rxNombuf: 0 });
  await port.stop();
  t.equal(port.link().up, false);
  t.equal(port.rxBurst(0, burst), 0);
  t.equal(port.txBurst(0, burst, 1), 0);
});

t.test('net_null: an exhausted mempool is counted, and heals', async (t) => {
  const { eal, burst } = await lab(t);
  const mempool = packetPool(eal, 70, 'small');
  const port = await open(eal, 'net_null0', mempool);
  const held = Burst.create(eal, 64);
  t.equal(port.rxBurst(0, held), 64);
  t.equal(port.rxBurst(0, burst), 0, '6 are left, 64 were asked for');
  t.equal(port.stats().rxNombuf, 1);
  t.match(
    port.xstats().find((xstat) => xstat.name === 'rx_mbuf_allocation_errors'),
    { value: 1 },
  );
  held.free(0, 64);
  t.equal(port.rxBurst(0, burst), 64);
  burst.free(0, 64);
  t.match(port.stats(), { ipackets: 128, ierrors: 0 });
});

t.test('net_null devargs', async (t) => {
  const { eal, mempool, burst } = await lab(t);
  const quiet = await open(eal, 'net_null0,no-rx=1', mempool);
  t.equal(quiet.rxBurst(0, burst), 0);
  t.match(quiet.info().driverInfo, { 'no-rx': true });
  const large = await Port.probe(eal, 'net_null1,size=3000');
  large.configure({ rxQueueCount: 1, txQueueCount: 1 });
  t.throws(() => large.rxQueueSetup(0, { mempool }), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /frames of 3000 bytes do not fit the mempool's data room of 2048 bytes/,
  });
  await t.rejects(Port.probe(eal, 'net_null2,size=13'), { code: 'ERR_DEVARGS', message: /from 14 to 65562/ });
});

t.test('net_ring alone: what is sent comes back, queue by queue, in order', async (t) => {
  const { eal, mempool, burst, make, numbers } = await lab(t);
  const port = await open(eal, 'net_ring0', mempool, { rx: 2, tx: 2 });
  make(20);
  t.equal(port.txBurst(1, burst, 20), 20);
  t.equal(port.rxBurst(0, burst), 0, 'queue 0 got nothing');
  burst.handles.fill(0);
  t.equal(port.rxBurst(1, burst, 12), 12);
  t.same(
    numbers(12),
    Array.from({ length: 12 }, (_, i) => i),
  );
  t.equal(new MbufView(eal).at(burst.handles[0]!).port, port.id);
  burst.free(0, 12);
  t.equal(port.rxBurst(1, burst), 8);
  burst.free(0, 8);
  const bytes = Array.from({ length: 20 }, (_, i) => 60 + i).reduce((a, b) => a + b);
  t.match(port.stats(), { ipackets: 20, opackets: 20, ibytes: bytes, obytes: bytes, queueIpackets: [0, 20] });
});

t.test("net_ring: a full ring takes what fits; the rest is the caller's", async (t) => {
  const { eal, mempool, burst, make, numbers } = await lab(t);
  const port = await open(eal, 'net_ring0', mempool, { descriptorCount: 32 });
  make(40);
  t.equal(port.txBurst(0, burst, 40), 31, 'a ring of 32 slots holds 31, as in DPDK');
  burst.free(31, 40);
  t.equal(mempool.inUseCount, 31);
  const full = port.xstats().find((xstat) => xstat.name === 'tx_q0_full');
  t.equal(full?.value, 9);
  t.equal(port.rxBurst(0, burst), 31);
  t.same(
    numbers(31),
    Array.from({ length: 31 }, (_, i) => i),
  );
  burst.free(0, 31);
  t.equal(
    port.stats().obytes,
    Array.from({ length: 31 }, (_, i) => 60 + i).reduce((a, b) => a + b),
  );
});

t.test('net_ring: two ports on one wire, crosswise', async (t) => {
  const { eal, mempool, burst, make, numbers } = await lab(t);
  const a = await open(eal, 'net_ring0,wire=w0', mempool);
  const events: string[] = [];
  a.on('linkUp', () => events.push('up'));
  a.on('linkDown', (reason) => events.push(reason));
  t.equal(a.link().up, false, 'nobody at the other end');
  t.match(a.info().driverInfo, { wire: 'w0', peer: 'none yet' });
  make(1);
  t.equal(a.txBurst(0, burst, 1), 0, 'a wire that is not up takes nothing');
  burst.free(0, 1);

  const b = await open(eal, 'net_ring1,wire=w0', mempool);
  t.same(events, ['up']);
  t.match(a.info().driverInfo, { peer: 'net_ring1' });
  t.ok(a.link().up && b.link().up);
  make(10, 100);
  t.equal(a.txBurst(0, burst, 10), 10);
  t.equal(a.rxBurst(0, burst), 0, 'nothing comes back');
  t.equal(b.rxBurst(0, burst), 10);
  t.same(
    numbers(10),
    Array.from({ length: 10 }, (_, i) => 100 + i),
  );
  t.equal(b.txBurst(0, burst, 10), 10);
  t.equal(a.rxBurst(0, burst), 10);
  burst.free(0, 10);
  await t.rejects(Port.probe(eal, 'net_ring2,wire=w0'), {
    code: 'ERR_DEVARGS',
    message: "net_ring2: wire 'w0' already joins net_ring0 and net_ring1: choose another name",
  });

  make(5);
  t.equal(a.txBurst(0, burst, 5), 5);
  await b.stop();
  t.same(events, ['up', 'net_ring1 was stopped']);
  t.equal(mempool.inUseCount, 0, 'what was on the wire is freed');
  await b.start();
  make(5);
  t.equal(a.txBurst(0, burst, 5), 5);
  t.equal(b.rxBurst(0, burst), 5);
  burst.free(0, 5);
  await b.close();
  t.equal(a.link().up, false);
  const c = await open(eal, 'net_ring3,wire=w0', mempool);
  t.ok(a.link().up && c.link().up, 'the place is free again');
});

t.test('net_ring: many tx queues share the rx queues that there are', async (t) => {
  const { eal, mempool, burst, make, numbers } = await lab(t);
  const a = await open(eal, 'net_ring0,wire=w', mempool, { rx: 1, tx: 4 });
  const b = await open(eal, 'net_ring1,wire=w', mempool, { rx: 2, tx: 1 });
  for (let queue = 0; queue < 4; queue++) {
    make(1, queue);
    t.equal(a.txBurst(queue, burst, 1), 1);
  }
  t.equal(b.rxBurst(0, burst), 2);
  t.same(numbers(2), [0, 2]);
  burst.free(0, 2);
  t.equal(b.rxBurst(1, burst), 2);
  t.same(numbers(2), [1, 3]);
  burst.free(0, 2);
});

t.test('queue limits', async (t) => {
  const { eal } = await lab(t);
  const port = await Port.probe(eal, 'net_ring0');
  t.throws(() => port.configure({ rxQueueCount: 17, txQueueCount: 1 }), { message: /from 0 to 16/ });
  const burst = Burst.create(eal, 4);
  t.equal(port.rxBurst(0, burst), 0, 'a queue that is not there');
  t.equal(port.rxBurst(0xffff_ffff, burst), 0);
  t.equal(port.txBurst(16, burst, 1), 0);
});
