/** Features ↔ OFFLOAD_* of a ring, and which features the driver takes. Numbers are those of virtio 1.2 section 5.1.3. */
import t from 'tap';
import { offloadNames, offloadsOf } from '../../src/drivers/offloads.js';
import { chooseFeatures, type DriverWishes, ringShape } from '../../src/drivers/virtio-user/driver-features.js';
import { NET_BACKEND_FEATURES } from '../../src/vhost/features.js';

const bits = (...numbers: number[]): bigint => numbers.reduce((mask, n) => mask | (1n << BigInt(n)), 0n);
const names = (features: bigint, ring: 'transmit' | 'receive'): string =>
  offloadNames(offloadsOf(features, ring)).join(' ');

t.test('each feature is its offload, of its direction only', async (t) => {
  const cases: [transmit: number[], receive: number[], offloads: string][] = [
    [[0], [1], 'csum'],
    [[0, 11], [1, 7], 'csum tso4'],
    [[0, 12], [1, 8], 'csum tso6'],
    [[0, 11, 13], [1, 7, 9], 'csum tso4 ecn'],
    [[0, 14], [1, 10], 'csum ufo'],
    [[0, 56], [1, 54, 55], 'csum uso4 uso6'],
    [[0, 11, 12, 13, 14, 56], [1, 7, 8, 9, 10, 54, 55], 'csum tso4 tso6 ecn ufo uso4 uso6'],
  ];
  for (const [transmit, receive, offloads] of cases) {
    t.equal(names(bits(...transmit), 'transmit'), offloads);
    t.equal(names(bits(...receive), 'receive'), offloads);
    t.equal(names(bits(...transmit), 'receive'), '');
    t.equal(names(bits(...receive), 'transmit'), '');
  }
  t.equal(names(bits(1, 54), 'receive'), 'csum uso4');
  t.equal(names(bits(1, 55), 'receive'), 'csum uso6');
});

t.test('section 5.1.3.1: nothing without its checksum feature, no ECN without TSO', async (t) => {
  t.equal(offloadsOf(bits(11, 12, 13, 14, 56), 'transmit'), 0);
  t.equal(offloadsOf(bits(7, 8, 9, 10, 54, 55), 'receive'), 0);
  t.equal(names(bits(0, 13), 'transmit'), 'csum');
  t.equal(names(bits(1, 9, 10), 'receive'), 'csum ufo');
});

const wishes: DriverWishes = {
  packed: true,
  inOrder: true,
  mrgRxbuf: true,
  eventIdx: true,
  indirectDesc: true,
  csum: true,
  sendSegments: true,
  receiveSegments: true,
  queuePairs: 2,
  bufferBytes: 2048,
};
const CSUM = bits(0, 1);
const HOST = bits(11, 12, 13, 14, 56);
const GUEST = bits(7, 8, 9, 10, 54, 55);
const has = (features: bigint, mask: bigint): boolean => (features & mask) === mask;
const none = (features: bigint, mask: bigint): boolean => (features & mask) === 0n;

t.test('what the driver takes of what is on offer', async (t) => {
  const all = NET_BACKEND_FEATURES;
  const taken = chooseFeatures(all, wishes);
  t.ok(has(taken, CSUM | HOST | GUEST | bits(15, 22, 27, 28, 29, 32, 34, 35)));
  t.ok(none(taken, bits(16, 17, 21, 30)), 'no control queue, no status');
  t.equal(chooseFeatures(bits(32), wishes), bits(32), 'never more than is offered');
  for (const [wish, mask] of [
    [{ packed: false }, bits(34)],
    [{ inOrder: false }, bits(35)],
    [{ mrgRxbuf: false }, bits(15)],
    [{ eventIdx: false }, bits(29)],
    [{ indirectDesc: false }, bits(28)],
    [{ queuePairs: 1 }, bits(22)],
    [{ sendSegments: false }, HOST],
    [{ receiveSegments: false }, GUEST],
    [{ csum: false }, CSUM | HOST | GUEST],
  ] as const) {
    t.ok(none(chooseFeatures(all, { ...wishes, ...wish }), mask), JSON.stringify(wish));
  }
});

t.test('large packets are received only where there is room for one, and never without their checksum', async (t) => {
  const all = NET_BACKEND_FEATURES;
  t.ok(none(chooseFeatures(all, { ...wishes, mrgRxbuf: false }), GUEST));
  t.ok(none(chooseFeatures(all & ~bits(15), wishes), GUEST), 'the back end does not merge buffers');
  t.ok(has(chooseFeatures(all, { ...wishes, mrgRxbuf: false, bufferBytes: 65562 + 12 }), GUEST));
  t.ok(none(chooseFeatures(all, { ...wishes, mrgRxbuf: false, bufferBytes: 65562 + 11 }), GUEST));
  t.ok(none(chooseFeatures(all & ~bits(0), wishes), HOST));
  t.ok(none(chooseFeatures(all & ~bits(1), wishes), GUEST));
});

t.test("a ring's shape", async (t) => {
  const none = { packed: false, flags: 0, path: 0, hdrLen: 10, maxChains: 1, maxTable: 0, offloads: 0 };
  t.strictSame(ringShape(0n, 0, 256), none);
  t.strictSame(ringShape(bits(27), 1, 256), none);
  t.strictSame(ringShape(bits(32), 0, 256), { ...none, hdrLen: 12 });
  t.strictSame(ringShape(bits(15), 0, 256), { ...none, hdrLen: 12, path: 4, maxChains: 256 });
  t.strictSame(ringShape(bits(29, 32, 35), 0, 256), { ...none, hdrLen: 12, flags: 1, path: 2 });
  t.strictSame(ringShape(bits(32, 34), 1, 256), { ...none, packed: true, path: 1, hdrLen: 12 });
  t.equal(ringShape(bits(28), 1, 256).maxTable, 35);
  t.equal(ringShape(bits(28), 1, 32).maxTable, 32, 'no chain is longer than the ring (section 2.7.5.3.1)');
  t.equal(ringShape(bits(0, 11, 32), 1, 256).offloads, offloadsOf(bits(0, 11), 'transmit'), 'odd: it sends');
  t.equal(ringShape(bits(1, 7, 32), 2, 256).offloads, offloadsOf(bits(1, 7), 'receive'), 'even: it receives');
});
