/** The demo's machines: two guests behind virtqueues, a switch between them, each on its own lcore of one Eal. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Eal, L2Switch, Mempool, Port } from '../index.js';
import { GUEST_DRAINS, GUEST_RUNS, GuestRecord } from './counters.js';
import { guestMac } from './frame.js';
import type { GuestArgs } from './guest.js';

export const SWITCH_LCORE = 1;
/** Lcores of guests A and B. */
export const GUEST_LCORES = [2, 3] as const;

const RING_SIZE = 1024;
/** A guest's rings hold 2 × RING_SIZE mbufs, its lcore's cache and bursts the rest. */
const GUEST_MBUFS = 3 * RING_SIZE;
const SWITCH_MBUFS = 2048;

export interface LabGuest {
  /** `A`, `B`. */
  readonly name: string;
  readonly lcoreId: number;
  /** The guest's own network card: net_virtio_user. */
  readonly front: Port;
  /** The switch's side of it: net_vhost. */
  readonly back: Port;
  readonly record: GuestRecord;
}

export class Lab {
  readonly guests: readonly LabGuest[];
  readonly l2: L2Switch;
  readonly #eal: Eal;

  private constructor(eal: Eal, guests: readonly LabGuest[], l2: L2Switch) {
    this.#eal = eal;
    this.guests = guests;
    this.l2 = l2;
  }

  /** Ports up, switch running, guests started. `onFailure` is told when a lcore fails. */
  static async open(eal: Eal, windowFrames: number, onFailure: (error: unknown) => void): Promise<Lab> {
    const switchPool = Mempool.createPktmbuf(eal, { name: 'switch', count: SWITCH_MBUFS });
    const backs = await Promise.all(
      [0, 1].map((id) => openPort(eal, `net_vhost${id},iface=inproc:vm${id}`, switchPool)),
    );
    const pools = [0, 1].map((id) => Mempool.createPktmbuf(eal, { name: `guest${id}`, count: GUEST_MBUFS }));
    const fronts = await Promise.all(
      [0, 1].map((id) => {
        const vdev = `net_virtio_user${id},path=inproc:vm${id},mac=${guestMac(id)},queue_size=${RING_SIZE}`;
        return openPort(eal, vdev, pools[id]!);
      }),
    );
    const l2 = L2Switch.create(eal, { ports: backs, lcores: [SWITCH_LCORE], onLcoreFailed: onFailure });
    await l2.start();
    const guests = [0, 1].map((id): LabGuest => {
      const [front, back] = [fronts[id]!, backs[id]!];
      return { name: 'AB'[id]!, lcoreId: GUEST_LCORES[id]!, front, back, record: new GuestRecord() };
    });
    const lab = new Lab(eal, guests, l2);
    // Nobody speaks before everybody listens: what a guest cannot take yet is dropped.
    lab.#command(GUEST_DRAINS);
    await Promise.all(
      guests.map((guest, id) => lab.#launch(guest, pools[id]!, guests[1 - id]!, windowFrames, onFailure)),
    );
    for (let waited = 0; waited < READY_MS && !guests.every(({ record }) => record.isReady); waited++) await sleep(1);
    lab.#command(GUEST_RUNS);
    return lab;
  }

  #command(command: number): void {
    for (const { record, lcoreId } of this.guests) {
      record.command = command;
      this.#eal.lcore(lcoreId).wake();
    }
  }

  async #launch(guest: LabGuest, pool: Mempool, peer: LabGuest, windowFrames: number, onFailure: (e: unknown) => void) {
    const lcore = this.#eal.lcore(guest.lcoreId);
    const args: GuestArgs = {
      portId: guest.front.id,
      mempool: pool.address,
      record: guest.record.buffer,
      mac: bytes(guest.front.macAddress),
      peerMac: bytes(peer.front.macAddress),
      windowFrames,
    };
    await lcore.runModule(new URL('./guest.js', import.meta.url), args);
    lcore.wait().catch(onFailure);
  }

  /** Guests stop sending; resolves when nothing is under way any more. */
  async drain(): Promise<void> {
    this.#command(GUEST_DRAINS);
    let before = '';
    for (let quiet = 0, rounds = 0; quiet < QUIET_ROUNDS && rounds < MAX_ROUNDS; rounds++) {
      await sleep(ROUND_MS);
      const now = JSON.stringify([this.guests.map(({ record }) => record.read()), this.l2.stats()]);
      quiet = now === before ? quiet + 1 : 0;
      before = now;
    }
  }

  /** Ends the guests, then the switch. Counters stay readable. */
  async stop(): Promise<void> {
    await Promise.all(this.guests.map(({ lcoreId }) => this.#eal.lcore(lcoreId).stop()));
    await this.l2.stop();
  }
}

/** Longest wait for the guests; what they miss then is counted as dropped. */
const READY_MS = 2000;
const ROUND_MS = 20;
/** Rounds without a change after which nothing is under way. */
const QUIET_ROUNDS = 4;
const MAX_ROUNDS = 150;

async function openPort(eal: Eal, vdev: string, mempool: Mempool): Promise<Port> {
  const port = await Port.probe(eal, vdev);
  port.configure({ rxQueueCount: 1, txQueueCount: 1 });
  port.rxQueueSetup(0, { mempool });
  port.txQueueSetup(0);
  await port.start();
  return port;
}

function bytes(mac: string): number[] {
  return mac.split(':').map((group) => Number.parseInt(group, 16));
}
