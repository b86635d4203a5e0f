import {
  CACHE_LINE,
  LCORE_ARENA,
  LCORE_ARENA_BYTES,
  LCORE_CPU,
  LCORE_ID,
  LCORE_POLL_MODE,
  LCORE_RXQS,
  LCORE_SCRATCH,
  LCORE_STOP,
  LCORE_WAKE_FD,
  MAX_BURST,
  MAX_LCORE_RXQS,
  MAX_LCORES,
  WINDOW_ALIGN,
} from '../../assembly/layout.js';
import { ViaductError } from '../errors.js';
import { loadOs } from '../os/index.js';
import type { Os } from '../os/types.js';
import type { MemzoneContext } from './context.js';
import type { WasmExports } from './exports.js';
import { IdleLimit } from './idle-limit.js';
import { MainBackend, WorkerBackend } from './lcore-backend.js';
import { flushAll, lcoreAddress, wakeLcore } from './lcore-loop.js';
import { Lcore, type LcoreOwner } from './lcores.js';
import { createLogger, type Logger } from './log.js';
import { type HostMemory, hostMemory, markInitialised } from './memory.js';
import { type Memzone, Memzones, size } from './memzone.js';
import { compileModule, createSharedMemory, instantiate } from './module.js';
import { Windows } from './windows.js';

/** What Eal.init takes: DPDK's EAL options. */
export interface EalOptions {
  /** Host memory for mempools, rings and tables, in MiB: `-m`. 16 to 2044; pages that nobody touches cost nothing. */
  readonly memoryMiB?: number;
  /** Lcores by id, with the CPU to pin each to: `-l`, `--lcores`. The first is the main lcore, the calling thread. */
  readonly lcores?: readonly (number | { readonly id: number; readonly cpu?: number })[];
  /** Never sleep: lcores poll on when there is nothing to do. */
  readonly poll?: boolean;
  /** Empty polls in a row after which a lcore sleeps, at the most: after a long sleep it takes fewer (default 2048). */
  readonly idlePolls?: number;
  /** Use the module that was built with assertions. */
  readonly debugModule?: boolean;
  readonly logger?: Logger;
}

const MIB = 1048576;
const DEFAULT_MEMORY_MIB = 512;
const MIN_MEMORY_MIB = 16;
/** Addresses of host memory stay below 2 GiB, also when its end is rounded up to the windows' alignment. */
const MAX_MEMORY_MIB = 2044;
const DEFAULT_IDLE_POLLS = 2048;
/** For bursts of a packet function: some hundred of them. */
const ARENA_BYTES = 65536;
/** cleanup() ends a lcore whose function hangs by force after that long. */
const CLEANUP_STOP_MS = 2000;
const ADDRESS_SPACE_BYTES = 2 ** 32;

type Closer = () => void | Promise<void>;

/**
 * The environment abstraction layer: the shared memory and what is in it, the compiled data plane, and the lcores.
 * rte_eal_init and rte_eal_cleanup. An Eal is a value: several may exist in one process, together or one after another.
 */
export class Eal implements MemzoneContext {
  /** Context module of every Eal that names none of its own: the ethdev API puts its own here when it is loaded. */
  static defaultContextModule: string | undefined;

  readonly sharedMemory: WebAssembly.Memory;
  readonly module: WebAssembly.Module;
  /** JavaScript's view of host memory. After cleanup() it reads zeros. */
  readonly memory: HostMemory;
  /** The main thread's instance of the module. */
  readonly wasm: WasmExports;
  /** Absent when koffi is not installed, or off Linux. */
  readonly os: Os | undefined;
  readonly memzones: Memzones;
  readonly mainLcoreId: number;
  readonly logger: Logger;
  /** CPUs that the calling thread had before it was pinned: for control threads, which must not inherit a pin. */
  readonly controlCpus: readonly number[] | undefined;
  readonly #missing: 'koffi' | 'platform' | undefined;
  readonly #windows: Windows | undefined;
  readonly #lcores: Lcore[] = [];
  readonly #wakeFds: number[] = [];
  readonly #closers: Closer[] = [];
  readonly #exitHooks: (() => void)[] = [];
  readonly #onExit = (): void => this.#processExits();
  #hostMemoryFd: number | undefined;
  #contextUrl: string | undefined;
  #pinnedMain = false;
  #cleanup: Promise<void> | undefined;
  /** The closers have run: nothing may be asked for any more. */
  #closed = false;

  /**
   * Makes the shared memory, compiles the data plane and starts the lcores.
   *
   * @throws ERR_INVALID_ARGUMENT for options that mean nothing, ERR_NO_MEMORY when the address space cannot be had,
   * ERR_KOFFI_MISSING or ERR_NOT_LINUX when a CPU is asked for and cannot be pinned, ERR_SYSCALL
   */
  static async init(options: EalOptions = {}): Promise<Eal> {
    const eal = new Eal(options);
    try {
      await eal.#startLcores(options);
    } catch (error) {
      await eal.cleanup();
      throw error;
    }
    return eal;
  }

  private constructor(options: EalOptions) {
    const memoryMiB = options.memoryMiB ?? DEFAULT_MEMORY_MIB;
    if (!Number.isInteger(memoryMiB) || memoryMiB < MIN_MEMORY_MIB || memoryMiB > MAX_MEMORY_MIB) {
      throw new ViaductError(
        'ERR_INVALID_ARGUMENT',
        `host memory of ${memoryMiB} MiB: it must be a whole number from ${MIN_MEMORY_MIB} to ${MAX_MEMORY_MIB}`,
      );
    }
    this.mainLcoreId = checkLcores(options)[0]!.id;
    this.logger = options.logger ?? createLogger();
    const { os, missing } = loadOs();
    this.os = os;
    this.#missing = missing;
    this.module = compileModule(options.debugModule);
    this.sharedMemory = reserveAddressSpace();
    // the module has no data segment: its instance touches no memory, which gets its pages only now. Last, because from
    // there on something would have to be given back
    this.wasm = instantiate(this.module, this.sharedMemory, os ? (fd) => (os.signal(fd) ? 0 : 1) : () => 0);
    this.controlCpus = os?.threadCpus();
    const endAddress = os ? this.#mapHostMemory(os, memoryMiB * MIB) : memoryMiB * MIB;
    this.memory = hostMemory(this.sharedMemory, endAddress);
    markInitialised(this.memory);
    this.memzones = new Memzones(this.memory);
    this.#windows = os ? new Windows(os, this.memory) : undefined;
    process.on('exit', this.#onExit);
  }

  /** The main lcore's id: whose mempool caches the calling thread uses. */
  get lcoreId(): number {
    return this.mainLcoreId;
  }

  get lcores(): readonly Lcore[] {
    return this.#lcores;
  }

  /** Guests' memory in the address space. Throws as requireOs does. */
  get windows(): Windows {
    this.requireOs('mapping guest memory');
    return this.#windows!;
  }

  /** The memfd behind host memory, so that a vhost-user back end can map it too; undefined without an Os. */
  get hostMemoryFd(): number | undefined {
    return this.#hostMemoryFd;
  }

  /** Throws ERR_NO_SUCH_LCORE. */
  lcore(id: number): Lcore {
    const lcore = this.#lcores.find((candidate) => candidate.id === id);
    if (lcore) return lcore;
    const ids = this.#lcores.map((candidate) => candidate.id).join(', ');
    throw new ViaductError('ERR_NO_SUCH_LCORE', `there is no lcore ${id}: this Eal has ${ids}`);
  }

  /**
   * The operating system, for something that cannot do without.
   *
   * @param what begins the message: `net_vhost`, `pinning lcore 1`
   * @throws ERR_KOFFI_MISSING, ERR_NOT_LINUX with the remedy, ERR_CLEANED_UP
   */
  requireOs(what: string): Os {
    if (this.#closed) throw new ViaductError('ERR_CLEANED_UP', `${what}: this Eal was cleaned up; make another one`);
    if (this.os) return this.os;
    if (this.#missing === 'koffi') {
      throw new ViaductError(
        'ERR_KOFFI_MISSING',
        `${what} needs the koffi package, which is not installed or has no binary here: npm install koffi`,
      );
    }
    throw new ViaductError('ERR_NOT_LINUX', `${what} needs Linux on x86-64 or arm64: run it there, or in a container`);
  }

  /**
   * Puts 2 MiB pages under a zone of 2 MiB or more, which then really takes up memory: about 3 ms a MiB, paid back where
   * packets are touched at random over many MiB. Needs no hugetlbfs and no privilege. Returns whether the kernel did.
   */
  useHugePages(zone: Memzone): boolean {
    return this.os?.useHugePages(this.os.addressOf(this.memory.u8) + BigInt(zone.address), zone.lengthBytes) ?? false;
  }

  /**
   * Names the module whose default export, a ContextExtension, makes the object that users' modules on lcores get, in place
   * of `Eal.defaultContextModule`.
   */
  useContextModule(url: URL | string): void {
    this.#contextUrl = String(url);
  }

  /** Registers something that cleanup() closes, in reverse order, while lcores no longer run but memory is still there. */
  onCleanup(fn: Closer): void {
    if (this.#closed) throw new ViaductError('ERR_CLEANED_UP', 'this Eal was cleaned up; make another one');
    this.#closers.push(fn);
  }

  /** Registers something synchronous for the end of the process, when it ends without cleanup(): waking a thread that blocks. */
  onProcessExit(fn: () => void): void {
    this.#exitHooks.push(fn);
  }

  /** rte_eal_cleanup: stops the lcores, runs the closers, ends the threads, gives the memory back. May be called again. */
  cleanup(): Promise<void> {
    this.#cleanup ??= this.#close();
    return this.#cleanup;
  }

  async #close(): Promise<void> {
    await Promise.all(this.#lcores.map((lcore) => lcore.stop(CLEANUP_STOP_MS)));
    for (let close = this.#closers.pop(); close; close = this.#closers.pop()) {
      // one closer that fails must not keep the others from closing
      await attempt(close, (error) => this.logger.log('error', 'eal', `cleanup: ${error}`));
    }
    this.#closed = true;
    await Promise.all(this.#lcores.map((lcore) => lcore.shutDown()));
    process.off('exit', this.#onExit);
    const { os } = this;
    if (!os) return;
    for (const fd of this.#wakeFds.splice(0)) os.close(fd);
    if (this.#pinnedMain && this.controlCpus) os.pinThread(this.controlCpus);
    // the views must stay readable: zero pages in place of the file, which goes when its last mapping does
    os.mapZero(os.addressOf(this.memory.u8), this.memory.endAddress);
    // a job of the main lcore that was still preparing must find that it is over
    for (const { id } of this.#lcores) this.memory.u32[(lcoreAddress(id) + LCORE_STOP) >>> 2] = 1;
    if (this.#hostMemoryFd !== undefined) os.close(this.#hostMemoryFd);
    this.#hostMemoryFd = undefined;
  }

  /** Puts a memory file under host memory and forbids everything above it. Returns host memory's end. */
  #mapHostMemory(os: Os, wantedBytes: number): number {
    const base = os.addressOf(new Uint8Array(this.sharedMemory.buffer));
    const align = BigInt(WINDOW_ALIGN);
    const endAddress = Number(((base + BigInt(wantedBytes) + align - 1n) / align) * align - base);
    const fd = os.memfdCreate('viaduct', endAddress);
    try {
      // a back end that gets the file must not be able to shrink it under us
      os.sealShrink(fd);
      os.mapShared(base, endAddress, fd, 0);
      os.mapNone(base + BigInt(endAddress), ADDRESS_SPACE_BYTES - endAddress);
    } catch (error) {
      os.close(fd);
      throw error;
    }
    this.#hostMemoryFd = fd;
    return endAddress;
  }

  async #startLcores(options: EalOptions): Promise<void> {
    const idlePolls = options.idlePolls ?? DEFAULT_IDLE_POLLS;
    const pollMode = options.poll ?? false;
    const { memory, os, wasm, logger } = this;
    const owner: LcoreOwner = {
      memory,
      logger,
      wake: (lcoreId) => wakeLcore(memory, this.#closed ? undefined : os, lcoreId),
      flush: (lcoreId) => {
        if (!this.#closed) flushAll(this.wasm, lcoreId);
      },
      contextUrl: () => this.#contextUrl ?? Eal.defaultContextModule,
    };
    const starts: Promise<void>[] = [];
    let mainCpu: number | undefined;
    for (const { id, cpu } of checkLcores(options)) {
      if (cpu !== undefined) this.requireOs(`pinning lcore ${id} to CPU ${cpu}`);
      this.#initRecord(id, cpu, pollMode);
      const isMain = id === this.mainLcoreId;
      if (isMain) mainCpu = cpu;
      const cpus = cpu === undefined ? this.controlCpus : [cpu];
      const { module, sharedMemory } = this;
      const backend = isMain
        ? new MainBackend({ memory, wasm, os, lcoreId: id, pollMode, idleLimit: new IdleLimit(idlePolls) })
        : new WorkerBackend({
            module,
            sharedMemory,
            endAddress: memory.endAddress,
            lcoreId: id,
            cpus,
            pollMode,
            idlePolls,
          });
      this.#lcores.push(new Lcore(id, cpu, isMain, owner, backend));
      if (backend instanceof WorkerBackend) starts.push(backend.start());
    }
    // all of them, so that none is still starting when a failure is cleaned up
    const results = await Promise.allSettled(starts);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
    if (os && mainCpu !== undefined) {
      os.pinThread(mainCpu);
      this.#pinnedMain = true;
    }
    const cpuText = this.#lcores.map(({ id, cpu }) => (cpu === undefined ? `${id}` : `${id}@${cpu}`)).join(',');
    logger.log(
      'info',
      'eal',
      `lcores ${cpuText}, main lcore ${this.mainLcoreId}, ${size(memory.endAddress)} of memory`,
    );
  }

  #initRecord(id: number, cpu: number | undefined, pollMode: boolean): void {
    const zone = this.memzones.reserve(`lcore-${id}`, (MAX_BURST + MAX_LCORE_RXQS) * 4 + ARENA_BYTES, CACHE_LINE);
    const lcore = lcoreAddress(id);
    let wakeFd = -1;
    if (this.os) {
      wakeFd = this.os.eventfd();
      this.#wakeFds.push(wakeFd);
    }
    const { i32, u32 } = this.memory;
    i32[(lcore + LCORE_WAKE_FD) >>> 2] = wakeFd;
    u32[(lcore + LCORE_ID) >>> 2] = id;
    i32[(lcore + LCORE_CPU) >>> 2] = cpu ?? -1;
    u32[(lcore + LCORE_POLL_MODE) >>> 2] = pollMode ? 1 : 0;
    u32[(lcore + LCORE_SCRATCH) >>> 2] = zone.address;
    u32[(lcore + LCORE_RXQS) >>> 2] = zone.address + MAX_BURST * 4;
    u32[(lcore + LCORE_ARENA) >>> 2] = zone.address + (MAX_BURST + MAX_LCORE_RXQS) * 4;
    u32[(lcore + LCORE_ARENA_BYTES) >>> 2] = ARENA_BYTES;
  }

  /** A thread that sleeps in poll(2) cannot be ended by Node: it would hold the end of the process up. */
  #processExits(): void {
    for (const lcore of this.#lcores) lcore.requestStop();
    for (const hook of this.#exitHooks) hook();
  }
}

/** The options' lcores, checked. */
function checkLcores(options: EalOptions): { id: number; cpu?: number }[] {
  const lcores = (options.lcores ?? [0]).map((lcore) => (typeof lcore === 'number' ? { id: lcore } : { ...lcore }));
  const refuse = (what: string): never => {
    throw new ViaductError('ERR_INVALID_ARGUMENT', what);
  };
  if (lcores.length === 0) refuse('an Eal needs at least one lcore, the main lcore');
  const seen = new Set<number>();
  for (const { id, cpu } of lcores) {
    if (!Number.isInteger(id) || id < 0 || id >= MAX_LCORES) refuse(`lcore ${id}: ids go from 0 to ${MAX_LCORES - 1}`);
    if (seen.has(id)) refuse(`lcore ${id} is named twice`);
    seen.add(id);
    if (cpu !== undefined && (!Number.isInteger(cpu) || cpu < 0)) refuse(`lcore ${id}: ${cpu} is no CPU number`);
  }
  const { idlePolls } = options;
  if (idlePolls !== undefined && (!Number.isInteger(idlePolls) || idlePolls < 1)) {
    refuse(`idlePolls ${idlePolls}: it must be a whole number from 1 on`);
  }
  return lcores;
}

/** The 4 GiB of address space that everything lives in. */
function reserveAddressSpace(): WebAssembly.Memory {
  try {
    return createSharedMemory();
  } catch (error) {
    throw new ViaductError(
      'ERR_NO_MEMORY',
      'the 4 GiB of address space for the shared memory cannot be reserved: raise the limit on virtual memory ' +
        '(ulimit -v unlimited); pages that are not touched cost nothing',
      { cause: error },
    );
  }
}

async function attempt(fn: () => void | Promise<void>, onError: (error: unknown) => void): Promise<void> {
  try {
    await fn();
  } catch (error) {
    onError(error);
  }
}
