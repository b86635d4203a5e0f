/**
 * npm run bench -- [FILE ...] [--time MS] [--out FILE] [--compare FILE]
 *
 * Measures the rows of all bench files, or of those named (`ring mempool`), one after another on one thread, prints
 * nanoseconds per packet with their quartiles and saves them. See bench/README.md.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { Bench } from 'tinybench';
import {
  type BenchFile,
  type BenchRow,
  createReport,
  formatReport,
  type Measured,
  quantile,
  type Report,
} from './report.js';

/** A sample lasts so long, far above the timer's grain and cost. */
const SAMPLE_MS = 0.1;
const NOT_BENCHES = ['run', 'report'];

/** Calls the row's function `count` times. */
type Loop = (count: number) => void;

/**
 * A loop of its own for each row: V8 learns and inlines by the place of a call in the source, and would treat a place
 * that all rows share as one that calls anything.
 */
function loopOf(row: BenchRow): Loop {
  return new Function('fn', 'return (count) => { for (let i = 0; i < count; i++) fn(); };')(row.fn) as Loop;
}

/** Calls that fill a sample, found while the code warms up. */
function callsPerSample(loop: Loop): number {
  for (let calls = 1; ; calls *= 2) {
    const begin = performance.now();
    loop(calls);
    if (performance.now() - begin >= SAMPLE_MS) return calls;
  }
}

function measure(file: string, row: BenchRow, timeMs: number): Measured {
  const loop = loopOf(row);
  const warmEnd = performance.now() + timeMs / 5;
  while (performance.now() < warmEnd) loop(100);
  const calls = callsPerSample(loop);
  const bench = new Bench({ time: timeMs, warmupTime: timeMs / 5, retainSamples: true, throws: true });
  bench.add(row.name, () => loop(calls));
  bench.runSync();
  const { result } = bench.tasks[0]!;
  if (result.state !== 'completed') throw new Error(`${file}: ${row.name}: ${result.state}`);
  const samples = [...result.latency.samples!].sort((a, b) => a - b);
  const packetNs = (q: number) => (quantile(samples, q) * 1e6) / calls / row.packetsPerIteration;
  return {
    file,
    name: row.name,
    packetsPerIteration: row.packetsPerIteration,
    ...(row.mark === undefined ? {} : { mark: row.mark }),
    samples: samples.length,
    p25Ns: packetNs(0.25),
    medianNs: packetNs(0.5),
    p75Ns: packetNs(0.75),
    iterationNs: packetNs(0.5) * row.packetsPerIteration,
  };
}

function benchFiles(): string[] {
  return readdirSync(new URL('.', import.meta.url))
    .filter((name) => name.endsWith('.js'))
    .map((name) => name.slice(0, -'.js'.length))
    .filter((name) => !NOT_BENCHES.includes(name))
    .sort();
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { out: { type: 'string' }, compare: { type: 'string' }, time: { type: 'string', default: '500' } },
  });
  const all = benchFiles();
  const timeMs = Number(values.time);
  if (!(timeMs > 0)) throw new Error(`--time ${values.time}: milliseconds a row, above 0`);
  for (const name of positionals)
    if (!all.includes(name)) throw new Error(`no bench ${name}: there are ${all.join(', ')}`);
  const earlier =
    values.compare === undefined ? undefined : (JSON.parse(readFileSync(values.compare, 'utf8')) as Report);

  const measured: Measured[] = [];
  for (const name of positionals.length > 0 ? positionals : all) {
    const file = (await import(new URL(`${name}.js`, import.meta.url).href)) as BenchFile;
    for (const row of file.rows) {
      process.stderr.write(`${name}: ${row.name}\n`);
      measured.push(measure(name, row, timeMs));
    }
    await file.close?.();
  }
  const report = createReport(measured);
  console.log(formatReport(report, earlier));
  const out = values.out ?? `bench/results/${report.date.replaceAll(':', '-').slice(0, 19)}.json`;
  mkdirSync(dirname(out), { recursive: true });
  writeFileSync(out, `${JSON.stringify(report, undefined, 2)}\n`);
  console.log(`saved as ${out}`);
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
