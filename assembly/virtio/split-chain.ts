/**
 * Device side, guest → host, every shape but the single buffer: chains, indirect tables, frames that need several mbufs.
 * A chain is walked once, and copied as it is walked: no descriptor is read twice, and the walk ends after as many
 * descriptors as its table holds, whatever the guest links to what.
 */
import {
  DROP_ADDRESS,
  DROP_CHAIN,
  DROP_DIRECTION,
  DROP_FEATURE,
  DROP_HEADER,
  DROP_INDEX,
  DROP_INDIRECT,
  DROP_NO_MBUF,
  DROP_RUNT,
  DROP_TOO_LONG,
  ETHER_HDR_LEN,
  MAX_FRAME_LEN,
  MAX_SEGMENTS,
  MBUF_DATA_LEN,
  MBUF_DATA_OFF,
  MBUF_HEADROOM,
  MBUF_NB_SEGS,
  MBUF_NEXT,
  MBUF_OL_FLAGS,
  MBUF_PKT_LEN,
  MBUF_SIZE,
  QUEUE_DESC,
  QUEUE_DEVICE,
  QUEUE_HDR_LEN,
  QUEUE_POOL,
  QUEUE_VQ_FLAGS,
  QUEUE_VQ_SIZE,
  VQ_INDIRECT,
} from '../layout';
import { copyFrame } from '../mem/copy';
import { mbufAlloc, mbufFree } from '../mem/mbuf';
import { translate } from '../mem/region';
import { countDrop } from '../stats';
import {
  DESC_F_INDIRECT,
  DESC_F_NEXT,
  DESC_F_WRITE,
  DESC_SIZE,
  descAt,
  descTail,
  tailFlags,
  tailLen,
  tailNext,
} from './split';

/**
 * Copies the chain that begins with the descriptor (`address`, `tail`) into `mbuf` and as many more as it needs.
 * Returns the frame's length, or 0 when it was dropped: then `mbuf` is a single empty mbuf again.
 */
export function dequeueChain(lcoreId: u32, queue: usize, mbuf: usize, address: u64, tail: u64, room: u32): u32 {
  const device: usize = load<u32>(queue, QUEUE_DEVICE);
  let table: usize = load<u32>(queue, QUEUE_DESC);
  let tableSize = load<u32>(queue, QUEUE_VQ_SIZE);
  let walked: u32 = 1;

  if (tailFlags(tail) & DESC_F_INDIRECT) {
    const tableBytes = tailLen(tail);
    if ((load<u32>(queue, QUEUE_VQ_FLAGS) & VQ_INDIRECT) == 0) return drop(lcoreId, queue, mbuf, DROP_FEATURE);
    if (tailFlags(tail) & (DESC_F_NEXT | DESC_F_WRITE)) return drop(lcoreId, queue, mbuf, DROP_INDIRECT);
    if (tableBytes == 0 || tableBytes % DESC_SIZE != 0 || tableBytes / DESC_SIZE > tableSize) {
      return drop(lcoreId, queue, mbuf, DROP_INDIRECT);
    }
    table = translate(device, address, tableBytes);
    if (table == 0) return drop(lcoreId, queue, mbuf, DROP_INDIRECT);
    tableSize = tableBytes / DESC_SIZE;
    address = load<u64>(table);
    tail = descTail(table);
  }

  let headerLeft = load<u32>(queue, QUEUE_HDR_LEN);
  let headerSeen: u32 = 0;
  let frameLen: u32 = 0;
  let segment = mbuf;
  let segmentLen: u32 = 0;
  let segments: u32 = 1;
  store<u32>(mbuf, 0, MBUF_DATA_LEN);
  store<u32>(mbuf, 0, MBUF_PKT_LEN);

  while (true) {
    const flags = tailFlags(tail);
    let length = tailLen(tail);
    if (flags & DESC_F_INDIRECT) return drop(lcoreId, queue, mbuf, DROP_INDIRECT); // nested, or after a plain descriptor
    if (flags & DESC_F_WRITE) return drop(lcoreId, queue, mbuf, DROP_DIRECTION);
    if (length != 0) {
      let from = translate(device, address, length);
      if (from == 0) return drop(lcoreId, queue, mbuf, DROP_ADDRESS);

      if (headerLeft != 0) {
        // flags and gso_type are the header's first two bytes, and may stand in different descriptors
        const here = min(length, headerLeft);
        if (headerSeen < 2) {
          let asked = <u32>load<u8>(from);
          if (headerSeen == 0 && here > 1) asked |= <u32>load<u8>(from, 1);
          if (asked != 0) return drop(lcoreId, queue, mbuf, DROP_FEATURE);
        }
        headerSeen += here;
        headerLeft -= here;
        from += here;
        length -= here;
      }

      if (length > MAX_FRAME_LEN - frameLen) return drop(lcoreId, queue, mbuf, DROP_TOO_LONG);
      frameLen += length;
      while (length != 0) {
        if (segmentLen == room) {
          if (segments == MAX_SEGMENTS) return drop(lcoreId, queue, mbuf, DROP_TOO_LONG);
          const more = mbufAlloc(load<u32>(queue, QUEUE_POOL), lcoreId);
          if (more == 0) return drop(lcoreId, queue, mbuf, DROP_NO_MBUF);
          store<u32>(segment, <u32>more, MBUF_NEXT);
          store<u32>(more, MBUF_HEADROOM, MBUF_DATA_OFF);
          store<u32>(more, 0, MBUF_OL_FLAGS);
          store<u16>(mbuf, <u16>++segments, MBUF_NB_SEGS);
          segment = more;
          segmentLen = 0;
        }
        const part = min(length, room - segmentLen);
        copyFrame(segment + MBUF_SIZE + MBUF_HEADROOM + segmentLen, from, part);
        segmentLen += part;
        store<u32>(segment, segmentLen, MBUF_DATA_LEN);
        from += part;
        length -= part;
      }
    }

    if ((flags & DESC_F_NEXT) == 0) break;
    const next = tailNext(tail);
    if (next >= tableSize) return drop(lcoreId, queue, mbuf, DROP_INDEX);
    if (++walked > tableSize) return drop(lcoreId, queue, mbuf, DROP_CHAIN);
    const desc = descAt(table, next);
    address = load<u64>(desc);
    tail = descTail(desc);
  }

  if (headerLeft != 0 || frameLen == 0) return drop(lcoreId, queue, mbuf, DROP_HEADER);
  // The first segment holds the Ethernet header whole: it is filled before a second one begins.
  if (frameLen < ETHER_HDR_LEN) return drop(lcoreId, queue, mbuf, DROP_RUNT);
  store<u32>(mbuf, frameLen, MBUF_PKT_LEN);
  return frameLen;
}

/** Counts the drop and gives the further segments back; the first mbuf stays with the caller, as new. */
function drop(lcoreId: u32, queue: usize, mbuf: usize, cause: u32): u32 {
  countDrop(queue, cause);
  const rest: usize = load<u32>(mbuf, MBUF_NEXT);
  if (rest != 0) {
    store<u32>(mbuf, 0, MBUF_NEXT);
    store<u16>(mbuf, 1, MBUF_NB_SEGS);
    mbufFree(rest, lcoreId);
  }
  return 0;
}
