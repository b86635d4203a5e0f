/** The module's promises: it imports exactly the memory and one hook, and holds no data segment (DESIGN 1.7, 2). */
import { readFileSync } from 'node:fs';
import t from 'tap';

const files = ['viaduct.wasm', 'viaduct.debug.wasm'];

/** Section ids of a Wasm binary, WebAssembly core specification section 5.5. */
function sectionIds(bytes: Uint8Array): number[] {
  const ids: number[] = [];
  let at = 8; // magic, version
  while (at < bytes.length) {
    ids.push(bytes[at++]!);
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++]!;
      length += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    at += length;
  }
  return ids;
}

const IMPORT_SECTION = 2;
const DATA_SECTION = 11;

for (const file of files) {
  t.test(file, async (t) => {
    const bytes = readFileSync(new URL(`../../${file}`, import.meta.url));
    const module = new WebAssembly.Module(bytes);
    const imports = WebAssembly.Module.imports(module).map(({ module, name, kind }) => `${kind} ${module}.${name}`);
    t.same(imports.sort(), ['function env.notify', 'memory env.memory'], 'imports the memory and the hook');
    const sections = sectionIds(bytes);
    t.ok(sections.includes(IMPORT_SECTION), 'the binary was read');
    t.notOk(
      sections.includes(DATA_SECTION),
      'no data segment: a second instance would write it anew over shared state',
    );
    const mutable = WebAssembly.Module.exports(module).filter(({ kind }) => kind !== 'function');
    t.same(mutable, [], 'exports functions only');
  });
}
