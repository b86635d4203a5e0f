import { Worker } from 'node:worker_threads';
import type { Eal } from '../../eal/eal.js';
import { ViaductError } from '../../errors.js';
import type { Os } from '../../os/types.js';
import type { ControlCommand, ControlEvent, ControlWorkerData, OpenPort } from './protocol.js';
import { closeQuietly } from './socket.js';

/** How long cleanup, and a process that exits, wait for the worker to let go of sockets and windows. */
const STOP_TIMEOUT_MS = 3000;
const EXIT_TIMEOUT_MS = 500;

/** What the owner of a port is told, on the main thread. */
export interface ControlPortHandlers {
  /** A front end connected; it has not said anything yet. */
  connected?(): void;
  disconnected?(reason: string): void;
  /** The first queue pair can move packets; `features` are the negotiated ones. */
  linkUp?(features: bigint): void;
  linkDown?(reason: string): void;
  vringState?(vring: number, enabled: boolean): void;
  memory?(regionCount: number, bytes: number): void;
  rarp?(mac: Uint8Array): void;
  warning?(message: string): void;
}

/** A port that the control worker serves. */
export interface ControlPort {
  /** Ends the connection, closes the socket, removes its file. When it resolves the worker touches no record of the port. */
  close(): Promise<void>;
}

interface Pending {
  readonly resolve: (value: boolean) => void;
  readonly reject: (error: Error) => void;
}

const planes = new WeakMap<Eal, ControlPlane>();

/**
 * The main thread's hand on the control worker of an Eal. The worker starts with the first use and ends with the Eal; it keeps
 * the process alive while a port is open, as a listening server does.
 */
export class ControlPlane {
  readonly #eal: Eal;
  readonly #os: Os;
  readonly #wakeFd: number;
  readonly #done = new Int32Array(new SharedArrayBuffer(4));
  readonly #worker: Worker;
  readonly #handlers = new Map<number, ControlPortHandlers>();
  readonly #pending = new Map<number, Pending>();
  readonly #exited: Promise<void>;
  #failure: Error | undefined;
  #nextId = 0;

  /** The control plane of this Eal, made when it is first asked for. Throws ERR_KOFFI_MISSING or ERR_NOT_LINUX. */
  static of(eal: Eal): ControlPlane {
    let plane = planes.get(eal);
    if (plane === undefined) {
      plane = new ControlPlane(eal, eal.requireOs('a vhost-user socket'));
      planes.set(eal, plane);
    }
    return plane;
  }

  private constructor(eal: Eal, os: Os) {
    this.#eal = eal;
    this.#os = os;
    this.#wakeFd = os.eventfd();
    const workerData: ControlWorkerData = {
      sharedMemory: eal.sharedMemory,
      module: eal.module,
      endAddress: eal.memory.endAddress,
      wakeFd: this.#wakeFd,
      cpus: eal.controlCpus,
      done: this.#done,
    };
    this.#worker = new Worker(new URL('./control-worker.js', import.meta.url), { workerData, name: 'viaduct-control' });
    this.#worker.unref();
    this.#worker.on('message', (event: ControlEvent) => this.#handle(event));
    this.#worker.on('error', (error) => this.#fail(error));
    this.#exited = new Promise((resolve) => {
      this.#worker.once('exit', () => {
        this.#fail(new Error('it has ended'));
        resolve();
      });
    });
    // process.exit() must not wait for the worker's poll, and socket files must not stay behind.
    eal.onProcessExit(() => {
      if (this.#failure !== undefined) return;
      this.#send({ op: 'stop' });
      Atomics.wait(this.#done, 0, 0, EXIT_TIMEOUT_MS);
    });
    eal.onCleanup(() => this.#stop());
  }

  /**
   * Serves a port. Resolves when its socket listens, or, as a client, when the tries to connect have begun; rejects with
   * ERR_SOCKET_IN_USE when somebody else listens there, ERR_SYSCALL when the path cannot be used.
   */
  async open(port: Omit<OpenPort, 'op' | 'id'>, handlers: ControlPortHandlers): Promise<ControlPort> {
    const id = this.#nextId++;
    this.#handlers.set(id, handlers);
    try {
      await this.#request({ op: 'open', id, ...port });
    } catch (error) {
      this.#forget(id);
      throw error;
    }
    let closing: Promise<void> | undefined;
    return {
      close: () => {
        closing ??= this.#close(id);
        return closing;
      },
    };
  }

  /**
   * Resolves to true once the descriptor has something to read or its peer has closed, to false after `timeoutMs`. After
   * either nobody looks at the descriptor any more. For front ends that wait for a reply: `FrontEndSession`.
   */
  async readable(fd: number, timeoutMs: number): Promise<boolean> {
    const id = this.#nextId++;
    const timer = setTimeout(() => this.#send({ op: 'unwatch', id }), timeoutMs);
    try {
      return await this.#request({ op: 'watch', id, fd });
    } finally {
      clearTimeout(timer);
    }
  }

  #request(command: ControlCommand & { id: number }): Promise<boolean> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(this.#failure);
        return;
      }
      this.#pending.set(command.id, { resolve, reject });
      this.#keepAlive();
      this.#send(command);
    });
  }

  #settle(id: number, value: boolean): void {
    this.#pending.get(id)?.resolve(value);
    this.#pending.delete(id);
    this.#keepAlive();
  }

  /** An open port, or an answer that somebody waits for, keeps the process alive. */
  #keepAlive(): void {
    if (this.#handlers.size + this.#pending.size > 0) this.#worker.ref();
    else this.#worker.unref();
  }

  #send(command: ControlCommand): void {
    this.#worker.postMessage(command);
    this.#os.signal(this.#wakeFd);
  }

  async #close(id: number): Promise<void> {
    try {
      if (this.#failure === undefined) await this.#request({ op: 'close', id });
    } catch {
      // the worker has ended: nothing is open any more
    } finally {
      this.#forget(id);
    }
  }

  #forget(id: number): void {
    this.#handlers.delete(id);
    this.#keepAlive();
  }

  #handle(event: ControlEvent): void {
    if (event.event === 'ready') return;
    const handlers = this.#handlers.get(event.id);
    switch (event.event) {
      case 'opened':
      case 'closed':
      case 'readable':
        this.#settle(event.id, true);
        break;
      case 'unwatched':
        this.#settle(event.id, false);
        break;
      case 'failed':
        this.#pending.get(event.id)?.reject(new ViaductError(event.code, event.message));
        this.#pending.delete(event.id);
        break;
      case 'connected':
        handlers?.connected?.();
        break;
      case 'disconnected':
        handlers?.disconnected?.(event.reason);
        break;
      case 'linkUp':
        handlers?.linkUp?.(event.features);
        break;
      case 'linkDown':
        handlers?.linkDown?.(event.reason);
        break;
      case 'vringState':
        handlers?.vringState?.(event.vring, event.enabled);
        break;
      case 'memory':
        handlers?.memory?.(event.regionCount, event.bytes);
        break;
      case 'rarp':
        handlers?.rarp?.(event.mac);
        break;
      case 'warning':
        if (handlers?.warning !== undefined) handlers.warning(event.message);
        else this.#eal.logger.log('warning', 'vhost', event.message);
        break;
    }
  }

  /** The worker is gone: whoever waits is told, and every link is down. */
  #fail(cause: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = new ViaductError('ERR_LCORE_FAILED', `the vhost control worker failed: ${cause.message}`, {
      cause,
    });
    for (const { reject } of this.#pending.values()) reject(this.#failure);
    this.#pending.clear();
    for (const handlers of this.#handlers.values()) handlers.linkDown?.(this.#failure.message);
  }

  async #stop(): Promise<void> {
    planes.delete(this.#eal);
    this.#worker.ref();
    this.#send({ op: 'stop' });
    const timer = setTimeout(() => void this.#worker.terminate(), STOP_TIMEOUT_MS);
    await this.#exited;
    clearTimeout(timer);
    closeQuietly(this.#os, this.#wakeFd);
  }
}
