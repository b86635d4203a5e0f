import { VhostProtocolError } from './errors.js';
import type { MemoryRegion } from './messages.js';

/** Smallest page: a region that does not begin on one in its file cannot be mapped. */
const PAGE_BYTES = 4096n;
/** Addresses are 64 bits; a range may end at 2^64 but not beyond. */
const ADDRESS_END = 1n << 64n;
/** File offsets are signed 64 bits in every system call. */
const FILE_END = 1n << 63n;

/** `region 2` or `region`, for messages. */
const label = (position: number): string => (position < 0 ? 'region' : `region ${position}`);

/**
 * What a region's numbers alone can tell (F1): size 0, ranges that wrap, an offset that cannot be mapped. The file's length is
 * the device's to check.
 */
export function checkRegion(request: string, region: MemoryRegion, position = -1): void {
  const fail = (field: string, detail: string): never => {
    throw new VhostProtocolError(request, `${label(position)} ${field}`, detail);
  };
  if (region.size === 0n) fail('size', 'is 0');
  if (region.guestAddress + region.size > ADDRESS_END) fail('guest address', 'plus size wraps around');
  if (region.userAddress + region.size > ADDRESS_END) fail('user address', 'plus size wraps around');
  if (region.mmapOffset + region.size > FILE_END) fail('mmap offset', 'plus size is beyond any file');
  if (region.mmapOffset % PAGE_BYTES !== 0n) fail('mmap offset', `${region.mmapOffset} is not a multiple of 4096`);
}

const overlap = (a: bigint, aSize: bigint, b: bigint, bSize: bigint): boolean => a < b + bSize && b < a + aSize;

/**
 * No two regions may share a guest or a user address (F2): an address would mean two places. `others` are regions in use.
 */
export function checkOverlap(
  request: string,
  region: MemoryRegion,
  others: readonly MemoryRegion[],
  position = -1,
): void {
  for (const other of others) {
    if (overlap(region.guestAddress, region.size, other.guestAddress, other.size)) {
      throw new VhostProtocolError(
        request,
        `${label(position)} guest address`,
        `0x${region.guestAddress.toString(16)} overlaps another region`,
      );
    }
    if (overlap(region.userAddress, region.size, other.userAddress, other.size)) {
      throw new VhostProtocolError(
        request,
        `${label(position)} user address`,
        `0x${region.userAddress.toString(16)} overlaps another region`,
      );
    }
  }
}

export const sameRegion = (a: MemoryRegion, b: MemoryRegion): boolean =>
  a.guestAddress === b.guestAddress && a.userAddress === b.userAddress && a.size === b.size;
