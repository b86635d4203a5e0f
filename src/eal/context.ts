import type { WasmExports } from './exports.js';
import type { HostMemory } from './memory.js';
import type { Memzones } from './memzone.js';

/**
 * What rings, mempools, bursts and mbuf views need of the thread that uses them. The Eal is one (main thread), an
 * lcore's context is one (worker); a test may make its own.
 */
export interface MemContext {
  readonly memory: HostMemory;
  /** The calling thread's instance of the module. */
  readonly wasm: WasmExports;
  /** Whose mempool caches the calling thread uses; LCORE_ANY for none. No two threads may share one. */
  readonly lcoreId: number;
}

/** A context that can also create what lives in host memory: the main thread's. */
export interface MemzoneContext extends MemContext {
  readonly memzones: Pick<Memzones, 'reserve' | 'free' | 'lookup'>;
}
