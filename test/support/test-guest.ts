import type { Os } from '../../src/os/types.js';
import { GuestMemory } from './guest-memory.js';
import { PackedRing } from './packed-ring.js';
import { type Piece, SplitRing } from './split-ring.js';

// virtio 1.2, sections 5.1.3 and 6
export const VIRTIO_NET_F_CSUM = 1n << 0n;
export const VIRTIO_NET_F_GUEST_CSUM = 1n << 1n;
export const VIRTIO_NET_F_GUEST_TSO4 = 1n << 7n;
export const VIRTIO_NET_F_GUEST_TSO6 = 1n << 8n;
export const VIRTIO_NET_F_GUEST_ECN = 1n << 9n;
export const VIRTIO_NET_F_GUEST_UFO = 1n << 10n;
export const VIRTIO_NET_F_HOST_TSO4 = 1n << 11n;
export const VIRTIO_NET_F_HOST_TSO6 = 1n << 12n;
export const VIRTIO_NET_F_HOST_ECN = 1n << 13n;
export const VIRTIO_NET_F_HOST_UFO = 1n << 14n;
export const VIRTIO_NET_F_MRG_RXBUF = 1n << 15n;
export const VIRTIO_NET_F_MQ = 1n << 22n;
export const VIRTIO_F_INDIRECT_DESC = 1n << 28n;
export const VIRTIO_F_EVENT_IDX = 1n << 29n;
export const VIRTIO_F_VERSION_1 = 1n << 32n;
export const VIRTIO_F_RING_PACKED = 1n << 34n;
export const VIRTIO_F_IN_ORDER = 1n << 35n;
export const VIRTIO_NET_F_GUEST_USO4 = 1n << 54n;
export const VIRTIO_NET_F_GUEST_USO6 = 1n << 55n;
export const VIRTIO_NET_F_HOST_USO = 1n << 56n;

/** How a frame lies in its descriptors. */
export type TxLayout =
  /** Header and frame in one descriptor. */
  | 'single'
  /** Header in one descriptor, frame in the next. */
  | 'header-apart'
  /** Header, then the frame in pieces of `segmentBytes`. */
  | 'segments'
  /** As `segments`, in an indirect table. */
  | 'indirect';

export interface TestGuestOptions {
  readonly memory?: GuestMemory;
  readonly ringSize?: number;
  readonly queuePairs?: number;
  /** Features that the guest would like; what it gets is in `features` after `negotiate`. */
  readonly wants?: bigint;
  readonly txLayout?: TxLayout;
  readonly segmentBytes?: number;
  /** Bytes of a receive buffer, header included. */
  readonly rxBufferBytes?: number;
  /** Largest frame that can be sent. */
  readonly maxFrameBytes?: number;
}

export type GuestRing = SplitRing | PackedRing;

export interface GuestQueuePair<Ring = GuestRing> {
  readonly rx: Ring;
  readonly tx: Ring;
}

/** The virtio-net header, section 5.1.6, without num_buffers. Fields that are left out are 0. */
export interface NetHeader {
  readonly flags?: number;
  readonly gsoType?: number;
  readonly hdrLen?: number;
  readonly gsoSize?: number;
  readonly csumStart?: number;
  readonly csumOffset?: number;
}

export const NET_HDR_F_NEEDS_CSUM = 1;
export const NET_HDR_F_DATA_VALID = 2;

const DEFAULT_WANTS = VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MRG_RXBUF | VIRTIO_F_INDIRECT_DESC;
/** Offset of num_buffers in the header, section 5.1.6. */
const NUM_BUFFERS = 10;

/**
 * A guest with a virtio network card, written from the virtio 1.2 specification and independent of the product: it owns
 * memory, fills rings and takes from them as a driver does. A front end (front-end.ts) shows it to a back end.
 */
export class TestGuest {
  readonly memory: GuestMemory;
  readonly wants: bigint;
  /** Negotiated. */
  features = 0n;
  /** Bytes of the virtio-net header: 12, or 10 for a legacy device without mergeable buffers. */
  headerBytes = 12;
  /** Of the frame that `receive` took last. */
  header: Required<NetHeader> = { flags: 0, gsoType: 0, hdrLen: 0, gsoSize: 0, csumStart: 0, csumOffset: 0 };
  numBuffers = 0;
  /** Packed rings are made only for a guest that wants them. */
  readonly #splitPairs: readonly GuestQueuePair<SplitRing>[];
  readonly #packedPairs: readonly GuestQueuePair<PackedRing>[];
  readonly #layout: TxLayout;
  readonly #segmentBytes: number;
  readonly #rxBufferBytes: number;
  readonly #txSlotBytes: number;
  /** Offset, and guest address, of each descriptor's own buffer; the same layout for every queue pair. */
  readonly #txSlots: readonly Float64Array[];
  readonly #rxSlots: readonly Float64Array[];
  readonly #txAddresses: readonly Float64Array[];
  readonly #rxAddresses: readonly Float64Array[];
  /** Buffer slot of each chain in flight, by its head (-1: a chain that `send` did not make); stack of the free ones. */
  readonly #txSlotOf: readonly Int32Array[];
  readonly #txFree: readonly number[][];
  readonly #rxSlotOf: readonly Int32Array[];
  readonly #scratch = new Uint8Array(65_536 + 64);

  constructor(os: Os, options: TestGuestOptions = {}) {
    const { ringSize = 256, queuePairs = 1, wants = DEFAULT_WANTS } = options;
    this.memory = options.memory ?? new GuestMemory(os);
    this.wants = wants;
    this.#layout = options.txLayout ?? 'single';
    this.#segmentBytes = options.segmentBytes ?? 256;
    this.#rxBufferBytes = options.rxBufferBytes ?? 2048;
    this.#txSlotBytes = (options.maxFrameBytes ?? 2036) + 12;
    const range = Array.from({ length: queuePairs }, (_, index) => index);
    this.#splitPairs = range.map(() => ({
      rx: new SplitRing(this.memory, ringSize),
      tx: new SplitRing(this.memory, ringSize),
    }));
    const packed = (wants & VIRTIO_F_RING_PACKED) !== 0n ? range : [];
    this.#packedPairs = packed.map(() => ({
      rx: new PackedRing(this.memory, ringSize),
      tx: new PackedRing(this.memory, ringSize),
    }));
    const slots = (bytes: number) =>
      Float64Array.from({ length: ringSize }, () => this.memory.allocate(Math.ceil(bytes / 64) * 64));
    const addresses = (offsets: Float64Array) => offsets.map((offset) => this.memory.guestAddress(offset));
    this.#txSlots = range.map(() => slots(this.#txSlotBytes));
    this.#rxSlots = range.map(() => slots(this.#rxBufferBytes));
    this.#txAddresses = this.#txSlots.map(addresses);
    this.#rxAddresses = this.#rxSlots.map(addresses);
    this.#txSlotOf = range.map(() => new Int32Array(ringSize).fill(-1));
    this.#rxSlotOf = range.map(() => new Int32Array(ringSize).fill(-1));
    this.#txFree = range.map(() => []);
  }

  /** Accepts what is both offered and wanted, and starts with empty rings. Returns the features. */
  negotiate(offered: bigint): bigint {
    this.features = offered & this.wants;
    const modern = (this.features & VIRTIO_F_VERSION_1) !== 0n;
    this.headerBytes = modern || this.mergeable ? 12 : 10;
    for (const { rx, tx } of this.pairs) {
      rx.eventIdx = tx.eventIdx = (this.features & VIRTIO_F_EVENT_IDX) !== 0n;
      rx.inOrder = tx.inOrder = (this.features & VIRTIO_F_IN_ORDER) !== 0n;
      rx.reset();
      tx.reset();
      rx.wantInterrupts(false);
      tx.wantInterrupts(false);
    }
    this.#txFree.forEach((free, pair) => {
      free.length = 0;
      this.#txSlotOf[pair]!.fill(-1);
      for (let slot = this.pairs[pair]!.tx.size - 1; slot >= 0; slot--) free.push(slot);
    });
    return this.features;
  }

  /** The rings in use: packed ones once they are negotiated. */
  get pairs(): readonly GuestQueuePair[] {
    return (this.features & VIRTIO_F_RING_PACKED) !== 0n ? this.#packedPairs : this.#splitPairs;
  }

  /** The rings of a guest that did not negotiate RING_PACKED. */
  get splitPairs(): readonly GuestQueuePair<SplitRing>[] {
    if (this.pairs !== this.#splitPairs) throw new Error('the guest negotiated packed rings');
    return this.#splitPairs;
  }

  /** The rings of a guest that did. */
  get packedPairs(): readonly GuestQueuePair<PackedRing>[] {
    if (this.pairs !== this.#packedPairs) throw new Error('the guest did not negotiate packed rings');
    return this.#packedPairs;
  }

  get mergeable(): boolean {
    return (this.features & VIRTIO_NET_F_MRG_RXBUF) !== 0n;
  }

  get #indirect(): boolean {
    return (this.features & VIRTIO_F_INDIRECT_DESC) !== 0n;
  }

  /** Gives the device every receive buffer that it does not have. Returns whether it wants a notification. */
  fillRx(pair = 0): boolean {
    const { rx } = this.pairs[pair]!;
    if (rx.inFlight === 0 && rx.freeCount === rx.size) {
      for (let slot = 0; slot < rx.size; slot++) this.#postRx(pair, slot);
    }
    return rx.publish();
  }

  /** Queues a frame; the device sees it at the next `flush`. False if there is no room now. */
  send(frame: Uint8Array, pair = 0, header: NetHeader = {}): boolean {
    const { tx } = this.pairs[pair]!;
    const free = this.#txFree[pair]!;
    if (free.length === 0) return false;
    if (frame.length + this.headerBytes > this.#txSlotBytes) throw new RangeError(`frame of ${frame.length} bytes`);
    const slot = free[free.length - 1]!;
    const offset = this.#txSlots[pair]![slot]!;
    const { u8 } = this.memory;
    this.#writeHeader(offset, header);
    u8.set(frame, offset + this.headerBytes);
    const length = this.headerBytes + frame.length;
    const head =
      this.#layout === 'single'
        ? tx.addOne(this.#txAddresses[pair]![slot]!, length, false)
        : tx.add(this.#pieces(offset, length), false, this.#layout === 'indirect' && this.#indirect);
    if (head < 0) return false;
    free.pop();
    this.#txSlotOf[pair]![head] = slot;
    return true;
  }

  /** Shows queued frames to the device. Returns whether it wants a notification. */
  flush(pair = 0): boolean {
    return this.pairs[pair]!.tx.publish();
  }

  /** Takes back the buffers of frames that the device is through with, and returns their number. */
  reclaim(pair = 0): number {
    const { tx } = this.pairs[pair]!;
    const slotOf = this.#txSlotOf[pair]!;
    let count = 0;
    while (tx.takeUsed()) {
      const slot = slotOf[tx.usedId]!;
      slotOf[tx.usedId] = -1;
      if (slot >= 0) this.#txFree[pair]!.push(slot);
      count++;
    }
    return count;
  }

  /**
   * Takes the next received frame: a view that is good until the next call. Its buffers go back to the device with the
   * next `fillRx`. Throws when the device breaks the specification.
   */
  receive(pair = 0): Uint8Array | undefined {
    const { rx } = this.pairs[pair]!;
    if (!rx.takeUsed()) return undefined;
    const { u8, u16 } = this.memory;
    const slot = this.#rxSlotOf[pair]![rx.usedId]!;
    const offset = this.#rxSlots[pair]![slot]!;
    if (rx.usedLength < this.headerBytes) throw new Error(`used length ${rx.usedLength} below the header`);
    if (rx.usedLength > this.#rxBufferBytes) throw new Error(`used length ${rx.usedLength} beyond the buffer`);
    const buffers = this.mergeable ? u16[(offset + NUM_BUFFERS) >>> 1]! : 1;
    if (buffers === 0) throw new Error('num_buffers is 0');
    this.numBuffers = buffers;
    this.#readHeader(offset);
    let length = rx.usedLength - this.headerBytes;
    this.#scratch.set(u8.subarray(offset + this.headerBytes, offset + rx.usedLength));
    this.#postRx(pair, slot);
    for (let i = 1; i < buffers; i++) {
      // Section 5.1.6.4: the device makes all buffers of a packet used at once.
      if (!rx.takeUsed()) throw new Error(`buffer ${i} of ${buffers} is missing`);
      const more = this.#rxSlotOf[pair]![rx.usedId]!;
      const from = this.#rxSlots[pair]![more]!;
      this.#scratch.set(u8.subarray(from, from + rx.usedLength), length);
      length += rx.usedLength;
      this.#postRx(pair, more);
    }
    return this.#scratch.subarray(0, length);
  }

  close(): void {
    this.memory.close();
  }

  #writeHeader(offset: number, header: NetHeader): void {
    const { u8, u16 } = this.memory;
    for (let i = 0; i < this.headerBytes; i++) u8[offset + i] = 0;
    u8[offset] = header.flags ?? 0;
    u8[offset + 1] = header.gsoType ?? 0;
    u16[(offset + 2) >>> 1] = header.hdrLen ?? 0;
    u16[(offset + 4) >>> 1] = header.gsoSize ?? 0;
    u16[(offset + 6) >>> 1] = header.csumStart ?? 0;
    u16[(offset + 8) >>> 1] = header.csumOffset ?? 0;
  }

  #readHeader(offset: number): void {
    const { u8, u16 } = this.memory;
    this.header = {
      flags: u8[offset]!,
      gsoType: u8[offset + 1]!,
      hdrLen: u16[(offset + 2) >>> 1]!,
      gsoSize: u16[(offset + 4) >>> 1]!,
      csumStart: u16[(offset + 6) >>> 1]!,
      csumOffset: u16[(offset + 8) >>> 1]!,
    };
  }

  #postRx(pair: number, slot: number): void {
    const head = this.pairs[pair]!.rx.addOne(this.#rxAddresses[pair]![slot]!, this.#rxBufferBytes, true);
    if (head < 0) throw new Error('no descriptor for a receive buffer');
    this.#rxSlotOf[pair]![head] = slot;
  }

  #pieces(offset: number, length: number): Piece[] {
    const pieces: Piece[] = [{ offset, length: this.headerBytes }];
    const step = this.#layout === 'header-apart' ? length : this.#segmentBytes;
    for (let at = this.headerBytes; at < length; at += step) {
      pieces.push({ offset: offset + at, length: Math.min(step, length - at) });
    }
    return pieces;
  }
}
