/**
 * Port: DPDK's ethdev API (rte_ethdev.h) as a class. The control plane of one port, on the main thread; worker lcores use
 * its data-plane face, LcorePort.
 */
import { EventEmitter } from 'node:events';
import {
  MAX_PORTS,
  PORT_LINK_UP,
  PORT_MTU,
  PORT_PROMISC,
  PORT_RXQ_COUNT,
  PORT_STATE,
  PORT_STATE_CONFIGURED,
  PORT_STATE_REMOVED,
  PORT_STATE_STARTED,
  PORT_TXQ_COUNT,
  QUEUE_GATE_STARTED,
  QUEUE_STOP_CAUSE,
} from '../../assembly/layout.js';
import type { Burst } from '../burst.js';
import { parseMac } from '../drivers/devargs.js';
import { setGates } from '../drivers/queue.js';
import { findDriver } from '../drivers/registry.js';
import type { Driver, DriverPort, VirtqueueInfo } from '../drivers/types.js';
import type { Eal } from '../eal/eal.js';
import type { WasmExports } from '../eal/exports.js';
import { releaseLocksOf, withQueueLock } from '../eal/queue-lock.js';
import { ViaductError } from '../errors.js';
import type { Mempool } from '../mempool.js';
import {
  type Coalescing,
  type CoalescingConf,
  checkCoalescing,
  hasCoalescing,
  readCoalescing,
  writeCoalescing,
} from './coalescing.js';
import {
  checkAllSetUp,
  checkConf,
  checkDescriptors,
  checkMtu,
  checkOffloads,
  checkQueue,
  checkState,
  type PortState,
  queueOffloads,
} from './port-state.js';
import { portTable, type Slot } from './port-table.js';
import { type TxPrepareFault, txPrepareFault } from './prepare.js';
import { QueueConf, type RxQueueInfo, type TxQueueInfo } from './queue-conf.js';
import { QueueWatch } from './queue-watch.js';
import { Reta } from './reta.js';
import { StatsReader } from './stats.js';
import type { LinkStatus, PortConf, PortEvents, PortInfo, PortStats, RxOffload, TxOffload, Xstat } from './types.js';

/** rte_eth_rxconf and the mempool of rte_eth_rx_queue_setup. */
export interface RxQueueConf {
  /** Where the queue takes its mbufs from. */
  readonly mempool: Mempool;
  /** Descriptors of the queue; the driver's default when absent. */
  readonly descriptorCount?: number;
  /** Offloads of this queue besides those that configure() has enabled on all. */
  readonly offloads?: readonly RxOffload[];
}

/** rte_eth_txconf. */
export interface TxQueueConf {
  readonly descriptorCount?: number;
  /** Offloads of this queue besides those that configure() has enabled on all. */
  readonly offloads?: readonly TxOffload[];
}

export interface ProbeOptions {
  /** A driver of your own, in place of the one that the name stands for. */
  readonly driver?: Driver;
}

/** RTE_ETH_VLAN_STRIP_OFFLOAD and RTE_ETH_QINQ_STRIP_OFFLOAD: the rx offloads VLAN_STRIP and QINQ_STRIP. */
export interface VlanOffload {
  readonly strip?: boolean;
  readonly qinqStrip?: boolean;
}

/** The least that fits a receive mbuf: a frame's headers lie in its first segment (dev_info.min_rx_bufsize). */
const MIN_RX_DATA_ROOM_BYTES = 64;

/**
 * A port. Make one with `Port.probe(eal, 'net_vhost0,iface=/run/vm0.sock')`, then configure, set up its queues and start it:
 *
 *     port.configure({ rxQueueCount: 1, txQueueCount: 1 });
 *     port.rxQueueSetup(0, { mempool });
 *     port.txQueueSetup(0);
 *     await port.start();
 *
 * Events: see PortEvents. Asynchronous operations on one port run one after another, in the order in which they were called.
 */
export class Port extends EventEmitter<PortEvents> {
  /** Index of the port, DPDK's port_id. */
  readonly id: number;
  /** vdev name, `net_vhost0`. */
  readonly name: string;
  /** Name of its driver, `net_vhost`. */
  readonly driver: string;
  readonly eal: Eal;
  readonly #slot: Slot;
  readonly #device: DriverPort;
  readonly #stats: StatsReader;
  readonly #watch: QueueWatch;
  readonly #wasm: WasmExports;
  readonly #lcoreId: number;
  /** The id as the data plane is asked for it; out of range once closed, so that a successor's packets are not taken. */
  #pollId: number;
  #state: PortState = 'probed';
  /** What each queue is set up with; empty places are not set up yet. */
  #rxInfo: (RxQueueInfo | undefined)[] = [];
  #txInfo: (TxQueueInfo | undefined)[] = [];
  #rxOffloads: readonly RxOffload[] = [];
  #txOffloads: readonly TxOffload[] = [];
  readonly #queueConf: QueueConf;
  readonly #reta = new Reta();
  /** Tail of the asynchronous operations. */
  #tail: Promise<void> = Promise.resolve();
  #pending = 0;

  /**
   * Creates a port from a DPDK vdev string (rte_vdev_init). Throws ERR_DEVARGS, ERR_UNKNOWN_DRIVER, ERR_PORT_LIMIT, and
   * what the driver needs and lacks.
   */
  static async probe(eal: Eal, vdev: string, options: ProbeOptions = {}): Promise<Port> {
    const { driver, args } = await findDriver(vdev, options.driver);
    const table = portTable(eal);
    const slot = table.claim(args.name);
    try {
      const device = await driver.probe(eal, slot, args);
      const port = new Port(eal, slot, driver.name, device);
      table.add(port);
      return port;
    } catch (error) {
      table.release(slot);
      throw error;
    }
  }

  private constructor(eal: Eal, slot: Slot, driver: string, device: DriverPort) {
    super();
    this.id = slot.id;
    this.name = slot.name;
    this.driver = driver;
    this.eal = eal;
    this.#slot = slot;
    this.#device = device;
    this.#queueConf = new QueueConf(eal, slot.name);
    this.#stats = new StatsReader(eal.memory, slot.rxQueues, slot.txQueues);
    this.#watch = new QueueWatch(eal.memory, slot, (state) => this.emit('queueState', state));
    const { coalescing } = device.info();
    if (coalescing !== undefined) {
      for (const queue of [...slot.rxQueues, ...slot.txQueues]) writeCoalescing(eal.memory, queue, coalescing);
    }
    this.#wasm = eal.wasm;
    this.#lcoreId = eal.mainLcoreId;
    this.#pollId = slot.id;
    slot.owner = {
      linkUp: () => {
        this.#watch.forget();
        this.emit('linkUp');
      },
      linkDown: (reason) => this.emit('linkDown', reason),
      queueState: (state) => this.emit('queueState', state),
      removed: () => this.#onRemoved(),
    };
  }

  /** Where the port is in its life. */
  get state(): PortState {
    return this.#state;
  }

  /** `port 0 (net_vhost0)`, as error messages name it. */
  get label(): string {
    return `port ${this.id} (${this.name})`;
  }

  // ---- configuration ---------------------------------------------------------------------------------------------------

  /**
   * The virtqueue behind a queue of net_vhost or net_virtio_user: ring size, layout, burst path, offloads, whether the peer has
   * enabled it. Undefined while there is none. rte_eth_rx_burst_mode_get, rte_eth_tx_burst_mode_get.
   */
  virtqueueInfo(direction: 'rx' | 'tx', queue: number): VirtqueueInfo | undefined {
    this.#checkOpen('virtqueueInfo');
    checkQueue(this.label, direction, queue, (direction === 'rx' ? this.#slot.rxQueues : this.#slot.txQueues).length);
    return this.#device.virtqueue?.(direction, queue);
  }

  /** rte_eth_dev_info_get. */
  info(): PortInfo {
    this.#checkOpen('info');
    const { speedMbps: _, ...driverInfo } = this.#device.info();
    return {
      portId: this.id,
      name: this.name,
      driver: this.driver,
      macAddress: this.macAddress,
      rxQueueCount: this.#slot.read(PORT_RXQ_COUNT),
      txQueueCount: this.#slot.read(PORT_TXQ_COUNT),
      rxQueueOffloadCapabilities: [],
      txQueueOffloadCapabilities: [],
      ...driverInfo,
    };
  }

  /**
   * rte_eth_dev_configure: sets the queue counts, offloads and MTU. Queue setups of before are forgotten.
   * ERR_INVALID_STATE unless stopped; ERR_OFFLOAD names an offload that the device lacks.
   */
  configure(conf: PortConf): void {
    this.#check('configure');
    const info = this.info();
    checkConf(this.label, info, conf);
    this.#device.configure?.(conf);
    if (conf.mtu !== undefined) this.setMtu(conf.mtu);
    this.#slot.write(PORT_RXQ_COUNT, conf.rxQueueCount);
    this.#slot.write(PORT_TXQ_COUNT, conf.txQueueCount);
    this.#rxInfo = new Array(conf.rxQueueCount).fill(undefined);
    this.#txInfo = new Array(conf.txQueueCount).fill(undefined);
    this.#rxOffloads = [...new Set(conf.rxOffloads)];
    this.#txOffloads = [...new Set(conf.txOffloads)];
    this.#queueConf.setRssKey(conf.rssKey);
    this.#reta.reset();
    this.#enter('configured', PORT_STATE_CONFIGURED);
  }

  /**
   * rte_eth_rx_queue_setup. May be called again to change a queue while the port is stopped. ERR_OFFLOAD names an offload that
   * a single queue cannot have.
   */
  rxQueueSetup(queue: number, conf: RxQueueConf): void {
    this.#check('rxQueueSetup');
    checkQueue(this.label, 'rx', queue, this.#rxInfo.length);
    const pool = conf.mempool;
    if (pool === undefined || pool.bufferBytes === 0) {
      throw new ViaductError(
        'ERR_INVALID_ARGUMENT',
        `${this.label}: rx queue ${queue}: an mbuf pool is needed: rxQueueSetup(${queue}, { mempool })`,
      );
    }
    if (pool.dataRoomBytes < MIN_RX_DATA_ROOM_BYTES) {
      throw new ViaductError(
        'ERR_INVALID_ARGUMENT',
        `${this.label}: rx queue ${queue}: the mbufs of mempool ${pool.name} have room for ${pool.dataRoomBytes} bytes: give a pool with dataRoomBytes of ${MIN_RX_DATA_ROOM_BYTES} or more`,
      );
    }
    const { rxDescriptors, rxOffloadCapabilities, rxQueueOffloadCapabilities = [] } = this.#device.info();
    const descriptorCount = checkDescriptors(this.label, 'rx', queue, rxDescriptors, conf.descriptorCount);
    const capabilities = { port: rxOffloadCapabilities, queue: rxQueueOffloadCapabilities };
    const offloads = queueOffloads(this.label, 'rx', queue, conf.offloads ?? [], this.#rxOffloads, capabilities);
    this.#device.rxQueueSetup?.(queue, { pool: pool.address, bufLen: pool.bufferBytes, descriptorCount, offloads });
    const info: RxQueueInfo = { mempool: pool, descriptorCount, offloads };
    this.#queueConf.writeRx(this.#slot.rxQueues[queue]!, info);
    this.#rxInfo[queue] = info;
  }

  /** rte_eth_tx_queue_setup. May be called again to change a queue while the port is stopped. ERR_OFFLOAD as rxQueueSetup. */
  txQueueSetup(queue: number, conf: TxQueueConf = {}): void {
    this.#check('txQueueSetup');
    checkQueue(this.label, 'tx', queue, this.#txInfo.length);
    const { txDescriptors, txOffloadCapabilities, txQueueOffloadCapabilities = [] } = this.#device.info();
    const descriptorCount = checkDescriptors(this.label, 'tx', queue, txDescriptors, conf.descriptorCount);
    const capabilities = { port: txOffloadCapabilities, queue: txQueueOffloadCapabilities };
    const offloads = queueOffloads(this.label, 'tx', queue, conf.offloads ?? [], this.#txOffloads, capabilities);
    this.#device.txQueueSetup?.(queue, { descriptorCount, offloads });
    const info: TxQueueInfo = { descriptorCount, offloads };
    this.#queueConf.writeTx(this.#slot.txQueues[queue]!, info);
    this.#txInfo[queue] = info;
  }

  /** rte_eth_rx_queue_info_get; undefined for a queue that is not set up. ERR_INVALID_ARGUMENT for one that does not exist. */
  rxQueueInfo(queue: number): RxQueueInfo | undefined {
    this.#checkOpen('rxQueueInfo');
    checkQueue(this.label, 'rx', queue, this.#rxInfo.length);
    return this.#rxInfo[queue];
  }

  /** rte_eth_tx_queue_info_get, as rxQueueInfo. */
  txQueueInfo(queue: number): TxQueueInfo | undefined {
    this.#checkOpen('txQueueInfo');
    checkQueue(this.label, 'tx', queue, this.#txInfo.length);
    return this.#txInfo[queue];
  }

  /** What configure() has enabled on all rx queues: rte_eth_dev_conf_get's rxmode.offloads. */
  get rxOffloads(): readonly RxOffload[] {
    return this.#rxOffloads;
  }

  /** What configure() has enabled on all tx queues. */
  get txOffloads(): readonly TxOffload[] {
    return this.#txOffloads;
  }

  /** The key of RSS_HASH: rte_eth_dev_rss_hash_conf_get. */
  get rssKey(): Uint8Array {
    return this.#queueConf.rssKey;
  }

  /**
   * rte_eth_dev_rss_reta_query: 128 tx queues. Where flows are steered over the port's queues, one with hash h goes on queue
   * reta[h & 127], which for a vhost port is its guest's receive queue.
   */
  get reta(): readonly number[] {
    this.#checkOpen('reta');
    return this.#reta.table(this.#txInfo.length);
  }

  /** Whether setReta() was called since configure(). */
  get isRetaSet(): boolean {
    return this.#reta.isSet;
  }

  /**
   * rte_eth_dev_rss_reta_update: changes some entries, at any time once the port is configured; forwarding takes it up within a tenth
   * of a second. configure() forgets it. ERR_INVALID_ARGUMENT for an entry or a queue that there isn't.
   */
  setReta(entries: Iterable<readonly [index: number, queue: number]>): void {
    checkState(this.label, this.#state, 'setReta');
    this.#reta.set(this.label, entries, this.#txInfo.length);
  }

  /**
   * rte_eth_dev_set_ptypes: whether received packets of net_vhost and net_virtio_user get their packetType, l2Len, l3Len and
   * l4Len. Off at first: it costs some nanoseconds a packet. With any receive offload but TCP_LRO and SCATTER it is done anyway.
   */
  setPtypes(on: boolean): void {
    this.#checkOpen('setPtypes');
    this.#queueConf.setPtypes(this.#slot.rxQueues, on);
  }

  /**
   * rte_eth_dev_set_vlan_offload: whether tags are taken off received packets, on all queues and at any time once the port is
   * configured. What is left out stays as it is. ERR_OFFLOAD for a port that cannot take tags off.
   */
  setVlanOffload({ strip, qinqStrip }: VlanOffload): void {
    checkState(this.label, this.#state, 'setVlanOffload');
    const wanted = [
      ['VLAN_STRIP', strip],
      ['QINQ_STRIP', qinqStrip],
    ] as const;
    const on = wanted.filter(([, value]) => value === true).map(([offload]) => offload);
    checkOffloads(this.label, 'rx', on, this.#device.info().rxOffloadCapabilities);
    for (const [offload, value] of wanted) {
      if (value === undefined) continue;
      const set = (list: readonly RxOffload[]): RxOffload[] => [
        ...list.filter((other) => other !== offload),
        ...(value ? [offload] : []),
      ];
      this.#queueConf.setRxOffload(this.#slot.rxQueues.slice(0, this.#rxInfo.length), offload, value);
      this.#rxOffloads = set(this.#rxOffloads);
      this.#rxInfo = this.#rxInfo.map((info) =>
        info === undefined ? info : { ...info, offloads: set(info.offloads) },
      );
    }
  }

  // ---- life ------------------------------------------------------------------------------------------------------------

  /** rte_eth_dev_start. Every configured queue must be set up. A queue that had stopped itself gets a new chance. */
  start(): Promise<void> {
    return this.#inTurn(async () => {
      checkState(this.label, this.#state, 'start');
      checkAllSetUp(this.label, 'rx', this.#rxInfo);
      checkAllSetUp(this.label, 'tx', this.#txInfo);
      const { memory } = this.eal;
      for (const queue of this.#queues()) {
        withQueueLock(memory, queue, () => {
          memory.u32[(queue + QUEUE_STOP_CAUSE) >>> 2] = 0;
        });
      }
      await this.#device.start();
      // the device may have gone while it started
      if (this.#state !== 'configured') checkState(this.label, this.#state, 'start');
      this.#enter('started', PORT_STATE_STARTED);
      for (const queue of this.#queues()) setGates(this.eal, queue, QUEUE_GATE_STARTED);
      this.#watch.start();
    });
  }

  /** rte_eth_dev_stop. When it resolves no lcore is in a burst of this port; bursts give 0. */
  stop(): Promise<void> {
    return this.#inTurn(async () => {
      checkState(this.label, this.#state, 'stop');
      await this.#halt();
      this.#enter('configured', PORT_STATE_CONFIGURED);
    });
  }

  /** rte_eth_dev_close: stops it if need be and gives everything back. Closing again does nothing. */
  close(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#state === 'closed') return;
      try {
        if (this.#state === 'started') await this.#halt();
      } finally {
        this.#watch.stop();
        this.#state = 'closed';
        this.#pollId = MAX_PORTS;
        await this.#device.close();
        this.#queueConf.release([...this.#slot.rxQueues, ...this.#slot.txQueues]);
        portTable(this.eal).release(this.#slot);
      }
    });
  }

  async #halt(): Promise<void> {
    this.#watch.stop();
    this.#shut();
    await this.#device.stop();
  }

  #shut(): void {
    // We are not in a burst. If this lcore holds a queue, a trap threw it out of one, and it would wait for itself.
    releaseLocksOf(this.eal.memory, this.eal.mainLcoreId);
    for (const queue of this.#queues()) setGates(this.eal, queue, 0, QUEUE_GATE_STARTED);
  }

  #queues(): number[] {
    return [...this.#slot.rxQueues.slice(0, this.#rxInfo.length), ...this.#slot.txQueues.slice(0, this.#txInfo.length)];
  }

  #onRemoved(): void {
    if (this.#state === 'removed' || this.#state === 'closed') return;
    this.#watch.stop();
    this.#enter('removed', PORT_STATE_REMOVED);
    this.#shut();
    this.#slot.linkChanged(false, 'the device is gone');
    this.emit('removed');
  }

  // ---- packets ---------------------------------------------------------------------------------------------------------

  /**
   * rte_eth_rx_burst, for the main lcore: receives at most `count` packets into `burst.handles` and returns how many.
   * The caller owns them. 0 from a stopped or closed port. One call into Wasm.
   */
  rxBurst(queue: number, burst: Burst, count: number = burst.capacity): number {
    return this.#wasm.rxBurst(this.#lcoreId, this.#pollId, queue, burst.address, count);
  }

  /**
   * rte_eth_tx_burst, for the main lcore: sends the first `count` packets of the burst and returns how many were taken.
   * The caller still owns the rest: send them again, or `burst.free(sent, count)`.
   */
  txBurst(queue: number, burst: Burst, count: number): number {
    return this.#wasm.txBurst(this.#lcoreId, this.#pollId, queue, burst.address, count);
  }

  /**
   * rte_eth_tx_prepare, for the main lcore: fills what checksum and segmentation flags expect in the first `count` packets
   * (pseudo header sums) and checks that they can be sent. Returns how many are ready. If that is fewer, the packet behind them
   * cannot be sent as it is, and `txPrepareFault` says why.
   *
   * A packet that came from a guest and was not changed is ready already.
   */
  txPrepare(queue: number, burst: Burst, count: number): number {
    return this.#wasm.txPrepare(this.#lcoreId, this.#pollId, queue, burst.address, count);
  }

  /** Why the main lcore's last txPrepare, on whichever port, stopped before the end; undefined when it did not. */
  get txPrepareFault(): TxPrepareFault | undefined {
    return txPrepareFault(this.eal, this.#lcoreId);
  }

  // ---- link and addresses ------------------------------------------------------------------------------------------------

  /** rte_eth_link_get. */
  link(): LinkStatus {
    this.#checkOpen('link');
    const up = this.#slot.read(PORT_LINK_UP) === 1;
    return { up, speedMbps: up ? this.#device.info().speedMbps : 0, duplex: 'full', autoneg: false };
  }

  /** `02:00:00:00:00:01`: rte_eth_macaddr_get. */
  get macAddress(): string {
    this.#checkOpen('macAddress');
    return this.#slot.macAddress;
  }

  /** rte_eth_dev_default_mac_addr_set. ERR_INVALID_ARGUMENT for anything but a unicast address. */
  setMacAddress(address: string): void {
    this.#checkOpen('setMacAddress');
    const mac = parseMac(address);
    this.#device.setMac?.(mac);
    this.#slot.setMac(mac);
  }

  /** Largest payload of a frame in bytes, without the Ethernet header: rte_eth_dev_get_mtu. */
  get mtu(): number {
    this.#checkOpen('mtu');
    return this.#slot.read(PORT_MTU);
  }

  /** rte_eth_dev_set_mtu. ERR_INVALID_ARGUMENT names the limits. */
  setMtu(mtu: number): void {
    this.#checkOpen('setMtu');
    checkMtu(this.label, this.#device.info(), mtu);
    this.#device.setMtu?.(mtu);
    this.#slot.write(PORT_MTU, mtu);
  }

  /** rte_eth_promiscuous_get. On by default: a virtual cable delivers every frame. */
  get promiscuous(): boolean {
    this.#checkOpen('promiscuous');
    return this.#slot.read(PORT_PROMISC) === 1;
  }

  /** rte_eth_promiscuous_enable and _disable. */
  setPromiscuous(on: boolean): void {
    this.#checkOpen('setPromiscuous');
    this.#device.setPromiscuous?.(on);
    this.#slot.write(PORT_PROMISC, on ? 1 : 0);
  }

  // ---- notifications ----------------------------------------------------------------------------------------------------

  /**
   * `ethtool -C`: how long the port may put off interrupting its guest for queue pair `queue`. What the conf leaves out stays as
   * it is. May be called at any time. ERR_INVALID_ARGUMENT for a port that has no guest (only net_vhost has one).
   */
  setCoalescing(queue: number, conf: CoalescingConf): void {
    this.#checkOpen('setCoalescing');
    const { direction, ...values } = conf;
    const { memory } = this.eal;
    for (const side of direction === undefined ? (['rx', 'tx'] as const) : [direction]) {
      const address = this.#coalescingQueue(side, queue);
      const wanted = { ...readCoalescing(memory, address), ...values };
      checkCoalescing(this.label, wanted);
      writeCoalescing(memory, address, wanted);
    }
  }

  /** `ethtool -c`. `tx`: the guest's receive interrupts. */
  coalescing(queue: number, direction: 'rx' | 'tx' = 'tx'): Coalescing {
    this.#checkOpen('coalescing');
    return readCoalescing(this.eal.memory, this.#coalescingQueue(direction, queue));
  }

  #coalescingQueue(side: 'rx' | 'tx', queue: number): number {
    const queues = side === 'rx' ? this.#slot.rxQueues : this.#slot.txQueues;
    checkQueue(this.label, side, queue, queues.length);
    const address = queues[queue]!;
    if (hasCoalescing(this.eal.memory, address)) return address;
    throw new ViaductError(
      'ERR_INVALID_ARGUMENT',
      `${this.label}: ${this.driver} interrupts no guest: coalescing is for net_vhost ports`,
    );
  }

  // ---- statistics ------------------------------------------------------------------------------------------------------

  /** rte_eth_stats_get: counters since the last statsReset(). */
  stats(): PortStats {
    this.#checkOpen('stats');
    return this.#stats.stats(this.#rxInfo.length, this.#txInfo.length);
  }

  /** rte_eth_xstats_get with the names: DPDK's names, then drops by cause, notifications, bursts. */
  xstats(): Xstat[] {
    this.#checkOpen('xstats');
    return this.#stats.xstats(this.#rxInfo.length, this.#txInfo.length);
  }

  /** rte_eth_stats_reset and rte_eth_xstats_reset. */
  statsReset(): void {
    this.#checkOpen('statsReset');
    this.#stats.reset();
  }

  // ---- helpers ---------------------------------------------------------------------------------------------------------

  #enter(state: PortState, record: number): void {
    this.#state = state;
    this.#slot.write(PORT_STATE, record);
  }

  #check(action: 'configure' | 'rxQueueSetup' | 'txQueueSetup'): void {
    if (this.#pending > 0 && this.#state !== 'closed') {
      throw new ViaductError(
        'ERR_INVALID_STATE',
        `${this.label}: cannot ${action}: start(), stop() or close() is under way: await it first`,
      );
    }
    checkState(this.label, this.#state, action);
  }

  #checkOpen(what: string): void {
    if (this.#state === 'closed') {
      throw new ViaductError('ERR_INVALID_STATE', `${this.label}: cannot ${what}: it is closed: probe a new one`);
    }
  }

  #inTurn(operation: () => Promise<void>): Promise<void> {
    this.#pending++;
    const result = this.#tail.then(operation).finally(() => {
      this.#pending--;
    });
    this.#tail = result.catch(() => {});
    return result;
  }
}
