/**
 * The memory of one virtqueue of net_virtio_user, in host memory, where the back end sees it under the same addresses.
 *
 *   | descriptors, 16 × size | driver area, 6 + 2 × size | device area, 6 + 8 × size | cookies, 8 × size | slots |
 *
 * The first three are the split ring of virtio 1.2 section 2.7; a packed one (section 2.8) needs 4 bytes of each area. The
 * cookies (mbufs that are lent to the back end) and the slots of a ring that sends (TX_SLOT_SIZE each: headers that find no room
 * in a packet's headroom, indirect tables) are the driver's own.
 */
import {
  CACHE_LINE,
  COOKIE_SIZE,
  LCORE_ANY,
  QUEUE_AVAIL,
  QUEUE_COOKIES,
  QUEUE_DESC,
  QUEUE_LOCK,
  QUEUE_OFFLOADS,
  QUEUE_STOP_CAUSE,
  QUEUE_TX_SLOTS,
  QUEUE_USED,
  QUEUE_VQ_SIZE,
  TX_SLOT_SIZE,
} from '../../../assembly/layout.js';
import type { Eal } from '../../eal/eal.js';
import type { Memzone } from '../../eal/memzone.js';
import { withQueueLock } from '../../eal/queue-lock.js';
import { writeVringShape } from '../vring-shape.js';
import type { RingShape } from './driver-features.js';

const roundUp = (bytes: number): number => Math.ceil(bytes / CACHE_LINE) * CACHE_LINE;

export class Vring {
  /** Address of the queue record. */
  readonly queue: number;
  readonly size: number;
  readonly desc: number;
  readonly avail: number;
  readonly used: number;
  readonly #cookies: number;
  readonly #slots: number;
  readonly #eal: Eal;
  readonly #zone: Memzone;

  /** Throws ERR_NO_MEMORY. */
  constructor(eal: Eal, queue: number, name: string, size: number, sends: boolean) {
    this.#eal = eal;
    this.queue = queue;
    this.size = size;
    const descBytes = size * 16;
    const availBytes = roundUp(6 + size * 2);
    const usedBytes = roundUp(6 + size * 8);
    const cookieBytes = roundUp(size * COOKIE_SIZE);
    const total = descBytes + availBytes + usedBytes + cookieBytes + (sends ? size * TX_SLOT_SIZE : 0);
    this.#zone = eal.memzones.reserve(name, total, CACHE_LINE);
    this.desc = this.#zone.address;
    this.avail = this.desc + descBytes;
    this.used = this.avail + availBytes;
    this.#cookies = this.used + usedBytes;
    this.#slots = this.#cookies + cookieBytes;
  }

  /** An empty ring for a new connection. The queue's gates are shut, and drain() has come since the last connection. */
  init(shape: RingShape): void {
    const { memory, wasm } = this.#eal;
    const { queue } = this;
    withQueueLock(memory, queue, () => {
      memory.u8.fill(0, this.desc, this.#cookies);
      // line 1, and line 2 but for the lock, the gates and the run flag: nothing of an earlier ring is left
      const set = (field: number, value: number): void => {
        memory.u32[(queue + field) >>> 2] = value;
      };
      set(QUEUE_VQ_SIZE, this.size);
      set(QUEUE_DESC, this.desc);
      set(QUEUE_AVAIL, this.avail);
      set(QUEUE_USED, this.used);
      set(QUEUE_OFFLOADS, shape.offloads);
      writeVringShape(memory, queue, shape);
      set(QUEUE_COOKIES, this.#cookies);
      set(QUEUE_TX_SLOTS, this.#slots);
      set(QUEUE_STOP_CAUSE, 0);
      wasm.virtioQueueInit(queue);
    });
  }

  /**
   * Posts receive buffers, before the back end has the ring: with the first packet it is too late. LCORE_ANY: the main
   * lcore's mempool cache would fill too, and those mbufs be out of the other lcores' reach.
   */
  fill(): void {
    withQueueLock(this.#eal.memory, this.queue, () => this.#eal.wasm.virtioQueueFill(this.queue, LCORE_ANY));
  }

  /** Takes back what the back end held. It has let go of the ring, or is gone; the queue's gates are shut. */
  drain(): void {
    const { memory, wasm, mainLcoreId } = this.#eal;
    withQueueLock(memory, this.queue, () => {
      if (memory.u32[(this.queue + QUEUE_COOKIES) >>> 2] !== 0) wasm.virtioQueueDrain(this.queue, mainLcoreId);
    });
  }

  /** Gives the memory back, after drain(). */
  free(): void {
    const { memory, memzones } = this.#eal;
    withQueueLock(memory, this.queue, () => {
      memory.u32.fill(0, (this.queue + QUEUE_VQ_SIZE) >>> 2, (this.queue + QUEUE_LOCK) >>> 2);
    });
    memzones.free(this.#zone);
  }
}
