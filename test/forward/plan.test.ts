/** testpmd's assignment of rx queues to lcores, and the packets that txonly sends. */
import fc from 'fast-check';
import t from 'tap';
import { macBytes, macText } from '../../src/forward/mac.js';
import { type PlannedPort, type PortTopology, planStreams, planSwitch, topologyPeer } from '../../src/forward/plan.js';
import { checkSegmentLengths, txonlyTemplate } from '../../src/forward/txonly-template.js';

const port = (id: number, rxQueueCount = 1, txQueueCount = rxQueueCount): PlannedPort => ({
  id,
  rxQueueCount,
  txQueueCount,
});
/** `rxPort/rxQueue>txPort/txQueue@lcore` */
const show = (ports: PlannedPort[], lcores: number, topology: PortTopology = 'paired') =>
  planStreams(ports, lcores, topology).map((s) => `${s.rxPort}/${s.rxQueue}>${s.txPort}/${s.txQueue}@${s.lcoreIndex}`);

t.test('topologies', async (t) => {
  const peers = (topology: PortTopology, count: number) =>
    Array.from({ length: count }, (_, i) => topologyPeer(topology, i, count));
  t.strictSame(peers('paired', 4), [1, 0, 3, 2]);
  t.strictSame(peers('paired', 3), [1, 0, 2]);
  t.strictSame(peers('chained', 3), [1, 2, 0]);
  t.strictSame(peers('loop', 3), [0, 1, 2]);
  t.strictSame(peers('paired', 1), [0]);
  t.throws(() => topologyPeer('ring' as PortTopology, 0, 2), { code: 'ERR_INVALID_ARGUMENT' });
});

t.test('streams: queue by queue, over the lcores in turn, the last ones take what is left over', async (t) => {
  t.strictSame(show([port(0), port(1)], 1), ['0/0>1/0@0', '1/0>0/0@0']);
  t.strictSame(show([port(0), port(1)], 4), ['0/0>1/0@0', '1/0>0/0@1']);
  t.strictSame(show([port(3), port(7)], 2), ['3/0>7/0@0', '7/0>3/0@1']);
  t.strictSame(show([port(0, 2), port(1, 2)], 2), ['0/0>1/0@0', '1/0>0/0@0', '0/1>1/1@1', '1/1>0/1@1']);
  // testpmd: 5 streams over 3 lcores are 1, 2, 2
  t.strictSame(
    planStreams(
      [0, 1, 2, 3, 4].map((id) => port(id)),
      3,
      'chained',
    ).map((s) => s.lcoreIndex),
    [0, 1, 1, 2, 2],
  );
  t.strictSame(show([port(0, 3, 1), port(1, 1, 2)], 1), ['0/0>1/0@0', '1/0>0/0@0', '0/1>1/1@0', '0/2>1/0@0']);
  t.strictSame(show([], 2), []);
  t.strictSame(show([port(0, 0, 1)], 2), []);
});

t.test('any ports: every rx queue once, lcores even to one, no lcore left out', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(4), { minLength: 1, maxLength: 8 }),
      fc.integer({ min: 1, max: 9 }),
      fc.constantFrom<PortTopology>('paired', 'chained', 'loop'),
      (queues, lcores, topology) => {
        const ports = queues.map((count, id) => port(id, count, Math.max(1, count)));
        for (const plan of [planStreams(ports, lcores, topology), planSwitch(ports, lcores)]) {
          const total = queues.reduce((sum, count) => sum + count, 0);
          const keys = new Set(plan.map((s) => `${s.rxPort}/${s.rxQueue}`));
          if (keys.size !== total || plan.length !== total) return false;
          const used = Math.min(lcores, total);
          const loads = Array.from({ length: used }, (_, i) => plan.filter((s) => s.lcoreIndex === i).length);
          if (loads.reduce((sum, n) => sum + n, 0) !== total) return false;
          if (Math.max(0, ...loads) - Math.min(...loads, Math.max(0, ...loads)) > 1) return false;
          if (plan.some((s, i) => i > 0 && s.lcoreIndex < plan[i - 1]!.lcoreIndex)) return false;
        }
        return planStreams(ports, lcores, topology).every((s) => s.txQueue < ports[s.txPort]!.txQueueCount);
      },
    ),
  );
});

t.test('a switch’s streams have no tx queue of their own', async (t) => {
  const plan = planSwitch([port(0, 2), port(1, 2)], 4);
  t.strictSame(
    plan.map((s) => [s.rxPort, s.rxQueue, s.lcoreIndex, s.txQueue]),
    [
      [0, 0, 0, 0],
      [1, 0, 1, 0],
      [0, 1, 2, 0],
      [1, 1, 3, 0],
    ],
  );
});

t.test('txpkts that are refused', async (t) => {
  for (const lengths of [[], [41], [20, 21], [64, 0], [64.5], [-1, 64], [65_550], [1, 1, 1, 1, 1, 1, 1, 1, 64]]) {
    t.throws(() => checkSegmentLengths(lengths), { code: 'ERR_INVALID_ARGUMENT' }, `${lengths}`);
  }
  checkSegmentLengths([42]);
  checkSegmentLengths([65_549]);
});

t.test('the header checksum of testpmd’s 64-byte packet', async (t) => {
  // worked out by hand: 4500 + 0032 + 0000 + 0000 + 4011 + 0000 + c612 + 0001 + c612 + 0002 = 2_1168 → 116a → ee95
  const record = txonlyTemplate({
    destination: macBytes('02:00:00:00:00:00'),
    source: macBytes('02-00-00-00-00-1'),
    segmentLengths: [64],
  });
  t.strictSame(
    [...record.subarray(64 + 24, 64 + 26)],
    checksumOf([0x4500, 0x0032, 0, 0, 0x4011, 0xc612, 1, 0xc612, 2]),
  );
});

/** RFC 1071, by the definition: complement of the one's complement sum. */
function checksumOf(words: readonly number[]): number[] {
  const sum = words.reduce((total, word) => total + word, 0) % 0xffff;
  return [(~sum >> 8) & 0xff, ~sum & 0xff];
}

t.test('MAC addresses', async (t) => {
  t.equal(macText(macBytes('02:0A:00:00:00:ff')), '02:0a:00:00:00:ff');
  for (const bad of ['', '02:00:00:00:00', '02:00:00:00:00:00:00', 'g2:00:00:00:00:00', '02:00:00:00:00:100']) {
    t.throws(() => macBytes(bad), { code: 'ERR_INVALID_ARGUMENT' }, bad);
  }
});
