import fc from 'fast-check';
import t from 'tap';
import { MEMZONE_BASE } from '../../assembly/layout.js';
import { type HostMemory, hostMemory } from '../../src/eal/memory.js';
import { type Memzone, Memzones, size } from '../../src/eal/memzone.js';

const KIB = 1024;

/** Host memory without a 4 GiB reservation behind it: `lengthBytes` for zones. */
function smallMemory(lengthBytes: number): HostMemory {
  const end = MEMZONE_BASE + lengthBytes;
  return hostMemory({ buffer: new SharedArrayBuffer(end) }, end);
}

t.test('zones are aligned, zeroed and found by name', async (t) => {
  const memory = smallMemory(64 * KIB);
  const zones = new Memzones(memory);
  const a = zones.reserve('a', 100);
  const b = zones.reserve('b', 100, 4096);
  t.equal(a.address, MEMZONE_BASE);
  t.equal(a.lengthBytes, 100);
  t.equal(b.address % 4096, 0);
  t.equal(zones.lookup('b'), b);
  t.equal(zones.lookup('c'), undefined);
  t.same(zones.list(), [a, b]);
  memory.u8.fill(0xaa, a.address, a.address + 128);
  zones.free(a);
  t.equal(zones.lookup('a'), undefined);
  const again = zones.reserve('again', 128);
  t.equal(again.address, a.address, 'first fit');
  t.ok(memory.u8.subarray(again.address, again.address + 128).every((byte) => byte === 0));
});

t.test('what does not fit is refused with both sizes', async (t) => {
  const zones = new Memzones(smallMemory(64 * KIB));
  zones.reserve('a', 16 * KIB);
  const hole = zones.reserve('hole', 8 * KIB);
  zones.reserve('c', 8 * KIB);
  zones.free(hole);
  t.equal(zones.freeBytes, 40 * KIB);
  t.equal(zones.largestFreeBytes, 32 * KIB);
  t.throws(() => zones.reserve('big', 36 * KIB), {
    code: 'ERR_NO_MEMORY',
    message: /'big' wants 36 KiB.*40 KiB are free, the largest piece 32 KiB/,
  });
  t.equal(zones.freeBytes, 40 * KIB, 'nothing was taken');
});

t.test('misuse is refused', async (t) => {
  const zones = new Memzones(smallMemory(64 * KIB));
  const a = zones.reserve('a', 1);
  t.throws(() => zones.reserve('a', 1), { code: 'ERR_INVALID_ARGUMENT' });
  for (const length of [0, -1, 1.5, Number.NaN, 2 ** 60]) t.throws(() => zones.reserve('x', length));
  for (const align of [0, 3, -64, 1.5]) t.throws(() => zones.reserve('x', 1, align), { code: 'ERR_INVALID_ARGUMENT' });
  zones.free(a);
  t.throws(() => zones.free(a), { code: 'ERR_INVALID_ARGUMENT', message: /twice/ });
  const b = zones.reserve('a', 1);
  t.throws(() => zones.free(a), { code: 'ERR_INVALID_ARGUMENT' }, 'an old zone of the same name');
  zones.free(b);
});

t.test('any sequence: zones never overlap, hold what is written, and all bytes come back', async (t) => {
  const total = 256 * KIB;
  const memory = smallMemory(total);
  const command = fc.oneof(
    fc.record({ length: fc.integer({ min: 1, max: 40 * KIB }), alignLog2: fc.integer({ min: 0, max: 13 }) }),
    fc.record({ free: fc.nat() }),
  );
  const check = (commands: ({ length: number; alignLog2: number } | { free: number })[]) => {
    const zones = new Memzones(memory);
    const live: { zone: Memzone; mark: number }[] = [];
    const intact = () =>
      live.every(({ zone, mark }) =>
        memory.u8.subarray(zone.address, zone.address + zone.lengthBytes).every((byte) => byte === mark),
      );
    // a memzone table expects a memory that nobody wrote to
    memory.u8.fill(0);
    for (const [i, each] of commands.entries()) {
      if ('free' in each) {
        if (live.length > 0) zones.free(live.splice(each.free % live.length, 1)[0]!.zone);
        continue;
      }
      let zone: Memzone;
      try {
        zone = zones.reserve(`z${i}`, each.length, 2 ** each.alignLog2);
      } catch {
        // refused only when no free piece surely has room
        if (zones.largestFreeBytes >= each.length + 2 ** each.alignLog2 + 64) return false;
        continue;
      }
      const bytes = memory.u8.subarray(zone.address, zone.address + zone.lengthBytes);
      const inside = zone.address >= MEMZONE_BASE && zone.address + zone.lengthBytes <= memory.endAddress;
      if (!inside || zone.address % 2 ** each.alignLog2 !== 0 || bytes.some((byte) => byte !== 0)) return false;
      const mark = 1 + (i % 255);
      bytes.fill(mark);
      live.push({ zone, mark });
    }
    if (!intact()) return false;
    for (const { zone } of live) zones.free(zone);
    return zones.freeBytes === total && zones.largestFreeBytes === total && zones.list().length === 0;
  };
  t.doesNotThrow(() => fc.assert(fc.property(fc.array(command, { maxLength: 60 }), check), { numRuns: 150 }));
});

t.test('sizes read well', async (t) => {
  t.same(
    [size(100), size(1536), size(36 * 1048576), size(1.25 * 1048576)],
    ['100 bytes', '1.5 KiB', '36 MiB', '1.3 MiB'],
  );
});
