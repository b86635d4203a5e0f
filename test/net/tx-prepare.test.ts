/** txPrepare against the oracle: pseudo header sums, refusals, and that a refused packet is as it was. */
import fc from 'fast-check';
import t from 'tap';
import {
  MAX_GSO_SEGMENTS,
  MBUF_F_RX_RSS_HASH,
  MBUF_F_TX_IP_CKSUM,
  MBUF_F_TX_IPV4,
  MBUF_F_TX_IPV6,
  MBUF_F_TX_TCP_CKSUM,
  MBUF_F_TX_TCP_SEG,
  MBUF_F_TX_UDP_CKSUM,
  MBUF_F_TX_UDP_SEG,
  MBUF_F_TX_UFO,
  MBUF_F_TX_VLAN,
  MBUF_NB_SEGS,
  MBUF_PKT_LEN,
  PORT_BASE,
  PORT_TXQ_COUNT,
} from '../../assembly/layout.js';
import { type TxPrepareFault, txPrepareFault } from '../../src/ethdev/prepare.js';
import { type Dissected, dissect, withL4Checksum } from '../support/net-oracle.js';
import { build, type FrameSpec, frameSpec } from './frames.js';
import {
  allBack,
  bytesOf,
  context,
  cutsOf,
  disturbed,
  equal,
  free,
  LCORE,
  memory,
  pool,
  put,
  same,
  view,
  wasm,
  wishes,
} from './harness.js';

const handles = context.memzones.reserve('prepare', 64).address;
memory.u32[(PORT_BASE + PORT_TXQ_COUNT) >>> 2] = 1;

/** How many of the packets are ready, and why not more. */
function prepare(...packets: number[]): [ready: number, fault: TxPrepareFault['code'] | ''] {
  memory.u32.set(packets, handles >>> 2);
  const ready = wasm.txPrepare(LCORE, 0, 0, handles, packets.length);
  return [ready, txPrepareFault(context, LCORE)?.code ?? ''];
}

interface Wish {
  readonly olFlags: number;
  readonly l2Len: number;
  readonly l3Len: number;
  readonly l4Len: number;
  readonly tsoSegsz: number;
}

/** What a sender who knows the packet would ask for. */
function wishFor({ version, l4, l2Len, l3Len, l4Len }: Dissected, cut: boolean, ipChecksum: boolean): Wish {
  let olFlags = version === 4 ? MBUF_F_TX_IPV4 : MBUF_F_TX_IPV6;
  if (l4 === 'tcp') olFlags |= MBUF_F_TX_TCP_CKSUM | (cut ? MBUF_F_TX_TCP_SEG : 0);
  if (l4 === 'udp') olFlags |= cut ? MBUF_F_TX_UDP_SEG : MBUF_F_TX_UDP_CKSUM;
  if (ipChecksum && version === 4) olFlags |= MBUF_F_TX_IP_CKSUM;
  return { olFlags, l2Len, l3Len, l4Len, tsoSegsz: cut ? 1000 : 0 };
}

t.test('what a sender asks for rightly is filled as the oracle fills it; the rest of the packet stays', async (t) => {
  let [ready, refused] = [0, 0];
  const run = fc.property(frameSpec(3000), wishes, fc.boolean(), fc.boolean(), (spec, cutWishes, cut, ipChecksum) => {
    const frame = build(spec);
    const d = dissect(frame);
    if ((d.l4 !== 'tcp' && d.l4 !== 'udp') || frame.length < 14) return;
    const headers = d.l2Len + d.l3Len + d.l4Len;
    const handle = put(frame, cutsOf(frame.length, cutWishes, headers));
    const wish = wishFor(d, cut, ipChecksum);
    Object.assign(view(handle), wish);
    const wanted = withL4Checksum(frame, true);
    const [count, fault] = prepare(handle);
    const zeroed = (bytes: Uint8Array): Uint8Array => {
      const copy = Uint8Array.from(bytes);
      if (wish.olFlags & MBUF_F_TX_IP_CKSUM) copy.fill(0, d.l2Len + 10, d.l2Len + 12);
      return copy;
    };
    if (wanted === undefined) {
      same(`${count} ${fault}`, '0 headers', 'the lengths contradict each other');
      equal(bytesOf(handle), frame);
      refused++;
    } else {
      same(`${count} ${fault}`, '1 ', 'prepared');
      equal(bytesOf(handle), zeroed(wanted));
      same(disturbed(handle), '', 'around the data');
      same(prepare(handle)[0], 1, 'once more');
      equal(bytesOf(handle), zeroed(wanted), 'once more');
      ready++;
    }
    const m = view(handle);
    for (const [field, value] of Object.entries(wish)) same(m[field as keyof Wish], value, field);
    free(handle);
  });
  t.doesNotThrow(() => fc.assert(run, { numRuns: 1500 }));
  t.ok(ready > 300 && refused > 20, `${ready} ready, ${refused} refused`);
  t.doesNotThrow(() => allBack());
});

const spec: FrameSpec = {
  vlans: [],
  version: 4,
  protocol: 'tcp',
  ipOptions: new Uint8Array(0),
  tcpOptions: new Uint8Array(12),
  extensions: [],
  payload: new Uint8Array(3000).fill(7),
  seed: Uint8Array.from({ length: 70 }, (_, i) => (i * 37 + 2) & 0xfe),
  tcpFlags: 0x10,
  lengthError: 0,
  fragmentWord: 0,
};

t.test('refusals: the first packet that cannot be sent, why, and nothing of it has changed', async (t) => {
  const tcp4 = build(spec);
  const tcp6 = build({ ...spec, version: 6 });
  const udp4 = build({ ...spec, protocol: 'udp' });
  const right = wishFor(dissect(tcp4), true, true);
  const table: [string, TxPrepareFault['code'], Uint8Array, Partial<Wish>, number[]?][] = [
    ['neither IPv4 nor IPv6', 'flags', tcp4, { olFlags: MBUF_F_TX_TCP_CKSUM }],
    ['both', 'flags', tcp4, { olFlags: right.olFlags | MBUF_F_TX_IPV6 }],
    ['IP checksum of IPv6', 'flags', tcp6, { olFlags: MBUF_F_TX_IPV6 | MBUF_F_TX_IP_CKSUM }],
    ['TCP and UDP', 'flags', tcp4, { olFlags: right.olFlags | MBUF_F_TX_UDP_CKSUM }],
    ['two ways of segmentation', 'flags', udp4, { olFlags: MBUF_F_TX_IPV4 | MBUF_F_TX_UDP_SEG | MBUF_F_TX_UFO }],
    ['the other IP', 'headers', tcp6, {}],
    ['the other protocol', 'headers', udp4, {}],
    ['a tag that is not there', 'headers', tcp4, { l2Len: 18 }],
    ['l3Len', 'headers', tcp4, { l3Len: 24 }],
    ['l4Len, which segments begin with', 'headers', tcp4, { l4Len: 20 }],
    ['not IP at all', 'headers', new Uint8Array(60), {}],
    ['a fragment', 'headers', build({ ...spec, fragmentWord: 0x2000 }), {}],
    ['the IP header says more than there is', 'headers', build({ ...spec, lengthError: 4 }), {}],
    ['segments of nothing', 'segsz', tcp4, { tsoSegsz: 0 }],
    ['segments by the thousand', 'segsz', tcp4, { tsoSegsz: 5 }],
    ['headers in two segments', 'split_headers', tcp4, {}, [50, 1500]],
    ['L2 and L3 in two segments', 'split_headers', tcp4, {}, [20, 1500]],
    ['a runt', 'length', tcp4.subarray(0, 13), {}],
  ];
  const good = put(tcp4, [1500]);
  Object.assign(view(good), right);
  for (const [what, code, frame, change, cuts] of table) {
    const wish = { ...right, ...change };
    const bad = put(frame, cuts ?? (frame.length > 1500 ? [1500] : []));
    Object.assign(view(bad), { ...wish, packetType: 0x1234 });
    t.same(prepare(good, good, bad, good), [2, code], what);
    t.match(view(bad), { ...wish, packetType: 0x1234 }, `${what}: the header is as it was`);
    t.same(bytesOf(bad), frame, `${what}: so is the data`);
    free(bad);
  }
  const l4LenOff = put(tcp4, [1500]);
  const checksumOnly = right.olFlags & ~MBUF_F_TX_TCP_SEG;
  Object.assign(view(l4LenOff), { ...right, olFlags: checksumOnly, l4Len: 0, tsoSegsz: 0 });
  t.same(prepare(l4LenOff), [1, ''], 'l4Len matters to segments alone, as in DPDK');
  free(l4LenOff);

  const limit = put(build({ ...spec, payload: new Uint8Array(MAX_GSO_SEGMENTS * 4) }), [1500]);
  Object.assign(view(limit), { ...right, tsoSegsz: 4 });
  t.same(prepare(limit), [1, ''], 'as many segments as software makes');
  free(good, limit);
  allBack();
});

t.test('chains that do not add up', async (t) => {
  const frame = build(spec);
  const fields: [string, TxPrepareFault['code'], number, number, 16 | 32][] = [
    ['a packet longer than its segments', 'chain', MBUF_PKT_LEN, frame.length + 1, 32],
    ['shorter', 'chain', MBUF_PKT_LEN, frame.length - 1, 32],
    ['more segments than there are', 'chain', MBUF_NB_SEGS, 3, 16],
    ['fewer', 'chain', MBUF_NB_SEGS, 1, 16],
    ['none', 'chain', MBUF_NB_SEGS, 0, 16],
    ['too many', 'chain', MBUF_NB_SEGS, 129, 16],
    ['a packet longer than any', 'length', MBUF_PKT_LEN, 65_563, 32],
  ];
  for (const [what, code, field, value, bits] of fields) {
    const handle = put(frame, [1500]);
    const words = bits === 16 ? memory.u16 : memory.u32;
    const index = (handle + field) / (bits / 8);
    const before = words[index]!;
    words[index] = value;
    t.same(prepare(handle), [0, code], what);
    words[index] = before;
    t.same(prepare(handle), [1, ''], 'without flags a whole packet is ready');
    free(handle);
  }
  allBack();
});

t.test('bytes that others refer to are not written', async (t) => {
  const frame = build(spec);
  const handle = put(frame, [1500]);
  const wish = wishFor(dissect(frame), true, true);
  Object.assign(view(handle), wish);
  const clone = wasm.mbufClone(handle, pool.address, LCORE);
  t.same(prepare(clone), [0, 'shared']);
  t.same(bytesOf(clone), frame);
  free(clone);
  t.same(prepare(handle), [1, '']);
  const again = wasm.mbufClone(handle, pool.address, LCORE);
  t.same(prepare(again), [1, ''], 'the sum is there already: nothing needs to be written');
  free(again, handle);
  allBack();
});

t.test('packets that ask for nothing of the kind pass; queues that are not there do not', async (t) => {
  const frame = new Uint8Array(60).fill(1);
  const handle = put(frame);
  view(handle).olFlags = MBUF_F_TX_VLAN | MBUF_F_RX_RSS_HASH;
  t.same(prepare(handle, handle), [2, '']);
  t.same(prepare(), [0, '']);
  t.same(bytesOf(handle), frame);
  memory.u32[handles >>> 2] = handle;
  for (const [port, queue] of [
    [0, 1],
    [1, 0],
    [64, 0],
    [0xffff_ffff, 0xffff_ffff],
  ] as const) {
    t.equal(wasm.txPrepare(LCORE, port, queue, handles, 1), 0);
    t.match(txPrepareFault(context, LCORE), { code: 'queue', errno: 'ENODEV' });
  }
  t.equal(wasm.txPrepare(0xffff_ffff, 0, 0, handles, 1), 1, 'a caller that is no lcore');
  t.equal(txPrepareFault(context, 0xffff_ffff), undefined);
  t.equal(txPrepareFault(context, LCORE)?.code, 'queue', "another's call leaves the answer alone");
  free(handle);
  allBack();
});
