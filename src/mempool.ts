import {
  CACHE_LINE,
  MBUF_DEFAULT_DATAROOM,
  MBUF_HEADROOM,
  MBUF_SIZE,
  MEMPOOL_BUF_LEN,
  MEMPOOL_CACHE_LIMIT,
  MEMPOOL_CACHE_MAX,
  MEMPOOL_COUNT,
  MEMPOOL_ELT_SIZE,
  MEMPOOL_ELTS,
  MEMPOOL_HDR_SIZE,
  MEMPOOL_RING,
  MEMZONE_BASE,
} from '../assembly/layout.js';
import { type Objects, objectsAddress } from './burst.js';
import type { MemContext, MemzoneContext } from './eal/context.js';
import { ViaductError } from './errors.js';
import { ringBytes, ringSlots } from './ring.js';

/** Parameters of Mempool.create: rte_mempool_create's. */
export interface MempoolOptions {
  /** Unique among mempools. */
  readonly name: string;
  /** Elements. */
  readonly count: number;
  /** Usable bytes of an element; each starts at a cache line. */
  readonly elementBytes: number;
  /**
   * Free elements that an lcore keeps for itself, 0 to 512. Default 256, or what a small pool allows: 1.5 × cacheSize
   * may not exceed count.
   */
  readonly cacheSize?: number;
}

/** Parameters of Mempool.createPktmbuf: rte_pktmbuf_pool_create's. */
export interface PktmbufPoolOptions {
  readonly name: string;
  /** Packet buffers. */
  readonly count: number;
  /** Bytes of data that a buffer holds behind its 128 bytes of headroom. Default 2048. */
  readonly dataRoomBytes?: number;
  /** As in MempoolOptions. */
  readonly cacheSize?: number;
}

const DEFAULT_CACHE_SIZE = 256;
/** Largest data room: jumbo segments beyond 1 MiB are a mistake. */
const MAX_DATA_ROOM_BYTES = 1 << 20;
/** Host memory lies below 2 GiB, so no pool has more elements of one line. */
const MAX_COUNT = 2 ** 25;

/** An odd number of cache lines, so that the headers of neighbours spread over memory channels and cache sets. */
function elementStride(bytes: number): number {
  return (Math.ceil(bytes / CACHE_LINE) | 1) * CACHE_LINE;
}

/**
 * Fixed-size elements in shared memory with a cache for every lcore: rte_mempool; of packet buffers: a pktmbuf pool.
 * Send `address` to a worker and attach there.
 *
 * Elements in the caches of idle lcores are out of everybody else's reach: give a pool 1.5 × cacheSize elements for
 * each lcore that uses it on top of what queues and programs hold.
 */
export class Mempool {
  readonly name: string;
  /** Address in the shared memory. */
  readonly address: number;
  /** Elements, free or not. */
  readonly count: number;
  /** Bytes from one element to the next. */
  readonly strideBytes: number;
  /** Address of the first element. */
  readonly elements: number;
  /** Limit of an lcore's cache, 0 for none. */
  readonly cacheSize: number;
  /** Bytes of an mbuf's buffer, headroom included (rte_pktmbuf_data_room_size); 0 when the elements are no mbufs. */
  readonly bufferBytes: number;
  readonly #context: MemContext;
  #release: (() => void) | undefined;

  private constructor(context: MemContext, address: number, name: string, release?: () => void) {
    const u32 = context.memory.u32;
    this.name = name;
    this.address = address;
    this.count = u32[(address + MEMPOOL_COUNT) >>> 2]!;
    this.strideBytes = u32[(address + MEMPOOL_ELT_SIZE) >>> 2]!;
    this.elements = u32[(address + MEMPOOL_ELTS) >>> 2]!;
    this.cacheSize = u32[(address + MEMPOOL_CACHE_LIMIT) >>> 2]!;
    this.bufferBytes = u32[(address + MEMPOOL_BUF_LEN) >>> 2]!;
    this.#context = context;
    this.#release = release;
  }

  /** A pool of packet buffers (rte_pktmbuf_pool_create). Throws ERR_INVALID_ARGUMENT, ERR_NO_MEMORY. */
  static createPktmbuf(eal: MemzoneContext, options: PktmbufPoolOptions): Mempool {
    const { name, dataRoomBytes = MBUF_DEFAULT_DATAROOM } = options;
    requireInteger(name, 'dataRoomBytes', dataRoomBytes, 0, MAX_DATA_ROOM_BYTES);
    const bufferBytes = MBUF_HEADROOM + dataRoomBytes;
    return Mempool.#create(eal, name, options.count, MBUF_SIZE + bufferBytes, options.cacheSize, bufferBytes);
  }

  /**
   * A pool of plain elements, with whatever the memory held: zeroes at first (rte_mempool_create). Throws as
   * createPktmbuf.
   */
  static create(eal: MemzoneContext, options: MempoolOptions): Mempool {
    requireInteger(options.name, 'elementBytes', options.elementBytes, 1, MAX_DATA_ROOM_BYTES);
    return Mempool.#create(eal, options.name, options.count, options.elementBytes, options.cacheSize, 0);
  }

  static #create(
    eal: MemzoneContext,
    name: string,
    count: number,
    elementBytes: number,
    cacheSizeWanted: number | undefined,
    bufferBytes: number,
  ): Mempool {
    requireInteger(name, 'count', count, 1, MAX_COUNT);
    const cacheSize = cacheSizeWanted ?? Math.min(DEFAULT_CACHE_SIZE, Math.floor(count / 1.5));
    requireInteger(name, 'cacheSize', cacheSize, 0, MEMPOOL_CACHE_MAX);
    if (cacheSize + (cacheSize >>> 1) > count) {
      throw new ViaductError(
        'ERR_INVALID_ARGUMENT',
        `mempool ${name}: a cache of ${cacheSize} may grow to ${cacheSize + (cacheSize >>> 1)} elements, but the pool has ` +
          `${count}: take a cacheSize of at most ${Math.floor(count / 1.5)}`,
      );
    }
    // | header with the caches | ring | elements |
    const stride = elementStride(elementBytes);
    const ringLength = ringBytes(ringSlots(count));
    const zone = eal.memzones.reserve(`MP_${name}`, MEMPOOL_HDR_SIZE + ringLength + count * stride);
    const ring = zone.address + MEMPOOL_HDR_SIZE;
    eal.wasm.mempoolInit(zone.address, ring, ring + ringLength, count, stride, cacheSize, bufferBytes);
    return new Mempool(eal, zone.address, name, () => eal.memzones.free(zone));
  }

  /** The pool of that name, if there is one (rte_mempool_lookup). */
  static lookup(eal: MemzoneContext, name: string): Mempool | undefined {
    const zone = eal.memzones.lookup(`MP_${name}`);
    return zone && new Mempool(eal, zone.address, name, () => eal.memzones.free(zone));
  }

  /** The pool at an address that another thread's Mempool gave. Throws ERR_INVALID_ARGUMENT where there is none. */
  static attach(context: MemContext, address: number, name = `mempool@0x${address.toString(16)}`): Mempool {
    const { endAddress, u32 } = context.memory;
    const inside = address % CACHE_LINE === 0 && address >= MEMZONE_BASE && address + MEMPOOL_HDR_SIZE < endAddress;
    if (!inside || u32[(address + MEMPOOL_RING) >>> 2] !== address + MEMPOOL_HDR_SIZE) {
      throw new ViaductError(
        'ERR_INVALID_ARGUMENT',
        `mempool ${name}: there is no mempool at 0x${address.toString(16)}`,
      );
    }
    return new Mempool(context, address, name);
  }

  /** Bytes of data that a fresh mbuf holds behind its headroom; 0 when the elements are no mbufs. */
  get dataRoomBytes(): number {
    return this.bufferBytes === 0 ? 0 : this.bufferBytes - MBUF_HEADROOM;
  }

  /**
   * One empty mbuf, 0 when the pool is exhausted (rte_pktmbuf_alloc). Throws ERR_INVALID_STATE on a pool of plain
   * elements.
   */
  alloc(): number {
    if (this.bufferBytes === 0) throw this.#plain();
    return this.#context.wasm.mbufAlloc(this.address, this.#context.lcoreId);
  }

  /** `count` empty mbufs into `objects`, all or nothing: false when the pool is short (rte_pktmbuf_alloc_bulk). */
  allocBulk(objects: Objects, count: number): boolean {
    if (this.bufferBytes === 0) throw this.#plain();
    const address = objectsAddress(this.#context, objects, 0, count);
    return this.#context.wasm.mbufAllocBulk(this.address, this.#context.lcoreId, address, count) === 1;
  }

  /** `count` element addresses into `objects`, all or nothing: false when the pool is short (rte_mempool_get_bulk). */
  getBulk(objects: Objects, count: number): boolean {
    const address = objectsAddress(this.#context, objects, 0, count);
    return this.#context.wasm.mempoolGetBulk(this.address, this.#context.lcoreId, address, count) === 1;
  }

  /** Gives `count` elements back (rte_mempool_put_bulk); mbufs are freed with Burst.free or MbufView.free instead. */
  putBulk(objects: Objects, count: number): void {
    const address = objectsAddress(this.#context, objects, 0, count);
    this.#context.wasm.mempoolPutBulk(this.address, this.#context.lcoreId, address, count);
  }

  /** Free elements, caches included; exact while nobody uses the pool (rte_mempool_avail_count). */
  get availCount(): number {
    return this.#context.wasm.mempoolAvailCount(this.address);
  }

  /** Elements in somebody's hands; exact while nobody uses the pool (rte_mempool_in_use_count). */
  get inUseCount(): number {
    return this.count - this.availCount;
  }

  /**
   * Empties the cache of an lcore into the common ring: the calling one's, or one that has ended
   * (rte_mempool_cache_flush).
   */
  flushCache(lcoreId: number = this.#context.lcoreId): void {
    this.#context.wasm.mempoolCacheFlush(this.address, lcoreId);
  }

  /**
   * Gives its memory back (rte_mempool_free), on the thread that owns the Eal. Throws ERR_INVALID_STATE while elements
   * are in use: a queue or a program would go on writing into memory that others own by then.
   */
  free(): void {
    if (this.#release === undefined) {
      throw new ViaductError(
        'ERR_INVALID_STATE',
        `mempool ${this.name}: it is free already, or only attached: free it where it was created`,
      );
    }
    const inUse = this.inUseCount;
    if (inUse !== 0) {
      throw new ViaductError(
        'ERR_INVALID_STATE',
        `mempool ${this.name}: ${inUse} of ${this.count} elements are in use; stop the ports and free the packets that hold them`,
      );
    }
    this.#release();
    this.#release = undefined;
  }

  #plain(): ViaductError {
    return new ViaductError(
      'ERR_INVALID_STATE',
      `mempool ${this.name}: its elements are no mbufs; create it with Mempool.createPktmbuf, or use getBulk`,
    );
  }
}

function requireInteger(name: string, what: string, value: number, least: number, most: number): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw new ViaductError(
    'ERR_INVALID_ARGUMENT',
    `mempool ${name}: ${what} ${value} is not a whole number from ${least} to ${most}`,
  );
}
