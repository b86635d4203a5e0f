/** The flow hash: Microsoft's published vectors ("Verifying the RSS Hash Calculation"), the oracle, the redirection table. */
import fc from 'fast-check';
import t from 'tap';
import { MBUF_F_RX_RSS_HASH, TOEPLITZ_TABLE_SIZE } from '../../assembly/layout.js';
import { dissect, flowHashOf, toeplitz } from '../support/net-oracle.js';
import { build, frameSpec } from './frames.js';
import { allBack, context, cutsOf, disturbed, free, memory, put, same, view, wasm, wishes } from './harness.js';

const MICROSOFT_KEY = Uint8Array.from(
  Buffer.from('6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa', 'hex'),
);
const zone = context.memzones.reserve('toeplitz', TOEPLITZ_TABLE_SIZE + 256).address;
const table = zone + 128;

function useKey(key: Uint8Array): void {
  memory.u8.set(key, zone);
  wasm.toeplitzInit(table, zone);
}

function hash(input: readonly number[]): number {
  memory.u8.set(input, zone + 64);
  return wasm.toeplitzHash(table, zone + 64, input.length) >>> 0;
}

const ipv4 = (text: string) => text.split('.').map(Number);
const port = (value: number) => [value >> 8, value & 255];
function ipv6(text: string): number[] {
  const [head, tail = ''] = text.split('::');
  const groups = (part: string) => (part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16)));
  const [a, b] = [groups(head!), groups(tail)];
  return [...a, ...new Array(8 - a.length - b.length).fill(0), ...b].flatMap(port);
}

// destination, port, source, port, hash of the addresses, hash with ports
const VECTORS: [string, number, string, number, number, number][] = [
  ['161.142.100.80', 1766, '66.9.149.187', 2794, 0x323e8fc2, 0x51ccc178],
  ['65.69.140.83', 4739, '199.92.111.2', 14230, 0xd718262a, 0xc626b0ea],
  ['12.22.207.184', 38024, '24.19.198.95', 12898, 0xd2d0a5de, 0x5c2b394a],
  ['209.142.163.6', 2217, '38.27.205.30', 48228, 0x82989176, 0xafc7327f],
  ['202.188.127.2', 1303, '153.39.163.191', 44251, 0x5d1809c5, 0x10e828a2],
  ['3ffe:2501:200:3::1', 1766, '3ffe:2501:200:1fff::7', 2794, 0x2cc18cd5, 0x40207d3d],
  ['ff02::1', 4739, '3ffe:501:8::260:97ff:fe40:efab', 14230, 0x0f0c461c, 0xdde51bbf],
  ['fe80::200:f8ff:fe21:67cf', 38024, '3ffe:1900:4545:3:200:f8ff:fe21:67cf', 44251, 0x4b61e985, 0x02d1feef],
];

t.test("Microsoft's vectors", async (t) => {
  useKey(MICROSOFT_KEY);
  for (const [to, toPort, from, fromPort, addressHash, flow] of VECTORS) {
    const parse = to.includes(':') ? ipv6 : ipv4;
    const addresses = [...parse(from), ...parse(to)];
    t.equal(hash(addresses), addressHash, `${from} → ${to}`);
    t.equal(hash([...addresses, ...port(fromPort), ...port(toPort)]), flow, `${from}:${fromPort} → ${to}:${toPort}`);
    t.equal(toeplitz(MICROSOFT_KEY, Uint8Array.from(addresses)), addressHash, 'the oracle agrees');
  }
});

t.test('any key, any input', async (t) => {
  const key = fc.uint8Array({ minLength: 40, maxLength: 40 });
  const input = fc.nat(9).chain((words) => fc.uint8Array({ minLength: words * 4, maxLength: words * 4 }));
  const property = fc.property(key, input, (key, input) => {
    useKey(key);
    same(hash([...input]), toeplitz(key, input), 'hash');
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: 300 }));
  t.ok(
    memory.u8.subarray(table + TOEPLITZ_TABLE_SIZE, table + TOEPLITZ_TABLE_SIZE + 128).every((byte) => byte === 0),
    'nothing behind the table',
  );
});

t.test('packets: addresses and ports, addresses alone, or nothing', async (t) => {
  useKey(MICROSOFT_KEY);
  const property = fc.property(frameSpec(40), wishes, (spec, wish) => {
    const frame = build(spec);
    const cuts = cutsOf(frame.length, wish);
    const d = dissect(frame, cuts[0]);
    for (const around of [0x00, 0xff]) {
      const mbuf = put(frame, cuts, around);
      const found = wasm.flowHash(mbuf, table) >>> 0;
      same(found, flowHashOf(MICROSOFT_KEY, frame, d), 'hash');
      same(view(mbuf).hash, found, 'hash in the mbuf');
      same(view(mbuf).olFlags, MBUF_F_RX_RSS_HASH, 'flag');
      same(disturbed(mbuf, around), '', 'bytes around');
      free(mbuf);
    }
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: 800 }));
  t.doesNotThrow(() => allBack());
});

t.test('a redirection table', async (t) => {
  const reta = context.memzones.reserve('reta', 256).address;
  for (let i = 0; i < 128; i++) memory.u16[(reta >>> 1) + i] = i * 3;
  for (const value of [0, 1, 127, 128, 0x51ccc178, 0xffff_ffff]) {
    t.equal(wasm.retaLookup(reta, 128, value), (value % 128) * 3);
  }
});
