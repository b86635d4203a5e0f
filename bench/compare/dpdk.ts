/**
 * Viaduct's vhost backend against DPDK's own, side by side: `npm run bench:dpdk`.
 *
 * One dpdk-testpmd with net_virtio_user plays the guest, forwards (io) on one core, and looks at nothing: its rate is the
 * back end's. The two back ends alternate, each forwarding (io) on the other core, and the order within a pair alternates
 * too: a machine's speed drifts, so that only ratios of neighbouring runs mean anything.
 *
 * Ends with status 0 whatever the ratio is; 1 if something failed to run; 2 if the machine lacks something.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { haveTestpmd, Testpmd } from '../../test/support/dpdk.js';
import { reserveHugepages } from '../../test/support/hugepages.js';
import { Lab } from '../../test/support/lab.js';
import { startViaductTestpmd } from '../../test/support/viaduct.js';

type Backend = 'viaduct' | 'dpdk';

interface Options {
  readonly pairs: number;
  readonly sizes: readonly number[];
  readonly seconds: number;
  readonly json: string;
}

interface SizeResult {
  readonly frameBytes: number;
  readonly viaductPps: number[];
  readonly dpdkPps: number[];
}

const USAGE = `Usage: npm run bench:dpdk -- [--pairs N] [--sizes 64,256,1024,1518] [--seconds N] [--json FILE]
  --pairs N      alternating pairs of runs, default 3
  --sizes LIST   frame sizes in bytes, default 64,256,1024,1518
  --seconds N    length of each measurement, default 3
  --json FILE    where the figures go, default bench/results/dpdk-DATE.json`;

const WARM_UP_MS = 1_000;
const MEMORY_MIB = 512;
const CLIENT_MAC = '00:11:22:33:44:10';

function parse() {
  try {
    return parseArgs({
      options: {
        pairs: { type: 'string', default: '3' },
        sizes: { type: 'string', default: '64,256,1024,1518' },
        seconds: { type: 'string', default: '3' },
        json: { type: 'string', default: `bench/results/dpdk-${new Date().toISOString().replaceAll(':', '-')}.json` },
        help: { type: 'boolean', default: false },
      },
    });
  } catch (error) {
    fail(`${(error as Error).message}\n${USAGE}`);
  }
}

function options(): Options {
  const { values } = parse();
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  const sizes = values.sizes.split(',').map(Number);
  const pairs = Number(values.pairs);
  const seconds = Number(values.seconds);
  if (!Number.isInteger(pairs) || pairs < 1) fail(`--pairs ${values.pairs}: give a whole number from 1 on`);
  if (!(seconds > 0)) fail(`--seconds ${values.seconds}: give a number above 0`);
  if (!sizes.every((size) => Number.isInteger(size) && size >= 60 && size <= 1518)) {
    fail(`--sizes ${values.sizes}: give sizes from 60 to 1518, with commas`);
  }
  return { pairs, sizes, seconds, json: values.json };
}

function fail(message: string): never {
  console.error(`bench:dpdk: ${message}`);
  process.exit(2);
}

function checkMachine(): void {
  if (process.platform !== 'linux') fail('needs Linux');
  if (process.getuid?.() !== 0) fail('needs root, for hugepages');
  if (!haveTestpmd()) fail('dpdk-testpmd is missing: apt-get install dpdk-dev');
  if (cpus().length < 2) fail('needs two CPUs, one for each side');
}

function startBackend(lab: Lab, kind: Backend, socket: string, hugeDir: string): Promise<Testpmd> {
  const vdev = [`net_vhost0,iface=${socket},queues=1`];
  const args = ['--forward-mode=io', '-a'];
  const lcores = '0@0,1@1';
  if (kind === 'viaduct') return startViaductTestpmd(lab, kind, { vdev, args, lcores, memoryMiB: MEMORY_MIB });
  return Testpmd.start(lab, kind, { vdev, args, lcores, hugeDir, memoryMiB: MEMORY_MIB });
}

/** Rate of the client in packets a second, for each size. */
async function run(lab: Lab, kind: Backend, hugeDir: string, opts: Options): Promise<number[]> {
  const socket = lab.path(`${kind}.sock`);
  const backend = await startBackend(lab, kind, socket, hugeDir);
  const vdev = [`net_virtio_user0,mac=${CLIENT_MAC},path=${socket},queue_size=256,packed_vq=0`];
  const client = await Testpmd.start(lab, 'client', { vdev, lcores: '0@1,1@0', hugeDir, memoryMiB: MEMORY_MIB });
  dpdkVersion = client.version;
  await client.run('set fwd io');
  const rates: number[] = [];
  for (const size of opts.sizes) {
    await client.run(`set txpkts ${size}`);
    await client.run('start tx_first 32');
    await sleep(WARM_UP_MS);
    const before = await client.stats();
    await sleep(opts.seconds * 1000);
    const after = await client.stats();
    await client.run('stop');
    const packets = after.rxPackets - before.rxPackets;
    const meanBytes = (after.rxBytes - before.rxBytes) / packets;
    if (packets === 0) throw new Error(`${kind}, ${size} B: nothing came back\n${backend.peer.tail()}`);
    // Frames of the size before that are still under way would make the figure something else.
    if (Math.abs(meanBytes - size) > 0.5) throw new Error(`${kind}, ${size} B: frames of ${meanBytes} B on average`);
    rates.push(after.rxPps);
  }
  await client.quit();
  await backend.quit();
  return rates;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function ratios(result: SizeResult): number[] {
  return result.viaductPps.map((rate, index) => rate / result.dpdkPps[index]!);
}

function printTable(results: readonly SizeResult[]): void {
  const mpps = (rate: number) => (rate / 1e6).toFixed(2).padStart(9);
  console.log('\n frame   Viaduct      DPDK   ratio   (lowest - highest)');
  console.log('     B      Mpps      Mpps  median');
  for (const result of results) {
    const all = ratios(result);
    const range = `(${Math.min(...all).toFixed(2)} - ${Math.max(...all).toFixed(2)})`;
    const size = String(result.frameBytes).padStart(6);
    const ratio = median(all).toFixed(2).padStart(8);
    console.log(`${size} ${mpps(median(result.viaductPps))} ${mpps(median(result.dpdkPps))}${ratio}   ${range}`);
  }
}

function saveJson(file: string, opts: Options, results: readonly SizeResult[]): void {
  const report = {
    kind: 'dpdk-comparison',
    date: new Date().toISOString(),
    node: process.version,
    cpu: cpus()[0]?.model,
    dpdk: dpdkVersion,
    seconds: opts.seconds,
    results: results.map((result) => ({ ...result, ratios: ratios(result), medianRatio: median(ratios(result)) })),
  };
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
  console.log(`\nfigures in ${file}`);
}

let dpdkVersion: string | undefined;
const opts = options();
checkMachine();
const results: SizeResult[] = opts.sizes.map((frameBytes) => ({ frameBytes, viaductPps: [], dpdkPps: [] }));
const lab = new Lab('bench-dpdk');
let failed = false;
try {
  const hugeDir = reserveHugepages(lab, 2 * MEMORY_MIB + 128);
  for (let pair = 0; pair < opts.pairs; pair++) {
    const order: readonly Backend[] = pair % 2 === 0 ? ['viaduct', 'dpdk'] : ['dpdk', 'viaduct'];
    for (const kind of order) {
      const rates = await run(lab, kind, hugeDir, opts);
      const shown = rates.map((rate, index) => `${opts.sizes[index]} B ${(rate / 1e6).toFixed(2)}`).join('  ');
      console.log(`pair ${pair + 1} of ${opts.pairs}  ${kind.padEnd(7)}  Mpps: ${shown}`);
      rates.forEach((rate, index) => {
        results[index]![kind === 'viaduct' ? 'viaductPps' : 'dpdkPps'].push(rate);
      });
    }
  }
} catch (error) {
  failed = true;
  console.error(error instanceof Error ? error.message : error);
  console.error(`logs kept in ${lab.folder}`);
} finally {
  await lab.close(failed);
}
if (failed) process.exitCode = 1;
else {
  printTable(results);
  saveJson(opts.json, opts, results);
}
