/**
 * The plain case on a split ring, device side: a packet in one descriptor. As on a packed ring (packed-plain.ts) a burst's
 * descriptors are read in one short loop without calls, and its frames copied in a second one.
 */
import {
  DEVICE_REGIONS,
  ETHER_HDR_LEN,
  MBUF_NB_SEGS,
  MBUF_PKT_LEN,
  NOTE_SIZE,
  QUEUE_AVAIL,
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
import { NEXT_LINE, NOTE_HEADER, NOTE_HEAD, NOTE_HOST, NOTE_LENGTH, noteAt } from './note';
import { AVAIL_ENTRY_SIZE, DESC_F_WRITE, descAt, descTail, RING_ENTRIES, tailFlags, tailLen } from './split';

/**
 * Guest → host: up to `count` plain packets from available entry `index` on, none beyond the ring's end, noted from `given` on
 * with the first eight bytes of their headers. Returns how many. `room` is the longest frame that fits an mbuf.
 */
export function lookSplit(queue: usize, index: u32, count: u32, given: u32, room: u32): u32 {
  const device: usize = load<u32>(queue, QUEUE_DEVICE);
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  const slot = index & (size - 1);
  const first = <usize>load<u32>(queue, QUEUE_AVAIL) + RING_ENTRIES + slot * AVAIL_ENTRY_SIZE;
  const end = first + min(count, size - slot) * AVAIL_ENTRY_SIZE;
  let entry = lookIn(queue, device + DEVICE_REGIONS, first, end, noteAt(queue, given), room);
  let from: usize = 0;
  while (entry < end && entry != from) {
    from = entry;
    const region = regionOf(queue, entry, 0);
    const done = <u32>(from - first) / AVAIL_ENTRY_SIZE;
    if (region != 0) entry = lookIn(queue, region, from, end, noteAt(queue, given + done), room);
  }
  return <u32>(entry - first) / AVAIL_ENTRY_SIZE;
}

/** The run of available entries in [entry, end) whose packets are plain and lie in one region: where it ends. */
function lookIn(queue: usize, region: usize, entry: usize, end: usize, note: usize, room: u32): usize {
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  const least = load<u32>(queue, QUEUE_HDR_LEN) + ETHER_HDR_LEN;
  const spread = room - ETHER_HDR_LEN;
  const regionSize = load<u64>(region, REGION_LENGTH);
  const guest = load<u64>(region, REGION_GUEST);
  const linear: usize = load<u32>(region, REGION_LINEAR);
  let seen: u32 = 0;
  while (entry < end) {
    const head = <u32>load<u16>(entry);
    if (head >= size) break;
    const desc = descAt(table, head);
    const tail = descTail(desc);
    const length = tailLen(tail);
    const offset = load<u64>(desc) - guest;
    if (tailFlags(tail) != 0 || length - least > spread) break;
    if (offset >= regionSize || <u64>length > regionSize - offset) break;
    const host = linear + <usize>offset;
    seen |= <u32>load<u8>(host + min(length - 1, NEXT_LINE));
    store<u32>(note, length, NOTE_LENGTH);
    store<u32>(note, head, NOTE_HEAD);
    store<u64>(note, load<u64>(host), NOTE_HEADER);
    store<u32>(note, <u32>host, NOTE_HOST);
    entry += AVAIL_ENTRY_SIZE;
    note += NOTE_SIZE;
  }
  store<u32>(queue, seen, QUEUE_TOUCHED); // so that no compiler leaves the look at the next line out
  return entry;
}

/**
 * Host → guest: finds up to `count` plain buffers from available entry `index` on, none beyond the ring's end, for the packets of
 * `burst`; notes them from `given` on, and writes plain headers. Returns how many.
 */
export function findSplit(queue: usize, index: u32, count: u32, given: u32, burst: usize): u32 {
  const device: usize = load<u32>(queue, QUEUE_DEVICE);
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  const slot = index & (size - 1);
  const first = <usize>load<u32>(queue, QUEUE_AVAIL) + RING_ENTRIES + slot * AVAIL_ENTRY_SIZE;
  const end = first + min(count, size - slot) * AVAIL_ENTRY_SIZE;
  let entry = findIn(queue, device + DEVICE_REGIONS, first, end, noteAt(queue, given), burst);
  let from: usize = 0;
  while (entry < end && entry != from) {
    from = entry;
    const region = regionOf(queue, entry, DESC_F_WRITE);
    const done = <u32>(from - first) / AVAIL_ENTRY_SIZE;
    if (region != 0) entry = findIn(queue, region, from, end, noteAt(queue, given + done), burst + (done << 2));
  }
  return <u32>(entry - first) / AVAIL_ENTRY_SIZE;
}

/** The run of available entries in [entry, end) whose buffers are plain, lie in one region, and take their packet as it is. */
function findIn(queue: usize, region: usize, entry: usize, end: usize, note: usize, burst: usize): usize {
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  const hdrLen = load<u32>(queue, QUEUE_HDR_LEN);
  const regionSize = load<u64>(region, REGION_LENGTH);
  const guest = load<u64>(region, REGION_GUEST);
  const linear: usize = load<u32>(region, REGION_LINEAR);
  while (entry < end) {
    const head = <u32>load<u16>(entry);
    if (head >= size) break;
    const desc = descAt(table, head);
    const tail = descTail(desc);
    const mbuf: usize = load<u32>(burst);
    const frameLen = load<u32>(mbuf, MBUF_PKT_LEN);
    const offset = load<u64>(desc) - guest;
    const length = tailLen(tail);
    if (tailFlags(tail) != DESC_F_WRITE || load<u16>(mbuf, MBUF_NB_SEGS) != 1 || frameLen + hdrLen > length) break;
    if (offset >= regionSize || <u64>length > regionSize - offset) break;
    if (hasOffload(mbuf) && !fits(queue, mbuf)) break;
    const host = linear + <usize>offset;
    writeNetHeader(host, hdrLen);
    store<u32>(note, frameLen + hdrLen, NOTE_LENGTH);
    store<u32>(note, head, NOTE_HEAD);
    store<u32>(note, <u32>host, NOTE_HOST);
    burst += 4;
    entry += AVAIL_ENTRY_SIZE;
    note += NOTE_SIZE;
  }
  return entry;
}

/** Where a guest has several regions: the one that holds the buffer of the available entry; 0 if none does, or it is not plain. */
function regionOf(queue: usize, entry: usize, plainFlags: u32): usize {
  const head = <u32>load<u16>(entry);
  if (head >= load<u32>(queue, QUEUE_VQ_SIZE)) return 0;
  const desc = descAt(load<u32>(queue, QUEUE_DESC), head);
  const tail = descTail(desc);
  return tailFlags(tail) == plainFlags ? otherRegion(load<u32>(queue, QUEUE_DEVICE), load<u64>(desc), tailLen(tail)) : 0;
}
