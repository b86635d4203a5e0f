import type { Mempool, Port, RxOffload, TxOffload, TxVlan } from '../index.js';
import type { AppOptions } from './app-options.js';

/**
 * A port with what testpmd remembers of it: the configuration that commands change while the port is stopped, and that the
 * next `port start` brings into force.
 */
export class PortSetup {
  readonly port: Port;
  /** Devargs as they were given, without the device's name. */
  readonly devargs: string;
  /** Offloads of all queues. */
  readonly rxOffloads: Set<RxOffload>;
  readonly txOffloads: Set<TxOffload>;
  /** csum: payload bytes of the segments that TCP packets are cut into, 0 for none. */
  tsoSegmentBytes = 0;
  /** Tags that engines have the port insert while VLAN_INSERT or QINQ_INSERT is on (`tx_vlan set`). */
  #txVlanId = 0;
  #txOuterVlanId = 0;
  /** csum: writes MAC addresses (`csum mac-swap on`). */
  writeMacs = true;
  /** True: `port start` configures the port anew. */
  changed = true;
  /** Offloads of single queues, besides those of all. */
  readonly #rxQueue = new Map<number, Set<RxOffload>>();
  readonly #txQueue = new Map<number, Set<TxOffload>>();
  /** MTU of `--max-pkt-len`, for the first configuration. */
  #mtu: number | undefined;

  constructor(port: Port, devargs: string, options: AppOptions) {
    this.port = port;
    this.devargs = devargs;
    this.rxOffloads = new Set(options.rxOffloads);
    this.txOffloads = new Set(options.txOffloads);
    this.#mtu = options.mtu;
  }

  /** Turns an offload of all queues on or off. */
  setRx(offload: RxOffload, on: boolean): void {
    change(this.rxOffloads, offload, on);
    if (!on) for (const own of this.#rxQueue.values()) own.delete(offload);
    this.changed = true;
  }

  setTx(offload: TxOffload, on: boolean): void {
    change(this.txOffloads, offload, on);
    if (!on) for (const own of this.#txQueue.values()) own.delete(offload);
    this.changed = true;
  }

  /** `vlan set`: on all queues, at once where the port is configured. Throws what Port.setVlanOffload throws. */
  setVlanStrip(what: 'strip' | 'qinqStrip', on: boolean): void {
    const { port, changed } = this;
    const configured = port.state === 'configured' || port.state === 'started';
    if (configured) port.setVlanOffload({ [what]: on });
    this.setRx(what === 'strip' ? 'VLAN_STRIP' : 'QINQ_STRIP', on);
    if (configured) this.changed = changed;
  }

  /** `tx_vlan set`, `tx_vlan reset` without a tag. */
  setTxVlan(tag: TxVlan | undefined): void {
    this.setTx('VLAN_INSERT', tag !== undefined);
    this.setTx('QINQ_INSERT', tag?.outerVlanId !== undefined);
    this.#txVlanId = tag?.vlanId ?? 0;
    this.#txOuterVlanId = tag?.outerVlanId ?? 0;
  }

  /** What engines have the port insert: as in testpmd, the offload says whether, and VLAN 0 stands until another is set. */
  get txVlan(): TxVlan | undefined {
    if (this.txOffloads.has('QINQ_INSERT')) return { vlanId: this.#txVlanId, outerVlanId: this.#txOuterVlanId };
    return this.txOffloads.has('VLAN_INSERT') ? { vlanId: this.#txVlanId } : undefined;
  }

  /** Turns an offload of one queue on or off. What is on for all queues stays on. */
  setRxQueue(queue: number, offload: RxOffload, on: boolean): void {
    change(ownSet(this.#rxQueue, queue), offload, on);
    this.changed = true;
  }

  setTxQueue(queue: number, offload: TxOffload, on: boolean): void {
    change(ownSet(this.#txQueue, queue), offload, on);
    this.changed = true;
  }

  /** What a queue will have, its own and everybody's. */
  rxQueueOffloads(queue: number): Set<RxOffload> {
    return new Set([...this.rxOffloads, ...(this.#rxQueue.get(queue) ?? [])]);
  }

  txQueueOffloads(queue: number): Set<TxOffload> {
    return new Set([...this.txOffloads, ...(this.#txQueue.get(queue) ?? [])]);
  }

  /** rte_eth_dev_configure and all queue setups. Throws what the port throws; it is then to be configured once more. */
  configure(config: AppOptions, mempool: Mempool): void {
    const { port } = this;
    const { rxQueueCount, txQueueCount } = config;
    port.configure({
      rxQueueCount,
      txQueueCount,
      rxOffloads: [...this.rxOffloads],
      txOffloads: [...this.txOffloads],
      ...(this.#mtu === undefined ? {} : { mtu: this.#mtu }),
    });
    this.#mtu = undefined;
    const rx = config.rxDescriptorCount === undefined ? {} : { descriptorCount: config.rxDescriptorCount };
    const tx = config.txDescriptorCount === undefined ? {} : { descriptorCount: config.txDescriptorCount };
    for (let queue = 0; queue < rxQueueCount; queue++) {
      port.rxQueueSetup(queue, { mempool, ...rx, offloads: [...(this.#rxQueue.get(queue) ?? [])] });
    }
    for (let queue = 0; queue < txQueueCount; queue++) {
      port.txQueueSetup(queue, { ...tx, offloads: [...(this.#txQueue.get(queue) ?? [])] });
    }
    this.changed = false;
  }
}

function change<T>(set: Set<T>, value: T, on: boolean): void {
  if (on) set.add(value);
  else set.delete(value);
}

function ownSet<T>(map: Map<number, Set<T>>, queue: number): Set<T> {
  const known = map.get(queue);
  if (known !== undefined) return known;
  const made = new Set<T>();
  map.set(queue, made);
  return made;
}
