/**
 * The Internet checksum (RFC 1071): the one's complement sum of 16-bit words. Such a sum does not care about byte order, so
 * words are added as the machine loads them, and a sum or checksum here is always "as it lies in memory": store<u16> puts it
 * into a header. Nor does it care how wide the words are, as long as the carries come round at the end: that is what `fold`
 * does.
 */
import { CHECKSUM_OUTSIDE, MBUF_DATA_LEN, MBUF_NEXT, MBUF_PKT_LEN } from '../layout';
import { mbufData } from '../mem/mbuf';
import { be16 } from './headers';

/** From here on vectors pay. */
const VECTOR_MIN: u32 = 64;
/** Bytes whose sum fits i32 lanes: 16 bytes change a lane by 65536 at the most. */
const VECTOR_MAX: u32 = 1 << 18;

/** A sum of words as 16 bits, the carries added back in. 0 only if every word was 0. */
// @ts-ignore: decorator
@inline
export function fold(sum: u64): u32 {
  sum = (sum & 0xffff_ffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  const low = <u32>((sum & 0xffff) + (sum >> 16));
  return (low & 0xffff) + (low >> 16);
}

/** Sum of the words of [at, at + length), not folded; an odd last byte is the first half of a word. */
export function sumRange(at: u32, length: u32): u64 {
  let sum: u64 = 0;
  while (length >= VECTOR_MIN) {
    const block = (length < VECTOR_MAX ? length : VECTOR_MAX) & ~63;
    sum += sumVectors(at, block);
    at += block;
    length -= block;
  }
  while (length >= 8) {
    const words = load<u64>(at);
    sum += (words & 0xffff_ffff) + (words >> 32);
    at += 8;
    length -= 8;
  }
  if (length & 4) {
    sum += load<u32>(at);
    at += 4;
  }
  if (length & 2) {
    sum += load<u16>(at);
    at += 2;
  }
  if (length & 1) sum += load<u8>(at);
  return sum;
}

/**
 * sumRange of a multiple of 64 bytes. There is one instruction that multiplies signed words and adds neighbours, so: words
 * minus 0x8000, times 1; what was taken off is known and comes back at the end.
 */
// @ts-ignore: decorator
@inline
function sumVectors(at: u32, length: u32): u64 {
  const bias = i16x8.splat(-0x8000);
  const ones = i16x8.splat(1);
  let a = i32x4.splat(0);
  let b = i32x4.splat(0);
  for (const end = at + length; at != end; at += 64) {
    a = i32x4.add(a, i32x4.dot_i16x8_s(v128.xor(v128.load(at), bias), ones));
    b = i32x4.add(b, i32x4.dot_i16x8_s(v128.xor(v128.load(at, 16), bias), ones));
    a = i32x4.add(a, i32x4.dot_i16x8_s(v128.xor(v128.load(at, 32), bias), ones));
    b = i32x4.add(b, i32x4.dot_i16x8_s(v128.xor(v128.load(at, 48), bias), ones));
  }
  a = i32x4.add(a, b);
  const lanes =
    <i64>i32x4.extract_lane(a, 0) +
    <i64>i32x4.extract_lane(a, 1) +
    <i64>i32x4.extract_lane(a, 2) +
    <i64>i32x4.extract_lane(a, 3);
  return <u64>(lanes + ((<i64>length) << 14)); // length / 2 words × 0x8000
}

/** One's complement sum of `length` bytes, 16 bits, as it lies in memory; not complemented (rte_raw_cksum). */
export function rawChecksum(address: u32, length: u32): u32 {
  return fold(sumRange(address, length));
}

/**
 * rawChecksum of bytes [offset, offset + length) of a packet, wherever its segments end (rte_raw_cksum_mbuf).
 * CHECKSUM_OUTSIDE if the packet does not have them all.
 */
export function rawChecksumMbuf(mbuf: u32, offset: u32, length: u32): u32 {
  const pktLen = load<u32>(mbuf, MBUF_PKT_LEN);
  if (offset > pktLen || length > pktLen - offset) return CHECKSUM_OUTSIDE;
  let sum: u64 = 0;
  let done: u32 = 0;
  while (done != length) {
    if (mbuf == 0) return CHECKSUM_OUTSIDE; // the chain is shorter than it says
    const available = load<u32>(mbuf, MBUF_DATA_LEN);
    if (offset >= available) {
      offset -= available;
    } else {
      let part = available - offset;
      if (part > length - done) part = length - done;
      const words = sumRange(mbufData(mbuf) + offset, part);
      // behind an odd number of bytes the halves of every word have changed places
      sum += done & 1 ? <u64>be16(fold(words)) : words;
      done += part;
      offset = 0;
    }
    mbuf = load<u32>(mbuf, MBUF_NEXT);
  }
  return fold(sum);
}

/** What to store: the complement, with 0xffff for 0, which says "no checksum" in UDP (RFC 768) and means the same in TCP. */
// @ts-ignore: decorator
@inline
export function complement(sum: u32): u32 {
  return sum == 0xffff ? 0xffff : sum ^ 0xffff;
}

/**
 * A checksum after the 16-bit word `from` that it covers became `to`, all three as they lie in memory (RFC 1624, equation 3). A
 * UDP checksum of 0 must be left alone; callers of UDP store 0xffff for a result of 0.
 */
export function checksumUpdate16(checksum: u32, from: u32, to: u32): u32 {
  return fold(<u64>((checksum ^ 0xffff) & 0xffff) + <u64>((from ^ 0xffff) & 0xffff) + <u64>(to & 0xffff)) ^ 0xffff;
}

/** checksumUpdate16 for a 32-bit word that starts at an even offset: an address, a sequence number. */
export function checksumUpdate32(checksum: u32, from: u32, to: u32): u32 {
  return fold(<u64>((checksum ^ 0xffff) & 0xffff) + <u64>~from + <u64>to) ^ 0xffff;
}
