/**
 * Viaduct's vhost backend against DPDK's own, side by side: `npm run bench:dpdk`.
 *
 * One dpdk-testpmd with net_virtio_user plays the guest, forwards (io) on one core, and looks at nothing: its rate is the
 * back end's. The two back ends alternate, each forwarding (io) on the other core, and the order within a pair alternates
 * too: a machine's speed drifts, so that only ratios of neighbouring runs mean anything. A row is what the client asks for:
 * the kind of ring, mergeable buffers, in-order use, its vector path. DPDK's net_vhost offers all of these by itself.
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

/** What the client asks for, in devargs of net_virtio_user. */
const ROWS = {
  split: 'packed_vq=0,mrg_rxbuf=1,in_order=0',
  'split-nomrg': 'packed_vq=0,mrg_rxbuf=0,in_order=0',
  'split-inorder': 'packed_vq=0,mrg_rxbuf=1,in_order=1',
  'split-vector': 'packed_vq=0,mrg_rxbuf=0,in_order=0,vectorized=1',
  packed: 'packed_vq=1,mrg_rxbuf=1,in_order=0',
  'packed-nomrg': 'packed_vq=1,mrg_rxbuf=0,in_order=0',
  'packed-inorder': 'packed_vq=1,mrg_rxbuf=1,in_order=1',
  'packed-vector': 'packed_vq=1,mrg_rxbuf=0,in_order=1,vectorized=1',
} as const;
type Row = keyof typeof ROWS;
const ALL_ROWS = Object.keys(ROWS) as Row[];
const DEFAULT_ROWS: readonly Row[] = [
  'split',
  'split-nomrg',
  'split-inorder',
  'packed',
  'packed-inorder',
  'packed-vector',
];

interface Options {
  readonly rows: readonly Row[];
  readonly pairs: number;
  readonly sizes: readonly number[];
  readonly seconds: number;
  readonly json: string;
}

interface Result {
  readonly row: Row;
  readonly frameBytes: number;
  readonly viaductPps: number[];
  readonly dpdkPps: number[];
}

const USAGE = `Usage: npm run bench:dpdk -- [--rows LIST] [--sizes LIST] [--pairs N] [--seconds N] [--json FILE]
  --rows LIST    what the client asks for, or "all"; default ${DEFAULT_ROWS.join(',')}
${ALL_ROWS.map((row) => `                   ${row.padEnd(15)} ${ROWS[row]}`).join('\n')}
  --sizes LIST   frame sizes in bytes, default 64,256,1024,1518
  --pairs N      alternating pairs of runs, default 3
  --seconds N    length of each measurement, default 2
  --json FILE    where the figures go, default bench/results/dpdk-DATE.json`;

const WARM_UP_MS = 500;
/** Start and end of the two processes of a run, for the time that is told beforehand. */
const START_UP_MS = 3_500;
const MEMORY_MIB = 512;
const CLIENT_MAC = '00:11:22:33:44:10';

function parse() {
  try {
    return parseArgs({
      options: {
        rows: { type: 'string', default: DEFAULT_ROWS.join(',') },
        sizes: { type: 'string', default: '64,256,1024,1518' },
        pairs: { type: 'string', default: '3' },
        seconds: { type: 'string', default: '2' },
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
  const rows = values.rows === 'all' ? ALL_ROWS : (values.rows.split(',') as Row[]);
  const sizes = values.sizes.split(',').map(Number);
  const pairs = Number(values.pairs);
  const seconds = Number(values.seconds);
  const unknown = rows.filter((row) => !ALL_ROWS.includes(row));
  if (unknown.length > 0) fail(`--rows ${unknown.join(',')}: there are ${ALL_ROWS.join(', ')}, and all`);
  if (!Number.isInteger(pairs) || pairs < 1) fail(`--pairs ${values.pairs}: give a whole number from 1 on`);
  if (!(seconds > 0)) fail(`--seconds ${values.seconds}: give a number above 0`);
  if (!sizes.every((size) => Number.isInteger(size) && size >= 60 && size <= 1518)) {
    fail(`--sizes ${values.sizes}: give sizes from 60 to 1518, with commas`);
  }
  return { rows, pairs, sizes, seconds, json: values.json };
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
async function run(lab: Lab, kind: Backend, row: Row, hugeDir: string, opts: Options): Promise<number[]> {
  const socket = lab.path(`${kind}.sock`);
  const backend = await startBackend(lab, kind, socket, hugeDir);
  const client = await Testpmd.start(lab, 'client', {
    vdev: [`net_virtio_user0,mac=${CLIENT_MAC},path=${socket},queue_size=256,${ROWS[row]}`],
    lcores: '0@1,1@0',
    hugeDir,
    memoryMiB: MEMORY_MIB,
    // DPDK takes its packed vector path (AVX-512) only where this allows it.
    eal: ['--force-max-simd-bitwidth=512', '--log-level=pmd.net.virtio.init:info'],
  });
  dpdkVersion = client.version;
  const paths = [...client.peer.outputSince(0).matchAll(/virtio: using (.*) path on port 0/g)].map(
    (match) => match[1]!,
  );
  clientPaths.set(row, paths);
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
    const what = `${row}, ${kind}, ${size} B`;
    if (packets === 0) throw new Error(`${what}: nothing came back\n${backend.peer.tail()}`);
    // Frames of the size before that are still under way would make the figure something else.
    if (Math.abs(meanBytes - size) > 0.5) throw new Error(`${what}: frames of ${meanBytes} B on average`);
    rates.push(after.rxPps);
  }
  await client.quit();
  await backend.quit();
  return rates;
}

/** All pairs of a row. */
async function measure(lab: Lab, row: Row, hugeDir: string, opts: Options): Promise<Result[]> {
  const results: Result[] = opts.sizes.map((frameBytes) => ({ row, frameBytes, viaductPps: [], dpdkPps: [] }));
  for (let pair = 0; pair < opts.pairs; pair++) {
    const order: readonly Backend[] = pair % 2 === 0 ? ['viaduct', 'dpdk'] : ['dpdk', 'viaduct'];
    for (const kind of order) {
      const rates = await run(lab, kind, row, hugeDir, opts);
      const shown = rates.map((rate, index) => `${opts.sizes[index]} B ${(rate / 1e6).toFixed(2)}`).join('  ');
      console.log(`${row.padEnd(14)}  pair ${pair + 1} of ${opts.pairs}  ${kind.padEnd(7)}  Mpps: ${shown}`);
      rates.forEach((rate, index) => {
        results[index]![kind === 'viaduct' ? 'viaductPps' : 'dpdkPps'].push(rate);
      });
    }
  }
  if (row.endsWith('-vector') && !clientPaths.get(row)!.some((path) => path.includes('vectorized'))) {
    console.log(
      `${row}: this CPU has not what DPDK's vector path needs; its client took ${clientPaths.get(row)!.join(', ')}`,
    );
  }
  return results;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function ratios(result: Result): number[] {
  return result.viaductPps.map((rate, index) => rate / result.dpdkPps[index]!);
}

function printTable(results: readonly Result[]): void {
  const mpps = (rate: number) => (rate / 1e6).toFixed(2).padStart(9);
  console.log('\nrow             frame   Viaduct      DPDK   ratio   (lowest - highest)');
  console.log('                    B      Mpps      Mpps  median');
  for (const [index, result] of results.entries()) {
    const all = ratios(result);
    const range = `(${Math.min(...all).toFixed(2)} - ${Math.max(...all).toFixed(2)})`;
    const name = result.row === results[index - 1]?.row ? '' : result.row;
    const size = String(result.frameBytes).padStart(6);
    const ratio = median(all).toFixed(2).padStart(8);
    const rates = `${mpps(median(result.viaductPps))} ${mpps(median(result.dpdkPps))}`;
    console.log(`${name.padEnd(15)}${size} ${rates}${ratio}   ${range}`);
  }
}

function saveJson(file: string, opts: Options, results: readonly Result[]): void {
  const report = {
    kind: 'dpdk-comparison',
    date: new Date().toISOString(),
    node: process.version,
    cpu: cpus()[0]?.model,
    dpdk: dpdkVersion,
    seconds: opts.seconds,
    results: results.map((result) => ({
      row: result.row,
      client: ROWS[result.row],
      clientPaths: clientPaths.get(result.row),
      frameBytes: result.frameBytes,
      viaductPps: result.viaductPps,
      dpdkPps: result.dpdkPps,
      ratios: ratios(result),
      medianRatio: median(ratios(result)),
    })),
  };
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
  console.log(`\nfigures in ${file}`);
}

/** What it will do, and for how long. */
function announce({ rows, sizes, pairs, seconds }: Options): void {
  const runMs = START_UP_MS + sizes.length * (WARM_UP_MS + seconds * 1000);
  const minutes = Math.max(1, Math.round((rows.length * pairs * 2 * runMs) / 60_000));
  const count = (n: number, thing: string) => `${n} ${thing}${n === 1 ? '' : 's'}`;
  const what = `${rows.join(', ')}; frames of ${sizes.join(', ')} B; ${count(pairs, 'pair')} of runs`;
  console.log(`${what}: about ${count(minutes, 'minute')}`);
}

let dpdkVersion: string | undefined;
/** The paths that the client says it has taken. */
const clientPaths = new Map<Row, readonly string[]>();
const opts = options();
checkMachine();
announce(opts);
const results: Result[] = [];
const lab = new Lab('bench-dpdk');
let failed = false;
try {
  const hugeDir = reserveHugepages(lab, 2 * MEMORY_MIB + 128);
  for (const row of opts.rows) results.push(...(await measure(lab, row, hugeDir, opts)));
} catch (error) {
  failed = true;
  process.exitCode = 1;
  console.error(error instanceof Error ? error.message : error);
  console.error(`logs kept in ${lab.folder}`);
} finally {
  await lab.close(failed);
}
// The rows before one that failed are worth keeping.
if (results.length > 0) {
  printTable(results);
  saveJson(opts.json, opts, results);
}
