import { readFileSync } from 'node:fs';
import { LCORE_BASE, LCORE_SIZE, LCORE_SLEEP_NONE, LCORE_SLEEPING } from '../../assembly/layout.js';
import { Eal, L2Switch, Mempool, Port, silentLogger } from '../../src/index.js';
import { loadOs } from '../../src/os/index.js';
import type { Os } from '../../src/os/types.js';
import type { FlowEnd } from './flow.js';
import { FrontEnd } from './front-end.js';
import type { Lab } from './lab.js';
import { TestGuest, type TestGuestOptions } from './test-guest.js';

/** What must be as before once a guest has gone. */
export interface Holdings {
  readonly descriptors: number;
  readonly windows: number;
  readonly mbufsInUse: number;
}

export interface SwitchRigOptions {
  /** Number of ports, each with a socket of its own. */
  readonly ports: number;
  /** Ports that connect, where the others listen. */
  readonly clients?: readonly number[];
  readonly mtu?: number;
  readonly mbufCount?: number;
}

/**
 * The learning switch as a library user has it: net_vhost ports on real sockets, one worker lcore, in this process, so that
 * its counters and holdings can be read while test guests play with it.
 */
export class SwitchRig {
  readonly os: Os;
  readonly eal: Eal;
  readonly ports: readonly Port[];
  readonly mempool: Mempool;
  readonly l2: L2Switch;
  readonly #lab: Lab;

  private constructor(lab: Lab, os: Os, eal: Eal, ports: readonly Port[], mempool: Mempool, l2: L2Switch) {
    this.#lab = lab;
    this.os = os;
    this.eal = eal;
    this.ports = ports;
    this.mempool = mempool;
    this.l2 = l2;
  }

  static async open(lab: Lab, options: SwitchRigOptions): Promise<SwitchRig> {
    const { os } = loadOs();
    if (os === undefined) throw new Error('this test needs Linux and koffi');
    const eal = await Eal.init({ memoryMiB: 256, lcores: [0, 1], logger: silentLogger });
    lab.onClose(() => eal.cleanup());
    const ports: Port[] = [];
    const mempool = Mempool.createPktmbuf(eal, { name: 'rig', count: options.mbufCount ?? 16_383 });
    for (let i = 0; i < options.ports; i++) {
      const client = options.clients?.includes(i) === true ? ',client=1' : '';
      const port = await Port.probe(eal, `net_vhost${i},iface=${lab.path(`port${i}.sock`)},queues=1${client}`);
      const mtu = options.mtu === undefined ? {} : { mtu: options.mtu };
      port.configure({ rxQueueCount: 1, txQueueCount: 1, ...mtu });
      port.rxQueueSetup(0, { mempool });
      port.txQueueSetup(0);
      await port.start();
      ports.push(port);
    }
    const l2 = L2Switch.create(eal, { ports });
    await l2.start();
    return new SwitchRig(lab, os, eal, ports, mempool, l2);
  }

  socket(port: number): string {
    return this.#lab.path(`port${port}.sock`);
  }

  /** Connects a new test guest to a port, and waits for its link. It is closed with the lab, or by `disconnect`. */
  async connect(port: number, options: TestGuestOptions = {}): Promise<FlowEnd> {
    const guest = new TestGuest(this.os, options);
    const frontEnd = await FrontEnd.connect(this.os, this.socket(port), guest);
    await this.link(port, true);
    return { frontEnd, mac: `02:00:00:00:00:${(0x10 + port).toString(16)}` };
  }

  async disconnect(end: FlowEnd, port: number): Promise<void> {
    end.frontEnd.close();
    end.frontEnd.guest.close();
    await this.link(port, false);
  }

  /** Waits until the port's link is up or down. */
  async link(port: number, up: boolean, timeoutMs = 10_000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (this.ports[port]!.link().up !== up) {
      if (Date.now() > deadline) throw new Error(`port ${port}: link not ${up ? 'up' : 'down'} in ${timeoutMs} ms`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /** Whether the lcore sleeps right now. */
  isAsleep(lcoreId: number): boolean {
    const { u32 } = this.eal.memory;
    return Atomics.load(u32, (LCORE_BASE + lcoreId * LCORE_SIZE + LCORE_SLEEPING) >>> 2) !== LCORE_SLEEP_NONE;
  }

  /** Value of one of a port's xstats. */
  xstat(port: number, name: string): number {
    const found = this.ports[port]!.xstats().find((one) => one.name === name);
    if (found === undefined) throw new Error(`port ${port} has no xstat ${name}`);
    return found.value;
  }

  /** All of a port's drop counters that are not 0. */
  drops(port: number): Record<string, number> {
    const drops = this.ports[port]!.xstats().filter(({ name, value }) => name.includes('_drop_') && value !== 0);
    return Object.fromEntries(drops.map(({ name, value }) => [name, value]));
  }

  /** Frames that the switch and its ports say they threw away. */
  dropCount(): number {
    const { txDropped, filtered } = this.l2.stats();
    const byPorts = this.ports.flatMap((_, port) => Object.values(this.drops(port)));
    return byPorts.reduce((sum, value) => sum + value, txDropped + filtered);
  }

  holdings(): Holdings {
    return {
      descriptors: this.os.openDescriptorCount(),
      windows: this.#windowCount(),
      mbufsInUse: this.mempool.inUseCount,
    };
  }

  /** Files mapped above host memory, as the kernel tells it. */
  #windowCount(): number {
    const base = this.os.addressOf(new Uint8Array(this.eal.sharedMemory.buffer));
    const from = base + BigInt(this.eal.memory.endAddress);
    const to = base + 0x1_0000_0000n;
    let count = 0;
    for (const line of readFileSync('/proc/self/maps', 'utf8').split('\n')) {
      const match = /^([0-9a-f]+)-[0-9a-f]+ rw-s /.exec(line);
      if (match === null) continue;
      const start = BigInt(`0x${match[1]}`);
      if (start >= from && start < to) count++;
    }
    return count;
  }
}
