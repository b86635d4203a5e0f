import {
  EAL_BASE,
  EAL_WINDOW_COUNT,
  EAL_WINDOW_LOCK,
  EAL_WINDOW_SLOT_MAX,
  EAL_WINDOW_SLOTS,
  END_GUARD,
  WINDOW_ALIGN,
} from '../../assembly/layout.js';
import { ViaductError } from '../errors.js';
import type { Os } from '../os/types.js';
import type { HostMemory } from './memory.js';
import { size } from './memzone.js';

/** A part of a guest's memory file, mapped into the linear memory. Only Wasm may look inside. */
export interface Window {
  /** Linear address of the byte at `offset` of the file. */
  readonly address: number;
  readonly lengthBytes: number;
  /** False if the file cannot be kept from being shrunk (hugetlbfs, a plain file): that would kill the process. */
  readonly sealed: boolean;
  /** What it occupies in the address space. */
  readonly firstSlot: number;
  readonly slotCount: number;
}

const LOCK_INDEX = (EAL_BASE + EAL_WINDOW_LOCK) >>> 2;
const COUNT_INDEX = (EAL_BASE + EAL_WINDOW_COUNT) >>> 2;
/** A holder works for microseconds: after that long it was terminated. */
const LOCK_TIMEOUT_MS = 1000;

/**
 * Places guest memory into the linear memory above the host end: the address-space manager. Slots of 2 MiB, first fit;
 * their state lives in shared memory, so any thread with an `Os` may make a Windows of its own over the same memory.
 *
 * What is not mapped is PROT_NONE. A plain or v128 access from Wasm traps there; but V8 turns only those into traps: atomic
 * accesses in baseline code, and memory.copy and memory.fill in any, kill the process like an access from JavaScript. So
 * the trap is a net for mistakes, no way to work: the control plane takes the locks of all queues of a guest and closes
 * their gates before it unmaps, and does not unmap when it cannot get a lock.
 */
export class Windows {
  readonly #os: Os;
  readonly #memory: HostMemory;
  /** Host address of linear address 0. */
  readonly #base: bigint;
  readonly #slotCount: number;

  /** @param memory of an Eal that was initialised with an Os: its end, in host addresses, is 2 MiB-aligned */
  constructor(os: Os, memory: HostMemory) {
    this.#os = os;
    this.#memory = memory;
    this.#base = os.addressOf(memory.u8);
    this.#slotCount = Math.min(Math.floor((END_GUARD - memory.endAddress) / WINDOW_ALIGN), EAL_WINDOW_SLOT_MAX);
  }

  /** Windows that are mapped now, by all threads. */
  get count(): number {
    return Atomics.load(this.#memory.u32, COUNT_INDEX);
  }

  /** Bytes that all windows together may have. */
  get capacityBytes(): number {
    return this.#slotCount * WINDOW_ALIGN;
  }

  /** Bytes that no window occupies, and the longest piece of them. */
  free(): { totalBytes: number; largestBytes: number } {
    const slots = this.#slots();
    let [total, largest, run] = [0, 0, 0];
    for (let slot = 0; slot < this.#slotCount; slot++) {
      run = slots[slot] === 0 ? run + 1 : 0;
      total += run > 0 ? 1 : 0;
      largest = Math.max(largest, run);
    }
    return { totalBytes: total * WINDOW_ALIGN, largestBytes: largest * WINDOW_ALIGN };
  }

  /**
   * Maps `lengthBytes` of a file from `offset` on, shared, for reading and writing. Seals the file against shrinking where
   * it can be sealed. The descriptor stays the caller's, and may be closed afterwards.
   *
   * @throws ERR_WINDOW_FULL when it does not fit (the message gives both sizes), ERR_INVALID_ARGUMENT when the range is
   * not inside the file, ERR_SYSCALL when the file cannot be mapped
   */
  map(fd: number, offset: number, lengthBytes: number): Window {
    if (!Number.isSafeInteger(offset) || offset < 0 || !Number.isSafeInteger(lengthBytes) || lengthBytes <= 0) {
      throw new ViaductError('ERR_INVALID_ARGUMENT', `window of ${lengthBytes} bytes at offset ${offset} of a file`);
    }
    // seal first: a size that was checked before could be changed
    const sealed = this.#os.sealShrink(fd);
    const { sizeBytes, blockSizeBytes } = this.#os.fileInfo(fd);
    if (lengthBytes > sizeBytes || offset > sizeBytes - lengthBytes) {
      throw new ViaductError(
        'ERR_INVALID_ARGUMENT',
        `window of ${lengthBytes} bytes at offset ${offset} is not inside its memory file of ${sizeBytes} bytes`,
      );
    }
    // file offsets and host addresses agree modulo `align`, so that huge pages fit, and hugetlbfs takes the offset
    const align = Math.max(WINDOW_ALIGN, blockSizeBytes);
    const lead = offset % align;
    const slotCount = Math.ceil((lead + lengthBytes) / WINDOW_ALIGN);
    const firstSlot = this.#takeSlots(slotCount, align, lengthBytes);
    const start = this.#memory.endAddress + firstSlot * WINDOW_ALIGN;
    // the kernel wants whole blocks: what is too much at either end belongs to the same file
    const mapOffset = Math.floor(offset / blockSizeBytes) * blockSizeBytes;
    const mapLength = Math.ceil((offset + lengthBytes) / blockSizeBytes) * blockSizeBytes - mapOffset;
    try {
      this.#os.mapShared(this.#base + BigInt(start + lead - (offset - mapOffset)), mapLength, fd, mapOffset);
    } catch (error) {
      this.#os.mapNone(this.#base + BigInt(start), slotCount * WINDOW_ALIGN);
      this.#freeSlots(firstSlot, slotCount);
      throw error;
    }
    return Object.freeze({ address: start + lead, lengthBytes, sealed, firstSlot, slotCount });
  }

  /** Takes a window away. The caller has stopped every queue that uses it, under its lock: a late access may be fatal. */
  unmap(window: Window): void {
    const { firstSlot, slotCount } = window;
    if (this.#slots()[firstSlot] !== 1) {
      throw new ViaductError('ERR_INVALID_ARGUMENT', `window at ${window.address} is not mapped (unmapped twice?)`);
    }
    this.#os.mapNone(this.#base + BigInt(this.#memory.endAddress + firstSlot * WINDOW_ALIGN), slotCount * WINDOW_ALIGN);
    this.#freeSlots(firstSlot, slotCount);
  }

  #slots(): Uint8Array {
    return this.#memory.u8.subarray(EAL_BASE + EAL_WINDOW_SLOTS, EAL_BASE + EAL_WINDOW_SLOTS + this.#slotCount);
  }

  #takeSlots(slotCount: number, align: number, lengthBytes: number): number {
    const slots = this.#slots();
    const end = this.#base + BigInt(this.#memory.endAddress);
    // hugetlbfs with 1 GiB pages: only some slots begin at such a host address
    const step = align / WINDOW_ALIGN;
    const first = Number((BigInt(align) - (end % BigInt(align))) % BigInt(align)) / WINDOW_ALIGN;
    this.#lock();
    try {
      for (let slot = first; slot + slotCount <= this.#slotCount; slot += step) {
        if (slots.subarray(slot, slot + slotCount).includes(1)) continue;
        slots.fill(1, slot, slot + slotCount);
        Atomics.add(this.#memory.u32, COUNT_INDEX, 1);
        return slot;
      }
    } finally {
      this.#unlock();
    }
    const { totalBytes, largestBytes } = this.free();
    throw new ViaductError(
      'ERR_WINDOW_FULL',
      `guest memory of ${size(lengthBytes)} does not fit: of ${size(this.capacityBytes)} for guests ${size(totalBytes)} ` +
        `are free, the largest piece ${size(largestBytes)}; give the guests less memory, or start with a smaller ` +
        'memoryMiB (-m), or serve some guests from another process',
    );
  }

  #freeSlots(firstSlot: number, slotCount: number): void {
    this.#lock();
    this.#slots().fill(0, firstSlot, firstSlot + slotCount);
    Atomics.sub(this.#memory.u32, COUNT_INDEX, 1);
    this.#unlock();
  }

  #lock(): void {
    const { i32 } = this.#memory;
    const deadline = performance.now() + LOCK_TIMEOUT_MS;
    while (Atomics.compareExchange(i32, LOCK_INDEX, 0, 1) !== 0) {
      if (performance.now() > deadline) return;
      Atomics.wait(i32, LOCK_INDEX, 1, 1);
    }
  }

  #unlock(): void {
    Atomics.store(this.#memory.i32, LOCK_INDEX, 0);
    Atomics.notify(this.#memory.i32, LOCK_INDEX);
  }
}
