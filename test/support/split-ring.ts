import type { RingMemory } from './guest-memory.js';

// virtio 1.2, section 2.7.5: descriptor flags
export const DESC_F_NEXT = 1;
export const DESC_F_WRITE = 2;
export const DESC_F_INDIRECT = 4;
// sections 2.7.6 and 2.7.8
const AVAIL_F_NO_INTERRUPT = 1;
const USED_F_NO_NOTIFY = 1;

const DESC_BYTES = 16;
const USED_ELEM_BYTES = 8;

/** A piece of guest memory that a descriptor names. */
export interface Piece {
  readonly offset: number;
  readonly length: number;
}

/**
 * The driver's side of a split virtqueue, from section 2.7 of the virtio 1.2 specification and nothing else. The three
 * areas are public as file offsets, so that a test can also write what no driver would.
 */
export class SplitRing {
  readonly size: number;
  /** File offsets of the three areas. */
  readonly desc: number;
  readonly avail: number;
  readonly used: number;
  /** VIRTIO_F_EVENT_IDX, VIRTIO_F_IN_ORDER were negotiated. */
  eventIdx = false;
  inOrder = false;
  /** Of the used element that `takeUsed` took last. */
  usedId = 0;
  usedLength = 0;
  readonly #memory: RingMemory;
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  /** Indirect tables, one a descriptor, made on first use. */
  readonly #tables: number[] = [];
  /** A stack; in order a queue, which begins at #freeFirst: section 2.7.9 has descriptors used in the table's order. */
  readonly #free: Uint16Array;
  #freeFirst = 0;
  /** Descriptors that the chain starting at this head uses, and which: not read back from memory, where a test may have lied. */
  readonly #chainLength: Uint16Array;
  readonly #chainNext: Uint16Array;
  #freeCount: number;
  /** Next free entry of the available ring; what the device may see of it. Both run on beyond 65535. */
  #availNext = 0;
  #availPublished = 0;
  #usedTaken = 0;

  constructor(memory: RingMemory, size: number) {
    this.size = size;
    this.#memory = memory;
    this.#u16 = memory.u16;
    this.#u32 = memory.u32;
    // Section 2.7: alignments 16, 2 and 4; both rings have the event field behind their last entry.
    this.desc = memory.allocate(DESC_BYTES * size, 16);
    this.avail = memory.allocate(6 + 2 * size, 2);
    this.used = memory.allocate(6 + USED_ELEM_BYTES * size, 4);
    this.#free = new Uint16Array(size);
    this.#freeCount = size;
    this.#chainLength = new Uint16Array(size);
    this.#chainNext = new Uint16Array(size);
    this.reset();
  }

  get freeCount(): number {
    return this.#freeCount;
  }

  /** Chains that the device has not given back. */
  get inFlight(): number {
    return this.#availPublished - this.#usedTaken;
  }

  /** What SET_VRING_BASE says of a fresh ring. */
  get base(): number {
    return 0;
  }

  /** Whether there is something for `takeUsed`. */
  get hasUsed(): boolean {
    return this.usedIndex !== (this.#usedTaken & 0xffff);
  }

  /** Back to an empty ring, as after a device reset. */
  reset(): void {
    this.#memory.u8.fill(0, this.desc, this.desc + DESC_BYTES * this.size);
    this.#memory.u8.fill(0, this.avail, this.avail + 6 + 2 * this.size);
    this.#memory.u8.fill(0, this.used, this.used + 6 + USED_ELEM_BYTES * this.size);
    for (let i = 0; i < this.size; i++) this.#free[i] = this.inOrder ? i : this.size - 1 - i;
    this.#freeCount = this.size;
    this.#freeFirst = 0;
    this.#chainLength.fill(0);
    this.#availNext = this.#availPublished = this.#usedTaken = 0;
  }

  writeDesc(table: number, index: number, address: number | bigint, length: number, flags: number, next: number): void {
    const at = table + index * DESC_BYTES;
    this.#memory.writeU64(at, address);
    this.#u32[(at >>> 2) + 2] = length;
    this.#u16[(at >>> 1) + 6] = flags;
    this.#u16[(at >>> 1) + 7] = next;
  }

  /** Makes a chain of one descriptor available (from the next `publish` on): the hot case. Returns its head, or -1. */
  addOne(guestAddress: number, length: number, writable: boolean): number {
    if (this.#freeCount === 0) return -1;
    const head = this.#takeFree();
    this.writeDesc(this.desc, head, guestAddress, length, writable ? DESC_F_WRITE : 0, 0);
    this.#chainLength[head] = 1;
    this.#offer(head);
    return head;
  }

  /** Makes a chain of pieces available, in a table of its own if `indirect`. Returns its head, or -1 if the ring is full. */
  add(pieces: readonly Piece[], writable: boolean, indirect = false): number {
    const count = indirect ? 1 : pieces.length;
    if (count > this.#freeCount) return -1;
    const heads: number[] = [];
    for (let i = 0; i < count; i++) heads.push(this.#takeFree());
    const head = heads[0]!;
    const table = indirect ? this.#indirectTable(head, pieces.length) : this.desc;
    const write = writable ? DESC_F_WRITE : 0;
    pieces.forEach((piece, i) => {
      const last = i === pieces.length - 1;
      const index = indirect ? i : heads[i]!;
      const next = last ? 0 : indirect ? i + 1 : heads[i + 1]!;
      const flags = write | (last ? 0 : DESC_F_NEXT);
      this.writeDesc(table, index, this.#memory.guestAddress(piece.offset), piece.length, flags, next);
    });
    if (indirect) {
      const bytes = pieces.length * DESC_BYTES;
      this.writeDesc(this.desc, head, this.#memory.guestAddress(table), bytes, DESC_F_INDIRECT, 0);
    }
    this.#chainLength[head] = count;
    for (let i = 1; i < count; i++) this.#chainNext[heads[i - 1]!] = heads[i]!;
    this.#offer(head);
    return head;
  }

  /**
   * Lets the device see what was added. True if it wants to be notified: section 2.7.7 with event index, 2.7.10 without.
   */
  publish(): boolean {
    const old = this.#availPublished;
    this.#availPublished = this.#availNext;
    if (old === this.#availNext) return false;
    Atomics.store(this.#u16, (this.avail >>> 1) + 1, this.#availNext & 0xffff);
    if (!this.eventIdx) return (Atomics.load(this.#u16, this.used >>> 1) & USED_F_NO_NOTIFY) === 0;
    const event = Atomics.load(this.#u16, (this.used + 4 + USED_ELEM_BYTES * this.size) >>> 1);
    const added = (this.#availNext - old) & 0xffff;
    return ((this.#availNext - event - 1) & 0xffff) < added;
  }

  /** Takes the next used element, if there is one; `usedId` and `usedLength` tell it. */
  takeUsed(): boolean {
    const index = Atomics.load(this.#u16, (this.used >>> 1) + 1);
    if (index === (this.#usedTaken & 0xffff)) return false;
    const ahead = (index - this.#usedTaken) & 0xffff;
    if (ahead > this.inFlight) throw new Error(`the device returned ${ahead} chains of ${this.inFlight} in flight`);
    const at = (this.used + 4 + (this.#usedTaken & (this.size - 1)) * USED_ELEM_BYTES) >>> 2;
    this.usedId = this.#u32[at]!;
    this.usedLength = this.#u32[at + 1]!;
    if (this.usedId >= this.size) throw new Error(`used id ${this.usedId} in a ring of ${this.size}`);
    const count = this.#chainLength[this.usedId]!;
    if (count === 0) throw new Error(`the device returned chain ${this.usedId}, which it does not have`);
    this.#chainLength[this.usedId] = 0;
    this.#usedTaken++;
    this.#release(this.usedId, count);
    return true;
  }

  /** Asks for an interrupt at the next used element, or for none. */
  wantInterrupts(wanted: boolean): void {
    if (this.eventIdx) {
      // Section 2.7.7.1: used_event. Half the number space away from the present index is "not soon".
      const event = wanted ? this.#usedTaken : this.#usedTaken + 0x8000;
      Atomics.store(this.#u16, (this.avail + 4 + 2 * this.size) >>> 1, event & 0xffff);
    } else {
      Atomics.store(this.#u16, this.avail >>> 1, wanted ? 0 : AVAIL_F_NO_INTERRUPT);
    }
  }

  /** Puts any number in the next entry of the available ring, valid or not. A head that is given back then is an error. */
  offerRaw(head: number): void {
    this.#offer(head);
  }

  /** Lets the device see any available index. */
  publishRaw(index: number): void {
    Atomics.store(this.#u16, (this.avail >>> 1) + 1, index & 0xffff);
  }

  /** The device's used index. */
  get usedIndex(): number {
    return Atomics.load(this.#u16, (this.used >>> 1) + 1);
  }

  get availIndex(): number {
    return this.#availNext & 0xffff;
  }

  #offer(head: number): void {
    const slot = this.#availNext & (this.size - 1);
    this.#u16[(this.avail + 4 + 2 * slot) >>> 1] = head;
    this.#availNext++;
  }

  #takeFree(): number {
    this.#freeCount--;
    if (!this.inOrder) return this.#free[this.#freeCount]!;
    const head = this.#free[this.#freeFirst]!;
    this.#freeFirst = (this.#freeFirst + 1) % this.size;
    return head;
  }

  #release(head: number, count: number): void {
    let index = head;
    for (let i = 0; i < count; i++) {
      this.#free[(this.#freeFirst + this.#freeCount++) % this.size] = index;
      index = this.#chainNext[index]!;
    }
  }

  #indirectTable(head: number, entries: number): number {
    if (entries > this.size) throw new RangeError(`an indirect table of ${entries} in a ring of ${this.size}`);
    this.#tables[head] ??= this.#memory.allocate(DESC_BYTES * this.size, 16);
    return this.#tables[head]!;
  }
}
