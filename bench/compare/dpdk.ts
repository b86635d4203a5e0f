/**
 * Viaduct's vhost backend against DPDK's own, side by side: `npm run bench:dpdk`.
 *
 * A dpdk-testpmd with net_virtio_user plays the guest of both (dpdk-site.ts), forwards (io) on one core, and looks at nothing.
 * The two back ends alternate, each forwarding (io) on the other core, and the order within a pair alternates too. A machine's
 * speed drifts, most of all the way between its two cores; so a pair takes some three seconds, and only ratios of
 * neighbouring measurements mean anything. A row is what the client asks for: the kind of ring, mergeable buffers, in-order use,
 * its vector path. DPDK's net_vhost offers all of these by itself.
 *
 * Ends with status 0 whatever the ratio is; 1 if something failed to run; 2 if the machine lacks something.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { haveTestpmd } from '../../test/support/dpdk.js';
import { reserveHugepages } from '../../test/support/hugepages.js';
import { BACKENDS, type Backend, MEMORY_MIB, type Reading, Site } from './dpdk-site.js';
import { closeLab, endOnSignals, openLab } from './ending.js';
import { median } from './median.js';

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
interface Options {
  readonly rows: readonly Row[];
  readonly pairs: number;
  readonly sizes: readonly number[];
  readonly seconds: number;
  readonly json: string;
}

interface Result extends Readonly<Record<Backend, Reading[]>> {
  readonly row: Row;
  readonly frameBytes: number;
}

const USAGE = `Usage: npm run bench:dpdk -- [--rows LIST] [--sizes LIST] [--pairs N] [--seconds N] [--json FILE]
  --rows LIST    what the client asks for, with commas; default all:
${ALL_ROWS.map((row) => `                   ${row.padEnd(15)} ${ROWS[row]}`).join('\n')}
  --sizes LIST   frame sizes in bytes, default 64,256,1024,1518
  --pairs N      alternating pairs of measurements, default 5
  --seconds N    length of each measurement, default 1
  --json FILE    where the figures go, default bench/results/dpdk-DATE.json`;

/** Start and end of a row's processes, and what a measurement takes besides its seconds: for the time that is told beforehand. */
const ROW_MS = 5_000;
const MEASUREMENT_MS = 500;

function parse() {
  try {
    return parseArgs({
      options: {
        rows: { type: 'string', default: 'all' },
        sizes: { type: 'string', default: '64,256,1024,1518' },
        pairs: { type: 'string', default: '5' },
        seconds: { type: 'string', default: '1' },
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

/** All pairs of a row. */
async function measure(row: Row, opts: Options): Promise<Result[]> {
  const lab = openLab(`bench-dpdk-${row}`);
  let failed = true;
  try {
    const hugeDir = reserveHugepages(lab, 2 * MEMORY_MIB + 128);
    const site = await Site.open(lab, ROWS[row], hugeDir);
    dpdkVersion = site.client.version;
    clientPaths.set(row, site.clientPaths);
    const results: Result[] = [];
    for (const frameBytes of opts.sizes) results.push(await measureSize(site, row, frameBytes, opts));
    await site.close();
    failed = false;
    return results;
  } finally {
    await closeLab(failed);
    if (failed) console.error(`${row}: logs kept in ${lab.folder}`);
  }
}

async function measureSize(site: Site, row: Row, frameBytes: number, opts: Options): Promise<Result> {
  const result: Result = { row, frameBytes, viaduct: [], dpdk: [] };
  for (let pair = 0; pair < opts.pairs; pair++) {
    const order = pair % 2 === 0 ? BACKENDS : BACKENDS.toReversed();
    for (const kind of order) result[kind].push(await site.measure(kind, frameBytes, opts.seconds));
  }
  const shown = BACKENDS.map((kind) => `${kind} ${result[kind].map(({ pps }) => (pps / 1e6).toFixed(2)).join(' ')}`);
  console.log(`${row.padEnd(14)} ${String(frameBytes).padStart(5)} B  Mpps: ${shown.join('   ')}`);
  return result;
}

/** The client's vector path needs a CPU that has it. */
function checkVector(row: Row): void {
  const paths = clientPaths.get(row) ?? [];
  if (!row.endsWith('-vector') || paths.some((path) => path.includes('vectorized'))) return;
  console.log(`${row}: this CPU has not what DPDK's vector path needs; its client took ${paths.join(', ')}`);
}

const rates = (readings: readonly Reading[]): number[] => readings.map(({ pps }) => pps);
const busy = (readings: readonly Reading[]): number => median(readings.map(({ clientBusy }) => clientBusy));

function ratios(result: Result): number[] {
  return result.viaduct.map(({ pps }, index) => pps / result.dpdk[index]!.pps);
}

function printTable(results: readonly Result[]): void {
  const mpps = (readings: readonly Reading[]) => (median(rates(readings)) / 1e6).toFixed(2).padStart(9);
  const percent = (readings: readonly Reading[]) => `${(100 * busy(readings)).toFixed(0)} %`.padStart(9);
  console.log('\n                frame       Mpps, median        ratio   (lowest - highest)      client busy');
  console.log('row                 B   Viaduct     DPDK       median                       Viaduct     DPDK');
  for (const [index, result] of results.entries()) {
    const all = ratios(result);
    const range = `(${Math.min(...all).toFixed(2)} - ${Math.max(...all).toFixed(2)})`;
    const name = result.row === results[index - 1]?.row ? '' : result.row;
    const size = String(result.frameBytes).padStart(6);
    const ratio = median(all).toFixed(2).padStart(13);
    const figures = `${mpps(result.viaduct)}${mpps(result.dpdk)}${ratio}   ${range.padEnd(18)}`;
    console.log(`${name.padEnd(15)}${size} ${figures}${percent(result.viaduct)}${percent(result.dpdk)}`);
  }
  console.log(
    'Where the client is busy all the time it is what limits the rate, and a quicker back end changes nothing.',
  );
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
      viaduct: result.viaduct,
      dpdk: result.dpdk,
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
  const rowMs = ROW_MS + sizes.length * pairs * 2 * (MEASUREMENT_MS + seconds * 1000);
  const minutes = Math.max(1, Math.round((rows.length * rowMs) / 60_000));
  const count = (n: number, thing: string) => `${n} ${thing}${n === 1 ? '' : 's'}`;
  const what = `${rows.join(', ')}; frames of ${sizes.join(', ')} B; ${count(pairs, 'pair')} of measurements`;
  console.log(`${what}: about ${count(minutes, 'minute')}`);
}

let dpdkVersion: string | undefined;
/** The paths that the client says it has taken. */
const clientPaths = new Map<Row, readonly string[]>();
const opts = options();
checkMachine();
endOnSignals();
announce(opts);
const results: Result[] = [];
try {
  for (const row of opts.rows) {
    results.push(...(await measure(row, opts)));
    checkVector(row);
  }
} catch (error) {
  process.exitCode = 1;
  console.error(error instanceof Error ? error.message : error);
}
// The rows before one that failed are worth keeping.
if (results.length > 0) {
  printTable(results);
  saveJson(opts.json, opts, results);
}
