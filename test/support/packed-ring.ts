import type { RingMemory } from './guest-memory.js';
import type { Piece } from './split-ring.js';

// virtio 1.2, section 2.8.6 and 2.8.2: descriptor flags
export const PACKED_F_NEXT = 1;
export const PACKED_F_WRITE = 2;
export const PACKED_F_INDIRECT = 4;
export const PACKED_F_AVAIL = 1 << 7;
export const PACKED_F_USED = 1 << 15;
// section 2.8.14: event suppression structure
export const EVENT_ENABLE = 0;
export const EVENT_DISABLE = 1;
export const EVENT_DESC = 2;

/** A descriptor as a test wants it to stand in guest memory. */
export interface RawDesc {
  readonly address: number | bigint;
  readonly length: number;
  /** Without the state flags; default NEXT for all but the last. */
  readonly flags?: number;
  /** Default: the buffer's, in its last descriptor. */
  readonly id?: number;
}

const DESC_BYTES = 16;

/**
 * The driver's side of a packed virtqueue, from section 2.8 of the virtio 1.2 specification and nothing else, with
 * SplitRing's methods. Positions are counted on without end: index = position % size, and the wrap counter is 1 on even laps.
 */
export class PackedRing {
  readonly size: number;
  /** Offsets of the descriptor ring, the driver's and the device's event suppression structure. */
  readonly desc: number;
  readonly avail: number;
  readonly used: number;
  /** VIRTIO_F_EVENT_IDX, VIRTIO_F_IN_ORDER were negotiated. */
  eventIdx = false;
  inOrder = false;
  /** Of the buffer that `takeUsed` took last. */
  usedId = 0;
  usedLength = 0;
  readonly #memory: RingMemory;
  readonly #tables: number[] = [];
  /** Buffer ids that nobody uses. */
  readonly #ids: number[] = [];
  /** Descriptors, and writable bytes, of the buffer with this id; 0 descriptors: the device does not have it. */
  readonly #chainLength: Uint16Array;
  readonly #writableBytes: Float64Array;
  /** In order: ids as they were made available; the last of a batch that the device told us of. */
  readonly #order: number[] = [];
  #batchEnd = -1;
  #batchLength = 0;
  /** Next descriptor to make available; what the device may see of it; next used one. */
  #next = 0;
  #published = 0;
  #taken = 0;
  #inFlight = 0;
  /** Flags of the first descriptor that is not published: written last. */
  #heldFlags = 0;
  #unpublishedChains = 0;

  constructor(memory: RingMemory, size: number) {
    this.size = size;
    this.#memory = memory;
    // Section 2.8: alignments 16, 4 and 4.
    this.desc = memory.allocate(DESC_BYTES * size, 16);
    this.avail = memory.allocate(4, 4);
    this.used = memory.allocate(4, 4);
    this.#chainLength = new Uint16Array(size);
    this.#writableBytes = new Float64Array(size);
    this.reset();
  }

  /** Descriptors that can be made available. */
  get freeCount(): number {
    return this.size - (this.#next - this.#taken);
  }

  /** Chains that the device sees and has not given back. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** What SET_VRING_BASE says of a fresh ring: both positions, index 0, wrap counter 1. */
  get base(): number {
    return 0x8000_8000;
  }

  /** Back to an empty ring, as after a device reset. */
  reset(): void {
    this.#memory.u8.fill(0, this.desc, this.desc + DESC_BYTES * this.size);
    this.#memory.u8.fill(0, this.avail, this.avail + 4);
    this.#memory.u8.fill(0, this.used, this.used + 4);
    this.#ids.length = 0;
    for (let id = 0; id < this.size; id++) this.#ids.push(id);
    this.#chainLength.fill(0);
    this.#order.length = 0;
    this.#batchEnd = -1;
    this.#next = this.#published = this.#taken = this.#inFlight = this.#unpublishedChains = 0;
  }

  /** Writes a descriptor of the ring or of an indirect table. */
  writeDesc(table: number, index: number, address: number | bigint, length: number, id: number, flags: number): void {
    const at = table + index * DESC_BYTES;
    this.#memory.writeU64(at, address);
    this.#memory.u32[(at >>> 2) + 2] = length;
    this.#memory.u16[(at >>> 1) + 6] = id;
    this.#memory.u16[(at >>> 1) + 7] = flags;
  }

  /** Makes a buffer of one descriptor available (from the next `publish` on). Returns its id, or -1. */
  addOne(guestAddress: number, length: number, writable: boolean): number {
    if (this.freeCount === 0 || this.#ids.length === 0) return -1;
    const id = this.#ids.shift()!;
    this.#place(guestAddress, length, id, writable ? PACKED_F_WRITE : 0);
    this.#offered(id, 1, writable ? length : 0);
    return id;
  }

  /** Makes a buffer of several pieces available, in a table of its own if `indirect`. Returns its id, or -1 if there is no room. */
  add(pieces: readonly Piece[], writable: boolean, indirect = false): number {
    const count = indirect ? 1 : pieces.length;
    if (count > this.freeCount || this.#ids.length === 0) return -1;
    const id = this.#ids.shift()!;
    const write = writable ? PACKED_F_WRITE : 0;
    if (indirect) {
      const table = this.#indirectTable(id, pieces.length);
      // Section 2.8.7: id and NEXT of a table's entries are reserved; a device must not look at them.
      pieces.forEach(({ offset, length }, i) => {
        this.writeDesc(table, i, this.#memory.guestAddress(offset), length, 0, write);
      });
      this.#place(this.#memory.guestAddress(table), pieces.length * DESC_BYTES, id, PACKED_F_INDIRECT);
    } else {
      pieces.forEach(({ offset, length }, i) => {
        const last = i === pieces.length - 1;
        // Section 2.8.6: the buffer id stands in the last descriptor of the list; the others' means nothing.
        this.#place(this.#memory.guestAddress(offset), length, last ? id : 0xffff, write | (last ? 0 : PACKED_F_NEXT));
      });
    }
    const bytes = writable ? pieces.reduce((sum, piece) => sum + piece.length, 0) : 0;
    this.#offered(id, count, bytes);
    return id;
  }

  /** Makes a buffer of any descriptors available, honest or not. Returns its id, or -1 if there is no room. */
  addRaw(descs: readonly RawDesc[]): number {
    if (descs.length > this.freeCount || this.#ids.length === 0) return -1;
    const id = this.#ids.shift()!;
    descs.forEach((desc, i) => {
      const last = i === descs.length - 1;
      this.#place(desc.address, desc.length, desc.id ?? (last ? id : 0xffff), desc.flags ?? (last ? 0 : PACKED_F_NEXT));
    });
    this.#offered(id, descs.length, 0);
    return id;
  }

  /** Any next descriptor, valid or not, available from the next `publish` on. Nothing is expected back. */
  offerRaw(address: number | bigint, length: number, id: number, flags: number): void {
    this.#place(address, length, id, flags);
  }

  /** Lets the device see what was added. True if it wants to be notified: sections 2.8.10 and 2.8.14. */
  publish(): boolean {
    const old = this.#published;
    if (old === this.#next) return false;
    const index = old % this.size;
    Atomics.store(this.#memory.u16, (this.desc + index * DESC_BYTES + 14) >>> 1, this.#heldFlags);
    this.#published = this.#next;
    this.#inFlight += this.#unpublishedChains;
    this.#unpublishedChains = 0;
    const event = Atomics.load(this.#memory.u32, this.used >>> 2);
    const wish = (event >>> 16) & 3;
    if (wish !== EVENT_DESC || !this.eventIdx) return wish !== EVENT_DISABLE;
    for (let position = old; position < this.#next; position++) {
      if (this.#offWrap(position) === (event & 0xffff)) return true;
    }
    return false;
  }

  /** Whether there is something for `takeUsed`. */
  get hasUsed(): boolean {
    if (this.#batchEnd >= 0) return true;
    const at = this.desc + (this.#taken % this.size) * DESC_BYTES;
    const flags = Atomics.load(this.#memory.u16, (at + 14) >>> 1);
    const state = wrapOf(this.#taken, this.size) ? PACKED_F_AVAIL | PACKED_F_USED : 0;
    return (flags & (PACKED_F_AVAIL | PACKED_F_USED)) === state && this.#taken < this.#published;
  }

  /** Takes the next used buffer, if there is one; `usedId` and `usedLength` tell it. */
  takeUsed(): boolean {
    if (!this.hasUsed) return false;
    if (this.#batchEnd < 0) {
      const at = this.desc + (this.#taken % this.size) * DESC_BYTES;
      this.#batchEnd = this.#memory.u16[(at + 12) >>> 1]!;
      // Section 2.8.6: without the WRITE flag the length means nothing.
      const written = (this.#memory.u16[(at + 14) >>> 1]! & PACKED_F_WRITE) !== 0;
      this.#batchLength = written ? this.#memory.u32[(at + 8) >>> 2]! : 0;
    }
    const end = this.#batchEnd;
    // Section 2.8.9 (in order): one used descriptor may stand for a batch, with the id of its last buffer.
    const id = this.inOrder ? (this.#order.shift() ?? -1) : end;
    const count = this.#chainLength[id] ?? 0;
    if (count === 0) throw new Error(`the device returned buffer ${end} (${id}), which it does not have`);
    this.usedId = id;
    this.usedLength = id === end ? this.#batchLength : this.#writableBytes[id]!;
    if (id === end) this.#batchEnd = -1;
    this.#chainLength[id] = 0;
    this.#taken += count;
    if (this.#taken > this.#published) throw new Error('the device returned more descriptors than it had');
    this.#inFlight--;
    this.#ids.push(id);
    return true;
  }

  /** Asks for an interrupt at the next used buffer, or for none. */
  wantInterrupts(wanted: boolean): void {
    const { u16 } = this.#memory;
    if (wanted && this.eventIdx) Atomics.store(u16, this.avail >>> 1, this.#offWrap(this.#taken));
    const flags = !wanted ? EVENT_DISABLE : this.eventIdx ? EVENT_DESC : EVENT_ENABLE;
    Atomics.store(u16, (this.avail >>> 1) + 1, flags);
  }

  /** Any driver event structure. */
  writeEvent(offWrap: number, flags: number): void {
    Atomics.store(this.#memory.u32, this.avail >>> 2, ((flags << 16) | (offWrap & 0xffff)) >>> 0);
  }

  /** State flags of a descriptor that is available at this position. */
  availFlags(position = this.#next): number {
    return wrapOf(position, this.size) ? PACKED_F_AVAIL : PACKED_F_USED;
  }

  /** Position of the next descriptor to make available: its index and wrap counter as the protocol writes them. */
  get nextOffWrap(): number {
    return this.#offWrap(this.#next);
  }

  #offWrap(position: number): number {
    return (position % this.size) | (wrapOf(position, this.size) ? 0x8000 : 0);
  }

  #place(address: number | bigint, length: number, id: number, flags: number): void {
    const first = this.#next === this.#published;
    const index = this.#next % this.size;
    const whole = flags | this.availFlags();
    if (first) {
      this.#heldFlags = whole;
      const at = (this.desc + index * DESC_BYTES + 14) >>> 1;
      this.writeDesc(this.desc, index, address, length, id, this.#memory.u16[at]!);
    } else this.writeDesc(this.desc, index, address, length, id, whole);
    this.#next++;
  }

  #offered(id: number, count: number, writableBytes: number): void {
    this.#chainLength[id] = count;
    this.#writableBytes[id] = writableBytes;
    if (this.inOrder) this.#order.push(id);
    this.#unpublishedChains++;
  }

  #indirectTable(id: number, entries: number): number {
    if (entries > this.size) throw new RangeError(`an indirect table of ${entries} in a ring of ${this.size}`);
    this.#tables[id] ??= this.#memory.allocate(DESC_BYTES * this.size, 16);
    return this.#tables[id]!;
  }
}

/** Section 2.8.1: the counter is 1 at first and flips at each end of the ring. */
function wrapOf(position: number, size: number): boolean {
  return Math.floor(position / size) % 2 === 0;
}
