import { openSync, readSync, writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import t from 'tap';
import { END_GUARD, WINDOW_ALIGN } from '../../assembly/layout.js';
import { Eal } from '../../src/eal/eal.js';
import { silentLogger } from '../../src/eal/log.js';
import { type Window, Windows } from '../../src/eal/windows.js';
import { loadOs } from '../../src/os/index.js';
import { peek } from './peek.js';

const { os, missing } = loadOs();
const skip = os ? false : `no operating system services (${missing}): npm install koffi, on Linux`;
const MIB = 1048576;

const eal = await Eal.init({ memoryMiB: 16, logger: silentLogger });
t.teardown(() => eal.cleanup());
const guest = peek(eal.sharedMemory);

/** What the file holds at `offset`, read through the kernel and not through the mapping. */
function fileWord(fd: number, offset: number): number {
  const bytes = Buffer.alloc(4);
  readSync(fd, bytes, 0, 4, offset);
  return bytes.readInt32LE();
}

t.test('Wasm and the owner of the file see the same bytes', { skip }, async (t) => {
  const fd = os!.memfdCreate('guest', 8 * MIB);
  const window = eal.windows.map(fd, 0, 8 * MIB);
  t.equal(window.sealed, true);
  t.ok(window.address >= eal.memory.endAddress);
  const host = os!.addressOf(eal.memory.u8) + BigInt(window.address);
  t.equal(host % BigInt(WINDOW_ALIGN), 0n, 'at a 2 MiB-aligned host address');
  writeSync(fd, Buffer.from([0x78, 0x56, 0x34, 0x12]), 0, 4, 5 * MIB);
  t.equal(guest.load(window.address + 5 * MIB), 0x12345678);
  guest.store(window.address + 8 * MIB - 4, 0x0badcafe);
  t.equal(fileWord(fd, 8 * MIB - 4), 0x0badcafe);
  // a second view of the same file
  const second = eal.windows.map(fd, 0, 8 * MIB);
  t.not(second.address, window.address);
  t.equal(guest.load(second.address + 8 * MIB - 4), 0x0badcafe);
  eal.windows.unmap(window);
  eal.windows.unmap(second);
  os!.close(fd);
  t.equal(eal.windows.count, 0);
});

t.test('an access where no window is traps, and the process lives', { skip }, async (t) => {
  const fd = os!.memfdCreate('guest', 2 * MIB);
  const { address, ...rest } = eal.windows.map(fd, 0, 2 * MIB);
  os!.close(fd);
  guest.store(address, 7);
  t.equal(guest.load(address), 7, 'the mapping outlives the descriptor');
  t.throws(() => guest.load(address + 2 * MIB), { message: /memory access out of bounds/ }, 'behind it');
  eal.windows.unmap({ address, ...rest });
  for (const at of [address, address + 2 * MIB - 4, eal.memory.endAddress, END_GUARD, 2 ** 32 - 4]) {
    t.throws(() => guest.load(at | 0), { message: /memory access out of bounds/ });
    t.throws(() => guest.store(at | 0, 1), { message: /memory access out of bounds/ });
  }
  t.equal(guest.load(eal.memory.endAddress - 4), 0, 'host memory is still there');
});

t.test('a window at an odd offset begins with that byte', { skip }, async (t) => {
  const fd = os!.memfdCreate('guest', 16 * MIB);
  const offset = 3 * MIB + 0x5000;
  writeSync(fd, Buffer.from([1, 2, 3, 4]), 0, 4, offset);
  const window = eal.windows.map(fd, offset, 64 * 1024);
  t.equal(guest.load(window.address), 0x04030201);
  t.throws(() => guest.load(window.address - 4096 - 4), 'what lies before it in the file is not mapped');
  t.throws(() => guest.load(window.address + 64 * 1024), 'nor what lies behind');
  eal.windows.unmap(window);
  // not even a multiple of a page: the page is there, the window begins inside it
  const odd = eal.windows.map(fd, offset + 2, 100);
  t.equal(guest.load(odd.address) & 0xffff, 0x0403);
  eal.windows.unmap(odd);
  os!.close(fd);
});

t.test('a range that is not inside the file is refused before it is mapped (F1)', { skip }, async (t) => {
  const before = os!.openDescriptorCount();
  const fd = os!.memfdCreate('guest', MIB);
  for (const [offset, length] of [
    [0, MIB + 1],
    [1, MIB],
    [MIB, 1],
    [2 ** 52, 4096],
    [0, 2 ** 52],
    [0, 0],
    [0, -1],
    [-4096, 4096],
    [0.5, 4096],
    [Number.NaN, 4096],
    [2 ** 53, 2 ** 53],
  ] as const) {
    t.throws(() => eal.windows.map(fd, offset, length), { code: 'ERR_INVALID_ARGUMENT' }, `${offset}, ${length}`);
  }
  const event = os!.eventfd();
  t.throws(() => eal.windows.map(event, 0, 4096), { code: 'ERR_INVALID_ARGUMENT' }, 'no memory file at all');
  t.throws(() => eal.windows.map(9999, 0, 4096), { code: 'ERR_SYSCALL' });
  const readOnly = openSync('/proc/self/exe', 'r');
  t.throws(() => eal.windows.map(readOnly, 0, 4096), { code: 'ERR_SYSCALL', message: /mmap.*EACCES/ });
  for (const each of [fd, event, readOnly]) os!.close(each);
  t.equal(eal.windows.count, 0);
  t.equal(eal.windows.free().totalBytes, eal.windows.capacityBytes, 'a mapping that failed gave its place back');
  t.equal(os!.openDescriptorCount(), before);
});

t.test('guest memory that does not fit is refused with both sizes', { skip }, async (t) => {
  const { windows } = eal;
  const fd = os!.memfdCreate('guest', 8 * 1024 * MIB);
  t.throws(() => windows.map(fd, 0, 5 * 1024 * MIB), {
    code: 'ERR_WINDOW_FULL',
    message: /5120 MiB does not fit: of 40\d\d MiB for guests 40\d\d MiB are free, the largest piece 40\d\d MiB/,
  });
  const big = windows.map(fd, 0, 3 * 1024 * MIB);
  guest.store((big.address + 3 * 1024 * MIB - 4) | 0, 99);
  t.equal(fileWord(fd, 3 * 1024 * MIB - 4), 99, 'also above 2 GiB');
  t.throws(() => windows.map(fd, 0, 2 * 1024 * MIB), { code: 'ERR_WINDOW_FULL' });
  // fragmentation: a hole of 2 MiB is used, and nothing larger put there
  const pieces = Array.from({ length: 5 }, () => windows.map(fd, 0, 2 * MIB));
  windows.unmap(pieces[1]!);
  windows.unmap(pieces[3]!);
  const four = windows.map(fd, 0, 4 * MIB);
  t.ok(four.address > pieces[4]!.address);
  const two = windows.map(fd, 0, 2 * MIB);
  t.equal(two.address, pieces[1]!.address);
  t.throws(() => windows.unmap(pieces[3]!), { code: 'ERR_INVALID_ARGUMENT' }, 'unmapped twice');
  for (const window of [big, pieces[0]!, pieces[2]!, pieces[4]!, four, two]) windows.unmap(window);
  t.equal(windows.count, 0);
  t.equal(windows.free().largestBytes, windows.capacityBytes, 'neighbours are joined');
  os!.close(fd);
});

t.test('any sequence: windows never overlap, and all of the space comes back', { skip }, async (t) => {
  const { windows } = eal;
  const fd = os!.memfdCreate('guest', 2048 * MIB);
  const command = fc.oneof(
    fc.record({ offset: fc.nat(1024 * MIB), length: fc.integer({ min: 1, max: 1024 * MIB }) }),
    fc.record({ free: fc.nat() }),
  );
  const check = (commands: ({ offset: number; length: number } | { free: number })[]) => {
    const live: Window[] = [];
    let valid = true;
    for (const each of commands) {
      if ('free' in each) {
        if (live.length > 0) windows.unmap(live.splice(each.free % live.length, 1)[0]!);
        continue;
      }
      try {
        const window = windows.map(fd, each.offset, each.length);
        const end = window.address + window.lengthBytes;
        valid &&= window.address >= eal.memory.endAddress && end <= END_GUARD;
        valid &&= live.every((other) => end <= other.address || window.address >= other.address + other.lengthBytes);
        live.push(window);
      } catch (error) {
        valid &&= (error as { code?: string }).code === 'ERR_WINDOW_FULL';
        valid &&= windows.free().largestBytes < each.length + 2 * WINDOW_ALIGN;
      }
    }
    valid &&= windows.count === live.length;
    for (const window of live) windows.unmap(window);
    return valid && windows.count === 0 && windows.free().largestBytes === windows.capacityBytes;
  };
  t.doesNotThrow(() => fc.assert(fc.property(fc.array(command, { maxLength: 30 }), check), { numRuns: 60 }));
  os!.close(fd);
});

t.test('threads share one table of windows', { skip }, async (t) => {
  const fd = os!.memfdCreate('guest', 4 * MIB);
  const mine = eal.windows.map(fd, 0, 2 * MIB);
  const source = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);
  const worker = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads');
    (async () => {
      const { loadOs } = await import(${source('../../src/os/index.js')});
      const { hostMemory } = await import(${source('../../src/eal/memory.js')});
      const { Windows } = await import(${source('../../src/eal/windows.js')});
      const windows = new Windows(loadOs().os, hostMemory(workerData.memory, workerData.endAddress));
      parentPort.postMessage(windows.map(${fd}, 2 * 1048576, 2 * 1048576));
    })();`,
    { eval: true, workerData: { memory: eal.sharedMemory, endAddress: eal.memory.endAddress } },
  );
  const theirs = await new Promise<Window>((resolve) => worker.once('message', resolve));
  await worker.terminate();
  t.not(theirs.address, mine.address);
  t.equal(eal.windows.count, 2);
  guest.store(theirs.address, 1234);
  t.equal(fileWord(fd, 2 * MIB), 1234);
  new Windows(os!, eal.memory).unmap(theirs);
  eal.windows.unmap(mine);
  t.equal(eal.windows.count, 0);
  os!.close(fd);
});
