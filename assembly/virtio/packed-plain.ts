/**
 * The plain case on a packed ring, device side: a packet in one descriptor. A burst's descriptors are read in one short loop and
 * noted; the frames are copied in a second one. So the cache lines that the guest's core has just written, each of which takes as
 * long as a hundred instructions, are asked for many at a time instead of a few. Whatever is not plain ends the run: the caller
 * handles it alone, with all its rules, and comes back.
 *
 * The loops call nothing and keep their values in registers: that alone is a tenth of the throughput. They have two callers each,
 * so that Binaryen does not inline them.
 */
import {
  DEVICE_REGIONS,
  ETHER_HDR_LEN,
  MBUF_NB_SEGS,
  MBUF_PKT_LEN,
  NOTE_SIZE,
  QUEUE_DESC,
  QUEUE_DEVICE,
  QUEUE_HDR_LEN,
  QUEUE_TOUCHED,
  QUEUE_VQ_SIZE,
  REGION_GUEST,
  REGION_LENGTH,
  REGION_LINEAR,
} from '../layout';
import { otherRegion } from '../mem/region';
import { fits, hasOffload, writeNetHeader } from './net-header';
import { NEXT_LINE, NOTE_HEADER, NOTE_HOST, noteAt } from './note';
import {
  availState,
  PACKED_DESC_SIZE,
  PACKED_F_SHAPE,
  PACKED_F_STATE,
  PACKED_F_WRITE,
  PACKED_TAIL,
  packedFlags,
  packedLen,
  positionIndex,
  positionWrap,
} from './packed';

/** What a note has of a descriptor's tail. */
const ID: u64 = 0xffff_0000_0000;
const ID_AND_LENGTH: u64 = 0xffff_ffff_ffff;
/** One more index in a note. */
const INDEX_STEP: u64 = 1 << 48;
const LINE_SIZE: u32 = 64;

/**
 * Guest → host: up to `count` plain packets from `position` on, none beyond the ring's end, noted from `given` on with the first
 * eight bytes of their headers. Returns how many. `room` is the longest frame that fits an mbuf.
 */
export function lookPlain(queue: usize, position: u32, count: u32, given: u32, room: u32): u32 {
  const device: usize = load<u32>(queue, QUEUE_DEVICE);
  const index = positionIndex(position);
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const plain = availState(positionWrap(position));
  const first = table + index * PACKED_DESC_SIZE;
  const end = first + min(count, load<u32>(queue, QUEUE_VQ_SIZE) - index) * PACKED_DESC_SIZE;
  touchRing(queue, first, end);
  let desc = lookIn(queue, device + DEVICE_REGIONS, first, end, noteAt(queue, given), plain, room);
  let from: usize = 0;
  while (desc < end && desc != from) {
    from = desc;
    const region = regionOf(device, desc, plain);
    const note = noteAt(queue, given + <u32>(from - first) / PACKED_DESC_SIZE);
    if (region != 0) desc = lookIn(queue, region, from, end, note, plain, room);
  }
  return <u32>(desc - first) / PACKED_DESC_SIZE;
}

/** The run of packets in [desc, end) that are plain and lie in one region: where it ends. */
function lookIn(queue: usize, region: usize, desc: usize, end: usize, note: usize, plain: u32, room: u32): usize {
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  const least = load<u32>(queue, QUEUE_HDR_LEN) + ETHER_HDR_LEN;
  const spread = room - ETHER_HDR_LEN;
  const regionSize = load<u64>(region, REGION_LENGTH);
  const guest = load<u64>(region, REGION_GUEST);
  const linear: usize = load<u32>(region, REGION_LINEAR);
  let index = <u64>((desc - <usize>load<u32>(queue, QUEUE_DESC)) / PACKED_DESC_SIZE) << 48;
  let seen: u32 = 0;
  while (desc < end) {
    const tail = atomic.load<u64>(desc, PACKED_TAIL);
    const length = packedLen(tail);
    if ((packedFlags(tail) & (PACKED_F_STATE | PACKED_F_SHAPE)) != plain) break;
    const offset = load<u64>(desc) - guest;
    if (length - least > spread || (<u32>(tail >> 32) & 0xffff) >= size) break;
    if (offset >= regionSize || <u64>length > regionSize - offset) break;
    const host = linear + <usize>offset;
    seen |= <u32>load<u8>(host + min(length - 1, NEXT_LINE));
    store<u64>(note, (tail & ID_AND_LENGTH) | index);
    store<u64>(note, load<u64>(host), NOTE_HEADER);
    store<u32>(note, <u32>host, NOTE_HOST);
    desc += PACKED_DESC_SIZE;
    note += NOTE_SIZE;
    index += INDEX_STEP;
  }
  store<u32>(queue, seen, QUEUE_TOUCHED); // so that no compiler leaves the look at the next line out
  return desc;
}

/**
 * Host → guest: finds up to `count` plain buffers from `position` on, none beyond the ring's end, for the packets of `burst`; notes
 * them from `given` on, and writes plain headers. Returns how many.
 */
export function findPlain(queue: usize, position: u32, count: u32, given: u32, burst: usize): u32 {
  const device: usize = load<u32>(queue, QUEUE_DEVICE);
  const index = positionIndex(position);
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const plain = availState(positionWrap(position)) | PACKED_F_WRITE;
  const first = table + index * PACKED_DESC_SIZE;
  const end = first + min(count, load<u32>(queue, QUEUE_VQ_SIZE) - index) * PACKED_DESC_SIZE;
  touchRing(queue, first, end);
  let desc = findIn(queue, device + DEVICE_REGIONS, first, end, noteAt(queue, given), plain, burst);
  let from: usize = 0;
  while (desc < end && desc != from) {
    from = desc;
    const region = regionOf(device, desc, plain);
    const done = <u32>(from - first) / PACKED_DESC_SIZE;
    if (region != 0) desc = findIn(queue, region, from, end, noteAt(queue, given + done), plain, burst + (done << 2));
  }
  return <u32>(desc - first) / PACKED_DESC_SIZE;
}

/** The run of buffers in [desc, end) that are plain, lie in one region, and take their packet as it is: where it ends. */
function findIn(queue: usize, region: usize, desc: usize, end: usize, note: usize, plain: u32, burst: usize): usize {
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  const hdrLen = load<u32>(queue, QUEUE_HDR_LEN);
  const regionSize = load<u64>(region, REGION_LENGTH);
  const guest = load<u64>(region, REGION_GUEST);
  const linear: usize = load<u32>(region, REGION_LINEAR);
  let index = <u64>((desc - <usize>load<u32>(queue, QUEUE_DESC)) / PACKED_DESC_SIZE) << 48;
  while (desc < end) {
    const tail = atomic.load<u64>(desc, PACKED_TAIL);
    if ((packedFlags(tail) & (PACKED_F_STATE | PACKED_F_SHAPE)) != plain) break;
    const mbuf: usize = load<u32>(burst);
    const frameLen = load<u32>(mbuf, MBUF_PKT_LEN);
    const offset = load<u64>(desc) - guest;
    const length = packedLen(tail);
    if (load<u16>(mbuf, MBUF_NB_SEGS) != 1 || frameLen + hdrLen > length || (<u32>(tail >> 32) & 0xffff) >= size) break;
    if (offset >= regionSize || <u64>length > regionSize - offset) break;
    if (hasOffload(mbuf) && !fits(queue, mbuf)) break;
    const host = linear + <usize>offset;
    writeNetHeader(host, hdrLen);
    store<u64>(note, (tail & ID) | index | <u64>(frameLen + hdrLen));
    store<u32>(note, <u32>host, NOTE_HOST);
    burst += 4;
    desc += PACKED_DESC_SIZE;
    note += NOTE_SIZE;
    index += INDEX_STEP;
  }
  return desc;
}

/** Where a guest has several regions: the one that holds the plain buffer at `desc`; 0 if none does, or it is not plain. */
function regionOf(device: usize, desc: usize, plain: u32): usize {
  const tail = atomic.load<u64>(desc, PACKED_TAIL);
  if ((packedFlags(tail) & (PACKED_F_STATE | PACKED_F_SHAPE)) != plain) return 0;
  return otherRegion(device, load<u64>(desc), packedLen(tail));
}

/** Asks for all cache lines of the descriptors in [first, end) at once. */
// @ts-ignore: decorator
@inline
function touchRing(queue: usize, first: usize, end: usize): void {
  let seen: u32 = 0;
  for (let line = first; line < end; line += LINE_SIZE) seen |= load<u32>(line);
  store<u32>(queue, seen, QUEUE_TOUCHED);
}
