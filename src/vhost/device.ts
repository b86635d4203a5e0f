import type { MemoryRegion } from './messages.js';

/** A virtqueue as the front end described it. Addresses are the front end's user addresses. */
export interface VringConfig {
  /** VIRTIO_F_RING_PACKED was negotiated: `avail` and `used` are the event suppression areas. */
  readonly packed: boolean;
  /** Entries, 1 to 32768; a power of two in a split ring. */
  readonly size: number;
  readonly desc: bigint;
  readonly avail: bigint;
  readonly used: bigint;
  /** Where it goes on, 16 bits: next available entry; index and wrap counter of a packed ring. Inside the ring. */
  readonly base: number;
}

/**
 * What a back-end session drives: the device behind the protocol. The session has checked everything that the protocol
 * alone can tell (lengths, indexes, descriptor counts, features, order); the device checks what needs the memory and the
 * files (does an address lie in a region, is the file long enough).
 *
 * A method that refuses throws: VhostProtocolError for what a correct peer would never send, which closes the connection; any
 * other error for what this side cannot do (windows full, mmap failed), which a front end that asked for an acknowledgement
 * is told, and which else closes the connection too.
 *
 * Descriptors (fds) that a method receives are the device's from then on, also when it throws.
 */
export interface BackendDevice {
  /** Virtio and vhost features on offer, VHOST_USER_F_PROTOCOL_FEATURES among them. */
  readonly features: bigint;
  /** VHOST_USER_PROTOCOL_F_* on offer. */
  readonly protocolFeatures: bigint;
  /** Virtqueues: two a queue pair. */
  readonly vringCount: number;
  /** Memory regions at most. */
  readonly maxMemorySlots: number;

  /** The negotiated features. While a vring runs only RUNTIME_FEATURES change. */
  setFeatures(features: bigint): void;
  /** Replaces all regions; running vrings are found again in the new ones, or rest until they can be. */
  setMemoryTable(regions: readonly MemoryRegion[], fds: readonly number[]): void;
  addMemoryRegion(region: MemoryRegion, fd: number): void;
  /** Takes away the region with this guest address, user address and size; unknown ones throw. */
  removeMemoryRegion(region: MemoryRegion): void;
  /** Resolves the addresses and lets the vring run if it is enabled. Throws VhostProtocolError that names the area. */
  startVring(index: number, config: VringConfig): void;
  /** A running vring's addresses, told again (the log flag changed, the rings moved). */
  moveVring(index: number, config: VringConfig): void;
  /** Stops it for good: after the return nobody touches the ring. Returns where it would go on, as `base`. */
  stopVring(index: number): number;
  /** -1: no descriptor, the ring is polled. */
  setVringKick(index: number, fd: number): void;
  /** -1: no descriptor, the front end polls. */
  setVringCall(index: number, fd: number): void;
  setVringErr(index: number, fd: number): void;
  setVringEnabled(index: number, enabled: boolean): void;
  /** Returns false for an MTU that the device cannot have. */
  setMtu(mtu: number): boolean;
  /** Virtio device status (virtio 1.2 section 2.1). 0 is a reset: the session has stopped all vrings before. */
  setStatus(status: number): void;
  /** The guest moved here and cannot announce itself: somebody should send a RARP for this MAC (6 bytes). */
  sendRarp(mac: Uint8Array): void;
  /** The connection is gone: stops every vring, unmaps every region, closes every descriptor. Never throws. `reason` is for people. */
  reset(reason?: string): void;
}
