/**
 * docs/testpmd.md has every option, devarg and command as the tables have them. To bring it up to date:
 *
 *     node dist/test/testpmd/docs.test.js --write
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { commands } from '../../src/testpmd/commands.js';
import { synopsis } from '../../src/testpmd/grammar.js';
import { reference } from '../../src/testpmd/reference.js';

const parts = await reference();
const file = join(root(), 'docs/testpmd.md');

function root(): string {
  for (let at = dirname(fileURLToPath(import.meta.url)); dirname(at) !== at; at = dirname(at)) {
    if (existsSync(join(at, 'docs/testpmd.md'))) return at;
  }
  return process.cwd();
}

const marked = (name: string, body: string): string => `<!-- ${name} -->\n\n${body}\n\n<!-- /${name} -->`;

if (process.argv.includes('--write')) {
  let text = readFileSync(file, 'utf8');
  for (const [name, body] of Object.entries(parts)) {
    text = text.replace(new RegExp(`<!-- ${name} -->[^]*?<!-- /${name} -->`), () => marked(name, body));
  }
  writeFileSync(file, text);
}

t.test('the tables of docs/testpmd.md are those of the program', async (t) => {
  const text = readFileSync(file, 'utf8');
  for (const [name, body] of Object.entries(parts)) {
    t.ok(text.includes(marked(name, body)), `${name}: out of date, see the top of this test`);
  }
});

t.test('every command is in one section of the reference', async (t) => {
  const all = Object.values(parts).join('\n').replaceAll('\\|', '|');
  for (const command of commands) t.equal(all.split(`| \`${synopsis(command)}\` |`).length, 2, synopsis(command));
});
