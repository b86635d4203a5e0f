import { createRequire } from 'node:module';
import { ViaductError } from '../errors.js';

/**
 * The C library's functions that Viaduct calls, as koffi binds them. Pointers are passed as plain addresses (uint64), so
 * that a call converts numbers only; results are numbers, -1 with errno set on failure.
 */
export interface Libc {
  mmap(address: bigint, length: number, protection: number, flags: number, fd: number, offset: number): number | bigint;
  madvise(address: bigint, length: number, advice: number): number;
  memfd_create(name: string, flags: number): number;
  ftruncate(fd: number, length: number): number;
  fstatfs(fd: number, buffer: bigint): number;
  getpagesize(): number;
  fcntl(fd: number, command: number, argument: number): number;
  close(fd: number): number;
  eventfd(initial: number, flags: number): number;
  read(fd: number, buffer: bigint, length: number): number;
  write(fd: number, buffer: bigint, length: number): number;
  /** Absent from C libraries older than musl 1.2.5. */
  preadv2: ((fd: number, iov: bigint, count: number, offset: number, flags: number) => number) | undefined;
  poll(fds: bigint, count: number, timeoutMs: number): number;
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: bigint, length: number): number;
  listen(fd: number, backlog: number): number;
  connect(fd: number, address: bigint, length: number): number;
  accept4(fd: number, address: bigint, length: bigint, flags: number): number;
  sendmsg(fd: number, message: bigint, flags: number): number;
  recvmsg(fd: number, message: bigint, flags: number): number;
  sched_setaffinity(pid: number, size: number, mask: bigint): number;
  sched_getaffinity(pid: number, size: number, mask: bigint): number;
  /** For calls that the C library has no name for: sched_getattr, sched_setattr. */
  syscall(number: number, pid: number, attributes: bigint, third: number, flags: number): number;
  /** errno of the last failed call, as its name. */
  errnoName(): string;
  addressOf(bytes: Uint8Array): bigint;
}

/** The few things of koffi's that are used: typed here, so that Viaduct compiles where koffi is not installed. */
interface Koffi {
  load(path: string | null): { func(declaration: string): (...args: unknown[]) => unknown };
  address(value: unknown): bigint;
  errno(): number;
  os: { errno: Record<string, number> };
}

// fcntl is variadic in C; on Linux's x86-64 and arm64 ABIs a variadic int travels like a fixed one
const DECLARATIONS: Readonly<Record<string, string>> = {
  mmap: 'int64 mmap(uint64, size_t, int, int, int, int64)',
  madvise: 'int madvise(uint64, size_t, int)',
  memfd_create: 'int memfd_create(const char *, unsigned int)',
  ftruncate: 'int ftruncate(int, int64)',
  fstatfs: 'int fstatfs(int, uint64)',
  getpagesize: 'int getpagesize()',
  fcntl: 'int fcntl(int, int, int)',
  close: 'int close(int)',
  eventfd: 'int eventfd(unsigned int, int)',
  read: 'int64 read(int, uint64, size_t)',
  write: 'int64 write(int, uint64, size_t)',
  preadv2: 'int64 preadv2(int, uint64, int, int64, int)',
  poll: 'int poll(uint64, unsigned long, int)',
  socket: 'int socket(int, int, int)',
  bind: 'int bind(int, uint64, unsigned int)',
  listen: 'int listen(int, int)',
  connect: 'int connect(int, uint64, unsigned int)',
  accept4: 'int accept4(int, uint64, uint64, int)',
  sendmsg: 'int64 sendmsg(int, uint64, int)',
  recvmsg: 'int64 recvmsg(int, uint64, int)',
  sched_setaffinity: 'int sched_setaffinity(int, size_t, uint64)',
  sched_getaffinity: 'int sched_getaffinity(int, size_t, uint64)',
  syscall: 'long syscall(long, long, uint64, long, long)',
};

/** Binds the C library, or undefined when koffi is not installed or has no binary for this platform. */
export function loadLibc(): Libc | undefined {
  let koffi: Koffi;
  try {
    koffi = createRequire(import.meta.url)('koffi') as Koffi;
  } catch {
    return undefined;
  }
  // the process itself has its C library's symbols, whichever library that is
  const library = koffi.load(null);
  const functions: Record<string, unknown> = {};
  for (const [name, declaration] of Object.entries(DECLARATIONS)) {
    try {
      functions[name] = library.func(declaration);
    } catch (error) {
      if (name !== 'preadv2')
        throw new ViaductError('ERR_NOT_LINUX', `the C library has no ${name}()`, { cause: error });
    }
  }
  const names = new Map(Object.entries(koffi.os.errno).map(([name, value]) => [value, name]));
  // one number has two names on Linux; the specifications use these
  names.set(koffi.os.errno.EAGAIN!, 'EAGAIN');
  functions.errnoName = () => names.get(koffi.errno()) ?? `errno ${koffi.errno()}`;
  functions.addressOf = (bytes: Uint8Array) => koffi.address(bytes);
  return functions as unknown as Libc;
}

/**
 * Memory for arguments and results of system calls: outside of V8's heap, so that its address never changes. Whoever passes
 * the address on keeps the Scratch itself alive, too.
 */
export interface Scratch {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly address: bigint;
}

/** Allocates scratch memory. A view made over a whole ArrayBuffer keeps its address; a small one made directly may not. */
export function allocateScratch(libc: Libc, lengthBytes: number): Scratch {
  const buffer = new ArrayBuffer(lengthBytes);
  const bytes = new Uint8Array(buffer);
  return { bytes, view: new DataView(buffer), address: libc.addressOf(bytes) };
}

/** ERR_SYSCALL for a call that has just failed; its `cause` is the errno name, for programs. */
export function syscallError(libc: Libc, call: string, about: string): ViaductError {
  const name = libc.errnoName();
  return new ViaductError('ERR_SYSCALL', `${call} failed with ${name}: ${about}`, { cause: name });
}
