import type { Os } from '../../src/os/types.js';
import { type GuestRing, type TestGuest, VIRTIO_NET_F_MQ } from './test-guest.js';

// vhost-user protocol: front-end message types
export const REQUEST = {
  GET_FEATURES: 1,
  SET_FEATURES: 2,
  SET_OWNER: 3,
  SET_MEM_TABLE: 5,
  SET_VRING_NUM: 8,
  SET_VRING_ADDR: 9,
  SET_VRING_BASE: 10,
  GET_VRING_BASE: 11,
  SET_VRING_KICK: 12,
  SET_VRING_CALL: 13,
  GET_PROTOCOL_FEATURES: 15,
  SET_PROTOCOL_FEATURES: 16,
  GET_QUEUE_NUM: 17,
  SET_VRING_ENABLE: 18,
  SET_STATUS: 39,
  GET_STATUS: 40,
} as const;

const VHOST_USER_F_PROTOCOL_FEATURES = 1n << 30n;
const PROTOCOL_F_MQ = 1n << 0n;
const PROTOCOL_F_REPLY_ACK = 1n << 3n;
const PROTOCOL_F_STATUS = 1n << 16n;
const WANTED_PROTOCOL = PROTOCOL_F_MQ | PROTOCOL_F_REPLY_ACK | PROTOCOL_F_STATUS;

const VERSION = 1;
const FLAG_REPLY = 4;
const FLAG_NEED_REPLY = 8;
const HEADER_BYTES = 12;
/** ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK: virtio 1.2 section 2.1. */
const STATUS_RUNNING = 0x0f;
const TIMEOUT_MS = 5_000;
const MAX_FDS = 8;

/** A message of the back end. */
interface Reply {
  readonly request: number;
  readonly payload: Buffer;
}

/**
 * The front end of a test guest: the VMM's part of vhost-user, as bytes over a UNIX socket, written from the protocol's
 * description and independent of src/vhost. Waiting never blocks the thread: the back end may live in this process.
 */
export class FrontEnd {
  readonly guest: TestGuest;
  /** Offered by the back end, and agreed. */
  offered = 0n;
  protocolFeatures = 0n;
  readonly #os: Os;
  readonly #socket: number;
  /** Two eventfds a queue, in the order rx0, tx0, rx1, tx1 ...: what we signal, what the back end signals. */
  readonly #kicks: number[] = [];
  readonly #calls: number[] = [];
  #input = Buffer.alloc(0);
  #open = true;

  private constructor(os: Os, socket: number, guest: TestGuest) {
    this.#os = os;
    this.#socket = socket;
    this.guest = guest;
    for (let i = 0; i < guest.pairs.length * 2; i++) {
      this.#kicks.push(os.eventfd());
      this.#calls.push(os.eventfd());
    }
  }

  /** Connects to a back end that listens, and brings the guest's queues up. */
  static async connect(os: Os, path: string, guest: TestGuest, timeoutMs = TIMEOUT_MS): Promise<FrontEnd> {
    const socket = await retry(timeoutMs, `no back end listens on ${path}`, () => {
      try {
        return os.unixConnect(path);
      } catch {
        return -1;
      }
    });
    return FrontEnd.#bringUp(os, socket, guest);
  }

  /** Listens, as QEMU does with server=on, until a back end connects. */
  static async listen(os: Os, path: string, guest: TestGuest, timeoutMs = TIMEOUT_MS): Promise<FrontEnd> {
    const listener = os.unixListen(path);
    try {
      const socket = await retry(timeoutMs, `no back end connects to ${path}`, () => os.accept(listener));
      return await FrontEnd.#bringUp(os, socket, guest);
    } finally {
      os.close(listener);
    }
  }

  static async #bringUp(os: Os, socket: number, guest: TestGuest): Promise<FrontEnd> {
    const frontEnd = new FrontEnd(os, socket, guest);
    try {
      await frontEnd.#handshake();
    } catch (error) {
      frontEnd.close();
      throw error;
    }
    return frontEnd;
  }

  /** Signals the back end that queue `2 * pair` (rx) or `2 * pair + 1` (tx) has something new. */
  kick(queue: number): void {
    this.#os.signal(this.#kicks[queue]!);
  }

  /** Sends what the guest has queued, with a notification if the device wants one. */
  flush(pair = 0): void {
    if (this.guest.flush(pair)) this.kick(2 * pair + 1);
  }

  /** Gives receive buffers back to the device. */
  fillRx(pair = 0): void {
    if (this.guest.fillRx(pair)) this.kick(2 * pair);
  }

  /** Whether the back end has signalled the queue since the last time that this was asked. */
  called(queue: number): boolean {
    const ready = new Uint8Array(1);
    const fds = Int32Array.of(this.#calls[queue]!);
    const signalled = this.#os.poll(fds, 1, ready, 0) > 0;
    if (signalled) this.#os.drain(this.#calls[queue]!);
    return signalled;
  }

  /** SET_VRING_ENABLE for every queue. */
  async enable(on: boolean): Promise<void> {
    for (let queue = 0; queue < this.#kicks.length; queue++) {
      await this.#acknowledged(REQUEST.SET_VRING_ENABLE, words(queue, on ? 1 : 0));
    }
  }

  /** Stops a queue: the back end answers with the position that it would go on from (`startQueue`). */
  async stopQueue(queue: number): Promise<number> {
    const { payload } = await this.ask(REQUEST.GET_VRING_BASE, words(queue, 0));
    return payload.readUInt32LE(4);
  }

  /** Starts a queue from a position on: of a split ring the available index, of a packed one both indexes and wrap counters. */
  async startQueue(queue: number, base: number): Promise<void> {
    const { memory } = this.guest;
    const ring = this.#ring(queue);
    const index = long(BigInt(queue));
    await this.#acknowledged(REQUEST.SET_VRING_NUM, words(queue, ring.size));
    await this.#acknowledged(REQUEST.SET_VRING_BASE, words(queue, base));
    // index, flags, then descriptor, used and available areas, and the log's address
    const areas = [ring.desc, ring.used, ring.avail].map((offset) => long(BigInt(memory.userAddress(offset))));
    await this.#acknowledged(REQUEST.SET_VRING_ADDR, Buffer.concat([words(queue, 0), ...areas, long(0n)]));
    await this.#acknowledged(REQUEST.SET_VRING_KICK, index, [this.#kicks[queue]!]);
    await this.#acknowledged(REQUEST.SET_VRING_CALL, index, [this.#calls[queue]!]);
  }

  /** Hangs up and closes everything but the guest, which can be connected again. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    for (const fd of [this.#socket, ...this.#kicks, ...this.#calls]) this.#os.close(fd);
  }

  /** Sends any bytes. */
  async sendRaw(bytes: Uint8Array, fds: readonly number[] = []): Promise<void> {
    let sent = 0;
    await retry(TIMEOUT_MS, 'the back end does not read', () => {
      const count = this.#os.sendMessage(this.#socket, bytes.subarray(sent), sent === 0 ? fds : []);
      if (count > 0) sent += count;
      return sent === bytes.length ? sent : -1;
    });
  }

  /** Sends a request that has a reply of its own, and returns it. */
  async ask(request: number, payload: Buffer = Buffer.alloc(0)): Promise<Reply> {
    await this.sendRaw(message(request, 0, payload));
    const reply = await this.#receive();
    if (reply.request !== request) throw new Error(`asked ${request}, the back end answered ${reply.request}`);
    return reply;
  }

  /** Sends a request without a reply; with REPLY_ACK asks whether it was accepted. */
  async #acknowledged(request: number, payload: Buffer, fds: readonly number[] = []): Promise<void> {
    const wantsReply = (this.protocolFeatures & PROTOCOL_F_REPLY_ACK) !== 0n;
    await this.sendRaw(message(request, wantsReply ? FLAG_NEED_REPLY : 0, payload), fds);
    if (!wantsReply) return;
    const reply = await this.#receive();
    const status = reply.payload.readBigUInt64LE(0);
    if (reply.request !== request || status !== 0n)
      throw new Error(`the back end refused request ${request}: ${status}`);
  }

  /** The dialogue in QEMU's order. */
  async #handshake(): Promise<void> {
    const { guest } = this;
    this.offered = (await this.ask(REQUEST.GET_FEATURES)).payload.readBigUInt64LE(0);
    if ((this.offered & VHOST_USER_F_PROTOCOL_FEATURES) !== 0n) {
      const offered = (await this.ask(REQUEST.GET_PROTOCOL_FEATURES)).payload.readBigUInt64LE(0);
      const agreed = offered & WANTED_PROTOCOL;
      await this.#acknowledged(REQUEST.SET_PROTOCOL_FEATURES, long(agreed));
      this.protocolFeatures = agreed;
    }
    if ((this.protocolFeatures & PROTOCOL_F_MQ) !== 0n && guest.pairs.length > 1) {
      const most = Number((await this.ask(REQUEST.GET_QUEUE_NUM)).payload.readBigUInt64LE(0));
      if (most < guest.pairs.length) throw new Error(`the back end has ${most} queue pairs of ${guest.pairs.length}`);
    }
    await this.#acknowledged(REQUEST.SET_OWNER, Buffer.alloc(0));
    const multiqueue = guest.pairs.length > 1 ? this.offered & VIRTIO_NET_F_MQ : 0n;
    const protocol = this.offered & VHOST_USER_F_PROTOCOL_FEATURES;
    await this.#acknowledged(REQUEST.SET_FEATURES, long(guest.negotiate(this.offered) | multiqueue | protocol));
    await this.#acknowledged(
      REQUEST.SET_MEM_TABLE,
      this.#memoryTable(),
      guest.memory.regions.map(() => guest.memory.fd),
    );
    for (let queue = 0; queue < this.#kicks.length; queue++) await this.startQueue(queue, this.#ring(queue).base);
    for (let pair = 0; pair < guest.pairs.length; pair++) guest.fillRx(pair);
    if (protocol !== 0n) await this.enable(true);
    if ((this.protocolFeatures & PROTOCOL_F_STATUS) !== 0n) {
      await this.#acknowledged(REQUEST.SET_STATUS, long(BigInt(STATUS_RUNNING)));
    }
  }

  #ring(queue: number): GuestRing {
    const pair = this.guest.pairs[queue >>> 1]!;
    return queue % 2 === 0 ? pair.rx : pair.tx;
  }

  #memoryTable(): Buffer {
    const { regions } = this.guest.memory;
    const parts = [words(regions.length, 0)];
    for (const { guestAddress, lengthBytes, userAddress, fileOffset } of regions) {
      for (const value of [guestAddress, lengthBytes, userAddress, fileOffset]) parts.push(long(BigInt(value)));
    }
    return Buffer.concat(parts);
  }

  async #receive(): Promise<Reply> {
    const into = Buffer.alloc(4096);
    const size = await retry(TIMEOUT_MS, 'the back end does not answer', () => {
      const { length, fds } = this.#os.receiveMessage(this.#socket, into, MAX_FDS);
      for (const fd of fds) this.#os.close(fd);
      if (length === 0) throw new Error('the back end closed the connection');
      if (length > 0) this.#input = Buffer.concat([this.#input, into.subarray(0, length)]);
      if (this.#input.length < HEADER_BYTES) return -1;
      const wanted = HEADER_BYTES + this.#input.readUInt32LE(8);
      return this.#input.length >= wanted ? wanted : -1;
    });
    const whole = this.#input.subarray(0, size);
    this.#input = this.#input.subarray(size);
    const flags = whole.readUInt32LE(4);
    if ((flags & 3) !== VERSION || (flags & FLAG_REPLY) === 0) throw new Error(`reply with flags ${flags}`);
    return { request: whole.readUInt32LE(0), payload: whole.subarray(HEADER_BYTES) };
  }
}

/** A vhost-user message without its descriptors (fds). */
export function message(request: number, flags: number, payload: Uint8Array): Buffer {
  return Buffer.concat([words(request, VERSION | flags, payload.length), payload]);
}

function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, index) => {
    bytes.writeUInt32LE(value, 4 * index);
  });
  return bytes;
}

function long(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

/** Tries until the answer is not -1, giving the thread back in between. */
async function retry(timeoutMs: number, failure: string, attempt: () => number): Promise<number> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const result = attempt();
    if (result !== -1) return result;
    if (Date.now() > deadline) throw new Error(`${failure} (${timeoutMs} ms)`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
