import {
  CSUM_IP_HW,
  CSUM_TCP_HW,
  CSUM_UDP_HW,
  CSUM_WRITE_MACS,
  ENGINE_5TSWAP,
  ENGINE_CSUM,
  ENGINE_FLOWGEN,
  ENGINE_ICMPECHO,
  ENGINE_IO,
  ENGINE_MAC,
  ENGINE_MACSWAP,
  ENGINE_RXONLY,
  ENGINE_TXONLY,
  MBUF_HEADROOM,
  MEMPOOL_BUF_LEN,
  TXONLY_HEADERS_LEN,
} from '../../assembly/layout.js';
import type { Eal } from '../eal/eal.js';
import { ViaductError } from '../errors.js';
import type { Port } from '../ethdev/port.js';
import type { PortStats } from '../ethdev/types.js';
import type { Mempool } from '../mempool.js';
import { macBytes, macText } from './mac.js';
import { type PlannedPort, type PlannedStream, type PortTopology, planStreams } from './plan.js';
import { checkBurst, checkPorts, type LcoreFailed, plannedPorts, StreamRunner, Turns } from './runner.js';
import { NO_LIMIT, rxQueuePool, type StreamSpec } from './stream-records.js';
import { checkTxVlan, type TxVlan, txTags } from './tx-vlan.js';
import { checkSegmentLengths, FLOWGEN_FLOW, TXONLY_FLOW, txonlyTemplate } from './txonly-template.js';

/** testpmd's forwarding modes. */
export type ForwardEngine = 'io' | 'mac' | 'macswap' | 'flowgen' | 'rxonly' | 'txonly' | 'csum' | 'icmpecho' | '5tswap';

const ENGINES: Readonly<Record<ForwardEngine, number>> = {
  io: ENGINE_IO,
  mac: ENGINE_MAC,
  macswap: ENGINE_MACSWAP,
  flowgen: ENGINE_FLOWGEN,
  rxonly: ENGINE_RXONLY,
  txonly: ENGINE_TXONLY,
  csum: ENGINE_CSUM,
  icmpecho: ENGINE_ICMPECHO,
  '5tswap': ENGINE_5TSWAP,
};

/** Names that setEngine takes. */
export const forwardEngines = Object.keys(ENGINES) as readonly ForwardEngine[];

const DEFAULT_BURST = 32;
const DEFAULT_TX_PACKETS = [64];
const DEFAULT_FLOW_COUNT = 1024;
const MAX_FLOW_COUNT = 0x7fff_ffff;
/** Payload bytes of a segment that can be told to a virtio guest. */
const MAX_TSO_SEGMENT = 0xffff;
/** What a port must be able to do before csum may leave a checksum to it. */
const CSUM_OFFLOADS = { ip: 'IPV4_CKSUM', udp: 'UDP_CKSUM', tcp: 'TCP_CKSUM' } as const;
/** Engines that send packets as they are, or answer in the VLAN of the request: no tag is inserted, as in testpmd. */
const UNTAGGED: readonly number[] = [ENGINE_IO, ENGINE_ICMPECHO];
const OWNER = 'forwarder';

export interface ForwarderOptions {
  /** In the order of the topology. */
  readonly ports: readonly Port[];
  /** Ids of the lcores that forward (`--nb-cores`); by default all but the main lcore, or it alone. Streams are spread over them. */
  readonly lcores?: readonly number[];
  /** Default io. */
  readonly engine?: ForwardEngine;
  /** Packets a burst, 1 to 512; default 32. */
  readonly burst?: number;
  /** Default paired. */
  readonly topology?: PortTopology;
  /** Segment lengths of the packets that txonly and flowgen make; default one of 64 bytes. */
  readonly txPackets?: readonly number[];
  /** Flows that flowgen goes through, 1 to 2^31 - 1; default 1024. */
  readonly flowCount?: number;
  /** Where txonly takes mbufs from; by default that of each stream's rx queue. */
  readonly mempool?: Mempool;
  /** Told when a lcore fails while it forwards. */
  readonly onLcoreFailed?: LcoreFailed;
}

/** What the csum engine does to packets that leave through a port: testpmd's `csum set`, `tso set`, `csum mac-swap`. */
export interface CsumConf {
  /** `hw`: the port makes this checksum, told by mbuf flags; `sw` (default): the engine does. */
  readonly ip?: 'hw' | 'sw';
  readonly udp?: 'hw' | 'sw';
  readonly tcp?: 'hw' | 'sw';
  /** Payload bytes of the segments that the port shall cut TCP packets into; 0 (default): they stay as they are. */
  readonly tsoSegmentBytes?: number;
  /** Writes MAC addresses as the mac engine does; default true. */
  readonly writeMacs?: boolean;
}

export interface StartOptions {
  /** `start tx_first N`: each stream first sends N bursts of txonly packets, as soon as its tx port's link is up. */
  readonly txFirst?: number;
}

/** testpmd's forward statistics of one port, since start(). */
export interface PortForwardStats {
  readonly port: Port;
  readonly rxPackets: number;
  /** Packets that the port lost because nobody took them in time (imissed). */
  readonly rxDropped: number;
  readonly rxTotal: number;
  /** Received packets that were thrown away as faulty (RX-error), receive failures for want of mbufs (RX-nombufs). */
  readonly rxErrors: number;
  readonly rxNombuf: number;
  readonly txPackets: number;
  /** Packets that the port did not take; they were freed. */
  readonly txDropped: number;
  readonly txTotal: number;
  /** csum: packets whose rx port found a bad IP or L4 checksum. */
  readonly badIpCksum: number;
  readonly badL4Cksum: number;
}

/** Forward statistics of one stream: an rx queue and where its packets go. */
export interface StreamForwardStats {
  readonly rxPort: number;
  readonly rxQueue: number;
  readonly txPort: number;
  /** The stream's own; packets that are steered by flow go on the others too. */
  readonly txQueue: number;
  readonly rxPackets: number;
  readonly txPackets: number;
  readonly txDropped: number;
  readonly badIpCksum: number;
  readonly badL4Cksum: number;
}

export interface ForwardStats {
  readonly ports: readonly PortForwardStats[];
  readonly streams: readonly StreamForwardStats[];
  /** Accumulated forward statistics for all ports. */
  readonly total: Omit<PortForwardStats, 'port'>;
}

/**
 * testpmd's forwarding: every rx queue of every port is a stream that a lcore polls, through an engine, to the port that the
 * topology says. All of it runs in Wasm on the lcores.
 *
 *     const forwarder = new Forwarder(eal, { ports, engine: 'macswap' });
 *     await forwarder.start();
 *     ...
 *     const { total } = await forwarder.stop();
 *
 * Engine, burst, packet lengths and peers are taken up by the next start(), as in testpmd.
 */
export class Forwarder {
  readonly #eal: Eal;
  readonly #runner: StreamRunner;
  readonly #turns = new Turns();
  readonly #mempool: Mempool | undefined;
  readonly #peers = new Map<number, Uint8Array>();
  readonly #csum = new Map<number, CsumConf>();
  readonly #txVlans = new Map<number, TxVlan>();
  #ports: readonly Port[];
  #engine: ForwardEngine;
  #burst: number;
  #topology: PortTopology;
  #txPackets: readonly number[];
  #flowCount: number;
  /** Port statistics at start(), to subtract. */
  #before = new Map<Port, PortStats>();

  /** Nothing runs yet. Throws ERR_INVALID_ARGUMENT, ERR_NO_SUCH_LCORE. */
  constructor(eal: Eal, options: ForwarderOptions) {
    this.#eal = eal;
    this.#ports = [...options.ports];
    checkPorts(OWNER, eal, this.#ports);
    this.#engine = checkEngine(options.engine ?? 'io');
    this.#burst = checkBurst(OWNER, options.burst ?? DEFAULT_BURST);
    this.#topology = options.topology ?? 'paired';
    this.#txPackets = [...(options.txPackets ?? DEFAULT_TX_PACKETS)];
    checkSegmentLengths(this.#txPackets);
    this.#flowCount = checkFlowCount(options.flowCount ?? DEFAULT_FLOW_COUNT);
    this.#mempool = options.mempool;
    this.#runner = new StreamRunner(eal, OWNER, options.lcores, options.onLcoreFailed);
    eal.onCleanup(async () => {
      await this.stop();
    });
  }

  get isRunning(): boolean {
    return this.#runner.isRunning;
  }

  get ports(): readonly Port[] {
    return this.#ports;
  }

  /** Ids of the lcores that may forward. */
  get lcoreIds(): readonly number[] {
    return this.#runner.lcores.map((lcore) => lcore.id);
  }

  get engine(): ForwardEngine {
    return this.#engine;
  }

  get burst(): number {
    return this.#burst;
  }

  get topology(): PortTopology {
    return this.#topology;
  }

  get txPackets(): readonly number[] {
    return this.#txPackets;
  }

  get flowCount(): number {
    return this.#flowCount;
  }

  /** `set fwd`. ERR_INVALID_ARGUMENT lists the engines. */
  setEngine(engine: ForwardEngine): void {
    this.#engine = checkEngine(engine);
  }

  /** `set burst`: 1 to 512 packets. */
  setBurst(burst: number): void {
    this.#burst = checkBurst(OWNER, burst);
  }

  /** `set port-topology`. */
  setTopology(topology: PortTopology): void {
    planStreams([{ id: 0, rxQueueCount: 1, txQueueCount: 1 }], 1, topology); // throws for a name that is none
    this.#topology = topology;
  }

  /** `set txpkts`: lengths in bytes of the segments of a packet that txonly makes, 42 bytes or more together. */
  setTxPackets(lengths: readonly number[]): void {
    checkSegmentLengths(lengths);
    this.#txPackets = [...lengths];
  }

  /** `--flowgen-flows`: flows that flowgen goes through. */
  setFlowCount(count: number): void {
    this.#flowCount = checkFlowCount(count);
  }

  /**
   * `csum set`, `tso set`: what the csum engine does to packets that leave through a port. Replaces what was said before.
   * ERR_OFFLOAD for work that the port does not advertise.
   */
  setCsum(port: Port, conf: CsumConf): void {
    const has: readonly string[] = port.info().txOffloadCapabilities;
    const need = (offload: string): void => {
      if (has.includes(offload)) return;
      throw new ViaductError(
        'ERR_OFFLOAD',
        `${OWNER}: ${port.label} has no tx offload ${offload}; it has: ${has.join(', ') || 'none'}`,
      );
    };
    for (const [what, offload] of Object.entries(CSUM_OFFLOADS)) {
      if (conf[what as keyof typeof CSUM_OFFLOADS] === 'hw') need(offload);
    }
    const segment = conf.tsoSegmentBytes ?? 0;
    if (!Number.isInteger(segment) || segment < 0 || segment > MAX_TSO_SEGMENT) {
      throw new ViaductError(
        'ERR_INVALID_ARGUMENT',
        `${OWNER}: tsoSegmentBytes ${segment} is not a whole number from 0 (off) to ${MAX_TSO_SEGMENT}`,
      );
    }
    if (segment > 0) need('TCP_TSO');
    this.#csum.set(port.id, { ...conf });
  }

  /**
   * `tx_vlan set`: the tags of packets that the mac, macswap, 5tswap, csum, txonly and flowgen engines send through a port;
   * undefined (`tx_vlan reset`) for none. io, icmpecho and a tx_first before them send packets as they are. ERR_OFFLOAD for a
   * port that cannot insert tags.
   */
  setTxVlan(port: Port, tag: TxVlan | undefined): void {
    if (tag !== undefined) checkTxVlan(OWNER, port, tag);
    if (tag === undefined) this.#txVlans.delete(port.id);
    else this.#txVlans.set(port.id, { ...tag });
  }

  /** `set eth-peer`: the destination of packets that the mac, csum, txonly and flowgen engines send through a port. */
  setEthPeer(port: Port, mac: string): void {
    this.#peers.set(port.id, macBytes(mac));
  }

  /** The destination for a port: 02:00:00:00:00:<port id> unless setEthPeer said otherwise, as in testpmd. */
  ethPeer(port: Port): string {
    return macText(this.#peer(port.id));
  }

  /**
   * What start() would run: one entry a stream. testpmd's `show config fwd`.
   * ERR_INVALID_STATE if a port is not started.
   */
  plan(): { lcoreId: number; rxPort: number; rxQueue: number; txPort: number; txQueue: number }[] {
    const ports = plannedPorts(OWNER, this.#ports);
    return this.#plan(ports).map(({ lcoreIndex, ...stream }) => ({
      lcoreId: this.#runner.lcores[lcoreIndex]!.id,
      ...stream,
    }));
  }

  /** icmpecho answers through the port that asked, whatever the topology. */
  #plan(ports: readonly PlannedPort[]): PlannedStream[] {
    const topology = this.#engine === 'icmpecho' ? 'loop' : this.#topology;
    return planStreams(ports, this.#runner.lcores.length, topology);
  }

  /** `start`, `start tx_first N`. Throws ERR_INVALID_STATE when it runs already or a port is not started. */
  start(options: StartOptions = {}): Promise<void> {
    return this.#turns.take(async () => {
      const specs = this.#specs(options.txFirst ?? 0);
      if (!this.isRunning) this.#reset();
      await this.#runner.start(specs, this.#ports);
    });
  }

  /** `stop`: resolves with the statistics when no lcore polls any more. Without a start() they are those of the last run. */
  stop(): Promise<ForwardStats> {
    return this.#turns.take(async () => {
      await this.#runner.stop();
      return this.stats();
    });
  }

  /** Takes a started port in, behind the others. A running forwarder pauses for it and goes on with the new streams. */
  addPort(port: Port): Promise<void> {
    return this.#change(() => {
      const ports = [...this.#ports, port];
      checkPorts(OWNER, this.#eal, ports);
      plannedPorts(OWNER, [port]);
      this.#ports = ports;
    });
  }

  /** Leaves a port out. When it resolves no lcore polls it; a forwarder without ports stops. */
  removePort(port: Port): Promise<void> {
    return this.#change(() => {
      this.#ports = this.#ports.filter((other) => other !== port);
    });
  }

  #change(change: () => void): Promise<void> {
    return this.#turns.take(async () => {
      if (!this.isRunning) {
        change();
        return;
      }
      await this.#runner.stop();
      try {
        change();
      } finally {
        if (this.#ports.length > 0) await this.#runner.start(this.#specs(0), this.#ports);
      }
    });
  }

  /** Forward statistics since start(), while it runs or after it. */
  stats(): ForwardStats {
    const counters = this.#runner.counters();
    const ports = this.#ports.map((port): PortForwardStats => {
      let rxPackets = 0;
      let txPackets = 0;
      let txDropped = 0;
      let badIpCksum = 0;
      let badL4Cksum = 0;
      for (const stream of counters) {
        if (stream.rxPort === port.id) {
          rxPackets += stream.rxPackets;
          badIpCksum += stream.badIpCksum;
          badL4Cksum += stream.badL4Cksum;
        }
        if (stream.txPort !== port.id) continue;
        txPackets += stream.txPackets;
        txDropped += stream.txDropped;
      }
      const lost = this.#lost(port);
      return {
        port,
        rxPackets,
        rxTotal: rxPackets + lost.rxDropped,
        ...lost,
        txPackets,
        txDropped,
        txTotal: txPackets + txDropped,
        badIpCksum,
        badL4Cksum,
      };
    });
    const sum = (field: keyof Omit<PortForwardStats, 'port'>) => ports.reduce((total, port) => total + port[field], 0);
    return {
      ports,
      streams: counters.map(({ filtered: _, flooded: __, ...stream }) => stream),
      total: {
        rxPackets: sum('rxPackets'),
        rxDropped: sum('rxDropped'),
        rxTotal: sum('rxTotal'),
        rxErrors: sum('rxErrors'),
        rxNombuf: sum('rxNombuf'),
        txPackets: sum('txPackets'),
        txDropped: sum('txDropped'),
        txTotal: sum('txTotal'),
        badIpCksum: sum('badIpCksum'),
        badL4Cksum: sum('badL4Cksum'),
      },
    };
  }

  /** What a port lost since start(). A statsReset() meanwhile shows as 0, never as less. */
  #lost(port: Port): { rxDropped: number; rxErrors: number; rxNombuf: number } {
    if (port.state === 'closed') return { rxDropped: 0, rxErrors: 0, rxNombuf: 0 };
    const now = port.stats();
    const before = this.#before.get(port);
    const since = (field: 'imissed' | 'ierrors' | 'rxNombuf') => Math.max(0, now[field] - (before?.[field] ?? 0));
    return { rxDropped: since('imissed'), rxErrors: since('ierrors'), rxNombuf: since('rxNombuf') };
  }

  #reset(): void {
    this.#runner.resetCounters();
    this.#before = new Map(this.#ports.map((port) => [port, port.stats()]));
  }

  #peer(portId: number): Uint8Array {
    return this.#peers.get(portId) ?? Uint8Array.of(0x02, 0, 0, 0, 0, portId);
  }

  #specs(txFirst: number): StreamSpec[] {
    if (!Number.isInteger(txFirst) || txFirst < 0 || txFirst * this.#burst >= NO_LIMIT) {
      throw new ViaductError('ERR_INVALID_ARGUMENT', `${OWNER}: tx_first ${txFirst} is no number of bursts`);
    }
    const engine = ENGINES[this.#engine];
    const generates = engine === ENGINE_TXONLY || engine === ENGINE_FLOWGEN;
    const ports = plannedPorts(OWNER, this.#ports);
    const byId = new Map(this.#ports.map((port) => [port.id, port]));
    if (engine === ENGINE_FLOWGEN && this.#txPackets[0]! < TXONLY_HEADERS_LEN) {
      throw new ViaductError(
        'ERR_INVALID_ARGUMENT',
        `${OWNER}: flowgen writes ${TXONLY_HEADERS_LEN} bytes of headers into the first segment, which has ` +
          `${this.#txPackets[0]}: make that segment longer with setTxPackets, or take txonly`,
      );
    }
    return this.#plan(ports).map((stream) => {
      const txVlan = this.#txVlans.get(stream.txPort);
      const spec: StreamSpec = {
        ...stream,
        engine,
        burst: this.#burst,
        peerMac: this.#peer(stream.txPort),
        csum: csumFlags(this.#csum.get(stream.txPort)),
        tsoSegmentBytes: this.#csum.get(stream.txPort)?.tsoSegmentBytes ?? 0,
        flowCount: this.#flowCount,
        ...(txVlan === undefined || UNTAGGED.includes(engine) ? {} : { txTags: txTags(txVlan) }),
      };
      if (!generates && txFirst === 0) return spec;
      const pool = this.#mempool?.address ?? rxQueuePool(this.#eal.memory, stream);
      this.#checkRoom(pool);
      const template = txonlyTemplate({
        destination: this.#peer(stream.txPort),
        source: macBytes(byId.get(stream.txPort)!.macAddress),
        segmentLengths: this.#txPackets,
        flow: engine === ENGINE_FLOWGEN ? FLOWGEN_FLOW : TXONLY_FLOW,
      });
      if (generates) return { ...spec, pool, template };
      return { ...spec, engine: ENGINE_TXONLY, nextEngine: engine, limit: txFirst * this.#burst, pool, template };
    });
  }

  /** A segment that its mbuf cannot hold would leave packets shorter than their headers say. */
  #checkRoom(pool: number): void {
    const room = this.#eal.memory.u32[(pool + MEMPOOL_BUF_LEN) >>> 2]! - MBUF_HEADROOM;
    const large = this.#txPackets.find((length) => length > room);
    if (large === undefined) return;
    throw new ViaductError(
      'ERR_INVALID_ARGUMENT',
      `${OWNER}: a segment of ${large} bytes does not fit the mempool's data room of ${room} bytes: ` +
        'split it with setTxPackets, or make a pool with larger buffers',
    );
  }
}

function checkEngine(engine: ForwardEngine): ForwardEngine {
  if (Object.hasOwn(ENGINES, engine)) return engine;
  throw new ViaductError(
    'ERR_INVALID_ARGUMENT',
    `${OWNER}: no engine '${engine}': there are ${forwardEngines.join(', ')}`,
  );
}

function checkFlowCount(count: number): number {
  if (Number.isInteger(count) && count >= 1 && count <= MAX_FLOW_COUNT) return count;
  throw new ViaductError(
    'ERR_INVALID_ARGUMENT',
    `${OWNER}: flowCount ${count} is not a whole number from 1 to ${MAX_FLOW_COUNT}`,
  );
}

/** STREAM_CSUM of a tx port. */
function csumFlags(conf: CsumConf = {}): number {
  return (
    (conf.ip === 'hw' ? CSUM_IP_HW : 0) |
    (conf.udp === 'hw' ? CSUM_UDP_HW : 0) |
    (conf.tcp === 'hw' ? CSUM_TCP_HW : 0) |
    (conf.writeMacs === false ? 0 : CSUM_WRITE_MACS)
  );
}
