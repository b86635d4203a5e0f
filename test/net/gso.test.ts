/** Segmentation against the oracle: every byte of every segment, all mbufs back, hostile input refused. */
import fc from 'fast-check';
import t from 'tap';
import {
  GSO_PARTIAL_CHECKSUM,
  MBUF_F_RX_RSS_HASH,
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
  VIRTIO_NET_HDR_GSO_UDP,
  VIRTIO_NET_HDR_GSO_UDP_L4,
} from '../../assembly/layout.js';
import { Mempool } from '../../src/mempool.js';
import { dissect, type GsoKind, l4Verdict, onesSum, segment } from '../support/net-oracle.js';
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

const TYPES: Record<GsoKind, number> = {
  tcp4: VIRTIO_NET_HDR_GSO_TCPV4,
  tcp6: VIRTIO_NET_HDR_GSO_TCPV6,
  ufo: VIRTIO_NET_HDR_GSO_UDP,
  uso: VIRTIO_NET_HDR_GSO_UDP_L4,
};
const OUT_MAX = 64;
const out = context.memzones.reserve('gso out', OUT_MAX * 4).address;
/** Room for headers and little more: payload must be referred to. */
const narrow = Mempool.createPktmbuf(context, { name: 'narrow', count: 400, dataRoomBytes: 320, cacheSize: 16 });
const GUARD = 0x6b;

/** Cuts the packet and frees it, so that the references alone keep the payload. */
function cut(
  frame: Uint8Array,
  cuts: readonly number[],
  type: number,
  size: number,
  from = pool,
  outMax = OUT_MAX,
): number[] {
  const mbuf = put(frame, cuts, GUARD);
  view(mbuf).olFlags = MBUF_F_RX_RSS_HASH;
  view(mbuf).hash = 0x1234567;
  const count = wasm.gsoSegment(LCORE, mbuf, type, size, from.address, out, outMax);
  equal(bytesOf(mbuf), frame, 'input');
  same(disturbed(mbuf, GUARD), '', 'bytes around the input');
  free(mbuf);
  return [...memory.u32.subarray(out >>> 2, (out >>> 2) + count)];
}

function check(
  spec: FrameSpec,
  kind: GsoKind,
  size: number,
  wish: readonly number[],
  partial: boolean,
  from: Mempool,
): void {
  const frame = build(spec);
  const d = dissect(frame);

  // headers are always copied, for a datagram's first fragment with the UDP header
  const own = d.l2Len + d.l3Len + d.l4Len;
  const wanted = own > from.dataRoomBytes ? [] : (segment(frame, kind, size, partial) ?? []);
  const type = TYPES[kind] | (partial ? GSO_PARTIAL_CHECKSUM : 0);
  const packets = cut(frame, cutsOf(frame.length, wish, Math.min(own, frame.length)), type, size, from);
  same(packets.length, wanted.length > OUT_MAX ? 0 : wanted.length, 'segments');
  packets.forEach((packet, i) => {
    equal(bytesOf(packet), wanted[i]!, `segment ${i}`);
    const m = view(packet);
    const found = dissect(wanted[i]!);
    same(m.packetType, found.ptype, 'type');
    same(`${m.l2Len} ${m.l3Len} ${m.l4Len}`, `${found.l2Len} ${found.l3Len} ${found.l4Len}`, 'lengths');
    same(m.olFlags, MBUF_F_RX_RSS_HASH, 'flags');
    same(m.hash, 0x1234567, 'hash');
    same(m.tsoSegsz, 0, 'segment size');
  });
  free(...packets);
  allBack(from);
  if (from !== pool) allBack();
}

const kinds = fc.constantFrom<GsoKind>('tcp4', 'tcp6', 'ufo', 'uso');
/** A packet that fits the kind, as a guest sends it. */
const fitting = (maxPayload: number) =>
  kinds.chain((kind) =>
    frameSpec(maxPayload).map((spec) => ({
      kind,
      spec: {
        ...spec,
        version: kind === 'tcp4' || kind === 'ufo' ? 4 : kind === 'tcp6' ? 6 : spec.version,
        protocol: kind.startsWith('tcp') ? 'tcp' : 'udp',
        extensions: spec.extensions.filter(({ type }) => type !== 44),
        tcpFlags: spec.tcpFlags & 0xf9,
        lengthError: spec.lengthError === 'none' ? 'none' : 0,
        fragmentWord: spec.fragmentWord & 0xc000,
      } as FrameSpec,
    })),
  );

t.test('every segment is what the oracle says: any size, any cut, copied payload', async (t) => {
  const property = fc.property(
    fitting(1500),
    fc.integer({ min: 20, max: 1600 }),
    wishes,
    fc.boolean(),
    ({ kind, spec }, size, wish, partial) => check(spec, kind, size, wish, partial, pool),
  );
  t.doesNotThrow(() => fc.assert(property, { numRuns: 500 }));
});

t.test('the same with payload that is referred to', async (t) => {
  const property = fc.property(
    fitting(6000),
    fc.integer({ min: 300, max: 6000 }),
    wishes,
    fc.boolean(),
    ({ kind, spec }, size, wish, partial) => check(spec, kind, size, wish, partial, narrow),
  );
  t.doesNotThrow(() => fc.assert(property, { numRuns: 250 }));
});

t.test('segments that end at every byte', async (t) => {
  const size = { tcp4: 37, tcp6: 37, ufo: 40, uso: 37 };
  const everywhere = () => {
    for (const kind of ['tcp4', 'tcp6', 'ufo', 'uso'] as const) {
      const frame = large(kind, 101);
      const wanted = segment(frame, kind, size[kind], false)!;
      for (let first = payloadAt(frame); first <= frame.length; first++) {
        for (const cuts of [[first], [first, first + ((frame.length - first) >> 1)]]) {
          const packets = cut(frame, cuts, TYPES[kind], size[kind]);
          same(packets.length, wanted.length, 'segments');
          packets.forEach((packet, i) => {
            equal(bytesOf(packet), wanted[i]!);
          });
          free(...packets);
        }
      }
    }
    allBack();
  };
  t.doesNotThrow(everywhere);
});

t.test('packets that do not fit, lie about their length, or have headers cut short', async (t) => {
  const property = fc.property(frameSpec(200), kinds, fc.nat(300), fc.boolean(), (spec, kind, size, partial) =>
    check(spec, kind, size, [], partial, pool),
  );
  t.doesNotThrow(() => fc.assert(property, { numRuns: 600 }));
});

/** Where the headers of a packet end. */
function payloadAt(frame: Uint8Array): number {
  const d = dissect(frame);
  return d.l2Len + d.l3Len + d.l4Len;
}

function payloadOf(frame: Uint8Array): Uint8Array {
  return frame.subarray(payloadAt(frame));
}

function large(kind: GsoKind, bytes: number, more: Partial<FrameSpec> = {}): Uint8Array {
  const payload = Uint8Array.from({ length: bytes }, (_, i) => Math.imul(i, 40503) >>> 8);
  const fixed = {
    version: kind === 'tcp6' ? 6 : 4,
    protocol: kind.startsWith('tcp') ? 'tcp' : 'udp',
    payload,
    vlans: [],
    extensions: [],
    ipOptions: new Uint8Array(0),
    tcpOptions: new Uint8Array(12),
    tcpFlags: 0x99,
    lengthError: 0,
    fragmentWord: 0x4000,
    ...more,
  } as const;
  return build(fc.sample(frameSpec(0, fixed), { numRuns: 1, seed: 7 })[0]!);
}

t.test('64 KB: payload, sequence numbers, flags, checksums, by properties alone', async (t) => {
  for (const kind of ['tcp4', 'tcp6'] as const) {
    for (const size of [1448, 8960, 64_000]) {
      const frame = large(kind, 63_001);
      const packets = cut(frame, cutsOf(frame.length, [100, 3333]), TYPES[kind] | VIRTIO_NET_HDR_GSO_ECN, size);
      const frames = packets.map((packet) => bytesOf(packet));
      t.equal(frames.length, Math.ceil(63_001 / size));
      t.same(Buffer.concat(frames.map(payloadOf)), Buffer.from(payloadOf(frame)), 'payload');
      t.ok(
        frames.every((one) => payloadOf(one).length <= size && l4Verdict(one) === 'good'),
        'sizes and checksums',
      );
      const at = (one: Uint8Array, offset: number) =>
        Buffer.from(one).readUInt32BE(dissect(one).l2Len + dissect(one).l3Len + offset);
      const flags = frames.map((one) => (at(one, 12) >> 16) & 0xff);
      t.same(
        flags,
        flags.map((_, i) => 0x10 | (i === 0 ? 0x80 : 0) | (i === flags.length - 1 ? 0x09 : 0)),
        'flags',
      );
      t.ok(
        frames.every((one, i) => at(one, 4) === (at(frame, 4) + i * size) % 2 ** 32),
        'sequence numbers',
      );
      free(...packets);
    }
  }
  const frame = large('ufo', 40_000, { ipOptions: Uint8Array.from([0x94, 4, 0, 0, 7, 7, 4, 1, 2, 3, 4, 0]) });
  const fragments = cut(frame, cutsOf(frame.length, []), TYPES.ufo, 1480).map((packet) => {
    const bytes = bytesOf(packet);
    free(packet);
    return bytes;
  });
  const datagram = new Uint8Array(40_008);
  for (const one of fragments) {
    const { l2Len, l3Len } = dissect(one);
    datagram.set(one.subarray(l2Len + l3Len), (Buffer.from(one).readUInt16BE(l2Len + 6) & 0x1fff) * 8);
    if (onesSum(one.subarray(l2Len, l2Len + l3Len)) !== 0xffff) throw new Error('checksum of a fragment');
  }
  const whole = Uint8Array.from([...fragments[0]!.subarray(0, 14 + 32), ...datagram]);
  new DataView(whole.buffer).setUint16(16, whole.length - 14);
  whole[20]! &= 0xdf;
  t.equal(l4Verdict(whole), 'good', 'the datagram that the fragments make');
  t.same([...fragments[1]!.subarray(34, 46)], [0x94, 4, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0], 'only copied options go on');
  allBack();
});

t.test('G12: sizes and lengths that make no sense give nothing and take nothing', async (t) => {
  const frame = large('tcp4', 3000);
  const none = (what: string, ...args: Parameters<typeof cut>) => {
    t.same(cut(...args), [], what);
    allBack(args[4] ?? pool);
  };
  none('size 0', frame, [1000, 2000], TYPES.tcp4, 0);
  none('type 0', frame, [1000, 2000], 0, 1000);
  none('type 2', frame, [1000, 2000], 2, 1000);
  none('type of the other IP', frame, [1000, 2000], TYPES.tcp6, 1000);
  none('headers not in the first segment', frame, [40, 2000], TYPES.tcp4, 1000);
  none('more segments than room for them', frame, [1000, 2000], TYPES.tcp4, 1);
  none('one more segment than room for them', frame, [1000, 2000], TYPES.tcp4, 1000, pool, 2);
  none('no room at all', frame, [1000, 2000], TYPES.tcp4, 1000, pool, 0);
  none('a frame longer than its IP packet', Uint8Array.from([...frame, 0]), [1000, 2000], TYPES.tcp4, 1000);
  none('a frame shorter than its IP packet', frame.subarray(0, 2900), [1000, 2000], TYPES.tcp4, 1000);
  none('fragments of less than 8 bytes', large('ufo', 3000), [1000, 2000], TYPES.ufo, 7);
  none('a SYN', large('tcp4', 3000, { tcpFlags: 0x02 }), [1000, 2000], TYPES.tcp4, 1000);
  const exact = cut(frame, [1000, 2000], TYPES.tcp4, 1000, pool, 3);
  t.equal(exact.length, 3, 'just enough room');
  free(...exact);
  const size = cut(frame, [1000, 2000], TYPES.tcp4, 0xffff_ffff);
  t.equal(size.length, 1, 'a size beyond the packet');
  free(...size);
  allBack();
});

t.test('G21: an exhausted pool, at every point, gives everything back', async (t) => {
  const frame = large('tcp4', 2000, { tcpOptions: new Uint8Array(0) });
  const datagram = large('ufo', 2000);
  let done = 0;
  for (let count = 1; count <= 30; count++) {
    const small = Mempool.createPktmbuf(context, { name: `small${count}`, count, dataRoomBytes: 100, cacheSize: 0 });
    for (const [bytes, kind] of [[frame, 'tcp4'], [datagram, 'ufo']] as const) {
      const packets = cut(bytes, [300, 301, 700, 1500], TYPES[kind], 400, small);
      if (packets.length > 0) done++;
      free(...packets);
      allBack(small);
      allBack();
    } // biome-ignore format: a table
    small.free();
  }
  t.ok(done > 20, `${done} of 60 had enough`);
  const tiny = Mempool.createPktmbuf(context, { name: 'tiny', count: 30, dataRoomBytes: 50, cacheSize: 0 });
  t.same(cut(frame, [300], TYPES.tcp4, 400, tiny), [], 'buffers shorter than the headers');
  allBack(tiny);
  const tinier = Mempool.createPktmbuf(context, { name: 'tinier', count: 30, dataRoomBytes: 40, cacheSize: 0 });
  t.same(
    cut(datagram, [300], TYPES.ufo, 400, tinier),
    [],
    "buffers shorter than a datagram's headers, by the UDP header",
  );
  allBack(tinier);
});

t.test('a packet in hundreds of pieces: no output beyond MAX_SEGMENTS', async (t) => {
  const frame = large('tcp4', 500);
  const cuts = Array.from({ length: 127 }, (_, i) => 70 + i);
  const packets = cut(frame, cuts, TYPES.tcp4, 500, narrow);
  t.same(packets, [], 'a header and 128 pieces are too many');
  allBack(narrow);
  const fewer = cut(frame, cuts.slice(1), TYPES.tcp4, 500, narrow);
  t.equal(fewer.length, 1);
  t.equal(view(fewer[0]!).nbSegs, 128);
  t.same(payloadOf(bytesOf(fewer[0]!)), payloadOf(frame));
  free(...fewer);
  allBack(narrow);
});

t.test('segments of a clone and of a packet with many holders', async (t) => {
  const frame = large('tcp4', 5000);
  const mbuf = put(frame, [2000, 4000]);
  const clone = wasm.mbufClone(mbuf, pool.address, LCORE);
  for (const packet of [mbuf, clone]) {
    const count = wasm.gsoSegment(LCORE, packet, TYPES.tcp4, 2200, narrow.address, out, OUT_MAX);
    const packets = [...memory.u32.subarray(out >>> 2, (out >>> 2) + count)];
    free(packet);
    const wanted = segment(frame, 'tcp4', 2200, false)!;
    t.same(
      packets.map((one) => [...bytesOf(one)]),
      wanted.map((one) => [...one]),
    );
    free(...packets);
    allBack(narrow);
  }
  allBack();
});
