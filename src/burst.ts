import { MAX_BURST } from '../assembly/layout.js';
import type { MemContext, MemzoneContext } from './eal/context.js';
import { ViaductError } from './errors.js';

/**
 * Where functions that move u32 objects (mbuf handles, ring objects) read or write them: a Burst, or a Uint32Array over
 * the shared memory (`new Uint32Array(eal.memory.buffer, address, length)`). Nothing is copied on the way into Wasm.
 */
export type Objects = Burst | Uint32Array<SharedArrayBuffer>;

/**
 * An array of packet handles in host memory: what rxBurst fills and txBurst sends (DPDK's `struct rte_mbuf *pkts[]`).
 * Make it once and use it for every burst.
 */
export class Burst {
  /** Address in the shared memory. */
  readonly address: number;
  /** Most handles that it takes. */
  readonly capacity: number;
  /** The handles. Those beyond what the last rxBurst returned are left over from earlier bursts. */
  readonly handles: Uint32Array<SharedArrayBuffer>;
  readonly #context: MemContext;
  readonly #release: (() => void) | undefined;

  /** Over memory that somebody else owns: `capacity` × 4 bytes at `address`. Most programs want Burst.create. */
  constructor(context: MemContext, address: number, capacity: number, release?: () => void) {
    this.address = address;
    this.capacity = capacity;
    this.handles = new Uint32Array(context.memory.buffer, address, capacity);
    this.#context = context;
    this.#release = release;
  }

  /** Reserves a burst of `capacity` handles (1 to 512) in host memory. Throws ERR_INVALID_ARGUMENT, ERR_NO_MEMORY. */
  static create(eal: MemzoneContext, capacity = 32): Burst {
    if (!Number.isInteger(capacity) || capacity < 1 || capacity > MAX_BURST) {
      throw new ViaductError(
        'ERR_INVALID_ARGUMENT',
        `burst: capacity ${capacity} is not a whole number from 1 to ${MAX_BURST}`,
      );
    }
    let number = 0;
    while (eal.memzones.lookup(`BU_${number}`) !== undefined) number++;
    const zone = eal.memzones.reserve(`BU_${number}`, capacity * 4);
    return new Burst(eal, zone.address, capacity, () => eal.memzones.free(zone));
  }

  /**
   * Frees the packets at [from, to), for instance those that txBurst did not take (rte_pktmbuf_free_bulk). Throws
   * ERR_INVALID_ARGUMENT for a range that is not inside the burst.
   */
  free(from: number, to: number): void {
    if (!(from >= 0 && from <= to && to <= this.capacity)) {
      throw new ViaductError(
        'ERR_INVALID_ARGUMENT',
        `burst: [${from}, ${to}) is not inside its ${this.capacity} handles`,
      );
    }
    this.#context.wasm.mbufFreeBulk(this.address + from * 4, to - from, this.#context.lcoreId);
  }

  /** Gives the array's memory back; packets that it names are not freed. */
  release(): void {
    this.#release?.();
  }
}

/** Address of the object at `from`, of `count`. Throws ERR_INVALID_ARGUMENT when they do not fit. */
export function objectsAddress(context: MemContext, objects: Objects, from: number, count: number): number {
  if (objects instanceof Burst) {
    if (from >>> 0 === from && count >>> 0 === count && from + count <= objects.capacity)
      return objects.address + from * 4;
    throw outside(from, count, objects.capacity);
  }
  if (objects.buffer !== context.memory.buffer) {
    throw new ViaductError(
      'ERR_INVALID_ARGUMENT',
      'objects: the array does not lie in the shared memory; use a Burst, or a Uint32Array over eal.memory.buffer',
    );
  }
  if (from >>> 0 !== from || count >>> 0 !== count || from + count > objects.length) {
    throw outside(from, count, objects.length);
  }
  return objects.byteOffset + from * 4;
}

function outside(from: number, count: number, capacity: number): ViaductError {
  return new ViaductError(
    'ERR_INVALID_ARGUMENT',
    `objects: ${count} from index ${from} on do not lie inside its ${capacity}`,
  );
}
