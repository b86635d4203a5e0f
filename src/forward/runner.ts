import {
  ENGINE_L2,
  LCORE_BASE,
  LCORE_SIZE,
  LCORE_STREAM_COUNT,
  LCORE_STREAMS,
  MAX_BURST,
} from '../../assembly/layout.js';
import type { Eal } from '../eal/eal.js';
import type { Lcore } from '../eal/lcores.js';
import { ViaductError } from '../errors.js';
import type { Port } from '../ethdev/port.js';
import type { PlannedPort } from './plan.js';
import { Steering, toeplitzTable } from './steering.js';
import { type StreamCounters, StreamRecords, type StreamSpec } from './stream-records.js';

/** Told at once when a forwarding lcore fails; its streams stand still until the next stop() and start(). */
export type LcoreFailed = (error: unknown) => void;

/**
 * Runs streams on lcores: puts the records into shared memory, starts the lcores' rounds, ends them, and gives the memory back.
 * What was counted stays across stops and starts. The common half of Forwarder and L2Switch.
 */
export class StreamRunner {
  readonly lcores: readonly Lcore[];
  readonly #eal: Eal;
  /** Who forwards, as messages name it. */
  readonly #owner: string;
  readonly #failed: LcoreFailed | undefined;
  #records: StreamRecords | undefined;
  #steering: Steering | undefined;
  #counted: StreamCounters[] = [];
  #started: Lcore[] = [];

  constructor(eal: Eal, owner: string, lcoreIds: readonly number[] | undefined, failed?: LcoreFailed) {
    this.#eal = eal;
    this.#owner = owner;
    this.#failed = failed;
    this.lcores = pickLcores(eal, owner, lcoreIds);
  }

  get isRunning(): boolean {
    return this.#records !== undefined;
  }

  /**
   * Starts the lcores. `ports` are all that the streams may send to. Throws ERR_INVALID_STATE, ERR_NO_MEMORY, and what the
   * lcores throw; then nothing runs.
   */
  async start(specs: readonly StreamSpec[], ports: readonly Port[]): Promise<void> {
    if (this.isRunning) throw new ViaductError('ERR_INVALID_STATE', `${this.#owner} runs already: stop() it first`);
    if (specs.length === 0) {
      throw new ViaductError(
        'ERR_INVALID_STATE',
        `${this.#owner}: its ports have no rx queue: configure at least one port`,
      );
    }
    const { memory, memzones } = this.#eal;
    const records = new StreamRecords(memory, memzones, this.#steered(specs, ports));
    this.#records = records;
    const several = reachable(ports).filter((port) => plannedPort(port).txQueueCount > 1);
    if (several.length > 0) this.#steering = new Steering(memory, several, records.steerAreas);
    try {
      for (const part of records.lcores) {
        const lcore = this.lcores[part.lcoreIndex]!;
        lcore.setRxQueues(part.rxQueues);
        this.#started.push(lcore);
        this.#setStreams(lcore, part.streams, part.streamCount);
        lcore.runStreams();
        lcore.wait().catch((error: unknown) => this.#failed?.(error));
      }
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /**
   * Packets to a port with several tx queues are steered by flow. Where rx and tx queues come in pairs a stream keeps to the
   * tx queue of its rx queue's number, as in testpmd, unless that one is switched off or somebody has set the redirection table.
   */
  #steered(specs: readonly StreamSpec[], ports: readonly Port[]): readonly StreamSpec[] {
    const planned = new Map(reachable(ports).map((port) => [port.id, plannedPort(port)]));
    if ([...planned.values()].every((port) => port.txQueueCount <= 1)) return specs;
    const table = toeplitzTable(this.#eal);
    return specs.map((spec) => {
      if (spec.engine === ENGINE_L2) return { ...spec, steer: { table, ownFirst: false } };
      const to = planned.get(spec.txPort);
      if (to === undefined || to.txQueueCount <= 1) return spec;
      const pairs = planned.get(spec.rxPort)?.rxQueueCount === to.txQueueCount;
      const told = ports.find(({ id }) => id === spec.txPort)?.isRetaSet === true;
      return { ...spec, steer: { table, ownFirst: pairs && !told } };
    });
  }

  /** Ends the lcores' rounds. When it resolves no lcore touches a stream. A lcore that failed has told so through wait(). */
  async stop(): Promise<void> {
    const records = this.#records;
    if (records === undefined) return;
    await Promise.allSettled(this.#started.map((lcore) => lcore.stop()));
    if (this.#records !== records) return; // two stop() at a time: the other one was first
    for (const lcore of this.#started) {
      this.#setStreams(lcore, 0, 0);
      lcore.setRxQueues([]);
    }
    this.#steering?.stop();
    this.#steering = undefined;
    this.#counted = merge([...this.#counted, ...records.counters()]);
    records.free();
    this.#records = undefined;
    this.#started = [];
  }

  #setStreams(lcore: Lcore, address: number, count: number): void {
    const record = LCORE_BASE + lcore.id * LCORE_SIZE;
    this.#eal.memory.u32[(record + LCORE_STREAMS) >>> 2] = address;
    this.#eal.memory.u32[(record + LCORE_STREAM_COUNT) >>> 2] = count;
  }

  /** What every stream has counted since the last resetCounters(), those of earlier runs too. */
  counters(): StreamCounters[] {
    return [...this.#counted, ...(this.#records?.counters() ?? [])];
  }

  /** Forgets earlier runs. The records of a run belong to its lcores: call it while none runs. */
  resetCounters(): void {
    this.#counted = [];
  }
}

/** One entry for each pair of queues, so that a life of many starts does not grow. */
function merge(counters: readonly StreamCounters[]): StreamCounters[] {
  const merged = new Map<string, StreamCounters>();
  for (const stream of counters) {
    const key = `${stream.rxPort}/${stream.rxQueue}>${stream.txPort}/${stream.txQueue}`;
    const sum = merged.get(key);
    merged.set(
      key,
      sum === undefined
        ? stream
        : {
            ...sum,
            rxPackets: sum.rxPackets + stream.rxPackets,
            txPackets: sum.txPackets + stream.txPackets,
            txDropped: sum.txDropped + stream.txDropped,
            filtered: sum.filtered + stream.filtered,
            flooded: sum.flooded + stream.flooded,
            badIpCksum: sum.badIpCksum + stream.badIpCksum,
            badL4Cksum: sum.badL4Cksum + stream.badL4Cksum,
          },
    );
  }
  return [...merged.values()];
}

/** The lcores with these ids; without any, all but the main lcore, which takes turns with the program and serves only alone. */
function pickLcores(eal: Eal, owner: string, ids: readonly number[] | undefined): readonly Lcore[] {
  if (ids === undefined) {
    const workers = eal.lcores.filter((lcore) => !lcore.isMain);
    return workers.length > 0 ? workers : eal.lcores;
  }
  if (ids.length === 0) throw new ViaductError('ERR_INVALID_ARGUMENT', `${owner}: it needs one lcore at least`);
  if (new Set(ids).size !== ids.length) {
    throw new ViaductError('ERR_INVALID_ARGUMENT', `${owner}: lcores ${ids.join(', ')}: one is named twice`);
  }
  return ids.map((id) => eal.lcore(id));
}

/** Ports that can be asked for their queues. */
function reachable(ports: readonly Port[]): Port[] {
  return ports.filter(({ state }) => state === 'started' || state === 'configured');
}

/** What a plan needs to know of the ports. ERR_INVALID_STATE for one that is not started. */
export function plannedPorts(owner: string, ports: readonly Port[]): PlannedPort[] {
  return ports.map((port) => {
    if (port.state !== 'started') {
      throw new ViaductError(
        'ERR_INVALID_STATE',
        `${owner}: ${port.label} is ${port.state}: await port.start() first, ports before forwarding`,
      );
    }
    return plannedPort(port);
  });
}

export function plannedPort(port: Port): PlannedPort {
  const { rxQueueCount, txQueueCount } = port.info();
  return { id: port.id, rxQueueCount, txQueueCount };
}

/** ERR_INVALID_ARGUMENT unless it is a burst that engines take. */
export function checkBurst(owner: string, burst: number): number {
  if (!Number.isInteger(burst) || burst < 1 || burst > MAX_BURST) {
    throw new ViaductError(
      'ERR_INVALID_ARGUMENT',
      `${owner}: burst ${burst} is not a whole number from 1 to ${MAX_BURST}`,
    );
  }
  return burst;
}

/** ERR_INVALID_ARGUMENT when a port comes twice or belongs to another Eal. */
export function checkPorts(owner: string, eal: Eal, ports: readonly Port[]): void {
  ports.forEach((port, i) => {
    if (port.eal !== eal) {
      throw new ViaductError('ERR_INVALID_ARGUMENT', `${owner}: ${port.label} belongs to another Eal`);
    }
    if (ports.indexOf(port) !== i) {
      throw new ViaductError('ERR_INVALID_ARGUMENT', `${owner}: ${port.label} is named twice`);
    }
  });
}

/** Runs asynchronous operations one after another, in the order in which they were asked for. */
export class Turns {
  #tail: Promise<unknown> = Promise.resolve();

  take<T>(operation: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(operation);
    this.#tail = result.catch(() => {});
    return result;
  }
}
