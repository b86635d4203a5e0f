/** The redirection table and the hash that a port's user has: flows go where they say. */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { Forwarder, L2Switch, steeringKey, toeplitzHash } from '../../src/forward/index.js';
import { redirectionTable } from '../../src/forward/steering.js';
import type { Port } from '../../src/index.js';
import { errorOf } from '../ethdev/rig.js';
import { flowHashOf } from '../support/net-oracle.js';
import { station } from './harness.js';
import { Lab, until } from './lab.js';

const MICROSOFT_KEY = Uint8Array.from(
  Buffer.from('6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa', 'hex'),
);

t.test("toeplitzHash: Microsoft's vectors", async (t) => {
  const source = [66, 9, 149, 187];
  const destination = [161, 142, 100, 80];
  const ports = [2794 >> 8, 2794 & 255, 1766 >> 8, 1766 & 255];
  const hash = (...bytes: number[]): number => toeplitzHash(MICROSOFT_KEY, Uint8Array.from(bytes));
  t.equal(hash(...source, ...destination), 0x323e8fc2);
  t.equal(hash(...source, ...destination, ...ports), 0x51ccc178);
  t.equal(hash(199, 92, 111, 2, 65, 69, 140, 83, 14230 >> 8, 14230 & 255, 4739 >> 8, 4739 & 255), 0xc626b0ea);
  t.equal(hash(), 0);
  t.throws(() => toeplitzHash(new Uint8Array(15), new Uint8Array(12)), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /takes 16 or more/,
  });
});

/** A UDP packet of a flow, ready to be dissected by the oracle. */
function packet(flow: number): Uint8Array {
  const bytes = new Uint8Array(60);
  bytes.set([...station(2), ...station(1), 0x08, 0x00, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0], 0);
  bytes.set([10, 0, 0, 1, 10, 0, flow >> 8, flow & 255, 0x10, flow & 255, 0x20, 0, 0, 26, 0, 0], 26);
  return bytes;
}

/** | source | destination | ports | of such a packet. */
const inputOf = (bytes: Uint8Array): Uint8Array => bytes.slice(26, 38);

t.test('a table that was set holds for every lcore, but for queues that do not run', async (t) => {
  const wanted = Array.from({ length: 128 }, (_, i) => (i < 100 ? 3 : 0));
  const share = { index: 1, count: 2 };
  t.strictSame(redirectionTable(4, [0, 1, 2, 3], share, wanted), wanted);
  t.strictSame(redirectionTable(4, [], share, wanted), wanted);
  const without = redirectionTable(4, [0, 1], share, wanted);
  t.strictSame([...new Set(without.slice(0, 100))].sort(), [0, 1], 'queue 3 is off: shared out over the others');
  t.ok(without.slice(100).every((queue) => queue === 0));
});

t.test('flows go where hash and table say, also changed while it runs', async (t) => {
  const lab = await Lab.open([0, 1], 2, 4);
  t.teardown(() => lab.close());
  const [a, b] = lab.inner as [Port, Port];
  const frames = Array.from({ length: 60 }, (_, i) => packet(i));
  let before = b.stats().queueOpackets;
  const sent = async (): Promise<number[]> => {
    lab.send(0, frames);
    const since = (): number[] => b.stats().queueOpackets.map((n, queue) => n - before[queue]!);
    await until(() => since().reduce((sum, n) => sum + n, 0) === 60);
    const counts = since();
    before = b.stats().queueOpackets;
    lab.receive(1);
    return counts;
  };
  const predicted = (): number[] => {
    const counts = [0, 0, 0, 0];
    for (const frame of frames) counts[b.reta[toeplitzHash(steeringKey(lab.eal), inputOf(frame)) & 127]!]!++;
    return counts;
  };
  t.equal(
    toeplitzHash(MICROSOFT_KEY, inputOf(frames[7]!)),
    flowHashOf(MICROSOFT_KEY, frames[7]!),
    'the oracle means the same bytes',
  );

  const sw = L2Switch.create(lab.eal, { ports: [a, b] });
  await sw.start();
  t.equal(b.isRetaSet, false);
  t.strictSame(b.reta.slice(0, 6), [0, 1, 2, 3, 0, 1]);
  t.strictSame(await sent(), predicted(), 'the table of the beginning');
  b.setReta(Array.from({ length: 128 }, (_, i) => [i, 2] as const));
  await sleep(300);
  t.strictSame(await sent(), [0, 0, 60, 0], 'all on one queue');
  b.setReta(Array.from({ length: 64 }, (_, i) => [i, 3] as const));
  t.strictSame([b.isRetaSet, b.reta[63], b.reta[64]], [true, 3, 2], 'what is left out stays');
  await sleep(300);
  const half = predicted();
  t.ok(half[2]! > 0 && half[3]! > 0 && half[2]! + half[3]! === 60);
  t.strictSame(await sent(), half);
  await sw.close();

  const forwarder = new Forwarder(lab.eal, { ports: [a, b] });
  await forwarder.start();
  t.strictSame(await sent(), half, 'io, too');
  await forwarder.stop();

  t.match(
    errorOf(() => b.setReta([[0, 4]])),
    /ERR_INVALID_ARGUMENT: port \d \(net_ring2\): redirection table: no tx queue 4: there are 0 to 3/,
  );
  t.match(
    errorOf(() => b.setReta([[128, 0]])),
    /no entry 128: there are 0 to 127/,
  );
  t.strictSame(b.reta[0], 3, 'a refusal changes nothing');
  await b.stop();
  b.configure({ rxQueueCount: 1, txQueueCount: 2 });
  t.strictSame([b.isRetaSet, b.reta.slice(0, 4)], [false, [0, 1, 0, 1]], 'a new configuration forgets it');
});
