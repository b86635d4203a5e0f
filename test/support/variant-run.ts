import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import type { Os } from '../../src/os/types.js';
import { Testpmd, type TestpmdPortStats } from './dpdk.js';
import { EchoGuest } from './echo.js';
import { turn } from './flow.js';
import { Lab } from './lab.js';
import { clientNeeds, type Device, devargs, expectedPaths, type Shape } from './variants.js';
import { startViaductTestpmd } from './viaduct.js';

const FLOOD_MS = 200;
const STALL_MS = 10_000;
const PROBE_MS = 200;
const PATIENCE_MS = 20_000;
const VIADUCT_MEMORY_MIB = 192;

/** The two testpmds of one run of variants, and the guests that send. */
export class VariantRun {
  readonly #lab: Lab;
  readonly #shape: Shape;
  readonly #devices: readonly Device[];
  readonly #guests: readonly EchoGuest[];
  /** Through each queue pair: every ring goes round twice and more. */
  readonly #frames: number;
  #viaduct!: Testpmd;
  #dpdk!: Testpmd;

  constructor(t: Test, os: Os, shape: Shape, devices: readonly Device[]) {
    this.#lab = Lab.forTest(t, 'variants');
    this.#shape = shape;
    this.#devices = devices;
    this.#frames = 2 * shape.queueSize + 100;
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
    const { queues, queueSize } = this.#shape;
    const { mbufCount, memoryMiB } = clientNeeds(this.#shape, this.#devices.length);
    this.#dpdk = await Testpmd.start(this.#lab, 'dpdk', {
      vdev: this.#devices.map((_, index) => this.#clientVdev(index)),
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
    while (!this.#guests.every((guest) => guest.has(this.#frames))) {
      if (this.#pump(this.#frames) > 0) {
        progress = Date.now();
        await turn();
      } else if (Date.now() - progress > STALL_MS) {
        t.fail(`${title}: nothing moves\n${this.#describe((guest) => !guest.has(this.#frames))}`);
        break;
      } else await sleep(1);
    }
    const whole = { sent: this.#frames, received: this.#frames, lost: 0, again: 0, altered: 0 };
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

  /**
   * Each side in turn makes frames as fast as it can, so that rings are full and empty by turns, and the other counts them:
   * all that were sent are received.
   */
  async flood(t: Test): Promise<void> {
    const viaduct = { testpmd: this.#viaduct, portOf: (index: number) => 2 * index };
    const dpdk = { testpmd: this.#dpdk, portOf: (index: number) => index };
    for (const [title, from, to] of [
      ['DPDK to Viaduct', dpdk, viaduct],
      ['Viaduct to DPDK', viaduct, dpdk],
    ] as const) {
      for (const { testpmd } of [from, to]) await testpmd.run('stop');
      await from.testpmd.run('set fwd txonly');
      await to.testpmd.run('set fwd rxonly');
      await from.testpmd.run('set txpkts 300');
      const before = { from: await from.testpmd.portStats(), to: await to.testpmd.portStats() };
      await to.testpmd.run('start');
      await from.testpmd.run('start');
      await sleep(FLOOD_MS);
      await from.testpmd.run('stop');
      const sent = await from.testpmd.portStats();
      const found = (received: Map<number, TestpmdPortStats>) =>
        this.#devices.map((_, index) => {
          const source = difference(sent.get(from.portOf(index))!, before.from.get(from.portOf(index))!);
          const target = difference(received.get(to.portOf(index))!, before.to.get(to.portOf(index))!);
          return { source, target };
        });
      const deadline = Date.now() + STALL_MS;
      let now = found(await to.testpmd.portStats());
      while (now.some(({ source, target }) => target.rxPackets < source.txPackets) && Date.now() < deadline) {
        await sleep(20);
        now = found(await to.testpmd.portStats());
      }
      for (const [index, { source, target }] of now.entries()) {
        const wanted = { packets: source.txPackets, bytes: source.txBytes, errors: 0 };
        const got = { packets: target.rxPackets, bytes: target.rxBytes, errors: target.errors };
        const what = `${title}: ${devargs(this.#devices[index]!)}`;
        t.same(got, wanted, `${what}: ${source.txPackets} frames, all received`);
        t.ok(source.txPackets > 0, `${what}: there were some`);
      }
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

  #clientVdev(index: number): string {
    const { queues, queueSize, server } = this.#shape;
    const address = `mac=00:11:22:33:44:${hex(index)},path=${this.#socket(index)}`;
    const common = `queues=${queues},queue_size=${queueSize}${server === 1 ? ',server=1' : ''}`;
    return `net_virtio_user${index},${address},${common},${devargs(this.#devices[index]!)}`;
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
