import type { ByteChannel } from './channel.js';
import { MessageReader, sendMessage } from './connection.js';
import { VhostProtocolError } from './errors.js';
import {
  VHOST_USER_F_PROTOCOL_FEATURES,
  VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS,
  VHOST_USER_PROTOCOL_F_MQ,
  VHOST_USER_PROTOCOL_F_NET_MTU,
  VHOST_USER_PROTOCOL_F_REPLY_ACK,
  VHOST_USER_PROTOCOL_F_STATUS,
} from './features.js';
import * as M from './messages.js';

/** Virtio device status bits, virtio 1.2 section 2.1. */
const STATUS_ACKNOWLEDGE = 1;
const STATUS_DRIVER = 2;
const STATUS_DRIVER_OK = 4;
const STATUS_FEATURES_OK = 8;

/** How long a back end may take to answer. QEMU as a back end's peer waits for ever; a program should not. */
const REPLY_TIMEOUT_MS = 5000;

/** What a front end knows how to use; more on offer is left aside. */
const PROTOCOL_FEATURES =
  VHOST_USER_PROTOCOL_F_MQ |
  VHOST_USER_PROTOCOL_F_REPLY_ACK |
  VHOST_USER_PROTOCOL_F_NET_MTU |
  VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS |
  VHOST_USER_PROTOCOL_F_STATUS;

/** A region that the front end shares, with the descriptor of its file (which stays the caller's). */
export interface SharedRegion extends M.MemoryRegion {
  readonly fd: number;
}

/** A virtqueue to hand over. Addresses are user addresses inside a SharedRegion. */
export interface FrontEndVring {
  readonly size: number;
  readonly desc: bigint;
  readonly avail: bigint;
  readonly used: bigint;
  /** Where the back end shall begin, as SET_VRING_BASE has it: `freshVringBase` of a new ring. */
  readonly base: number;
  /** Descriptors that stay the caller's; -1 for none (the other side polls). */
  readonly kickFd: number;
  readonly callFd: number;
}

export interface NegotiatedLink {
  /** Virtio features that both sides know, without VHOST_USER_F_PROTOCOL_FEATURES. */
  readonly features: bigint;
  readonly protocolFeatures: bigint;
  /** Queue pairs that the back end has; 1 where it cannot say. */
  readonly queuePairs: number;
  /** Memory regions that the back end takes. */
  readonly memorySlots: number;
}

/**
 * Resolves to true as soon as the channel has something to read or the peer has closed, to false after `timeoutMs`. For a
 * socket: `ControlPlane.readable(fd, timeoutMs)` of src/drivers/vhost/control.ts; for a channelPair: its `notify`.
 */
export type WaitReadable = (timeoutMs: number) => Promise<boolean>;

/**
 * The front end's side of one connection (the driver's: net_virtio_user). The order of a dialogue:
 * `negotiate` → `shareMemory` → `startVring` for each → `enableVring` for each → ... → `stopVring` for each → `close`.
 * When the back end dies, a new connection is a new session that goes through the same steps, with rings that the driver has
 * made anew (base 0): a ring that the old back end was working on cannot be continued without inflight tracking.
 *
 * Every method rejects with VhostProtocolError when the back end breaks the protocol, refuses a request that it had
 * to acknowledge, or is gone. After a rejection only `close` is left. One call at a time.
 */
export class FrontEndSession {
  readonly #channel: ByteChannel;
  readonly #reader: MessageReader;
  readonly #readable: WaitReadable;
  readonly #replyTimeoutMs: number;
  #protocolFeatures = 0n;
  #slots = M.MAX_TABLE_REGIONS;
  #regions: SharedRegion[] = [];
  #protocolBit = 0n;

  constructor(channel: ByteChannel, readable: WaitReadable, replyTimeoutMs = REPLY_TIMEOUT_MS) {
    this.#channel = channel;
    this.#reader = new MessageReader(channel, 'backend');
    this.#readable = readable;
    this.#replyTimeoutMs = replyTimeoutMs;
  }

  /**
   * Features, protocol features, ownership, queue and slot limits. `wanted` are the virtio features that the driver can use, or
   * a function that chooses among those on offer; VHOST_USER_F_PROTOCOL_FEATURES is negotiated by itself.
   */
  async negotiate(wanted: bigint | ((offered: bigint) => bigint)): Promise<NegotiatedLink> {
    const offered = await this.#ask(M.GET_FEATURES);
    this.#protocolBit = offered & VHOST_USER_F_PROTOCOL_FEATURES;
    if (this.#protocolBit !== 0n) {
      const protocolOffered = await this.#ask(M.GET_PROTOCOL_FEATURES);
      await this.#set(M.SET_PROTOCOL_FEATURES, protocolOffered & PROTOCOL_FEATURES);
      this.#protocolFeatures = protocolOffered & PROTOCOL_FEATURES;
    }
    const queuePairs = this.#has(VHOST_USER_PROTOCOL_F_MQ) ? Number(await this.#ask(M.GET_QUEUE_NUM)) : 1;
    if (this.#has(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS)) {
      this.#slots = Number(await this.#ask(M.GET_MAX_MEM_SLOTS));
    }
    await this.#tell(M.SET_OWNER, { kind: 'none' });
    await this.#setStatus(0);
    await this.#setStatus(STATUS_ACKNOWLEDGE | STATUS_DRIVER);
    const chosen = typeof wanted === 'bigint' ? wanted : wanted(offered);
    const features = offered & chosen & ~VHOST_USER_F_PROTOCOL_FEATURES;
    await this.#set(M.SET_FEATURES, features | this.#protocolBit);
    await this.#setStatus(STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
    return { features, protocolFeatures: this.#protocolFeatures, queuePairs, memorySlots: this.#slots };
  }

  /** Shares these regions and no others: one by one where the back end has memory slots, else as a table. */
  async shareMemory(regions: readonly SharedRegion[]): Promise<void> {
    const bySlots = this.#has(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);
    const limit = bySlots ? this.#slots : M.MAX_TABLE_REGIONS;
    if (regions.length > limit) {
      throw new VhostProtocolError('SET_MEM_TABLE', 'regions', `${regions.length} where the back end takes ${limit}`);
    }
    if (!bySlots) {
      await this.#tell(
        M.SET_MEM_TABLE,
        { kind: 'memoryTable', regions },
        regions.map((region) => region.fd),
      );
    } else {
      for (const region of this.#regions) await this.#tell(M.REM_MEM_REG, { kind: 'memoryRegion', region });
      this.#regions = [];
      for (const region of regions) await this.#tell(M.ADD_MEM_REG, { kind: 'memoryRegion', region }, [region.fd]);
    }
    this.#regions = [...regions];
  }

  /** Hands a virtqueue over. With protocol features it rests until `enableVring`. */
  async startVring(index: number, vring: FrontEndVring): Promise<void> {
    const { size, base, desc, avail, used } = vring;
    await this.#setVringFd(M.SET_VRING_CALL, index, vring.callFd);
    await this.#tell(M.SET_VRING_NUM, { kind: 'vringState', index, num: size });
    await this.#tell(M.SET_VRING_BASE, { kind: 'vringState', index, num: base });
    await this.#tell(M.SET_VRING_ADDR, { kind: 'vringAddress', index, flags: 0, desc, avail, used, log: 0n });
    await this.#setVringFd(M.SET_VRING_KICK, index, vring.kickFd);
  }

  /** Nothing to do, and nothing done, where the back end has no protocol features: its rings are always enabled. */
  async enableVring(index: number, enabled: boolean): Promise<void> {
    if (this.#protocolBit === 0n) return;
    await this.#tell(M.SET_VRING_ENABLE, { kind: 'vringState', index, num: enabled ? 1 : 0 });
  }

  /** All vrings are handed over: tells the device status, where the back end wants to know. */
  async driverOk(): Promise<void> {
    await this.#setStatus(STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
  }

  /** Takes a virtqueue back. When it resolves the back end has let go of the ring; returns its base. */
  async stopVring(index: number): Promise<number> {
    const answer = await this.#request(M.GET_VRING_BASE, { kind: 'vringState', index, num: 0 });
    if (answer.payload.kind !== 'vringState' || answer.payload.index !== index) {
      throw new VhostProtocolError('GET_VRING_BASE', 'reply', `is not about vring ${index}`);
    }
    return answer.payload.num;
  }

  /** Returns false if the back end refuses the MTU, or cannot be told. */
  async setMtu(mtu: number): Promise<boolean> {
    if (!this.#has(VHOST_USER_PROTOCOL_F_NET_MTU)) return false;
    return this.#acknowledged(M.NET_SET_MTU, { kind: 'u64', value: BigInt(mtu) });
  }

  /**
   * Whether the back end is still there. Call it when the channel becomes readable while no request is under way: a back end
   * has nothing to say unasked, so that means it has closed, or broken the protocol.
   */
  alive(): boolean {
    try {
      return this.#reader.next() === undefined && !this.#reader.closed;
    } catch {
      return false;
    }
  }

  /** Closes the channel. The caller's descriptors stay open. */
  close(): void {
    this.#reader.release();
    this.#channel.close();
  }

  #has(feature: bigint): boolean {
    return (this.#protocolFeatures & feature) !== 0n;
  }

  async #ask(request: number): Promise<bigint> {
    const answer = await this.#request(request, { kind: 'none' });
    if (answer.payload.kind !== 'u64') throw new VhostProtocolError(M.requestName(request), 'reply', 'is no number');
    return answer.payload.value;
  }

  #set(request: number, value: bigint): Promise<void> {
    return this.#tell(request, { kind: 'u64', value });
  }

  async #setStatus(status: number): Promise<void> {
    if (this.#has(VHOST_USER_PROTOCOL_F_STATUS)) await this.#set(M.SET_STATUS, BigInt(status));
  }

  #setVringFd(request: number, index: number, fd: number): Promise<void> {
    const value = BigInt(index) | (fd < 0 ? M.VRING_NOFD : 0n);
    return this.#tell(request, { kind: 'u64', value }, fd < 0 ? [] : [fd]);
  }

  /** Sends a request that has no answer of its own, and waits for the acknowledgement where there is one. */
  async #tell(request: number, payload: M.Payload, fds: number[] = []): Promise<void> {
    if (!(await this.#acknowledged(request, payload, fds))) {
      throw new VhostProtocolError(M.requestName(request), 'reply', 'says that the back end failed');
    }
  }

  async #acknowledged(request: number, payload: M.Payload, fds: number[] = []): Promise<boolean> {
    if (!this.#has(VHOST_USER_PROTOCOL_F_REPLY_ACK)) {
      sendMessage(this.#channel, { request, flags: 0, payload, fds });
      return true;
    }
    const answer = await this.#request(request, payload, fds, M.FLAG_NEED_REPLY);
    return answer.payload.kind === 'u64' && answer.payload.value === 0n;
  }

  async #request(request: number, payload: M.Payload, fds: number[] = [], flags = 0): Promise<M.Message> {
    sendMessage(this.#channel, { request, flags, payload, fds });
    const name = M.requestName(request);
    const deadline = Date.now() + this.#replyTimeoutMs;
    for (;;) {
      const answer = this.#reader.next();
      if (answer !== undefined) {
        for (const fd of answer.fds.splice(0)) this.#channel.closeFd(fd);
        if (answer.request === request) return answer;
        throw new VhostProtocolError(name, 'reply', `is one to ${M.requestName(answer.request)}`);
      }
      if (this.#reader.closed) throw new VhostProtocolError(name, 'reply', 'never came: the back end has closed');
      const left = deadline - Date.now();
      if (left <= 0 || !(await this.#readable(left))) {
        throw new VhostProtocolError(name, 'reply', `did not come within ${this.#replyTimeoutMs} ms`);
      }
    }
  }
}
