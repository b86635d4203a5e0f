import { randomBytes } from 'node:crypto';
import { ENGINE_L2 } from '../../assembly/layout.js';
import { nowMs } from '../eal/clock.js';
import type { Eal } from '../eal/eal.js';
import { ViaductError } from '../errors.js';
import type { Port } from '../ethdev/port.js';
import { MacTable } from './mac-table.js';
import { planSwitch } from './plan.js';
import { checkBurst, checkPorts, type LcoreFailed, plannedPort, plannedPorts, StreamRunner, Turns } from './runner.js';

const OWNER = 'switch';
/** IEEE 802.1D's recommended ageing time, and its limit. */
const DEFAULT_AGEING_SECONDS = 300;
const MAX_AGEING_SECONDS = 1_000_000;
const DEFAULT_TABLE_SIZE = 4096;
const DEFAULT_BURST = 32;
/** Sweeps an ageing time, and the longest time between two. */
const SWEEPS_PER_AGEING = 4;
const MAX_SWEEP_INTERVAL_MS = 60_000;
const MIN_SWEEP_INTERVAL_MS = 250;

export interface L2SwitchOptions {
  /** Started ports that it joins. */
  readonly ports: readonly Port[];
  /** Ids of the lcores that switch; by default all but the main lcore, or it alone. The rx queues are spread over them. */
  readonly lcores?: readonly number[];
  /** Seconds after which a silent station is forgotten, up to 1 000 000; 0 = never. Default 300. */
  readonly ageingSeconds?: number;
  /** Stations that the table has room for, rounded up to four times a power of two. Default 4096. */
  readonly tableSize?: number;
  /** Stations that one port may own; by default its even share of the table. */
  readonly portQuota?: number;
  /** Packets a burst, 1 to 512; default 32. */
  readonly burst?: number;
  /** Told when a lcore fails while it switches. */
  readonly onLcoreFailed?: LcoreFailed;
}

/** A station that the switch has learned. */
export interface Station {
  /** `02:00:00:00:00:01`. */
  readonly mac: string;
  readonly port: Port;
  /** Seconds since its last frame. */
  readonly ageSeconds: number;
}

/** Counted since create(). */
export interface L2SwitchStats {
  readonly rxPackets: number;
  /** Packets given to ports, each copy of a flooded one counted. */
  readonly txPackets: number;
  /** Packets, or copies, that a port did not take. */
  readonly txDropped: number;
  /** Packets sent to all ports: group address or unknown station. */
  readonly flooded: number;
  /** Packets thrown away: destination on the port that it came from, link-local group, runt, nobody to send to. */
  readonly filtered: number;
  /** Stations learned, seen on another port than before. */
  readonly learned: number;
  readonly moved: number;
  /** Stations not learned because their port owned its share already, or a bucket was full of others'. */
  readonly refused: number;
  /** Stations that gave way to another one of their own port before they aged. */
  readonly evicted: number;
  /** Stations in the table now, and its room. */
  readonly stations: number;
  readonly tableSize: number;
}

/**
 * A learning switch over any ports, run in Wasm by one or more lcores.
 *
 *     const sw = L2Switch.create(eal, { ports });
 *     await sw.start();
 *     ...
 *     await sw.close();
 *
 * It learns where stations are from the source of each frame, forgets them after the ageing time and at once when their port's
 * link goes down, and floods what it does not know. A port that makes up addresses fills its own share of the table only.
 * What the engine does to a frame is written in assembly/forward/l2.ts.
 */
export class L2Switch {
  readonly #runner: StreamRunner;
  readonly #table: MacTable;
  readonly #turns = new Turns();
  readonly #burst: number;
  readonly #quota: number | undefined;
  readonly #ageingMs: number;
  /** Members, with what takes our listeners off them again. */
  readonly #members = new Map<Port, () => void>();
  readonly #eal: Eal;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** Makes a switch that does not run yet. Throws ERR_INVALID_ARGUMENT, ERR_NO_SUCH_LCORE, ERR_NO_MEMORY. */
  static create(eal: Eal, options: L2SwitchOptions): L2Switch {
    return new L2Switch(eal, options);
  }

  private constructor(eal: Eal, options: L2SwitchOptions) {
    const { ageingSeconds = DEFAULT_AGEING_SECONDS, tableSize = DEFAULT_TABLE_SIZE, portQuota } = options;
    checkPorts(OWNER, eal, options.ports);
    if (!(ageingSeconds >= 0 && ageingSeconds <= MAX_AGEING_SECONDS)) {
      throw new ViaductError(
        'ERR_INVALID_ARGUMENT',
        `${OWNER}: ageingSeconds ${ageingSeconds} is not from 0 (never) to ${MAX_AGEING_SECONDS}`,
      );
    }
    if (portQuota !== undefined && !(Number.isInteger(portQuota) && portQuota > 0)) {
      throw new ViaductError('ERR_INVALID_ARGUMENT', `${OWNER}: portQuota ${portQuota} is no whole number from 1 on`);
    }
    this.#eal = eal;
    this.#quota = portQuota;
    this.#ageingMs = Math.round(ageingSeconds * 1000);
    this.#burst = checkBurst(OWNER, options.burst ?? DEFAULT_BURST);
    this.#runner = new StreamRunner(eal, OWNER, options.lcores, options.onLcoreFailed);
    this.#table = new MacTable(eal, { tableSize, ageingMs: this.#ageingMs, quota: 0 });
    // no lcore and no guest knows it
    this.#table.setHash(randomBytes(8).readBigUInt64LE());
    for (const port of options.ports) this.#join(port);
    eal.onCleanup(() => this.close());
  }

  get isRunning(): boolean {
    return this.#runner.isRunning;
  }

  /** Members, in the order in which they joined. */
  get ports(): readonly Port[] {
    return [...this.#members.keys()];
  }

  /** Starts to switch. Throws ERR_INVALID_STATE when it runs, is closed, or a port is not started. */
  start(): Promise<void> {
    return this.#turns.take(async () => {
      this.#checkOpen('start');
      this.#table.recover(nowMs());
      plannedPorts(OWNER, this.ports);
      await this.#runner.start(this.#specs(), this.ports);
      this.#startSweeps();
    });
  }

  /** Stops switching; what it learned stays. When it resolves no lcore polls its ports. */
  stop(): Promise<void> {
    return this.#turns.take(() => this.#halt());
  }

  /** Stops, leaves its ports (which stay started), and gives its memory back. Closing again does nothing. */
  close(): Promise<void> {
    return this.#turns.take(async () => {
      if (this.#closed) return;
      await this.#halt();
      this.#closed = true;
      for (const leave of this.#members.values()) leave();
      this.#members.clear();
      this.#table.free();
    });
  }

  async #halt(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    await this.#runner.stop();
  }

  /** A started port joins. A running switch pauses for it, some milliseconds. */
  addPort(port: Port): Promise<void> {
    return this.#change(() => {
      checkPorts(OWNER, this.#eal, [...this.ports, port]);
      plannedPorts(OWNER, [port]);
      this.#join(port);
    });
  }

  /** A port leaves, its stations are forgotten. When it resolves no lcore polls it. A switch without ports stops. */
  removePort(port: Port): Promise<void> {
    return this.#change(() => this.#leave(port));
  }

  #change(change: () => void): Promise<void> {
    return this.#turns.take(async () => {
      this.#checkOpen('change its ports');
      const wasRunning = this.isRunning;
      await this.#runner.stop();
      try {
        change();
      } finally {
        const specs = wasRunning ? this.#specs() : [];
        if (specs.length > 0) await this.#runner.start(specs, this.ports);
        else await this.#halt();
      }
    });
  }

  #join(port: Port): void {
    const flush = () => this.#table.flush(port.id);
    const removed = () => {
      // The event may come while our own operation runs: in its turn.
      this.removePort(port).catch(() => {});
    };
    port.on('linkDown', flush);
    port.on('removed', removed);
    this.#members.set(port, () => {
      port.off('linkDown', flush);
      port.off('removed', removed);
    });
    this.#writeMembers();
  }

  #leave(port: Port): void {
    this.#members.get(port)?.();
    if (this.#members.delete(port)) this.#table.flush(port.id);
    this.#writeMembers();
  }

  #writeMembers(): void {
    const ids = this.ports.map((port) => port.id);
    this.#table.setMembers(ids, this.#quota ?? Math.max(1, Math.floor(this.#table.capacity / Math.max(1, ids.length))));
  }

  /** A member that was stopped meanwhile is polled in vain until it starts again; one that is gone is left out. */
  #specs() {
    const ports = this.ports.filter((port) => port.state === 'started' || port.state === 'configured');
    return planSwitch(ports.map(plannedPort), this.#runner.lcores.length).map((stream) => ({
      ...stream,
      engine: ENGINE_L2,
      burst: this.#burst,
      state: this.#table.address,
      scratch: true,
    }));
  }

  #startSweeps(): void {
    if (this.#ageingMs === 0) return;
    const wanted = this.#ageingMs / SWEEPS_PER_AGEING;
    const interval = Math.max(MIN_SWEEP_INTERVAL_MS, Math.min(MAX_SWEEP_INTERVAL_MS, wanted));
    this.#timer = setInterval(() => this.#table.sweep(nowMs()), interval).unref();
  }

  /** Port on which a station was seen last; undefined if it is not known or has aged out. ERR_INVALID_ARGUMENT for no MAC. */
  lookup(mac: string): Port | undefined {
    this.#checkOpen('lookup');
    return this.#port(this.#table.lookup(mac, nowMs()));
  }

  /** Every station that is known, by port and address. For people: it reads the whole table. */
  entries(): Station[] {
    this.#checkOpen('entries');
    const stations: Station[] = [];
    for (const { mac, portId, idleMs } of this.#table.entries(nowMs())) {
      const port = this.#port(portId);
      if (port !== undefined) stations.push({ mac, port, ageSeconds: idleMs / 1000 });
    }
    return stations.sort((a, b) => a.port.id - b.port.id || (a.mac < b.mac ? -1 : 1));
  }

  /** Forgets a port's stations, as when its link goes down: how many. */
  flush(port: Port): number {
    this.#checkOpen('flush');
    return this.#table.flush(port.id);
  }

  /** What it has done since create(). */
  stats(): L2SwitchStats {
    this.#checkOpen('stats');
    const counters = this.#runner.counters();
    const sum = (field: 'rxPackets' | 'txPackets' | 'txDropped' | 'flooded' | 'filtered') =>
      counters.reduce((total, stream) => total + stream[field], 0);
    return {
      rxPackets: sum('rxPackets'),
      txPackets: sum('txPackets'),
      txDropped: sum('txDropped'),
      flooded: sum('flooded'),
      filtered: sum('filtered'),
      ...this.#table.counters(),
      stations: this.#table.entries(nowMs()).length,
      tableSize: this.#table.capacity,
    };
  }

  #port(id: number): Port | undefined {
    return this.ports.find((port) => port.id === id);
  }

  #checkOpen(what: string): void {
    if (this.#closed) throw new ViaductError('ERR_INVALID_STATE', `${OWNER}: cannot ${what}: it is closed`);
  }
}
