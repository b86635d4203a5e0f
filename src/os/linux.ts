import { fstatSync, readdirSync, readlinkSync } from 'node:fs';
import { cpuFunctions } from './cpus.js';
import { allocateScratch, type Libc, syscallError } from './libc.js';
import { mappingFunctions } from './mapping.js';
import { socketFunctions } from './sockets.js';
import type { Os } from './types.js';

// Values of asm-generic, the same on x86-64 and arm64
const O_NONBLOCK = 0o4000;
const EFD_CLOEXEC = 0o2000000;
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_DUPFD_CLOEXEC = 1030;
const F_GETFL = 3;
const F_SETFL = 4;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;
const F_SEAL_SHRINK = 2;
const RWF_NOWAIT = 8;
const POLLIN = 1;
/** struct pollfd: int fd, short events, short revents. */
const POLLFD_SIZE = 8;
/** struct statfs begins with i64 type, i64 block size; with room to spare. */
const STATFS_SIZE = 256;
const STATFS_BSIZE = 8;
const HUGETLBFS_MAGIC = 0x958458f6n;

/** Os over the C library of the calling thread. Not to be shared between threads: it owns scratch memory. */
export function linuxOs(libc: Libc): Os {
  // 0: the 8 bytes that signal() writes; 8: where drain() reads to; 16: the iovec {address, length} of drain()
  const event = allocateScratch(libc, 32);
  event.view.setBigUint64(0, 1n, true);
  event.view.setBigUint64(16, event.address + 8n, true);
  event.view.setBigUint64(24, 8n, true);
  const drainAddress = event.address + 8n;
  const drainIov = event.address + 16n;
  const statfs = allocateScratch(libc, STATFS_SIZE);
  let pollfds = allocateScratch(libc, 64 * POLLFD_SIZE);
  let pollWords = new Int32Array(pollfds.bytes.buffer);
  const preadv2 = libc.preadv2;
  const pageSizeBytes = libc.getpagesize();

  return {
    ...mappingFunctions(libc),
    ...socketFunctions(libc),
    ...cpuFunctions(libc),

    memfdCreate(name, sizeBytes) {
      const fd = libc.memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
      if (fd < 0) throw syscallError(libc, 'memfd_create', `no memory file '${name}'`);
      if (libc.ftruncate(fd, sizeBytes) < 0) {
        const error = syscallError(libc, 'ftruncate', `memory file '${name}' of ${sizeBytes} bytes`);
        libc.close(fd);
        throw error;
      }
      return fd;
    },

    fileInfo(fd) {
      if (libc.fstatfs(fd, statfs.address) < 0) throw syscallError(libc, 'fstatfs', `descriptor ${fd}`);
      const stat = fstatSync(fd);
      // any other file system maps in pages, whatever block size it states
      const isHuge = BigInt.asUintN(32, statfs.view.getBigInt64(0, true)) === HUGETLBFS_MAGIC;
      const blockSizeBytes = isHuge ? Number(statfs.view.getBigInt64(STATFS_BSIZE, true)) : pageSizeBytes;
      return { sizeBytes: stat.isFile() ? stat.size : 0, blockSizeBytes };
    },

    sealShrink(fd) {
      if (libc.fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) === 0) return true;
      // a file whose seals are sealed (F_SEAL_SEAL) may have this one already
      const seals = libc.fcntl(fd, F_GET_SEALS, 0);
      return seals >= 0 && (seals & F_SEAL_SHRINK) !== 0;
    },

    close(fd) {
      // Linux frees the descriptor before close() can fail: never again, whatever it says
      if (libc.close(fd) < 0 && libc.errnoName() === 'EBADF') throw syscallError(libc, 'close', `descriptor ${fd}`);
    },

    dup(fd) {
      const copy = libc.fcntl(fd, F_DUPFD_CLOEXEC, 0);
      if (copy < 0) throw syscallError(libc, 'fcntl(F_DUPFD_CLOEXEC)', `descriptor ${fd}`);
      return copy;
    },

    eventfd() {
      const fd = libc.eventfd(0, EFD_CLOEXEC | O_NONBLOCK);
      if (fd < 0) throw syscallError(libc, 'eventfd', 'no event descriptor');
      return fd;
    },

    signal(fd) {
      // through `event`, so that the closure keeps the scratch memory alive: the kernel knows only its address
      return libc.write(fd, event.address, 8) >= 0 || libc.errnoName() === 'EAGAIN';
    },

    drain(fd) {
      // RWF_NOWAIT: the peer may have taken O_NONBLOCK off an eventfd that it shares with us
      if (preadv2 && (preadv2(fd, drainIov, 1, -1, RWF_NOWAIT) >= 0 || libc.errnoName() !== 'EOPNOTSUPP')) return;
      libc.read(fd, drainAddress, 8);
    },

    isEventfd(fd) {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`) === 'anon_inode:[eventfd]';
      } catch {
        return false;
      }
    },

    setNonBlocking(fd) {
      const flags = libc.fcntl(fd, F_GETFL, 0);
      if (flags < 0 || libc.fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        throw syscallError(libc, 'fcntl(F_SETFL)', `descriptor ${fd}`);
      }
    },

    poll(fds, count, ready, timeoutMs) {
      if (count * POLLFD_SIZE > pollfds.bytes.length) {
        pollfds = allocateScratch(libc, count * 2 * POLLFD_SIZE);
        pollWords = new Int32Array(pollfds.bytes.buffer);
      }
      for (let i = 0; i < count; i++) {
        pollWords[2 * i] = fds[i]!;
        pollWords[2 * i + 1] = POLLIN;
      }
      ready.fill(0, 0, count);
      const readyCount = libc.poll(pollfds.address, count, timeoutMs);
      if (readyCount < 0) {
        if (libc.errnoName() === 'EINTR') return 0;
        throw syscallError(libc, 'poll', `${count} descriptors`);
      }
      if (readyCount === 0) return 0;
      for (let i = 0; i < count; i++) {
        const events = pollWords[2 * i + 1]! >>> 16;
        if (events !== 0) ready[i] = (events & POLLIN) !== 0 ? 1 : 2;
      }
      return readyCount;
    },

    openDescriptorCount() {
      // the directory that is being read is a descriptor too
      return readdirSync('/proc/self/fd').length - 1;
    },
  };
}
