/** How a front end reaches its back end: by a UNIX socket, or in the same process. */
import type { Eal } from '../../eal/eal.js';
import type { ByteChannel } from '../../vhost/channel.js';
import type { WaitReadable } from '../../vhost/frontend.js';
import { INPROC_MEMORY_FD, type InprocLink, joinInproc } from '../inproc.js';
import type { PortSlot } from '../types.js';

/** A channel to a back end, and what differs between the ways. */
export interface Connection {
  readonly channel: ByteChannel;
  readonly readable: WaitReadable;
  /** What rides as the descriptor of host memory. */
  readonly memoryFd: number;
  /** The back end's port when it is in this process: signalled through QUEUE_PEER, not through eventfds. */
  readonly peer?: PortSlot;
}

export interface Transport {
  /** Kick and call eventfds are needed. */
  readonly needsEventfds: boolean;
  /** Comes to the place, and stays until leave(). Throws when the place is taken or cannot be. */
  arrive(): void;
  /** The next connection; undefined after leave(). Waits and tries as long as it takes. */
  connect(): Promise<Connection | undefined>;
  leave(): void;
}

/** Longest timer that there is. A wait this long keeps no process alive, a shorter one does: something is under way. */
export const FOR_EVER_MS = 0x7fff_ffff;

/** Something to read: `raise` from anywhere; a `wait` that was not yet answered, or else the next one, resolves to true. */
export class Latch {
  #raised = false;
  readonly #waiters = new Set<(raised: boolean) => void>();

  raise(): void {
    this.#raised = this.#waiters.size === 0;
    for (const wake of this.#waiters) wake(true);
  }

  /** Resolves to false after `timeoutMs`. */
  wait(timeoutMs: number): Promise<boolean> {
    if (this.#raised) {
      this.#raised = false;
      return Promise.resolve(true);
    }
    return new Promise((resolve) => {
      const end = (raised: boolean): void => {
        clearTimeout(timer);
        this.#waiters.delete(end);
        resolve(raised);
      };
      const timer = setTimeout(end, timeoutMs, false);
      if (timeoutMs === FOR_EVER_MS) timer.unref();
      this.#waiters.add(end);
    });
  }
}

/** `inproc:NAME` */
export class InprocTransport implements Transport {
  readonly needsEventfds = false;
  readonly #eal: Eal;
  readonly #slot: PortSlot;
  readonly #name: string;
  readonly #arrived = new Latch();
  #link: InprocLink | undefined;
  #leave: (() => void) | undefined;

  constructor(eal: Eal, slot: PortSlot, name: string) {
    this.#eal = eal;
    this.#slot = slot;
    this.#name = name;
  }

  arrive(): void {
    this.#leave = joinInproc(this.#eal, this.#name, 'frontend', {
      slot: this.#slot,
      connected: (link) => {
        this.#link = link;
        this.#arrived.raise();
      },
    });
  }

  async connect(): Promise<Connection | undefined> {
    while (this.#leave !== undefined) {
      const link = this.#link;
      this.#link = undefined;
      if (link !== undefined) {
        // the reader looks before it waits, so what came before this is not missed
        const latch = new Latch();
        link.channel.notify = () => latch.raise();
        const readable: WaitReadable = (timeoutMs) => latch.wait(timeoutMs);
        return { channel: link.channel, readable, memoryFd: INPROC_MEMORY_FD, peer: link.peer };
      }
      await this.#arrived.wait(FOR_EVER_MS);
    }
    return undefined;
  }

  leave(): void {
    this.#leave?.();
    this.#leave = undefined;
    this.#link = undefined;
    this.#arrived.raise();
  }
}
