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
  DROP_INDEX,
  DROP_INDIRECT,
  QUEUE_DESC,
  QUEUE_DEVICE,
  QUEUE_MAX_TABLE,
  QUEUE_VQ_SIZE,
} from '../layout';
import { translate } from '../mem/region';
import { GATHERED, gatherBegin, gatherDrop, gatherEnd, gatherPiece } from './gather';
import { walkStep } from './walk';
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
    const maxTable = load<u32>(queue, QUEUE_MAX_TABLE);
    if (
      tailFlags(tail) & DESC_F_NEXT || // WRITE is to be ignored here (section 2.7.5.3.2)
      tableBytes == 0 ||
      tableBytes % DESC_SIZE != 0 ||
      tableBytes / DESC_SIZE > maxTable
    ) {
      return gatherDrop(lcoreId, queue, mbuf, maxTable == 0 ? DROP_FEATURE : DROP_INDIRECT);
    }
    table = translate(device, address, tableBytes);
    if (table == 0) return gatherDrop(lcoreId, queue, mbuf, DROP_INDIRECT);
    tableSize = tableBytes / DESC_SIZE;
    address = load<u64>(table);
    tail = descTail(table);
  }

  gatherBegin(queue, mbuf);
  while (true) {
    walkStep(queue);
    const flags = tailFlags(tail);
    const length = tailLen(tail);
    if (flags & DESC_F_INDIRECT) return gatherDrop(lcoreId, queue, mbuf, DROP_INDIRECT); // nested, or after a plain one
    if (flags & DESC_F_WRITE) return gatherDrop(lcoreId, queue, mbuf, DROP_DIRECTION);
    if (length != 0) {
      const from = translate(device, address, length);
      if (from == 0) return gatherDrop(lcoreId, queue, mbuf, DROP_ADDRESS);
      const fault = gatherPiece(lcoreId, queue, mbuf, room, from, length);
      if (fault != GATHERED) return gatherDrop(lcoreId, queue, mbuf, fault);
    }
    if ((flags & DESC_F_NEXT) == 0) break;
    const next = tailNext(tail);
    if (next >= tableSize) return gatherDrop(lcoreId, queue, mbuf, DROP_INDEX);
    if (++walked > tableSize) return gatherDrop(lcoreId, queue, mbuf, DROP_CHAIN);
    const desc = descAt(table, next);
    address = load<u64>(desc);
    tail = descTail(desc);
  }
  return gatherEnd(lcoreId, queue, mbuf);
}
