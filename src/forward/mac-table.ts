import {
  MAX_PORTS,
  SWITCH_ENTRY_SIZE,
  SWITCH_EVICTED,
  SWITCH_HASH,
  SWITCH_LEARNED,
  SWITCH_LOCK,
  SWITCH_MOVED,
  SWITCH_PORT_COUNT,
  SWITCH_PORTS,
  SWITCH_QUOTA,
  SWITCH_REFUSED,
  SWITCH_TABLE,
  SWITCH_WAYS,
} from '../../assembly/layout.js';
import type { MemzoneContext } from '../eal/context.js';
import type { Memzone } from '../eal/memzone.js';
import { ViaductError } from '../errors.js';
import { readLiveCounter } from '../ethdev/stats.js';
import { macBytes, macText } from './mac.js';

/** 4 million stations, 64 MiB. */
const MAX_TABLE_SIZE = 2 ** 22;
/** Larger than every idle time that the table tells from the future. */
const NEVER_MS = 0xffff_ffff;
/** Idle times from here on are negative ones, as in the module. */
const SEEN_IN_FUTURE_MS = 0xffff_0000;
const VALID = 1n << 63n;
const PORT_SHIFT = 48n;
const PORT_MASK = 0x7fffn;
/** A MAC for switchLookup lies behind the table. */
const SCRATCH_BYTES = 8;

export interface MacTableOptions {
  /** Stations to have room for. */
  readonly tableSize: number;
  /** 0 = never. */
  readonly ageingMs: number;
  /** Stations that one port may own. */
  readonly quota: number;
}

/** An entry as the table holds it. */
export interface MacEntry {
  readonly mac: string;
  readonly portId: number;
  readonly idleMs: number;
}

/**
 * The control plane's hand on a SWITCH_ table (assembly/forward/l2-table.ts). Times are readings of eal/clock.ts.
 */
export class MacTable {
  /** Address of the SWITCH_ header. */
  readonly address: number;
  /** Entries. */
  readonly capacity: number;
  readonly #context: MemzoneContext;
  readonly #zone: Memzone;
  readonly #scratch: number;
  readonly #ageingMs: number;

  /** Throws ERR_INVALID_ARGUMENT, ERR_NO_MEMORY. */
  constructor(context: MemzoneContext, { tableSize, ageingMs, quota }: MacTableOptions) {
    if (!Number.isInteger(tableSize) || tableSize < 1 || tableSize > MAX_TABLE_SIZE) {
      throw new ViaductError(
        'ERR_INVALID_ARGUMENT',
        `switch: tableSize ${tableSize} is not a whole number from 1 to ${MAX_TABLE_SIZE}`,
      );
    }
    const bucketCount = 2 ** Math.ceil(Math.log2(Math.ceil(tableSize / SWITCH_WAYS)));
    const bytes = SWITCH_TABLE + bucketCount * SWITCH_WAYS * SWITCH_ENTRY_SIZE;
    this.capacity = bucketCount * SWITCH_WAYS;
    this.#context = context;
    this.#zone = context.memzones.reserve(freeName(context), bytes + SCRATCH_BYTES);
    this.address = this.#zone.address;
    this.#scratch = this.address + bytes;
    this.#ageingMs = ageingMs === 0 ? NEVER_MS : ageingMs;
    context.wasm.switchInit(this.address, bucketCount, this.#ageingMs, quota);
  }

  /** The hash's multiplier, made odd. Before the first entry. */
  setHash(multiplier: bigint): void {
    this.#context.memory.u64[(this.address + SWITCH_HASH) >>> 3] = multiplier | 1n;
  }

  /** Ports that frames are flooded to, and how many stations each may own. */
  setMembers(portIds: readonly number[], quota: number): void {
    const { u8, u32 } = this.#context.memory;
    const ports = this.address + SWITCH_PORTS;
    for (let id = 0; id < MAX_PORTS; id++) Atomics.store(u8, ports + id, portIds.includes(id) ? 1 : 0);
    u32[(this.address + SWITCH_PORT_COUNT) >>> 2] = portIds.length;
    u32[(this.address + SWITCH_QUOTA) >>> 2] = quota;
  }

  /** Id of the port where the MAC was last seen, -1 if it is unknown or has aged out. Main thread. */
  lookup(mac: string, nowMs: number): number {
    this.#context.memory.u8.set(macBytes(mac), this.#scratch);
    return this.#context.wasm.switchLookup(this.address, this.#scratch, nowMs);
  }

  /** As if a frame from the MAC had come in on the port. */
  learn(mac: string, portId: number, nowMs: number): void {
    this.#context.memory.u8.set(macBytes(mac), this.#scratch);
    this.#context.wasm.switchLearn(this.address, this.#scratch, portId, nowMs);
  }

  /** Forgets every station of a port: how many. */
  flush(portId: number): number {
    return this.#context.wasm.switchFlushPort(this.address, portId);
  }

  /** Forgets the stations that have aged out: how many. */
  sweep(nowMs: number): number {
    return this.#context.wasm.switchSweep(this.address, nowMs);
  }

  /** While no lcore uses the table: frees the lock of one that died, counts anew what ports own. */
  recover(nowMs: number): void {
    Atomics.store(this.#context.memory.u32, (this.address + SWITCH_LOCK) >>> 2, 0);
    this.sweep(nowMs);
  }

  /** Every entry that has not aged out, in the table's order. */
  entries(nowMs: number): MacEntry[] {
    const { u32, u64 } = this.#context.memory;
    const entries: MacEntry[] = [];
    const first = this.address + SWITCH_TABLE;
    for (let at = first; at < first + this.capacity * SWITCH_ENTRY_SIZE; at += SWITCH_ENTRY_SIZE) {
      const value = Atomics.load(u64, at >>> 3);
      if ((value & VALID) === 0n) continue;
      let idleMs = (nowMs - u32[(at + 8) >>> 2]!) >>> 0;
      // another thread has just seen it, a millisecond after nowMs was read
      if (idleMs >= SEEN_IN_FUTURE_MS) idleMs = 0;
      if (idleMs > this.#ageingMs) continue;
      entries.push({
        mac: macOf(value),
        portId: Number((value >> PORT_SHIFT) & PORT_MASK),
        idleMs,
      });
    }
    return entries;
  }

  counters(): { learned: number; moved: number; refused: number; evicted: number } {
    const read = (field: number) => readLiveCounter(this.#context.memory, this.address + field);
    return {
      learned: read(SWITCH_LEARNED),
      moved: read(SWITCH_MOVED),
      refused: read(SWITCH_REFUSED),
      evicted: read(SWITCH_EVICTED),
    };
  }

  free(): void {
    this.#context.memzones.free(this.#zone);
  }
}

/** 48 bits, the first byte lowest. */
function macOf(value: bigint): string {
  return macText(Uint8Array.from({ length: 6 }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn)));
}

function freeName(context: MemzoneContext): string {
  let number = 0;
  while (context.memzones.lookup(`SW_${number}`) !== undefined) number++;
  return `SW_${number}`;
}
