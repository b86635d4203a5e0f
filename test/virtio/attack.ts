/** The hostile guest's hands at the rings of a Rig, and what every attack must leave as it was. */
import type { Test } from 'tap';
import { PackedRing } from '../support/packed-ring.js';
import { type Boot, frameOf, type Rig, type RigRing } from './rig.js';

export const NEXT = 1;
export const WRITE = 2;
export const INDIRECT = 4;
export const HDR = 12;

/** A descriptor, as it will stand in guest memory: flags and next default to an honest chain's. */
export interface Desc {
  readonly address: number | bigint;
  readonly length: number;
  readonly flags?: number;
  /** Split. */
  readonly next?: number;
  /** Packed. */
  readonly id?: number;
}

/** What an attack must come to. */
export interface Expected {
  /** Drop counters of the queue, all of them. */
  readonly drops?: Readonly<Record<string, number>>;
  /** The queue stops for this cause; without it it goes on. */
  readonly stop?: string;
  /** Frames that arrive. Default 0. */
  readonly frames?: number;
}

/** Makes a chain available whose descriptors are all of these. Returns its head or id. */
export function offer(rig: Rig, ring: RigRing, ...descs: Desc[]): number {
  if (ring instanceof PackedRing) return ring.addRaw(descs);
  const { guest } = rig;
  const piece = { offset: guest.allocate(16), length: 1 };
  const head = ring.add(
    descs.map(() => piece),
    false,
  );
  let index = head;
  descs.forEach((desc, position) => {
    const honestNext = guest.u16[((ring.desc + 16 * index) >>> 1) + 7]!;
    const flags = desc.flags ?? (position < descs.length - 1 ? NEXT : 0);
    ring.writeDesc(ring.desc, index, desc.address, desc.length, flags, desc.next ?? honestNext);
    index = honestNext;
  });
  return head;
}

/** An indirect table of these descriptors; split: each linked to the next one. Its guest address. */
export function table(rig: Rig, ring: RigRing, descs: readonly Desc[], region = 0): number {
  const { guest } = rig;
  const offset = guest.allocateIn(region, 16 * descs.length, 16);
  descs.forEach((desc, i) => {
    const last = i === descs.length - 1;
    if (ring instanceof PackedRing) ring.writeDesc(offset, i, desc.address, desc.length, desc.id ?? 0, desc.flags ?? 0);
    else ring.writeDesc(offset, i, desc.address, desc.length, desc.flags ?? (last ? 0 : NEXT), desc.next ?? i + 1);
  });
  return guest.guestAddress(offset);
}

/** A header (all zero unless told) and a frame, in a new buffer: its guest address. */
export function packetBytes(rig: Rig, frame: Uint8Array, header: readonly number[] = [], region?: number): number {
  const bytes = new Uint8Array(HDR + frame.length);
  bytes.set(header);
  bytes.set(frame, HDR);
  return rig.buffer(bytes, region);
}

function sendGood(rig: Rig, tx: RigRing, n: number): void {
  const frame = frameOf(n, 100 + n);
  if (tx.addOne(packetBytes(rig, frame), HDR + frame.length, false) < 0) throw new Error('no room for a good frame');
  tx.publish();
  const frames = rig.receiveAll();
  if (frames.length !== 1 || Buffer.compare(frames[0]!, frame) !== 0) throw new Error('a good frame did not arrive');
}

function receiveGood(rig: Rig, rx: RigRing, n: number): void {
  const frame = frameOf(n, 100 + n);
  const offset = rig.guest.allocate(2048);
  if (rx.addOne(rig.guest.guestAddress(offset), 2048, true) < 0) throw new Error('no room for a good buffer');
  rx.publish();
  if (rig.send(rig.packet(frame)) !== 1 || !rx.takeUsed()) throw new Error('a good buffer was not filled');
  if (rx.usedLength !== HDR + frame.length) throw new Error(`used length ${rx.usedLength}`);
  if (Buffer.compare(rig.guest.bytes(offset + HDR, frame.length), frame) !== 0)
    throw new Error('a good frame was altered');
}

/** An attack on the ring that the guest transmits with. */
export function attackTx(t: Test, rig: Rig, boot: Boot, attack: (tx: RigRing) => void, expected: Expected): void {
  const { tx, rx } = rig.boot(boot);
  sendGood(rig, tx, 1);
  while (tx.takeUsed());
  attack(tx);
  tx.publish();
  const frames = rig.receiveAll();
  t.equal(frames.length, expected.frames ?? 0, 'frames that arrive');
  finish(t, rig, rig.rxQueue, expected);
  if (expected.stop === undefined) {
    while (tx.takeUsed());
    t.equal(tx.inFlight, 0, 'every descriptor came back');
    sendGood(rig, tx, 2);
  } else {
    t.equal(rig.receive().length, 0, 'nothing more comes out of it');
  }
  receiveGood(rig, rx, 3);
  t.equal(rig.stopped(rig.txQueue), undefined, 'the other queue goes on');
  rig.checkPool();
}

/** An attack on the ring that the guest receives with: `frame` is sent to it, as often as `times` says. */
export function attackRx(
  t: Test,
  rig: Rig,
  boot: Boot,
  attack: (rx: RigRing) => void,
  expected: Expected,
  frameLen = 200,
  times = 1,
): void {
  const { tx, rx } = rig.boot(boot);
  receiveGood(rig, rx, 1);
  const before = rig.packets(rig.txQueue);
  attack(rx);
  rx.publish();
  for (let i = 0; i < times; i++) rig.send(rig.packet(frameOf(9, frameLen)));
  t.equal(rig.packets(rig.txQueue) - before, expected.frames ?? 0, 'frames that arrive');
  finish(t, rig, rig.txQueue, expected);
  if (expected.stop === undefined) {
    while (rx.takeUsed());
    if (rx.inFlight === 0) receiveGood(rig, rx, 2);
  } else {
    t.equal(rig.send(rig.packet(frameOf(9, 60))), 0, 'it takes nothing more');
  }
  sendGood(rig, tx, 3);
  t.equal(rig.stopped(rig.rxQueue), undefined, 'the other queue goes on');
  rig.checkPool();
}

function finish(t: Test, rig: Rig, queue: number, { drops = {}, stop }: Expected): void {
  t.same(rig.drops(queue), drops, 'every drop has its cause, and nothing else was dropped');
  t.equal(rig.stopped(queue), stop, stop === undefined ? 'the queue runs' : 'the queue stopped, and says why');
}
