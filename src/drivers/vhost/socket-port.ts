import type { HostMemory } from '../../eal/memory.js';
import type { Windows } from '../../eal/windows.js';
import type { Os } from '../../os/types.js';
import { BackendConnection } from '../../vhost/connection.js';
import { WindowMemory } from './memory.js';
import type { ControlEvent, OpenPort } from './protocol.js';
import { closeListener, closeQuietly, errnoOf, type Listener, listenAt, SocketChannel } from './socket.js';
import { VhostDevice } from './vhost-device.js';

/** DPDK's vhost library tries once a second; a VM that restarts should not wait that long. */
const RECONNECT_MS = 250;
/** Messages of one peer before the others have their turn. */
const MESSAGES_A_TURN = 32;
/** Connections that are refused before the others have their turn. */
const ACCEPTS_A_TURN = 8;
/** A message that has begun must end: no front end sends one in pieces minutes apart. */
const MESSAGE_TIMEOUT_MS = 10_000;
/** How long a listener rests after accept(2) failed (no descriptors left): it stays readable meanwhile. */
const ACCEPT_PAUSE_MS = 1000;
/** Warnings a port may give in a second: a peer can cause as many as it likes. */
const WARNINGS_A_SECOND = 5;

/** What all ports of the control worker share. */
export interface Surroundings {
  readonly os: Os;
  readonly memory: HostMemory;
  readonly windows: Windows;
  readonly wakeLcore: (lcoreId: number) => void;
  readonly emit: (event: ControlEvent) => void;
}

/**
 * One vhost port on its socket: at most one front end at a time, the device record it drives, and what happens when it goes. A
 * fault of a peer ends that peer's connection and nothing else.
 */
export class SocketPort {
  readonly id: number;
  readonly #options: OpenPort;
  readonly #around: Surroundings;
  readonly #device: VhostDevice;
  #listener: Listener | undefined;
  #connection: BackendConnection | undefined;
  #channel: SocketChannel | undefined;
  #nextAttempt = 0;
  #acceptAgain = 0;
  #lastConnectError = '';
  #messageBegan = 0;
  #warnings = { since: 0, count: 0 };

  constructor(options: OpenPort, around: Surroundings) {
    this.id = options.id;
    this.#options = options;
    this.#around = around;
    const { id } = options;
    const { os, emit } = around;
    this.#device = new VhostDevice({
      memory: around.memory,
      device: options.device,
      vrings: options.vrings,
      guestMemory: new WindowMemory(os, around.windows),
      descriptors: {
        close: (fd) => closeQuietly(os, fd),
        signal: (fd) => os.signal(fd),
        isEventfd: (fd) => os.isEventfd(fd),
        setNonBlocking: (fd) => os.setNonBlocking(fd),
      },
      wakeLcore: around.wakeLcore,
      features: options.features,
      protocolFeatures: options.protocolFeatures,
      events: {
        linkUp: () => emit({ event: 'linkUp', id, features: this.#device.negotiatedFeatures }),
        linkDown: (reason) => emit({ event: 'linkDown', id, reason }),
        vringState: (vring, enabled) => emit({ event: 'vringState', id, vring, enabled }),
        memory: (regionCount, bytes) => emit({ event: 'memory', id, regionCount, bytes }),
        rarp: (mac) => emit({ event: 'rarp', id, mac }),
        warning: (message) => this.#warn(message),
      },
    });
  }

  /** Begins to listen, or to try to connect. Throws when the path cannot be listened on. */
  open(): void {
    if (!this.#options.client) this.#listener = listenAt(this.#around.os, this.#options.path);
  }

  /** Descriptors to poll; -1 for none. */
  get listenFd(): number {
    if (this.#listener === undefined || performance.now() < this.#acceptAgain) return -1;
    return this.#listener.fd;
  }

  get connectionFd(): number {
    return this.#channel?.fd ?? -1;
  }

  /** The connection has something to read, or has ended. Returns whether there is more to do at once. */
  serve(): boolean {
    const connection = this.#connection;
    if (connection === undefined) return false;
    try {
      const state = connection.pump(MESSAGES_A_TURN);
      if (state === 'closed') this.#disconnect('the front end disconnected');
      if (!connection.midMessage) this.#messageBegan = 0;
      else if (this.#messageBegan === 0) this.#messageBegan = performance.now();
      return state === 'more';
    } catch (error) {
      const message = (error as Error).message;
      this.#warn(`connection closed: ${message}`);
      this.#disconnect(message);
      return false;
    }
  }

  /** Somebody waits at the listener. One front end at a time: the next one is told by a closed connection. */
  accept(): void {
    const { os } = this.#around;
    for (let n = 0; n < ACCEPTS_A_TURN && this.#listener !== undefined; n++) {
      let fd: number;
      try {
        fd = os.accept(this.#listener.fd);
      } catch (error) {
        this.#acceptAgain = performance.now() + ACCEPT_PAUSE_MS;
        this.#warn(`cannot accept a connection: ${(error as Error).message}`);
        return;
      }
      if (fd < 0) return;
      if (this.#connection === undefined) {
        this.#adopt(fd);
      } else {
        closeQuietly(os, fd);
        this.#warn(`a second front end tried to connect to ${this.#options.path} and was refused: one a port`);
      }
    }
  }

  /**
   * What time brings: connecting again, a message that never ended, queues that stopped themselves. Returns the milliseconds
   * until it wants to be called again.
   */
  tick(now: number): number {
    this.#device.reportFaults();
    if (this.#messageBegan !== 0 && now - this.#messageBegan > MESSAGE_TIMEOUT_MS) {
      const reason = `a message that began ${MESSAGE_TIMEOUT_MS / 1000} s ago never ended`;
      this.#warn(`connection closed: ${reason}`);
      this.#disconnect(reason);
    }
    if (!this.#options.client || this.#connection !== undefined) return Number.POSITIVE_INFINITY;
    if (now >= this.#nextAttempt) {
      this.#nextAttempt = now + RECONNECT_MS;
      this.#connect();
    }
    return this.#connection === undefined ? Math.max(1, this.#nextAttempt - now) : Number.POSITIVE_INFINITY;
  }

  /** Ends the connection, stops listening, removes the socket file. */
  close(): void {
    this.#disconnect('the port was closed');
    if (this.#listener !== undefined) closeListener(this.#around.os, this.#listener);
    this.#listener = undefined;
  }

  #connect(): void {
    const { path } = this.#options;
    try {
      this.#adopt(this.#around.os.unixConnect(path));
      this.#lastConnectError = '';
    } catch (error) {
      const why = errnoOf(error) ?? (error as Error).message;
      if (why !== this.#lastConnectError) this.#warn(`cannot connect to ${path} yet (${why}); trying on`);
      this.#lastConnectError = why;
    }
  }

  #adopt(fd: number): void {
    this.#channel = new SocketChannel(this.#around.os, fd);
    this.#connection = new BackendConnection(this.#channel, this.#device);
    this.#connection.session.onRefused = (request, error) => this.#warn(`${request} failed: ${error.message}`);
    this.#messageBegan = 0;
    this.#around.emit({ event: 'connected', id: this.id });
  }

  #disconnect(reason: string): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    this.#connection = undefined;
    this.#channel = undefined;
    this.#messageBegan = 0;
    this.#nextAttempt = performance.now() + RECONNECT_MS;
    connection.close(reason);
    this.#around.emit({ event: 'disconnected', id: this.id, reason });
  }

  #warn(message: string): void {
    const now = performance.now();
    if (now - this.#warnings.since > 1000) this.#warnings = { since: now, count: 0 };
    if (++this.#warnings.count > WARNINGS_A_SECOND) return;
    this.#around.emit({ event: 'warning', id: this.id, message });
  }
}
