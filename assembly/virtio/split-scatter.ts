/**
 * Device side, host → guest, every shape but the single buffer: a frame over several descriptors, indirect tables, several
 * mbuf segments, and several chains with mergeable buffers.
 */
import {
  QUEUE_AVAIL,
  QUEUE_DESC,
  QUEUE_DEVICE,
  QUEUE_LAST_AVAIL,
  QUEUE_MAX_CHAINS,
  QUEUE_MAX_TABLE,
  QUEUE_VQ_SIZE,
  STOP_HEAD,
} from '../layout';
import { translate } from '../mem/region';
import { stopQueue } from '../stats';
import { SCATTER_RUNT, scatterBegin, scatterBroken, scatterEnd, scatterLeft, scatterPiece } from './scatter';
import { walkStep } from './walk';
import {
  AVAIL_ENTRY_SIZE,
  DESC_F_INDIRECT,
  DESC_F_NEXT,
  DESC_F_WRITE,
  DESC_SIZE,
  descAt,
  descTail,
  RING_ENTRIES,
  tailFlags,
  tailLen,
  tailNext,
} from './split';
import { noteChain } from './split-used';

/** The packet needs more chains than the guest has posted: nothing is used, try again later. */
export const NO_BUFFERS: i32 = 0;
/** The chain is too short and buffers do not merge: the packet cannot be delivered and is dropped, the chain stays. */
export const NO_ROOM: i32 = -1;
/** The first chain breaks a rule: skip it. */
export const BAD_BUFFER: i32 = -2;

/**
 * Writes the packet `mbuf` into the chain that begins with (`head`, `address`, `tail`), the `taken`th of `free`, and into
 * those after it. Returns how many chains it filled, their noted from `taken` on; or NO_BUFFERS,
 * NO_ROOM, BAD_BUFFER. Each chain is walked at most as far as its table has entries.
 */
export function enqueueChains(
  queue: usize,
  mbuf: usize,
  head: u32,
  address: u64,
  tail: u64,
  taken: u32,
  free: u32,
): i32 {
  const device: usize = load<u32>(queue, QUEUE_DEVICE);
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  const mask = size - 1;
  const availRing = <usize>load<u32>(queue, QUEUE_AVAIL) + RING_ENTRIES;
  const firstAvail = load<u32>(queue, QUEUE_LAST_AVAIL) + taken;
  scatterBegin(queue, mbuf);
  let chains: u32 = 0;

  while (true) {
    let table: usize = load<u32>(queue, QUEUE_DESC);
    let tableSize = size;
    if (tailFlags(tail) & DESC_F_INDIRECT) {
      const tableBytes = tailLen(tail);
      if (tailFlags(tail) & DESC_F_NEXT) return BAD_BUFFER;
      if (tableBytes == 0 || tableBytes % DESC_SIZE != 0) return BAD_BUFFER;
      if (tableBytes / DESC_SIZE > load<u32>(queue, QUEUE_MAX_TABLE)) return BAD_BUFFER;
      table = translate(device, address, tableBytes);
      if (table == 0) return BAD_BUFFER;
      tableSize = tableBytes / DESC_SIZE;
      address = load<u64>(table);
      tail = descTail(table);
    }

    let written: u32 = 0;
    let walked: u32 = 0;
    while (true) {
      if (++walked > tableSize) return BAD_BUFFER;
      walkStep(queue);
      const flags = tailFlags(tail);
      const length = tailLen(tail);
      if ((flags & (DESC_F_WRITE | DESC_F_INDIRECT)) != DESC_F_WRITE) return BAD_BUFFER;
      const to = translate(device, address, length);
      if (to == 0) return BAD_BUFFER;
      const piece = scatterPiece(queue, to, length);
      if (piece == SCATTER_RUNT) return BAD_BUFFER;
      written += piece;
      if (scatterLeft(queue) == 0 || (flags & DESC_F_NEXT) == 0) break;
      const next = tailNext(tail);
      if (next >= tableSize) return BAD_BUFFER;
      const desc = descAt(table, next);
      address = load<u64>(desc);
      tail = descTail(desc);
    }

    noteChain(queue, taken + chains++, head, written);
    if (scatterLeft(queue) == 0) break;
    if (chains >= load<u32>(queue, QUEUE_MAX_CHAINS) || scatterBroken(queue)) return NO_ROOM;
    if (taken + chains == free) return chains == size ? NO_ROOM : NO_BUFFERS; // there will never be more than the whole ring
    head = <u32>load<u16>(availRing + ((firstAvail + chains) & mask) * AVAIL_ENTRY_SIZE);
    if (head >= size) {
      stopQueue(queue, STOP_HEAD);
      return NO_BUFFERS;
    }
    const desc = descAt(load<u32>(queue, QUEUE_DESC), head); // `table` may be an indirect one
    address = load<u64>(desc);
    tail = descTail(desc);
  }

  scatterEnd(queue, chains);
  return chains;
}
