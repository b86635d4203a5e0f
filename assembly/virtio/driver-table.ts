/**
 * Driver side: a packet of several pieces behind one descriptor, an indirect table (virtio 1.2 sections 2.7.5.3 and 2.8.7), so that
 * it takes one place in the ring whatever it is made of. The table stands in the packet's slot of QUEUE_TX_SLOTS, behind its
 * header.
 */
import {
  MBUF_BUF,
  MBUF_DATA_LEN,
  MBUF_DATA_OFF,
  MBUF_NEXT,
  QUEUE_TX_SLOTS,
  TX_SLOT_SIZE,
  TX_SLOT_TABLE,
} from '../layout';
import { DESC_F_NEXT, DESC_LEN, DESC_SIZE } from './split';

/** The slot of the packet whose head (split) or buffer id (packed) is `id`. */
// @ts-ignore: decorator
@inline
export function txSlotAt(queue: usize, id: u32): usize {
  return <usize>load<u32>(queue, QUEUE_TX_SLOTS) + id * TX_SLOT_SIZE;
}

/**
 * Writes `count` entries: the piece of `length` bytes at `at`, then the mbufs from `segment` on. Split tables are linked, entry by
 * entry; those of a packed ring are read in order, and of their flags only WRITE means something. Returns the table's address.
 */
export function fillTable(slot: usize, at: usize, length: u32, segment: usize, count: u32, linked: bool): usize {
  const table = slot + TX_SLOT_TABLE;
  let desc = table;
  for (let i: u32 = 1; ; i++) {
    const link: u64 = linked && i < count ? ((<u64>i) << 48) | ((<u64>DESC_F_NEXT) << 32) : 0;
    store<u64>(desc, <u64>at);
    store<u64>(desc, link | <u64>length, DESC_LEN);
    if (i == count) break;
    at = <usize>load<u32>(segment, MBUF_BUF) + load<u32>(segment, MBUF_DATA_OFF);
    length = load<u32>(segment, MBUF_DATA_LEN);
    segment = load<u32>(segment, MBUF_NEXT);
    desc += DESC_SIZE;
  }
  return table;
}
