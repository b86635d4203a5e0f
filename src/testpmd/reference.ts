import type { OptionSpec } from '../cli/getopt.js';
import { allDrivers } from '../index.js';
import { appOptionTable } from './app-options.js';
import { commands } from './commands.js';
import { ealOptionTable } from './eal-options.js';
import { synopsis } from './grammar.js';

/** The generated parts of docs/testpmd.md by the name of their marker, in Markdown. A test holds that the file has them. */
export async function reference(): Promise<Readonly<Record<string, string>>> {
  const section = (name: string): string =>
    table(
      ['command', 'what it does'],
      commands.filter((cmd) => cmd.section === name).map((cmd) => [`\`${synopsis(cmd)}\``, cmd.help]),
    );
  const devargs = (await allDrivers()).map(({ name, devargs }) => [
    `devargs-${name}`,
    table(
      ['key', 'what it does'],
      devargs.map(({ key, help }) => [`\`${key}\``, help]),
    ),
  ]);
  return {
    'eal-options': optionTable(ealOptionTable()),
    'app-options': optionTable(appOptionTable()),
    ...Object.fromEntries(devargs),
    control: section('control'),
    display: section('display'),
    config: section('config'),
    ports: section('ports'),
  };
}

function optionTable(options: readonly OptionSpec[]): string {
  return table(
    ['option', 'what it does'],
    options.map(({ names, value, valueOptional, help }) => {
      const long = names[names.length - 1]!.startsWith('--');
      const tail = value === undefined ? '' : !long ? ` ${value}` : valueOptional ? `[=${value}]` : `=${value}`;
      return [names.map((name, i) => `\`${name}${i === names.length - 1 ? tail : ''}\``).join(', '), help];
    }),
  );
}

/** `|` inside a cell would end it. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
