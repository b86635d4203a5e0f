/** testpmd's engines over ports whose records the test writes itself: exact bytes, exact counts, no mbuf lost. */
import t, { type Test } from 'tap';
import {
  ENGINE_IO,
  ENGINE_MAC,
  ENGINE_MACSWAP,
  ENGINE_RXONLY,
  ENGINE_TXONLY,
  LCORE_BUSY_POLLS,
  LCORE_POLLS,
  QUEUE_LOCK,
  QUEUE_RUN,
  RUN_BUSY,
  RUN_IDLE,
  RUN_STOPPED,
  STREAM_ENGINE,
  STREAM_LIMIT,
} from '../../assembly/layout.js';
import { readCounter } from '../../src/eal/memory.js';
import { txonlyTemplate } from '../../src/forward/txonly-template.js';
import { Bench, frame, station } from './harness.js';

const PEER = [0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0xee];
const OWN = [0x02, 0x01, 0x02, 0x03, 0x04, 0x05];

/** Frames of every interesting length, each with a source and a destination of its own. */
function frames(count: number): Uint8Array[] {
  const lengths = [14, 15, 60, 64, 127, 1514, 2048];
  return Array.from({ length: count }, (_, i) => frame(station(i), station(1000 + i), lengths[i % lengths.length], i));
}

function macs(bytes: Uint8Array): { destination: number[]; source: number[]; rest: Uint8Array } {
  return { destination: [...bytes.subarray(0, 6)], source: [...bytes.subarray(6, 12)], rest: bytes.subarray(12) };
}

t.test('io: packets leave as they came, in order, with every segment', async (t) => {
  const bench = new Bench();
  const [a, b] = [bench.ringPort(0), bench.ringPort(1)];
  const records = bench.streams(
    { engine: ENGINE_IO, rxPort: 0, txPort: 1 },
    { engine: ENGINE_IO, rxPort: 1, txPort: 0 },
  );
  const sent = frames(100);
  bench.inject(
    a,
    sent.map((bytes) => bench.packet(bytes)),
  );
  const chain = [frame(station(1), station(2), 40), Uint8Array.from([1, 2, 3]), Uint8Array.from([4])];
  bench.inject(b, [bench.packet(...chain)]);
  t.equal(bench.run(), RUN_IDLE);
  t.strictSame(bench.collect(b), sent);
  const [back] = bench.collectHandles(a);
  t.strictSame(bench.segments(back!), chain);
  bench.wasm.mbufFree(back!, bench.lcoreId);
  t.match(records.counters(), [
    { rxPackets: 100, txPackets: 100, txDropped: 0 },
    { rxPackets: 1, txPackets: 1, txDropped: 0 },
  ]);
  t.equal(bench.pool.inUseCount, 0);
});

t.test('io: what the tx port does not take is freed and counted', async (t) => {
  const bench = new Bench();
  const [a, b] = [bench.ringPort(0), bench.ringPort(1, { txRoom: 15 })];
  const records = bench.streams({ engine: ENGINE_IO, rxPort: 0, txPort: 1, burst: 8 });
  const sent = frames(30);
  bench.inject(
    a,
    sent.map((bytes) => bench.packet(bytes)),
  );
  bench.run();
  t.strictSame(bench.collect(b), sent.slice(0, 15));
  t.match(records.counters(), [{ rxPackets: 30, txPackets: 15, txDropped: 15 }]);
  t.equal(bench.pool.inUseCount, 0);

  t.test('a stopped queue, and a port that is not there', async (t) => {
    bench.set(bench.queue(1, 'tx') + QUEUE_RUN, 0);
    bench.inject(a, [bench.packet(sent[0]!)]);
    bench.run();
    t.match(records.counters(), [{ rxPackets: 31, txPackets: 15, txDropped: 16 }]);
    const nowhere = bench.streams({ engine: ENGINE_IO, rxPort: 0, txPort: 63 });
    bench.inject(a, [bench.packet(sent[0]!)]);
    bench.run();
    t.match(nowhere.counters(), [{ rxPackets: 1, txPackets: 0, txDropped: 1 }]);
    t.equal(bench.pool.inUseCount, 0);
  });
});

t.test('a tx queue that somebody else holds for ever costs bounded time, then the packets', async (t) => {
  const bench = new Bench();
  const a = bench.ringPort(0);
  bench.nullPort(1);
  bench.set(bench.queue(1, 'tx') + QUEUE_RUN, 0);
  bench.set(bench.queue(1, 'tx') + QUEUE_LOCK, 9);
  const records = bench.streams({ engine: ENGINE_IO, rxPort: 0, txPort: 1 });
  bench.inject(
    a,
    frames(32).map((bytes) => bench.packet(bytes)),
  );
  bench.run();
  t.match(records.counters(), [{ rxPackets: 32, txPackets: 0, txDropped: 32 }]);
  t.equal(bench.pool.inUseCount, 0);
});

t.test('mac: destination is the peer, source the tx port, the rest untouched', async (t) => {
  const bench = new Bench();
  const [a, b] = [bench.ringPort(0), bench.ringPort(1, { mac: OWN })];
  bench.streams({ engine: ENGINE_MAC, rxPort: 0, txPort: 1, peerMac: Uint8Array.from(PEER) });
  const sent = frames(50);
  bench.inject(
    a,
    sent.map((bytes) => bench.packet(bytes)),
  );
  bench.run();
  const got = bench.collect(b);
  t.equal(got.length, 50);
  got.forEach((bytes, i) => {
    const { destination, source, rest } = macs(bytes);
    t.strictSame([destination, source], [PEER, OWN]);
    t.strictSame(rest, sent[i]!.subarray(12));
  });
});

t.test('macswap: the addresses change places, the rest is untouched', async (t) => {
  const bench = new Bench();
  const a = bench.ringPort(0);
  bench.streams({ engine: ENGINE_MACSWAP, rxPort: 0, txPort: 0 });
  const sent = frames(50);
  bench.inject(
    a,
    sent.map((bytes) => bench.packet(bytes)),
  );
  bench.run();
  bench.collect(a).forEach((bytes, i) => {
    const [got, was] = [macs(bytes), macs(sent[i]!)];
    t.strictSame([got.destination, got.source], [was.source, was.destination]);
    t.strictSame(got.rest, was.rest);
  });
});

t.test('mac and macswap leave a first segment without a header alone', async (t) => {
  for (const engine of [ENGINE_MAC, ENGINE_MACSWAP]) {
    const bench = new Bench();
    const a = bench.ringPort(0);
    bench.streams({ engine, rxPort: 0, txPort: 0 });
    const runt = Uint8Array.from({ length: 13 }, (_, i) => i);
    bench.inject(a, [bench.packet(runt), bench.packet(runt, runt)]);
    bench.run();
    t.strictSame(bench.collect(a), [runt, Uint8Array.from([...runt, ...runt])]);
  }
});

t.test('rxonly counts and frees', async (t) => {
  const bench = new Bench();
  const a = bench.ringPort(0);
  const records = bench.streams({ engine: ENGINE_RXONLY, rxPort: 0, burst: 7 });
  bench.inject(a, [...frames(20).map((bytes) => bench.packet(bytes)), bench.packet(frame(OWN, PEER), [1], [2])]);
  bench.run();
  t.match(records.counters(), [{ rxPackets: 21, txPackets: 0, txDropped: 0 }]);
  t.equal(bench.pool.inUseCount, 0);
});

/** RFC 1071 by its definition: the one's complement sum of a header that is right, checksum included, is all ones. */
function onesSum(bytes: Uint8Array): number {
  let sum = 0n;
  for (let i = 0; i < bytes.length; i += 2) sum += BigInt(bytes[i]! * 256 + (bytes[i + 1] ?? 0));
  const folded = Number(sum % 0xffffn);
  return folded === 0 ? 0xffff : folded;
}

function checkUdp(t: Test, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  t.strictSame([...bytes.subarray(0, 12)], [...PEER, ...OWN]);
  t.equal(view.getUint16(12), 0x0800);
  t.equal(bytes[14], 0x45);
  t.equal(view.getUint16(16), bytes.length - 14, 'IPv4 total length');
  t.equal(bytes[22], 64, 'TTL');
  t.equal(bytes[23], 17, 'UDP');
  t.equal(onesSum(bytes.subarray(14, 34)), 0xffff, 'IPv4 header checksum');
  t.strictSame([...bytes.subarray(26, 34)], [198, 18, 0, 1, 198, 18, 0, 2]);
  t.strictSame([view.getUint16(34), view.getUint16(36)], [9, 9]);
  t.equal(view.getUint16(38), bytes.length - 34, 'UDP length');
  t.equal(view.getUint16(40), 0, 'no UDP checksum');
  t.ok(
    bytes.subarray(42).every((byte) => byte === 0),
    'nobody else’s bytes in the payload',
  );
}

t.test('txonly: headers, lengths and checksum for every shape of packet', async (t) => {
  for (const segmentLengths of [
    [42],
    [64],
    [1514],
    [64, 64],
    [20, 20, 24],
    [1, 13, 1, 27, 8],
    [41, 1],
    [2048, 2048, 1],
  ]) {
    const bench = new Bench(255);
    const a = bench.ringPort(0, { mac: OWN });
    // every buffer has held something before
    for (const bytes of Array.from({ length: 255 }, () => new Uint8Array(2048).fill(0xa5))) {
      bench.inject(a, [bench.packet(bytes)]);
    }
    bench.streams({ engine: ENGINE_RXONLY, rxPort: 0 });
    bench.run();

    const template = txonlyTemplate({
      destination: Uint8Array.from(PEER),
      source: Uint8Array.from(OWN),
      segmentLengths,
    });
    const records = bench.streams({
      engine: ENGINE_TXONLY,
      nextEngine: ENGINE_IO,
      limit: 12,
      burst: 5,
      rxPort: 0,
      pool: bench.pool.address,
      template,
    });
    bench.run();
    t.match(records.counters(), [{ rxPackets: 0, txPackets: 12, txDropped: 0 }]);
    const handles = bench.collectHandles(a);
    for (const mbuf of handles) {
      const segments = bench.segments(mbuf);
      t.strictSame(
        segments.map((bytes) => bytes.length),
        segmentLengths,
      );
      checkUdp(t, new Uint8Array(Buffer.concat(segments)));
      bench.wasm.mbufFree(mbuf, bench.lcoreId);
    }
    t.equal(handles.length, 12);
    t.equal(bench.pool.inUseCount, 0);
    const stream = records.lcores[0]!.streams;
    t.equal(bench.get(stream + STREAM_ENGINE), ENGINE_IO, 'the stream goes on with its own engine');
    t.equal(bench.get(stream + STREAM_LIMIT), 0);
    bench.inject(a, [bench.packet(frame(OWN, PEER))]);
    bench.run();
    t.strictSame(bench.collect(a), [frame(OWN, PEER)]);
  }
});

t.test('txonly with a pool that runs dry sends what there is, and loses nothing', async (t) => {
  for (const segmentLengths of [[64], [64, 64, 64]]) {
    const bench = new Bench(63);
    const a = bench.ringPort(0);
    const template = txonlyTemplate({
      destination: Uint8Array.from(PEER),
      source: Uint8Array.from(OWN),
      segmentLengths,
    });
    bench.streams({ engine: ENGINE_TXONLY, rxPort: 0, pool: bench.pool.address, template });
    t.equal(bench.run(0, 50, 0), RUN_BUSY);
    const handles = bench.collectHandles(a);
    t.ok(handles.length > 0 && handles.length <= 63 / segmentLengths.length);
    for (const mbuf of handles) {
      t.equal(bench.segments(mbuf).length, segmentLengths.length);
      bench.wasm.mbufFree(mbuf, bench.lcoreId);
    }
    t.equal(bench.pool.inUseCount, 0);
  }
});

t.test('txonly waits for the link', async (t) => {
  const bench = new Bench();
  const a = bench.ringPort(0);
  const template = txonlyTemplate({
    destination: Uint8Array.from(PEER),
    source: Uint8Array.from(OWN),
    segmentLengths: [64],
  });
  bench.setLink(0, false);
  bench.streams({
    engine: ENGINE_TXONLY,
    nextEngine: ENGINE_IO,
    limit: 3,
    rxPort: 0,
    pool: bench.pool.address,
    template,
  });
  t.equal(bench.run(), RUN_IDLE);
  t.equal(bench.collect(a).length, 0);
  bench.setLink(0, true);
  bench.run();
  t.equal(bench.collect(a).length, 3);
});

t.test('lcoreRun: bounded, idle, stopped, counted', async (t) => {
  const bench = new Bench();
  const a = bench.ringPort(0);
  t.equal(bench.run(), RUN_IDLE, 'no stream is idle at once');
  bench.streams({ engine: ENGINE_IO, rxPort: 0 });
  const polls = () => readCounter(bench.memory, bench.lcore + LCORE_POLLS);
  const busy = () => readCounter(bench.memory, bench.lcore + LCORE_BUSY_POLLS);
  t.equal(bench.run(0, 10, 0), RUN_BUSY);
  t.strictSame([polls(), busy()], [10, 0]);
  t.equal(bench.run(0, 10, 4), RUN_IDLE);
  t.strictSame([polls(), busy()], [14, 0]);
  bench.inject(
    a,
    frames(64).map((bytes) => bench.packet(bytes)),
  );
  t.equal(bench.run(0, 10, 4), RUN_IDLE);
  t.strictSame([polls(), busy()], [20, 2], 'idle counts from the last packet on');
  bench.stop(true);
  t.equal(bench.run(), RUN_STOPPED);
  t.strictSame([polls(), busy()], [20, 2]);
  bench.collect(a);
  t.equal(bench.pool.inUseCount, 0);
});
