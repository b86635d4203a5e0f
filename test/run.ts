/**
 * `npm test`: runs every test that this machine can run, and says what it left out and what to install for it.
 *
 *   npm test                          all
 *   npm test -- unit                  what needs no other program
 *   npm test -- e2e                   what plays with real peers
 *   npm test -- e2e/qemu vhost/codec  tests whose path below test/ begins so
 *   npm test -- --require-all         whatever would be skipped counts as failed (CI)
 *
 * Unit tests run side by side; end-to-end tests one after another, and after them, since their peers want the CPUs. The
 * last line is "N passed, N failed", in assertions.
 */
import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join, sep } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { loadOs } from '../src/os/index.js';
import { haveTestpmd } from './support/dpdk.js';
import { ETHTOOL, findGuestKernel, haveStaticBusybox, TCPDUMP } from './support/initramfs.js';
import { haveQemu } from './support/qemu.js';

/** Something that a test needs of the machine. */
interface Requirement {
  readonly name: string;
  readonly remedy: string;
  present(): boolean;
}

interface TestFile {
  /** Path below test/ without its ending: `vhost/codec`, `e2e/qemu`. */
  readonly name: string;
  readonly file: string;
}

interface Totals {
  passed: number;
  failed: number;
  /** Single tests that skipped themselves. */
  readonly skips: Skip[];
}

interface Skip {
  readonly file: string;
  readonly reason: string;
}

const TEST_ROOT = dirname(fileURLToPath(import.meta.url));
const PROJECT_ROOT = process.cwd();
const UNIT_TIMEOUT_S = 180;
const E2E_TIMEOUT_S = 300;

const linux: Requirement = {
  name: 'Linux',
  remedy: 'run it on Linux, x86-64 or arm64',
  present: () => loadOs().missing !== 'platform',
};
const koffi: Requirement = {
  name: 'koffi',
  remedy: 'npm install koffi',
  present: () => loadOs().os !== undefined,
};
const qemu: Requirement = { name: 'QEMU', remedy: 'apt-get install qemu-system-x86', present: haveQemu };
const testpmd: Requirement = { name: 'dpdk-testpmd', remedy: 'apt-get install dpdk-dev', present: haveTestpmd };
const busybox: Requirement = {
  name: 'a static busybox',
  remedy: 'apt-get install busybox-static',
  present: haveStaticBusybox,
};
const iperf3: Requirement = {
  name: 'iperf3',
  remedy: 'apt-get install iperf3',
  present: () => existsSync('/usr/bin/iperf3'),
};
const ethtool: Requirement = {
  name: 'ethtool',
  remedy: 'apt-get install ethtool',
  present: () => existsSync(ETHTOOL),
};
const tcpdump: Requirement = {
  name: 'tcpdump',
  remedy: 'apt-get install tcpdump',
  present: () => existsSync(TCPDUMP),
};
const kernel: Requirement = {
  name: 'a kernel for guests that this user may read',
  remedy: 'apt-get install linux-image-cloud-amd64',
  present: () => readable(findGuestKernel()?.image),
};
const root: Requirement = {
  name: 'root, for hugepages',
  remedy: 'run it as root',
  present: () => process.getuid?.() === 0,
};

/** What end-to-end tests need; one that is not listed needs the first two. */
const NEEDS: Readonly<Record<string, readonly Requirement[]>> = {
  'e2e/qemu': [linux, koffi, qemu, kernel, busybox, iperf3],
  'e2e/qemu-offloads': [linux, koffi, qemu, kernel, busybox, iperf3, ethtool, tcpdump],
  'e2e/dpdk': [linux, koffi, testpmd],
  'e2e/dpdk-variants': [linux, koffi, testpmd],
  'e2e/dpdk-hugepages': [linux, koffi, testpmd, root],
};

function readable(path: string | undefined): boolean {
  if (path === undefined) return false;
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

/** All built tests whose source is still there: the build folder may hold older ones. */
function findTests(): TestFile[] {
  const tests: TestFile[] = [];
  for (const entry of readdirSync(TEST_ROOT, { recursive: true, encoding: 'utf8' })) {
    if (!entry.endsWith('.test.js')) continue;
    const name = entry.slice(0, -'.test.js'.length).split(sep).join('/');
    if (existsSync(join(PROJECT_ROOT, 'test', `${name}.test.ts`))) tests.push({ name, file: join(TEST_ROOT, entry) });
  }
  return tests.sort((a, b) => a.name.localeCompare(b.name));
}

function isEndToEnd(test: TestFile): boolean {
  return test.name.startsWith('e2e/');
}

function chosen(test: TestFile, selectors: readonly string[]): boolean {
  if (selectors.length === 0) return true;
  return selectors.some((selector) => {
    if (selector === 'unit') return !isEndToEnd(test);
    const prefix = selector.replace(/^test\//, '').replace(/\.test\.[jt]s$/, '');
    return test.name === prefix || test.name.startsWith(prefix.endsWith('/') ? prefix : `${prefix}/`);
  });
}

function missing(test: TestFile): Requirement[] {
  if (!isEndToEnd(test)) return [];
  return (NEEDS[test.name] ?? [linux, koffi]).filter((requirement) => !requirement.present());
}

const TAP = join(dirname(createRequire(import.meta.url).resolve('tap')), '../esm/run.mjs');

/**
 * Builds tap's test class for the plugins that .taprc names, once an installation: on its own tap would do it during the
 * first run, which then still loads a plugin that we turn off.
 */
function buildTap(): void {
  const built = join(PROJECT_ROOT, '.tap/plugins');
  const installed = join(PROJECT_ROOT, 'node_modules/.package-lock.json');
  if (existsSync(built) && (!existsSync(installed) || statSync(built).mtimeMs > statSync(installed).mtimeMs)) return;
  const { status, stderr } = spawnSync(process.execPath, [TAP, 'build'], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`tap build ended with status ${status}:\n${stderr}`);
}

/** Runs tap over the files: a line for each that passes, and for one that fails what it printed but the passed assertions. */
async function runTap(tests: readonly TestFile[], jobs: number, timeoutSeconds: number): Promise<Totals> {
  const totals: Totals = { passed: 0, failed: 0, skips: [] };
  if (tests.length === 0) return totals;
  const args = ['run', '--disable-coverage', '--reporter=tap', `--jobs=${jobs}`, `--timeout=${timeoutSeconds}`];
  const child = spawn(process.execPath, [TAP, ...args, ...tests.map((test) => test.file)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let sawTotals = false;
  let block: string[] = [];
  let reasons: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const skip = /^\s*ok \d+ .*# SKIP ?(.*)$/.exec(line);
    if (skip !== null) reasons.push(skip[1] || 'no reason given');
    const result = /^(not )?ok \d+ - (.*?)(?: # time=([\d.]+)ms)?(?: \{)?$/.exec(line);
    const sums = /^# \{ (total: .*) \}$/.exec(line);
    if (result !== null) {
      const took = result[3] === undefined ? '' : `  ${(Number(result[3]) / 1000).toFixed(1)} s`;
      if (result[1] === undefined) console.log(`  ok    ${result[2]}${took}`);
      else console.log([...block, `  FAILED ${result[2]}${took}`].join('\n'));
      totals.skips.push(...reasons.map((reason) => ({ file: result[2]!, reason })));
      reasons = [];
      block = [];
    } else if (sums !== null) {
      sawTotals = true;
      const count = (key: string) => Number(new RegExp(`${key}: (\\d+)`).exec(sums[1]!)?.[1] ?? 0);
      totals.passed += count('pass');
      totals.failed += count('fail');
    } else if (!/^\s+ok \d+/.test(line) && line.trim() !== '') {
      block.push(line);
    }
  }
  const status = await new Promise<number | null>((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve(child.exitCode);
    else child.once('exit', resolve);
  });
  // tap itself broke down: there may be no failed assertion to show for it.
  if (totals.failed === 0 && (status !== 0 || !sawTotals)) {
    console.log(`${block.join('\n')}\n  FAILED tap ended with status ${status}`);
    totals.failed++;
  }
  return totals;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: { 'require-all': { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  const tests = findTests().filter((test) => chosen(test, positionals));
  if (tests.length === 0) {
    console.error(`no test matches ${positionals.join(' ')}: give "unit", "e2e" or a path below test/`);
    process.exitCode = 2;
    return;
  }
  const runnable = tests.filter((test) => missing(test).length === 0);
  const left = tests.filter((test) => missing(test).length > 0);
  buildTap();

  const unit = runnable.filter((test) => !isEndToEnd(test));
  const e2e = runnable.filter(isEndToEnd);
  const results: Totals[] = [];
  if (unit.length > 0) console.log(`unit tests (${unit.length} files)`);
  results.push(await runTap(unit, availableParallelism(), UNIT_TIMEOUT_S));
  if (e2e.length > 0) console.log(`end-to-end tests (${e2e.length} files)`);
  results.push(await runTap(e2e, 1, E2E_TIMEOUT_S));

  const passed = results.reduce((sum, result) => sum + result.passed, 0);
  let failed = results.reduce((sum, result) => sum + result.failed, 0);
  const skips = results.flatMap((result) => result.skips);
  if (left.length + skips.length > 0) console.log('\nskipped:');
  for (const test of left) {
    const needs = missing(test).map((requirement) => `${requirement.name} (${requirement.remedy})`);
    console.log(`  ${test.name}: needs ${needs.join(', ')}`);
  }
  for (const reason of new Set(skips.map((skip) => skip.reason))) {
    const files = skips.filter((skip) => skip.reason === reason).map((skip) => skip.file);
    const counts = [...new Set(files)].map((file) => `${file} (${files.filter((other) => other === file).length})`);
    console.log(`  single tests: ${reason}\n    ${counts.join(', ')}`);
  }
  if (values['require-all']) failed += left.length + skips.length;
  console.log(`\n${passed} passed, ${failed} failed`);
  if (failed > 0) process.exitCode = 1;
}

await main();
