/**
 * The data plane, as it is released, with an eye on every access to memory: Binaryen's instrument-memory pass asks a hook before
 * each load and store. So a test can change a word of guest memory between any two reads of it, not only when the scheduler likes
 * it, and sees reads outside the guest's memory, which leave no trace otherwise.
 */
import { readFileSync } from 'node:fs';
import binaryen from 'assemblyscript/binaryen';
import type { MemzoneContext } from '../../src/eal/context.js';
import type { WasmExports } from '../../src/eal/exports.js';
import { hostMemory } from '../../src/eal/memory.js';
import { Memzones } from '../../src/eal/memzone.js';
import { createSharedMemory } from '../../src/eal/module.js';
import type { SharedContext } from '../mem/context.js';

/** What is called before `bytes` at `address` are read or written. */
export interface Watch {
  read(address: number, bytes: number): void;
  write(address: number, bytes: number): void;
}

export type TracedContext = MemzoneContext & { shared: SharedContext; watch: Watch };

const nobody = (): void => {};

/** A context as createContext makes it; whoever wants to see sets the hooks of its `watch`. */
export function createTracedContext(hostMiB = 64, lcoreId = 0): TracedContext {
  const memory = createSharedMemory();
  const shared = { module: tracedModule(), memory, endAddress: hostMiB << 20 };
  const host = hostMemory(memory, shared.endAddress);
  const watch: Watch = { read: nobody, write: nobody };
  const itself = (_id: number, value: unknown) => value;
  const env: Record<string, unknown> = {
    memory,
    notify: nobody,
    load_ptr: (_id: number, bytes: number, offset: number, address: number) => {
      watch.read((address >>> 0) + offset, bytes);
      return address;
    },
    store_ptr: (_id: number, bytes: number, offset: number, address: number) => {
      watch.write((address >>> 0) + offset, bytes);
      return address;
    },
    copy: (to: number, from: number, bytes: number) => {
      watch.read(from >>> 0, bytes >>> 0);
      watch.write(to >>> 0, bytes >>> 0);
      host.u8.copyWithin(to >>> 0, from >>> 0, (from >>> 0) + (bytes >>> 0));
    },
  };
  for (const { name, kind } of WebAssembly.Module.imports(shared.module)) {
    if (kind === 'function') env[name] ??= itself;
  }
  const wasm = new WebAssembly.Instance(shared.module, { env }).exports as unknown as WasmExports;
  return { memory: host, wasm, lcoreId, memzones: new Memzones(host), shared, watch };
}

function tracedModule(): WebAssembly.Module {
  const plain = binaryen.readBinary(readFileSync(new URL('../../viaduct.wasm', import.meta.url)));
  plain.setFeatures(binaryen.Features.All);
  plain.runPasses(['instrument-memory']);
  // The pass leaves out memory.copy.
  const { i32, none } = binaryen;
  plain.addFunctionImport('copy', 'env', 'copy', binaryen.createType([i32, i32, i32]), none);
  const traced = binaryen.parseText(plain.emitText().replaceAll('(memory.copy', '(call $copy'));
  traced.setFeatures(binaryen.Features.All);
  const binary = traced.emitBinary();
  plain.dispose();
  traced.dispose();
  return new WebAssembly.Module(binary);
}
