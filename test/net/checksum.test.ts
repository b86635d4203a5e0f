/** Checksums against the oracle and RFC 1071's example: ranges, chains, headers, half-done ones, bounds. */
import fc from 'fast-check';
import t from 'tap';
import {
  CHECKSUM_BAD,
  CHECKSUM_GOOD,
  CHECKSUM_REFUSED,
  CHECKSUM_SHARED,
  CHECKSUM_UNKNOWN,
  CHECKSUM_WRITTEN,
} from '../../assembly/layout.js';
import {
  checksumFieldOf,
  dissect,
  l4Verdict,
  onesSum,
  withIpv4Checksum,
  withL4Checksum,
} from '../support/net-oracle.js';
import { build, frameSpec } from './frames.js';
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
  wasm,
  wishes,
} from './harness.js';

const area = context.memzones.reserve('checksum', 700_000).address;
const swap = (value: number) => ((value & 0xff) << 8) | (value >> 8);
const VERDICTS = { unknown: CHECKSUM_UNKNOWN, good: CHECKSUM_GOOD, bad: CHECKSUM_BAD };

t.test("RFC 1071, section 3: the example's sum", async (t) => {
  memory.u8.set([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], area);
  t.equal(swap(wasm.rawChecksum(area, 8)), 0xddf2);
  t.equal(wasm.rawChecksum(area, 0), 0, 'of nothing');
});

t.test('any range, at any address: what lies around it does not count', async (t) => {
  const property = fc.property(
    fc.oneof(fc.nat(200), fc.nat(5000)),
    fc.nat(70),
    fc.constantFrom(0x00, 0xff, -1),
    fc.nat(0xffff),
    (length, start, fill, seed) => {
      memory.u8.fill(seed & 0xff, area, area + length + 200);
      const bytes = memory.u8.subarray(area + start, area + start + length);
      if (fill === -1) for (let i = 0; i < length; i++) bytes[i] = Math.imul(i + seed, 2654435761) >>> 24;
      else bytes.fill(fill);
      same(swap(wasm.rawChecksum(area + start, length)), onesSum(bytes), 'sum');
    },
  );
  t.doesNotThrow(() => fc.assert(property, { numRuns: 1500 }));
});

t.test('ranges so long that 32-bit sums would overflow', async (t) => {
  const length = 699_999;
  for (const fill of [0xff, 0x7f, 0x80, 0x00]) {
    memory.u8.fill(fill, area, area + length);
    t.equal(
      swap(wasm.rawChecksum(area, length)),
      onesSum(memory.u8.subarray(area, area + length)),
      `of 0x${fill.toString(16)}`,
    );
  }
});

t.test('any range of a chain, wherever its segments end', async (t) => {
  const property = fc.property(
    fc.uint8Array({ maxLength: 900 }),
    wishes,
    fc.nat(1000),
    fc.nat(1000),
    (bytes, wish, from, count) => {
      const mbuf = put(bytes, cutsOf(bytes.length, wish));
      const found = wasm.rawChecksumMbuf(mbuf, from, count);
      free(mbuf);
      if (from + count > bytes.length) same(found, -1, 'outside');
      else same(swap(found), onesSum(bytes.subarray(from, from + count)), 'sum');
    },
  );
  t.doesNotThrow(() => fc.assert(property, { numRuns: 1500 }));
  const mbuf = put(new Uint8Array(100), [50]);
  for (const [from, count] of [[101, 0], [0, 101], [100, 1], [-1, 1], [1, -1], [-1, -1], [50, -50]] as const) {
    t.equal(wasm.rawChecksumMbuf(mbuf, from, count), -1, `${from}, ${count}`);
  } // biome-ignore format: a table
  t.equal(wasm.rawChecksumMbuf(mbuf, 100, 0), 0);
  free(mbuf);
});

t.test('RFC 1624: updating is computing anew', async (t) => {
  const property = fc.property(
    fc.uint8Array({ minLength: 20, maxLength: 20 }),
    fc.nat(8),
    fc.nat(0xffff_ffff),
    (bytes, at, value) => {
      const sumOf = () => swap(0xffff - onesSum(bytes));
      const word = () => bytes[at * 2]! | (bytes[at * 2 + 1]! << 8);
      const before = sumOf();
      const from = word();
      const low = value & 0xffff;
      bytes.set([low & 255, low >> 8], at * 2);
      // 0 and 0xffff are the same number; the RFC's equation 3 gives 0 only where every word is 0xffff or so
      const congruent = (a: number, b: number) => a % 0xffff === b % 0xffff;
      if (!congruent(wasm.checksumUpdate16(before, from, low), sumOf())) throw new Error('16');
      const from32 = (from | (bytes[at * 2 + 2]! << 16) | (bytes[at * 2 + 3]! << 24)) >>> 0;
      bytes.set([from & 255, from >> 8], at * 2);
      bytes.set([value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24], at * 2);
      if (!congruent(wasm.checksumUpdate32(before, from32, value), sumOf())) throw new Error('32');
    },
  );
  t.doesNotThrow(() => fc.assert(property, { numRuns: 1000 }));
  t.equal(swap(wasm.checksumUpdate16(swap(0xdd2f), swap(0x5555), swap(0x3285))), 0x0000, "the RFC's example");
});

/** Puts the frame, runs `act`, and gives its answer and the frame afterwards; nothing around it may change. */
function acted(
  frame: Uint8Array,
  cuts: readonly number[],
  act: (mbuf: number) => number,
): { answer: number; after: Uint8Array } {
  const results = [0x00, 0xff].map((around) => {
    const mbuf = put(frame, cuts, around);
    const answer = act(mbuf);
    same(disturbed(mbuf, around), '', 'bytes around');
    const after = bytesOf(mbuf);
    free(mbuf);
    return { answer, after };
  });
  same(results[0]!.answer, results[1]!.answer, 'answer by what lies around');
  equal(results[0]!.after, results[1]!.after, 'frame by what lies around');
  return results[0]!;
}

t.test('IPv4 headers, TCP and UDP over IPv4 and IPv6: verified, written, prepared', async (t) => {
  const property = fc.property(frameSpec(300), wishes, fc.boolean(), (spec, wish, right) => {
    const raw = build(spec);
    const whole = dissect(raw);
    const frame = (right ? withL4Checksum(raw) : undefined) ?? raw;
    const cuts = cutsOf(frame.length, wish, Math.min(whole.l2Len + whole.l3Len + whole.l4Len, frame.length));
    const verified = acted(frame, cuts, wasm.l4ChecksumVerify);
    same(verified.answer, VERDICTS[l4Verdict(frame)], 'verdict');
    equal(verified.after, frame, 'frame that was looked at');
    for (const partial of [false, true]) {
      const wanted = withL4Checksum(frame, partial);
      const written = acted(frame, cuts, partial ? wasm.pseudoChecksumSet : wasm.l4ChecksumSet);
      same(written.answer, wanted ? CHECKSUM_WRITTEN : CHECKSUM_REFUSED, `partial ${partial}`);
      equal(written.after, wanted ?? frame, `partial ${partial}`);
      if (wanted && !partial) same(l4Verdict(written.after), 'good', 'verdict afterwards');
    }
    const ipv4 = acted(frame, cuts, wasm.ipv4ChecksumSet);
    equal(ipv4.after, whole.version === 4 ? withIpv4Checksum(frame) : frame, 'IPv4 header');
    same(ipv4.answer, whole.version === 4 ? CHECKSUM_WRITTEN : CHECKSUM_REFUSED, 'IPv4 header');
    same(
      acted(ipv4.after, cuts, wasm.ipv4ChecksumVerify).answer,
      whole.version === 4 ? CHECKSUM_GOOD : CHECKSUM_UNKNOWN,
      'IPv4',
    );
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: 1200 }));
  t.doesNotThrow(() => allBack());
});

t.test('a UDP checksum of 0 is sent as 0xffff, over IPv4 and IPv6', async (t) => {
  const macs = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
  const ip4 = [8, 0, 0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
  const ip6 = [0x86, 0xdd, 0x60, 0, 0, 0, 0, 10, 17, 64, ...new Array(15).fill(0), 1, ...new Array(15).fill(0), 2];
  for (const ip of [ip4, ip6]) {
    const frame = Uint8Array.from([...macs, ...ip, 0, 7, 0, 9, 0, 10, 0, 0, 0, 0]);
    const d = dissect(frame);
    const checksum = withL4Checksum(frame)!.subarray(checksumFieldOf(d));
    frame.set(checksum.subarray(0, 2), frame.length - 2); // the payload adds what is missing to 0xffff
    const { answer, after } = acted(frame, [], wasm.l4ChecksumSet);
    t.equal(answer, CHECKSUM_WRITTEN);
    t.same([...after.subarray(checksumFieldOf(d)).subarray(0, 2)], [0xff, 0xff]);
    t.equal(acted(after, [], wasm.l4ChecksumVerify).answer, CHECKSUM_GOOD);
    t.equal(acted(frame, [], wasm.l4ChecksumVerify).answer, d.version === 4 ? CHECKSUM_GOOD : CHECKSUM_BAD, 'none');
    if (d.version === 4) continue;
    after.set([0, 0], checksumFieldOf(d));
    t.equal(acted(after, [], wasm.l4ChecksumVerify).answer, CHECKSUM_BAD, '0 where 0xffff belongs');
  }
});

t.test('a half-done checksum is completed (NEEDS_CSUM), in segments that end anywhere', async (t) => {
  const property = fc.property(
    frameSpec(300, { protocol: 'tcp', lengthError: 0, fragmentWord: 0 }),
    fc.boolean(),
    wishes,
    (spec, udp, wish) => {
      const raw = build(udp ? { ...spec, protocol: 'udp' } : spec);
      const d = dissect(raw);
      const half = withL4Checksum(raw, true);
      if (half === undefined) return;
      const start = d.l2Len + d.l3Len;
      const { answer, after } = acted(half, cutsOf(half.length, wish), (mbuf) =>
        wasm.checksumComplete(mbuf, start, checksumFieldOf(d) - start),
      );
      same(answer, CHECKSUM_WRITTEN, 'answer');
      same(l4Verdict(after), 'good', 'verdict');
      equal(after, withL4Checksum(raw)!, 'frame');
    },
  );
  t.doesNotThrow(() => fc.assert(property, { numRuns: 800 }));
});

t.test('the same, cut at every two bytes, the field between them included', async (t) => {
  const spec = fc.sample(
    frameSpec(0, { vlans: [], extensions: [], ipOptions: new Uint8Array(0), tcpOptions: new Uint8Array(4) }),
    {
      numRuns: 1,
      seed: 3,
    },
  )[0]!;
  const everywhere = () => {
    for (const version of [4, 6] as const) {
      const payload = Uint8Array.from({ length: 31 }, (_, i) => i * 9);
      const raw = build({ ...spec, version, protocol: 'tcp', payload, lengthError: 0, fragmentWord: 0 });
      const half = withL4Checksum(raw, true)!;
      const start = 14 + dissect(raw).l3Len;
      for (let a = 0; a <= half.length; a++) {
        for (let b = a; b <= half.length; b += b < start + 20 ? 1 : 7) {
          const mbuf = put(half, [a, b]);
          same(wasm.checksumComplete(mbuf, start, 16), CHECKSUM_WRITTEN, `cut at ${a}, ${b}`);
          equal(bytesOf(mbuf), withL4Checksum(raw)!, `cut at ${a}, ${b}`);
          free(mbuf);
        }
      }
    }
  };
  t.doesNotThrow(everywhere);
});

t.test('G11: csum_start and csum_offset anywhere, beyond the packet and beyond 32 bits', async (t) => {
  const value = fc.oneof(
    fc.nat(200),
    fc.nat(0xffff),
    fc.constantFrom(0xffff_ffff, 0xffff_fffe, 0x8000_0000, 0xffff_ff00),
  );
  const property = fc.property(
    fc.uint8Array({ maxLength: 150 }),
    wishes,
    value,
    value,
    (frame, wish, start, offset) => {
      const inside = start >= 14 && start + offset + 2 <= frame.length;
      const { answer, after } = acted(frame, cutsOf(frame.length, wish), (mbuf) =>
        wasm.checksumComplete(mbuf, start, offset),
      );
      same(answer, inside ? CHECKSUM_WRITTEN : CHECKSUM_REFUSED, 'answer');
      const wanted = Uint8Array.from(frame);
      if (inside) {
        const checksum = 0xffff - onesSum(frame.subarray(start)) || 0xffff;
        wanted.set([checksum >> 8, checksum & 255], start + offset);
      }
      equal(after, wanted, 'frame');
    },
  );
  t.doesNotThrow(() => fc.assert(property, { numRuns: 2000 }));
});

t.test('bytes that others see are not written; mbufPrivateHead makes a packet that may be', async (t) => {
  const frame = build(
    fc.sample(
      frameSpec(0, {
        version: 4,
        protocol: 'tcp',
        lengthError: 0,
        fragmentWord: 0,
        payload: new Uint8Array(333).fill(7),
      }),
      { numRuns: 1, seed: 1 },
    )[0]!,
  );
  const d = dissect(frame);
  const headers = d.l2Len + d.l3Len + d.l4Len;
  const start = d.l2Len + d.l3Len;
  const mbuf = put(frame, [headers + 10, headers + 11]);
  const clone = wasm.mbufClone(mbuf, pool.address, LCORE);
  for (const packet of [mbuf, clone]) {
    t.equal(wasm.l4ChecksumSet(packet), CHECKSUM_SHARED);
    t.equal(wasm.pseudoChecksumSet(packet), CHECKSUM_SHARED);
    t.equal(wasm.ipv4ChecksumSet(packet), CHECKSUM_SHARED);
    t.equal(wasm.checksumComplete(packet, start, 16), CHECKSUM_SHARED);
    t.same(bytesOf(packet), frame, 'as it was');
  }
  t.equal(wasm.mbufPrivateHead(LCORE, clone, headers + 11, pool.address), 0, 'more than the first segment');
  const own = wasm.mbufPrivateHead(LCORE, clone, headers, pool.address);
  t.same(bytesOf(own), frame, 'the same packet');
  t.equal(wasm.l4ChecksumSet(own), CHECKSUM_WRITTEN);
  t.same(bytesOf(own), withL4Checksum(frame), 'written');
  t.same(bytesOf(clone), frame, 'the others see nothing of it');
  free(own, clone);
  t.equal(wasm.l4ChecksumSet(mbuf), CHECKSUM_WRITTEN, 'alone again');
  free(mbuf);
  allBack();
});
