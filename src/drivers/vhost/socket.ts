import { lstatSync, type Stats, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { ViaductError } from '../../errors.js';
import type { Os } from '../../os/types.js';
import type { ByteChannel } from '../../vhost/channel.js';

/** A connected UNIX socket as a ByteChannel. */
export class SocketChannel implements ByteChannel {
  readonly #os: Os;
  #fd: number;

  constructor(os: Os, fd: number) {
    this.#os = os;
    this.#fd = fd;
  }

  /** -1 once closed. */
  get fd(): number {
    return this.#fd;
  }

  send(bytes: Uint8Array, fds: readonly number[]): void {
    // A message is far smaller than a socket's buffer: no room means that the peer has stopped reading, and waiting for it
    // would hold up everybody else.
    if (this.#os.sendMessage(this.#fd, bytes, fds) !== bytes.length) {
      throw new ViaductError('ERR_VHOST_PROTOCOL', 'the peer does not read its messages: its socket is full');
    }
  }

  receive(into: Uint8Array, maxFds: number): { length: number; fds: number[]; truncated: boolean } {
    try {
      return this.#os.receiveMessage(this.#fd, into, maxFds);
    } catch (error) {
      // The peer died with our reply unread in its buffer: a way of leaving like any other.
      if (errnoOf(error) === 'ECONNRESET') return { length: 0, fds: [], truncated: false };
      throw error;
    }
  }

  closeFd(fd: number): void {
    closeQuietly(this.#os, fd);
  }

  close(): void {
    const fd = this.#fd;
    this.#fd = -1;
    closeQuietly(this.#os, fd);
  }
}

export function closeQuietly(os: Os, fd: number): void {
  if (fd < 0) return;
  try {
    os.close(fd);
  } catch {
    // EBADF: it is closed, which is what we want
  }
}

/** errno's name behind an ERR_SYSCALL, `ECONNREFUSED`. */
export function errnoOf(error: unknown): string | undefined {
  const cause = error instanceof Error ? error.cause : undefined;
  if (typeof cause === 'string') return cause;
  return cause instanceof Error ? ((cause as NodeJS.ErrnoException).code ?? cause.message) : undefined;
}

/** A listening socket and the file that it made, so that only that file is removed. */
export interface Listener {
  readonly fd: number;
  readonly path: string;
  readonly inode: number;
}

/**
 * Listens at `path`. A socket file that nobody listens on any more (its owner was killed) is replaced. Throws
 * ERR_SOCKET_IN_USE when somebody does, or when something else lies there.
 */
export function listenAt(os: Os, path: string): Listener {
  let fd: number;
  try {
    fd = os.unixListen(path);
  } catch (error) {
    const errno = errnoOf(error);
    const remedy = errno === undefined ? undefined : cannotListen(path)[errno];
    if (remedy !== undefined) {
      throw new ViaductError('ERR_SYSCALL', `cannot listen on ${path} (${errno}): ${remedy}`, { cause: error });
    }
    if (errno !== 'EADDRINUSE') throw error;
    removeStale(os, path);
    fd = os.unixListen(path);
  }
  return { fd, path, inode: statOf(path)?.ino ?? -1 };
}

/** What to do when a socket cannot be made at a path, by the name of errno. */
function cannotListen(path: string): Readonly<Record<string, string>> {
  const directory = dirname(path);
  return {
    ENOENT: `the directory ${directory} does not exist: make it (mkdir -p ${directory}), or choose another path`,
    ENOTDIR: `a part of ${directory} is no directory: choose another path`,
    EACCES: `this user may not write to ${directory}: choose a directory of its own, or change that one's permissions`,
    EROFS: `${directory} is on a read-only file system: choose another path`,
  };
}

/** An error of a port's socket, with the port in front. */
export function ofPort(slot: { readonly id: number; readonly name: string }, error: unknown): unknown {
  if (!(error instanceof ViaductError) || error.message.startsWith(`${slot.name}:`)) return error;
  return new ViaductError(error.code, `port ${slot.id} (${slot.name}): ${error.message}`, {
    cause: error.cause ?? error,
  });
}

/** Closes the listener and removes its file, unless another socket lies there by now. */
export function closeListener(os: Os, listener: Listener): void {
  if (statOf(listener.path)?.ino === listener.inode) removeQuietly(listener.path);
  closeQuietly(os, listener.fd);
}

function removeStale(os: Os, path: string): void {
  const found = statOf(path);
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new ViaductError('ERR_SOCKET_IN_USE', `${path} exists and is no socket: remove it, or choose another path`);
  }
  let probe = -1;
  try {
    probe = os.unixConnect(path);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT') return;
    if (errno === 'ECONNREFUSED') {
      removeQuietly(path);
      return;
    }
    // EAGAIN: somebody listens and does not accept
    if (errno !== 'EAGAIN') throw error;
  }
  closeQuietly(os, probe);
  throw new ViaductError(
    'ERR_SOCKET_IN_USE',
    `another process listens on ${path}: choose another path, or end that process`,
  );
}

function statOf(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // somebody else removed it
  }
}
