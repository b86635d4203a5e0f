/**
 * A front end made of bytes: it knows the protocol's documents and nothing of src/vhost, and does whatever a test wants,
 * wrong things too. Guest memory is a memfd; the guest's own reads and writes go through the file.
 */
import { readSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Os } from '../../src/os/types.js';

export const GUEST_BYTES = 0x20_0000;
/** Where the guest "sees" its memory: user addresses of the messages. */
export const USER_BASE = 0x7f12_3400_0000n;
/** A ring each: descriptors, avail, used; one buffer area. */
const ringAt = (vring: number) => ({
  desc: 0x1000 + vring * 0x4000,
  avail: 0x2000 + vring * 0x4000,
  used: 0x3000 + vring * 0x4000,
  buffers: 0x10_0000 + vring * 0x1_0000,
});
const RING_SIZE = 64;
const WAIT_MS = 4000;

/** Little-endian numbers, one after the other: `[4, 7]` is a u32 7, `[8, 7]` a u64 7. */
export function pack(...fields: (readonly [bytes: number, value: number | bigint])[]): Buffer {
  const bytes = Buffer.alloc(fields.reduce((sum, [length]) => sum + length, 0));
  let at = 0;
  for (const [length, value] of fields) {
    if (length === 8) bytes.writeBigUInt64LE(BigInt(value), at);
    else bytes.writeUIntLE(Number(value), at, length);
    at += length;
  }
  return bytes;
}

/** One region of SET_MEM_TABLE and ADD_MEM_REG. */
export function regionBytes(guest: bigint, size: bigint, user: bigint, offset: bigint): Buffer {
  return pack([8, guest], [8, size], [8, user], [8, offset]);
}

export function tableBytes(...regions: Buffer[]): Buffer {
  return Buffer.concat([pack([4, regions.length], [4, 0]), ...regions]);
}

/** Waits until `condition` holds; throws after some seconds, so that a test ends. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const end = Date.now() + WAIT_MS;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`never came true: ${what}`);
    await sleep(2);
  }
}

export class PlainPeer {
  readonly os: Os;
  readonly fd: number;
  readonly memory: number;
  readonly kicks: number[] = [];
  readonly calls: number[] = [];
  #input = Buffer.alloc(0);
  #closed = false;
  #sent = 0;

  /** Connected, or the end of an accepted connection. */
  constructor(os: Os, fd: number) {
    this.os = os;
    this.fd = fd;
    this.memory = os.memfdCreate('plain-guest', GUEST_BYTES);
  }

  static connect(os: Os, path: string): PlainPeer {
    return new PlainPeer(os, os.unixConnect(path));
  }

  /** Closes everything that the peer owns, as its death would. */
  die(): void {
    for (const fd of [this.fd, this.memory, ...this.kicks.splice(0), ...this.calls.splice(0)]) this.os.close(fd);
    this.#closed = true;
  }

  sendRaw(bytes: Uint8Array, fds: readonly number[] = []): void {
    try {
      this.os.sendMessage(this.fd, bytes, fds);
    } catch {
      // EPIPE: thrown out already, which `closed` tells
    }
  }

  /** Header and payload in one piece. */
  send(request: number, payload: Uint8Array = Buffer.alloc(0), fds: readonly number[] = [], flags = 1): void {
    this.sendRaw(Buffer.concat([pack([4, request], [4, flags], [4, payload.length]), payload]), fds);
  }

  /** The other end has closed, or reset, the connection. */
  get closed(): boolean {
    this.#receive();
    return this.#closed;
  }

  #receive(): void {
    const into = Buffer.alloc(4096);
    while (!this.#closed) {
      let length: number;
      try {
        ({ length } = this.os.receiveMessage(this.fd, into, 8));
      } catch {
        length = 0;
      }
      if (length < 0) return;
      if (length === 0) this.#closed = true;
      else this.#input = Buffer.concat([this.#input, into.subarray(0, length)]);
    }
  }

  /** The next reply; rejects when the connection closes instead. */
  async reply(): Promise<{ request: number; flags: number; payload: Buffer }> {
    const whole = () => this.#input.length >= 12 && this.#input.length >= 12 + this.#input.readUInt32LE(8);
    await until('a reply', () => this.closed || whole());
    if (!whole()) throw new Error('the connection was closed');
    const size = this.#input.readUInt32LE(8);
    const answer = {
      request: this.#input.readUInt32LE(0),
      flags: this.#input.readUInt32LE(4),
      payload: this.#input.subarray(12, 12 + size),
    };
    this.#input = this.#input.subarray(12 + size);
    return answer;
  }

  async ask(request: number, payload?: Uint8Array): Promise<bigint> {
    this.send(request, payload);
    return (await this.reply()).payload.readBigUInt64LE(0);
  }

  /** The usual beginning; `features` are those of SET_FEATURES. */
  async negotiate(features = (1n << 30n) | (1n << 32n)): Promise<void> {
    await this.ask(1);
    this.send(16, pack([8, await this.ask(15)]));
    this.send(3);
    this.send(2, pack([8, features]));
  }

  shareMemory(): void {
    this.send(5, tableBytes(regionBytes(0n, BigInt(GUEST_BYTES), USER_BASE, 0n)), [this.memory]);
  }

  /** Hands a vring over, with new descriptors, and enables it. */
  startVring(vring: number): void {
    const at = ringAt(vring);
    const user = (offset: number): bigint => USER_BASE + BigInt(offset);
    this.kicks.push(this.os.eventfd());
    this.calls.push(this.os.eventfd());
    this.send(13, pack([8, vring]), [this.calls.at(-1)!]);
    this.send(8, pack([4, vring], [4, RING_SIZE]));
    this.send(10, pack([4, vring], [4, 0]));
    this.send(9, pack([4, vring], [4, 0], [8, user(at.desc)], [8, user(at.used)], [8, user(at.avail)], [8, 0]));
    this.send(12, pack([8, vring]), [this.kicks.at(-1)!]);
    this.send(18, pack([4, vring], [4, 1]));
  }

  /** Everything up to two running vrings. */
  async goLive(): Promise<void> {
    await this.negotiate();
    this.shareMemory();
    this.startVring(0);
    this.startVring(1);
    await this.settled();
  }

  /** Waits until the back end has handled all that was sent. */
  async settled(): Promise<void> {
    await this.ask(1);
  }

  /** Offers one frame of 60 bytes on the guest's transmit ring, vring 1. */
  transmit(fill: number): void {
    const at = ringAt(1);
    const slot = this.#sent % RING_SIZE;
    const buffer = at.buffers + slot * 256;
    writeSync(this.memory, Buffer.concat([Buffer.alloc(12), Buffer.alloc(60, fill)]), 0, 72, buffer);
    writeSync(this.memory, pack([8, buffer], [4, 72], [2, 0], [2, 0]), 0, 16, at.desc + slot * 16);
    writeSync(this.memory, pack([2, slot]), 0, 2, at.avail + 4 + slot * 2);
    this.#sent++;
    writeSync(this.memory, pack([2, this.#sent & 0xffff]), 0, 2, at.avail + 2);
  }

  /** used.idx of a vring. */
  used(vring: number): number {
    const bytes = Buffer.alloc(2);
    readSync(this.memory, bytes, 0, 2, ringAt(vring).used + 2);
    return bytes.readUInt16LE(0);
  }
}
