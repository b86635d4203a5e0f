/**
 * The guest's other CPU, told exactly when to strike: a word of guest memory changes right before the device's first read of it,
 * its second one, and so on to its last. Whatever the device reads a word for, it reads it once, or looks at it afresh: so what
 * comes of a change must be what comes of the old word or what comes of the new one, never something of both. And no access is
 * outside the guest's regions, whenever it is.
 */
import { createHash } from 'node:crypto';
import {
  MBUF_DATA_LEN,
  MBUF_L2_LEN,
  MBUF_NB_SEGS,
  MBUF_NEXT,
  MBUF_OL_FLAGS,
  MBUF_PKT_LEN,
  QUEUE_BYTES,
  QUEUE_LAST_USED,
  QUEUE_NOTIFIED,
  QUEUE_PACKETS,
  QUEUE_SUPPRESSED,
} from '../../assembly/layout.js';
import { PackedRing } from '../support/packed-ring.js';
import { createRig, hasCanary, type Rig, type RigRing } from './rig.js';
import { createTracedContext, type Watch } from './traced.js';

/** A word of guest memory: where, how long, and what may stand there; the first value is what the guest wrote at first. */
export interface Word {
  readonly name: string;
  readonly offset: number;
  readonly bytes: 1 | 2 | 4 | 8;
  readonly values: readonly number[];
  /** The device may come to it a second time, for another purpose: what it makes of both is only held against the rules. */
  readonly again?: boolean;
}

/** What the guest has prepared. */
export interface Scene {
  readonly words: readonly Word[];
  /** One burst; returns what came of it. */
  act(): string;
}

export interface TracedRig {
  readonly rig: Rig;
  readonly watch: Watch;
}

export function createTracedRig(mbufCount = 200): TracedRig {
  const context = createTracedContext(64);
  return { rig: createRig(mbufCount, context), watch: context.watch };
}

const ROUNDS_WITHOUT_END = 500;

/**
 * Tries every change of every word from its first value to each other one, and back, at each of its reads; `prepare` boots the rig
 * anew and offers the same each time. Returns how many runs that were.
 */
export function interleave({ rig, watch }: TracedRig, prepare: () => Scene): number {
  const isInside = insideOf(rig);
  let runs = 0;

  const run = (word: number, from: number, to?: { readonly value: number; readonly at: number }) => {
    const { words, act } = prepare();
    const { offset, bytes } = words[word]!;
    write(rig, offset, bytes, from);
    const begin = rig.arena + offset;
    let reads = 0;
    watch.read = (address, length) => {
      if (!isInside(address, length))
        throw new Error(`reads ${length} bytes outside, at arena + ${address - rig.arena}`);
      if (address >= begin + bytes || address + length <= begin) return;
      if (reads === to?.at) write(rig, offset, bytes, to.value);
      reads++;
    };
    watch.write = (address, length) => {
      if (!isInside(address, length))
        throw new Error(`writes ${length} bytes outside, at arena + ${address - rig.arena}`);
    };
    try {
      const outcome = act();
      runs++;
      return { outcome, reads };
    } finally {
      watch.read = watch.write = () => {};
    }
  };

  const { words } = prepare();
  words.forEach(({ name, values, again = false }, word) => {
    const [honest, ...others] = values;
    for (const [from, to] of others.flatMap((other) => [
      [honest!, other],
      [other, honest!],
    ])) {
      const change = `${name}: ${hex(from!)} becomes ${hex(to!)}`;
      try {
        const before = run(word, from!).outcome;
        const after = run(word, to!).outcome;
        for (let at = 0; ; at++) {
          if (at > ROUNDS_WITHOUT_END) throw new Error('is read without end');
          const { outcome, reads } = run(word, from!, { value: to!, at });
          if (reads <= at) break;
          if (!again && outcome !== before && outcome !== after) {
            throw new Error(`after ${at} reads comes\n  ${outcome}\nwhich is neither\n  ${before}\nnor\n  ${after}`);
          }
          rig.checkPool();
        }
      } catch (error) {
        throw new Error(`${change}: ${(error as Error).message}`, { cause: error });
      }
    }
  });
  return runs;
}

/** Guest memory may be touched in its regions alone, and never across their ends. */
function insideOf(rig: Rig): (address: number, length: number) => boolean {
  const regions = rig.regions.map(({ offset, lengthBytes }) => [rig.arena + offset, rig.arena + offset + lengthBytes]);
  const end = rig.arena + rig.arenaBytes;
  return (address, length) =>
    address >= end ||
    address + length <= rig.arena ||
    regions.some(([from, to]) => address >= from! && address + length <= to!);
}

function write({ guest }: Rig, offset: number, bytes: number, value: number): void {
  if (bytes === 8) guest.writeU64(offset, value);
  else for (let i = 0; i < bytes; i++) guest.u8[offset + i] = value >>> (8 * i);
}

const hex = (value: number) => `0x${value.toString(16)}`;
const digest = (bytes: Uint8Array) =>
  `${bytes.length}:${createHash('sha1').update(bytes).digest('base64').slice(0, 12)}`;

/** Makes the first `entries` of the available ring say these heads; a packed ring says it in each descriptor. */
export function publish(rig: Rig, ring: RigRing, heads: readonly number[]): void {
  if (ring instanceof PackedRing) return;
  heads.forEach((head, i) => {
    rig.guest.u16[((ring.avail + 4) >>> 1) + i] = head;
  });
  rig.guest.u16[(ring.avail + 2) >>> 1] = heads.length;
}

/** What the device gave back on a ring that began at 0: [id, length], in order. Throws where no guest could make sense of it. */
export function usedOf({ guest }: Rig, ring: RigRing): [number, number][] {
  const used: [number, number][] = [];
  if (ring instanceof PackedRing) {
    for (let at = ring.desc; at < ring.desc + 16 * ring.size; at += 16) {
      if ((guest.u16[(at + 14) >>> 1]! & 0x8080) !== 0x8080) continue;
      used.push([guest.u16[(at + 12) >>> 1]!, guest.u32[(at + 8) >>> 2]!]);
    }
  } else {
    for (let i = 0; i < ring.usedIndex; i++) {
      const at = (ring.used + 4 + 8 * i) >>> 2;
      used.push([guest.u32[at]!, guest.u32[at + 1]!]);
    }
  }
  const ids = used.map(([id]) => id);
  if (ids.some((id) => id >= ring.size)) throw new Error(`a used id that the ring does not have: ${ids}`);
  if (new Set(ids).size !== ids.length) throw new Error(`an id comes back twice: ${ids}`);
  return used;
}

/** The guest's transmit ring: everything that one burst of the device makes of it. `look` may throw at a packet. */
export function receiveOutcome(rig: Rig, ring: RigRing, look?: (rig: Rig, handle: number) => void): string {
  const { memory } = rig;
  const packets: string[] = [];
  const frames = rig.receive(32, (handle) => {
    let bytes = 0;
    for (let segment = handle; segment !== 0; segment = rig.get(segment, MBUF_NEXT))
      bytes += rig.get(segment, MBUF_DATA_LEN);
    if (bytes !== rig.get(handle, MBUF_PKT_LEN)) throw new Error('pktLen is not the sum of its segments');
    look?.(rig, handle);
    const lengths = memory.u64[(handle + MBUF_L2_LEN) >>> 3]!.toString(16);
    const segments = memory.u16[(handle + MBUF_NB_SEGS) >>> 1]!;
    packets.push(`flags ${rig.get(handle, MBUF_OL_FLAGS).toString(16)} lengths ${lengths} segments ${segments}`);
  });
  if (frames.some(hasCanary)) throw new Error('bytes from outside the regions');
  const used = usedOf(rig, ring);
  if (used.some(([, length]) => length !== 0)) throw new Error(`a length for what was only read: ${used.join(' ')}`);
  return told(
    rig,
    rig.rxQueue,
    used,
    frames.map((frame, i) => `${digest(frame)} ${packets[i]}`),
  );
}

/** The guest's receive ring: one burst of these frames, and what then stands in the guest's buffers ([offset, bytes]). */
export function sendOutcome(
  rig: Rig,
  ring: RigRing,
  frames: readonly Uint8Array[],
  hdrLen: number,
  buffers: readonly (readonly [number, number])[],
): string {
  const sent = rig.send(...frames.map((frame) => rig.packet(frame)));
  const used = usedOf(rig, ring);
  const written = used.reduce((sum, [, length]) => sum + length, 0);
  const moved = rig.counter(rig.txQueue, QUEUE_BYTES) + hdrLen * rig.counter(rig.txQueue, QUEUE_PACKETS);
  if (written !== moved) throw new Error(`${written} bytes are said to be written, not ${moved}: ${used.join(' ')}`);
  const contents = buffers.map(([offset, bytes]) => digest(rig.guest.bytes(offset, bytes)));
  return told(rig, rig.txQueue, used, [`${sent} sent`, ...contents]);
}

function told(rig: Rig, queue: number, used: readonly (readonly number[])[], what: readonly string[]): string {
  return [
    what.join('; '),
    `used ${used.join(' ')} to ${rig.get(queue, QUEUE_LAST_USED)}`,
    `drops ${JSON.stringify(rig.drops(queue))} stopped ${rig.stopped(queue)}`,
    `notified ${rig.counter(queue, QUEUE_NOTIFIED)} suppressed ${rig.counter(queue, QUEUE_SUPPRESSED)}`,
  ].join(' | ');
}
