/**
 * The life of a front end: connect, negotiate, hand the virtqueues over, notice that the back end has gone, take everything
 * back, begin again, until the port stops.
 *
 * It runs as an asynchronous loop on the main thread, and waits for its socket through the control worker. A main thread
 * that is blocked delays a (re)connection and nothing else: the rings lie in this process's own memory, which stays mapped
 * when a back end dies, so the lcores go on polling and see a ring that does not move. (A back end is different: its guest's
 * memory must be unmapped at once, so net_vhost's sessions run on the control worker.)
 */
import { QUEUE_GATE_ENABLED, QUEUE_GATE_READY, QUEUE_PEER } from '../../../assembly/layout.js';
import type { Eal } from '../../eal/eal.js';
import { withQueueLock } from '../../eal/queue-lock.js';
import { ViaductError } from '../../errors.js';
import { featureNames, VIRTIO_F_ANY_LAYOUT, VIRTIO_F_VERSION_1 } from '../../vhost/features.js';
import { FrontEndSession, type WaitReadable } from '../../vhost/frontend.js';
import { freshVringBase } from '../../vhost/vring-layout.js';
import { setGates } from '../queue.js';
import type { PortSlot } from '../types.js';
import { chooseFeatures, type DriverWishes, ringShape } from './driver-features.js';
import { type Connection, FOR_EVER_MS, Latch, type Transport } from './transport.js';
import type { Vring } from './vring.js';

const OPEN = QUEUE_GATE_READY | QUEUE_GATE_ENABLED;
/** Pause before a back end that went away is looked for again. */
const RETRY_MS = 100;

export interface FrontEndQueue {
  readonly vring: Vring;
  /** Eventfds: we signal `kickFd`, the back end signals `callFd`; -1 in process. */
  readonly kickFd: number;
  readonly callFd: number;
}

export interface FrontEndOptions {
  readonly eal: Eal;
  readonly slot: PortSlot;
  readonly transport: Transport;
  readonly wishes: DriverWishes;
  /** By vring index: rx 0, tx 0, rx 1, tx 1, ... */
  readonly queues: readonly FrontEndQueue[];
}

export class FrontEnd {
  readonly #options: FrontEndOptions;
  /** Between stop() and the end of the loop, and before start(). */
  #stopped = true;
  /** There is a connection. */
  #serving = false;
  /** The last words of a connection are not to be interrupted. */
  #parting = false;
  /** Ends the wait of the dialogue that is under way. */
  #interrupt: (() => void) | undefined;
  /** Between two connections. */
  readonly #pause = new Latch();
  #loop: Promise<void> = Promise.resolve();
  #features = 0n;
  #lastFault = '';

  constructor(options: FrontEndOptions) {
    this.#options = options;
  }

  /** Negotiated features, 0 while there is no back end. */
  get features(): bigint {
    return this.#features;
  }

  /** Begins. Throws when the meeting place cannot be had. */
  start(): void {
    this.#options.transport.arrive();
    this.#stopped = false;
    this.#loop = this.#run();
  }

  /** Ends: gives the back end notice, takes the rings back. Afterwards nobody holds an mbuf of the rings. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#pause.raise();
    if (this.#serving) this.#interrupt?.();
    else this.#options.transport.leave();
    await this.#loop;
    this.#options.transport.leave();
  }

  async #run(): Promise<void> {
    const { transport, slot, eal } = this.#options;
    while (!this.#stopped) {
      let reason: string;
      try {
        const connection = await transport.connect();
        if (connection === undefined) break;
        reason = await this.#serve(connection);
      } catch (error) {
        reason = (error as Error).message;
      }
      slot.linkChanged(false, this.#stopped ? `${slot.name} was stopped` : reason);
      if (this.#stopped) break;
      // a back end that refuses us does so each time: say it once
      if (reason !== this.#lastFault) eal.logger.log('warning', slot.name, `${reason}; trying again`);
      this.#lastFault = reason;
      await this.#pause.wait(RETRY_MS);
    }
  }

  /** One connection, until it ends. Returns why it did. */
  async #serve(connection: Connection): Promise<string> {
    const { queues } = this.#options;
    const readable = this.#interruptible(connection.readable);
    const session = new FrontEndSession(connection.channel, readable);
    let up = false;
    this.#serving = true;
    try {
      await this.#bringUp(session, connection);
      up = true;
      this.#lastFault = '';
      while (!this.#stopped && session.alive()) await readable(FOR_EVER_MS);
      return 'the back end has closed the connection';
    } finally {
      this.#shut();
      this.#parting = true;
      if (up && this.#stopped) await this.#giveNotice(session);
      this.#parting = false;
      this.#serving = false;
      session.close();
      for (const { vring } of queues) vring.drain();
      this.#features = 0n;
    }
  }

  /** A wait that stop() ends with false, as if the time were up. */
  #interruptible(readable: WaitReadable): WaitReadable {
    return (timeoutMs) => {
      if (this.#parting) return readable(timeoutMs);
      if (this.#stopped) return Promise.resolve(false);
      return new Promise((resolve, reject) => {
        this.#interrupt = () => resolve(false);
        readable(timeoutMs).then(resolve, reject);
      });
    };
  }

  async #bringUp(session: FrontEndSession, connection: Connection): Promise<void> {
    const { eal, slot, queues, wishes } = this.#options;
    const pairs = queues.length >>> 1;
    const { features, queuePairs } = await session.negotiate((offered) => chooseFeatures(offered, wishes));
    if ((features & (VIRTIO_F_VERSION_1 | VIRTIO_F_ANY_LAYOUT)) === 0n) {
      const list = featureNames(features).join(', ') || 'nothing';
      throw refused(`the back end offers ${list}, but neither VIRTIO_F_VERSION_1 nor VIRTIO_F_ANY_LAYOUT`);
    }
    if (queuePairs < pairs) {
      throw refused(
        `the back end has ${queuePairs} queue pairs, but the port is configured with ${pairs}: configure it with ${queuePairs}, ` +
          `or give the back end ${pairs} (net_vhost: queues=${pairs})`,
      );
    }
    const shapes = queues.map(({ vring }, index) => ringShape(features, index, vring.size));
    for (const [index, { vring }] of queues.entries()) vring.init(shapes[index]!);
    this.#setPeers(connection.peer);
    const size = BigInt(eal.memory.endAddress);
    await session.shareMemory([{ guestAddress: 0n, userAddress: 0n, size, mmapOffset: 0n, fd: connection.memoryFd }]);
    // A kick that this makes is in the eventfd when the back end gets it: none comes before its time.
    for (const { vring } of queues) vring.fill();
    for (const [index, { vring, kickFd, callFd }] of queues.entries()) {
      const [desc, avail, used] = [BigInt(vring.desc), BigInt(vring.avail), BigInt(vring.used)];
      const base = freshVringBase(shapes[index]!.packed);
      await session.startVring(index, { size: vring.size, desc, avail, used, base, kickFd, callFd });
    }
    for (const index of queues.keys()) await session.enableVring(index, true);
    await session.driverOk();
    this.#features = features;
    for (const { vring } of queues) setGates(eal, vring.queue, OPEN);
    slot.linkChanged(true);
  }

  /** Our rx queue n and the back end's tx queue n are the two ends of one virtqueue. */
  #setPeers(peer: PortSlot | undefined): void {
    const { eal, queues } = this.#options;
    for (const [index, { vring }] of queues.entries()) {
      const others = index % 2 === 0 ? peer?.txQueues : peer?.rxQueues;
      withQueueLock(eal.memory, vring.queue, () => {
        eal.memory.u32[(vring.queue + QUEUE_PEER) >>> 2] = others?.[index >>> 1] ?? 0;
      });
    }
  }

  #shut(): void {
    const { eal, queues } = this.#options;
    for (const { vring } of queues) setGates(eal, vring.queue, 0, OPEN);
    this.#setPeers(undefined);
  }

  /** A back end that answers has let go of the rings. One that does not is gone, or as good as gone. */
  async #giveNotice(session: FrontEndSession): Promise<void> {
    try {
      for (const index of this.#options.queues.keys()) await session.stopVring(index);
    } catch {}
  }
}

/** Without the port's name: the log and the event that tell of it have one. */
function refused(what: string): ViaductError {
  return new ViaductError('ERR_VHOST_PROTOCOL', what);
}
