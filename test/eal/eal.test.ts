import { spawn } from 'node:child_process';
import { fstatSync } from 'node:fs';
import t from 'tap';
import { EAL_BASE, EAL_MAGIC, LCORE_BASE, LCORE_SIZE, LCORE_STATE, MEMZONE_BASE } from '../../assembly/layout.js';
import { Eal } from '../../src/eal/eal.js';
import { createLogger, type LogLevel, silentLogger } from '../../src/eal/log.js';
import { loadOs } from '../../src/os/index.js';

const { os, missing } = loadOs();
const skip = os ? false : `no operating system services (${missing}): npm install koffi, on Linux`;
const small = { memoryMiB: 16, logger: silentLogger } as const;
const noKoffi = missing === 'platform' ? 'ERR_NOT_LINUX' : 'ERR_KOFFI_MISSING';
const EAL_URL = new URL('../../src/eal/eal.js', import.meta.url).href;

/** Runs a program of its own; how it ended, and whether it had to be killed. */
async function run(source: string, env: NodeJS.ProcessEnv = {}): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', `import { Eal } from '${EAL_URL}';\n${source}`], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  const timer = setTimeout(() => child.kill('SIGKILL'), 15_000);
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  clearTimeout(timer);
  return { code, output };
}

t.test('an Eal has what its options say', async (t) => {
  const eal = await Eal.init({ ...small, lcores: [3, { id: 1 }] });
  t.equal(eal.mainLcoreId, 3);
  t.equal(eal.lcoreId, 3);
  t.same(
    eal.lcores.map(({ id, isMain, cpu, state }) => ({ id, isMain, cpu, state })),
    [
      { id: 3, isMain: true, cpu: undefined, state: 'wait' },
      { id: 1, isMain: false, cpu: undefined, state: 'wait' },
    ],
  );
  t.equal(eal.lcore(1).id, 1);
  t.throws(() => eal.lcore(2), { code: 'ERR_NO_SUCH_LCORE', message: /no lcore 2.*3, 1/ });
  t.equal(eal.memory.u32[EAL_BASE >>> 2], EAL_MAGIC);
  t.ok(eal.memory.endAddress >= 16 * 1048576);
  t.ok(eal.memory.endAddress < 19 * 1048576);
  t.ok(eal.memzones.reserve('mine', 1024).address >= MEMZONE_BASE);
  t.equal(eal.os !== undefined, os !== undefined);
  await eal.cleanup();
});

t.test('options that mean nothing are refused', async (t) => {
  const before = os?.openDescriptorCount();
  for (const memoryMiB of [0, 15, 2045, 4096, 16.5, Number.NaN]) {
    await t.rejects(Eal.init({ ...small, memoryMiB }), {
      code: 'ERR_INVALID_ARGUMENT',
      message: new RegExp(`${memoryMiB} MiB.*from 16 to 2044`),
    });
  }
  for (const lcores of [[], [0, 0], [64], [-1], [0.5], [{ id: 0, cpu: -1 }], [{ id: 0, cpu: 0.5 }]]) {
    await t.rejects(Eal.init({ ...small, lcores }), { code: 'ERR_INVALID_ARGUMENT' }, JSON.stringify(lcores));
  }
  await t.rejects(Eal.init({ ...small, idlePolls: 0 }), { code: 'ERR_INVALID_ARGUMENT' });
  t.equal(os?.openDescriptorCount(), before);
});

t.test('host memory is a sealed memory file', { skip }, async (t) => {
  const eal = await Eal.init(small);
  const fd = eal.hostMemoryFd!;
  t.equal(fstatSync(fd).size, eal.memory.endAddress);
  const zone = eal.memzones.reserve('seen', 4096, 4096);
  eal.memory.u8.set([1, 2, 3], zone.address);
  // through a mapping of its own
  const window = eal.windows.map(fd, zone.address, 4096);
  t.equal(window.sealed, true);
  eal.windows.unmap(window);
  await eal.cleanup();
  t.equal(eal.hostMemoryFd, undefined);
  t.equal(eal.memory.u8[zone.address], 0, 'the views stay readable after cleanup');
});

t.test('huge pages keep what a zone holds', { skip }, async (t) => {
  const eal = await Eal.init(small);
  const zone = eal.memzones.reserve('large', 5 * 1048576);
  eal.memory.u8[zone.address] = 1;
  eal.memory.u8[zone.address + zone.lengthBytes - 1] = 2;
  t.type(eal.useHugePages(zone), 'boolean');
  t.equal(eal.memory.u8[zone.address], 1);
  t.equal(eal.memory.u8[zone.address + zone.lengthBytes - 1], 2);
  t.equal(eal.useHugePages(eal.memzones.reserve('small', 4096)), false, 'too small for any');
  await eal.cleanup();
});

t.test('init and cleanup, many times: no descriptor is left, two live side by side', { skip }, async (t) => {
  const first = await Eal.init(small);
  await first.cleanup();
  const before = os!.openDescriptorCount();
  for (let i = 0; i < 8; i++) {
    const a = await Eal.init({ ...small, lcores: [0, 1] });
    const b = await Eal.init({ ...small, lcores: [0, 1] });
    a.lcore(1).runStreams();
    a.memory.u32[MEMZONE_BASE >>> 2] = 1;
    b.memory.u32[MEMZONE_BASE >>> 2] = 2;
    t.equal(a.memory.u32[MEMZONE_BASE >>> 2], 1, 'each has a memory of its own');
    await Promise.all([a.cleanup(), b.cleanup()]);
  }
  t.equal(os!.openDescriptorCount(), before);
  t.equal(process.listeners('exit').filter((listener) => /processExits/.test(String(listener))).length, 0);
});

t.test('cleanup: closers in reverse order, one that fails stops no other; a second call changes nothing', async (t) => {
  const lines: string[] = [];
  const eal = await Eal.init({ ...small, lcores: [0, 1], logger: createLogger('error', (line) => lines.push(line)) });
  const order: string[] = [];
  eal.lcore(1).runStreams();
  eal.onCleanup(() => void order.push('first'));
  eal.onCleanup(() => {
    // what closers need is still there
    if (os) eal.requireOs('a closer');
    throw new Error('no');
  });
  eal.onCleanup(async () => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    order.push(`last, lcore ${eal.lcore(1).state}`);
  });
  const cleanups = [eal.cleanup(), eal.cleanup()];
  await Promise.all([...cleanups, eal.cleanup()]);
  t.same(order, ['last, lcore wait', 'first']);
  t.match(lines, [/^\[eal\] error: cleanup: Error: no$/]);
  t.equal(eal.lcore(1).state, 'off');
  t.equal(eal.memory.u32[(LCORE_BASE + LCORE_SIZE + LCORE_STATE) >>> 2], 0);
  t.throws(() => eal.lcore(1).runStreams(), { code: 'ERR_CLEANED_UP' });
  t.throws(() => eal.onCleanup(() => {}), { code: 'ERR_CLEANED_UP' });
  t.throws(() => eal.requireOs('a test'), { code: 'ERR_CLEANED_UP' });
  eal.lcore(1).wake();
});

t.test('CPUs: lcores are pinned, main gets its own back, an impossible CPU is refused', { skip }, async (t) => {
  const cpus = os!.threadCpus();
  const cpu = cpus[0]!;
  const fds = os!.openDescriptorCount();
  const eal = await Eal.init({ ...small, lcores: [{ id: 0, cpu }, 1] });
  t.same(os!.threadCpus(), [cpu]);
  t.same(eal.controlCpus, cpus);
  await eal.cleanup();
  t.same(os!.threadCpus(), cpus);
  for (const lcores of [
    [0, { id: 1, cpu: 8000 }],
    [{ id: 0, cpu: 8000 }, 1],
  ]) {
    await t.rejects(Eal.init({ ...small, lcores }), { message: /CPU 8000: this process may use CPUs/ });
    t.same(os!.threadCpus(), cpus);
  }
  t.equal(os!.openDescriptorCount(), fds);
});

t.test('without koffi: lcores run and sleep, drivers that need the OS are told what to install', async (t) => {
  process.env.VIADUCT_NO_KOFFI = '1';
  t.teardown(() => delete process.env.VIADUCT_NO_KOFFI);
  const eal = await Eal.init({ ...small, lcores: [0, 1], idlePolls: 1 });
  t.equal(eal.os, undefined);
  t.equal(eal.hostMemoryFd, undefined);
  t.throws(() => eal.requireOs('net_vhost'), { code: noKoffi, message: /net_vhost needs/ });
  t.throws(() => eal.windows);
  eal.lcore(1).runStreams();
  while (eal.lcore(1).stats().sleeps === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  await eal.lcore(1).stop();
  t.equal(eal.lcore(1).state, 'wait');
  await eal.cleanup();
  await t.rejects(Eal.init({ ...small, lcores: [{ id: 0, cpu: 0 }] }), { code: noKoffi, message: /CPU 0/ });
});

const sleepy = `
  const eal = await Eal.init({ memoryMiB: 16, lcores: [0, 1, 2], idlePolls: 1 });
  eal.lcore(1).runStreams();
  eal.lcore(2).runStreams();
  while (eal.lcore(1).stats().sleeps === 0) await new Promise((resolve) => setTimeout(resolve, 2));
`;

for (const env of [{}, { VIADUCT_NO_KOFFI: '1' }]) {
  const how = 'VIADUCT_NO_KOFFI' in env ? 'without koffi' : 'with what is installed';

  t.test(`process.exit() without cleanup, lcores asleep: the process ends with its code (${how})`, async (t) => {
    const { code, output } = await run(`${sleepy} process.exit(7);`, env);
    t.equal(output, '');
    t.equal(code, 7);
  });

  t.test(`an uncaught error ends the process, with lcores asleep (${how})`, async (t) => {
    const { code, output } = await run(`${sleepy} throw new Error('mine');`, env);
    t.match(output, /Error: mine/);
    t.equal(code, 1);
  });

  t.test(`the end of a program that cleans nothing up: lcores that wait do not keep it alive (${how})`, async (t) => {
    const { code, output } = await run('await Eal.init({ memoryMiB: 16, lcores: [0, 1] });', env);
    t.equal(output, '');
    t.equal(code, 0);
  });
}

t.test('a logger has a threshold and never needs one', async (t) => {
  const lines: string[] = [];
  const logger = createLogger('warning', (line) => lines.push(line));
  for (const level of ['error', 'warning', 'notice', 'info', 'debug'] as LogLevel[]) logger.log(level, 'eal', level);
  t.same(lines, ['[eal] error: error', '[eal] warning: warning']);
});
