/**
 * DPDK's virtio-user client in every combination of what can be asked of it, against `viaduct testpmd`: packed_vq, mrg_rxbuf,
 * in_order and vectorized (0 and 1), queue_size (256 and 1024), queues (1, 2 and 4), server (0 and 1): 192, all of them.
 *
 *     test guests  ⇄  viaduct testpmd, io, ports in pairs  ⇄  dpdk-testpmd, io, every port to itself
 *
 * What is the same for a whole dpdk-testpmd (queues, server, queue_size) makes a run of its own; the 16 combinations of
 * feature bits are its ports. A test guest (in this process, independent of the product) sends numbered frames of every
 * length to each, and compares what comes back byte by byte: payload, counts and order, on each queue pair, in both
 * directions of both of the client's rings. Both testpmds must have counted the same packets and bytes.
 *
 * Then the client is killed in traffic and comes back; and, where it listens (it connects again by itself only then),
 * Viaduct is killed and comes back: all as exact as before.
 */
import { readFileSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { loadOs } from '../../src/os/index.js';
import type { Os } from '../../src/os/types.js';
import { Testpmd, type TestpmdPortStats } from '../support/dpdk.js';
import { EchoGuest } from '../support/echo.js';
import { turn } from '../support/flow.js';
import { Lab } from '../support/lab.js';
import { startViaductTestpmd } from '../support/viaduct.js';

const FRAMES_PER_QUEUE = 2_000;
const STORM_MS = 150;
const STALL_MS = 10_000;
const PROBE_MS = 200;
const PATIENCE_MS = 20_000;
const VIADUCT_MEMORY_MIB = 192;
/** What DPDK holds for itself and for each descriptor of a ring; an mbuf, which does not cross a page, and its place in the pool. */
const CLIENT_BASE_MIB = 48;
const DESCRIPTOR_BYTES = 200;
const MBUF_BYTES = 4096 + 64;
/** Every port of Viaduct maps all of the client's memory, and the address space for guests has 4 GiB. */
const GUESTS_MIB = 3_600;

/** A device of the client, as its devargs say it. */
interface Device {
  readonly packed_vq: 0 | 1;
  readonly mrg_rxbuf: 0 | 1;
  readonly in_order: 0 | 1;
  readonly vectorized: 0 | 1;
}

/** What all devices of one dpdk-testpmd have in common. */
interface Shape {
  readonly queueSize: number;
  readonly queues: number;
  /** The client listens. */
  readonly server: 0 | 1;
}

const bits = [0, 1] as const;
const devices: readonly Device[] = bits.flatMap((packed_vq) =>
  bits.flatMap((mrg_rxbuf) =>
    bits.flatMap((in_order) => bits.map((vectorized) => ({ packed_vq, mrg_rxbuf, in_order, vectorized }))),
  ),
);
const shapes: readonly Shape[] = bits.flatMap((server) =>
  [1, 2, 4].flatMap((queues) => [256, 1024].map((queueSize) => ({ queueSize, queues, server }))),
);

const hasAvx512 = / avx512f /.test(readFileSync('/proc/cpuinfo', 'utf8'));

/** The paths that DPDK 22.11 chooses and tells, by the rules of its virtio_ethdev.c. */
function expectedPaths({ packed_vq, mrg_rxbuf, in_order, vectorized }: Device): string[] {
  if (packed_vq === 1) {
    const vector = vectorized === 1 && in_order === 1 && hasAvx512;
    const receive = mrg_rxbuf === 1 ? 'mergeable buffer' : vector ? 'vectorized' : 'standard';
    return [`packed ring ${vector ? 'vectorized' : 'standard'} Tx`, `packed ring ${receive} Rx`];
  }
  if (in_order === 1) return ['inorder Tx', 'inorder Rx'];
  return ['standard Tx', mrg_rxbuf === 1 ? 'mergeable buffer Rx' : vectorized === 1 ? 'vectorized Rx' : 'standard Rx'];
}

function devargs(device: Device): string {
  return Object.entries(device)
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
}

/** The two testpmds of one run and the guests that send. */
class Run {
  readonly #lab: Lab;
  readonly #shape: Shape;
  readonly #devices: readonly Device[];
  readonly #guests: readonly EchoGuest[];
  #viaduct!: Testpmd;
  #dpdk!: Testpmd;

  constructor(t: Test, os: Os, shape: Shape, devices: readonly Device[]) {
    this.#lab = Lab.forTest(t, 'variants');
    this.#shape = shape;
    this.#devices = devices;
    this.#guests = devices.map((_, index) => new EchoGuest(os, `02:00:00:00:01:${hex(index)}`, shape.queues));
    this.#lab.onClose(() => {
      for (const guest of this.#guests) guest.close();
    });
  }

  async open(): Promise<void> {
    if (this.#shape.server === 1) {
      // DPDK waits for the back end before it goes on to its prompt.
      const client = this.startClient();
      await this.startViaduct();
      await client;
    } else {
      await this.startViaduct();
      await this.startClient();
    }
  }

  async startViaduct(): Promise<void> {
    const { queues, server } = this.#shape;
    const client = server === 1 ? ',client=1' : '';
    this.#viaduct = await startViaductTestpmd(this.#lab, 'viaduct', {
      vdev: this.#devices.flatMap((_, index) => [
        `net_vhost${2 * index},iface=${this.#socket(index)},queues=${queues}${client}`,
        `net_vhost${2 * index + 1},iface=${this.#socket(index)}.guest,queues=${queues}`,
      ]),
      lcores: '0@0,1@1',
      memoryMiB: VIADUCT_MEMORY_MIB,
      args: ['-a', `--rxq=${queues}`, `--txq=${queues}`, '--total-num-mbufs=24576'],
    });
    for (const [index, guest] of this.#guests.entries()) await guest.connect(`${this.#socket(index)}.guest`);
  }

  async startClient(): Promise<void> {
    const { queues, queueSize, server } = this.#shape;
    const common = `queues=${queues},queue_size=${queueSize}${server === 1 ? ',server=1' : ''}`;
    const { mbufCount, memoryMiB } = clientNeeds(this.#shape, this.#devices.length);
    this.#dpdk = await Testpmd.start(this.#lab, 'dpdk', {
      vdev: this.#devices.map((device, index) => {
        const address = `mac=00:11:22:33:44:${hex(index)},path=${this.#socket(index)}`;
        return `net_virtio_user${index},${address},${common},${devargs(device)}`;
      }),
      lcores: '0@1,1@0',
      memoryMiB,
      mbufCount,
      // The packed vector path wants AVX-512, which DPDK does not use unless told to.
      eal: ['--force-max-simd-bitwidth=512', '--log-level=pmd.net.virtio.init:info'],
      args: [
        '-a',
        '--port-topology=loop',
        `--rxq=${queues}`,
        `--txq=${queues}`,
        `--rxd=${queueSize}`,
        `--txd=${queueSize}`,
      ],
    });
  }

  async killClient(): Promise<void> {
    await this.#dpdk.peer.kill();
    // A listener that is killed leaves its sockets behind, and DPDK does not take them over.
    if (this.#shape.server === 1) for (const index of this.#devices.keys()) rmSync(this.#socket(index));
  }

  killViaduct(): Promise<unknown> {
    return this.#viaduct.peer.kill();
  }

  /** Waits until every queue pair of every device gives frames back, and nothing of before is under way. */
  async synchronise(): Promise<void> {
    for (const guest of this.#guests) guest.reset();
    const deadline = Date.now() + PATIENCE_MS;
    while (this.#guests.some((guest) => guest.silent > 0)) {
      if (Date.now() > deadline) throw new Error(`no answer:\n${this.#describe((guest) => guest.silent > 0)}`);
      for (const guest of this.#guests) guest.probe();
      const next = Date.now() + PROBE_MS;
      while (Date.now() < next && this.#guests.some((guest) => guest.silent > 0)) {
        for (const guest of this.#guests) guest.receive();
        await sleep(1);
      }
    }
    for (const guest of this.#guests) guest.reset();
  }

  /** Traffic that nothing is expected of. */
  async storm(milliseconds: number): Promise<void> {
    const end = Date.now() + milliseconds;
    while (Date.now() < end) {
      this.#pump(Number.POSITIVE_INFINITY);
      await sleep(1);
    }
  }

  /** So many frames through every queue pair of every device: all come back, once, in order, as they were. */
  async exact(t: Test, title: string): Promise<void> {
    await this.synchronise();
    // Differences: DPDK's lcores write back what a `clear port stats` has cleared in between.
    const before = await this.#counts();
    let progress = Date.now();
    while (!this.#guests.every((guest) => guest.has(FRAMES_PER_QUEUE))) {
      if (this.#pump(FRAMES_PER_QUEUE) > 0) {
        progress = Date.now();
        await turn();
      } else if (Date.now() - progress > STALL_MS) {
        t.fail(`${title}: nothing moves\n${this.#describe((guest) => !guest.has(FRAMES_PER_QUEUE))}`);
        break;
      } else await sleep(1);
    }
    const whole = { sent: FRAMES_PER_QUEUE, received: FRAMES_PER_QUEUE, lost: 0, again: 0, altered: 0 };
    const after = await this.#counts();
    for (const [index, device] of this.#devices.entries()) {
      const guest = this.#guests[index]!;
      const found = {
        frames: guest.tallies,
        viaduct: difference(after.viaduct.get(2 * index)!, before.viaduct.get(2 * index)!),
        dpdk: difference(after.dpdk.get(index)!, before.dpdk.get(index)!),
      };
      const { packets, bytes } = guest.sent;
      const count = { rxPackets: packets, rxBytes: bytes, txPackets: packets, txBytes: bytes, errors: 0 };
      const wanted = { frames: guest.tallies.map(() => whole), viaduct: count, dpdk: count };
      t.same(found, wanted, `${title}: ${devargs(device)}`);
    }
  }

  /** Whether both sides have agreed on what was asked for. */
  async checkPaths(t: Test): Promise<void> {
    const printed = this.#dpdk.peer.outputSince(0);
    for (const [index, device] of this.#devices.entries()) {
      const paths = [...printed.matchAll(new RegExp(`virtio: using (.*) path on port ${index}\n`, 'g'))];
      const info = await this.#viaduct.run(`show port info ${2 * index}`);
      const features = /^features: (.*)$/m.exec(info)?.[1]?.split(' ') ?? [];
      const found = {
        paths: paths.map((match) => match[1]),
        packed: features.includes('VIRTIO_F_RING_PACKED'),
        inOrder: features.includes('VIRTIO_F_IN_ORDER'),
        mergeable: features.includes('VIRTIO_NET_F_MRG_RXBUF'),
      };
      const wanted = {
        paths: expectedPaths(device),
        packed: device.packed_vq === 1,
        inOrder: device.in_order === 1,
        mergeable: device.mrg_rxbuf === 1,
      };
      t.same(found, wanted, `negotiated: ${devargs(device)}`);
    }
  }

  async end(t: Test): Promise<void> {
    t.equal(await this.#dpdk.quit(), 0, 'DPDK ends with status 0');
    t.equal(await this.#viaduct.quit(), 0, 'Viaduct ends with status 0');
  }

  async #counts() {
    return { viaduct: await this.#viaduct.portStats(), dpdk: await this.#dpdk.portStats() };
  }

  #socket(index: number): string {
    return this.#lab.path(`${index}.sock`);
  }

  #pump(goal: number): number {
    let moved = 0;
    for (const guest of this.#guests) moved += guest.send(goal);
    for (const guest of this.#guests) moved += guest.receive();
    return moved;
  }

  #describe(which: (guest: EchoGuest) => boolean): string {
    return this.#guests
      .map((guest, index) => (which(guest) ? `${devargs(this.#devices[index]!)} ${JSON.stringify(guest.tallies)}` : ''))
      .filter((line) => line !== '')
      .join('\n');
  }
}

/** mbufs for full rings in both directions, and the memory that they and the rings take. */
function clientNeeds({ queues, queueSize }: Shape, deviceCount: number): { mbufCount: number; memoryMiB: number } {
  const mbufCount = deviceCount * (2 * queues * queueSize + 256) + 1024;
  // One more ring, for control; its descriptors are as many.
  const descriptors = deviceCount * (2 * queues + 1) * queueSize;
  const bytes = mbufCount * MBUF_BYTES + descriptors * DESCRIPTOR_BYTES;
  return { mbufCount, memoryMiB: CLIENT_BASE_MIB + Math.ceil(bytes / 2 ** 20) };
}

/**
 * When a back end comes back, DPDK's client frees every mbuf that its packed rings still name; the vector path leaves
 * there what it has given away already (DPDK 22.11, virtqueue_rxvq_reset_packed), so that its pool gives mbufs out twice:
 * Viaduct may come back only before such a device has received anything.
 */
function freesTwice(device: Device): boolean {
  return expectedPaths(device).includes('packed ring vectorized Rx');
}

/** As many devices for one dpdk-testpmd, and its one pool, as Viaduct's address space can take and as can live together. */
function portions(shape: Shape): (readonly Device[])[] {
  const apart = devices.filter((device) => shape.server === 1 && freesTwice(device));
  const together = devices.filter((device) => !apart.includes(device));
  let count = together.length;
  while (count * clientNeeds(shape, count).memoryMiB > GUESTS_MIB) count = Math.ceil(count / 2);
  const result: (readonly Device[])[] = [];
  for (let from = 0; from < together.length; from += count) result.push(together.slice(from, from + count));
  if (apart.length > 0) result.push(apart);
  return result;
}

function difference(after: TestpmdPortStats, before: TestpmdPortStats) {
  const errors = ({ rxMissed, rxErrors, rxNombuf, txErrors }: TestpmdPortStats) =>
    rxMissed + rxErrors + rxNombuf + txErrors;
  return {
    rxPackets: after.rxPackets - before.rxPackets,
    rxBytes: after.rxBytes - before.rxBytes,
    txPackets: after.txPackets - before.txPackets,
    txBytes: after.txBytes - before.txBytes,
    errors: errors(after) - errors(before),
  };
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}

// The file's time, also when it runs without tap's runner.
t.setTimeout(600_000);

const { os } = loadOs();
if (os === undefined) throw new Error('this test needs Linux and koffi');
for (const shape of shapes) {
  for (const portion of portions(shape)) {
    const { queueSize, queues, server } = shape;
    const title = `queue_size=${queueSize}, queues=${queues}, server=${server}, devices: ${portion.length}`;
    t.test(title, { timeout: 90_000 }, async (t) => {
      const run = new Run(t, os, shape, portion);
      await run.open();
      const restartViaduct = async (when: string) => {
        await run.killViaduct();
        await run.startViaduct();
        await run.exact(t, `Viaduct restarted ${when}`);
      };
      const fragile = portion.some(freesTwice);
      if (server === 1 && fragile) await restartViaduct('before the first frame');
      else await run.exact(t, 'at first');
      await run.checkPaths(t);
      await run.storm(STORM_MS);
      await run.killClient();
      await run.storm(STORM_MS);
      await run.startClient();
      await run.exact(t, 'client restarted in traffic');
      if (server === 1 && !fragile) {
        await run.storm(STORM_MS);
        await restartViaduct('in traffic');
      }
      await run.end(t);
    });
  }
}
