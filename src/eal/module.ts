import { readFileSync } from 'node:fs';
import { instantiateSync } from '@assemblyscript/loader';
import { PAGE_COUNT } from '../../assembly/layout.js';
import type { WasmExports } from './exports.js';

/** Called from Wasm, at most once a burst: signal this descriptor (fd). 0, or nothing, when that worked; else it is counted. */
export type NotifyHook = (fd: number) => number | undefined;

/** Compiles the data plane. One compiled module serves every lcore: its code, and its tier-up, are shared. */
export function compileModule(debug = false): WebAssembly.Module {
  const name = debug ? 'viaduct.debug.wasm' : 'viaduct.wasm';
  return new WebAssembly.Module(readFileSync(new URL(`../../${name}`, import.meta.url)));
}

/** The shared 4 GiB memory that every instance works on; pages that nobody touches cost nothing. */
export function createSharedMemory(): WebAssembly.Memory {
  return new WebAssembly.Memory({ initial: PAGE_COUNT, maximum: PAGE_COUNT, shared: true });
}

/** One instance over the shared memory, for the calling thread. Returns the raw exports, without the loader's glue. */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory, notify: NotifyHook): WasmExports {
  const env: Record<string, unknown> = { memory, notify };
  const { instance } = instantiateSync(module, { env });
  return instance.exports as unknown as WasmExports;
}
