/** What a port's queues were set up with, as queue info tells it and as the data plane reads it (QUEUE_ETH_OFFLOADS). */
import {
  ETH_RX_PTYPES,
  QUEUE_ETH_OFFLOADS,
  QUEUE_NB_DESC,
  QUEUE_POOL,
  QUEUE_RSS_TABLE,
  TOEPLITZ_KEY_BYTES,
  TOEPLITZ_TABLE_SIZE,
} from '../../assembly/layout.js';
import { offloadBits, rxOffloadBits, txOffloadBits } from '../drivers/eth-offloads.js';
import type { Eal } from '../eal/eal.js';
import type { Memzone } from '../eal/memzone.js';
import { withQueueLock } from '../eal/queue-lock.js';
import type { Mempool } from '../mempool.js';
import type { RxOffload, TxOffload } from './types.js';

/** rte_eth_rxq_info. */
export interface RxQueueInfo {
  readonly mempool: Mempool;
  readonly descriptorCount: number;
  /** Its own and the whole port's. */
  readonly offloads: readonly RxOffload[];
}

/** rte_eth_txq_info. */
export interface TxQueueInfo {
  readonly descriptorCount: number;
  readonly offloads: readonly TxOffload[];
}

/** The key of Microsoft's verification suite for receive-side scaling: what NICs and DPDK's examples come with. */
// biome-ignore format: bytes
const DEFAULT_RSS_KEY = Uint8Array.of(
  0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
  0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
);

/** Writes queue setups into the queue records, and keeps the port's Toeplitz table, which is made when a queue first wants it. */
export class QueueConf {
  readonly #eal: Eal;
  readonly #zoneName: string;
  #table: Memzone | undefined;
  #rssKey: Uint8Array = DEFAULT_RSS_KEY;
  #ptypes = false;

  constructor(eal: Eal, portName: string) {
    this.#eal = eal;
    this.#zoneName = `${portName}-rss`;
  }

  /** configure(): a key of TOEPLITZ_KEY_BYTES, or the default. No queue is running, all will be set up anew. */
  setRssKey(key: Uint8Array | undefined): void {
    this.#rssKey = key === undefined ? DEFAULT_RSS_KEY : Uint8Array.from(key);
    if (this.#table !== undefined) this.#fill(this.#table);
  }

  /** A copy. */
  get rssKey(): Uint8Array {
    return Uint8Array.from(this.#rssKey);
  }

  /** Throws ERR_NO_MEMORY when there is no room for the Toeplitz table. */
  writeRx(queue: number, info: RxQueueInfo): void {
    const hashes = info.offloads.includes('RSS_HASH');
    if (hashes && this.#table === undefined) {
      // room for the key behind the table
      const zone = this.#eal.memzones.reserve(this.#zoneName, TOEPLITZ_TABLE_SIZE + TOEPLITZ_KEY_BYTES);
      this.#fill(zone);
      this.#table = zone;
    }
    const bits = offloadBits(rxOffloadBits, info.offloads) | (this.#ptypes ? ETH_RX_PTYPES : 0);
    this.#write(queue, info.mempool.address, info.descriptorCount, bits, hashes ? this.#table!.address : 0);
  }

  writeTx(queue: number, info: TxQueueInfo): void {
    this.#write(queue, 0, info.descriptorCount, offloadBits(txOffloadBits, info.offloads), 0);
  }

  /** Packet types on these rx queues, whether they run or not. */
  setPtypes(queues: readonly number[], on: boolean): void {
    this.#ptypes = on;
    this.#setBits(queues, ETH_RX_PTYPES, on);
  }

  /** An rx offload on or off on queues that may be running. */
  setRxOffload(queues: readonly number[], offload: 'VLAN_STRIP' | 'QINQ_STRIP', on: boolean): void {
    this.#setBits(queues, rxOffloadBits[offload], on);
  }

  #setBits(queues: readonly number[], bits: number, on: boolean): void {
    const { memory } = this.#eal;
    for (const queue of queues) {
      withQueueLock(memory, queue, () => {
        const index = (queue + QUEUE_ETH_OFFLOADS) >>> 2;
        memory.u32[index] = (memory.u32[index]! & ~bits) | (on ? bits : 0);
      });
    }
  }

  /** Gives the table back: the port's queues are shut for good. */
  release(queues: readonly number[]): void {
    for (const queue of queues) this.#write(queue, 0, 0, 0, 0);
    if (this.#table !== undefined) this.#eal.memzones.free(this.#table);
    this.#table = undefined;
  }

  #fill(zone: Memzone): void {
    const key = zone.address + TOEPLITZ_TABLE_SIZE;
    this.#eal.memory.u8.set(this.#rssKey, key);
    this.#eal.wasm.toeplitzInit(zone.address, key);
  }

  #write(queue: number, pool: number, descriptorCount: number, offloads: number, table: number): void {
    const { memory } = this.#eal;
    withQueueLock(memory, queue, () => {
      memory.u32[(queue + QUEUE_POOL) >>> 2] = pool;
      memory.u32[(queue + QUEUE_NB_DESC) >>> 2] = descriptorCount;
      memory.u32[(queue + QUEUE_ETH_OFFLOADS) >>> 2] = offloads;
      memory.u32[(queue + QUEUE_RSS_TABLE) >>> 2] = table;
    });
  }
}
