import { CACHE_LINE, MEMZONE_BASE } from '../../assembly/layout.js';
import { ViaductError } from '../errors.js';
import type { HostMemory } from './memory.js';

/** A named, zeroed piece of host memory: rte_memzone. */
export interface Memzone {
  readonly name: string;
  /** Linear address of its first byte. */
  readonly address: number;
  readonly lengthBytes: number;
}

/** A free piece: [address, end). */
interface FreeRange {
  address: number;
  end: number;
}

/**
 * Hands out host memory, for the thread that owns the Eal: rte_memzone_reserve and rte_memzone_free. First fit over a
 * list of free ranges in address order; neighbours that become free are joined.
 */
export class Memzones {
  readonly #memory: HostMemory;
  readonly #free: FreeRange[];
  readonly #zones = new Map<string, { zone: Memzone; start: number; end: number }>();
  /** Memory from here on was never handed out: it still has the kernel's zeros, and need not be touched to clear it. */
  #freshFrom = MEMZONE_BASE;

  constructor(memory: HostMemory) {
    this.#memory = memory;
    this.#free = [{ address: MEMZONE_BASE, end: memory.endAddress }];
  }

  /** Bytes that are free, in any number of pieces. */
  get freeBytes(): number {
    return this.#free.reduce((sum, range) => sum + range.end - range.address, 0);
  }

  /** Bytes of the largest free piece. */
  get largestFreeBytes(): number {
    return this.#free.reduce((largest, range) => Math.max(largest, range.end - range.address), 0);
  }

  /** Every zone that is reserved now, in the order of reservation. */
  list(): Memzone[] {
    return [...this.#zones.values()].map((entry) => entry.zone);
  }

  /** Finds a zone by name: rte_memzone_lookup. */
  lookup(name: string): Memzone | undefined {
    return this.#zones.get(name)?.zone;
  }

  /**
   * Reserves a zone, zeroed.
   *
   * @param name unique among the zones that exist
   * @param align of the address, a power of two; at least a cache line, so that zones share none
   * @throws ERR_NO_MEMORY when no free piece is large enough (the message gives both sizes), ERR_INVALID_ARGUMENT
   */
  reserve(name: string, lengthBytes: number, align: number = CACHE_LINE): Memzone {
    if (!Number.isSafeInteger(lengthBytes) || lengthBytes <= 0) {
      throw new ViaductError(
        'ERR_INVALID_ARGUMENT',
        `memzone '${name}': a length of ${lengthBytes} bytes is no length`,
      );
    }
    if (!Number.isInteger(align) || align <= 0 || (align & (align - 1)) !== 0) {
      throw new ViaductError('ERR_INVALID_ARGUMENT', `memzone '${name}': alignment ${align} is no power of two`);
    }
    if (this.#zones.has(name)) {
      throw new ViaductError(
        'ERR_INVALID_ARGUMENT',
        `memzone '${name}' exists already: free it, or choose another name`,
      );
    }
    const grain = Math.max(align, CACHE_LINE);
    const wanted = Math.ceil(lengthBytes / CACHE_LINE) * CACHE_LINE;
    for (let i = 0; i < this.#free.length; i++) {
      const range = this.#free[i]!;
      const address = Math.ceil(range.address / grain) * grain;
      const end = address + wanted;
      if (end > range.end) continue;
      const rest: FreeRange[] = [];
      if (address > range.address) rest.push({ address: range.address, end: address });
      if (end < range.end) rest.push({ address: end, end: range.end });
      this.#free.splice(i, 1, ...rest);
      if (address < this.#freshFrom) this.#memory.u8.fill(0, address, Math.min(end, this.#freshFrom));
      this.#freshFrom = Math.max(this.#freshFrom, end);
      const zone: Memzone = Object.freeze({ name, address, lengthBytes });
      this.#zones.set(name, { zone, start: address, end });
      return zone;
    }
    throw new ViaductError(
      'ERR_NO_MEMORY',
      `memzone '${name}' wants ${size(lengthBytes)}, but of ${size(this.#memory.endAddress)} of host memory ` +
        `${size(this.freeBytes)} are free, the largest piece ${size(this.largestFreeBytes)}: start with more memory ` +
        '(memoryMiB, or -m on the command line)',
    );
  }

  /** Gives a zone back. The caller makes sure that nobody uses it any more. */
  free(zone: Memzone): void {
    const entry = this.#zones.get(zone.name);
    if (entry?.zone !== zone) {
      throw new ViaductError('ERR_INVALID_ARGUMENT', `memzone '${zone.name}' is not reserved (freed twice?)`);
    }
    this.#zones.delete(zone.name);
    const { start, end } = entry;
    // first free range behind the zone
    let low = 0;
    let high = this.#free.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#free[middle]!.address < start) low = middle + 1;
      else high = middle;
    }
    const before = this.#free[low - 1];
    const after = this.#free[low];
    const joinsBefore = before?.end === start;
    const joinsAfter = after?.address === end;
    if (joinsBefore && joinsAfter) {
      before.end = after.end;
      this.#free.splice(low, 1);
    } else if (joinsBefore) {
      before.end = end;
    } else if (joinsAfter) {
      after.address = start;
    } else {
      this.#free.splice(low, 0, { address: start, end });
    }
  }
}

/** Bytes for people: `36 MiB`, `2.5 KiB`. */
export function size(bytes: number): string {
  const round = (value: number) => `${Math.round(value * 10) / 10}`;
  if (bytes >= 1048576) return `${round(bytes / 1048576)} MiB`;
  if (bytes >= 1024) return `${round(bytes / 1024)} KiB`;
  return `${bytes} bytes`;
}
