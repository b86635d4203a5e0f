/**
 * The data plane without an Eal: one instance over a memory of its own, ports whose records are written here, by hand, from
 * assembly/layout.ts. So these tests need neither ethdev nor drivers, and check engines by bytes and counts alone.
 */
import {
  LCORE_BASE,
  LCORE_SCRATCH,
  LCORE_SIZE,
  LCORE_STOP,
  LCORE_STREAM_COUNT,
  LCORE_STREAMS,
  MAX_BURST,
  MBUF_BUF,
  MBUF_DATA_LEN,
  MBUF_DATA_OFF,
  MBUF_NB_SEGS,
  MBUF_NEXT,
  MBUF_PKT_LEN,
  PMD_NULL,
  PMD_RING,
  PORT_BASE,
  PORT_LINK_UP,
  PORT_MAC,
  PORT_PMD,
  PORT_RXQ_COUNT,
  PORT_RXQS,
  PORT_SIZE,
  PORT_TXQ_COUNT,
  PORT_TXQS,
  QUEUE_CALL_FD,
  QUEUE_FRAME_LEN,
  QUEUE_ID,
  QUEUE_KICK_FD,
  QUEUE_PMD,
  QUEUE_POOL,
  QUEUE_PORT,
  QUEUE_RING,
  QUEUE_RUN,
  QUEUE_SIZE,
} from '../../assembly/layout.js';
import { Burst } from '../../src/burst.js';
import type { MemzoneContext } from '../../src/eal/context.js';
import type { WasmExports } from '../../src/eal/exports.js';
import { type HostMemory, hostMemory, markInitialised } from '../../src/eal/memory.js';
import { Memzones } from '../../src/eal/memzone.js';
import { compileModule, createSharedMemory, instantiate } from '../../src/eal/module.js';
import { StreamRecords, type StreamSpec } from '../../src/forward/stream-records.js';
import { Mempool } from '../../src/mempool.js';
import { Ring } from '../../src/ring.js';

const HOST_BYTES = 64 * 1024 * 1024;
/** The lcore whose records the streams hang on. */
const LCORE = 1;

/** A port over two rings: what the test injects comes in, what the engine sends can be collected. */
export interface RingPort {
  readonly id: number;
  readonly rx: Ring[];
  readonly tx: Ring[];
}

export interface PortOptions {
  readonly queues?: number;
  readonly mac?: readonly number[];
  /** Packets that its tx ring holds, a power of two less one. */
  readonly txRoom?: number;
}

/** One data plane for one test file. */
export class Bench implements MemzoneContext {
  readonly memory: HostMemory;
  readonly memzones: Memzones;
  readonly wasm: WasmExports;
  readonly lcoreId = LCORE;
  /** What happens when the module signals a descriptor. */
  notified: (fd: number) => void = () => {};
  readonly pool: Mempool;
  readonly #burst: Burst;
  #zones = 0;

  constructor(mbufs = 2047, dataRoomBytes = 2048) {
    const shared = createSharedMemory();
    this.memory = hostMemory(shared, HOST_BYTES);
    markInitialised(this.memory);
    this.memzones = new Memzones(this.memory);
    this.wasm = instantiate(compileModule(), shared, (fd) => {
      this.notified(fd);
      return 0;
    });
    this.pool = Mempool.createPktmbuf(this, { name: 'bench', count: mbufs, dataRoomBytes, cacheSize: 32 });
    this.#burst = Burst.create(this, MAX_BURST);
    this.set(this.lcore + LCORE_SCRATCH, this.reserve(MAX_BURST * 4));
  }

  get lcore(): number {
    return LCORE_BASE + LCORE * LCORE_SIZE;
  }

  reserve(bytes: number): number {
    return this.memzones.reserve(`bench-${this.#zones++}`, bytes).address;
  }

  get(address: number): number {
    return this.memory.u32[address >>> 2]!;
  }

  set(address: number, value: number): void {
    this.memory.u32[address >>> 2] = value;
  }

  /** Writes a port's record with its queues. */
  #port(id: number, pmd: number, queues: number, mac: readonly number[] | undefined, each: (queue: number) => void) {
    const record = PORT_BASE + id * PORT_SIZE;
    this.memory.u8.set(mac ?? [0x02, 0, 0, 0, 0xee, id], record + PORT_MAC);
    for (const [array, count] of [
      [PORT_RXQS, PORT_RXQ_COUNT],
      [PORT_TXQS, PORT_TXQ_COUNT],
    ] as const) {
      const addresses = this.reserve(queues * 4);
      this.set(record + array, addresses);
      this.set(record + count, queues);
      for (let i = 0; i < queues; i++) {
        const queue = this.reserve(QUEUE_SIZE);
        this.set(addresses + i * 4, queue);
        this.set(queue + QUEUE_PMD, pmd);
        this.set(queue + QUEUE_PORT, id);
        this.set(queue + QUEUE_ID, i);
        this.set(queue + QUEUE_KICK_FD, 0xffff_ffff);
        this.set(queue + QUEUE_CALL_FD, 0xffff_ffff);
        this.set(queue + QUEUE_POOL, this.pool.address);
        this.set(queue + QUEUE_RUN, 1);
        each(queue);
      }
    }
    this.set(record + PORT_PMD, pmd);
    this.set(record + PORT_LINK_UP, 1);
  }

  ringPort(id: number, { queues = 1, mac, txRoom = 1023 }: PortOptions = {}): RingPort {
    const rings: Ring[] = [];
    this.#port(id, PMD_RING, queues, mac, (queue) => {
      const ring = Ring.create(this, { name: `p${id}-${rings.length}`, count: rings.length < queues ? 1023 : txRoom });
      rings.push(ring);
      this.set(queue + QUEUE_RING, ring.address);
    });
    return { id, rx: rings.slice(0, queues), tx: rings.slice(queues) };
  }

  /** A port that takes everything; its rx gives `frameLen` bytes of whatever, 0 for nothing. */
  nullPort(id: number, frameLen = 0): void {
    this.#port(id, PMD_NULL, 1, undefined, (queue) => this.set(queue + QUEUE_FRAME_LEN, frameLen));
  }

  setLink(id: number, up: boolean): void {
    this.set(PORT_BASE + id * PORT_SIZE + PORT_LINK_UP, up ? 1 : 0);
  }

  /** Address of a queue's record. */
  queue(id: number, direction: 'rx' | 'tx', index = 0): number {
    return this.get(this.get(PORT_BASE + id * PORT_SIZE + (direction === 'rx' ? PORT_RXQS : PORT_TXQS)) + index * 4);
  }

  /** A packet with these bytes, one segment for each array. */
  packet(...segments: ArrayLike<number>[]): number {
    const mbufs = segments.map((bytes) => {
      const mbuf = this.pool.alloc();
      if (mbuf === 0) throw new Error('the pool is empty');
      this.memory.u8.set(bytes, this.get(mbuf + MBUF_BUF) + this.get(mbuf + MBUF_DATA_OFF));
      this.set(mbuf + MBUF_DATA_LEN, bytes.length);
      this.set(mbuf + MBUF_PKT_LEN, bytes.length);
      return mbuf;
    });
    for (let i = mbufs.length - 1; i > 0; i--) this.wasm.mbufChain(mbufs[i - 1]!, mbufs[i]!);
    return mbufs[0]!;
  }

  /** Bytes of a packet, a segment each. */
  segments(mbuf: number): Uint8Array[] {
    const segments: Uint8Array[] = [];
    for (let at = mbuf; at !== 0; at = this.get(at + MBUF_NEXT)) {
      const data = this.get(at + MBUF_BUF) + this.get(at + MBUF_DATA_OFF);
      segments.push(this.memory.u8.slice(data, data + this.get(at + MBUF_DATA_LEN)));
    }
    const total = segments.reduce((sum, bytes) => sum + bytes.length, 0);
    if (total !== this.get(mbuf + MBUF_PKT_LEN)) throw new Error('MBUF_PKT_LEN is not the sum of the segments');
    if (segments.length !== this.memory.u16[(mbuf + MBUF_NB_SEGS) >>> 1]) throw new Error('MBUF_NB_SEGS is wrong');
    return segments;
  }

  inject(port: RingPort, packets: readonly number[], queue = 0): void {
    this.#burst.handles.set(packets);
    if (port.rx[queue]!.enqueueBulk(this.#burst, packets.length) === 0) throw new Error('the rx ring is full');
  }

  /** Takes what was sent on a tx queue: the frames, their mbufs freed. */
  collect(port: RingPort, queue = 0): Uint8Array[] {
    return this.collectHandles(port, queue).map((mbuf) => {
      const bytes = Buffer.concat(this.segments(mbuf));
      this.wasm.mbufFree(mbuf, LCORE);
      return new Uint8Array(bytes);
    });
  }

  collectHandles(port: RingPort, queue = 0): number[] {
    const count = port.tx[queue]!.dequeueBurst(this.#burst, MAX_BURST);
    return Array.from(this.#burst.handles.subarray(0, count));
  }

  /** Streams on the bench's lcore, until free(). */
  streams(...specs: (Partial<StreamSpec> & Pick<StreamSpec, 'engine' | 'rxPort'>)[]): StreamRecords {
    const records = new StreamRecords(
      this.memory,
      this.memzones,
      specs.map((spec) => ({ lcoreIndex: 0, rxQueue: 0, txPort: spec.rxPort, txQueue: 0, burst: 32, ...spec })),
    );
    const [part] = records.lcores;
    this.set(this.lcore + LCORE_STREAMS, part!.streams);
    this.set(this.lcore + LCORE_STREAM_COUNT, part!.streamCount);
    return records;
  }

  /** Polls until nothing moves for two rounds, or `maxPolls`. */
  run(nowMs = 0, maxPolls = 1000, idlePolls = 2): number {
    return this.wasm.lcoreRun(LCORE, maxPolls, idlePolls, nowMs);
  }

  stop(on: boolean): void {
    this.set(this.lcore + LCORE_STOP, on ? 1 : 0);
  }
}

/** A frame: destination, source, type 0x88b5 (local experiments), then a payload that its seed tells. */
export function frame(destination: readonly number[], source: readonly number[], length = 64, seed = 0): Uint8Array {
  const bytes = Uint8Array.from({ length }, (_, i) => (i * 7 + seed * 13) & 0xff);
  bytes.set(destination, 0);
  bytes.set(source, 6);
  bytes.set([0x88, 0xb5], 12);
  return bytes;
}

/** A station's address by its number. */
export function station(n: number): number[] {
  return [0x02, 0x10, 0, (n >>> 16) & 0xff, (n >>> 8) & 0xff, n & 0xff];
}

export function text(mac: readonly number[]): string {
  return mac.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

export const BROADCAST = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
