/**
 * Two QEMU guests, and between them Viaduct's switch, DPDK's testpmd, or a Linux bridge: `npm run bench:qemu`.
 *
 * A round boots the same guests once on each network, in an order that rotates from round to round: a machine's speed
 * drifts, so that only ratios within a round mean anything. Everything shares the machine's CPUs, as it does in real life: a
 * network that polls takes a CPU that a guest could have used.
 *
 * Ends with status 0 whatever the ratios are; 1 if something failed to run; 2 if the machine lacks something.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { ETHTOOL, findGuestKernel, haveStaticBusybox } from '../../test/support/initramfs.js';
import { haveQemu, QemuGuest } from '../../test/support/qemu.js';
import { closeLab, endOnSignals, openLab } from './ending.js';
import { ADDRESS_A, ADDRESS_B, MEASUREMENTS, type Measurement } from './measurements.js';
import { median } from './median.js';
import { NETWORK_NAMES, NETWORKS, type Network, type NetworkName } from './networks.js';

interface Options {
  readonly rounds: number;
  readonly seconds: number;
  readonly only: readonly NetworkName[];
  readonly json: string;
}

/** One figure a round, NaN where that round failed. */
type Figures = Record<string, number[]>;

const USAGE = `Usage: npm run bench:qemu -- [--rounds N] [--seconds N] [--only viaduct,testpmd,bridge] [--json FILE]
  --rounds N     rounds over all networks, default 3
  --seconds N    length of each measurement, default 5
  --only LIST    networks to run, default all
  --json FILE    where the figures go, default bench/results/qemu-DATE.json`;

function fail(message: string): never {
  console.error(`bench:qemu: ${message}`);
  process.exit(2);
}

function parse() {
  try {
    return parseArgs({
      options: {
        rounds: { type: 'string', default: '3' },
        seconds: { type: 'string', default: '5' },
        only: { type: 'string', default: NETWORK_NAMES.join(',') },
        json: { type: 'string', default: `bench/results/qemu-${new Date().toISOString().replaceAll(':', '-')}.json` },
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
  const rounds = Number(values.rounds);
  const seconds = Number(values.seconds);
  if (!Number.isInteger(rounds) || rounds < 1) fail(`--rounds ${values.rounds}: give a whole number from 1 on`);
  if (!Number.isInteger(seconds) || seconds < 1) fail(`--seconds ${values.seconds}: give a whole number from 1 on`);
  const only = values.only.split(',');
  const unknown = only.find((name) => !(NETWORK_NAMES as readonly string[]).includes(name));
  if (unknown !== undefined) fail(`--only ${unknown}: give some of ${NETWORK_NAMES.join(', ')}, with commas`);
  return { rounds, seconds, only: NETWORK_NAMES.filter((name) => only.includes(name)), json: values.json };
}

function checkMachine(): void {
  if (process.platform !== 'linux') fail('needs Linux');
  if (!haveQemu()) fail('QEMU is missing: apt-get install qemu-system-x86');
  if (findGuestKernel() === undefined) fail('no kernel for guests: apt-get install linux-image-cloud-amd64');
  if (!haveStaticBusybox()) fail('a static busybox is missing: apt-get install busybox-static');
  if (!existsSync('/usr/bin/iperf3')) fail('iperf3 is missing: apt-get install iperf3');
  if (!existsSync(ETHTOOL)) fail('ethtool is missing: apt-get install ethtool');
}

/** On a terminal a line that the next one replaces. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

/** Boots the guests on a network and measures. Returns figures by measurement. */
async function run(network: Network, opts: Options, label: string): Promise<Record<string, number>> {
  const lab = openLab(`bench-qemu-${network.name}`);
  let failed = true;
  try {
    progress(`${label}  starting`);
    const plugs = await network.start(lab);
    const [a, b] = await Promise.all(
      plugs.map(({ nic, namespace }, index) =>
        QemuGuest.boot(lab, index === 0 ? 'a' : 'b', {
          nics: [{ ...nic, mac: `52:54:00:00:00:0${index + 1}` }],
          address: `${index === 0 ? ADDRESS_A : ADDRESS_B}/24`,
          programs: [ETHTOOL],
          ...(namespace === undefined ? {} : { namespace }),
        }),
      ),
    );
    await a!.reaches(ADDRESS_B, 30_000);
    await b!.must('iperf3 -s -D');
    const figures: Record<string, number> = {};
    for (const { key, title, measure } of MEASUREMENTS) {
      progress(`${label}  ${title}`);
      figures[key] = await measure(a!, b!, opts.seconds);
    }
    failed = false;
    return figures;
  } finally {
    await closeLab(failed);
    progress('');
    if (failed) console.error(`${label}: logs kept in ${lab.folder}`);
  }
}

/** Viaduct against another one, round by round: above 1 Viaduct is ahead. */
function ratios({ key, less }: Measurement, figures: Readonly<Record<string, Figures>>, other: NetworkName): number[] {
  const [mine, theirs] = [figures.viaduct?.[key] ?? [], figures[other]?.[key] ?? []];
  return mine.map((value, round) => (less ? theirs[round]! / value : value / theirs[round]!));
}

function printTable(
  opts: Options,
  figures: Readonly<Record<string, Figures>>,
  missing: ReadonlyMap<string, string>,
): void {
  const others = NETWORK_NAMES.filter((name) => name !== 'viaduct');
  const row = (cells: readonly string[]) =>
    console.log(cells.map((cell, n) => (n === 0 ? cell.padEnd(32) : cell.padStart(n < 4 ? 10 : 22))).join(''));
  console.log('');
  row(['', ...NETWORK_NAMES, ...others.map((name) => `viaduct/${name}`)]);
  for (const measurement of MEASUREMENTS) {
    const { key, title, unit, digits } = measurement;
    const shown = NETWORK_NAMES.map((name) => {
      const value = median(figures[name]?.[key] ?? []);
      return Number.isNaN(value) ? '-' : value.toFixed(digits);
    });
    const compared = others.map((name) => {
      const all = ratios(measurement, figures, name).filter(Number.isFinite);
      if (all.length === 0) return '-';
      return `${median(all).toFixed(2)} (${Math.min(...all).toFixed(2)} - ${Math.max(...all).toFixed(2)})`;
    });
    row([`${title}, ${unit}`, ...shown, ...compared]);
  }
  console.log(
    `\nmedians of ${opts.rounds} rounds; ratios are taken within a round, above 1 Viaduct is ahead (lowest - highest)`,
  );
  for (const name of NETWORK_NAMES) {
    const lack = missing.get(name);
    const state = opts.only.includes(name) ? (lack === undefined ? '' : ` - not run, it needs ${lack}`) : ' - left out';
    console.log(`  ${name.padEnd(8)} ${NETWORKS[name].title}${state}`);
  }
}

const opts = options();
checkMachine();
endOnSignals();
const missing = new Map<string, string>();
for (const name of opts.only) {
  const lack = NETWORKS[name].missing();
  if (lack !== undefined) missing.set(name, lack);
}
const names = opts.only.filter((name) => !missing.has(name));
if (names.length === 0)
  fail(`nothing to run: ${[...missing].map(([name, lack]) => `${name} needs ${lack}`).join('; ')}`);
const figures: Record<string, Figures> = {};
for (const name of names) figures[name] = Object.fromEntries(MEASUREMENTS.map(({ key }) => [key, []]));
let failures = 0;
for (let round = 0; round < opts.rounds; round++) {
  for (let turn = 0; turn < names.length; turn++) {
    const name = names[(round + turn) % names.length]!;
    const label = `round ${round + 1} of ${opts.rounds}  ${name.padEnd(8)}`;
    let measured: Record<string, number> = {};
    try {
      measured = await run(NETWORKS[name], opts, label);
      const shown = MEASUREMENTS.map(
        ({ key, title, unit, digits }) => `${title} ${measured[key]!.toFixed(digits)} ${unit}`,
      );
      console.log(`${label}  ${shown.join('  ')}`);
    } catch (error) {
      failures++;
      console.error(`${label}  failed: ${error instanceof Error ? error.message : error}`);
    }
    for (const { key } of MEASUREMENTS) figures[name]![key]!.push(measured[key] ?? Number.NaN);
  }
}
printTable(opts, figures, missing);
const report = {
  kind: 'qemu-comparison',
  date: new Date().toISOString(),
  node: process.version,
  cpu: cpus()[0]?.model,
  cpus: cpus().length,
  accelerator: 'tcg',
  rounds: opts.rounds,
  seconds: opts.seconds,
  missing: Object.fromEntries(missing),
  results: MEASUREMENTS.map((measurement) => ({
    key: measurement.key,
    title: measurement.title,
    unit: measurement.unit,
    networks: Object.fromEntries(
      names.map((name) => {
        const values = figures[name]![measurement.key]!;
        return [name, { values, median: median(values) }];
      }),
    ),
    ratios: Object.fromEntries(
      names
        .filter((name) => name !== 'viaduct')
        .map((name) => [
          name,
          { values: ratios(measurement, figures, name), median: median(ratios(measurement, figures, name)) },
        ]),
    ),
  })),
};
mkdirSync(dirname(opts.json), { recursive: true });
writeFileSync(opts.json, `${JSON.stringify(report, null, 2)}\n`);
console.log(`\nfigures in ${opts.json}`);
if (failures > 0) process.exitCode = 1;
