/**
 * net_ring: a port over rings of mbufs. Packets are handed over, not copied.
 *
 *   net_ring0                    what is sent on tx queue n comes back on rx queue n: DPDK's net_ring
 *   net_ring0,wire=w0            two ports that name the same wire are joined crosswise, in either order: what the one
 *   net_ring1,wire=w0            sends the other receives (DPDK needs two nodeaction= arguments and an API call for this)
 *
 * A wire carries packets, and both links are up, while both of its ports are started. Packets that are on the wire when one
 * of them stops are freed, and counted by the queue that would have received them. An rx queue's descriptorCount is the length of the ring that feeds it; tx queue n feeds rx queue
 * n modulo their number.
 */
import {
  DROP_LINK_DOWN,
  PMD_RING,
  QUEUE_DROPS,
  QUEUE_GATE_ENABLED,
  QUEUE_GATE_READY,
  QUEUE_PEER,
  QUEUE_RING,
  RING_F_SC_DEQ,
  RING_F_SP_ENQ,
  RING_SLOTS,
} from '../../assembly/layout.js';
import type { Eal } from '../eal/eal.js';
import type { Memzone } from '../eal/memzone.js';
import { withQueueLock } from '../eal/queue-lock.js';
import { ViaductError } from '../errors.js';
import type { Devargs } from './devargs.js';
import { setGates } from './queue.js';
import { type Driver, type DriverPort, type PortSlot, powerOfTwoLimits } from './types.js';

/** RTE_PMD_RING_MAX_RX_RINGS */
const MAX_QUEUES = 16;
const DESCRIPTORS = powerOfTwoLimits(2, 32768, 1024);
const OPEN = QUEUE_GATE_READY | QUEUE_GATE_ENABLED;
/** Handles that are taken out of a ring at once when it is emptied. */
const DRAIN_COUNT = 64;

/** One port at a wire. */
interface End {
  readonly slot: PortSlot;
  started: boolean;
  /** Configured queues. */
  rxCount: number;
  txCount: number;
  /** Ring length that each rx queue asked for. */
  readonly rxDepths: number[];
}

/** What joins two ends, or one end with itself. */
class Wire {
  readonly name: string;
  readonly loopback: boolean;
  readonly ends: End[] = [];
  readonly #eal: Eal;
  /** Each ring, and the rx queue that it feeds. */
  #rings: { readonly zone: Memzone; readonly rxQueue: number }[] = [];
  #joined = false;

  constructor(eal: Eal, name: string, loopback: boolean) {
    this.#eal = eal;
    this.name = name;
    this.loopback = loopback;
  }

  other(end: End): End | undefined {
    return this.loopback ? end : this.ends.find((candidate) => candidate !== end);
  }

  /** Makes the rings once every end is started. */
  join(): void {
    if (this.#joined || this.ends.length < (this.loopback ? 1 : 2) || !this.ends.every((end) => end.started)) return;
    this.#joined = true;
    try {
      for (const end of this.ends) this.#joinInto(end, this.other(end)!);
    } catch (error) {
      this.part('');
      throw error;
    }
    for (const end of this.ends) {
      for (const queue of [...end.slot.rxQueues, ...end.slot.txQueues]) {
        if (this.#eal.memory.u32[(queue + QUEUE_RING) >>> 2] !== 0) setGates(this.#eal, queue, OPEN);
      }
    }
    for (const end of this.ends) end.slot.linkChanged(true);
  }

  /** The rings that feed `receiver`, and the sender's queues at their other ends. */
  #joinInto(receiver: End, sender: End): void {
    const { memzones, wasm } = this.#eal;
    for (let i = 0; i < receiver.rxCount; i++) {
      const size = receiver.rxDepths[i] ?? DESCRIPTORS.default;
      const zone = memzones.reserve(`${receiver.slot.name}-rx${i}`, RING_SLOTS + (size + DRAIN_COUNT) * 4);
      const rxq = receiver.slot.rxQueues[i]!;
      this.#rings.push({ zone, rxQueue: rxq });
      // tx queues i, i + rxCount, ... end here: one sender needs no compare-and-swap
      const oneSender = sender.txCount <= receiver.rxCount;
      wasm.ringInit(zone.address, size, RING_F_SC_DEQ | (oneSender ? RING_F_SP_ENQ : 0));
      this.#setRing(rxq, zone.address, 0);
      for (let t = i; t < sender.txCount; t += receiver.rxCount) {
        this.#setRing(sender.slot.txQueues[t]!, zone.address, rxq);
      }
    }
  }

  #setRing(queue: number, ring: number, peer: number): void {
    const { memory } = this.#eal;
    withQueueLock(memory, queue, () => {
      memory.u32[(queue + QUEUE_RING) >>> 2] = ring;
      memory.u32[(queue + QUEUE_PEER) >>> 2] = peer;
    });
  }

  /** Takes the rings away; what is in them is freed. */
  part(reason: string): void {
    if (!this.#joined) return;
    this.#joined = false;
    const { memzones } = this.#eal;
    for (const end of this.ends) {
      for (const queue of [...end.slot.rxQueues, ...end.slot.txQueues]) {
        setGates(this.#eal, queue, 0, OPEN);
        this.#setRing(queue, 0, 0);
      }
      end.slot.linkChanged(false, reason);
    }
    for (const { zone, rxQueue } of this.#rings) {
      const counter = (rxQueue + QUEUE_DROPS + DROP_LINK_DOWN * 8) >>> 3;
      this.#eal.memory.u64[counter] = this.#eal.memory.u64[counter]! + BigInt(this.#drain(zone));
      memzones.free(zone);
    }
    this.#rings = [];
  }

  /** Frees what the ring holds, and returns how many packets that were. */
  #drain(zone: Memzone): number {
    const { wasm, mainLcoreId } = this.#eal;
    const handles = zone.address + zone.lengthBytes - DRAIN_COUNT * 4;
    for (let drained = 0; ; ) {
      const count = wasm.ringDequeueBurst(zone.address, handles, DRAIN_COUNT);
      if (count === 0) return drained;
      drained += count;
      wasm.mbufFreeBulk(handles, count, mainLcoreId);
    }
  }
}

/** Wires by name. */
const wires = new WeakMap<Eal, Map<string, Wire>>();

function findWire(eal: Eal, slot: PortSlot, args: Devargs): Wire {
  const name = args.string('wire');
  if (name === undefined) return new Wire(eal, slot.name, true);
  const named = wires.get(eal) ?? new Map<string, Wire>();
  wires.set(eal, named);
  const wire = named.get(name) ?? new Wire(eal, name, false);
  if (wire.ends.length === 2) {
    const ends = wire.ends.map((end) => end.slot.name).join(' and ');
    throw new ViaductError('ERR_DEVARGS', `${slot.name}: wire '${name}' already joins ${ends}: choose another name`);
  }
  named.set(name, wire);
  return wire;
}

export const netRing: Driver = {
  name: 'net_ring',
  devargs: [{ key: 'wire', help: 'joins two ports that give the same name; without it a port receives what it sends' }],

  async probe(eal, slot, args): Promise<DriverPort> {
    slot.createQueues({ pmd: PMD_RING, rxQueues: MAX_QUEUES, txQueues: MAX_QUEUES });
    const wire = findWire(eal, slot, args);
    const end: End = { slot, started: false, rxCount: 0, txCount: 0, rxDepths: [] };
    wire.ends.push(end);

    return {
      info: () => ({
        maxRxQueues: MAX_QUEUES,
        maxTxQueues: MAX_QUEUES,
        minMtu: 68,
        maxMtu: 65535,
        rxDescriptors: DESCRIPTORS,
        txDescriptors: DESCRIPTORS,
        rxOffloadCapabilities: ['SCATTER'],
        txOffloadCapabilities: ['MULTI_SEGS'],
        speedMbps: 10_000,
        driverInfo: { wire: wire.loopback ? 'loopback' : wire.name, peer: wire.other(end)?.slot.name ?? 'none yet' },
      }),
      configure(conf) {
        end.rxCount = conf.rxQueueCount;
        end.txCount = conf.txQueueCount;
        end.rxDepths.length = 0;
      },
      rxQueueSetup(queue, { descriptorCount }) {
        end.rxDepths[queue] = descriptorCount;
      },
      async start() {
        end.started = true;
        try {
          wire.join();
        } catch (error) {
          end.started = false;
          throw error;
        }
      },
      async stop() {
        end.started = false;
        wire.part(`${slot.name} was stopped`);
      },
      async close() {
        end.started = false;
        wire.part(`${slot.name} was closed`);
        wire.ends.splice(wire.ends.indexOf(end), 1);
        if (wire.ends.length === 0 && !wire.loopback) wires.get(eal)?.delete(wire.name);
      },
    };
  },
};
