import { ViaductError } from '../errors.js';
import { allocateScratch, type Libc, syscallError } from './libc.js';
import type { Os } from './types.js';

// Values of asm-generic, the same on x86-64 and arm64
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CTRUNC = 0x8;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
/** sockaddr_un: u16 family, 108 bytes of path with its final 0. */
const SUN_PATH = 2;
const SUN_PATH_MAX_BYTES = 107;
const SOCKADDR_SIZE = 110;
/** Connections that may wait for accept(). */
const BACKLOG = 128;
/** SCM_MAX_FD: descriptors that Linux carries in one message. */
const MAX_FDS = 253;

// One block of scratch memory holds what a msghdr points to. 64-bit layouts; both glibc and musl read them so
const MSG_IOV = 16; // msghdr: pointer to the iovec, u64 count
const MSG_IOV_COUNT = 24;
const MSG_CONTROL = 32; // pointer, u64 length
const MSG_CONTROL_LENGTH = 40;
const MSG_FLAGS = 48;
const IOV = 64; // iovec: pointer, u64 length
const IOV_LENGTH = 72;
const CONTROL = 128;
// cmsghdr inside the control area: u64 length with this header, i32 level, i32 type, data; each one aligned to 8
const CMSG_LEVEL = 8;
const CMSG_TYPE = 12;
const CMSG_DATA = 16;
const CONTROL_CAPACITY = CMSG_DATA + 4 * MAX_FDS + 4;
const HEADER_SIZE = CONTROL + CONTROL_CAPACITY;

type SocketFunctions = Pick<Os, 'unixListen' | 'unixConnect' | 'accept' | 'sendMessage' | 'receiveMessage'>;

/** The part of Os that talks over UNIX stream sockets. */
export function socketFunctions(libc: Libc): SocketFunctions {
  const header = allocateScratch(libc, HEADER_SIZE);
  let data = allocateScratch(libc, 4096);
  header.view.setBigUint64(MSG_IOV, header.address + BigInt(IOV), true);
  header.view.setBigUint64(MSG_IOV_COUNT, 1n, true);

  /** Points the msghdr at `lengthBytes` of data and `controlBytes` of control area. */
  const prepare = (lengthBytes: number, controlBytes: number) => {
    if (lengthBytes > data.bytes.length) data = allocateScratch(libc, lengthBytes * 2);
    header.view.setBigUint64(IOV, data.address, true);
    header.view.setBigUint64(IOV_LENGTH, BigInt(lengthBytes), true);
    header.view.setBigUint64(MSG_CONTROL, controlBytes > 0 ? header.address + BigInt(CONTROL) : 0n, true);
    header.view.setBigUint64(MSG_CONTROL_LENGTH, BigInt(controlBytes), true);
    header.view.setInt32(MSG_FLAGS, 0, true);
  };

  const openSocket = (path: string): { fd: number; lengthBytes: number } => {
    const encoded = Buffer.from(path);
    if (encoded.length === 0 || encoded.length > SUN_PATH_MAX_BYTES || encoded.includes(0)) {
      throw new ViaductError(
        'ERR_INVALID_ARGUMENT',
        `socket path of ${encoded.length} bytes: a UNIX socket takes 1 to ${SUN_PATH_MAX_BYTES}; use a shorter path`,
      );
    }
    const fd = libc.socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) throw syscallError(libc, 'socket', path);
    header.bytes.fill(0, CONTROL, CONTROL + SOCKADDR_SIZE);
    header.view.setUint16(CONTROL, AF_UNIX, true);
    header.bytes.set(encoded, CONTROL + SUN_PATH);
    return { fd, lengthBytes: SUN_PATH + encoded.length + 1 };
  };

  const closeAndThrow = (fd: number, call: string, about: string): never => {
    const error = syscallError(libc, call, about);
    libc.close(fd);
    throw error;
  };

  return {
    unixListen(path) {
      const { fd, lengthBytes } = openSocket(path);
      if (libc.bind(fd, header.address + BigInt(CONTROL), lengthBytes) < 0) closeAndThrow(fd, 'bind', path);
      if (libc.listen(fd, BACKLOG) < 0) closeAndThrow(fd, 'listen', path);
      return fd;
    },

    unixConnect(path) {
      // non-blocking from the start: a UNIX socket connects at once, or its listener's backlog is full (EAGAIN)
      const { fd, lengthBytes } = openSocket(path);
      if (libc.connect(fd, header.address + BigInt(CONTROL), lengthBytes) < 0) closeAndThrow(fd, 'connect', path);
      return fd;
    },

    accept(fd) {
      const connection = libc.accept4(fd, 0n, 0n, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (connection >= 0) return connection;
      const name = libc.errnoName();
      // a connection that was closed while it waited is no connection
      if (name === 'EAGAIN' || name === 'EINTR' || name === 'ECONNABORTED') return -1;
      throw syscallError(libc, 'accept', `listening descriptor ${fd}`);
    },

    sendMessage(fd, bytes, fds) {
      if (fds.length > MAX_FDS) {
        throw new ViaductError('ERR_INVALID_ARGUMENT', `${fds.length} descriptors in one message: at most ${MAX_FDS}`);
      }
      const cmsgBytes = CMSG_DATA + 4 * fds.length;
      prepare(bytes.length, fds.length > 0 ? (cmsgBytes + 7) & ~7 : 0);
      data.bytes.set(bytes);
      if (fds.length > 0) {
        header.bytes.fill(0, CONTROL);
        header.view.setBigUint64(CONTROL, BigInt(cmsgBytes), true);
        header.view.setInt32(CONTROL + CMSG_LEVEL, SOL_SOCKET, true);
        header.view.setInt32(CONTROL + CMSG_TYPE, SCM_RIGHTS, true);
        for (let i = 0; i < fds.length; i++) header.view.setInt32(CONTROL + CMSG_DATA + 4 * i, fds[i]!, true);
      }
      const sent = libc.sendmsg(fd, header.address, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent >= 0) return sent;
      const name = libc.errnoName();
      if (name === 'EAGAIN' || name === 'EINTR') return -1;
      throw syscallError(libc, 'sendmsg', `socket ${fd}, ${bytes.length} bytes, ${fds.length} descriptors`);
    },

    receiveMessage(fd, into, maxFds) {
      // exactly this many: with the usual rounding to 8 bytes an odd limit would let one more in
      const controlBytes = maxFds > 0 ? CMSG_DATA + 4 * Math.min(maxFds, MAX_FDS) : 0;
      prepare(into.length, controlBytes);
      const length = libc.recvmsg(fd, header.address, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
      if (length < 0) {
        const name = libc.errnoName();
        if (name === 'EAGAIN' || name === 'EINTR') return { length: -1, fds: [], truncated: false };
        throw syscallError(libc, 'recvmsg', `socket ${fd}`);
      }
      // MSG_CTRUNC: the kernel closed the descriptors that had no room, and gave us the others
      const truncated = (header.view.getInt32(MSG_FLAGS, true) & MSG_CTRUNC) !== 0;
      const fds: number[] = [];
      const end = CONTROL + Number(header.view.getBigUint64(MSG_CONTROL_LENGTH, true));
      for (let at = CONTROL; at + CMSG_DATA <= end; ) {
        const cmsgBytes = Number(header.view.getBigUint64(at, true));
        if (cmsgBytes < CMSG_DATA || at + cmsgBytes > end) break;
        const isRights =
          header.view.getInt32(at + CMSG_LEVEL, true) === SOL_SOCKET &&
          header.view.getInt32(at + CMSG_TYPE, true) === SCM_RIGHTS;
        for (let slot = at + CMSG_DATA; isRights && slot + 4 <= at + cmsgBytes; slot += 4) {
          fds.push(header.view.getInt32(slot, true));
        }
        at += (cmsgBytes + 7) & ~7;
      }
      into.set(data.bytes.subarray(0, length));
      return { length, fds, truncated };
    },
  };
}
