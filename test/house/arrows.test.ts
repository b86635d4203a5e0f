/** The arrows of the house (DESIGN 2): who may import whom. None points up. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = resolve(dirname(fileURLToPath(import.meta.url)), findRoot());

/** The checkout: above dist/ when the test runs built. */
function findRoot(): string {
  let up = '.';
  const here = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    try {
      readFileSync(join(here, up, 'asconfig.json'));
      return up;
    } catch {
      if (resolve(here, up) === '/') throw new Error('asconfig.json is in no folder above the test');
      up = join('..', up);
    }
  }
}

/** Room of a file: the longest prefix of its path that is named here. */
const SRC_ROOMS = [
  'src/bin', 'src/cli', 'src/demo', 'src/testpmd', 'src/switch', 'src/index.ts', 'src/forward', 'src/ethdev', 'src/drivers',
  'src/vhost', 'src/os', 'src/eal', 'src/mempool.ts', 'src/mbuf.ts', 'src/mbuf-flags.ts', 'src/burst.ts', 'src/ring.ts', 'src/errors.ts',
  'assembly/layout.ts', 'src',
]; // biome-ignore format: a table
const GROUND = ['src/errors.ts', 'assembly/layout.ts'];
const MEM = ['src/mempool.ts', 'src/mbuf.ts', 'src/mbuf-flags.ts', 'src/burst.ts', 'src/ring.ts'];
const SRC_ARROWS: Record<string, readonly string[]> = {
  'src/bin': ['src/testpmd', 'src/switch', 'src/demo', 'src/cli', 'src/index.ts'],
  'src/cli': ['src/index.ts'],
  'src/demo': ['src/cli', 'src/index.ts'],
  'src/testpmd': ['src/cli', 'src/index.ts'],
  'src/switch': ['src/cli', 'src/index.ts'],
  'src/index.ts': ['src/forward', 'src/ethdev', 'src/drivers', 'src/eal', ...MEM],
  'src/forward': ['src/ethdev', 'src/eal', ...MEM],
  'src/ethdev': ['src/drivers', 'src/eal', ...MEM],
  'src/drivers': ['src/vhost', 'src/os', 'src/eal', ...MEM],
  'src/vhost': [],
  'src/os': [],
  'src/eal': ['src/os'],
  'src/mempool.ts': ['src/eal', ...MEM],
  'src/mbuf.ts': ['src/eal', ...MEM],
  'src/mbuf-flags.ts': [],
  'src/burst.ts': ['src/eal', ...MEM],
  'src/ring.ts': ['src/eal', ...MEM],
  'src/errors.ts': [],
  'assembly/layout.ts': [],
};

const WASM_ROOMS = [
  'assembly/index.ts', 'assembly/forward', 'assembly/port.ts', 'assembly/pmd', 'assembly/virtio', 'assembly/mem',
  'assembly/net', 'assembly/hook.ts', 'assembly/stats.ts', 'assembly/layout.ts',
]; // biome-ignore format: a table
const WASM_GROUND = ['assembly/layout.ts', 'assembly/hook.ts', 'assembly/stats.ts'];
const WASM_ARROWS: Record<string, readonly string[]> = {
  'assembly/index.ts': [
    'assembly/forward',
    'assembly/port.ts',
    'assembly/pmd',
    'assembly/virtio',
    'assembly/mem',
    'assembly/net',
  ],
  'assembly/forward': ['assembly/port.ts', 'assembly/mem', 'assembly/net'],
  'assembly/port.ts': ['assembly/pmd'],
  'assembly/pmd': ['assembly/virtio', 'assembly/mem', 'assembly/net'],
  'assembly/virtio': ['assembly/mem', 'assembly/net'],
  'assembly/mem': [],
  'assembly/net': ['assembly/mem'],
  'assembly/hook.ts': [],
  'assembly/stats.ts': [],
  'assembly/layout.ts': [],
};

function sources(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name));
}

/** Every file that the file names in an import, export … from, or import(), as paths from the root. */
function importsOf(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8').replace(/^\s*(\/\/|\*|\/\*).*$/gm, '');
  const names = [...text.matchAll(/(?:\bfrom|\bimport|\bimport\()\s*['"](\.[^'"]+)['"]/g)].map((match) => match[1]!);
  return names.map((name) => {
    const path = relative(root, resolve(root, dirname(file), name)).replace(/\.js$/, '.ts');
    return path.endsWith('.ts') ? path : `${path}.ts`;
  });
}

function roomOf(file: string, rooms: readonly string[]): string {
  return rooms.find((room) => file === room || file.startsWith(`${room}/`)) ?? file;
}

function broken(folder: string, rooms: readonly string[], arrows: Record<string, readonly string[]>, ground: string[]) {
  const faults: string[] = [];
  let seen = 0;
  for (const file of sources(folder)) {
    const from = roomOf(file, rooms);
    for (const target of importsOf(file)) {
      const to = roomOf(target, rooms);
      seen++;
      if (to !== from && !ground.includes(to) && !arrows[from]?.includes(to)) faults.push(`${file} → ${target}`);
    }
  }
  return { faults, seen };
}

t.test('no arrow of the library points up', async (t) => {
  const { faults, seen } = broken('src', SRC_ROOMS, SRC_ARROWS, GROUND);
  t.ok(seen > 50, `${seen} imports were read`);
  t.same(faults, []);
});

t.test('no arrow of the module points up', async (t) => {
  const { faults, seen } = broken('assembly', WASM_ROOMS, WASM_ARROWS, WASM_GROUND);
  t.ok(seen > 30, `${seen} imports were read`);
  t.same(faults, []);
});

t.test('the test guest shares no code with what it tests', async (t) => {
  const guest = sources('test/support').filter((file) => /test-guest/.test(file));
  t.ok(guest.length > 0, 'the test guest is there');
  for (const file of guest) {
    t.same(
      importsOf(file).filter((name) => /^(assembly|src\/(?!os\/))/.test(name)),
      [],
      file,
    );
  }
});
