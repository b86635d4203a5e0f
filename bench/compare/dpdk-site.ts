/**
 * One client, dpdk-testpmd with two net_virtio_user devices, and behind each device a back end: Viaduct's net_vhost and DPDK's.
 * All three live as long as a row is measured; at any time one back end forwards (io, on one CPU) and the client forwards (io,
 * on the other CPU) over its device alone. The other back end sleeps.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Testpmd } from '../../test/support/dpdk.js';
import type { Lab } from '../../test/support/lab.js';
import { startViaductTestpmd } from '../../test/support/viaduct.js';

export const BACKENDS = ['viaduct', 'dpdk'] as const;
export type Backend = (typeof BACKENDS)[number];

/** One measurement. */
export interface Reading {
  readonly pps: number;
  /** Share of the time that the client had packets in its hands. Near 1 it is the client that limits the rate. */
  readonly clientBusy: number;
}

export const MEMORY_MIB = 512;
const WARM_UP_MS = 300;
const QUEUE_SIZE = 256;

export class Site {
  readonly client: Testpmd;
  readonly #backends: Readonly<Record<Backend, Testpmd>>;

  private constructor(client: Testpmd, backends: Readonly<Record<Backend, Testpmd>>) {
    this.client = client;
    this.#backends = backends;
  }

  /** `device`: devargs of the client's devices. The lab ends all that is started. */
  static async open(lab: Lab, device: string, hugeDir: string): Promise<Site> {
    const socket = (kind: Backend) => lab.path(`${kind}.sock`);
    const options = (kind: Backend) => ({
      vdev: [`net_vhost0,iface=${socket(kind)},queues=1`],
      args: ['--forward-mode=io'],
      lcores: '0@0,1@1',
      memoryMiB: MEMORY_MIB,
    });
    const viaduct = await startViaductTestpmd(lab, 'viaduct', options('viaduct'));
    const dpdk = await Testpmd.start(lab, 'dpdk', { ...options('dpdk'), hugeDir });
    const client = await Testpmd.start(lab, 'client', {
      vdev: BACKENDS.map(
        (kind, n) =>
          `net_virtio_user${n},mac=00:11:22:33:44:1${n},path=${socket(kind)},queue_size=${QUEUE_SIZE},${device}`,
      ),
      lcores: '0@1,1@0',
      hugeDir,
      memoryMiB: MEMORY_MIB,
      // DPDK takes its packed vector path (AVX-512) only where this allows it.
      eal: ['--force-max-simd-bitwidth=512', '--log-level=pmd.net.virtio.init:info'],
    });
    for (const line of ['set fwd io', 'set port topology loop', 'set record-core-cycles on']) await client.run(line);
    return new Site(client, { viaduct, dpdk });
  }

  /** The paths that the client says it has taken, of one device. */
  get clientPaths(): string[] {
    return [...this.client.peer.outputSince(0).matchAll(/virtio: using (.*) path on port 0/g)].map(
      (match) => match[1]!,
    );
  }

  async measure(kind: Backend, frameBytes: number, seconds: number): Promise<Reading> {
    const port = BACKENDS.indexOf(kind);
    const { client } = this;
    await this.#backends[kind].run('start');
    await client.run(`set portlist ${port}`);
    await client.run(`set txpkts ${frameBytes}`);
    await client.run('start tx_first 32');
    const startMs = performance.now();
    await sleep(WARM_UP_MS);
    const before = await client.stats(port);
    await sleep(seconds * 1000);
    const after = await client.stats(port);
    const runMs = performance.now() - startMs;
    const summary = await client.run('stop');
    await this.#backends[kind].run('stop');
    const packets = after.rxPackets - before.rxPackets;
    const what = `${kind}, ${frameBytes} B`;
    if (packets === 0) throw new Error(`${what}: nothing came back\n${this.#backends[kind].peer.tail()}`);
    const meanBytes = (after.rxBytes - before.rxBytes) / packets;
    // Frames of the size before that are still under way would make the figure something else.
    if (Math.abs(meanBytes - frameBytes) > 0.5) throw new Error(`${what}: frames of ${meanBytes} B on average`);
    return { pps: after.rxPps, clientBusy: busyShare(summary, runMs) };
  }

  async close(): Promise<void> {
    await this.client.quit();
    for (const kind of BACKENDS) await this.#backends[kind].quit();
  }
}

/** testpmd sums the cycles of those rounds in which it received something. */
function busyShare(summary: string, runMs: number): number {
  const match = /total cycles=(\d+) .* at (\d+) MHz Clock/.exec(summary);
  return match === null ? Number.NaN : Math.min(1, Number(match[1]) / (Number(match[2]) * 1000 * runMs));
}
