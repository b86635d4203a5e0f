/** Frames for the tests of assembly/net: every kind of header that it knows, and whatever else fits. */
import fc from 'fast-check';

export interface FrameSpec {
  readonly vlans: readonly number[];
  readonly version: 4 | 6;
  readonly protocol: 'tcp' | 'udp' | 'sctp' | 'icmp' | 'other';
  /** IPv4 options, or TCP options, in bytes; a multiple of 4, at most 40. */
  readonly ipOptions: Uint8Array;
  readonly tcpOptions: Uint8Array;
  readonly extensions: readonly Extension[];
  readonly payload: Uint8Array;
  /** Addresses, ports, ids, whatever is free. */
  readonly seed: Uint8Array;
  readonly tcpFlags: number;
  /** What the IP header says beyond the truth, 0 for an honest one; 'none' for 0. */
  readonly lengthError: number | 'none';
  readonly fragmentWord: number;
}

export interface Extension {
  readonly type: 0 | 43 | 60 | 44;
  readonly body: Uint8Array;
}

/** The frame. Checksums are the seed's: wrong. */
export function build(spec: FrameSpec): Uint8Array {
  const { seed } = spec;
  const l4 = buildL4(spec);
  const protocol = { tcp: 6, udp: 17, sctp: 132, icmp: spec.version === 4 ? 1 : 58, other: 99 }[spec.protocol];
  const ip = spec.version === 4 ? ipv4(spec, protocol, l4.length) : ipv6(spec, protocol, l4.length);
  const tags = spec.vlans.flatMap((tci, i) => [
    ...(i === 0 && spec.vlans.length === 2 ? [0x88, 0xa8] : [0x81, 0x00]),
    tci >> 8,
    tci & 255,
  ]);
  const type = spec.version === 4 ? [0x08, 0x00] : [0x86, 0xdd];
  return Uint8Array.from([...seed.subarray(0, 12), ...tags, ...type, ...ip, ...l4]);
}

function stated(length: number, error: number | 'none'): number {
  return error === 'none' ? 0 : (length + error) & 0xffff;
}

function ipv4(spec: FrameSpec, protocol: number, l4Bytes: number): number[] {
  const { seed, ipOptions } = spec;
  const total = stated(20 + ipOptions.length + l4Bytes, spec.lengthError);
  return [
    0x40 + 5 + ipOptions.length / 4, seed[12]!, total >> 8, total & 255, seed[14]!, seed[15]!,
    spec.fragmentWord >> 8, spec.fragmentWord & 255, 64, protocol, seed[16]!, seed[17]!, ...seed.subarray(18, 26), ...ipOptions,
  ]; // biome-ignore format: the header
}

function ipv6(spec: FrameSpec, protocol: number, l4Bytes: number): number[] {
  const { seed, extensions } = spec;
  const chain = extensions.flatMap(({ type, body }, i) => {
    const next = extensions[i + 1]?.type ?? protocol;
    return type === 44 ? [next, 0, ...body.subarray(0, 6)] : [next, (body.length - 6) / 8, ...body];
  });
  const length = stated(chain.length + l4Bytes, spec.lengthError);
  return [
    0x60, seed[12]!, seed[13]!, seed[14]!, length >> 8, length & 255, extensions[0]?.type ?? protocol, 64,
    ...seed.subarray(18, 50), ...chain,
  ]; // biome-ignore format: the header
}

function buildL4(spec: FrameSpec): Uint8Array {
  const { seed, payload, tcpOptions } = spec;
  const tail = seed.subarray(50);
  let header: number[];
  if (spec.protocol === 'tcp') {
    header = [...tail.subarray(0, 20), ...tcpOptions];
    header[12] = (5 + tcpOptions.length / 4) * 16;
    header[13] = spec.tcpFlags;
  } else if (spec.protocol === 'udp') {
    const length = (8 + payload.length) & 0xffff;
    header = [...tail.subarray(0, 4), length >> 8, length & 255, tail[4]!, tail[5]!];
  } else {
    header = [...tail.subarray(0, 12)];
  }
  const bytes = new Uint8Array(header.length + payload.length);
  bytes.set(header);
  bytes.set(payload, header.length);
  return bytes;
}

const bytesOf = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const words = (max: number) => fc.integer({ min: 0, max }).chain((count) => bytesOf(count * 4));

const extension: fc.Arbitrary<Extension> = fc
  .tuple(fc.constantFrom(0, 43, 60, 44), fc.integer({ min: 0, max: 5 }), fc.constantFrom(0, 2, 3, 4), fc.nat(2))
  .chain(([type, units, routing, left]) =>
    bytesOf(6 + units * 8).map((body) => {
      if (type === 43) body.set([routing, left]); // routing type, segments left
      return { type: type as Extension['type'], body };
    }),
  );

/** Payload of random bytes, cheap at any length. */
function payloadOf(maxBytes: number): fc.Arbitrary<Uint8Array> {
  return fc
    .tuple(fc.integer({ min: 0, max: maxBytes }), fc.nat(0xffff), fc.constantFrom(0, 0xff, -1))
    .map(([length, seed, fill]) => {
      const bytes = new Uint8Array(length);
      let state = seed * 2 + 1;
      for (let i = 0; i < length; i++) {
        state = (Math.imul(state, 1103515245) + 12345) >>> 0;
        bytes[i] = fill === -1 ? state >>> 16 : fill;
      }
      return bytes;
    });
}

/** Any frame; with `fixed` some of it given. Mostly honest about its lengths. */
export function frameSpec(maxPayload: number, fixed: Partial<FrameSpec> = {}): fc.Arbitrary<FrameSpec> {
  const arbitrary = fc.record({
    vlans: fc.array(fc.nat(0xffff), { maxLength: 2 }),
    version: fc.constantFrom(4 as const, 6 as const),
    protocol: fc.constantFrom(
      'tcp' as const,
      'tcp' as const,
      'udp' as const,
      'udp' as const,
      'sctp' as const,
      'icmp' as const,
      'other' as const,
    ),
    ipOptions: words(10),
    tcpOptions: words(10),
    extensions: fc.oneof(
      { weight: 2, arbitrary: fc.constant([]) },
      { weight: 3, arbitrary: fc.array(extension, { maxLength: 10 }) },
    ),
    payload: payloadOf(maxPayload),
    seed: fc.oneof({ weight: 6, arbitrary: bytesOf(70) }, { weight: 1, arbitrary: fc.constant(new Uint8Array(70)) }),
    tcpFlags: fc.nat(0xff),
    lengthError: fc.oneof(
      { weight: 6, arbitrary: fc.constant(0) },
      { weight: 2, arbitrary: fc.integer({ min: -60, max: 60 }) },
      { weight: 1, arbitrary: fc.constant('none' as const) },
    ),
    fragmentWord: fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom(0, 0x4000, 0x8000) },
      { weight: 1, arbitrary: fc.nat(0xffff) },
    ),
  });
  return arbitrary.map((spec) => ({ ...spec, ...fixed }));
}
