import {
  MBUF_BUF,
  MBUF_BUF_LEN,
  MBUF_DATA_LEN,
  MBUF_DATA_OFF,
  MBUF_F_EXTERNAL,
  MBUF_F_INDIRECT,
  MBUF_HASH,
  MBUF_L2_LEN,
  MBUF_L3_LEN,
  MBUF_L4_LEN,
  MBUF_NB_SEGS,
  MBUF_NEXT,
  MBUF_OL_FLAGS,
  MBUF_PACKET_TYPE,
  MBUF_PKT_LEN,
  MBUF_POOL,
  MBUF_PORT,
  MBUF_REFCNT,
  MBUF_TSO_SEGSZ,
  MBUF_UDATA,
  MBUF_VLAN_TCI,
  MBUF_VLAN_TCI_OUTER,
} from '../assembly/layout.js';
import type { MemContext } from './eal/context.js';
import { ViaductError } from './errors.js';
import type { Mempool } from './mempool.js';

// Header fields as indexes of words and halfwords. V8 loads an imported constant from its module each time, but folds
// one of this file into the code: on the hot path that is half of the time.
const BUF_W = MBUF_BUF >>> 2;
const DATA_OFF_W = MBUF_DATA_OFF >>> 2;
const DATA_LEN_W = MBUF_DATA_LEN >>> 2;
const PKT_LEN_W = MBUF_PKT_LEN >>> 2;
const NEXT_W = MBUF_NEXT >>> 2;
const REFCNT_W = MBUF_REFCNT >>> 2;
const POOL_W = MBUF_POOL >>> 2;
const OL_FLAGS_W = MBUF_OL_FLAGS >>> 2;
const PACKET_TYPE_W = MBUF_PACKET_TYPE >>> 2;
const HASH_W = MBUF_HASH >>> 2;
const BUF_LEN_W = MBUF_BUF_LEN >>> 2;
const NB_SEGS_H = MBUF_NB_SEGS >>> 1;
const PORT_H = MBUF_PORT >>> 1;
const VLAN_TCI_H = MBUF_VLAN_TCI >>> 1;
const VLAN_TCI_OUTER_H = MBUF_VLAN_TCI_OUTER >>> 1;
const L3_LEN_H = MBUF_L3_LEN >>> 1;
const TSO_SEGSZ_H = MBUF_TSO_SEGSZ >>> 1;
const UDATA_H = MBUF_UDATA >>> 1;
const L2_LEN_B = MBUF_L2_LEN;
const L4_LEN_B = MBUF_L4_LEN;
const ATTACHED = MBUF_F_INDIRECT | MBUF_F_EXTERNAL;

/** Bytes of the two MAC addresses that start a frame. */
const MACS_BYTES = 12;

/**
 * A packet buffer as TypeScript sees it (rte_mbuf): one view is made once and pointed at one packet after another, so
 * that a packet costs no garbage.
 *
 *   const m = new MbufView(eal);
 *   for (let i = 0; i < n; i++) m.at(burst.handles[i]).swapMacs();
 *
 * The data accessors (`u8`, `setU16`, `swapMacs` ...) read and write the data of the segment that the view is at,
 * offset 0 being its first byte; wide values are in network byte order. They throw RangeError beyond the segment's
 * data: no packet of the peer's making can get a program to touch anything else, as long as the program looks at
 * `dataLen`.
 *
 * The view remembers where the data lies: after something else (Wasm, another view) has changed the header, call at()
 * again.
 *
 * Data in a guest's memory (an external buffer in a window) can't be reached from JavaScript, since it may vanish at
 * any time: there the accessors throw ERR_INVALID_STATE. `copy()` it, in Wasm, first.
 */
export class MbufView {
  readonly #context: MemContext;
  readonly #u8: Uint8Array;
  readonly #u16: Uint16Array;
  readonly #i32: Int32Array;
  readonly #u32: Uint32Array;
  readonly #end: number;
  #handle = 0;
  /** Address of the first byte of data. */
  #data = 0;
  /** Bytes that the accessors may touch: MBUF_DATA_LEN, or 0 when they lie outside host memory. */
  #length = 0;

  constructor(context: MemContext) {
    const { memory } = context;
    this.#context = context;
    this.#u8 = memory.u8;
    this.#u16 = memory.u16;
    this.#i32 = memory.i32;
    this.#u32 = memory.u32;
    this.#end = memory.endAddress;
  }

  /** Points the view at a packet, or a segment, and returns the view. */
  at(handle: number): this {
    // signed loads: every address of host memory is a small integer then, one of a window may be negative
    const i32 = this.#i32;
    const header = handle >>> 2;
    const data = (i32[header + BUF_W]! + i32[header + DATA_OFF_W]!) | 0;
    const length = i32[header + DATA_LEN_W]!;
    this.#handle = handle | 0;
    this.#data = data;
    this.#length = data >= 0 && data <= this.#end - length ? length : 0;
    return this;
  }

  // ---- the header
  // ----------------------------------------------------------------------------------------------------

  /** Handle of the packet that the view is at. */
  get handle(): number {
    return this.#handle;
  }

  /** Bytes in all segments (rte_pktmbuf_pkt_len). */
  get pktLen(): number {
    return this.#u32[(this.#handle >>> 2) + PKT_LEN_W]!;
  }

  /** Bytes in this segment (rte_pktmbuf_data_len). */
  get dataLen(): number {
    return this.#u32[(this.#handle >>> 2) + DATA_LEN_W]!;
  }

  /** Handle of the next segment, 0 at the last. */
  get next(): number {
    return this.#u32[(this.#handle >>> 2) + NEXT_W]!;
  }

  /** Segments in the chain; only the first segment knows. */
  get nbSegs(): number {
    return this.#u16[(this.#handle >>> 1) + NB_SEGS_H]!;
  }

  /** Port that it came in on, 65535 for none. */
  get port(): number {
    return this.#u16[(this.#handle >>> 1) + PORT_H]!;
  }

  set port(port: number) {
    this.#u16[(this.#handle >>> 1) + PORT_H] = port;
  }

  /** Holders of this header (rte_mbuf_refcnt_read). */
  get refcnt(): number {
    return Atomics.load(this.#u32, (this.#handle >>> 2) + REFCNT_W);
  }

  /** Address of the mempool that it goes back to. */
  get pool(): number {
    return this.#u32[(this.#handle >>> 2) + POOL_W]!;
  }

  /** Offload flags: `m.olFlags & MbufFlags.RX_VLAN`. */
  get olFlags(): number {
    return this.#u32[(this.#handle >>> 2) + OL_FLAGS_W]!;
  }

  /** Sets the offload flags; those that say whose buffer it is stay as they are. */
  set olFlags(flags: number) {
    const index = (this.#handle >>> 2) + OL_FLAGS_W;
    this.#u32[index] = (this.#u32[index]! & ATTACHED) | (flags & ~ATTACHED);
  }

  /** Packet type, see PacketType and packetTypeName(); 0 where nobody has looked. */
  get packetType(): number {
    return this.#u32[(this.#handle >>> 2) + PACKET_TYPE_W]!;
  }

  set packetType(type: number) {
    this.#u32[(this.#handle >>> 2) + PACKET_TYPE_W] = type;
  }

  /** Flow hash, with RX_RSS_HASH. */
  get hash(): number {
    return this.#u32[(this.#handle >>> 2) + HASH_W]!;
  }

  set hash(hash: number) {
    this.#u32[(this.#handle >>> 2) + HASH_W] = hash;
  }

  /** VLAN tag control information: with RX_VLAN the tag that the packet had, with TX_VLAN the one that it shall get. */
  get vlanTci(): number {
    return this.#u16[(this.#handle >>> 1) + VLAN_TCI_H]!;
  }

  set vlanTci(tci: number) {
    this.#u16[(this.#handle >>> 1) + VLAN_TCI_H] = tci;
  }

  /** The same of the outer of two tags, with RX_QINQ and TX_QINQ. */
  get vlanTciOuter(): number {
    return this.#u16[(this.#handle >>> 1) + VLAN_TCI_OUTER_H]!;
  }

  set vlanTciOuter(tci: number) {
    this.#u16[(this.#handle >>> 1) + VLAN_TCI_OUTER_H] = tci;
  }

  /** Bytes of the L2 header, for offloads. */
  get l2Len(): number {
    return this.#u8[this.#handle + L2_LEN_B]!;
  }

  set l2Len(bytes: number) {
    this.#u8[this.#handle + L2_LEN_B] = bytes;
  }

  /** Bytes of the L3 header, for offloads. */
  get l3Len(): number {
    return this.#u16[(this.#handle >>> 1) + L3_LEN_H]!;
  }

  set l3Len(bytes: number) {
    this.#u16[(this.#handle >>> 1) + L3_LEN_H] = bytes;
  }

  /** Bytes of the L4 header, for offloads. */
  get l4Len(): number {
    return this.#u8[this.#handle + L4_LEN_B]!;
  }

  set l4Len(bytes: number) {
    this.#u8[this.#handle + L4_LEN_B] = bytes;
  }

  /** Payload bytes of a TSO segment. */
  get tsoSegsz(): number {
    return this.#u16[(this.#handle >>> 1) + TSO_SEGSZ_H]!;
  }

  set tsoSegsz(bytes: number) {
    this.#u16[(this.#handle >>> 1) + TSO_SEGSZ_H] = bytes;
  }

  /** A 16-bit field of the program's own. */
  get udata(): number {
    return this.#u16[(this.#handle >>> 1) + UDATA_H]!;
  }

  set udata(value: number) {
    this.#u16[(this.#handle >>> 1) + UDATA_H] = value;
  }

  /** Free bytes before this segment's data (rte_pktmbuf_headroom). */
  get headroom(): number {
    return this.#u32[(this.#handle >>> 2) + DATA_OFF_W]!;
  }

  /** Free bytes behind this segment's data (rte_pktmbuf_tailroom). */
  get tailroom(): number {
    return this.#u32[(this.#handle >>> 2) + BUF_LEN_W]! - this.headroom - this.dataLen;
  }

  // ---- this segment's data
  // -------------------------------------------------------------------------------------------

  /** Linear address of the first byte of data (rte_pktmbuf_mtod), for Wasm. */
  get dataAddress(): number {
    return this.#data >>> 0;
  }

  /** The byte at `offset`. Throws RangeError outside the segment's data, like all of these. */
  u8(offset: number): number {
    if (offset >>> 0 !== offset || offset >= this.#length) throw this.#outside(offset, 1);
    return this.#u8[this.#data + offset]!;
  }

  /** 16 bits in network byte order. */
  u16(offset: number): number {
    if (offset >>> 0 !== offset || offset + 2 > this.#length) throw this.#outside(offset, 2);
    const u8 = this.#u8;
    const at = this.#data + offset;
    return (u8[at]! << 8) | u8[at + 1]!;
  }

  /** 32 bits in network byte order. */
  u32(offset: number): number {
    if (offset >>> 0 !== offset || offset + 4 > this.#length) throw this.#outside(offset, 4);
    const u8 = this.#u8;
    const at = this.#data + offset;
    return ((u8[at]! << 24) | (u8[at + 1]! << 16) | (u8[at + 2]! << 8) | u8[at + 3]!) >>> 0;
  }

  setU8(offset: number, value: number): void {
    if (offset >>> 0 !== offset || offset >= this.#length) throw this.#outside(offset, 1);
    this.#u8[this.#data + offset] = value;
  }

  setU16(offset: number, value: number): void {
    if (offset >>> 0 !== offset || offset + 2 > this.#length) throw this.#outside(offset, 2);
    const u8 = this.#u8;
    const at = this.#data + offset;
    u8[at] = value >>> 8;
    u8[at + 1] = value;
  }

  setU32(offset: number, value: number): void {
    if (offset >>> 0 !== offset || offset + 4 > this.#length) throw this.#outside(offset, 4);
    const u8 = this.#u8;
    const at = this.#data + offset;
    u8[at] = value >>> 24;
    u8[at + 1] = value >>> 16;
    u8[at + 2] = value >>> 8;
    u8[at + 3] = value;
  }

  /**
   * Writes `bytes` at `offset`, all of them inside the segment's data. For headers and tests, not for payload by the
   * million.
   */
  write(offset: number, bytes: Uint8Array): void {
    if (offset >>> 0 !== offset || offset + bytes.length > this.#length) throw this.#outside(offset, bytes.length);
    this.#u8.set(bytes, this.#data + offset);
  }

  /** Exchanges destination and source address of an Ethernet frame. */
  swapMacs(): void {
    const data = this.#data;
    if (this.#length < MACS_BYTES) throw this.#outside(0, MACS_BYTES);
    if ((data & 3) === 0) {
      // little-endian words: d0-3, d4 d5 s0 s1, s2-5
      const i32 = this.#i32;
      const at = data >> 2;
      const a = i32[at]!;
      const b = i32[at + 1]!;
      const c = i32[at + 2]!;
      i32[at] = (b >>> 16) | (c << 16);
      i32[at + 1] = (c >>> 16) | (a << 16);
      i32[at + 2] = (a >>> 16) | (b << 16);
    } else {
      this.#swapMacsUnaligned();
    }
  }

  /** A copy of the whole packet, all its segments. */
  bytes(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.pktLen);
    const first = this.#handle;
    let length = 0;
    for (let segment = first; segment !== 0; segment = this.next) {
      this.at(segment);
      if (this.#length < this.dataLen) throw this.at(first).#outside(0, bytes.length);
      bytes.set(this.#u8.subarray(this.#data, this.#data + Math.min(this.#length, bytes.length - length)), length);
      length += this.#length;
    }
    this.at(first);
    return bytes;
  }

  // ---- lengths: false, and nothing changed, where there is no room or no data
  // ----------------------------------------

  /** Makes room for `lengthBytes` before the packet's data: false without the headroom (rte_pktmbuf_prepend). */
  prepend(lengthBytes: number): boolean {
    requireLength(lengthBytes);
    if (lengthBytes > this.headroom) return false;
    this.#resizeFirst(-lengthBytes, lengthBytes);
    return true;
  }

  /** Cuts `lengthBytes` off the front of the first segment: false when it is shorter (rte_pktmbuf_adj). */
  adj(lengthBytes: number): boolean {
    requireLength(lengthBytes);
    if (lengthBytes > this.dataLen) return false;
    this.#resizeFirst(lengthBytes, -lengthBytes);
    return true;
  }

  /** Adds `lengthBytes` at the end of the last segment: false without the tailroom (rte_pktmbuf_append). */
  append(lengthBytes: number): boolean {
    requireLength(lengthBytes);
    return this.#resizeLast(lengthBytes);
  }

  /** Cuts `lengthBytes` off the end of the last segment: false when it is shorter (rte_pktmbuf_trim). */
  trim(lengthBytes: number): boolean {
    requireLength(lengthBytes);
    return this.#resizeLast(-lengthBytes);
  }

  // ---- whole packets
  // -------------------------------------------------------------------------------------------------

  /** Frees the packet (rte_pktmbuf_free); the view is at nothing then. */
  free(): void {
    const handle = this.#handle;
    this.#handle = 0;
    this.#data = 0;
    this.#length = 0;
    this.#context.wasm.mbufFree(handle, this.#context.lcoreId);
  }

  /**
   * A second packet over the same bytes, 0 when the pool is exhausted (rte_pktmbuf_clone). Returns its handle. Nobody
   * may change the bytes while both live.
   */
  clone(pool: Mempool): number {
    return this.#context.wasm.mbufClone(this.#handle, pool.address, this.#context.lcoreId);
  }

  /**
   * A packet of its own with `lengthBytes` from `offset` on, as many as there are; 0 when the pool is exhausted or
   * there are none (rte_pktmbuf_copy).
   */
  copy(pool: Mempool, offset = 0, lengthBytes = 0xffff_ffff): number {
    return this.#context.wasm.mbufCopy(this.#handle, pool.address, offset, lengthBytes, this.#context.lcoreId);
  }

  /**
   * Appends the packet `tail`, which is part of this one from then on: false beyond 128 segments (rte_pktmbuf_chain).
   */
  chain(tail: number): boolean {
    return this.#context.wasm.mbufChain(this.#handle, tail) === 1;
  }

  // ---- the slow parts
  // ------------------------------------------------------------------------------------------------

  #swapMacsUnaligned(): void {
    const { u8 } = this.#context.memory;
    for (let at = this.#data; at < this.#data + 6; at++) {
      const byte = u8[at]!;
      u8[at] = u8[at + 6]!;
      u8[at + 6] = byte;
    }
  }

  #resizeFirst(offsetChange: number, lengthChange: number): void {
    const header = this.#handle >>> 2;
    this.#u32[header + DATA_OFF_W]! += offsetChange;
    this.#u32[header + DATA_LEN_W]! += lengthChange;
    this.#u32[header + PKT_LEN_W]! += lengthChange;
    this.at(this.#handle);
  }

  #resizeLast(change: number): boolean {
    const first = this.#handle;
    while (this.next !== 0) this.at(this.next);
    const fits = change <= this.tailroom && -change <= this.dataLen;
    if (fits) this.#u32[(this.#handle >>> 2) + DATA_LEN_W]! += change;
    this.at(first);
    if (fits) this.#u32[(first >>> 2) + PKT_LEN_W]! += change;
    return fits;
  }

  #outside(offset: number, bytes: number): Error {
    if (this.#handle === 0)
      return new ViaductError('ERR_INVALID_STATE', 'mbuf: the view is at no packet: call at() first');
    if (this.#length === 0 && this.dataLen !== 0) {
      return new ViaductError(
        'ERR_INVALID_STATE',
        `mbuf 0x${this.#handle.toString(16)}: its data lies in a guest's memory, which JavaScript can't touch: copy() the packet first`,
      );
    }
    return new RangeError(
      `mbuf: ${bytes} bytes at offset ${offset} lie outside the segment's ${this.dataLen} bytes of data`,
    );
  }
}

function requireLength(lengthBytes: number): void {
  if (lengthBytes >>> 0 !== lengthBytes) {
    throw new ViaductError('ERR_INVALID_ARGUMENT', `mbuf: ${lengthBytes} is no length in bytes`);
  }
}
