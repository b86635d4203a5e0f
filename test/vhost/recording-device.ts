import type { BackendDevice, VringConfig } from '../../src/vhost/device.js';
import { NET_BACKEND_FEATURES, NET_BACKEND_PROTOCOL_FEATURES } from '../../src/vhost/features.js';
import type { MemoryRegion } from '../../src/vhost/messages.js';

/** A device that does nothing but write down what it was told, and closes nothing. */
export class RecordingDevice implements BackendDevice {
  features = NET_BACKEND_FEATURES;
  protocolFeatures = NET_BACKEND_PROTOCOL_FEATURES;
  vringCount = 4;
  maxMemorySlots = 64;
  /** One line a call. */
  readonly calls: string[] = [];
  /** Descriptors that the session handed over. */
  readonly fds: number[] = [];
  /** What stopVring answers. */
  nextAvail = 7;
  /** Thrown by the next call that changes memory. */
  failure: Error | undefined;

  /** Calls since the last look. */
  take(): string[] {
    return this.calls.splice(0);
  }

  setFeatures(features: bigint): void {
    this.calls.push(`features 0x${features.toString(16)}`);
  }

  setMemoryTable(regions: readonly MemoryRegion[], fds: readonly number[]): void {
    this.fds.push(...fds);
    this.#mayFail();
    this.calls.push(`memory ${regions.map((region) => region.guestAddress).join(' ')}`);
  }

  addMemoryRegion(region: MemoryRegion, fd: number): void {
    this.fds.push(fd);
    this.#mayFail();
    this.calls.push(`add ${region.guestAddress}`);
  }

  removeMemoryRegion(region: MemoryRegion): void {
    this.#mayFail();
    this.calls.push(`remove ${region.guestAddress}`);
  }

  startVring(index: number, config: VringConfig): void {
    this.calls.push(`start ${index} size ${config.size} base ${config.base} desc ${config.desc}`);
  }

  moveVring(index: number, config: VringConfig): void {
    this.calls.push(`move ${index} desc ${config.desc}`);
  }

  stopVring(index: number): number {
    this.calls.push(`stop ${index}`);
    return this.nextAvail;
  }

  setVringKick(index: number, fd: number): void {
    this.#fd('kick', index, fd);
  }

  setVringCall(index: number, fd: number): void {
    this.#fd('call', index, fd);
  }

  setVringErr(index: number, fd: number): void {
    this.#fd('err', index, fd);
  }

  setVringEnabled(index: number, enabled: boolean): void {
    this.calls.push(`${enabled ? 'enable' : 'disable'} ${index}`);
  }

  setMtu(mtu: number): boolean {
    this.calls.push(`mtu ${mtu}`);
    return mtu <= 9000;
  }

  setStatus(status: number): void {
    this.calls.push(`status ${status}`);
  }

  sendRarp(mac: Uint8Array): void {
    this.calls.push(`rarp ${Buffer.from(mac).toString('hex')}`);
  }

  reset(): void {
    this.calls.push('reset');
  }

  #fd(what: string, index: number, fd: number): void {
    if (fd >= 0) this.fds.push(fd);
    this.calls.push(`${what} ${index} ${fd}`);
  }

  #mayFail(): void {
    const failure = this.failure;
    this.failure = undefined;
    if (failure !== undefined) throw failure;
  }
}
