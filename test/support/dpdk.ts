import { spawnSync } from 'node:child_process';
import type { Lab } from './lab.js';
import type { Peer } from './peer.js';

const START_TIMEOUT_MS = 60_000;
const MARK_AGAIN_MS = 3000;

/** One port of `show port stats all`. */
export interface TestpmdPortStats {
  readonly rxPackets: number;
  readonly rxMissed: number;
  readonly rxBytes: number;
  readonly rxErrors: number;
  readonly rxNombuf: number;
  readonly txPackets: number;
  readonly txErrors: number;
  readonly txBytes: number;
  /** Since the last time that statistics were shown. */
  readonly rxPps: number;
  readonly txPps: number;
}

export interface TestpmdOptions {
  readonly vdev: readonly string[];
  /** Mount of a hugetlbfs; without one DPDK runs over 4 KiB pages of a memfd. */
  readonly hugeDir?: string;
  /** `main@cpu,worker@cpu`: DPDK's `--lcores`. */
  readonly lcores?: string;
  readonly memoryMiB?: number;
  /** mbufs in the pool, default 16384. */
  readonly mbufCount?: number;
  /** More options of the EAL, which stand before `--`. */
  readonly eal?: readonly string[];
  /** Options behind `--`, besides `-i --nb-cores=N`. */
  readonly args?: readonly string[];
  /** Forwarding lcores, default 1. */
  readonly nbCores?: number;
}

/** Whether Debian's package is installed. */
export function haveTestpmd(): boolean {
  return spawnSync('dpdk-testpmd', ['--version'], { stdio: 'ignore' }).error === undefined;
}

let serial = 0;

/** DPDK's own testpmd, driven through its prompt. The same class drives `viaduct testpmd`, which speaks the same language. */
export class Testpmd {
  readonly peer: Peer;
  #commands = 0;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(peer: Peer) {
    this.peer = peer;
  }

  /** Starts DPDK's testpmd and waits for its prompt. */
  static async start(lab: Lab, name: string, options: TestpmdOptions): Promise<Testpmd> {
    const prefix = `viaduct-${process.pid}-${++serial}`;
    const memory = String(options.memoryMiB ?? 256);
    const args = ['-v', '--lcores', options.lcores ?? '0@0,1@1', '--file-prefix', prefix, '--no-pci', '-m', memory];
    // A back end takes a handful of regions at the most: DPDK must not spread its memory over one file a page.
    if (options.hugeDir === undefined) args.push('--no-huge');
    else args.push('--huge-dir', options.hugeDir, '--single-file-segments');
    for (const vdev of options.vdev) args.push('--vdev', vdev);
    const mbufs = `--total-num-mbufs=${options.mbufCount ?? 16384}`;
    args.push(...(options.eal ?? []), '--', '-i', `--nb-cores=${options.nbCores ?? 1}`, mbufs, ...(options.args ?? []));
    // stdbuf: on a pipe its printf would come a page at a time, after the prompt.
    const testpmd = new Testpmd(lab.start(name, 'stdbuf', ['-oL', 'dpdk-testpmd', ...args]));
    await testpmd.run('', START_TIMEOUT_MS);
    return testpmd;
  }

  /**
   * Runs one command line and returns what it printed. A comment follows each command: testpmd echoes it when it comes to
   * it, which is when the command has finished. A prompt would not tell: library messages come in at any time.
   */
  run(line: string, timeoutMs = 20_000): Promise<string> {
    const result = this.#queue.then(async () => {
      const from = this.peer.position;
      const mark = `#end ${++this.#commands}`;
      this.peer.write(`${line}\n${mark}\n`);
      // DPDK's log comes on another pipe, and may fall into the middle of the echo: then the mark is sent once more.
      const again = setInterval(() => this.peer.write(`${mark}\n`), MARK_AGAIN_MS);
      const waited = this.peer.waitFor(new RegExp(`${mark}\\b`), timeoutMs, from);
      const echo = await waited.finally(() => clearInterval(again));
      return this.peer.outputSince(from).slice(0, echo.index);
    });
    this.#queue = result.catch(() => {});
    return result;
  }

  /** What DPDK says of itself at start: `DPDK 22.11.5`. */
  get version(): string | undefined {
    return /RTE Version: '([^']+)'/.exec(this.peer.outputSince(0))?.[1];
  }

  /** `show port stats all`, by port id. */
  async portStats(): Promise<Map<number, TestpmdPortStats>> {
    return parsePortStats(await this.run('show port stats all'));
  }

  /** Statistics of one port; an error if there is no such port. */
  async stats(port = 0): Promise<TestpmdPortStats> {
    const stats = (await this.portStats()).get(port);
    if (stats === undefined) throw new Error(`${this.peer.name} shows no port ${port}\n${this.peer.tail()}`);
    return stats;
  }

  /** Asks for statistics until they satisfy, or the time is over: then the last ones are in the error. */
  async statsUntil(
    satisfied: (stats: TestpmdPortStats) => boolean,
    timeoutMs: number,
    port = 0,
  ): Promise<TestpmdPortStats> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const stats = await this.stats(port);
      if (satisfied(stats)) return stats;
      if (Date.now() > deadline) {
        throw new Error(`${this.peer.name} port ${port} after ${timeoutMs} ms: ${JSON.stringify(stats)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** Waits until the port's link is up. DPDK's back end may take a second to notice a connection. */
  async linkUp(timeoutMs = 20_000, port = 0): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const info = await this.run(`show port info ${port}`);
      if (/Link status: up/.test(info)) return;
      if (Date.now() > deadline)
        throw new Error(`${this.peer.name} port ${port}: no link after ${timeoutMs} ms\n${info}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Leaves by `quit`; a testpmd that does not is killed. Returns its exit status. */
  async quit(timeoutMs = 20_000): Promise<number | null> {
    if (this.peer.exit !== undefined) return this.peer.exit.code;
    this.peer.write('quit\n');
    const timer = setTimeout(() => this.peer.signal('SIGKILL'), timeoutMs);
    const { code } = await this.peer.exited;
    clearTimeout(timer);
    return code;
  }
}

/** Reads DPDK's `show port stats` blocks. */
export function parsePortStats(text: string): Map<number, TestpmdPortStats> {
  const ports = new Map<number, TestpmdPortStats>();
  const blocks = text.split(/#+ NIC statistics for port /).slice(1);
  for (const block of blocks) {
    const value = (label: string) => {
      const match = new RegExp(`${label}:\\s*(\\d+)`).exec(block);
      if (match === null) throw new Error(`no ${label} in the statistics:\n${block}`);
      return Number(match[1]);
    };
    ports.set(Number.parseInt(block, 10), {
      rxPackets: value('RX-packets'),
      rxMissed: value('RX-missed'),
      rxBytes: value('RX-bytes'),
      rxErrors: value('RX-errors'),
      rxNombuf: value('RX-nombuf'),
      txPackets: value('TX-packets'),
      txErrors: value('TX-errors'),
      txBytes: value('TX-bytes'),
      rxPps: value('Rx-pps'),
      txPps: value('Tx-pps'),
    });
  }
  return ports;
}
