import type { Os } from '../../src/os/types.js';

/** A stretch of guest-physical memory, and where it lies in the guest's file. */
export interface GuestRegion {
  readonly guestAddress: number;
  readonly lengthBytes: number;
  /** Where the front end says that it has the region mapped: what SET_VRING_ADDR speaks of. */
  readonly userAddress: number;
  readonly fileOffset: number;
}

/** What a ring needs of the memory that it lies in; offsets index the views. */
export interface RingMemory {
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  allocate(lengthBytes: number, align?: number): number;
  guestAddress(offset: number): number;
  writeU64(offset: number, value: number | bigint): void;
}

const MIB = 1 << 20;
const PAGE_BYTES = 65536;
const USER_BASE = 0x7f12_0000_0000;

/**
 * The test guest's memory: a memfd, mapped over a WebAssembly.Memory of its own so that JavaScript sees the very pages
 * that the back end maps. Offsets count from the file's start; guest-physical addresses are given by the regions.
 */
export class GuestMemory implements RingMemory {
  readonly fd: number;
  readonly lengthBytes: number;
  readonly regions: readonly GuestRegion[];
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly #os: Os;
  #next = 0;

  /** `regions` lie one after another in the file; the default is one below and one above 4 GiB, as a PC has them. */
  constructor(
    os: Os,
    regions: readonly { readonly guestAddress: number; readonly lengthBytes: number }[] = [
      { guestAddress: 0, lengthBytes: 2 * MIB },
      { guestAddress: 0x1_0000_0000, lengthBytes: 14 * MIB },
    ],
  ) {
    let fileOffset = 0;
    this.regions = regions.map(({ guestAddress, lengthBytes }, index) => {
      // A hole between any two in the user's address space too: nothing may depend on their lying side by side.
      const userAddress = USER_BASE + fileOffset + index * 0x1000_0000;
      const region = { guestAddress, lengthBytes, userAddress, fileOffset };
      fileOffset += lengthBytes;
      return region;
    });
    this.lengthBytes = fileOffset;
    this.#os = os;
    const pages = Math.ceil(fileOffset / PAGE_BYTES);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    this.u8 = new Uint8Array(memory.buffer, 0, fileOffset);
    this.u16 = new Uint16Array(memory.buffer, 0, fileOffset >>> 1);
    this.u32 = new Uint32Array(memory.buffer, 0, fileOffset >>> 2);
    this.fd = os.memfdCreate('viaduct-test-guest', fileOffset);
    os.mapShared(os.addressOf(this.u8), fileOffset, this.fd, 0);
  }

  /** Takes `lengthBytes` of the file for good and returns their offset; they never cross a region's end. */
  allocate(lengthBytes: number, align = 64): number {
    for (;;) {
      const offset = Math.ceil(this.#next / align) * align;
      const region = this.#regionAt(offset);
      if (offset + lengthBytes <= region.fileOffset + region.lengthBytes) {
        this.#next = offset + lengthBytes;
        return offset;
      }
      this.#next = region.fileOffset + region.lengthBytes;
    }
  }

  guestAddress(offset: number): number {
    const region = this.#regionAt(offset);
    return region.guestAddress + (offset - region.fileOffset);
  }

  userAddress(offset: number): number {
    const region = this.#regionAt(offset);
    return region.userAddress + (offset - region.fileOffset);
  }

  /** File offset of a guest-physical address. */
  offsetOf(guestAddress: number): number {
    const region = this.regions.find(
      (one) => guestAddress >= one.guestAddress && guestAddress < one.guestAddress + one.lengthBytes,
    );
    if (region === undefined) throw new RangeError(`guest address 0x${guestAddress.toString(16)} is in no region`);
    return region.fileOffset + (guestAddress - region.guestAddress);
  }

  /** Numbers for addresses that exist, bigint for any other. */
  writeU64(offset: number, value: number | bigint): void {
    const big = typeof value === 'bigint';
    this.u32[offset >>> 2] = big ? Number(value & 0xffff_ffffn) : value >>> 0;
    this.u32[(offset >>> 2) + 1] = big ? Number(value >> 32n) : Math.floor(value / 0x1_0000_0000);
  }

  /** Closes the file. The mapping goes with the WebAssembly.Memory. */
  close(): void {
    this.#os.close(this.fd);
  }

  #regionAt(offset: number): GuestRegion {
    const region = this.regions.find((one) => offset >= one.fileOffset && offset < one.fileOffset + one.lengthBytes);
    if (region === undefined) throw new RangeError(`the guest's ${this.lengthBytes} bytes of memory are used up`);
    return region;
  }
}
