/**
 * Packet headers, checksums, segmentation and the flow hash once more, in plain TypeScript over byte arrays, from the texts of
 * RFC 791, 768, 1071, 3168, 8200, 9293 and Microsoft's description of Toeplitz. It shares nothing with assembly/net, not even
 * constants, and is written to be read, not to be fast.
 */

/** What is in a frame. Lengths are of headers that are whole, 0 for others. */
export interface Dissected {
  readonly ptype: number;
  readonly l2Len: number;
  readonly l3Len: number;
  readonly l4Len: number;
  readonly version: 0 | 4 | 6;
  readonly l4: '' | 'tcp' | 'udp' | 'sctp' | 'icmp' | 'fragment';
  /** Where the IP packet ends by its own account; the end of the frame if it says nothing. */
  readonly ipEnd: number;
}

const L4_TYPES = { '': 0, tcp: 0x100, udp: 0x200, fragment: 0x300, sctp: 0x400, icmp: 0x500 };

function word(bytes: Uint8Array, at: number): number {
  return bytes[at]! * 256 + bytes[at + 1]!;
}

function setWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = (value >> 8) & 0xff;
  bytes[at + 1] = value & 0xff;
}

/** Reads a frame of which only the first `visible` bytes may be looked at. */
export function dissect(frame: Uint8Array, visible = frame.length): Dissected {
  const bytes = frame.subarray(0, visible);
  const nothing: Dissected = { ptype: 0, l2Len: 0, l3Len: 0, l4Len: 0, version: 0, l4: '', ipEnd: frame.length };
  if (bytes.length < 14) return nothing;
  let l2Len = 14;
  let tags = 0;
  while (tags < 2 && [0x8100, 0x88a8].includes(word(bytes, l2Len - 2)) && bytes.length >= l2Len + 4) {
    l2Len += 4;
    tags++;
  }
  const l2Type = [1, 6, 7][tags]!;
  const l2 = { ...nothing, ptype: l2Type, l2Len };
  const etherType = word(bytes, l2Len - 2);
  if (etherType === 0x0800) return dissectIpv4(frame, bytes, l2);
  if (etherType === 0x86dd) return dissectIpv6(frame, bytes, l2);
  return l2;
}

function dissectIpv4(frame: Uint8Array, bytes: Uint8Array, l2: Dissected): Dissected {
  const ip = bytes.subarray(l2.l2Len);
  if (ip.length < 20 || ip[0]! >> 4 !== 4) return l2;
  const l3Len = (ip[0]! % 16) * 4;
  const total = word(ip, 2);
  if (l3Len < 20 || l3Len > ip.length || (total !== 0 && total < l3Len)) return l2;
  const ipEnd = total === 0 ? frame.length : l2.l2Len + total;
  const l3: Dissected = { ...l2, version: 4, l3Len, ipEnd, ptype: l2.ptype + (l3Len === 20 ? 0x10 : 0x30) };
  const moreFragments = (ip[6]! & 0x20) !== 0;
  const fragmentOffset = word(ip, 6) % 8192;
  if (moreFragments || fragmentOffset !== 0) return withL4(l3, 'fragment', 0);
  return dissectL4(bytes.subarray(0, ipEnd), l3, ip[9]!);
}

function dissectIpv6(frame: Uint8Array, bytes: Uint8Array, l2: Dissected): Dissected {
  const ip = bytes.subarray(l2.l2Len);
  if (ip.length < 40 || ip[0]! >> 4 !== 6) return l2;
  const payload = word(ip, 4);
  const ipEnd = payload === 0 ? frame.length : l2.l2Len + 40 + payload;
  const inside = bytes.subarray(0, ipEnd);
  let next = ip[6]!;
  let l3Len = 40;
  let extensions = 0;
  const l3 = (): Dissected => ({
    ...l2, version: 6, l3Len, ipEnd, ptype: l2.ptype + (EXTENSIONS.includes(ip[6]!) ? 0xc0 : 0x40),
  }); // biome-ignore format: one thing
  while (EXTENSIONS.includes(next)) {
    const at = l2.l2Len + l3Len;
    if (extensions++ === 8 || inside.length < at + 8) return l3();
    const length = next === 44 ? 8 : (inside[at + 1]! + 1) * 8;
    if (inside.length < at + length) return l3();
    l3Len += length;
    if (next === 44) return withL4(l3(), 'fragment', 0);
    next = inside[at]!;
  }
  return dissectL4(inside, l3(), next);
}

/** Hop-by-hop options, routing, fragment, destination options. */
const EXTENSIONS = [0, 43, 44, 60];

function withL4(l3: Dissected, l4: Dissected['l4'], l4Len: number): Dissected {
  return { ...l3, l4, l4Len, ptype: l3.ptype + L4_TYPES[l4] };
}

function dissectL4(inside: Uint8Array, l3: Dissected, protocol: number): Dissected {
  const header = inside.subarray(l3.l2Len + l3.l3Len);
  if (protocol === 6 && header.length >= 20) {
    const l4Len = (header[12]! >> 4) * 4;
    return l4Len < 20 || l4Len > header.length ? l3 : withL4(l3, 'tcp', l4Len);
  }
  if (protocol === 17 && header.length >= 8) return withL4(l3, 'udp', 8);
  if (protocol === 132 && header.length >= 12) return withL4(l3, 'sctp', 12);
  if (protocol === (l3.version === 4 ? 1 : 58) && header.length >= 8) return withL4(l3, 'icmp', 8);
  return l3;
}

/** RFC 1071: the sum of 16-bit words, big-endian, end-around carry, an odd byte padded with a zero on its right. */
export function onesSum(...parts: Uint8Array[]): number {
  let sum = 0;
  for (const part of parts) {
    for (let i = 0; i < part.length; i += 2) {
      sum += part[i]! * 256 + (part[i + 1] ?? 0);
      if (sum > 0xffff) sum -= 0xffff;
    }
  }
  return sum;
}

/** Where an IPv6 packet ends up: the last stop of a routing header that has stops left. undefined: a type that we don't know. */
function ipv6Destination(frame: Uint8Array, { l2Len, l3Len }: Dissected): Uint8Array | undefined {
  let destination: Uint8Array | undefined = frame.subarray(l2Len + 24, l2Len + 40);
  let next = frame[l2Len + 6]!;
  for (let at = l2Len + 40; at < l2Len + l3Len; ) {
    const length = next === 44 ? 8 : (frame[at + 1]! + 1) * 8;
    if (next === 43 && frame[at + 3] !== 0) {
      if (length < 24) return undefined;
      const type = frame[at + 2]!;
      if (type === 0 || type === 2) destination = frame.subarray(at + length - 16, at + length);
      else if (type === 4) destination = frame.subarray(at + 8, at + 24);
      else return undefined;
    }
    next = frame[at]!;
    at += length;
  }
  return destination;
}

function pseudoHeader(frame: Uint8Array, d: Dissected, l4Bytes: number): Uint8Array | undefined {
  const protocol = d.l4 === 'tcp' ? 6 : 17;
  const ip = frame.subarray(d.l2Len);
  if (d.version === 4) return Uint8Array.from([...ip.subarray(12, 20), 0, protocol, l4Bytes >> 8, l4Bytes & 255]);
  const destination = ipv6Destination(frame, d);
  if (destination === undefined) return undefined;
  const length = [0, l4Bytes >> 16, (l4Bytes >> 8) & 255, l4Bytes & 255];
  return Uint8Array.from([...ip.subarray(8, 24), ...destination, ...length, 0, 0, 0, protocol]);
}

/** Checksummed bytes of a TCP or UDP packet, undefined if it does not have them. */
function l4Bytes(frame: Uint8Array, d: Dissected): Uint8Array | undefined {
  const begin = d.l2Len + d.l3Len;
  if ((d.l4 !== 'tcp' && d.l4 !== 'udp') || d.ipEnd > frame.length) return undefined;
  const inside = frame.subarray(begin, d.ipEnd);
  if (d.l4 === 'tcp') return inside;
  const udpLength = word(inside, 4);
  return udpLength < 8 || udpLength > inside.length ? undefined : inside.subarray(0, udpLength);
}

export function checksumFieldOf(d: Dissected): number {
  return d.l2Len + d.l3Len + (d.l4 === 'tcp' ? 16 : 6);
}

/** 'unknown' when there is nothing to verify, or the packet is not whole. */
export function l4Verdict(frame: Uint8Array, d = dissect(frame)): 'unknown' | 'good' | 'bad' {
  const bytes = l4Bytes(frame, d);
  if (bytes === undefined) return 'unknown';
  if (d.l4 === 'udp' && word(frame, checksumFieldOf(d)) === 0) return d.version === 4 ? 'good' : 'bad';
  const pseudo = pseudoHeader(frame, d, bytes.length);
  if (pseudo === undefined) return 'unknown';
  return onesSum(pseudo, bytes) === 0xffff ? 'good' : 'bad';
}

/** The frame with its TCP or UDP checksum right, or with the pseudo header's sum there; undefined as in l4Verdict 'unknown'. */
export function withL4Checksum(frame: Uint8Array, partial = false, d = dissect(frame)): Uint8Array | undefined {
  const copy = Uint8Array.from(frame);
  const bytes = l4Bytes(copy, d);
  const pseudo = bytes && pseudoHeader(copy, d, bytes.length);
  if (bytes === undefined || pseudo === undefined) return undefined;
  const field = checksumFieldOf(d);
  setWord(copy, field, 0);
  const checksum = 0xffff - onesSum(pseudo, bytes);
  setWord(copy, field, partial ? onesSum(pseudo) : checksum === 0 ? 0xffff : checksum);
  return copy;
}

/** The frame with the checksum of its IPv4 header right. */
export function withIpv4Checksum(frame: Uint8Array, { l2Len, l3Len } = dissect(frame)): Uint8Array {
  const copy = Uint8Array.from(frame);
  setWord(copy, l2Len + 10, 0);
  setWord(copy, l2Len + 10, 0xffff - onesSum(copy.subarray(l2Len, l2Len + l3Len)));
  return copy;
}

export type GsoKind = 'tcp4' | 'tcp6' | 'ufo' | 'uso';

/** The packets that a large one stands for, or undefined where the packet is not of that kind. */
export function segment(frame: Uint8Array, kind: GsoKind, size: number, partial: boolean): Uint8Array[] | undefined {
  const d = dissect(frame);
  const wanted = { tcp4: d.l4 === 'tcp' && d.version === 4, tcp6: d.l4 === 'tcp' && d.version === 6,
    ufo: d.l4 === 'udp' && d.version === 4, uso: d.l4 === 'udp' }[kind]; // biome-ignore format: a table
  if (!wanted || size === 0 || d.ipEnd !== frame.length) return undefined;
  const ip = d.l2Len;
  const l4 = ip + d.l3Len;
  if (d.version === 6 && ipv6Destination(frame, d) === undefined) return undefined;
  if (d.version === 6 && word(frame, ip + 4) === 0 && d.l3Len > 40) return undefined; // jumbogram
  if (d.l4 === 'udp' && ![0, frame.length - l4].includes(word(frame, l4 + 4))) return undefined;
  if (d.l4 === 'tcp' && (frame[l4 + 13]! & 0x06) !== 0) return undefined; // SYN, RST
  if (kind === 'ufo') return fragment(frame, d, size);

  const headers = frame.subarray(0, l4 + d.l4Len);
  const payload = frame.subarray(headers.length);
  const segments: Uint8Array[] = [];
  for (let offset = 0; offset < payload.length || offset === 0; offset += size) {
    const part = payload.subarray(offset, offset + size);
    const last = offset + size >= payload.length;
    let out = Uint8Array.from([...headers, ...part]);
    if (d.version === 4) {
      setWord(out, ip + 2, out.length - ip);
      setWord(out, ip + 4, (word(frame, ip + 4) + segments.length) % 65536);
      out = withIpv4Checksum(out, d) as typeof out;
    } else {
      setWord(out, ip + 4, out.length - ip - 40);
    }
    if (d.l4 === 'udp') {
      setWord(out, l4 + 4, 8 + part.length);
    } else {
      const sequence = (word(frame, l4 + 4) * 65536 + word(frame, l4 + 6) + offset) % 2 ** 32;
      setWord(out, l4 + 4, Math.floor(sequence / 65536));
      setWord(out, l4 + 6, sequence % 65536);
      const urgent = (frame[l4 + 13]! & 0x20) !== 0;
      const urgentLeft = word(frame, l4 + 18) - offset;
      if (!last) out[l4 + 13]! &= 0xff - 0x08 - 0x01;
      if (offset > 0) out[l4 + 13]! &= 0xff - 0x80;
      if (urgent && offset > 0) {
        if (urgentLeft <= 0) out[l4 + 13]! &= 0xff - 0x20;
        setWord(out, l4 + 18, Math.max(urgentLeft, 0));
      }
    }
    segments.push(withL4Checksum(out, partial)!);
    if (last) break;
  }
  return segments;
}

/** RFC 791 section 3.2's fragmentation procedure. */
function fragment(frame: Uint8Array, d: Dissected, size: number): Uint8Array[] | undefined {
  const ip = d.l2Len;
  const l4 = ip + d.l3Len;
  if (frame.length - ip > 0xffff) return undefined;
  const whole = Uint8Array.from(frame);
  setWord(whole, ip + 2, frame.length - ip);
  setWord(whole, l4 + 4, frame.length - l4);
  const summed = withL4Checksum(whole)!;
  const data = summed.subarray(l4);
  if (data.length <= size) return [withIpv4Checksum(summed)];
  const step = Math.floor(size / 8) * 8;
  if (step === 0) return undefined;
  const fragments: Uint8Array[] = [];
  for (let offset = 0; offset < data.length; offset += step) {
    const part = data.subarray(offset, offset + step);
    const out = Uint8Array.from([...summed.subarray(0, l4), ...part]);
    if (offset > 0) blankOptions(out.subarray(ip + 20, l4));
    setWord(out, ip + 2, out.length - ip);
    setWord(out, ip + 6, offset / 8 + (offset + step < data.length ? 0x2000 : 0));
    fragments.push(withIpv4Checksum(out, d));
  }
  return fragments;
}

/** Options without the copied flag stay out of later fragments. */
function blankOptions(options: Uint8Array): void {
  for (let at = 0; at < options.length; ) {
    const type = options[at]!;
    if (type === 0) return;
    let length = type === 1 ? 1 : (options[at + 1] ?? 0);
    if (type !== 1 && (length < 2 || at + length > options.length)) length = options.length - at;
    if (type < 128) options.fill(1, at, at + length);
    at += length;
  }
}

/** Toeplitz by its definition: for each set bit of the input, the 32 bits of the key from there on. */
export function toeplitz(key: Uint8Array, input: Uint8Array): number {
  const keyBits = [...key].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  const inputBits = [...input].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  let hash = 0;
  for (let i = 0; i < inputBits.length; i++) {
    if (inputBits[i] === '1') hash ^= Number.parseInt(keyBits.slice(i, i + 32), 2);
  }
  return hash >>> 0;
}

/** Toeplitz over addresses, and ports where there are any; 0 without IP. */
export function flowHashOf(key: Uint8Array, frame: Uint8Array, d = dissect(frame)): number {
  if (d.version === 0) return 0;
  const addresses =
    d.version === 4 ? frame.subarray(d.l2Len + 12, d.l2Len + 20) : frame.subarray(d.l2Len + 8, d.l2Len + 40);
  const l4 = d.l2Len + d.l3Len;
  const ports = ['tcp', 'udp', 'sctp'].includes(d.l4) ? frame.subarray(l4, l4 + 4) : [];
  return toeplitz(key, Uint8Array.from([...addresses, ...ports]));
}
