import { ViaductError } from '../errors.js';
import type { BackendDevice, VringConfig } from './device.js';
import { VhostProtocolError } from './errors.js';
import {
  featureNames,
  protocolFeatureNames,
  RUNTIME_FEATURES,
  VHOST_USER_F_PROTOCOL_FEATURES,
  VHOST_USER_PROTOCOL_F_REPLY_ACK,
  VIRTIO_F_RING_PACKED,
} from './features.js';
import { checkOverlap, checkRegion, sameRegion } from './memory-table.js';
import * as M from './messages.js';
import {
  checkVringAlignment,
  checkVringSize,
  decodeVringBase,
  encodeVringBase,
  freshVringBase,
} from './vring-layout.js';

/** Smallest and largest payload of a frame that SET_MTU may name, virtio 1.2 section 5.1.4.1. */
const MIN_MTU = 68n;
const MAX_MTU = 65535n;

/** What the session remembers of one virtqueue. */
interface Vring {
  size: number;
  addresses: Pick<VringConfig, 'desc' | 'avail' | 'used'> | undefined;
  /** As SET_VRING_BASE and GET_VRING_BASE write it; undefined = never said, and then the ring is fresh. */
  base: number | undefined;
  /** SET_VRING_KICK has come since the last stop: with a descriptor, or with the word that there is none. */
  kicked: boolean;
  started: boolean;
  /** SET_VRING_ENABLE's last word; undefined = never said, and then the negotiated features decide. */
  enabled: boolean | undefined;
}

type Of<K extends M.PayloadKind> = Extract<M.Payload, { kind: K }>;

/**
 * The back end's side of one vhost-user connection, without a socket: messages in, replies out, the device driven. A new
 * connection is a new session.
 *
 * Ring states (vhost-user, "Ring states"): a vring is stopped until a kick descriptor (or the word that there is none) has come
 * and its size and addresses are known; GET_VRING_BASE stops it. Without VHOST_USER_F_PROTOCOL_FEATURES it starts enabled,
 * with it SET_VRING_ENABLE decides; SET_FEATURES alone never changes a ring that runs.
 *
 * Later: migration log, inflight tracking and back-end requests each are a few rows of `#dispatch` and a device method; their
 * messages are refused now because their feature was never offered.
 */
export class BackendSession {
  readonly #device: BackendDevice;
  readonly #vrings: Vring[];
  #regions: M.MemoryRegion[] = [];
  /** The last ones that REM_MEM_REG took out. */
  readonly #removed: M.MemoryRegion[] = [];
  #features: bigint | undefined;
  #protocolFeatures = 0n;
  #status = 0n;
  #mtu: number | undefined;

  constructor(device: BackendDevice) {
    this.#device = device;
    this.#vrings = Array.from({ length: device.vringCount }, () => ({
      size: 0,
      addresses: undefined,
      base: undefined,
      kicked: false,
      started: false,
      enabled: undefined,
    }));
  }

  /** Negotiated virtio features, 0 before SET_FEATURES. */
  get features(): bigint {
    return this.#features ?? 0n;
  }

  get protocolFeatures(): bigint {
    return this.#protocolFeatures;
  }

  /** Regions that the front end has shared, in no order. */
  get regions(): readonly M.MemoryRegion[] {
    return this.#regions;
  }

  /** The MTU that the front end told; undefined before it did. */
  get mtu(): number | undefined {
    return this.#mtu;
  }

  /**
   * Handles one message; returns the reply to send, if there is one. Descriptors that the session keeps are taken out of
   * `message.fds`; the caller closes those that are left. Throws VhostProtocolError for a message that no correct front end
   * sends: the caller closes the connection and calls `close()`.
   */
  handle(message: M.Message): M.Message | undefined {
    const info = M.requestInfo(message.request);
    const wantsAck =
      (message.flags & M.FLAG_NEED_REPLY) !== 0 && (this.#protocolFeatures & VHOST_USER_PROTOCOL_F_REPLY_ACK) !== 0n;
    if (info === undefined) {
      // A later revision's request: a front end that wants to know is told, else it goes unanswered (F16).
      return wantsAck ? reply(message, { kind: 'u64', value: 1n }) : undefined;
    }
    const missing = this.#missingFeature(info);
    if (missing !== undefined) {
      if (wantsAck && info.reply === undefined) return reply(message, { kind: 'u64', value: 1n });
      throw new VhostProtocolError(info.name, 'request', `needs ${missing}, which was not negotiated`);
    }
    if (message.fds.length < info.minFds || message.fds.length > info.maxFds) {
      const want = info.minFds === info.maxFds ? `${info.minFds}` : `${info.minFds} to ${info.maxFds}`;
      throw new VhostProtocolError(info.name, 'fds', `${message.fds.length} descriptors where ${want} belong`);
    }
    let answer: M.Payload | boolean;
    try {
      answer = this.#dispatch(message, info);
    } catch (error) {
      // This side's own limits are no fault of the peer's: it may go on, if it listens.
      if (error instanceof VhostProtocolError) throw error;
      if (!wantsAck || info.reply !== undefined) {
        const code = error instanceof ViaductError ? error.code : 'ERR_VHOST_PROTOCOL';
        throw new ViaductError(code, `${info.name}: ${(error as Error).message}`, { cause: error });
      }
      this.onRefused?.(info.name, error as Error);
      answer = false;
    }
    if (typeof answer !== 'boolean') return reply(message, answer);
    if (wantsAck) return reply(message, { kind: 'u64', value: answer ? 0n : 1n });
    return undefined;
  }

  /** Told when a request failed on this side and the front end was answered so: for logs. */
  onRefused: ((request: string, error: Error) => void) | undefined;

  /** The connection is gone: the device lets go of everything. */
  close(reason?: string): void {
    this.#device.reset(reason);
    this.#regions = [];
    this.#removed.length = 0;
    for (const vring of this.#vrings) vring.started = false;
  }

  #missingFeature(info: M.RequestInfo): string | undefined {
    if (info.needsName !== undefined) return info.needsName;
    if (info.needs === undefined || (this.#protocolFeatures & info.needs) !== 0n) return undefined;
    return `VHOST_USER_PROTOCOL_F_${protocolFeatureNames(info.needs)[0]}`;
  }

  /** Returns the explicit reply's payload, or whether the request succeeded. */
  #dispatch(message: M.Message, info: M.RequestInfo): M.Payload | boolean {
    const payload = message.payload as M.Payload;
    switch (message.request) {
      case M.GET_FEATURES:
        return { kind: 'u64', value: this.#device.features };
      case M.SET_FEATURES:
        return this.#setFeatures(payload as Of<'u64'>);
      case M.GET_PROTOCOL_FEATURES:
        return { kind: 'u64', value: this.#device.protocolFeatures };
      case M.SET_PROTOCOL_FEATURES:
        return this.#setProtocolFeatures(payload as Of<'u64'>);
      case M.SET_OWNER:
      case M.RESET_OWNER: // deprecated, and to be ignored
        return true;
      case M.GET_QUEUE_NUM:
        return { kind: 'u64', value: BigInt(this.#vrings.length >>> 1) };
      case M.GET_MAX_MEM_SLOTS:
        return { kind: 'u64', value: BigInt(this.#device.maxMemorySlots) };
      case M.SET_MEM_TABLE:
        return this.#setMemoryTable(message, payload as Of<'memoryTable'>);
      case M.ADD_MEM_REG:
        return this.#addMemoryRegion(message, payload as Of<'memoryRegion'>);
      case M.REM_MEM_REG:
        return this.#removeMemoryRegion(payload as Of<'memoryRegion'>);
      case M.SET_VRING_NUM:
        return this.#setVringNum(payload as Of<'vringState'>);
      case M.SET_VRING_ADDR:
        return this.#setVringAddress(payload as Of<'vringAddress'>);
      case M.SET_VRING_BASE:
        return this.#setVringBase(payload as Of<'vringState'>);
      case M.GET_VRING_BASE:
        return this.#getVringBase(payload as Of<'vringState'>);
      case M.SET_VRING_KICK:
      case M.SET_VRING_CALL:
      case M.SET_VRING_ERR:
        return this.#setVringFd(message, info.name, payload as Of<'u64'>);
      case M.SET_VRING_ENABLE:
        return this.#setVringEnable(payload as Of<'vringState'>);
      case M.NET_SET_MTU:
        return this.#setMtu(payload as Of<'u64'>);
      case M.SET_STATUS:
        return this.#setStatus(payload as Of<'u64'>);
      case M.GET_STATUS:
        return { kind: 'u64', value: this.#status };
      case M.SEND_RARP:
        return this.#sendRarp(payload as Of<'u64'>);
      default:
        // Its feature would have to be offered first: #missingFeature has refused it.
        throw new VhostProtocolError(info.name, 'request', 'is not supported');
    }
  }

  #setFeatures({ value }: Of<'u64'>): boolean {
    const unknown = value & ~this.#device.features;
    if (unknown !== 0n) {
      throw new VhostProtocolError('SET_FEATURES', 'features', `not offered: ${featureNames(unknown).join(', ')}`);
    }
    if (value === this.#features) return true;
    const settled = (value ^ this.features) & ~RUNTIME_FEATURES;
    if (settled !== 0n && this.#vrings.some((vring) => vring.started)) {
      const changed = featureNames(settled).join(', ');
      throw new VhostProtocolError('SET_FEATURES', 'features', `changed while a vring runs: ${changed}`);
    }
    this.#features = value;
    this.#device.setFeatures(value);
    return true;
  }

  #setProtocolFeatures({ value }: Of<'u64'>): boolean {
    const unknown = value & ~this.#device.protocolFeatures;
    if (unknown !== 0n) {
      const list = protocolFeatureNames(unknown).join(', ');
      throw new VhostProtocolError('SET_PROTOCOL_FEATURES', 'features', `not offered: ${list}`);
    }
    this.#protocolFeatures = value;
    return true;
  }

  #setMemoryTable(message: M.Message, { regions }: Of<'memoryTable'>): boolean {
    const request = 'SET_MEM_TABLE';
    if (regions.length !== message.fds.length) {
      throw new VhostProtocolError(request, 'fds', `${message.fds.length} for ${regions.length} regions`);
    }
    if (regions.length > this.#device.maxMemorySlots) {
      throw new VhostProtocolError(
        request,
        'num_regions',
        `${regions.length} of at most ${this.#device.maxMemorySlots}`,
      );
    }
    for (const [n, region] of regions.entries()) {
      checkRegion(request, region, n);
      checkOverlap(request, region, regions.slice(0, n), n);
    }
    this.#regions = [];
    this.#device.setMemoryTable(regions, message.fds.splice(0));
    this.#regions = [...regions];
    return true;
  }

  #addMemoryRegion(message: M.Message, { region }: Of<'memoryRegion'>): boolean {
    const request = 'ADD_MEM_REG';
    checkRegion(request, region);
    // QEMU before 8.0 says it once a queue pair, each with a descriptor of its own.
    if (this.#regions.some((other) => sameRegion(region, other) && region.mmapOffset === other.mmapOffset)) return true;
    if (this.#regions.length >= this.#device.maxMemorySlots) {
      throw new VhostProtocolError(request, 'region', `is one more than the ${this.#device.maxMemorySlots} slots`);
    }
    checkOverlap(request, region, this.#regions);
    this.#device.addMemoryRegion(region, message.fds.splice(0, 1)[0]!);
    this.#regions.push(region);
    return true;
  }

  #removeMemoryRegion({ region }: Of<'memoryRegion'>): boolean {
    const at = this.#regions.findIndex((other) => sameRegion(region, other));
    if (at < 0) {
      // the next queue pair's word for what the first has removed, see #addMemoryRegion
      if (this.#removed.some((other) => sameRegion(region, other))) return true;
      const where = `0x${region.guestAddress.toString(16)}, ${region.size} bytes`;
      throw new VhostProtocolError('REM_MEM_REG', 'region', `${where} was never added`);
    }
    this.#removed.push(...this.#regions.splice(at, 1));
    if (this.#removed.length > this.#device.maxMemorySlots) this.#removed.shift();
    this.#device.removeMemoryRegion(region);
    return true;
  }

  #vring(request: string, index: number | bigint): Vring {
    const vring = index < this.#vrings.length ? this.#vrings[Number(index)] : undefined;
    if (vring === undefined) {
      throw new VhostProtocolError(request, 'index', `${index}: there are ${this.#vrings.length} vrings`);
    }
    return vring;
  }

  #setVringNum({ index, num }: Of<'vringState'>): boolean {
    const vring = this.#vring('SET_VRING_NUM', index);
    checkVringSize('SET_VRING_NUM', num, this.#packed);
    if (vring.started && num !== vring.size) {
      throw new VhostProtocolError('SET_VRING_NUM', 'num', `changed to ${num} while vring ${index} runs`);
    }
    vring.size = num;
    return this.#startIfComplete(index);
  }

  #setVringAddress({ index, desc, avail, used }: Of<'vringAddress'>): boolean {
    const vring = this.#vring('SET_VRING_ADDR', index);
    const addresses = { desc, avail, used };
    checkVringAlignment('SET_VRING_ADDR', addresses, this.#packed);
    vring.addresses = addresses;
    if (!vring.started) return this.#startIfComplete(index);
    this.#device.moveVring(index, this.#config('SET_VRING_ADDR', vring, addresses));
    return true;
  }

  #setVringBase({ index, num }: Of<'vringState'>): boolean {
    const vring = this.#vring('SET_VRING_BASE', index);
    if (vring.started) throw new VhostProtocolError('SET_VRING_BASE', 'num', `set while vring ${index} runs`);
    // Against a ring size that may still come, a packed position is checked when the ring starts.
    if (!this.#packed) decodeVringBase('SET_VRING_BASE', num, vring.size, false);
    vring.base = num;
    return true;
  }

  #getVringBase({ index }: Of<'vringState'>): M.Payload {
    const vring = this.#vring('GET_VRING_BASE', index);
    if (vring.started) vring.base = encodeVringBase(this.#device.stopVring(index), this.#packed);
    else if (vring.kicked) this.#device.setVringKick(index, -1);
    vring.started = false;
    vring.kicked = false;
    return { kind: 'vringState', index, num: vring.base ?? freshVringBase(this.#packed) };
  }

  /** SET_VRING_KICK, CALL, ERR: bits 0-7 index, bit 8 says that no descriptor rides along (F13). */
  #setVringFd(message: M.Message, request: string, { value }: Of<'u64'>): boolean {
    if (value > 0x1ffn) {
      throw new VhostProtocolError(request, 'index', `0x${value.toString(16)} has bits beyond index and NOFD`);
    }
    const vring = this.#vring(request, value & M.VRING_INDEX_MASK);
    const index = Number(value & M.VRING_INDEX_MASK);
    const noFd = (value & M.VRING_NOFD) !== 0n;
    if (noFd !== (message.fds.length === 0)) {
      const fault = noFd ? 'a descriptor came, and the NOFD bit' : 'no descriptor came, and no NOFD bit';
      throw new VhostProtocolError(request, 'fds', `${fault}, for vring ${index}`);
    }
    const fd = noFd ? -1 : message.fds.splice(0, 1)[0]!;
    if (message.request === M.SET_VRING_CALL) this.#device.setVringCall(index, fd);
    else if (message.request === M.SET_VRING_ERR) this.#device.setVringErr(index, fd);
    else {
      this.#device.setVringKick(index, fd);
      vring.kicked = true;
      return this.#startIfComplete(index);
    }
    return true;
  }

  #setVringEnable({ index, num }: Of<'vringState'>): boolean {
    const vring = this.#vring('SET_VRING_ENABLE', index);
    if (num > 1) throw new VhostProtocolError('SET_VRING_ENABLE', 'num', `${num} is neither 0 nor 1`);
    vring.enabled = num === 1;
    this.#device.setVringEnabled(index, vring.enabled);
    return true;
  }

  #startIfComplete(index: number): boolean {
    const vring = this.#vrings[index]!;
    if (vring.started || !vring.kicked || vring.size === 0 || vring.addresses === undefined) return true;
    // Features may have come after size, addresses or base: all are looked at once more by the layout that it is now.
    const config = this.#config('SET_VRING_KICK', vring, vring.addresses);
    this.#device.setVringEnabled(index, vring.enabled ?? (this.features & VHOST_USER_F_PROTOCOL_FEATURES) === 0n);
    this.#device.startVring(index, config);
    vring.started = true;
    return true;
  }

  get #packed(): boolean {
    return (this.features & VIRTIO_F_RING_PACKED) !== 0n;
  }

  #config(request: string, { size, base }: Vring, addresses: NonNullable<Vring['addresses']>): VringConfig {
    const packed = this.#packed;
    checkVringSize(request, size, packed);
    checkVringAlignment(request, addresses, packed);
    return { ...addresses, packed, size, base: decodeVringBase(request, base ?? freshVringBase(packed), size, packed) };
  }

  #setMtu({ value }: Of<'u64'>): boolean {
    if (value < MIN_MTU || value > MAX_MTU || !this.#device.setMtu(Number(value))) return false;
    this.#mtu = Number(value);
    return true;
  }

  #setStatus({ value }: Of<'u64'>): boolean {
    if (value > 0xffn) throw new VhostProtocolError('SET_STATUS', 'status', `0x${value.toString(16)} is not 8 bits`);
    if (value === 0n) {
      for (const [index, vring] of this.#vrings.entries()) {
        if (vring.started) vring.base = encodeVringBase(this.#device.stopVring(index), this.#packed);
        vring.started = false;
        vring.kicked = false;
      }
    }
    this.#status = value;
    this.#device.setStatus(Number(value));
    return true;
  }

  #sendRarp({ value }: Of<'u64'>): boolean {
    this.#device.sendRarp(Uint8Array.from({ length: 6 }, (_, n) => Number((value >> BigInt(8 * n)) & 0xffn)));
    return true;
  }
}

/** A reply carries its request's id, the reply bit, and nothing else in its flags. */
function reply(message: M.Message, payload: M.Payload): M.Message {
  return { request: message.request, flags: M.FLAG_REPLY, payload, fds: [] };
}
