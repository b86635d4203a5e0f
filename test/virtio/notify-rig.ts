/**
 * A guest's transmit ring as bare memory, split or packed, for tests of notifications: any position may be set, and what the
 * guest says about notifications is written by hand. Port 40 + n of the port table, which hands out no such number here.
 */
import type { Test } from 'tap';
import {
  DEVICE_REGION_COUNT,
  DEVICE_REGIONS,
  DEVICE_SIZE,
  PMD_VHOST,
  PORT_BASE,
  PORT_RXQ_COUNT,
  PORT_RXQS,
  PORT_SIZE,
  QUEUE_AVAIL,
  QUEUE_CALL_FD,
  QUEUE_DESC,
  QUEUE_DEVICE,
  QUEUE_HDR_LEN,
  QUEUE_KICK_FD,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_MAX_CHAINS,
  QUEUE_NOTIFIED,
  QUEUE_PATH,
  QUEUE_PMD,
  QUEUE_POOL,
  QUEUE_POSTPONED,
  QUEUE_RUN,
  QUEUE_SIGNALLED,
  QUEUE_SIGNALLED_VALID,
  QUEUE_SIZE,
  QUEUE_SUPPRESSED,
  QUEUE_USED,
  QUEUE_VQ_FLAGS,
  QUEUE_VQ_SIZE,
  REGION_LENGTH,
  RING_SIGNALLED,
  VQ_EVENT_IDX,
  VQ_PATH_PACKED,
} from '../../assembly/layout.js';
import { Burst, Eal, Mempool, silentLogger } from '../../src/index.js';

const HDR = 12;
const FRAME = 64;

export interface RingOptions {
  readonly packed: boolean;
  readonly size: number;
  readonly eventIdx: boolean;
}

export interface Counts {
  readonly sent: number;
  readonly suppressed: number;
  readonly postponed: number;
}

/** The parts of an Eal that a ring needs. */
export type NotifyContext = Pick<Eal, 'memory' | 'memzones' | 'wasm' | 'mainLcoreId'>;

export async function openNotifyLab(t: Test) {
  const eal = await Eal.init({ memoryMiB: 32, logger: silentLogger });
  t.teardown(() => eal.cleanup());
  const mempool = Mempool.createPktmbuf(eal, { name: 'packets', count: 1023, cacheSize: 0 });
  const burst = Burst.create(eal, 512);
  let next = 40;
  return { eal, burst, ring: (options: RingOptions) => new NotifyRing(eal, mempool, burst, next++, options) };
}

export class NotifyRing {
  readonly queue: number;
  readonly options: RingOptions;
  readonly #eal: NotifyContext;
  readonly #burst: Burst;
  readonly #port: number;
  readonly #desc: number;
  readonly #avail: number;
  readonly #used: number;
  readonly #buffer: number;
  /** Free-running count of entries; the ring's position follows from it. */
  #count = 0;

  constructor(eal: NotifyContext, mempool: Mempool, burst: Burst, port: number, options: RingOptions) {
    this.#eal = eal;
    this.#burst = burst;
    this.#port = port;
    this.options = options;
    const { memory, memzones } = eal;
    const { size, packed } = options;
    const reserve = (what: string, bytes: number) => memzones.reserve(`${what} ${port}`, bytes).address;
    const device = reserve('device', DEVICE_SIZE);
    memory.u32[(device + DEVICE_REGION_COUNT) >>> 2] = 1;
    memory.u64[(device + DEVICE_REGIONS + REGION_LENGTH) >>> 3] = BigInt(memory.endAddress);
    this.#desc = reserve('desc', size * 16);
    this.#avail = reserve('avail', 6 + size * 2);
    this.#used = reserve('used', 6 + size * 8);
    this.#buffer = reserve('buffer', HDR + FRAME);
    for (let i = 0; i < size; i++) {
      memory.u64[(this.#desc + i * 16) >>> 3] = BigInt(this.#buffer);
      memory.u32[(this.#desc + i * 16 + 8) >>> 2] = HDR + FRAME;
      if (!packed) memory.u16[(this.#avail + 4 + i * 2) >>> 1] = i;
    }
    this.queue = reserve('queue', QUEUE_SIZE);
    const fields: readonly [number, number][] = [
      [QUEUE_PMD, PMD_VHOST],
      [QUEUE_KICK_FD, -1],
      [QUEUE_CALL_FD, -1],
      [QUEUE_POOL, mempool.address],
      [QUEUE_DEVICE, device],
      [QUEUE_VQ_SIZE, size],
      [QUEUE_DESC, this.#desc],
      [QUEUE_AVAIL, this.#avail],
      [QUEUE_USED, this.#used],
      [QUEUE_HDR_LEN, HDR],
      [QUEUE_VQ_FLAGS, options.eventIdx ? VQ_EVENT_IDX : 0],
      [QUEUE_MAX_CHAINS, 1],
      [QUEUE_PATH, packed ? VQ_PATH_PACKED : 0],
      [QUEUE_RUN, 1],
    ];
    for (const [field, value] of fields) this.write(field, value);
    const record = PORT_BASE + port * PORT_SIZE;
    const queues = reserve('queues', 64);
    memory.u32[queues >>> 2] = this.queue;
    memory.u32[(record + PORT_RXQ_COUNT) >>> 2] = 1;
    memory.u32[(record + PORT_RXQS) >>> 2] = queues;
    this.seek(0, 0);
  }

  read(field: number): number {
    return this.#eal.memory.u32[(this.queue + field) >>> 2]!;
  }

  write(field: number, value: number): void {
    this.#eal.memory.u32[(this.queue + field) >>> 2] = value;
  }

  /** Where the queue stands after `count` entries since a fresh ring, as both layouts write it. */
  position(count: number): number {
    if (!this.options.packed) return count & 0xffff;
    const { size } = this.options;
    return (count % size) | (Math.floor(count / size) % 2 === 0 ? 0x8000 : 0);
  }

  /** An empty ring after `count` entries, the last notification `ago` entries before. */
  seek(count: number, ago: number): void {
    const { u16, u32 } = this.#eal.memory;
    this.#count = count;
    const position = this.position(count);
    this.write(QUEUE_LAST_AVAIL, position);
    this.write(QUEUE_LAST_USED, position);
    this.write(QUEUE_SIGNALLED, this.position(count - ago));
    this.write(QUEUE_SIGNALLED_VALID, RING_SIGNALLED);
    if (this.options.packed) {
      // used at the current lap behind the position, at the one before from there on: nothing is available
      for (let i = 0; i < this.options.size; i++) {
        const wrap = i < (position & 0x7fff) ? position >>> 15 : 1 - (position >>> 15);
        u32[(this.#desc + i * 16 + 12) >>> 2] = wrap ? 0x8080_0000 : 0;
      }
    } else {
      u16[(this.#avail + 2) >>> 1] = position;
      u16[(this.#used + 2) >>> 1] = position;
    }
  }

  /** Entries since a fresh ring. */
  get count(): number {
    return this.#count;
  }

  /** Guest: says where it wants to be interrupted (a raw position), or in packed event flags and split ring flags whether. */
  wish(position: number | 'always' | 'never'): void {
    const { u16, u32 } = this.#eal.memory;
    if (this.options.packed) {
      const flags = position === 'always' ? 0 : position === 'never' ? 1 : 2;
      u32[this.#avail >>> 2] = (flags << 16) | (typeof position === 'number' ? position : 0);
    } else if (typeof position === 'number') {
      u16[(this.#avail + 4 + this.options.size * 2) >>> 1] = position;
    } else u16[this.#avail >>> 1] = position === 'never' ? 1 : 0;
  }

  /** Any word of memory. */
  write32(address: number, value: number): void {
    this.#eal.memory.u32[address >>> 2] = value;
  }

  /** Address of the word that `wish` writes. */
  get wishAddress(): number {
    return this.options.packed ? this.#avail : (this.#avail + 4 + this.options.size * 2) & ~3;
  }

  /** Guest: wants to hear of the next entry. */
  arm(): void {
    if (this.options.eventIdx) this.wish(this.position(this.#count));
    else this.wish('always');
  }

  /** Guest sends `frames`, the port receives them in one burst on lcore `lcoreId`. Returns how many it took. */
  pass(frames: number, lcoreId = this.#eal.mainLcoreId): number {
    this.offer(frames);
    const taken = this.#eal.wasm.rxBurst(lcoreId, this.#port, 0, this.#burst.address, frames);
    this.#burst.free(0, taken);
    return taken;
  }

  /** Guest sends `frames`. */
  offer(frames: number): void {
    const { u16, u32 } = this.#eal.memory;
    for (let i = 0; i < frames; i++) {
      if (!this.options.packed) continue;
      const position = this.position(this.#count + i);
      const desc = this.#desc + (position & 0x7fff) * 16;
      u32[(desc + 8) >>> 2] = HDR + FRAME;
      u32[(desc + 12) >>> 2] = (position & 0x8000 ? 0x80 : 0x8000) << 16;
    }
    this.#count += frames;
    if (!this.options.packed) u16[(this.#avail + 2) >>> 1] = this.position(this.#count);
  }

  counts(): Counts {
    return {
      sent: this.read(QUEUE_NOTIFIED),
      suppressed: this.read(QUEUE_SUPPRESSED),
      postponed: this.read(QUEUE_POSTPONED),
    };
  }
}
