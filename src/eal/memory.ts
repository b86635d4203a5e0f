import { EAL_BASE, EAL_HOST_END, EAL_MAGIC, EAL_MAGIC_FIELD } from '../../assembly/layout.js';

/**
 * JavaScript's view of host memory. The views end where the guest windows begin, so no JavaScript can touch a window
 * by accident: an access after an unmap would kill the process instead of trapping.
 *
 * Indexes are byte addresses for `u8`; address >>> 1, >>> 2, >>> 3 for the wider views.
 */
export interface HostMemory {
  readonly buffer: SharedArrayBuffer;
  /** Bytes of host memory: addresses below are readable here, addresses from here on are windows. */
  readonly endAddress: number;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly u64: BigUint64Array;
}

/** Views over [0, endAddress) of the shared memory. */
export function hostMemory(memory: WebAssembly.Memory, endAddress: number): HostMemory {
  const buffer = memory.buffer as unknown as SharedArrayBuffer;
  return {
    buffer,
    endAddress,
    u8: new Uint8Array(buffer, 0, endAddress),
    u16: new Uint16Array(buffer, 0, endAddress >>> 1),
    u32: new Uint32Array(buffer, 0, endAddress >>> 2),
    i32: new Int32Array(buffer, 0, endAddress >>> 2),
    u64: new BigUint64Array(buffer, 0, endAddress >>> 3),
  };
}

/** Writes the EAL header: from now on the memory is in use. */
export function markInitialised(memory: HostMemory): void {
  memory.u32[(EAL_BASE + EAL_HOST_END) >>> 2] = memory.endAddress;
  memory.u32[(EAL_BASE + EAL_MAGIC_FIELD) >>> 2] = EAL_MAGIC;
}

/** A u64 counter as a number: exact up to 2^53, which at 100 Gbit/s is eight days of bytes and centuries of packets. */
export function readCounter(memory: HostMemory, address: number): number {
  return memory.u32[(address >>> 2) + 1]! * 0x1_0000_0000 + memory.u32[address >>> 2]!;
}
