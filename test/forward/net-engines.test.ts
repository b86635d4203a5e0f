/** Engines that know IP: csum, 5tswap, icmpecho, flowgen; any packet, byte for byte, against the oracle of test/support. */
import fc from 'fast-check';
import t from 'tap';
import {
  CSUM_IP_HW,
  CSUM_TCP_HW,
  CSUM_UDP_HW,
  CSUM_WRITE_MACS,
  ENGINE_5TSWAP,
  ENGINE_CSUM,
  ENGINE_FLOWGEN,
  ENGINE_ICMPECHO,
  MBUF_F_RX_IP_CKSUM_BAD,
  MBUF_F_RX_L4_CKSUM_BAD,
  MBUF_F_RX_L4_CKSUM_NONE,
  MBUF_F_RX_RSS_HASH,
  MBUF_F_TX_ECN,
  MBUF_F_TX_IP_CKSUM,
  MBUF_F_TX_IPV4,
  MBUF_F_TX_IPV6,
  MBUF_F_TX_TCP_CKSUM,
  MBUF_F_TX_TCP_SEG,
  MBUF_F_TX_UDP_CKSUM,
  MBUF_L2_LEN,
  MBUF_OL_FLAGS,
  MBUF_TSO_SEGSZ,
} from '../../assembly/layout.js';
import { FLOWGEN_FLOW, txonlyTemplate } from '../../src/forward/txonly-template.js';
import { build, type FrameSpec, frameSpec } from '../net/frames.js';
import {
  checksumFieldOf,
  type Dissected,
  dissect,
  onesSum,
  withIpv4Checksum,
  withL4Checksum,
} from '../support/net-oracle.js';
import { Bench, type RingPort } from './harness.js';

const PEER = [0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0xee];
const OWN = [0x02, 0x01, 0x02, 0x03, 0x04, 0x05];
const RUNS = 400;

const plain: FrameSpec = {
  vlans: [],
  version: 4,
  protocol: 'tcp',
  ipOptions: new Uint8Array(),
  tcpOptions: new Uint8Array(),
  extensions: [],
  payload: new Uint8Array(100).fill(7),
  seed: Uint8Array.from({ length: 70 }, (_, i) => (i === 0 ? 2 : i * 3)),
  tcpFlags: 0x10,
  lengthError: 0,
  fragmentWord: 0,
};

/** One stream in a loop over one port; packets go in and come out with their flags. */
class Loop {
  readonly bench = new Bench(255);
  readonly port: RingPort;
  readonly records;

  constructor(engine: number, spec: { csum?: number; tsoSegmentBytes?: number; peerMac?: Uint8Array } = {}) {
    this.port = this.bench.ringPort(0, { mac: OWN });
    this.records = this.bench.streams({ engine, rxPort: 0, peerMac: Uint8Array.from(PEER), ...spec });
  }

  /** Injects a packet of one or two segments; what came out, or undefined. */
  pass(frame: Uint8Array, { cut = 0, flags = 0, segsz = 0, shared = false } = {}) {
    const { bench } = this;
    const segments = cut > 0 && cut < frame.length ? [frame.subarray(0, cut), frame.subarray(cut)] : [frame];
    let mbuf = bench.packet(...segments);
    bench.set(mbuf + MBUF_OL_FLAGS, flags);
    bench.memory.u16[(mbuf + MBUF_TSO_SEGSZ) >>> 1] = segsz;
    const original = mbuf;
    if (shared) mbuf = bench.wasm.mbufClone(mbuf, bench.pool.address, bench.lcoreId);
    bench.inject(this.port, [mbuf]);
    bench.run();
    const [out] = bench.collectHandles(this.port);
    const untouched = shared && Buffer.concat(bench.segments(original)).equals(frame);
    if (shared) bench.wasm.mbufFree(original, bench.lcoreId);
    if (out === undefined) return undefined;
    const result = {
      bytes: new Uint8Array(Buffer.concat(bench.segments(out))),
      flags: bench.get(out + MBUF_OL_FLAGS),
      lengths: bench.get(out + MBUF_L2_LEN),
      segsz: bench.memory.u16[(out + MBUF_TSO_SEGSZ) >>> 1]!,
      untouched,
    };
    bench.wasm.mbufFree(out, bench.lcoreId);
    return result;
  }
}

function same(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && Buffer.compare(a, b) === 0;
}

const lengths = (d: Dissected) => d.l2Len | (d.l4Len << 8) | (d.l3Len << 16);

function swapRanges(bytes: Uint8Array, a: number, b: number, length: number): void {
  const first = bytes.slice(a, a + length);
  bytes.copyWithin(a, b, b + length);
  bytes.set(first, b);
}

function withMacs(frame: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(frame);
  copy.set([...PEER, ...OWN]);
  return copy;
}

t.test('5tswap: addresses and ports of any packet', async (t) => {
  const loop = new Loop(ENGINE_5TSWAP);
  fc.assert(
    fc.property(frameSpec(200), fc.nat(120), fc.boolean(), (spec, cut, shared) => {
      const frame = build(spec);
      const visible = cut > 0 && cut < frame.length ? cut : frame.length;
      const d = dissect(frame, visible);
      const expected = Uint8Array.from(frame);
      if (visible >= 14) swapRanges(expected, 0, 6, 6);
      if (d.version !== 0) {
        const [at, length] = d.version === 4 ? [12, 4] : [8, 16];
        swapRanges(expected, d.l2Len + at, d.l2Len + at + length, length);
        const l4 = d.l2Len + d.l3Len;
        if (d.l4 === 'tcp' || d.l4 === 'udp') swapRanges(expected, l4, l4 + 2, 2);
      }
      const out = loop.pass(frame, { cut, shared, flags: MBUF_F_RX_RSS_HASH });
      const stale = d.version !== 0 && out !== undefined && (out.flags & MBUF_F_RX_RSS_HASH) !== 0;
      return same(out?.bytes, expected) && !stale && (!shared || visible < 14 || out!.untouched);
    }),
    { numRuns: RUNS },
  );
  t.equal(loop.bench.pool.inUseCount, 0);
});

t.test('csum in software: every checksum right, MAC addresses written, what is not whole left alone', async (t) => {
  const loop = new Loop(ENGINE_CSUM, { csum: CSUM_WRITE_MACS });
  fc.assert(
    fc.property(frameSpec(300), fc.nat(150), fc.boolean(), (spec, cut, shared) => {
      const frame = build(spec);
      const visible = cut > 0 && cut < frame.length ? cut : frame.length;
      const d = dissect(frame, visible);
      let expected = visible >= 14 ? withMacs(frame) : frame;
      const field = checksumFieldOf(d);
      const none = d.l4 === 'udp' && frame[field] === 0 && frame[field + 1] === 0;
      if (!none) expected = withL4Checksum(expected, false, d) ?? expected;
      if (d.version === 4) expected = withIpv4Checksum(expected, d);
      const out = loop.pass(frame, { cut, shared });
      return same(out?.bytes, expected) && (out!.flags & 0x3fff_ffff) === 0 && (!shared || out!.untouched);
    }),
    { numRuns: RUNS },
  );
  t.equal(loop.bench.pool.inUseCount, 0);
});

t.test('csum in hardware: flags, header lengths, the pseudo header’s sum', async () => {
  const loop = new Loop(ENGINE_CSUM, { csum: CSUM_IP_HW | CSUM_TCP_HW | CSUM_UDP_HW });
  fc.assert(
    fc.property(frameSpec(300), (spec) => {
      const frame = build(spec);
      const d = dissect(frame);
      let expected = Uint8Array.from(frame);
      let flags = 0;
      const field = checksumFieldOf(d);
      const none = d.l4 === 'udp' && frame[field] === 0 && frame[field + 1] === 0;
      const partial = none ? undefined : withL4Checksum(expected, true, d);
      if (partial !== undefined) {
        expected = Uint8Array.from(partial);
        flags |= MBUF_F_RX_L4_CKSUM_NONE | (d.version === 4 ? MBUF_F_TX_IPV4 : MBUF_F_TX_IPV6);
        flags |= d.l4 === 'tcp' ? MBUF_F_TX_TCP_CKSUM : MBUF_F_TX_UDP_CKSUM;
      }
      if (d.version === 4) {
        expected.set([0, 0], d.l2Len + 10);
        flags |= MBUF_F_TX_IP_CKSUM | MBUF_F_TX_IPV4;
      }
      const out = loop.pass(frame);
      return same(out?.bytes, expected) && out!.flags === flags && out!.lengths === lengths(d);
    }),
    { numRuns: RUNS },
  );
});

t.test('csum: a checksum that its sender left half done is completed, or left to the port', async (t) => {
  for (const version of [4, 6] as const) {
    for (const protocol of ['tcp', 'udp'] as const) {
      const frame = build({ ...plain, version, protocol });
      const ip = version === 4 ? MBUF_F_TX_IPV4 : MBUF_F_TX_IPV6;
      const l4 = protocol === 'tcp' ? MBUF_F_TX_TCP_CKSUM : MBUF_F_TX_UDP_CKSUM;
      const flags = MBUF_F_RX_L4_CKSUM_NONE | ip | l4;
      const half = withL4Checksum(frame, true)!;
      const right = version === 4 ? withIpv4Checksum(withL4Checksum(frame)!) : withL4Checksum(frame)!;
      const software = new Loop(ENGINE_CSUM).pass(half, { flags })!;
      t.strictSame(software.bytes, right, `${protocol}${version} in software`);
      t.equal(software.flags, 0);
      const hardware = new Loop(ENGINE_CSUM, { csum: CSUM_TCP_HW | CSUM_UDP_HW }).pass(half, { flags })!;
      t.strictSame(hardware.bytes, version === 4 ? withIpv4Checksum(half) : half, `${protocol}${version} by the port`);
      t.equal(hardware.flags, flags);
    }
  }
});

t.test('csum with tso: long TCP packets are marked, others are not', async (t) => {
  const size = 64;
  const pass = (spec: Partial<FrameSpec>, trailer = 0, options = {}) => {
    const frame = build({ ...plain, ...spec });
    const bytes = new Uint8Array(frame.length + trailer);
    bytes.set(frame);
    return { frame: bytes, out: new Loop(ENGINE_CSUM, { tsoSegmentBytes: size }).pass(bytes, options)! };
  };
  for (const version of [4, 6] as const) {
    const { frame, out } = pass({ version, tcpFlags: 0x90 });
    const ip = version === 4 ? MBUF_F_TX_IPV4 : MBUF_F_TX_IPV6;
    const wanted = MBUF_F_TX_TCP_SEG | MBUF_F_TX_TCP_CKSUM | MBUF_F_TX_ECN | MBUF_F_RX_L4_CKSUM_NONE | ip;
    t.equal(out.flags, wanted, `IPv${version}`);
    t.equal(out.segsz, size);
    const half = withL4Checksum(frame, true)!;
    t.strictSame(out.bytes, version === 4 ? withIpv4Checksum(half) : half);
  }
  for (const [what, spec, trailer] of [
    ['one segment', { payload: new Uint8Array(size) }, 0],
    ['SYN', { tcpFlags: 2 }, 0],
    ['padding behind it', {}, 3],
    ['UDP', { protocol: 'udp' }, 0],
    ['a fragment', { fragmentWord: 0x2000 }, 0],
  ] as const) {
    const { frame, out } = pass(spec, trailer);
    t.equal(out.flags, 0, what);
    const summed = withIpv4Checksum(withL4Checksum(frame) ?? frame);
    t.strictSame(out.bytes, summed, `${what}: its checksum is written`);
  }
  const asked = MBUF_F_TX_TCP_SEG | MBUF_F_TX_TCP_CKSUM | MBUF_F_TX_IPV4 | MBUF_F_RX_L4_CKSUM_NONE;
  const { frame, out } = pass({}, 0, { flags: asked, segsz: 10 });
  t.strictSame([out.flags, out.segsz], [asked, 10], 'what its sender wants segmented stays so');
  t.strictSame(out.bytes, withIpv4Checksum(frame), 'and its checksum field too');
});

t.test('csum counts what the rx port found to be bad', async (t) => {
  const loop = new Loop(ENGINE_CSUM);
  const frame = build(plain);
  loop.pass(frame, { flags: MBUF_F_RX_IP_CKSUM_BAD });
  loop.pass(frame, { flags: MBUF_F_RX_L4_CKSUM_BAD });
  loop.pass(frame, { flags: MBUF_F_RX_L4_CKSUM_BAD | MBUF_F_RX_IP_CKSUM_BAD });
  loop.pass(frame, { flags: MBUF_F_RX_L4_CKSUM_NONE });
  t.match(loop.records.counters(), [{ rxPackets: 4, txPackets: 4, badIpCksum: 2, badL4Cksum: 2, filtered: 0 }]);
});

const ASKER = [0x02, 9, 8, 7, 6, 5];
const ALL = [255, 255, 255, 255, 255, 255];

function arp(operation: number, tags: readonly number[] = []): Uint8Array {
  const header = [...ALL, ...ASKER, ...tags, 0x08, 0x06];
  const body = [0, 1, 8, 0, 6, 4, 0, operation, ...ASKER, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 77];
  return Uint8Array.from([...header, ...body, ...new Array<number>(18).fill(0)]);
}

t.test('icmpecho: ARP', async (t) => {
  const loop = new Loop(ENGINE_ICMPECHO);
  const reply = [0, 1, 8, 0, 6, 4, 0, 2, ...OWN, 10, 0, 0, 77, ...ASKER, 10, 0, 0, 1];
  for (const tags of [[], [0x81, 0, 0, 5], [0x88, 0xa8, 0, 6, 0x81, 0, 0, 5]]) {
    const out = loop.pass(arp(1, tags), { shared: tags.length === 4 })!;
    const expected = [...ASKER, ...OWN, ...tags, 0x08, 0x06, ...reply, ...new Array<number>(18).fill(0)];
    t.strictSame([...out.bytes], expected, `${tags.length / 4} tags`);
    t.ok(tags.length !== 4 || out.untouched, 'others’ bytes stay');
  }
  t.equal(loop.pass(arp(2)), undefined, 'a reply is no request');
  t.equal(loop.pass(arp(1).subarray(0, 41)), undefined, 'cut short');
  t.equal(loop.pass(arp(1), { cut: 30 }), undefined, 'not in one piece');
  t.equal(loop.pass(Uint8Array.from([1, 2, 3])), undefined, 'no frame at all');
  const ipv6 = arp(1);
  ipv6.set([0x86, 0xdd], 16);
  t.equal(loop.pass(ipv6), undefined, 'for another protocol');
  t.equal(loop.bench.pool.inUseCount, 0);
  t.match(loop.records.counters(), [{ rxPackets: 8, txPackets: 3, filtered: 5 }]);
});

function echo(spec: Partial<FrameSpec>, type = 8, code = 0): Uint8Array {
  const frame = withIpv4Checksum(
    build({ ...plain, protocol: 'icmp', payload: new Uint8Array(33).fill(0xfe), ...spec }),
  );
  const at = dissect(frame).l2Len + dissect(frame).l3Len;
  return withIcmp(frame, at, type, code);
}

function withIcmp(frame: Uint8Array, at: number, type: number, code: number): Uint8Array {
  const copy = Uint8Array.from(frame);
  copy.set([type, code, 0, 0], at);
  const sum = 0xffff - onesSum(copy.subarray(at));
  copy.set([sum >> 8, sum & 0xff], at + 2);
  return copy;
}

t.test('icmpecho: ping', async (t) => {
  const loop = new Loop(ENGINE_ICMPECHO);
  for (const [what, spec] of [
    ['plain', {}],
    ['tagged', { vlans: [7] }],
    ['with options', { ipOptions: new Uint8Array(8).fill(1) }],
    ['nothing in it', { payload: new Uint8Array(0) }],
  ] as const) {
    const request = echo(spec);
    const { l2Len, l3Len } = dissect(request);
    let expected = withIcmp(request, l2Len + l3Len, 0, 0);
    swapRanges(expected, 0, 6, 6);
    swapRanges(expected, l2Len + 12, l2Len + 16, 4);
    expected = withIpv4Checksum(expected);
    t.strictSame(loop.pass(request, { shared: what === 'tagged' })!.bytes, expected, what);
  }
  const group = echo({});
  group.set(ALL, 0);
  group.set([10, 0, 0, 5, 224, 0, 0, 1], 26);
  const expected = withIcmp(group, 34, 0, 0);
  expected.set([...group.subarray(6, 12), ...OWN], 0);
  expected.set([10, 0, 0, 6, 10, 0, 0, 5], 26);
  t.strictSame(loop.pass(group)!.bytes, withIpv4Checksum(expected), 'to a group: we answer for ourselves');
  t.equal(loop.pass(echo({}, 0)), undefined, 'a reply');
  t.equal(loop.pass(echo({}, 8, 1)), undefined, 'another code');
  t.equal(loop.pass(echo({ fragmentWord: 0x2000 })), undefined, 'a fragment');
  t.equal(loop.pass(build(plain)), undefined, 'TCP');
  t.equal(loop.pass(build({ ...plain, version: 6, protocol: 'icmp' })), undefined, 'IPv6');
  t.equal(loop.bench.pool.inUseCount, 0);
});

t.test('flowgen: flows one after the other, right header checksums, what comes in is thrown away', async (t) => {
  const bench = new Bench();
  const port = bench.ringPort(0);
  const template = txonlyTemplate({
    destination: Uint8Array.from(PEER),
    source: Uint8Array.from(OWN),
    segmentLengths: [60, 40],
    flow: FLOWGEN_FLOW,
  });
  const pool = bench.pool.address;
  const records = bench.streams({ engine: ENGINE_FLOWGEN, rxPort: 0, burst: 16, template, pool, flowCount: 2500 });
  bench.inject(port, [bench.packet(build(plain))]);
  const frames: Uint8Array[] = [];
  for (let round = 0; round < 6; round++) {
    bench.run(0, 30);
    frames.push(...bench.collect(port));
  }
  t.equal(frames.length, 6 * 30 * 16);
  const wrong = frames.filter((frame, i) => {
    const flow = i % 2500;
    const d = dissect(frame);
    const view = new DataView(frame.buffer, frame.byteOffset);
    const address = (10 << 24) + (253 << 16) + flow;
    return (
      frame.length !== 100 ||
      d.l4 !== 'udp' ||
      view.getUint32(26) !== 0x0afe0000 ||
      view.getUint32(30) !== address ||
      view.getUint16(34) !== 1000 + (flow % 1024) ||
      view.getUint16(36) !== 1001 ||
      onesSum(frame.subarray(14, 34)) !== 0xffff
    );
  });
  t.equal(wrong.length, 0);
  t.match(records.counters(), [{ rxPackets: 1, txPackets: 2880 }]);
  bench.setLink(0, false);
  bench.run(0, 10);
  t.equal(bench.collect(port).length, 0, 'nothing while the link is down');
  t.equal(bench.pool.inUseCount, 0);
});
