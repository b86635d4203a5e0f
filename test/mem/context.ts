import { LCORE_ANY } from '../../assembly/layout.js';
import type { MemContext, MemzoneContext } from '../../src/eal/context.js';
import { hostMemory } from '../../src/eal/memory.js';
import { Memzones } from '../../src/eal/memzone.js';
import { compileModule, createSharedMemory, instantiate } from '../../src/eal/module.js';

/** What a thread needs to work on the same memory: goes through workerData. */
export interface SharedContext {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly endAddress: number;
}

/** A context without an Eal: `hostMiB` of host memory, the caller being lcore `lcoreId`. */
export function createContext(hostMiB = 64, lcoreId = 0): MemzoneContext & { shared: SharedContext } {
  const shared: SharedContext = {
    module: compileModule(),
    memory: createSharedMemory(),
    endAddress: hostMiB << 20,
  };
  const context = attachContext(shared, lcoreId);
  return { ...context, memzones: new Memzones(context.memory), shared };
}

/** The same memory from another thread, or as another lcore. */
export function attachContext(shared: SharedContext, lcoreId = LCORE_ANY): MemContext {
  return {
    memory: hostMemory(shared.memory, shared.endAddress),
    wasm: instantiate(shared.module, shared.memory, () => {}),
    lcoreId,
  };
}
