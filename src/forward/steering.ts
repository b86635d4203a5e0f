/**
 * Flow steering, the control plane's half: the Toeplitz table, and for each port with several tx queues the redirection table
 * (RETA, rte_eth_dev_rss_reta_update) that assembly/forward/steer.ts looks queues up in. Queues that do not run, because the
 * guest uses fewer of them (`ethtool -L`), are left out.
 */
import { randomBytes } from 'node:crypto';
import {
  PORT_BASE,
  PORT_RETA,
  PORT_SIZE,
  PORT_TXQ_COUNT,
  PORT_TXQS,
  QUEUE_RUN,
  RETA_SIZE,
  RUN_ON,
  TOEPLITZ_KEY_BYTES,
  TOEPLITZ_TABLE_SIZE,
} from '../../assembly/layout.js';
import type { Eal } from '../eal/eal.js';
import type { HostMemory } from '../eal/memory.js';
import type { Port } from '../ethdev/port.js';

/** A port that is stopped and started again, or whose guest came back, tells no queue's state: looked at this often. */
const PERIOD_MS = 100;

const tables = new WeakMap<Eal, number>();

/** Address of the Eal's Toeplitz table, made at the first call. Its key is random: no guest can aim its flows at one queue. */
export function toeplitzTable(eal: Eal): number {
  const known = tables.get(eal);
  if (known !== undefined) return known;
  const zone = eal.memzones.reserve('RSS', TOEPLITZ_TABLE_SIZE + TOEPLITZ_KEY_BYTES);
  const key = zone.address + TOEPLITZ_TABLE_SIZE;
  eal.memory.u8.set(randomBytes(TOEPLITZ_KEY_BYTES), key);
  eal.wasm.toeplitzInit(zone.address, key);
  tables.set(eal, zone.address);
  return zone.address;
}

/**
 * A redirection table over `running` of `count` queues. Flows of a queue that runs stay there whatever becomes of the others;
 * those of one that does not are shared out evenly. Without a running queue all count: packets are then lost at theirs.
 */
export function redirectionTable(count: number, running: readonly number[]): number[] {
  return Array.from({ length: RETA_SIZE }, (_, i) => {
    const queue = i % count;
    if (running.length === 0 || running.includes(queue)) return queue;
    return running[Math.floor(i / count) % running.length]!;
  });
}

/** Tx queues of a port that move packets now. */
function runningQueues(memory: HostMemory, portId: number): { count: number; running: number[] } {
  const record = PORT_BASE + portId * PORT_SIZE;
  const count = memory.u32[(record + PORT_TXQ_COUNT) >>> 2]!;
  const queues = memory.u32[(record + PORT_TXQS) >>> 2]!;
  const running: number[] = [];
  for (let queue = 0; queue < count; queue++) {
    const address = memory.u32[(queues + queue * 4) >>> 2]!;
    if (Atomics.load(memory.u32, (address + QUEUE_RUN) >>> 2) === RUN_ON) running.push(queue);
  }
  return { count, running };
}

/** Writes a port's redirection table as its queues are now. */
export function writeRedirectionTable(memory: HostMemory, portId: number): void {
  const { count, running } = runningQueues(memory, portId);
  if (count === 0) return;
  const reta = (PORT_BASE + portId * PORT_SIZE + PORT_RETA) >>> 1;
  redirectionTable(count, running).forEach((queue, i) => {
    Atomics.store(memory.u16, reta + i, queue);
  });
}

/** Keeps the redirection tables of some ports until stop(). */
export class Steering {
  readonly #memory: HostMemory;
  readonly #ports: readonly Port[];
  readonly #listeners: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** `ports` have more than one tx queue each. */
  constructor(memory: HostMemory, ports: readonly Port[]) {
    this.#memory = memory;
    this.#ports = ports;
    for (const port of ports) {
      const write = () => writeRedirectionTable(memory, port.id);
      write();
      port.on('queueState', write);
      port.on('linkUp', write);
      this.#listeners.push(() => {
        port.off('queueState', write);
        port.off('linkUp', write);
      });
    }
    this.#timer = setInterval(() => this.#look(), PERIOD_MS).unref();
  }

  #look(): void {
    for (const port of this.#ports) {
      if (port.state === 'started') writeRedirectionTable(this.#memory, port.id);
    }
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    for (const off of this.#listeners.splice(0)) off();
  }
}
