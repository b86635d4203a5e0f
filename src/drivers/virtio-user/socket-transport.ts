/** A front end's UNIX socket: as client it goes on trying to connect, as server it takes one back end after another. */
import type { Eal } from '../../eal/eal.js';
import { ViaductError } from '../../errors.js';
import type { Os } from '../../os/types.js';
import type { WaitReadable } from '../../vhost/frontend.js';
import type { PortSlot } from '../types.js';
import { ControlPlane } from '../vhost/control.js';
import { closeListener, errnoOf, type Listener, listenAt, SocketChannel } from '../vhost/socket.js';
import { type Connection, Latch, type Transport } from './transport.js';

/** Pause between two tries to connect. */
const CONNECT_RETRY_MS = 250;
/** Longest single wait through the control worker: bounds how long it looks at a descriptor that is closed meanwhile. */
const WATCH_SLICE_MS = 5000;
/** What connect() says while nobody listens yet. */
const NOBODY_THERE = new Set(['ENOENT', 'ECONNREFUSED', 'EAGAIN']);

export class SocketTransport implements Transport {
  readonly needsEventfds = true;
  readonly #eal: Eal;
  readonly #os: Os;
  readonly #slot: PortSlot;
  readonly #path: string;
  readonly #server: boolean;
  readonly #left = new Latch();
  #here = false;
  #waitingSaid = false;
  /** Why the last try found nobody, as errno's name. */
  #nobody = '';
  #listener: Listener | undefined;

  /** Throws ERR_KOFFI_MISSING or ERR_NOT_LINUX. */
  constructor(eal: Eal, slot: PortSlot, path: string, server: boolean) {
    this.#eal = eal;
    this.#os = eal.requireOs(slot.name);
    this.#slot = slot;
    this.#path = path;
    this.#server = server;
  }

  /** As server, listens. Throws ERR_SOCKET_IN_USE, ERR_SYSCALL. */
  arrive(): void {
    if (this.#server) this.#listener = listenAt(this.#os, this.#path);
    this.#here = true;
  }

  async connect(): Promise<Connection | undefined> {
    const control = ControlPlane.of(this.#eal);
    while (this.#here) {
      const fd = this.#server ? this.#os.accept(this.#listener!.fd) : this.#tryConnect();
      if (fd >= 0) return this.#connection(control, fd);
      if (!this.#waitingSaid) {
        this.#waitingSaid = true;
        this.#sayWaiting();
      }
      if (this.#server)
        await Promise.race([control.readable(this.#listener!.fd, WATCH_SLICE_MS), this.#left.wait(WATCH_SLICE_MS)]);
      else await this.#left.wait(CONNECT_RETRY_MS);
    }
    return undefined;
  }

  leave(): void {
    this.#here = false;
    if (this.#listener !== undefined) closeListener(this.#os, this.#listener);
    this.#listener = undefined;
    this.#left.raise();
  }

  #sayWaiting(): void {
    const [level, text] = this.#server
      ? (['info', `waits for a back end at ${this.#path}`] as const)
      : ([
          'warning',
          `no back end answers at ${this.#path} (${this.#nobody}); trying on: is one up, is the path right?`,
        ] as const);
    this.#eal.logger.log(level, this.#slot.name, text);
  }

  #tryConnect(): number {
    try {
      return this.#os.unixConnect(this.#path);
    } catch (error) {
      this.#nobody = errnoOf(error) ?? '';
      if (NOBODY_THERE.has(this.#nobody)) return -1;
      throw error;
    }
  }

  #connection(control: ControlPlane, fd: number): Connection {
    this.#waitingSaid = false;
    const memoryFd = this.#eal.hostMemoryFd;
    if (memoryFd === undefined) {
      this.#os.close(fd);
      throw new ViaductError('ERR_CLEANED_UP', `${this.#slot.name}: host memory is gone: this Eal was cleaned up`);
    }
    const channel = new SocketChannel(this.#os, fd);
    const readable: WaitReadable = (timeoutMs) => control.readable(fd, Math.min(timeoutMs, WATCH_SLICE_MS));
    return { channel, readable, memoryFd };
  }
}
