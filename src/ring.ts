import {
  MEMZONE_BASE,
  RING_CAPACITY,
  RING_F_SC_DEQ,
  RING_F_SP_ENQ,
  RING_FLAGS,
  RING_SIZE,
  RING_SLOTS,
} from '../assembly/layout.js';
import { type Objects, objectsAddress } from './burst.js';
import type { MemContext, MemzoneContext } from './eal/context.js';
import { ViaductError } from './errors.js';

/** Parameters of Ring.create: rte_ring_create's. */
export interface RingOptions {
  /** Unique among rings. */
  readonly name: string;
  /** Objects that it must hold; the slots are the next power of two above it (RING_F_EXACT_SZ in spirit). */
  readonly count: number;
  /** Only one thread at a time enqueues: cheaper (RING_F_SP_ENQ). Default false. */
  readonly singleProducer?: boolean;
  /** Only one thread at a time dequeues: cheaper (RING_F_SC_DEQ). Default false. */
  readonly singleConsumer?: boolean;
}

/** Most slots of a ring. */
const MAX_SLOTS = 2 ** 26;

/** Slots of a ring that holds `count` objects: a power of two, one more at the least. */
export function ringSlots(count: number): number {
  return 2 ** (32 - Math.clz32(count));
}

/** Bytes of a ring with so many slots, rounded up to a cache line. */
export function ringBytes(slots: number): number {
  return Math.ceil((RING_SLOTS + slots * 4) / 64) * 64;
}

/**
 * A bounded queue of u32 objects (mbuf handles, most often) between threads: rte_ring. It lives in the shared memory:
 * send `address` to a worker and attach there. Bulk moves all or nothing, burst as many as possible; both return the
 * count.
 *
 * A worker that is terminated in the middle of a many-producer operation leaves the others waiting, as in DPDK.
 */
export class Ring {
  readonly name: string;
  /** Address in the shared memory. */
  readonly address: number;
  /** Slots, a power of two (rte_ring_get_size). */
  readonly size: number;
  /** Objects that fit: slots − 1 (rte_ring_get_capacity). */
  readonly capacity: number;
  readonly singleProducer: boolean;
  readonly singleConsumer: boolean;
  readonly #context: MemContext;
  #release: (() => void) | undefined;

  private constructor(context: MemContext, address: number, name: string, release?: () => void) {
    const u32 = context.memory.u32;
    const flags = u32[(address + RING_FLAGS) >>> 2]!;
    this.name = name;
    this.address = address;
    this.size = u32[(address + RING_SIZE) >>> 2]!;
    this.capacity = u32[(address + RING_CAPACITY) >>> 2]!;
    this.singleProducer = (flags & RING_F_SP_ENQ) !== 0;
    this.singleConsumer = (flags & RING_F_SC_DEQ) !== 0;
    this.#context = context;
    this.#release = release;
  }

  /** Creates an empty ring (rte_ring_create). Throws ERR_INVALID_ARGUMENT, ERR_NO_MEMORY. */
  static create(eal: MemzoneContext, options: RingOptions): Ring {
    const { name, count } = options;
    if (!Number.isInteger(count) || count < 1 || count >= MAX_SLOTS) {
      throw new ViaductError(
        'ERR_INVALID_ARGUMENT',
        `ring ${name}: count ${count} is not a whole number from 1 to ${MAX_SLOTS - 1}`,
      );
    }
    const slots = ringSlots(count);
    const zone = eal.memzones.reserve(`RG_${name}`, ringBytes(slots));
    const flags = (options.singleProducer ? RING_F_SP_ENQ : 0) | (options.singleConsumer ? RING_F_SC_DEQ : 0);
    eal.wasm.ringInit(zone.address, slots, flags);
    return new Ring(eal, zone.address, name, () => eal.memzones.free(zone));
  }

  /** The ring of that name, if there is one (rte_ring_lookup). */
  static lookup(eal: MemzoneContext, name: string): Ring | undefined {
    const zone = eal.memzones.lookup(`RG_${name}`);
    return zone && new Ring(eal, zone.address, name, () => eal.memzones.free(zone));
  }

  /** The ring at an address that another thread's Ring gave. Throws ERR_INVALID_ARGUMENT where there is none. */
  static attach(context: MemContext, address: number, name = `ring@0x${address.toString(16)}`): Ring {
    const { endAddress, u32 } = context.memory;
    const inside = address % 64 === 0 && address >= MEMZONE_BASE && address + RING_SLOTS <= endAddress;
    const slots = inside ? u32[(address + RING_SIZE) >>> 2]! : 0;
    if (slots < 2 || (slots & (slots - 1)) !== 0 || u32[(address + RING_CAPACITY) >>> 2] !== slots - 1) {
      throw new ViaductError('ERR_INVALID_ARGUMENT', `ring ${name}: there is no ring at 0x${address.toString(16)}`);
    }
    return new Ring(context, address, name);
  }

  /** Adds objects [from, from + count), all or nothing: `count` or 0 (rte_ring_enqueue_bulk). */
  enqueueBulk(objects: Objects, count: number, from = 0): number {
    return this.#context.wasm.ringEnqueueBulk(this.address, objectsAddress(this.#context, objects, from, count), count);
  }

  /** Adds as many of the objects [from, from + count) as fit, in order: how many (rte_ring_enqueue_burst). */
  enqueueBurst(objects: Objects, count: number, from = 0): number {
    return this.#context.wasm.ringEnqueueBurst(
      this.address,
      objectsAddress(this.#context, objects, from, count),
      count,
    );
  }

  /** Takes `count` objects into [from, from + count), all or nothing: `count` or 0 (rte_ring_dequeue_bulk). */
  dequeueBulk(objects: Objects, count: number, from = 0): number {
    return this.#context.wasm.ringDequeueBulk(this.address, objectsAddress(this.#context, objects, from, count), count);
  }

  /** Takes up to `count` objects into [from, from + count): how many (rte_ring_dequeue_burst). */
  dequeueBurst(objects: Objects, count: number, from = 0): number {
    return this.#context.wasm.ringDequeueBurst(
      this.address,
      objectsAddress(this.#context, objects, from, count),
      count,
    );
  }

  /** Objects in it now (rte_ring_count). */
  get count(): number {
    return this.#context.wasm.ringCount(this.address);
  }

  /** Objects that still fit (rte_ring_free_count). */
  get freeCount(): number {
    return this.#context.wasm.ringFreeCount(this.address);
  }

  /** Gives its memory back (rte_ring_free), on the thread that owns the Eal. Objects in it are forgotten. */
  free(): void {
    if (this.#release === undefined) {
      throw new ViaductError(
        'ERR_INVALID_STATE',
        `ring ${this.name}: it is free already, or only attached: free it where it was created`,
      );
    }
    this.#release();
    this.#release = undefined;
  }
}
