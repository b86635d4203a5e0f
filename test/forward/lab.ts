/** A real Eal with net_ring wires: port `inner` forwards, the test sends and receives on `outer`, the wire's other end. */
import { setTimeout as delay } from 'node:timers/promises';
import { Burst } from '../../src/burst.js';
import { Eal } from '../../src/eal/eal.js';
import { silentLogger } from '../../src/eal/log.js';
import { Port } from '../../src/ethdev/port.js';
import { MbufView } from '../../src/mbuf.js';
import { Mempool } from '../../src/mempool.js';

export interface Wire {
  readonly inner: Port;
  readonly outer: Port;
}

export class Lab {
  readonly eal: Eal;
  readonly mempool: Mempool;
  readonly wires: Wire[] = [];
  readonly burst: Burst;
  readonly #view: MbufView;

  private constructor(eal: Eal) {
    this.eal = eal;
    this.mempool = Mempool.createPktmbuf(eal, { name: 'lab', count: 4095, cacheSize: 64 });
    this.burst = Burst.create(eal, 64);
    this.#view = new MbufView(eal);
  }

  static async open(lcores: readonly number[] = [0, 1], wires = 2, queues = 1): Promise<Lab> {
    const lab = new Lab(await Eal.init({ lcores, memoryMiB: 64, idlePolls: 64, logger: silentLogger }));
    for (let i = 0; i < wires; i++) await lab.addWire(queues);
    return lab;
  }

  /** `queues` are the inner port's tx queues. */
  async addWire(queues = 1): Promise<Wire> {
    const n = this.wires.length;
    const inner = await this.probe(`net_ring${2 * n},wire=w${n}`, queues);
    const outer = await this.probe(`net_ring${2 * n + 1},wire=w${n}`);
    this.wires.push({ inner, outer });
    return { inner, outer };
  }

  /** A started port. */
  async probe(vdev: string, txQueues = 1): Promise<Port> {
    const port = await Port.probe(this.eal, vdev);
    port.configure({ rxQueueCount: 1, txQueueCount: txQueues });
    port.rxQueueSetup(0, { mempool: this.mempool });
    for (let queue = 0; queue < txQueues; queue++) port.txQueueSetup(queue);
    await port.start();
    return port;
  }

  get inner(): Port[] {
    return this.wires.map((wire) => wire.inner);
  }

  /** Puts frames on a wire. */
  send(wire: number, frames: readonly Uint8Array[]): void {
    frames.forEach((bytes, i) => {
      const mbuf = this.mempool.alloc();
      if (mbuf === 0) throw new Error('the pool is empty');
      this.#view.at(mbuf).append(bytes.length);
      this.#view.write(0, bytes);
      this.burst.handles[i] = mbuf;
    });
    if (this.wires[wire]!.outer.txBurst(0, this.burst, frames.length) !== frames.length)
      throw new Error('wire is full');
  }

  /** Frames that came out of a wire so far, freed. */
  receive(wire: number): Uint8Array[] {
    const frames: Uint8Array[] = [];
    for (;;) {
      const count = this.wires[wire]!.outer.rxBurst(0, this.burst);
      if (count === 0) return frames;
      for (let i = 0; i < count; i++) frames.push(this.#view.at(this.burst.handles[i]!).bytes());
      this.burst.free(0, count);
    }
  }

  /** As receive, but waits until there are that many. Fewer is what it returns when it has waited long enough. */
  async receiveCount(wire: number, count: number): Promise<Uint8Array[]> {
    const frames = this.receive(wire);
    await until(() => {
      frames.push(...this.receive(wire));
      return frames.length >= count;
    });
    return frames;
  }

  async close(): Promise<void> {
    await this.eal.cleanup();
  }
}

/** Waits for something that other threads do; gives up in the end, and the assertion that follows then says so. */
export async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 15_000; // a new thread on a busy machine takes seconds
  while (!condition() && Date.now() < deadline) await delay(1);
}
