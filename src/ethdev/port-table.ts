/**
 * The ports of an Eal: hands out PORT_ records and queue records and takes them back. Each Eal has one table, kept beside it
 * in a WeakMap, so that the EAL need not know ports.
 *
 * Queue records are carved from slabs that are never given back: a lcore may read a queue's address, lose its CPU, and try
 * the lock after the port was closed. It must then find a queue record, of whichever port, and not somebody's packet.
 */
import {
  MAX_PORTS,
  MAX_QUEUE_PAIRS,
  PMD_NONE,
  PORT_BASE,
  PORT_DEVICE,
  PORT_GENERATION,
  PORT_LINK_UP,
  PORT_MAC,
  PORT_MTU,
  PORT_PMD,
  PORT_PROMISC,
  PORT_RXQ_COUNT,
  PORT_RXQS,
  PORT_SIZE,
  PORT_STATE,
  PORT_STATE_PROBED,
  PORT_STATE_UNUSED,
  PORT_TXQ_COUNT,
  PORT_TXQS,
  QUEUE_SIZE,
} from '../../assembly/layout.js';
import { formatMac } from '../drivers/devargs.js';
import { resetQueue } from '../drivers/queue.js';
import type { PortSlot, QueueRequest } from '../drivers/types.js';
import { Eal } from '../eal/eal.js';
import { ViaductError } from '../errors.js';
import type { Port } from './port.js';
import type { QueueState } from './types.js';

// Packet functions on lcores see ports, bursts and mbufs, whether a port was probed yet or not.
Eal.defaultContextModule = new URL('./lcore-port.js', import.meta.url).href;

/** Records a slab. One zone per slab, so that a program with few ports wastes little. */
const SLAB_RECORDS = 16;
/** An rx and a tx array of MAX_QUEUE_PAIRS addresses. */
const ARRAYS_BYTES = MAX_QUEUE_PAIRS * 4 * 2;
/** RTE_ETHER_MTU. */
const DEFAULT_MTU = 1500;

/** What a slot reports to the Port object that owns it. */
export interface SlotOwner {
  linkUp(): void;
  linkDown(reason: string): void;
  queueState(state: QueueState): void;
  removed(): void;
}

/** A PORT_ record that is in use. */
export class Slot implements PortSlot {
  readonly id: number;
  readonly name: string;
  readonly address: number;
  rxQueues: readonly number[] = [];
  txQueues: readonly number[] = [];
  /** Set once the Port object exists; reports before that are only written down in the record. */
  owner: SlotOwner | undefined;
  readonly #eal: Eal;
  readonly #table: PortTable;
  #announcedUp = false;

  constructor(eal: Eal, table: PortTable, id: number, name: string) {
    this.#eal = eal;
    this.#table = table;
    this.id = id;
    this.name = name;
    this.address = PORT_BASE + id * PORT_SIZE;
  }

  createQueues(request: QueueRequest): void {
    const { u32 } = this.#eal.memory;
    const take = (count: number) => this.#table.takeQueues(count, request.pmd, this.id);
    if (this.rxQueues.length + this.txQueues.length > 0) throw new Error(`${this.name}: createQueues() comes twice`);
    this.rxQueues = take(request.rxQueues);
    this.txQueues = take(request.txQueues);
    u32.set(this.rxQueues, u32[(this.address + PORT_RXQS) >>> 2]! >>> 2);
    u32.set(this.txQueues, u32[(this.address + PORT_TXQS) >>> 2]! >>> 2);
    u32[(this.address + PORT_PMD) >>> 2] = request.pmd;
  }

  setMac(mac: Uint8Array): void {
    this.#eal.memory.u8.set(mac.subarray(0, 6), this.address + PORT_MAC);
  }

  get macAddress(): string {
    return formatMac(this.#eal.memory.u8.subarray(this.address + PORT_MAC, this.address + PORT_MAC + 6));
  }

  read(field: number): number {
    return this.#eal.memory.u32[(this.address + field) >>> 2]!;
  }

  write(field: number, value: number): void {
    Atomics.store(this.#eal.memory.u32, (this.address + field) >>> 2, value);
  }

  linkChanged(up: boolean, reason = 'the peer went away'): void {
    this.write(PORT_LINK_UP, up ? 1 : 0);
    if (this.#announcedUp === up) return;
    this.#announcedUp = up;
    if (up) {
      this.write(PORT_GENERATION, (this.read(PORT_GENERATION) + 1) >>> 0);
      this.owner?.linkUp();
    } else {
      this.owner?.linkDown(reason);
    }
  }

  queueChanged(state: QueueState): void {
    this.owner?.queueState(state);
  }

  removed(): void {
    this.owner?.removed();
  }
}

/** The ports of one Eal. */
export class PortTable {
  readonly #eal: Eal;
  readonly #ports = new Map<number, Port>();
  readonly #slots = new Map<number, Slot>();
  readonly #freeQueues: number[] = [];
  readonly #drivers = new Set<string>();
  #slabs = 0;

  constructor(eal: Eal) {
    this.#eal = eal;
  }

  /** Takes the lowest free record. ERR_PORT_LIMIT when all are in use, ERR_INVALID_ARGUMENT when the name is. */
  claim(name: string): Slot {
    for (const slot of this.#slots.values()) {
      if (slot.name === name) {
        throw new ViaductError(
          'ERR_INVALID_ARGUMENT',
          `${name} exists already, as port ${slot.id}: choose another number`,
        );
      }
    }
    let id = 0;
    while (this.#slots.has(id)) id++;
    if (id >= MAX_PORTS) {
      throw new ViaductError('ERR_PORT_LIMIT', `${name}: all ${MAX_PORTS} ports are in use: close one first`);
    }
    const { memory } = this.#eal;
    const slot = new Slot(this.#eal, this, id, name);
    // The arrays belong to the port number for ever, for the reason that queue records do.
    const rxArray = slot.read(PORT_RXQS) || this.#eal.memzones.reserve(`port-${id}-queues`, ARRAYS_BYTES).address;
    memory.u32.fill(0, slot.address >>> 2, (slot.address + PORT_SIZE) >>> 2);
    // a lcore that comes late finds address 0, where there is no pmd
    memory.u32.fill(0, rxArray >>> 2, (rxArray + ARRAYS_BYTES) >>> 2);
    slot.write(PORT_RXQS, rxArray);
    slot.write(PORT_TXQS, rxArray + MAX_QUEUE_PAIRS * 4);
    slot.write(PORT_MTU, DEFAULT_MTU);
    slot.write(PORT_PROMISC, 1);
    // 'V', 'D' after a locally administered first byte; the last bytes tell the ports of one process apart
    slot.setMac(Uint8Array.of(0x02, 0x56, 0x44, 0, 0, id));
    slot.write(PORT_STATE, PORT_STATE_PROBED);
    this.#slots.set(id, slot);
    return slot;
  }

  /** Gives a record and its queues back. The queues are shut. */
  release(slot: Slot): void {
    const { memory } = this.#eal;
    for (const field of [PORT_RXQ_COUNT, PORT_TXQ_COUNT, PORT_LINK_UP, PORT_DEVICE]) slot.write(field, 0);
    slot.write(PORT_STATE, PORT_STATE_UNUSED);
    for (const queue of [...slot.rxQueues, ...slot.txQueues]) {
      resetQueue(memory, queue, PMD_NONE, 0, 0);
      this.#freeQueues.push(queue);
    }
    slot.owner = undefined;
    this.#slots.delete(slot.id);
    this.#ports.delete(slot.id);
  }

  takeQueues(count: number, pmd: number, port: number): number[] {
    const { memory, memzones } = this.#eal;
    while (this.#freeQueues.length < count) {
      const slab = memzones.reserve(`queue-slab-${this.#slabs++}`, SLAB_RECORDS * QUEUE_SIZE);
      for (let i = SLAB_RECORDS - 1; i >= 0; i--) this.#freeQueues.push(slab.address + i * QUEUE_SIZE);
    }
    const queues: number[] = [];
    for (let id = 0; id < count; id++) {
      const queue = this.#freeQueues.pop()!;
      resetQueue(memory, queue, pmd, port, id);
      queues.push(queue);
    }
    return queues;
  }

  /** The port is probed: from now on the table lists it. */
  add(port: Port): void {
    this.#ports.set(port.id, port);
    // Closers run in reverse order: ports must close before what their driver opened for all of its ports.
    if (this.#drivers.has(port.driver)) return;
    this.#drivers.add(port.driver);
    this.#eal.onCleanup(() => this.closeAll());
  }

  list(): Port[] {
    return [...this.#ports.values()].sort((a, b) => a.id - b.id);
  }

  async closeAll(): Promise<void> {
    for (const port of this.list().reverse()) await port.close();
  }
}

const tables = new WeakMap<Eal, PortTable>();

export function portTable(eal: Eal): PortTable {
  let table = tables.get(eal);
  if (table === undefined) {
    table = new PortTable(eal);
    tables.set(eal, table);
  }
  return table;
}

/** All ports of an Eal by rising id: RTE_ETH_FOREACH_DEV. */
export function ports(eal: Eal): Port[] {
  return tables.get(eal)?.list() ?? [];
}

/** A port by its id or its name: rte_eth_dev_get_port_by_name. ERR_NO_SUCH_PORT lists the ports that there are. */
export function findPort(eal: Eal, nameOrId: string | number): Port {
  const all = ports(eal);
  const port = all.find((candidate) => candidate.id === nameOrId || candidate.name === nameOrId);
  if (port !== undefined) return port;
  const list = all.length === 0 ? 'there are none' : `there are ${all.map((p) => `${p.id} (${p.name})`).join(', ')}`;
  throw new ViaductError('ERR_NO_SUCH_PORT', `no port ${nameOrId}: ${list}`);
}
