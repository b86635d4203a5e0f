import { type Libc, syscallError } from './libc.js';
import type { Os } from './types.js';

// Values of asm-generic, the same on x86-64 and arm64
const PROT_NONE = 0;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MADV_HUGEPAGE = 14;
const MADV_POPULATE_WRITE = 23;
const MADV_COLLAPSE = 25;
const HUGE_PAGE_SIZE = 0x20_0000;

type MappingFunctions = Pick<Os, 'addressOf' | 'mapShared' | 'mapNone' | 'mapZero' | 'useHugePages'>;

/** The part of Os that changes what lies behind addresses. */
export function mappingFunctions(libc: Libc): MappingFunctions {
  const map = (address: bigint, length: number, protection: number, flags: number, fd: number, offset: number) => {
    // -1 is MAP_FAILED; any other answer is `address`, because of MAP_FIXED
    if (Number(libc.mmap(address, length, protection, flags | MAP_FIXED, fd, offset)) === -1) {
      throw syscallError(
        libc,
        'mmap',
        `${length} bytes at 0x${address.toString(16)}, descriptor ${fd}, offset ${offset}`,
      );
    }
  };
  return {
    addressOf: (bytes) => libc.addressOf(bytes),
    mapShared(address, lengthBytes, fd, offset) {
      map(address, lengthBytes, PROT_READ_WRITE, MAP_SHARED, fd, offset);
    },
    mapNone(address, lengthBytes) {
      map(address, lengthBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    },
    mapZero(address, lengthBytes) {
      map(address, lengthBytes, PROT_READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    },
    useHugePages(address, lengthBytes) {
      const huge = BigInt(HUGE_PAGE_SIZE);
      const start = ((address + huge - 1n) / huge) * huge;
      const end = ((address + BigInt(lengthBytes)) / huge) * huge;
      if (end <= start) return false;
      const length = Number(end - start);
      // MADV_COLLAPSE works whatever /sys/kernel/mm/transparent_hugepage says; without MADV_HUGEPAGE the collapsed pages
      // would still be mapped as small ones. Each may be unknown to an older kernel
      return (
        libc.madvise(start, length, MADV_HUGEPAGE) === 0 &&
        libc.madvise(start, length, MADV_POPULATE_WRITE) === 0 &&
        libc.madvise(start, length, MADV_COLLAPSE) === 0
      );
    },
  };
}
