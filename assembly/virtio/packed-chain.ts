/**
 * Device side of a packed ring, guest → host, every shape but the single buffer. The chain is walked to its end even when
 * the packet is dropped early: only its end tells how many descriptors to skip, and which id to return.
 */
import {
  DROP_ADDRESS,
  DROP_CHAIN,
  DROP_DIRECTION,
  DROP_FEATURE,
  DROP_INDIRECT,
  QUEUE_DESC,
  QUEUE_DEVICE,
  QUEUE_MAX_TABLE,
  QUEUE_VQ_SIZE,
} from '../layout';
import { translate } from '../mem/region';
import { walkStep } from './walk';
import { GATHERED, gatherBegin, gatherDrop, gatherEnd, gatherPiece } from './gather';
import {
  PACKED_DESC_SIZE,
  PACKED_F_INDIRECT,
  PACKED_F_NEXT,
  PACKED_F_WRITE,
  PACKED_TAIL,
  packedFlags,
  packedId,
  packedLen,
} from './packed';

/** packedDequeueChain's answer for a chain without an end: stop the queue. */
export const ENDLESS: u64 = 0xffff_ffff_ffff_ffff;

/**
 * Copies the chain that begins at `index` with (`address`, `tail`) into `mbuf` and as many more as it needs. `limit`: descriptors
 * that it may have, what is left of the lap. Returns the frame's length (0 = dropped and counted) in bits 0-31, the chain's buffer
 * id in 32-47, its descriptors in 48-63.
 */
export function packedDequeueChain(
  lcoreId: u32,
  queue: usize,
  mbuf: usize,
  index: u32,
  address: u64,
  tail: u64,
  room: u32,
  limit: u32,
): u64 {
  const device: usize = load<u32>(queue, QUEUE_DEVICE);
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  let fault = GATHERED;
  let walked: u32 = 1;
  gatherBegin(queue, mbuf);
  while (true) {
    walkStep(queue);
    const flags = packedFlags(tail);
    const length = packedLen(tail);
    if (fault == GATHERED) {
      if (flags & PACKED_F_INDIRECT) {
        // Section 2.8.7: an indirect descriptor stands alone.
        fault =
          walked != 1 || flags & PACKED_F_NEXT
            ? DROP_INDIRECT
            : gatherTable(lcoreId, queue, mbuf, room, address, length);
      } else if (flags & PACKED_F_WRITE) fault = DROP_DIRECTION;
      else if (length != 0) {
        const from = translate(device, address, length);
        fault = from == 0 ? DROP_ADDRESS : gatherPiece(lcoreId, queue, mbuf, room, from, length);
      }
    }
    if ((flags & PACKED_F_NEXT) == 0) break;
    if (++walked > limit) {
      gatherDrop(lcoreId, queue, mbuf, DROP_CHAIN);
      return ENDLESS;
    }
    if (++index == size) index = 0;
    const desc = table + index * PACKED_DESC_SIZE;
    tail = load<u64>(desc, PACKED_TAIL);
    address = load<u64>(desc);
  }
  const frameLen = fault == GATHERED ? gatherEnd(lcoreId, queue, mbuf) : gatherDrop(lcoreId, queue, mbuf, fault);
  return (<u64>((walked << 16) | packedId(tail)) << 32) | <u64>frameLen;
}

/** All of an indirect table: its entries are consecutive, their NEXT flags mean nothing (section 2.8.7). */
function gatherTable(lcoreId: u32, queue: usize, mbuf: usize, room: u32, address: u64, tableBytes: u32): u32 {
  const device: usize = load<u32>(queue, QUEUE_DEVICE);
  const maxTable = load<u32>(queue, QUEUE_MAX_TABLE);
  if (tableBytes == 0 || tableBytes % PACKED_DESC_SIZE != 0 || tableBytes / PACKED_DESC_SIZE > maxTable) {
    return maxTable == 0 ? DROP_FEATURE : DROP_INDIRECT;
  }
  const table = translate(device, address, tableBytes);
  if (table == 0) return DROP_INDIRECT;
  for (let desc = table; desc < table + tableBytes; desc += PACKED_DESC_SIZE) {
    walkStep(queue);
    const tail = load<u64>(desc, PACKED_TAIL);
    const length = packedLen(tail);
    if (packedFlags(tail) & PACKED_F_INDIRECT) return DROP_INDIRECT;
    if (packedFlags(tail) & PACKED_F_WRITE) return DROP_DIRECTION;
    if (length == 0) continue;
    const from = translate(device, load<u64>(desc), length);
    if (from == 0) return DROP_ADDRESS;
    const fault = gatherPiece(lcoreId, queue, mbuf, room, from, length);
    if (fault != GATHERED) return fault;
  }
  return GATHERED;
}
