/** `npm run bench` runs: every bench file is found, every row is measured and saved, and a second run compares with the first. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const BENCH = fileURLToPath(new URL('../../bench/', import.meta.url));
const NO_BENCH = ['run.js', 'report.js'];

t.test('all rows, in very little time', async (t) => {
  const out = join(t.testdir({}), 'rows.json');
  const run = (...args: string[]): string =>
    execFileSync(process.execPath, [join(BENCH, 'run.js'), '--time', '1', '--out', out, ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  run();
  const { rows } = JSON.parse(readFileSync(out, 'utf8')) as { rows: { file: string; medianNs: number }[] };
  const files = readdirSync(BENCH).filter((name) => name.endsWith('.js') && !NO_BENCH.includes(name));
  t.ok(files.length >= 6, `${files.length} bench files`);
  t.same([...new Set(rows.map(({ file }) => `${file}.js`))].sort(), files.sort());
  t.ok(rows.every(({ medianNs }) => medianNs > 0));
  t.match(run('ring', '--compare', out), /× earlier/);
});
