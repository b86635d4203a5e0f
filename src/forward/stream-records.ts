/**
 * STREAM_ records in shared memory: what lcoreRun polls. One memzone holds everything that a set of streams needs:
 *
 *   | streams, those of one lcore together | txonly templates | working areas of each lcore |
 */
import {
  PORT_BASE,
  PORT_RXQS,
  PORT_SIZE,
  QUEUE_POOL,
  STEER_SCRATCH_SIZE,
  STREAM_BAD_IP_CKSUM,
  STREAM_BAD_L4_CKSUM,
  STREAM_BURST,
  STREAM_CSUM,
  STREAM_ENGINE,
  STREAM_FILTERED,
  STREAM_FLOODED,
  STREAM_FLOW_COUNT,
  STREAM_LIMIT,
  STREAM_NEXT_ENGINE,
  STREAM_PEER_MAC,
  STREAM_POOL,
  STREAM_RX_PACKETS,
  STREAM_RX_PORT,
  STREAM_RX_QUEUE,
  STREAM_SCRATCH,
  STREAM_SIZE,
  STREAM_STATE,
  STREAM_STEER_OWN_FIRST,
  STREAM_STEER_SCRATCH,
  STREAM_STEER_TABLE,
  STREAM_TSO_SEGSZ,
  STREAM_TX_DROPPED,
  STREAM_TX_PACKETS,
  STREAM_TX_PORT,
  STREAM_TX_QUEUE,
  STREAM_TX_TAGS,
  STREAM_TX_TCIS,
  SWITCH_SCRATCH_SIZE,
  TXONLY_SIZE,
} from '../../assembly/layout.js';
import type { HostMemory } from '../eal/memory.js';
import type { Memzone, Memzones } from '../eal/memzone.js';
import { readLiveCounter } from '../ethdev/stats.js';
import type { PlannedStream } from './plan.js';

/** STREAM_LIMIT of a txonly stream that goes on for ever. */
export const NO_LIMIT = 0xffff_ffff;

/** A stream with everything that its engine needs. */
export interface StreamSpec extends PlannedStream {
  /** ENGINE_*. */
  readonly engine: number;
  /** Packets a burst, 1 to MAX_BURST. */
  readonly burst: number;
  /** Address of the engine's state: the switch table. */
  readonly state?: number;
  /** TXONLY_ record, in place of `state`. */
  readonly template?: Uint8Array;
  /** The l2 engine needs its lcore's working area. */
  readonly scratch?: boolean;
  /** 6 bytes for the mac engine. */
  readonly peerMac?: Uint8Array;
  /** Address of the mempool for packets that the engine makes. */
  readonly pool?: number;
  /** txonly: packets to send before `nextEngine` takes over. */
  readonly limit?: number;
  readonly nextEngine?: number;
  /** csum: CSUM_* flags, and the payload bytes of a TSO segment (0: none is marked). */
  readonly csum?: number;
  readonly tsoSegmentBytes?: number;
  /** flowgen: flows that it goes through. */
  readonly flowCount?: number;
  /** VLAN tags that the tx port shall put into what the stream sends: flags and MBUF_VLAN_TCI's two halves. */
  readonly txTags?: { readonly flags: number; readonly tcis: number };
  /** Steers packets over the tx port's queues by their flow. */
  readonly steer?: StreamSteering;
}

/** How a stream finds the tx queue of a packet. */
export interface StreamSteering {
  /** Address of the Toeplitz table. */
  readonly table: number;
  /** All packets go to the stream's own tx queue as long as that one runs. */
  readonly ownFirst: boolean;
}

/** What a stream counted. */
export interface StreamCounters {
  readonly rxPort: number;
  readonly rxQueue: number;
  readonly txPort: number;
  readonly txQueue: number;
  readonly rxPackets: number;
  readonly txPackets: number;
  /** Packets that the tx port did not take; they were freed. */
  readonly txDropped: number;
  /** Packets that the engine itself threw away. */
  readonly filtered: number;
  readonly flooded: number;
  /** Packets whose port found a bad checksum (csum). */
  readonly badIpCksum: number;
  readonly badL4Cksum: number;
}

/** One lcore's share. */
export interface LcoreStreams {
  readonly lcoreIndex: number;
  readonly streams: number;
  readonly streamCount: number;
  /** Addresses of the rx queues that they poll. */
  readonly rxQueues: readonly number[];
}

/** A set of streams in shared memory, until free(). */
export class StreamRecords {
  readonly lcores: readonly LcoreStreams[];
  /** Address of each lcore's working area for flow steering, in the same order; empty where nothing is steered. */
  readonly steerAreas: readonly number[];
  readonly #memory: HostMemory;
  readonly #memzones: Pick<Memzones, 'free'>;
  readonly #zone: Memzone;
  readonly #specs: readonly StreamSpec[];

  /** Lays the records down. Throws ERR_NO_MEMORY. `specs` is not empty. */
  constructor(
    memory: HostMemory,
    memzones: Pick<Memzones, 'reserve' | 'free' | 'lookup'>,
    specs: readonly StreamSpec[],
  ) {
    this.#memory = memory;
    this.#memzones = memzones;
    this.#specs = [...specs].sort((a, b) => a.lcoreIndex - b.lcoreIndex);
    const indexes = [...new Set(this.#specs.map((spec) => spec.lcoreIndex))];
    const templates = specs.length * STREAM_SIZE;
    const scratch = templates + specs.length * TXONLY_SIZE;
    const scratchSize = specs.some((spec) => spec.scratch) ? SWITCH_SCRATCH_SIZE : 0;
    const steer = scratch + indexes.length * scratchSize;
    const steerSize = specs.some((spec) => spec.steer) ? STEER_SCRATCH_SIZE : 0;
    this.#zone = memzones.reserve(freeName(memzones), steer + indexes.length * steerSize);
    const base = this.#zone.address;
    this.steerAreas = steerSize === 0 ? [] : indexes.map((_, i) => base + steer + i * steerSize);

    this.#specs.forEach((spec, i) => {
      const template = base + templates + i * TXONLY_SIZE;
      this.#write(base + i * STREAM_SIZE, spec, {
        state: spec.template === undefined ? (spec.state ?? 0) : template,
        scratch: spec.scratch ? base + scratch + indexes.indexOf(spec.lcoreIndex) * scratchSize : 0,
        steer: spec.steer ? this.steerAreas[indexes.indexOf(spec.lcoreIndex)]! : 0,
      });
      if (spec.template !== undefined) memory.u8.set(spec.template, template);
    });
    this.lcores = indexes.map((lcoreIndex) => {
      const own = this.#specs.filter((spec) => spec.lcoreIndex === lcoreIndex);
      return {
        lcoreIndex,
        streams: base + this.#specs.indexOf(own[0]!) * STREAM_SIZE,
        streamCount: own.length,
        rxQueues: own.map((spec) => rxQueueAddress(memory, spec)),
      };
    });
  }

  #write(address: number, spec: StreamSpec, at: { state: number; scratch: number; steer: number }): void {
    const set = (field: number, value: number) => {
      this.#memory.u32[(address + field) >>> 2] = value;
    };
    set(STREAM_ENGINE, spec.engine);
    set(STREAM_RX_PORT, spec.rxPort);
    set(STREAM_RX_QUEUE, spec.rxQueue);
    set(STREAM_TX_PORT, spec.txPort);
    set(STREAM_TX_QUEUE, spec.txQueue);
    set(STREAM_BURST, spec.burst);
    set(STREAM_STATE, at.state);
    set(STREAM_SCRATCH, at.scratch);
    set(STREAM_POOL, spec.pool ?? 0);
    set(STREAM_LIMIT, spec.limit ?? NO_LIMIT);
    set(STREAM_NEXT_ENGINE, spec.nextEngine ?? spec.engine);
    set(STREAM_CSUM, spec.csum ?? 0);
    set(STREAM_TSO_SEGSZ, spec.tsoSegmentBytes ?? 0);
    set(STREAM_FLOW_COUNT, spec.flowCount ?? 1);
    set(STREAM_STEER_TABLE, spec.steer?.table ?? 0);
    set(STREAM_STEER_SCRATCH, at.steer);
    set(STREAM_STEER_OWN_FIRST, spec.steer?.ownFirst ? 1 : 0);
    set(STREAM_TX_TAGS, spec.txTags?.flags ?? 0);
    set(STREAM_TX_TCIS, spec.txTags?.tcis ?? 0);
    if (spec.peerMac !== undefined) this.#memory.u8.set(spec.peerMac, address + STREAM_PEER_MAC);
  }

  /** What each stream has counted, also while it runs. */
  counters(): StreamCounters[] {
    return this.#specs.map((spec, i) => {
      const read = (field: number) => readLiveCounter(this.#memory, this.#zone.address + i * STREAM_SIZE + field);
      return {
        rxPort: spec.rxPort,
        rxQueue: spec.rxQueue,
        txPort: spec.txPort,
        txQueue: spec.txQueue,
        rxPackets: read(STREAM_RX_PACKETS),
        txPackets: read(STREAM_TX_PACKETS),
        txDropped: read(STREAM_TX_DROPPED),
        filtered: read(STREAM_FILTERED),
        flooded: read(STREAM_FLOODED),
        badIpCksum: read(STREAM_BAD_IP_CKSUM),
        badL4Cksum: read(STREAM_BAD_L4_CKSUM),
      };
    });
  }

  /** Gives the memory back, once no lcore polls it. */
  free(): void {
    this.#memzones.free(this.#zone);
  }
}

/** Address of a stream's rx queue record. */
function rxQueueAddress(memory: HostMemory, { rxPort, rxQueue }: PlannedStream): number {
  const array = memory.u32[(PORT_BASE + rxPort * PORT_SIZE + PORT_RXQS) >>> 2]!;
  return memory.u32[(array + rxQueue * 4) >>> 2]!;
}

/** Address of the mempool that a stream's rx queue was set up with. */
export function rxQueuePool(memory: HostMemory, stream: PlannedStream): number {
  return memory.u32[(rxQueueAddress(memory, stream) + QUEUE_POOL) >>> 2]!;
}

function freeName(memzones: Pick<Memzones, 'lookup'>): string {
  let number = 0;
  while (memzones.lookup(`FS_${number}`) !== undefined) number++;
  return `FS_${number}`;
}
