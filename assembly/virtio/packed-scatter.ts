/** Device side of a packed ring, host → guest, every shape but the single buffer. */
import {
  QUEUE_DESC,
  QUEUE_DEVICE,
  QUEUE_MAX_CHAINS,
  QUEUE_MAX_TABLE,
  QUEUE_VQ_SIZE,
} from '../layout';
import { translate } from '../mem/region';
import {
  advance,
  availState,
  PACKED_DESC_SIZE,
  PACKED_F_INDIRECT,
  PACKED_F_NEXT,
  PACKED_F_WRITE,
  PACKED_TAIL,
  packedFlags,
  packedId,
  packedLen,
  packedState,
  positionIndex,
  positionWrap,
} from './packed';
import { walkStep } from './walk';
import { noteAt } from './note';
import { noteUsed } from './packed-used';
import { SCATTER_RUNT, scatterBegin, scatterBroken, scatterEnd, scatterLeft, scatterPiece } from './scatter';

/** The packet needs more chains than the guest has posted: nothing is used. */
export const SCATTER_WAIT: u32 = 0xffff_ffff;
/** The packet cannot be delivered: it is dropped, the chain stays. */
export const SCATTER_NO_ROOM: u32 = 0xffff_fffe;
/** A chain without an end; a buffer id that the ring does not have. */
export const SCATTER_ENDLESS: u32 = 0xffff_fffd;
export const SCATTER_ID: u32 = 0xffff_fffc;
/** Flag: the one chain reported breaks a rule; it is to be skipped. */
export const SCATTER_BAD: u32 = 0x8000_0000;

/**
 * Writes the packet into the chain at `position`, which begins with (`address`, `tail`), and into those after it, `limit`
 * descriptors at the most, what is left of the lap. Returns descriptors | chains << 16, noted as used from `given` on; with
 * SCATTER_BAD for a single chain to skip; or one of the answers above.
 */
export function packedScatter(queue: usize, mbuf: usize, position: u32, address: u64, tail: u64, limit: u32, given: u32): u32 {
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  scatterBegin(queue, mbuf);
  let chains: u32 = 0;
  let descs: u32 = 0;
  let firstDescs: u32 = 0;
  while (true) {
    const first = positionIndex(position);
    let index = first;
    let chainDescs: u32 = 1;
    let written: u32 = 0;
    let bad = false;
    while (true) {
      walkStep(queue);
      const flags = packedFlags(tail);
      if (!bad && scatterLeft(queue) != 0) {
        const piece =
          flags & PACKED_F_INDIRECT
            ? scatterTable(queue, address, packedLen(tail), chainDescs == 1 && (flags & PACKED_F_NEXT) == 0)
            : scatterOne(queue, address, packedLen(tail), flags);
        if (piece == SCATTER_RUNT) bad = true;
        else written += piece;
      }
      if ((flags & PACKED_F_NEXT) == 0) break;
      // all chains together: what goes on beyond the lap runs over what was taken already
      if (descs + ++chainDescs > limit) return SCATTER_ENDLESS;
      if (++index == size) index = 0;
      const desc = table + index * PACKED_DESC_SIZE;
      tail = load<u64>(desc, PACKED_TAIL);
      address = load<u64>(desc);
    }
    const id = packedId(tail);
    if (id >= size) return SCATTER_ID;
    if (bad) {
      // Only the packet's first chain is skipped, this one or an earlier one: the packet starts anew behind it.
      if (chains == 0) {
        noteUsed(queue, given, first, id, 0);
        firstDescs = chainDescs;
      } else store<u32>(noteAt(queue, given), 0); // its length
      return SCATTER_BAD | (1 << 16) | firstDescs;
    }
    noteUsed(queue, given + chains, first, id, written);
    if (chains == 0) firstDescs = chainDescs;
    chains++;
    descs += chainDescs;
    if (scatterLeft(queue) == 0) break;
    if (chains >= load<u32>(queue, QUEUE_MAX_CHAINS) || scatterBroken(queue)) return SCATTER_NO_ROOM;
    if (descs >= size) return SCATTER_NO_ROOM; // there will never be more than the whole ring
    if (descs >= limit) return SCATTER_WAIT;
    position = advance(position, chainDescs, size);
    const desc = table + positionIndex(position) * PACKED_DESC_SIZE;
    tail = atomic.load<u64>(desc, PACKED_TAIL);
    if (packedState(tail) != availState(positionWrap(position))) return SCATTER_WAIT;
    address = load<u64>(desc);
  }
  scatterEnd(queue, chains);
  return (chains << 16) | descs;
}

/** One descriptor: bytes written, or SCATTER_RUNT if it breaks a rule. */
function scatterOne(queue: usize, address: u64, length: u32, flags: u32): u32 {
  if ((flags & PACKED_F_WRITE) == 0) return SCATTER_RUNT;
  const to = translate(load<u32>(queue, QUEUE_DEVICE), address, length);
  if (to == 0) return SCATTER_RUNT;
  return scatterPiece(queue, to, length);
}

function scatterTable(queue: usize, address: u64, tableBytes: u32, alone: bool): u32 {
  if (!alone || tableBytes == 0 || tableBytes % PACKED_DESC_SIZE != 0) return SCATTER_RUNT;
  if (tableBytes / PACKED_DESC_SIZE > load<u32>(queue, QUEUE_MAX_TABLE)) return SCATTER_RUNT;
  const table = translate(load<u32>(queue, QUEUE_DEVICE), address, tableBytes);
  if (table == 0) return SCATTER_RUNT;
  let written: u32 = 0;
  for (let desc = table; desc < table + tableBytes && scatterLeft(queue) != 0; desc += PACKED_DESC_SIZE) {
    walkStep(queue);
    const tail = load<u64>(desc, PACKED_TAIL);
    if (packedFlags(tail) & PACKED_F_INDIRECT) return SCATTER_RUNT;
    const piece = scatterOne(queue, load<u64>(desc), packedLen(tail), packedFlags(tail));
    if (piece == SCATTER_RUNT) return SCATTER_RUNT;
    written += piece;
  }
  return written;
}
