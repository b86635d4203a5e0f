/**
 * net_virtio_user: plays the guest. The driver side of virtqueues, over vhost-user to a back end: Viaduct's own net_vhost,
 * DPDK's, Open vSwitch's. DPDK's devargs: `net_virtio_user0,path=/run/vm0.sock,queues=1,queue_size=256,server=0`.
 *
 * The back end maps this process's whole host memory (hostMemoryFd): it is trusted with it, as DPDK's is. The link is up
 * while a back end is there; a port without one is started, and looks for it.
 */
import {
  MAX_QUEUE_PAIRS,
  MAX_VRING_SIZE,
  MBUF_HEADROOM,
  PMD_VIRTIO,
  QUEUE_CALL_FD,
  QUEUE_KICK_FD,
} from '../../assembly/layout.js';
import type { Eal } from '../eal/eal.js';
import { replaceKickFd, withQueueLock } from '../eal/queue-lock.js';
import { ViaductError } from '../errors.js';
import { featureNames } from '../vhost/features.js';
import type { Devargs } from './devargs.js';
import { VIRTQUEUE_OFFLOADS } from './eth-offloads.js';
import { inprocName } from './inproc.js';
import {
  type Driver,
  type DriverInfo,
  type DriverPort,
  type PortConf,
  type PortSlot,
  powerOfTwoLimits,
  type RxQueueSetup,
  type VirtqueueInfo,
} from './types.js';
import { ofPort } from './vhost/socket.js';
import type { DriverWishes } from './virtio-user/driver-features.js';
import { FrontEnd, type FrontEndQueue } from './virtio-user/front-end.js';
import { SocketTransport } from './virtio-user/socket-transport.js';
import { InprocTransport, type Transport } from './virtio-user/transport.js';
import { Vring } from './virtio-user/vring.js';
import { virtqueueInfo } from './virtqueue-info.js';

const DEFAULT_QUEUE_SIZE = 256;
const DEFAULT_SPEED_MBPS = 10_000;
/** The fastest that DPDK takes: it knows a list of speeds, and any other is refused there. */
const MAX_SPEED_MBPS = 400_000;
/** Receive buffers are posted 16 at a time (assembly/virtio/split-driver-receive.ts): less would leave a ring dry. */
const MIN_QUEUE_SIZE = 32;

export const netVirtioUser: Driver = {
  name: 'net_virtio_user',
  devargs: [
    { key: 'path', help: "the back end's UNIX socket, or inproc:NAME for a net_vhost of this process" },
    { key: 'server', help: '1 = listens at path and waits for the back end (default 0: connects)' },
    { key: 'queues', help: 'largest number of queue pairs (default 1)' },
    { key: 'queue_size', help: `descriptors of a ring, a power of two (default ${DEFAULT_QUEUE_SIZE})` },
    { key: 'mac', help: 'MAC address (default: a random local one)' },
    { key: 'mrg_rxbuf', help: '0 = does not ask for mergeable receive buffers (default 1)' },
    { key: 'in_order', help: '0 = does not ask that buffers come back in order (default 1)' },
    { key: 'packed_vq', help: '1 = asks for packed virtqueues (default 0)' },
    { key: 'event_idx', help: '0 = does not ask for event indexes (default 1)' },
    { key: 'indirect_desc', help: '0 = does not ask for indirect descriptors (default 1)' },
    { key: 'csum', help: '0 = sends and takes no packet whose checksum is still to be made (default 1)' },
    { key: 'tso', help: '1 = sends and takes packets larger than the MTU (default 0, or as the port is configured)' },
    { key: 'speed', help: `link speed that is shown, in Mbit/s (default ${DEFAULT_SPEED_MBPS})` },
    { key: 'cq', help: '0 or 1, no difference: queue pairs are switched on without a control queue' },
    { key: 'vectorized', help: '0 or 1, no difference: there is one data path' },
    { key: 'iface', help: "refused, as by DPDK where the back end is not the kernel's vhost: it would name a TAP" },
  ],

  async probe(eal, slot, args) {
    refuseKernelVhost(args);
    return new VirtioUserPort(eal, slot, args);
  },
};

/** DPDK's driver also speaks to the kernel's vhost, by ioctl and not over a socket. */
function refuseKernelVhost(args: Devargs): void {
  const path = args.string('path') ?? '';
  const asks = args.has('iface') ? 'iface' : /^\/dev\/vhost-(net|vdpa)/.test(path) ? `path=${path}` : undefined;
  if (asks === undefined) return;
  throw new ViaductError(
    'ERR_DEVARGS',
    `${args.name}: ${asks}: the kernel's vhost (and a TAP behind it) is not supported: leave iface out, and give path the ` +
      'socket of a vhost-user back end',
  );
}

class VirtioUserPort implements DriverPort {
  readonly #eal: Eal;
  readonly #slot: PortSlot;
  readonly #path: string;
  readonly #server: boolean;
  readonly #wishes: Omit<DriverWishes, 'queuePairs' | 'bufferBytes'>;
  readonly #maxPairs: number;
  readonly #queueSize: number;
  readonly #speedMbps: number;
  readonly #transport: Transport;
  /** Ring sizes by vring index, as the queue setups said. */
  readonly #sizes: number[] = [];
  #pairs = 0;
  /** Smallest mbuf buffer of the receive queues, headroom included. */
  #bufLen = Number.POSITIVE_INFINITY;
  #configured: PortConf | undefined;
  #queues: FrontEndQueue[] = [];
  #frontEnd: FrontEnd | undefined;

  constructor(eal: Eal, slot: PortSlot, args: Devargs) {
    this.#eal = eal;
    this.#slot = slot;
    this.#path = args.requiredString('path', '/run/vm0.sock');
    this.#server = args.flag('server');
    const tso = args.flag('tso');
    this.#wishes = {
      packed: args.flag('packed_vq'),
      inOrder: args.flag('in_order', true),
      mrgRxbuf: args.flag('mrg_rxbuf', true),
      eventIdx: args.flag('event_idx', true),
      indirectDesc: args.flag('indirect_desc', true),
      csum: args.flag('csum', true),
      sendSegments: tso,
      receiveSegments: tso,
    };
    this.#maxPairs = args.integer('queues', 1, 1, MAX_QUEUE_PAIRS);
    this.#queueSize = args.integer('queue_size', DEFAULT_QUEUE_SIZE, MIN_QUEUE_SIZE, MAX_VRING_SIZE);
    if ((this.#queueSize & (this.#queueSize - 1)) !== 0) {
      throw new ViaductError(
        'ERR_DEVARGS',
        `${slot.name}: argument 'queue_size=${this.#queueSize}' must be a power of two`,
      );
    }
    this.#speedMbps = args.integer('speed', DEFAULT_SPEED_MBPS, 1, MAX_SPEED_MBPS);
    // No wish: DPDK's control queue ends in its own driver, and says there how many queue pairs are on.
    args.flag('cq');
    args.flag('vectorized');
    const name = inprocName(this.#path);
    this.#transport =
      name === undefined
        ? new SocketTransport(eal, slot, this.#path, this.#server)
        : new InprocTransport(eal, slot, name);
    slot.createQueues({ pmd: PMD_VIRTIO, rxQueues: this.#maxPairs, txQueues: this.#maxPairs });
    slot.setMac(args.mac('mac') ?? randomMac());
  }

  info(): DriverInfo {
    const descriptors = powerOfTwoLimits(MIN_QUEUE_SIZE, MAX_VRING_SIZE, this.#queueSize);
    return {
      maxRxQueues: this.#maxPairs,
      maxTxQueues: this.#maxPairs,
      minMtu: 68,
      maxMtu: 65535,
      rxDescriptors: descriptors,
      txDescriptors: descriptors,
      ...VIRTQUEUE_OFFLOADS,
      speedMbps: this.#speedMbps,
      driverInfo: {
        path: this.#path,
        server: this.#server,
        ring: this.virtqueue('rx', 0)?.path ?? 'none yet',
        features: featureNames(this.#frontEnd?.features ?? 0n).join(' ') || 'none yet',
      },
    };
  }

  configure(conf: PortConf): void {
    if (conf.rxQueueCount !== conf.txQueueCount) {
      throw new ViaductError(
        'ERR_INVALID_ARGUMENT',
        `port ${this.#slot.id} (${this.#slot.name}): ${conf.rxQueueCount} rx and ${conf.txQueueCount} tx queues: virtqueues come ` +
          'in pairs, ask for as many of the one as of the other',
      );
    }
    this.#configured = conf;
    this.#pairs = conf.rxQueueCount;
    this.#sizes.length = 0;
    this.#bufLen = Number.POSITIVE_INFINITY;
  }

  rxQueueSetup(queue: number, { descriptorCount, bufLen }: RxQueueSetup): void {
    this.#sizes[queue * 2] = descriptorCount;
    this.#bufLen = Math.min(this.#bufLen, bufLen);
  }

  txQueueSetup(queue: number, { descriptorCount }: { descriptorCount: number }): void {
    this.#sizes[queue * 2 + 1] = descriptorCount;
  }

  virtqueue(direction: 'rx' | 'tx', queue: number): VirtqueueInfo | undefined {
    const { rxQueues, txQueues } = this.#slot;
    return virtqueueInfo(this.#eal.memory, (direction === 'rx' ? rxQueues : txQueues)[queue]!);
  }

  async start(): Promise<void> {
    try {
      for (let index = 0; index < this.#pairs * 2; index++) this.#openQueue(index);
      this.#frontEnd = new FrontEnd({
        eal: this.#eal,
        slot: this.#slot,
        transport: this.#transport,
        wishes: this.#allWishes(),
        queues: this.#queues,
      });
      this.#frontEnd.start();
    } catch (error) {
      this.#closeQueues();
      throw ofPort(this.#slot, error);
    }
  }

  async stop(): Promise<void> {
    await this.#frontEnd?.stop();
    this.#frontEnd = undefined;
    this.#closeQueues();
  }

  async close(): Promise<void> {
    await this.stop();
  }

  /** Packets larger than the MTU are also wanted where the configuration asks for them by name. */
  #allWishes(): DriverWishes {
    const { rxOffloads = [], txOffloads = [] } = this.#configured ?? {};
    const wishes = this.#wishes;
    return {
      ...wishes,
      sendSegments: wishes.sendSegments || txOffloads.includes('TCP_TSO'),
      receiveSegments: wishes.receiveSegments || rxOffloads.includes('TCP_LRO'),
      queuePairs: this.#pairs,
      bufferBytes: this.#bufLen - MBUF_HEADROOM,
    };
  }

  #openQueue(index: number): void {
    const { memory } = this.#eal;
    const queue = (index % 2 === 0 ? this.#slot.rxQueues : this.#slot.txQueues)[index >>> 1]!;
    const name = `${this.#slot.name}-vring${index}`;
    const vring = new Vring(this.#eal, queue, name, this.#sizes[index] ?? this.#queueSize, index % 2 === 1);
    let [kickFd, callFd] = [-1, -1];
    if (this.#transport.needsEventfds) {
      const os = this.#eal.requireOs(this.#slot.name);
      kickFd = os.eventfd();
      callFd = os.eventfd();
    }
    this.#queues.push({ vring, kickFd, callFd });
    withQueueLock(memory, queue, () => {
      // names as the vhost side sees them: our kick wakes the back end, its call wakes us
      memory.i32[(queue + QUEUE_CALL_FD) >>> 2] = kickFd;
      memory.i32[(queue + QUEUE_KICK_FD) >>> 2] = callFd;
    });
  }

  #closeQueues(): void {
    const { memory, wasm, os } = this.#eal;
    for (const { vring, kickFd, callFd } of this.#queues.splice(0)) {
      withQueueLock(memory, vring.queue, () => {
        memory.i32[(vring.queue + QUEUE_CALL_FD) >>> 2] = -1;
      });
      replaceKickFd(memory, vring.queue, -1, (lcoreId) => wasm.lcoreWake(lcoreId));
      vring.free();
      if (kickFd >= 0) os?.close(kickFd);
      if (callFd >= 0) os?.close(callFd);
    }
  }
}

/** A locally administered unicast address. */
function randomMac(): Uint8Array {
  const mac = crypto.getRandomValues(new Uint8Array(6));
  mac[0] = (mac[0]! & 0xfc) | 0x02;
  return mac;
}
