import {
  DEVICE_FEATURES,
  LCORE_BASE,
  LCORE_SIZE,
  MAX_REGIONS,
  QUEUE_AVAIL,
  QUEUE_CALL_FD,
  QUEUE_DESC,
  QUEUE_DEVICE,
  QUEUE_GATE_ENABLED,
  QUEUE_GATE_READY,
  QUEUE_GATES,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_OFFLOADS,
  QUEUE_PEER,
  QUEUE_SIGNALLED,
  QUEUE_SIGNALLED_VALID,
  QUEUE_STOP_CAUSE,
  QUEUE_USED,
  QUEUE_VQ_SIZE,
  QUEUE_WAITER,
  RING_FRESH,
} from '../../../assembly/layout.js';
import type { HostMemory } from '../../eal/memory.js';
import { joinGates, replaceKickFd, withQueueLock } from '../../eal/queue-lock.js';
import type { BackendDevice, VringConfig } from '../../vhost/device.js';
import { VhostProtocolError } from '../../vhost/errors.js';
import { NET_BACKEND_FEATURES, NET_BACKEND_PROTOCOL_FEATURES, VIRTIO_RING_F_EVENT_IDX } from '../../vhost/features.js';
import type { MemoryRegion } from '../../vhost/messages.js';
import { offloadsOf } from '../offloads.js';
import { vringShape, writeVringShape } from '../vring-shape.js';
import type { GuestMemory } from './memory.js';
import { RegionTable, type VringAreas } from './region-table.js';

const MIN_MTU = 68;

/** What a device does with descriptors (fds). Without one, descriptors are numbers that mean nothing: the in-process case. */
export interface Descriptors {
  close(fd: number): void;
  /** Adds 1 to an eventfd; never blocks, never throws. */
  signal(fd: number): void;
  /** Whether it is an eventfd: anything else could block a lcore that reads or writes it. */
  isEventfd(fd: number): boolean;
  /** So that a peer that fills its own eventfd cannot block the lcore that signals it. */
  setNonBlocking(fd: number): void;
}

/** What a device tells its owner. Called between messages, never inside the queue lock. */
export interface VhostDeviceEvents {
  /** The first queue pair can move packets. */
  linkUp?(): void;
  linkDown?(reason: string): void;
  /** A vring became able, or unable, to move packets (before the port's own STARTED gate). */
  vringState?(vring: number, enabled: boolean): void;
  /** Regions were mapped or unmapped. */
  memory?(regionCount: number, bytes: number): void;
  /** The guest moved here and cannot announce itself. */
  rarp?(mac: Uint8Array): void;
  warning?(message: string): void;
}

export interface VhostDeviceOptions {
  readonly memory: HostMemory;
  /** Address of the DEVICE_ record (DEVICE_SIZE bytes), this device's own. */
  readonly device: number;
  /** QUEUE_ records by vring: vring 2i is the port's txq i (the guest receives), vring 2i + 1 its rxq i. */
  readonly vrings: readonly number[];
  readonly guestMemory: GuestMemory;
  /** Left out in-process: kick and call are then QUEUE_PEER's business (`setPeer`). */
  readonly descriptors?: Descriptors;
  /** Wakes a lcore that sleeps: the module's lcoreWake. */
  readonly wakeLcore: (lcoreId: number) => void;
  /** More or less than NET_BACKEND_FEATURES. */
  readonly features?: bigint;
  readonly protocolFeatures?: bigint;
  readonly events?: VhostDeviceEvents;
}

/** One virtqueue, from this side. */
interface Vring {
  readonly queue: number;
  /** Started: the front end handed it over and has not taken it back. */
  config: VringConfig | undefined;
  /** Its areas were found in the regions that are mapped now. */
  resolved: boolean;
  enabled: boolean;
  /** What the owner was told last. */
  announced: boolean;
  errFd: number;
  faultSignalled: boolean;
}

/**
 * The vhost device record and its queues in shared memory, driven by a BackendSession. It works on any thread: on the control
 * worker with windows and descriptors, on the main thread without either (inproc:, see IdentityMemory and `setPeer`).
 *
 * What it promises to the data plane: line 1 of a queue and the regions change only while no burst runs and QUEUE_RUN is 0,
 * so a burst never sees half a change, and never an address whose window is gone.
 */
export class VhostDevice implements BackendDevice {
  readonly features: bigint;
  readonly protocolFeatures: bigint;
  readonly vringCount: number;
  readonly maxMemorySlots = MAX_REGIONS;
  readonly #memory: HostMemory;
  readonly #device: number;
  readonly #vrings: Vring[];
  readonly #guestMemory: GuestMemory;
  readonly #regions: RegionTable;
  readonly #descriptors: Descriptors | undefined;
  readonly #wakeLcore: (lcoreId: number) => void;
  readonly #events: VhostDeviceEvents;
  #negotiated = 0n;
  #linkUp = false;

  constructor(options: VhostDeviceOptions) {
    this.#memory = options.memory;
    this.#device = options.device;
    this.#guestMemory = options.guestMemory;
    this.#descriptors = options.descriptors;
    this.#wakeLcore = options.wakeLcore;
    this.#events = options.events ?? {};
    this.features = options.features ?? NET_BACKEND_FEATURES;
    this.protocolFeatures = options.protocolFeatures ?? NET_BACKEND_PROTOCOL_FEATURES;
    this.vringCount = options.vrings.length;
    this.#vrings = options.vrings.map((queue) => {
      this.#write(queue + QUEUE_DEVICE, this.#device);
      const idle = { config: undefined, resolved: false, enabled: false, announced: false };
      return { queue, ...idle, errFd: -1, faultSignalled: false };
    });
    this.#guestMemory.onWarning = (message) => this.#events.warning?.(message);
    this.#regions = new RegionTable(this.#memory, this.#device, this.#guestMemory);
  }

  /** Features that the front end chose, 0 before it did. */
  get negotiatedFeatures(): bigint {
    return this.#negotiated;
  }

  get linkUp(): boolean {
    return this.#linkUp;
  }

  /** Guest memory that is mapped now. */
  get mappedBytes(): number {
    return this.#regions.bytes;
  }

  get regionCount(): number {
    return this.#regions.count;
  }

  /**
   * In-process: the queue record at the other end of a vring, whose sleeping lcore is woken instead of a call descriptor; 0
   * for none.
   */
  setPeer(index: number, peerQueue: number): void {
    const { queue } = this.#vrings[index]!;
    withQueueLock(this.#memory, queue, () => this.#write(queue + QUEUE_PEER, peerQueue));
  }

  setFeatures(features: bigint): void {
    this.#negotiated = features;
    this.#writeU64(this.#device + DEVICE_FEATURES, features);
    // Offloads may change under rings that run; what shapes a ring is written when it starts.
    for (const [index, { config, queue }] of this.#vrings.entries()) {
      if (config !== undefined) withQueueLock(this.#memory, queue, () => this.#writeOffloads(index));
    }
  }

  setMemoryTable(regions: readonly MemoryRegion[], fds: readonly number[]): void {
    try {
      for (const [n, region] of regions.entries()) this.#guestMemory.check('SET_MEM_TABLE', region, fds[n]!, n);
      this.#changeRegions(() => this.#regions.replace(regions, fds));
    } finally {
      for (const fd of fds) this.#close(fd);
    }
  }

  addMemoryRegion(region: MemoryRegion, fd: number): void {
    try {
      this.#guestMemory.check('ADD_MEM_REG', region, fd);
      this.#changeRegions(() => this.#regions.add(region, fd));
    } finally {
      this.#close(fd);
    }
  }

  removeMemoryRegion(region: MemoryRegion): void {
    this.#changeRegions(() => this.#regions.remove(region));
  }

  startVring(index: number, config: VringConfig): void {
    const vring = this.#vrings[index]!;
    const areas = this.#findRing('SET_VRING_KICK', index, config);
    const { queue } = vring;
    withQueueLock(this.#memory, queue, () => {
      this.#writeRing(index, config, areas);
      this.#write(queue + QUEUE_LAST_AVAIL, config.base);
      // Same as the available base: this back end never holds a descriptor back. The data plane compares it with a
      // split ring's used index when it starts, and follows that.
      this.#write(queue + QUEUE_LAST_USED, config.base);
      this.#write(queue + QUEUE_SIGNALLED, 0);
      this.#write(queue + QUEUE_SIGNALLED_VALID, RING_FRESH);
      this.#write(queue + QUEUE_STOP_CAUSE, 0);
      this.#setGate(queue, QUEUE_GATE_READY, true);
    });
    vring.config = config;
    vring.resolved = true;
    vring.faultSignalled = false;
    this.#announce('');
    this.#wakeAll();
  }

  moveVring(index: number, config: VringConfig): void {
    const vring = this.#vrings[index]!;
    if (vring.config === undefined) return;
    const areas = this.#findRing('SET_VRING_ADDR', index, config);
    withQueueLock(this.#memory, vring.queue, () => {
      this.#writeRing(index, config, areas);
      this.#setGate(vring.queue, QUEUE_GATE_READY, true);
    });
    vring.config = config;
    vring.resolved = true;
    this.#announce('');
  }

  stopVring(index: number): number {
    const base = this.#halt(this.#vrings[index]!);
    this.#announce(`the front end stopped vring ${index}`);
    return base;
  }

  setVringKick(index: number, fd: number): void {
    const { queue } = this.#vrings[index]!;
    this.#checkEventfd('SET_VRING_KICK', index, fd);
    this.#close(replaceKickFd(this.#memory, queue, this.#meaning(fd), this.#wakeLcore));
    // A lcore that slept was woken only if there was an old descriptor; the first one must be noticed too.
    this.#wakeAll();
  }

  setVringCall(index: number, fd: number): void {
    const { queue } = this.#vrings[index]!;
    this.#checkEventfd('SET_VRING_CALL', index, fd);
    if (fd >= 0) this.#descriptors?.setNonBlocking(fd);
    this.#replaceCall(queue, this.#meaning(fd));
    // Buffers may have been used while there was nobody to tell: one notification too many harms nobody.
    if (fd >= 0) this.#descriptors?.signal(fd);
  }

  setVringErr(index: number, fd: number): void {
    const vring = this.#vrings[index]!;
    this.#checkEventfd('SET_VRING_ERR', index, fd);
    if (fd >= 0) this.#descriptors?.setNonBlocking(fd);
    this.#close(vring.errFd);
    vring.errFd = this.#meaning(fd);
  }

  setVringEnabled(index: number, enabled: boolean): void {
    const vring = this.#vrings[index]!;
    withQueueLock(this.#memory, vring.queue, () => this.#setGate(vring.queue, QUEUE_GATE_ENABLED, enabled));
    vring.enabled = enabled;
    this.#announce(`the front end disabled vring ${index}`);
    if (enabled) this.#wakeAll();
  }

  setMtu(mtu: number): boolean {
    return mtu >= MIN_MTU && mtu <= 0xffff;
  }

  setStatus(): void {}

  sendRarp(mac: Uint8Array): void {
    this.#events.rarp?.(mac);
  }

  reset(reason = 'the front end disconnected'): void {
    for (const vring of this.#vrings) {
      try {
        this.#halt(vring);
      } catch (error) {
        // A lcore holds the queue for seconds: it is stopped in a debugger. Its next burst traps or finds the gates shut.
        this.#setGate(vring.queue, QUEUE_GATE_READY, false);
        vring.config = undefined;
        this.#events.warning?.((error as Error).message);
      }
      this.#setGate(vring.queue, QUEUE_GATE_ENABLED, false);
      vring.enabled = false;
      this.#close(vring.errFd);
      vring.errFd = -1;
    }
    this.setFeatures(0n);
    const hadMemory = this.#regions.count > 0;
    this.#regions.clear();
    this.#announce(reason);
    if (hadMemory) this.#events.memory?.(0, 0);
  }

  /** Looks for queues that stopped themselves, and tells the front end through its error descriptor, once each. */
  reportFaults(): void {
    for (const vring of this.#vrings) {
      if (vring.faultSignalled || this.#read(vring.queue + QUEUE_STOP_CAUSE) === 0) continue;
      vring.faultSignalled = true;
      if (vring.errFd >= 0) this.#descriptors?.signal(vring.errFd);
    }
  }

  /** Stops a vring: shuts its gate, closes its descriptors, forgets its ring. Returns the next available entry to take. */
  #halt(vring: Vring): number {
    const { queue } = vring;
    const base = withQueueLock(this.#memory, queue, () => {
      this.#setGate(queue, QUEUE_GATE_READY, false);
      for (const field of [QUEUE_VQ_SIZE, QUEUE_DESC, QUEUE_AVAIL, QUEUE_USED]) this.#write(queue + field, 0);
      return this.#read(queue + QUEUE_LAST_AVAIL) & 0xffff;
    });
    vring.config = undefined;
    vring.resolved = false;
    this.#close(replaceKickFd(this.#memory, queue, -1, this.#wakeLcore));
    this.#replaceCall(queue, -1);
    return base;
  }

  #replaceCall(queue: number, fd: number): void {
    const index = (queue + QUEUE_CALL_FD) >>> 2;
    // Bursts signal it with the lock held, so that once we have held it nobody uses the old one.
    this.#close(withQueueLock(this.#memory, queue, () => Atomics.exchange(this.#memory.i32, index, fd)));
  }

  /**
   * Lets every vring rest while the regions change, then finds the started ones in them again (F8). A ring that is not there
   * rests on until another change brings it back.
   */
  #changeRegions(change: () => void): void {
    for (const { queue } of this.#vrings) {
      withQueueLock(this.#memory, queue, () => this.#setGate(queue, QUEUE_GATE_READY, false));
    }
    try {
      change();
    } finally {
      for (const [index, vring] of this.#vrings.entries()) this.#findAgain(index, vring);
      this.#announce('the front end took the memory of its rings away');
      this.#events.memory?.(this.#regions.count, this.#regions.bytes);
    }
  }

  #findAgain(index: number, vring: Vring): void {
    const { config, queue } = vring;
    if (config === undefined) return;
    let areas: VringAreas;
    try {
      areas = this.#findRing('SET_MEM_TABLE', index, config);
    } catch {
      vring.resolved = false;
      return;
    }
    vring.resolved = true;
    withQueueLock(this.#memory, queue, () => {
      this.#writeRing(index, config, areas);
      this.#setGate(queue, QUEUE_GATE_READY, true);
    });
    wakeWaiter(this.#memory, queue, this.#wakeLcore);
  }

  #findRing(request: string, index: number, config: VringConfig): VringAreas {
    return this.#regions.findRing(request, index, config, (this.#negotiated & VIRTIO_RING_F_EVENT_IDX) !== 0n);
  }

  /** All that the data plane knows of the ring's shape. Lock held. */
  #writeRing(index: number, config: VringConfig, areas: VringAreas): void {
    const { queue } = this.#vrings[index]!;
    this.#write(queue + QUEUE_VQ_SIZE, config.size);
    this.#write(queue + QUEUE_DESC, areas.desc);
    this.#write(queue + QUEUE_AVAIL, areas.avail);
    this.#write(queue + QUEUE_USED, areas.used);
    writeVringShape(this.#memory, queue, vringShape(this.#negotiated, config.packed, config.size));
    this.#writeOffloads(index);
  }

  /** Lock held: a burst asks for them packet by packet. */
  #writeOffloads(index: number): void {
    const ring = index & 1 ? 'transmit' : 'receive';
    this.#write(this.#vrings[index]!.queue + QUEUE_OFFLOADS, offloadsOf(this.#negotiated, ring));
  }

  /** Lock held (or nobody left to hold it). */
  #setGate(queue: number, gate: number, open: boolean): void {
    const gates = this.#read(queue + QUEUE_GATES);
    this.#write(queue + QUEUE_GATES, open ? gates | gate : gates & ~gate);
    joinGates(this.#memory, queue);
  }

  /** Tells the owner what changed. `downReason` says why, if the link goes down by it. */
  #announce(downReason: string): void {
    for (const [index, vring] of this.#vrings.entries()) {
      const able = vring.resolved && vring.enabled;
      if (able === vring.announced) continue;
      vring.announced = able;
      this.#events.vringState?.(index, able);
    }
    const up = this.#vrings.slice(0, 2).every((vring) => vring.announced);
    if (up === this.#linkUp) return;
    this.#linkUp = up;
    if (up) this.#events.linkUp?.();
    else this.#events.linkDown?.(downReason);
  }

  /** A lcore that sleeps must look again: a queue has begun to run, or its kick descriptor is another one. */
  #wakeAll(): void {
    for (const { queue } of this.#vrings) wakeWaiter(this.#memory, queue, this.#wakeLcore);
  }

  #checkEventfd(request: string, index: number, fd: number): void {
    if (fd < 0 || this.#descriptors === undefined || this.#descriptors.isEventfd(fd)) return;
    this.#close(fd);
    throw new VhostProtocolError(request, 'fds', `the descriptor for vring ${index} is no eventfd`);
  }

  #meaning(fd: number): number {
    return this.#descriptors === undefined ? -1 : fd;
  }

  #close(fd: number): void {
    if (fd >= 0) this.#descriptors?.close(fd);
  }

  #read(address: number): number {
    return Atomics.load(this.#memory.u32, address >>> 2);
  }

  #write(address: number, value: number): void {
    Atomics.store(this.#memory.u32, address >>> 2, value);
  }

  #writeU64(address: number, value: bigint): void {
    Atomics.store(this.#memory.u64, address >>> 3, value);
  }
}

/** Wakes the lcore that sleeps until somebody signals this queue, if there is one. */
function wakeWaiter(memory: HostMemory, queue: number, wakeLcore: (lcoreId: number) => void): void {
  const lcore = Atomics.load(memory.u32, (queue + QUEUE_WAITER) >>> 2);
  if (lcore !== 0) wakeLcore((lcore - LCORE_BASE) / LCORE_SIZE);
}
