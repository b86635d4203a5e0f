/**
 * What the two virtqueue layouts of virtio 1.2 say about a ring's numbers: sizes, alignments, lengths of its three areas
 * (sections 2.7 and 2.8), and how SET_VRING_BASE and GET_VRING_BASE write a place in it.
 *
 *   area    split                     packed
 *   desc    descriptor table          descriptor ring
 *   avail   available ring            driver event suppression
 *   used    used ring                 device event suppression
 */
import type { VringConfig } from './device.js';
import { VhostProtocolError } from './errors.js';

export const VRING_AREAS = ['desc', 'avail', 'used'] as const;
export type VringArea = (typeof VRING_AREAS)[number];

/** Largest virtqueue of either layout. */
const MAX_VRING_SIZE = 32768;
const WRAP = 0x8000;

const SPLIT_ALIGNMENT: Readonly<Record<VringArea, number>> = { desc: 16, avail: 2, used: 4 };
const PACKED_ALIGNMENT: Readonly<Record<VringArea, number>> = { desc: 16, avail: 4, used: 4 };

/** Bytes that each area must be aligned to. */
export function areaAlignment(packed: boolean): Readonly<Record<VringArea, number>> {
  return packed ? PACKED_ALIGNMENT : SPLIT_ALIGNMENT;
}

/** Bytes of each area. `eventIdx`: VIRTIO_RING_F_EVENT_IDX, one more field at the end of both split rings. */
export function areaBytes(size: number, packed: boolean, eventIdx: boolean): Readonly<Record<VringArea, number>> {
  if (packed) return { desc: 16 * size, avail: 4, used: 4 };
  const event = eventIdx ? 2 : 0;
  return { desc: 16 * size, avail: 4 + 2 * size + event, used: 4 + 8 * size + event };
}

/** Throws unless a ring may have this many entries (F6): a split ring a power of two, a packed one any number. */
export function checkVringSize(request: string, size: number, packed: boolean): void {
  if (packed) {
    if (size > 0 && size <= MAX_VRING_SIZE) return;
    throw new VhostProtocolError(request, 'num', `${size} is not from 1 to ${MAX_VRING_SIZE}`);
  }
  if (size > 0 && size <= MAX_VRING_SIZE && (size & (size - 1)) === 0) return;
  throw new VhostProtocolError(request, 'num', `${size} is not a power of two from 1 to ${MAX_VRING_SIZE}`);
}

/** Throws for an area that is not aligned as the layout has it (F7). */
export function checkVringAlignment(request: string, addresses: Pick<VringConfig, VringArea>, packed: boolean): void {
  const alignment = areaAlignment(packed);
  for (const area of VRING_AREAS) {
    if (addresses[area] % BigInt(alignment[area]) === 0n) continue;
    const where = `0x${addresses[area].toString(16)}`;
    throw new VhostProtocolError(request, area, `${where} is not aligned to ${alignment[area]} bytes`);
  }
}

/** SET_VRING_BASE's number of a ring that nobody has used yet. Both wrap counters of a packed ring begin at 1. */
export function freshVringBase(packed: boolean): number {
  return packed ? encodeVringBase(WRAP, true) : 0;
}

/**
 * Where the ring goes on, 16 bits: the next available entry of a split ring; index and wrap counter (bit 15) of a packed one.
 * SET_VRING_BASE of a packed ring carries the available position in its low half and the used one in its high half. They
 * differ where the back end before this one held descriptors back; those between are taken once more, as on a split ring, and
 * so the used one counts. DPDK's front end fills the low half only: then that one is both.
 *
 * Throws for a place that is not in the ring: the data plane would read beyond it.
 */
export function decodeVringBase(request: string, base: number, size: number, packed: boolean): number {
  if (!packed) {
    if (base <= 0xffff) return base;
    throw new VhostProtocolError(request, 'num', `${base} has more than 16 bits`);
  }
  for (const position of [base & 0xffff, base >>> 16]) {
    if ((position & ~WRAP) < size) continue;
    throw new VhostProtocolError(request, 'num', `0x${base.toString(16)}: entry ${position & ~WRAP} of ${size}`);
  }
  return base >>> 16 === 0 ? base : base >>> 16;
}

/** GET_VRING_BASE's answer for a ring in which nothing is held back: the one position says both of a packed ring. */
export function encodeVringBase(position: number, packed: boolean): number {
  return packed ? (position | (position << 16)) >>> 0 : position;
}
