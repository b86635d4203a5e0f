import type { Window, Windows } from '../../eal/windows.js';
import type { Os } from '../../os/types.js';
import { VhostProtocolError } from '../../vhost/errors.js';
import type { MemoryRegion } from '../../vhost/messages.js';

/** A region that Wasm can reach. */
export interface MappedRegion {
  readonly region: MemoryRegion;
  /** Linear address of its first byte. */
  readonly linear: number;
}

/** Where a device's regions come from: windows over files, or the process' own memory. */
export interface GuestMemory {
  /** Everything that can be checked before mapping; throws VhostProtocolError that names the region's field. `fd` stays open. */
  check(request: string, region: MemoryRegion, fd: number, position?: number): void;
  /** Throws if it does not fit. `fd` stays open, and may be closed at once. */
  map(region: MemoryRegion, fd: number): MappedRegion;
  /** The caller has stopped every queue that could use it. */
  unmap(mapped: MappedRegion): void;
  /** Told of things that the user should know: a file that cannot be sealed. */
  onWarning: ((message: string) => void) | undefined;
}

const MIB = 1024n * 1024n;

/** Guest memory behind file descriptors, each region in a window of its own. Files of 4 KiB, 2 MiB and 1 GiB pages do. */
export class WindowMemory implements GuestMemory {
  readonly #os: Os;
  readonly #windows: Windows;
  readonly #mapped = new Map<MappedRegion, Window>();
  onWarning: ((message: string) => void) | undefined;

  constructor(os: Os, windows: Windows) {
    this.#os = os;
    this.#windows = windows;
  }

  check(request: string, region: MemoryRegion, fd: number, position = -1): void {
    const label = position < 0 ? 'region' : `region ${position}`;
    const fail = (field: string, detail: string): never => {
      throw new VhostProtocolError(request, `${label} ${field}`, detail);
    };
    const { size, mmapOffset } = region;
    const fileBytes = BigInt(this.#os.fileInfo(fd).sizeBytes);
    if (mmapOffset + size > fileBytes) {
      fail('size', `${size} at offset ${mmapOffset} is beyond its file of ${fileBytes} bytes`);
    }
    const room = BigInt(this.#windows.capacityBytes);
    if (size > room) {
      fail('size', `${size / MIB} MiB is more than the ${room / MIB} MiB that all guests of a process can have`);
    }
  }

  map(region: MemoryRegion, fd: number): MappedRegion {
    const window = this.#windows.map(fd, Number(region.mmapOffset), Number(region.size));
    if (!window.sealed) {
      this.onWarning?.(
        'its memory file cannot be sealed: if anybody shrinks it while it is in use, this process dies (SIGBUS); ' +
          'memory-backend-memfd can be sealed',
      );
    }
    const mapped = { region, linear: window.address };
    this.#mapped.set(mapped, window);
    return mapped;
  }

  unmap(mapped: MappedRegion): void {
    const window = this.#mapped.get(mapped);
    if (window === undefined) return;
    this.#mapped.delete(mapped);
    this.#windows.unmap(window);
  }
}

/**
 * The guest is this process: a region's guest and user addresses are linear addresses of host memory. For the in-process
 * transport; descriptors are numbers without meaning.
 */
export class IdentityMemory implements GuestMemory {
  readonly #endAddress: bigint;
  onWarning: ((message: string) => void) | undefined;

  /** `endAddress`: HostMemory.endAddress. */
  constructor(endAddress: number) {
    this.#endAddress = BigInt(endAddress);
  }

  check(request: string, region: MemoryRegion): void {
    if (region.guestAddress !== region.userAddress || region.guestAddress + region.size > this.#endAddress) {
      throw new VhostProtocolError(request, 'region', 'is not a piece of host memory');
    }
  }

  map(region: MemoryRegion): MappedRegion {
    return { region, linear: Number(region.guestAddress) };
  }

  unmap(): void {}
}
