/**
 * What Viaduct asks of the operating system, behind one interface: `src/os/linux.ts` implements it over koffi, and tests
 * may implement it in memory. Nothing outside `src/os` knows FFI. Every method throws ViaductError ERR_SYSCALL with the
 * call's name and errno name, unless it says otherwise. File descriptors are plain numbers, owned by the caller.
 */
export interface Os {
  /** Host virtual address of a buffer's first byte (stable: the buffer is a WebAssembly.Memory's). */
  addressOf(bytes: Uint8Array): bigint;
  /** mmap(MAP_SHARED | MAP_FIXED, read + write) of `fd` from `offset` on over [address, address + lengthBytes). */
  mapShared(address: bigint, lengthBytes: number, fd: number, offset: number): void;
  /** Replaces the range by PROT_NONE anonymous pages: an access from Wasm traps. */
  mapNone(address: bigint, lengthBytes: number): void;
  /** Replaces the range by fresh zero pages, readable and writable. */
  mapZero(address: bigint, lengthBytes: number): void;
  memfdCreate(name: string, sizeBytes: number): number;
  /** Size in bytes (0: no regular file), and the unit it is mapped in: the page size, or hugetlbfs's block size. */
  fileInfo(fd: number): { sizeBytes: number; blockSizeBytes: number };
  /** F_SEAL_SHRINK; false if the file cannot be sealed. */
  sealShrink(fd: number): boolean;
  close(fd: number): void;
  dup(fd: number): number;
  /** Non-blocking eventfd, counter 0. */
  eventfd(): number;
  /**
   * Adds 1 to an eventfd. False if it could not: a closed or foreign descriptor is a peer's affair. A full one is true: its
   * reader will wake up.
   */
  signal(fd: number): boolean;
  /** Reads an eventfd's counter away (non-blocking; nothing to read is fine). */
  drain(fd: number): void;
  /**
   * poll(2) for POLLIN over the first `count` of `fds`, or until the timeout. Returns the ready count and sets
   * `ready[i]` to 1 (readable), 2 (nothing to read, but an error or a hang-up: it would be ready for ever) or 0. Negative
   * descriptors are passed over. EINTR counts as 0 ready.
   */
  poll(fds: Int32Array, count: number, ready: Uint8Array, timeoutMs: number): number;
  /** Binds and listens on a UNIX stream socket, non-blocking; never removes a file. Error code in `.cause` as errno name. */
  unixListen(path: string): number;
  /** Connects to a UNIX stream socket, non-blocking afterwards; errno name (ECONNREFUSED, ENOENT) as `.cause`. */
  unixConnect(path: string): number;
  /** Next connection, or -1 when none waits. Non-blocking, close-on-exec. */
  accept(fd: number): number;
  /** Bytes sent, or -1 for EAGAIN. fds travel as SCM_RIGHTS with the first byte. */
  sendMessage(fd: number, bytes: Uint8Array, fds: readonly number[]): number;
  /** Bytes read into `into` (0 = the peer closed, -1 = EAGAIN), descriptors that came with them (close-on-exec). */
  receiveMessage(fd: number, into: Uint8Array, maxFds: number): { length: number; fds: number[]; truncated: boolean };
  /** Pins the calling thread to a CPU, or to a set. Throws ERR_INVALID_ARGUMENT with the list of allowed CPUs. */
  pinThread(cpu: number | readonly number[]): void;
  /**
   * Asks the scheduler to give the calling thread its share of the CPU in short slices: woken up, it runs soon, also where
   * another thread is in the middle of its slice. It gets no more of the CPU altogether. False where the kernel does not take it.
   */
  useShortSlices(): boolean;
  /** CPUs that the calling thread may run on. A new thread inherits them from the one that starts it. */
  threadCpus(): number[];
  /**
   * Asks for 2 MiB pages under a mapped range, now: populates the range and collapses it (madvise). Returns whether the
   * kernel did so; the range works either way. Costs about 2 ms a MiB, and the memory is then really in use.
   */
  useHugePages(address: bigint, lengthBytes: number): boolean;
  /** Whether a descriptor that a peer sent is an eventfd: only those are signalled and drained without surprises. */
  isEventfd(fd: number): boolean;
  /** Sets O_NONBLOCK on a descriptor that a peer sent. */
  setNonBlocking(fd: number): void;
  /** Open descriptors of this process (for leak tests and diagnostics). */
  openDescriptorCount(): number;
}
