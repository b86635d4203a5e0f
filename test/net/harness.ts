/** Frames in mbuf chains, cut anywhere, with known bytes around the data so that a step beyond it shows. */
import fc from 'fast-check';
import {
  MBUF_BUF,
  MBUF_BUF_LEN,
  MBUF_DATA_LEN,
  MBUF_DATA_OFF,
  MBUF_F_EXTERNAL,
  MBUF_F_INDIRECT,
  MBUF_NEXT,
  MBUF_OL_FLAGS,
  MBUF_REFCNT,
} from '../../assembly/layout.js';
import { MbufView } from '../../src/mbuf.js';
import { Mempool } from '../../src/mempool.js';
import { createContext } from '../mem/context.js';

export const context = createContext(64);
export const { memory, wasm } = context;
export const LCORE = context.lcoreId;
export const pool = Mempool.createPktmbuf(context, { name: 'net', count: 1200, cacheSize: 64 });
const m = new MbufView(context);

/** Where a frame of `length` bytes is cut: offsets, ascending; no piece of more than `pieceMax`, the first at least `firstMin`. */
export function cutsOf(length: number, wishes: readonly number[], firstMin = 0, pieceMax = 2048): number[] {
  const wanted = wishes.map((wish) => firstMin + (wish % (length - firstMin + 1 || 1)));
  const cuts: number[] = [];
  let at = 0;
  for (const cut of [...wanted.filter((wish) => wish <= length).sort((a, b) => a - b), length]) {
    while (cut - at > pieceMax) {
      at += pieceMax;
      cuts.push(at);
    }
    if (cut !== length) cuts.push(cut);
    at = cut;
  }
  return cuts;
}

export const wishes = fc.array(fc.nat(70_000), { maxLength: 6 });

/** A chain with the frame cut at `cuts`, every other byte of its buffers being `around`. Returns the handle. */
export function put(frame: Uint8Array, cuts: readonly number[] = [], around = 0x5a, from = pool): number {
  let head = 0;
  const ends = [...cuts, frame.length];
  let begin = 0;
  for (const end of ends) {
    const handle = from.alloc();
    if (handle === 0) throw new Error('the test needs more mbufs');
    const buffer = memory.u32[(handle + MBUF_BUF) >>> 2]!;
    memory.u8.fill(around, buffer, buffer + memory.u32[(handle + MBUF_BUF_LEN) >>> 2]!);
    m.at(handle);
    if (!m.append(end - begin)) throw new Error(`a segment of ${end - begin}`);
    m.write(0, frame.subarray(begin, end));
    begin = end;
    if (head === 0) head = handle;
    else if (!m.at(head).chain(handle)) throw new Error('too many segments');
  }
  return head;
}

/** Says which byte around a chain's data is no longer `around`: '' for none. */
export function disturbed(handle: number, around = 0x5a): string {
  const { u8, u32 } = memory;
  for (let segment = handle, i = 0; segment !== 0; segment = u32[(segment + MBUF_NEXT) >>> 2]!, i++) {
    const begin = u32[(segment + MBUF_BUF) >>> 2]!;
    const data = begin + u32[(segment + MBUF_DATA_OFF) >>> 2]!;
    const dataEnd = data + u32[(segment + MBUF_DATA_LEN) >>> 2]!;
    const end = begin + u32[(segment + MBUF_BUF_LEN) >>> 2]!;
    for (let at = begin; at < end; at++) {
      if (at === data) at = dataEnd;
      if (at < end && u8[at] !== around) return `segment ${i}: byte ${at - data} of ${dataEnd - data}`;
    }
  }
  return '';
}

export function bytesOf(handle: number): Uint8Array {
  return m.at(handle).bytes();
}

export function view(handle: number): MbufView {
  return m.at(handle);
}

export function free(...handles: number[]): void {
  for (const handle of handles) wasm.mbufFree(handle, LCORE);
}

/** Throws unless every mbuf is back, as a free one should be. */
export function allBack(of = pool): void {
  if (of.inUseCount !== 0) throw new Error(`${of.inUseCount} mbufs are missing`);
  for (let i = 0; i < of.count; i++) {
    const mbuf = of.elements + i * of.strideBytes;
    const field = (offset: number) => memory.u32[(mbuf + offset) >>> 2]!;
    const attached = field(MBUF_OL_FLAGS) & (MBUF_F_INDIRECT | MBUF_F_EXTERNAL);
    if (field(MBUF_REFCNT) !== 1 || field(MBUF_NEXT) !== 0 || attached !== 0)
      throw new Error(`mbuf ${i} is not as it was`);
  }
}

export function equal(found: Uint8Array, wanted: Uint8Array, what = 'bytes'): void {
  if (found.length !== wanted.length) throw new Error(`${what}: ${found.length} bytes, not ${wanted.length}`);
  const at = found.findIndex((byte, i) => byte !== wanted[i]);
  if (at !== -1) throw new Error(`${what}: byte ${at} is ${found[at]}, not ${wanted[at]}`);
}

export function same(found: unknown, wanted: unknown, what: string): void {
  if (found !== wanted) throw new Error(`${what}: ${found}, not ${wanted}`);
}
