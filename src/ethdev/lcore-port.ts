/**
 * What a packet function on a worker lcore gets: ports, bursts, mbuf views, mempools and rings in the lcore's own thread.
 * The default export extends the EAL's bare context (Eal.useContextModule), so that src/eal needs to know no port.
 *
 *     import type { LcoreMain } from 'viaduct';
 *
 *     const main: LcoreMain = (lcore) => {
 *       const [a, b] = [lcore.port(0), lcore.port(1)];
 *       const burst = lcore.burst(32);
 *       const m = lcore.mbuf();
 *       return () => {
 *         const n = a.rxBurst(0, burst);
 *         for (let i = 0; i < n; i++) m.at(burst.handles[i]!).swapMacs();
 *         const sent = b.txBurst(0, burst, n);
 *         if (sent < n) burst.free(sent, n);
 *         return n;
 *       };
 *     };
 *     export default main;
 */
import {
  MAX_PORTS,
  PORT_BASE,
  PORT_LINK_UP,
  PORT_MAC,
  PORT_RXQ_COUNT,
  PORT_RXQS,
  PORT_SIZE,
  PORT_STATE,
  PORT_STATE_CONFIGURED,
  PORT_STATE_STARTED,
  PORT_TXQ_COUNT,
} from '../../assembly/layout.js';
import { Burst } from '../burst.js';
import { formatMac } from '../drivers/devargs.js';
import type { MemContext } from '../eal/context.js';
import type { WasmExports } from '../eal/exports.js';
import type { LcoreContext as BareContext, LcoreEntry } from '../eal/lcore-context.js';
import type { HostMemory } from '../eal/memory.js';
import { ViaductError } from '../errors.js';
import { MbufView } from '../mbuf.js';
import { Mempool } from '../mempool.js';
import { Ring } from '../ring.js';
import { type TxPrepareFault, txPrepareFault } from './prepare.js';

/** The default export of a module that Lcore.runModule launches. `Arg`: what runModule was given. */
export type LcoreMain<Arg = unknown> = LcoreEntry<LcoreContext<Arg>>;

/** The data-plane face of a port on one lcore: bursts, and what it may look at. Everything else is the main thread's. */
export class LcorePort {
  /** Port number: Port.id. */
  readonly id: number;
  readonly #memory: HostMemory;
  readonly #wasm: WasmExports;
  readonly #lcoreId: number;
  readonly #record: number;

  constructor(context: MemContext, id: number) {
    this.id = id;
    this.#memory = context.memory;
    this.#wasm = context.wasm;
    this.#lcoreId = context.lcoreId;
    this.#record = PORT_BASE + id * PORT_SIZE;
  }

  /**
   * rte_eth_rx_burst: receives at most `count` packets into `burst.handles`, returns how many. They are the caller's.
   * 0 from a queue that is stopped or does not exist.
   */
  rxBurst(queue: number, burst: Burst, count: number = burst.capacity): number {
    return this.#wasm.rxBurst(this.#lcoreId, this.id, queue, burst.address, count);
  }

  /** rte_eth_tx_burst: sends the first `count` packets, returns how many it took. The rest is still the caller's. */
  txBurst(queue: number, burst: Burst, count: number): number {
    return this.#wasm.txBurst(this.#lcoreId, this.id, queue, burst.address, count);
  }

  /** rte_eth_tx_prepare, see Port.txPrepare: how many of the first `count` packets are ready for txBurst. */
  txPrepare(queue: number, burst: Burst, count: number): number {
    return this.#wasm.txPrepare(this.#lcoreId, this.id, queue, burst.address, count);
  }

  /** Why this lcore's last txPrepare, on whichever port, stopped before the end; undefined when it did not. */
  get txPrepareFault(): TxPrepareFault | undefined {
    return txPrepareFault({ memory: this.#memory }, this.#lcoreId);
  }

  /** Configured queues. */
  get rxQueueCount(): number {
    return this.#read(PORT_RXQ_COUNT);
  }

  get txQueueCount(): number {
    return this.#read(PORT_TXQ_COUNT);
  }

  /** rte_eth_link_get's link_status. */
  get linkUp(): boolean {
    return this.#read(PORT_LINK_UP) === 1;
  }

  /** `02:00:00:00:00:01`: rte_eth_macaddr_get. */
  get macAddress(): string {
    return formatMac(this.#memory.u8.subarray(this.#record + PORT_MAC, this.#record + PORT_MAC + 6));
  }

  #read(field: number): number {
    return Atomics.load(this.#memory.u32, (this.#record + field) >>> 2);
  }
}

export interface LcorePortOptions {
  /**
   * Rx queues whose packets wake this lcore when it sleeps; all of the port's when absent. Name them where several lcores
   * share a port: a queue wakes one lcore.
   */
  readonly rxQueues?: readonly number[];
}

/** What an LcoreMain gets. It may be given to whatever takes a MemContext (MbufView, Mempool.attach, Ring.attach). */
export class LcoreContext<Arg = unknown> implements MemContext {
  readonly #bare: BareContext;

  constructor(bare: BareContext) {
    this.#bare = bare;
  }

  /** rte_lcore_id. */
  get lcoreId(): number {
    return this.#bare.lcoreId;
  }

  get memory(): HostMemory {
    return this.#bare.memory;
  }

  /** This thread's instance of the module. */
  get wasm(): WasmExports {
    return this.#bare.wasm;
  }

  /** What runModule was given: a structured clone of it. */
  get arg(): Arg {
    return this.#bare.arg as Arg;
  }

  /** Whether the lcore was asked to stop. Only a main that loops by itself needs to look. */
  get stopRequested(): boolean {
    return this.#bare.stopRequested;
  }

  /** Milliseconds, monotonic, a u32 that wraps. */
  nowMs(): number {
    return this.#bare.nowMs();
  }

  /** A configured port. Its rx queues wake this lcore from now on. ERR_NO_SUCH_PORT. */
  port(id: number, options: LcorePortOptions = {}): LcorePort {
    const record = PORT_BASE + id * PORT_SIZE;
    const { u32 } = this.memory;
    const exists = Number.isInteger(id) && id >= 0 && id < MAX_PORTS;
    const state = exists ? Atomics.load(u32, (record + PORT_STATE) >>> 2) : 0;
    if (state !== PORT_STATE_CONFIGURED && state !== PORT_STATE_STARTED) {
      throw new ViaductError(
        'ERR_NO_SUCH_PORT',
        `lcore ${this.lcoreId}: port ${id} is not configured: probe and configure it before runModule()`,
      );
    }
    const port = new LcorePort(this, id);
    const queues = u32[(record + PORT_RXQS) >>> 2]! >>> 2;
    for (const queue of options.rxQueues ?? Array.from({ length: port.rxQueueCount }, (_, n) => n)) {
      if (!(queue >= 0 && queue < port.rxQueueCount)) {
        throw new ViaductError(
          'ERR_INVALID_ARGUMENT',
          `lcore ${this.lcoreId}: port ${id} has no rx queue ${queue}; it is configured with ${port.rxQueueCount}`,
        );
      }
      this.#bare.addRxQueue(u32[queues + queue]!);
    }
    return port;
  }

  /** An array of `capacity` packet handles, until the job ends. Make it once. ERR_NO_MEMORY. */
  burst(capacity = 32): Burst {
    return new Burst(this, this.#bare.allocate(capacity * 4), capacity);
  }

  /** A view that is pointed at packets with `at()`. Make it once. */
  mbuf(): MbufView {
    return new MbufView(this);
  }

  /** The mempool of the main thread's `Mempool.address`, handed over as `arg`. */
  mempool(address: number): Mempool {
    return Mempool.attach(this, address);
  }

  /** The ring of the main thread's `Ring.address`, handed over as `arg`. */
  ring(address: number): Ring {
    return Ring.attach(this, address);
  }

  /** Something to do after the last poll, in this thread; run in reverse order, also after a failure. */
  onEnd(fn: () => void): void {
    this.#bare.onEnd(fn);
  }
}

/** ContextExtension, as src/eal imports it in the lcore's thread. */
export default function extend(bare: BareContext): LcoreContext {
  return new LcoreContext(bare);
}
