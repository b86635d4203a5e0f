/**
 * net_vhost: a vhost-user back end. One port is one guest's network card: its rx queue i is the guest's transmit queue (vring
 * 2i + 1), its tx queue i the guest's receive queue (vring 2i), as in DPDK.
 *
 *   net_vhost0,iface=/run/vm0.sock             listens; a VMM or a virtio-user client connects
 *   net_vhost0,iface=/run/vm0.sock,client=1    connects to a VMM that listens, and goes on trying
 *   net_vhost0,iface=inproc:vm0                meets net_virtio_user of the same process, without socket or FFI
 *
 * The socket opens with the probe, so a path that is in use is refused there. A guest may come and go at any time, also while
 * the port is stopped; packets move while both the port is started and the guest's rings are enabled.
 */
import { DEVICE_SIZE, MAX_QUEUE_PAIRS, MAX_VRING_SIZE, PMD_VHOST, PORT_DEVICE } from '../../assembly/layout.js';
import type { Eal } from '../eal/eal.js';
import { ViaductError } from '../errors.js';
import type { ByteChannel, Notified } from '../vhost/channel.js';
import { BackendConnection } from '../vhost/connection.js';
import {
  featureNames,
  NET_BACKEND_FEATURES,
  NET_BACKEND_PROTOCOL_FEATURES,
  NET_SEGMENTATION_FEATURES,
  VIRTIO_NET_F_MTU,
} from '../vhost/features.js';
import type { Devarg, Devargs } from './devargs.js';
import { VIRTQUEUE_OFFLOADS } from './eth-offloads.js';
import { type InprocLink, inprocName, joinInproc } from './inproc.js';
import {
  type Coalescing,
  type Driver,
  type DriverInfo,
  type DriverPort,
  MAX_COALESCE_US,
  type PortSlot,
  type VirtqueueInfo,
} from './types.js';
import { ControlPlane, type ControlPort, type ControlPortHandlers } from './vhost/control.js';
import { IdentityMemory } from './vhost/memory.js';
import { ofPort } from './vhost/socket.js';
import { VhostDevice } from './vhost/vhost-device.js';
import { virtqueueInfo } from './virtqueue-info.js';

/** rte_eth_dev_info of DPDK's net_vhost says 10 Gbit/s; there is no wire. */
const SPEED_MBPS = 10_000;
const MIN_MTU = 68;
const MAX_MTU = 65_535;

/** A lone packet is told of at once; under load 16 packets and more share a notification: docs/performance.md. */
const COALESCING = { usecs: 50, frames: 64, adaptive: true } as const;

const DEVARGS: readonly Devarg[] = [
  { key: 'iface', help: 'path of the UNIX socket, or inproc:NAME' },
  { key: 'queues', help: 'queue pairs (default 1)' },
  { key: 'client', help: '1: connect to the socket instead of listening (default 0)' },
  { key: 'mtu', help: 'largest MTU that the guest may be told (VIRTIO_NET_F_MTU); not offered by default' },
  { key: 'tso', help: '1: the guest may send and receive packets larger than its MTU (default 0, as in DPDK)' },
  { key: 'coalesce-usecs', help: 'microseconds that an interrupt may be put off (default 50; 0: never)' },
  { key: 'coalesce-frames', help: 'packets that end the wait (default 64)' },
  { key: 'coalesce-adaptive', help: '0: put off without load too (default 1)' },
  { key: 'legacy-ol-flags', help: '0 or 1, no difference: mbuf flags are always the ones that txBurst takes' },
  { key: 'ext-buffer', help: '0 or 1, no difference: long frames come as chained mbufs' },
  { key: 'linear-buffer', help: '0 only: long frames come as chained mbufs' },
  { key: 'postcopy-support', help: '0 only' },
  { key: 'iommu-support', help: '0 only' },
  { key: 'dequeue-zero-copy', help: '0 only' },
];

/** DPDK's switches whose 1 asks for what this driver does not do, and what to say then. */
const UNSUPPORTED: readonly (readonly [key: string, why: string])[] = [
  ['linear-buffer', 'frames longer than an mbuf come as chained mbufs: give the mempool larger buffers instead'],
  ['postcopy-support', 'postcopy migration is not supported'],
  ['iommu-support', 'a guest with a virtual IOMMU is not supported: start it without iommu_platform=on'],
  ['dequeue-zero-copy', 'it does not exist any more (DPDK removed it in 20.11)'],
];

interface Settings {
  readonly path: string;
  readonly queuePairs: number;
  readonly client: boolean;
  readonly features: bigint;
  readonly coalescing: Coalescing;
}

function settingsOf(args: Devargs): Settings {
  for (const [key, why] of UNSUPPORTED) {
    if (args.flag(key)) throw new ViaductError('ERR_DEVARGS', `${args.name}: ${key}=1: ${why}; leave it out`);
  }
  args.flag('legacy-ol-flags');
  args.flag('ext-buffer');
  const offers = args.flag('tso') ? NET_BACKEND_FEATURES : NET_BACKEND_FEATURES & ~NET_SEGMENTATION_FEATURES;
  const mtu = args.integer('mtu', 0, MIN_MTU, MAX_MTU);
  return {
    path: args.requiredString('iface', '/run/vm0.sock'),
    queuePairs: args.integer('queues', 1, 1, MAX_QUEUE_PAIRS),
    client: args.flag('client'),
    features: offers | (mtu > 0 ? VIRTIO_NET_F_MTU : 0n),
    coalescing: {
      usecs: args.integer('coalesce-usecs', COALESCING.usecs, 0, MAX_COALESCE_US),
      frames: args.integer('coalesce-frames', COALESCING.frames, 1, MAX_VRING_SIZE),
      adaptive: args.flag('coalesce-adaptive', COALESCING.adaptive),
    },
  };
}

/** What people want to know of a port's guest. */
interface GuestFacts {
  connected: boolean;
  features: bigint;
  regionCount: number;
  bytes: number;
  /** Why the last connection ended. */
  lastDisconnect: string;
}

class VhostPort implements DriverPort {
  readonly #eal: Eal;
  readonly #slot: PortSlot;
  readonly #settings: Settings;
  readonly #guest: GuestFacts = { connected: false, features: 0n, regionCount: 0, bytes: 0, lastDisconnect: '' };
  readonly #device: { readonly address: number };
  readonly #release: () => void;
  /** Ends the socket or leaves the meeting point. */
  #shut: (() => Promise<void>) | undefined;

  constructor(eal: Eal, slot: PortSlot, settings: Settings) {
    this.#eal = eal;
    this.#slot = slot;
    this.#settings = settings;
    const zone = eal.memzones.reserve(`${slot.name}-device`, DEVICE_SIZE);
    this.#device = zone;
    this.#release = () => eal.memzones.free(zone);
    eal.memory.u32[(slot.address + PORT_DEVICE) >>> 2] = zone.address;
  }

  /** Opens the socket, or comes to the in-process meeting point. On rejection nothing is left open. */
  async open(): Promise<void> {
    const inproc = inprocName(this.#settings.path);
    try {
      this.#shut = inproc === undefined ? await this.#openSocket() : this.#openInproc(inproc);
    } catch (error) {
      this.#release();
      throw ofPort(this.#slot, error);
    }
  }

  info(): DriverInfo {
    const { path, client, queuePairs } = this.#settings;
    const limits = { min: 1, max: MAX_VRING_SIZE, align: 1, powerOfTwo: false, default: 256 };
    const guest = this.#guest;
    return {
      maxRxQueues: queuePairs,
      maxTxQueues: queuePairs,
      minMtu: MIN_MTU,
      maxMtu: MAX_MTU,
      // The guest decides the rings' sizes: the counts of queue setup are taken and mean nothing, as in DPDK.
      rxDescriptors: limits,
      txDescriptors: limits,
      ...VIRTQUEUE_OFFLOADS,
      speedMbps: SPEED_MBPS,
      coalescing: this.#settings.coalescing,
      driverInfo: {
        iface: path,
        mode: inprocName(path) !== undefined ? 'in-process' : client ? 'client' : 'server',
        connected: guest.connected,
        ring: this.virtqueue('rx', 0)?.path ?? 'none yet',
        queuePairs: this.#enabledPairs(),
        features: guest.connected ? featureNames(guest.features).join(' ') || 'none yet' : 'not connected',
        memoryRegions: guest.regionCount,
        memoryMiB: Math.round(guest.bytes / 2 ** 20),
        lastDisconnect: guest.lastDisconnect,
      },
    };
  }

  virtqueue(direction: 'rx' | 'tx', queue: number): VirtqueueInfo | undefined {
    const { rxQueues, txQueues } = this.#slot;
    return virtqueueInfo(this.#eal.memory, (direction === 'rx' ? rxQueues : txQueues)[queue]!);
  }

  /** Queue pairs that the guest uses now. */
  #enabledPairs(): number {
    const enabled = (direction: 'rx' | 'tx', queue: number) => this.virtqueue(direction, queue)?.enabled === true;
    return this.#slot.rxQueues.filter((_, queue) => enabled('rx', queue) && enabled('tx', queue)).length;
  }

  async start(): Promise<void> {}

  async stop(): Promise<void> {}

  async close(): Promise<void> {
    await this.#shut?.();
    this.#shut = undefined;
    this.#slot.linkChanged(false, 'the port was closed');
    this.#eal.memory.u32[(this.#slot.address + PORT_DEVICE) >>> 2] = 0;
    this.#release();
  }

  /** QUEUE_ records by vring number. */
  #vrings(): number[] {
    const { rxQueues, txQueues } = this.#slot;
    return Array.from({ length: 2 * this.#settings.queuePairs }, (_, n) => (n & 1 ? rxQueues : txQueues)[n >>> 1]!);
  }

  #handlers(): Required<ControlPortHandlers> {
    const guest = this.#guest;
    const slot = this.#slot;
    const log = (message: string): void => this.#eal.logger.log('warning', slot.name, message);
    return {
      connected() {
        guest.connected = true;
        guest.features = 0n; // the last guest's
      },
      disconnected(reason) {
        guest.connected = false;
        guest.lastDisconnect = reason;
      },
      linkUp(features) {
        guest.features = features;
        slot.linkChanged(true);
      },
      linkDown(reason) {
        slot.linkChanged(false, reason);
      },
      vringState(vring, enabled) {
        slot.queueChanged({ direction: vring & 1 ? 'rx' : 'tx', queue: vring >>> 1, enabled });
      },
      memory(regionCount, bytes) {
        guest.regionCount = regionCount;
        guest.bytes = bytes;
      },
      // A switch learns the guest's new place from the guest's next frame; nobody makes up the RARP yet.
      rarp() {},
      warning: log,
    };
  }

  async #openSocket(): Promise<() => Promise<void>> {
    const { path, client, features } = this.#settings;
    const control = ControlPlane.of(this.#eal);
    const port: ControlPort = await control.open(
      {
        path,
        client,
        device: this.#device.address,
        vrings: this.#vrings(),
        features,
        protocolFeatures: NET_BACKEND_PROTOCOL_FEATURES,
      },
      this.#handlers(),
    );
    return () => port.close();
  }

  #openInproc(name: string): () => Promise<void> {
    const { memory, wasm } = this.#eal;
    const handlers = this.#handlers();
    const device: VhostDevice = new VhostDevice({
      memory,
      device: this.#device.address,
      vrings: this.#vrings(),
      guestMemory: new IdentityMemory(memory.endAddress),
      wakeLcore: (lcoreId) => wasm.lcoreWake(lcoreId),
      features: this.#settings.features,
      events: {
        linkUp: () => handlers.linkUp(device.negotiatedFeatures),
        linkDown: handlers.linkDown,
        vringState: handlers.vringState,
        memory: handlers.memory,
        warning: handlers.warning,
      },
    });
    let connection: BackendConnection | undefined;
    const disconnect = (reason: string): void => {
      if (connection === undefined) return;
      connection.close(reason);
      connection = undefined;
      handlers.disconnected(reason);
    };
    const leave = joinInproc(this.#eal, name, 'backend', {
      slot: this.#slot,
      connected: (link) => {
        disconnect('the front end came anew');
        joinQueues(device, link, this.#settings.queuePairs);
        const mine = new BackendConnection(link.channel, device);
        connection = mine;
        handlers.connected();
        pumpWhenNotified(link.channel, () => {
          if (connection !== mine) return;
          try {
            if (mine.pump(Number.POSITIVE_INFINITY) === 'closed') disconnect('the front end disconnected');
          } catch (error) {
            handlers.warning(`connection closed: ${(error as Error).message}`);
            disconnect((error as Error).message);
          }
        });
      },
    });
    return async () => {
      leave();
      disconnect('the port was closed');
    };
  }
}

/** A lcore that sleeps on the front end's queues is woken through the queue, where there is no descriptor. */
function joinQueues(device: VhostDevice, { peer }: InprocLink, queuePairs: number): void {
  for (let i = 0; i < queuePairs; i++) {
    device.setPeer(2 * i, peer.rxQueues[i] ?? 0);
    device.setPeer(2 * i + 1, peer.txQueues[i] ?? 0);
  }
}

/** `notify` runs inside the sender's send(): the answer comes in a turn of its own, as it would over a socket. */
function pumpWhenNotified(channel: ByteChannel & Notified, pump: () => void): void {
  let planned = false;
  channel.notify = () => {
    if (planned) return;
    planned = true;
    queueMicrotask(() => {
      planned = false;
      pump();
    });
  };
}

/** vdev `net_vhost`: rte_eth_from_vhost. */
export const netVhost: Driver = {
  name: 'net_vhost',
  devargs: DEVARGS,
  async probe(eal, slot, args) {
    const settings = settingsOf(args);
    slot.createQueues({ pmd: PMD_VHOST, rxQueues: settings.queuePairs, txQueues: settings.queuePairs });
    const port = new VhostPort(eal, slot, settings);
    await port.open();
    return port;
  },
};
