/**
 * Flow steering, the control plane's half: the Toeplitz table, and for each lcore and each port with several tx queues the
 * redirection table (RETA, rte_eth_dev_rss_reta_update) that assembly/forward/steer.ts looks queues up in. Queues that do not
 * run, because the guest uses fewer of them (`ethtool -L`), are left out.
 *
 * Lcores share a port's queues out among themselves: a flow comes in on one rx queue, so one lcore sees all of it, and keeps its
 * order on whatever queue that lcore puts it. Two that meet at one queue would wait for each other's bursts, and lose packets
 * when the other one has no CPU.
 */
import { randomBytes } from 'node:crypto';
import {
  PORT_BASE,
  PORT_SIZE,
  PORT_TXQ_COUNT,
  PORT_TXQS,
  QUEUE_RUN,
  RETA_SIZE,
  RUN_ON,
  STEER_RETA_BYTES,
  STEER_RETAS,
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

/** A copy of that key: with it toeplitzHash() tells a flow's hash, and Port.reta its queue. */
export function steeringKey(eal: Eal): Uint8Array {
  const key = toeplitzTable(eal) + TOEPLITZ_TABLE_SIZE;
  return eal.memory.u8.slice(key, key + TOEPLITZ_KEY_BYTES);
}

/** One of several lcores that send to the same port. */
export interface LcoreShare {
  readonly index: number;
  readonly count: number;
}

/**
 * A lcore's redirection table over `count` queues of which `running` run. Flows of a queue that runs stay there whatever
 * becomes of the others; those of one that does not are shared out evenly over the lcore's others, or where it has none, over
 * all that run. Without a running queue all count: packets are then lost at theirs. `wanted` is a table that somebody has set
 * (Port.setReta): it holds for every lcore, but for queues that do not run.
 */
export function redirectionTable(
  count: number,
  running: readonly number[],
  share: LcoreShare = { index: 0, count: 1 },
  wanted?: readonly number[],
): number[] {
  if (wanted !== undefined) {
    return wanted.map((queue, i) =>
      running.length === 0 || running.includes(queue) ? queue : running[Math.floor(i / count) % running.length]!,
    );
  }
  const groups = Math.min(share.count, count);
  const own = Array.from({ length: count }, (_, queue) => queue).filter(
    (queue) => queue % groups === share.index % groups,
  );
  const ownRunning = own.filter((queue) => running.includes(queue));
  const instead = ownRunning.length > 0 ? ownRunning : running;
  return Array.from({ length: RETA_SIZE }, (_, i) => {
    const queue = own[i % own.length]!;
    if (running.length === 0 || running.includes(queue)) return queue;
    return instead[Math.floor(i / own.length) % instead.length]!;
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

/** Writes a port's redirection tables as its queues are now, one into each lcore's STEER_SCRATCH_SIZE area. */
export function writeRedirectionTables(
  memory: HostMemory,
  portId: number,
  areas: readonly number[],
  wanted?: readonly number[],
): void {
  const { count, running } = runningQueues(memory, portId);
  if (count === 0) return;
  areas.forEach((area, index) => {
    const reta = (area + STEER_RETAS + portId * STEER_RETA_BYTES) >>> 1;
    redirectionTable(count, running, { index, count: areas.length }, wanted).forEach((queue, i) => {
      Atomics.store(memory.u16, reta + i, queue);
    });
  });
}

/** Keeps the redirection tables of some ports until stop(). */
export class Steering {
  readonly #memory: HostMemory;
  readonly #ports: readonly Port[];
  readonly #areas: readonly number[];
  readonly #listeners: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** `ports` have more than one tx queue each; `areas` are the lcores' STEER_SCRATCH_SIZE working areas. */
  constructor(memory: HostMemory, ports: readonly Port[], areas: readonly number[]) {
    this.#memory = memory;
    this.#ports = ports;
    this.#areas = areas;
    for (const port of ports) {
      const write = () => this.#write(port);
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
      if (port.state === 'started') this.#write(port);
    }
  }

  #write(port: Port): void {
    const wanted = port.isRetaSet && port.state === 'started' ? port.reta : undefined;
    writeRedirectionTables(this.#memory, port.id, this.#areas, wanted);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    for (const off of this.#listeners.splice(0)) off();
  }
}
