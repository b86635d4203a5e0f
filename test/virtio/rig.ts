/**
 * The device side of a virtqueue pair against a driver in plain TypeScript, without sockets: queue records written by hand,
 * the "guest's" memory two stretches of host memory with canaries before, between and behind them.
 */
import {
  DEVICE_REGION_COUNT,
  DEVICE_REGIONS,
  DEVICE_SIZE,
  DROP_COUNT,
  MAX_CHAINS,
  MBUF_F_EXTERNAL,
  MBUF_F_INDIRECT,
  MBUF_NEXT,
  MBUF_OL_FLAGS,
  MBUF_REFCNT,
  PMD_VHOST,
  PORT_BASE,
  PORT_RXQ_COUNT,
  PORT_RXQS,
  PORT_SIZE,
  PORT_STATE,
  PORT_STATE_STARTED,
  PORT_TXQ_COUNT,
  PORT_TXQS,
  QUEUE_AVAIL,
  QUEUE_BYTES,
  QUEUE_CALL_FD,
  QUEUE_DESC,
  QUEUE_DEVICE,
  QUEUE_DROPS,
  QUEUE_HDR_LEN,
  QUEUE_KICK_FD,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_LOCK,
  QUEUE_MAX_CHAINS,
  QUEUE_MAX_TABLE,
  QUEUE_OFFLOADS,
  QUEUE_PACKETS,
  QUEUE_PATH,
  QUEUE_PMD,
  QUEUE_POOL,
  QUEUE_PORT,
  QUEUE_RUN,
  QUEUE_SIZE,
  QUEUE_STOP_CAUSE,
  QUEUE_USED,
  QUEUE_VQ_FLAGS,
  QUEUE_VQ_SIZE,
  REGION_GUEST,
  REGION_LENGTH,
  REGION_LINEAR,
  REGION_SIZE,
  VQ_EVENT_IDX,
  VQ_PATH_MERGEABLE,
  VQ_PATH_PACKED,
} from '../../assembly/layout.js';
import { Burst } from '../../src/burst.js';
import { readCounter } from '../../src/eal/memory.js';
import { dropCauses, stopCauseName } from '../../src/ethdev/causes.js';
import { MbufView } from '../../src/mbuf.js';
import { Mempool } from '../../src/mempool.js';
import { createContext } from '../mem/context.js';
import type { RingMemory } from '../support/guest-memory.js';
import { PackedRing } from '../support/packed-ring.js';
import { SplitRing } from '../support/split-ring.js';

export type Layout = 'split' | 'packed';
export const LAYOUTS: readonly Layout[] = ['split', 'packed'];

export interface Boot {
  readonly layout: Layout;
  readonly ringSize?: number;
  readonly hdrLen?: number;
  readonly mergeable?: boolean;
  readonly indirect?: boolean;
  readonly eventIdx?: boolean;
  /** OFFLOAD_* of the guest's transmit and receive ring. */
  readonly hostOffloads?: number;
  readonly guestOffloads?: number;
  /** Bytes of data in an mbuf, mbufs of the pool: one of the rig's pools. */
  readonly pool?: Mempool;
}

const CANARY_BYTES = 1 << 16;
const CANARY = Buffer.from('\x9ccanary\x9d', 'latin1');
const canary = Buffer.alloc(CANARY_BYTES, CANARY);
/** What allocated guest memory is filled with: bytes that the device must leave alone stay so. */
export const FILL = 0xee;

/** The two regions: far from their linear addresses, and far apart; neither begins at 0. */
export const REGIONS = [
  { guestAddress: 0x10_0000, lengthBytes: 1 << 21 },
  { guestAddress: 0x1_0000_0000, lengthBytes: 1 << 21 },
] as const;
/** First guest address behind each region. */
export const END_OF_FIRST = REGIONS[0].guestAddress + REGIONS[0].lengthBytes;
export const END_OF_LAST = REGIONS[1].guestAddress + REGIONS[1].lengthBytes;
export const UNMAPPED = 0x7_0000_0000;

const port = 7;

export type Rig = ReturnType<typeof createRig>;
export type RigRing = SplitRing | PackedRing;

/** One a test file: its memory is used again by every `boot`. */
export function createRig(mbufCount = 600, context: ReturnType<typeof createContext> = createContext(64)) {
  const { memory, wasm, memzones, shared, lcoreId } = context;
  const reserve = (name: string, bytes: number): number => memzones.reserve(name, bytes, 4096).address;
  const regions = REGIONS.map((region, index) => ({
    ...region,
    offset: CANARY_BYTES + index * ((1 << 21) + CANARY_BYTES),
  }));
  const arenaBytes = CANARY_BYTES + REGIONS.length * ((1 << 21) + CANARY_BYTES);
  const arena = reserve('arena', arenaBytes);
  const device = reserve('device', DEVICE_SIZE);
  const rxQueue = reserve('rx queue', QUEUE_SIZE);
  const behindRxQueue = reserve('behind the rx queue', CANARY_BYTES);
  const txQueue = reserve('tx queue', QUEUE_SIZE);
  const behindTxQueue = reserve('behind the tx queue', CANARY_BYTES);
  const queueArrays = reserve('queue arrays', 64);
  const pool = Mempool.createPktmbuf(context, { name: 'rig', count: mbufCount, cacheSize: 64 });
  const burst = new Burst(context, reserve('burst', 2048), 512);
  const m = new MbufView(context);
  const arenaBuffer = Buffer.from(memory.buffer as unknown as ArrayBuffer, arena, arenaBytes);
  const canaries = [0, ...regions.map(({ offset, lengthBytes }) => offset + lengthBytes)];
  arenaBuffer.fill(FILL);
  for (const at of canaries) canary.copy(arenaBuffer, at);
  const behindQueues = [behindRxQueue, behindTxQueue].map((address) =>
    Buffer.from(memory.buffer as unknown as ArrayBuffer, address, CANARY_BYTES),
  );
  for (const behind of behindQueues) canary.copy(behind);

  const next = regions.map(({ offset }) => offset);
  let used: Mempool = pool;
  const guest: RingMemory & {
    /** In region 0 or 1. */
    allocateIn(region: number, lengthBytes: number, align?: number): number;
    bytes(offset: number, lengthBytes: number): Uint8Array;
    offsetOf(guestAddress: number): number;
  } = {
    u8: new Uint8Array(memory.buffer, arena, arenaBytes),
    u16: new Uint16Array(memory.buffer, arena, arenaBytes >>> 1),
    u32: new Uint32Array(memory.buffer, arena, arenaBytes >>> 2),
    allocate: (lengthBytes, align = 1) => guest.allocateIn(0, lengthBytes, align),
    allocateIn: (region, lengthBytes, align = 1) => {
      const { offset, lengthBytes: room } = regions[region]!;
      const at = Math.ceil(next[region]! / align) * align;
      if (at + lengthBytes > offset + room) throw new RangeError('guest memory is used up');
      next[region] = at + lengthBytes + 16; // and something in between
      return at;
    },
    guestAddress: (offset) => {
      const region = regions.find((one) => offset >= one.offset && offset < one.offset + one.lengthBytes);
      if (region === undefined) throw new RangeError(`offset ${offset} is in no region`);
      return region.guestAddress + offset - region.offset;
    },
    writeU64: (offset, value) => {
      const big = BigInt(value);
      guest.u32[offset >>> 2] = Number(big & 0xffff_ffffn);
      guest.u32[(offset >>> 2) + 1] = Number((big >> 32n) & 0xffff_ffffn);
    },
    offsetOf: (address) => {
      const region = regions.find((one) => address >= one.guestAddress && address < one.guestAddress + one.lengthBytes);
      if (region === undefined) throw new RangeError(`guest address ${address} is in no region`);
      return region.offset + address - region.guestAddress;
    },
    bytes: (offset, lengthBytes) => guest.u8.slice(offset, offset + lengthBytes),
  };

  const set = (record: number, fields: readonly (readonly [number, number])[]) => {
    for (const [field, value] of fields) memory.u32[(record + field) >>> 2] = value;
  };
  const get = (record: number, field: number): number => memory.u32[(record + field) >>> 2]!;
  set(device, [[DEVICE_REGION_COUNT, regions.length]]);
  regions.forEach(({ guestAddress, lengthBytes, offset }, index) => {
    const at = device + DEVICE_REGIONS + index * REGION_SIZE;
    memory.u64[(at + REGION_GUEST) >>> 3] = BigInt(guestAddress);
    memory.u64[(at + REGION_LENGTH) >>> 3] = BigInt(lengthBytes);
    memory.u32[(at + REGION_LINEAR) >>> 2] = arena + offset;
  });
  memory.u32[queueArrays >>> 2] = rxQueue;
  memory.u32[(queueArrays >>> 2) + 1] = txQueue;
  set(PORT_BASE + port * PORT_SIZE, [
    [PORT_STATE, PORT_STATE_STARTED],
    [PORT_RXQ_COUNT, 1],
    [PORT_TXQ_COUNT, 1],
    [PORT_RXQS, queueArrays],
    [PORT_TXQS, queueArrays + 4],
  ]);

  let rings: { tx: RigRing; rx: RigRing } | undefined;
  let booted: Boot = { layout: 'split' };

  const bootQueue = (record: number, ring: RigRing, offloads: number) => {
    const { layout, hdrLen = 12 } = booted;
    const packed = layout === 'packed';
    memory.u8.fill(0, record, record + QUEUE_SIZE);
    set(record, [
      [QUEUE_PMD, PMD_VHOST],
      [QUEUE_PORT, port],
      [QUEUE_POOL, used.address],
      [QUEUE_DEVICE, device],
      [QUEUE_KICK_FD, -1],
      [QUEUE_CALL_FD, -1],
      [QUEUE_VQ_SIZE, ring.size],
      [QUEUE_DESC, arena + ring.desc],
      [QUEUE_AVAIL, arena + ring.avail],
      [QUEUE_USED, arena + ring.used],
      [QUEUE_HDR_LEN, hdrLen],
      [QUEUE_VQ_FLAGS, booted.eventIdx ? VQ_EVENT_IDX : 0],
      [QUEUE_PATH, (packed ? VQ_PATH_PACKED : 0) | (booted.mergeable ? VQ_PATH_MERGEABLE : 0)],
      [QUEUE_MAX_CHAINS, booted.mergeable ? MAX_CHAINS : 1],
      [QUEUE_MAX_TABLE, booted.indirect === false ? 0 : ring.size],
      [QUEUE_OFFLOADS, offloads],
      [QUEUE_LAST_AVAIL, packed ? 0x8000 : 0],
      [QUEUE_LAST_USED, packed ? 0x8000 : 0],
      [QUEUE_RUN, 1],
    ]);
  };

  const counter = (record: number, field: number) => readCounter(memory, record + field);
  const drops = (record: number): Record<string, number> => {
    const found: Record<string, number> = {};
    for (let cause = 0; cause < DROP_COUNT; cause++) {
      const count = counter(record, QUEUE_DROPS + 8 * cause);
      if (count !== 0) found[dropCauses[cause]!] = count;
    }
    return found;
  };
  const stopped = (record: number): string | undefined => {
    const cause = get(record, QUEUE_STOP_CAUSE);
    if ((cause !== 0) !== (get(record, QUEUE_RUN) === 0))
      throw new Error('stopped without a cause, or running with one');
    return cause === 0 ? undefined : stopCauseName(cause);
  };

  const rig = {
    context,
    shared,
    memory,
    wasm,
    lcoreId,
    guest,
    pool,
    arena,
    arenaBytes,
    /** Where in the arena the guest's regions lie. */
    regions,
    rxQueue,
    txQueue,
    burst,
    port,

    /** New rings over zeroed guest memory, queues as the control plane starts them. */
    boot(boot: Boot): { tx: RigRing; rx: RigRing } {
      booted = boot;
      used = boot.pool ?? pool;
      regions.forEach(({ offset }, index) => {
        guest.u8.fill(FILL, offset, Math.min(next[index]! + 4096, offset + (1 << 21)));
        next[index] = offset + 16;
      });
      const { layout, ringSize = 16 } = boot;
      const make = () => (layout === 'packed' ? new PackedRing(guest, ringSize) : new SplitRing(guest, ringSize));
      rings = { tx: make(), rx: make() };
      for (const ring of [rings.tx, rings.rx]) {
        ring.eventIdx = boot.eventIdx ?? false;
        ring.wantInterrupts(false);
      }
      bootQueue(rxQueue, rings.tx, boot.hostOffloads ?? 0);
      bootQueue(txQueue, rings.rx, boot.guestOffloads ?? 0);
      return rings;
    },

    /** rxBurst: takes what the guest sends. The frames, copied; their mbufs freed unless `look` is there. */
    receive(count = 32, look?: (handle: number) => void): Uint8Array[] {
      const received = wasm.rxBurst(lcoreId, port, 0, burst.address, count);
      if (received > count) throw new Error(`${received} packets of ${count}`);
      const frames: Uint8Array[] = [];
      for (let i = 0; i < received; i++) {
        const handle = burst.handles[i]!;
        look?.(handle);
        frames.push(m.at(handle).bytes());
      }
      wasm.mbufFreeBulk(burst.address, received, lcoreId);
      return frames;
    },

    /** Receives until a burst is empty: all that the guest has sent. At most `rounds` bursts. */
    receiveAll(rounds = 1000): Uint8Array[] {
      const frames: Uint8Array[] = [];
      for (let i = 0; i < rounds; i++) {
        const before = get(rxQueue, QUEUE_LAST_AVAIL);
        frames.push(...rig.receive());
        if (get(rxQueue, QUEUE_LAST_AVAIL) === before) return frames;
      }
      throw new Error(`the guest's ring is not empty after ${rounds} bursts`);
    },

    /** txBurst of these packets; those not taken are freed. Returns how many were taken. */
    send(...handles: number[]): number {
      handles.forEach((handle, i) => {
        burst.handles[i] = handle;
      });
      const sent = wasm.txBurst(lcoreId, port, 0, burst.address, handles.length);
      if (sent > handles.length) throw new Error(`${sent} packets of ${handles.length} sent`);
      for (const handle of handles.slice(sent)) wasm.mbufFree(handle, lcoreId);
      return sent;
    },

    /** A packet of the pool, cut after `cuts` bytes. */
    packet(frame: Uint8Array, cuts: readonly number[] = [], flags = 0): number {
      let head = 0;
      let begin = 0;
      for (const end of [...cuts, frame.length]) {
        const handle = pool.alloc();
        if (handle === 0) throw new Error('the test needs more mbufs');
        m.at(handle);
        if (!m.append(end - begin)) throw new Error(`a segment of ${end - begin} bytes`);
        m.write(0, frame.subarray(begin, end));
        if (head === 0) head = handle;
        else if (!m.at(head).chain(handle)) throw new Error('too many segments');
        begin = end;
      }
      memory.u32[(head + MBUF_OL_FLAGS) >>> 2] = flags;
      return head;
    },

    /** New guest memory with these bytes: its guest address. */
    buffer(bytes: Uint8Array, region = 0): number {
      const offset = guest.allocateIn(region, bytes.length);
      guest.u8.set(bytes, offset);
      return guest.guestAddress(offset);
    },

    drops,
    stopped,
    packets: (record: number) => counter(record, QUEUE_PACKETS),
    bytes: (record: number) => counter(record, QUEUE_BYTES),
    counter,
    get,
    set,

    /**
     * Throws if a byte around the guest's regions or behind a queue's record was written, a position is none, an mbuf is missing,
     * or a lock was left.
     */
    check(): void {
      for (const at of canaries) {
        if (arenaBuffer.compare(canary, 0, CANARY_BYTES, at, at + CANARY_BYTES) !== 0)
          throw new Error('a canary is dead');
      }
      if (behindQueues.some((behind) => !behind.equals(canary))) throw new Error('written behind the queue record');
      for (const queue of [rxQueue, txQueue]) {
        if (get(queue, QUEUE_LOCK) !== 0) throw new Error('a lock was left');
        const [avail, taken] = [get(queue, QUEUE_LAST_AVAIL), get(queue, QUEUE_LAST_USED)];
        // Packed: an index in bits 0-14, the wrap counter in bit 15. Between bursts the device has given back all that it took.
        const index = booted.layout === 'packed' ? avail & 0x7fff : 0;
        if (avail !== taken || avail > 0xffff || index >= get(queue, QUEUE_VQ_SIZE))
          throw new Error(`positions ${avail} and ${taken} in a ring of ${get(queue, QUEUE_VQ_SIZE)}`);
      }
      const missing = used.inUseCount + (used === pool ? 0 : pool.inUseCount);
      if (missing !== 0) throw new Error(`${missing} mbufs are missing`);
    },

    /** Also looks at each mbuf: as a free one should be. */
    checkPool(of = used): void {
      rig.check();
      for (let i = 0; i < of.count; i++) {
        const mbuf = of.elements + i * of.strideBytes;
        const attached = get(mbuf, MBUF_OL_FLAGS) & (MBUF_F_INDIRECT | MBUF_F_EXTERNAL);
        if (get(mbuf, MBUF_REFCNT) !== 1 || get(mbuf, MBUF_NEXT) !== 0 || attached !== 0) {
          throw new Error(`mbuf ${i} is not as a free one should be`);
        }
      }
    },
  };
  return rig;
}

/** Whether bytes of a canary are in there: then something was read outside the guest's regions. */
export function hasCanary(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes(CANARY);
}

/** The bytes of frame number `n`: all different, never those of a canary. */
export function frameOf(n: number, length: number): Uint8Array {
  const frame = new Uint8Array(length);
  let state = Math.imul(n + 1, 0x9e3779b1) >>> 0;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    frame[i] = state >>> 24;
  }
  // No VLAN tag, no IP: an EtherType of IEEE's experiments.
  frame.set([0x88, 0xb5].slice(0, Math.max(0, length - 12)), Math.min(12, length));
  return frame;
}

export function same(found: Uint8Array | undefined, wanted: Uint8Array, what: string): void {
  if (found === undefined) throw new Error(`${what}: is missing`);
  if (found.length !== wanted.length) throw new Error(`${what}: ${found.length} bytes, not ${wanted.length}`);
  const at = found.findIndex((byte, i) => byte !== wanted[i]);
  if (at !== -1) throw new Error(`${what}: byte ${at} of ${wanted.length} is ${found[at]}, not ${wanted[at]}`);
}
