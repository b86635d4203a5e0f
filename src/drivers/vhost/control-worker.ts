/**
 * The control worker: one thread serves all vhost-user sockets of an Eal. It blocks in poll(2) over its listeners, its
 * connections and an eventfd that the main thread signals after it posted a command, so that a guest's handshake never waits
 * for the user's program, nor the program for a guest.
 */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { hostMemory } from '../../eal/memory.js';
import { instantiate } from '../../eal/module.js';
import { Windows } from '../../eal/windows.js';
import { ViaductError } from '../../errors.js';
import { loadOs } from '../../os/index.js';
import type { Os } from '../../os/types.js';
import type { ControlCommand, ControlEvent, ControlWorkerData } from './protocol.js';
import { SocketPort, type Surroundings } from './socket-port.js';

/** Longest sleep: queues that stopped themselves are looked for this often. */
const TICK_MS = 500;

class ControlLoop {
  readonly #os: Os;
  readonly #wakeFd: number;
  readonly #around: Surroundings;
  readonly #ports = new Map<number, SocketPort>();
  /** Descriptors that the main thread waits for, by watch id. */
  readonly #watches = new Map<number, number>();
  #fds = new Int32Array(64);
  #ready = new Uint8Array(64);
  #stopped = false;

  constructor(os: Os, wakeFd: number, around: Surroundings) {
    this.#os = os;
    this.#wakeFd = wakeFd;
    this.#around = around;
  }

  /** Runs until told to stop. */
  run(): void {
    let timeoutMs = 0;
    while (!this.#stopped) {
      // Nothing that a peer or a port does may end the others: what is not caught nearer to its cause is caught here.
      try {
        timeoutMs = this.#turn(timeoutMs);
      } catch (error) {
        this.#around.emit({ event: 'warning', id: -1, message: `control worker: ${(error as Error).stack}` });
        timeoutMs = TICK_MS;
      }
    }
    for (const id of [...this.#ports.keys()]) this.#close(id);
  }

  /** Waits, serves whoever is ready; returns how long the next wait may be. */
  #turn(timeoutMs: number): number {
    const ports = [...this.#ports.values()];
    const watches = [...this.#watches];
    const count = this.#collect(ports, watches);
    this.#os.poll(this.#fds, count, this.#ready, timeoutMs);
    const ready = this.#ready;
    let more = false;
    // Connections before listeners: a guest that restarted must find its old connection gone.
    for (const [n, port] of ports.entries()) if (ready[1 + 2 * n] !== 0) more = port.serve() || more;
    for (const [n, port] of ports.entries()) if (ready[2 + 2 * n] !== 0) port.accept();
    for (const [n, [id]] of watches.entries()) {
      if (ready[1 + 2 * ports.length + n] === 0) continue;
      this.#watches.delete(id);
      this.#around.emit({ event: 'readable', id });
    }
    if (ready[0] !== 0) this.#os.drain(this.#wakeFd);
    this.#takeCommands();
    const now = performance.now();
    let next = TICK_MS;
    for (const port of this.#ports.values()) next = Math.min(next, port.tick(now));
    return more ? 0 : Math.ceil(next);
  }

  #collect(ports: readonly SocketPort[], watches: readonly (readonly [number, number])[]): number {
    const count = 1 + 2 * ports.length + watches.length;
    if (count > this.#fds.length) {
      this.#fds = new Int32Array(2 * count);
      this.#ready = new Uint8Array(2 * count);
    }
    this.#fds[0] = this.#wakeFd;
    for (const [n, port] of ports.entries()) {
      this.#fds[1 + 2 * n] = port.connectionFd;
      this.#fds[2 + 2 * n] = port.listenFd;
    }
    for (const [n, [, fd]] of watches.entries()) this.#fds[1 + 2 * ports.length + n] = fd;
    return count;
  }

  #takeCommands(): void {
    for (;;) {
      const received = receiveMessageOnPort(parentPort!) as { message: ControlCommand } | undefined;
      if (received === undefined) return;
      const command = received.message;
      switch (command.op) {
        case 'open':
          this.#open(new SocketPort(command, this.#around));
          break;
        case 'close':
          this.#close(command.id);
          break;
        case 'watch':
          this.#watches.set(command.id, command.fd);
          break;
        case 'unwatch':
          this.#watches.delete(command.id);
          this.#around.emit({ event: 'unwatched', id: command.id });
          break;
        case 'stop':
          this.#stopped = true;
          break;
      }
    }
  }

  #open(port: SocketPort): void {
    const { id } = port;
    try {
      port.open();
    } catch (error) {
      const code = error instanceof ViaductError ? error.code : 'ERR_SYSCALL';
      this.#around.emit({ event: 'failed', id, code, message: (error as Error).message });
      return;
    }
    this.#ports.set(id, port);
    this.#around.emit({ event: 'opened', id });
  }

  #close(id: number): void {
    this.#ports.get(id)?.close();
    this.#ports.delete(id);
    this.#around.emit({ event: 'closed', id });
  }
}

const data = workerData as ControlWorkerData;
const emit = (event: ControlEvent): void => parentPort!.postMessage(event);
const { os } = loadOs();
if (os === undefined) throw new ViaductError('ERR_KOFFI_MISSING', 'the control worker cannot load koffi');
if (data.cpus !== undefined) os.pinThread(data.cpus);
const memory = hostMemory(data.sharedMemory, data.endAddress);
const wasm = instantiate(data.module, data.sharedMemory, (fd) => (os.signal(fd) ? 0 : 1));
const around: Surroundings = {
  os,
  memory,
  windows: new Windows(os, memory),
  wakeLcore: (lcoreId) => wasm.lcoreWake(lcoreId),
  emit,
};
emit({ event: 'ready' });
try {
  new ControlLoop(os, data.wakeFd, around).run();
} finally {
  Atomics.store(data.done, 0, 1);
  Atomics.notify(data.done, 0);
}
