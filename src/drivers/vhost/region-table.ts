import {
  DEVICE_REGION_COUNT,
  DEVICE_REGIONS,
  MAX_REGIONS,
  REGION_GUEST,
  REGION_LENGTH,
  REGION_LINEAR,
  REGION_SIZE,
} from '../../../assembly/layout.js';
import type { HostMemory } from '../../eal/memory.js';
import type { VringConfig } from '../../vhost/device.js';
import { VhostProtocolError } from '../../vhost/errors.js';
import { sameRegion } from '../../vhost/memory-table.js';
import type { MemoryRegion } from '../../vhost/messages.js';
import { areaAlignment, areaBytes, type VringArea } from '../../vhost/vring-layout.js';
import type { GuestMemory, MappedRegion } from './memory.js';

/** A vring's areas as linear addresses. */
export interface VringAreas {
  readonly desc: number;
  readonly avail: number;
  readonly used: number;
}

/**
 * The regions of one guest: mapped, and written down in its DEVICE_ record for the data plane. Every method that changes them
 * is called with all queues of the device at rest.
 */
export class RegionTable {
  readonly #memory: HostMemory;
  readonly #device: number;
  readonly #guestMemory: GuestMemory;
  #regions: MappedRegion[] = [];

  constructor(memory: HostMemory, device: number, guestMemory: GuestMemory) {
    this.#memory = memory;
    this.#device = device;
    this.#guestMemory = guestMemory;
    this.#write();
  }

  get count(): number {
    return this.#regions.length;
  }

  get bytes(): number {
    return this.#regions.reduce((sum, { region }) => sum + Number(region.size), 0);
  }

  /** Replaces all regions. When it throws there are none. */
  replace(regions: readonly MemoryRegion[], fds: readonly number[]): void {
    this.clear();
    try {
      for (const [n, region] of regions.entries()) this.#regions.push(this.#guestMemory.map(region, fds[n]!));
    } catch (error) {
      this.clear();
      throw error;
    }
    this.#write();
  }

  add(region: MemoryRegion, fd: number): void {
    this.#regions.push(this.#guestMemory.map(region, fd));
    this.#write();
  }

  remove(region: MemoryRegion): void {
    const at = this.#regions.findIndex((mapped) => sameRegion(region, mapped.region));
    if (at < 0) throw new VhostProtocolError('REM_MEM_REG', 'region', 'is not mapped');
    const [mapped] = this.#regions.splice(at, 1);
    this.#write();
    this.#guestMemory.unmap(mapped!);
  }

  clear(): void {
    const regions = this.#regions;
    this.#regions = [];
    this.#write();
    for (const mapped of regions) this.#guestMemory.unmap(mapped);
  }

  /**
   * Where a ring's areas lie: each whole area inside one region, each aligned as Wasm's atomics need it (F7). `eventIdx`:
   * VIRTIO_RING_F_EVENT_IDX. Throws VhostProtocolError that names the area.
   */
  findRing(request: string, index: number, ring: VringConfig, eventIdx: boolean): VringAreas {
    const alignment = areaAlignment(ring.packed);
    const lengths = areaBytes(ring.size, ring.packed, eventIdx);
    const find = (area: VringArea): number => {
      const linear = this.#translate(ring[area], lengths[area]);
      const where = `of vring ${index}, 0x${ring[area].toString(16)}:`;
      if (linear === undefined) {
        throw new VhostProtocolError(request, area, `${where} ${lengths[area]} bytes are not inside one memory region`);
      }
      if (linear % alignment[area] !== 0) {
        throw new VhostProtocolError(request, area, `${where} not aligned to ${alignment[area]} bytes in its file`);
      }
      return linear;
    };
    return { desc: find('desc'), avail: find('avail'), used: find('used') };
  }

  /** User address → linear address, if the whole range lies in one region. */
  #translate(address: bigint, lengthBytes: number): number | undefined {
    for (const { region, linear } of this.#regions) {
      const offset = address - region.userAddress;
      if (offset < 0n || offset >= region.size || BigInt(lengthBytes) > region.size - offset) continue;
      return linear + Number(offset);
    }
    return undefined;
  }

  /**
   * The record: the largest region first, because the data plane tries that one before it loops; records that are not in use
   * are zero, because it does so without looking at the count.
   */
  #write(): void {
    const { u32, u64 } = this.#memory;
    const order = [...this.#regions].sort((a, b) => Number(b.region.size - a.region.size));
    u32.fill(
      0,
      (this.#device + DEVICE_REGIONS) >>> 2,
      (this.#device + DEVICE_REGIONS + MAX_REGIONS * REGION_SIZE) >>> 2,
    );
    for (const [n, { region, linear }] of order.entries()) {
      const at = this.#device + DEVICE_REGIONS + n * REGION_SIZE;
      u64[(at + REGION_GUEST) >>> 3] = region.guestAddress;
      u64[(at + REGION_LENGTH) >>> 3] = region.size;
      u32[(at + REGION_LINEAR) >>> 2] = linear;
    }
    Atomics.store(u32, (this.#device + DEVICE_REGION_COUNT) >>> 2, order.length);
  }
}
