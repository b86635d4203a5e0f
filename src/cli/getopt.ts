import { didYouMean } from './nearest.js';
import { UsageError } from './usage-error.js';

/**
 * getopt_long as DPDK's commands use it: `-l 0,1`, `-l0,1`, `--vdev=x`, `--vdev x`, repeatable options, values that begin
 * with a dash. `node:util` parseArgs takes none of the last three forms together, and cannot name the nearest option.
 */
export interface OptionSpec {
  /** Every spelling, with its dashes: ['-i', '--interactive']. */
  readonly names: readonly string[];
  /** Name of the value in the help text; an option without it is a flag. */
  readonly value?: string;
  /** `--name=value` or a bare `--name`; a following argument is never taken as the value. */
  readonly valueOptional?: boolean;
  readonly help: string;
  /** Called in the order of the command line. `value` is '' for a flag; `name` is the spelling that was used. */
  readonly apply: (value: string, name: string) => void;
}

/** Runs `apply` for each option. Throws UsageError, prefixed by `where`, for anything that the table doesn't know. */
export function getopt(args: readonly string[], options: readonly OptionSpec[], where: string): void {
  const byName = new Map(options.flatMap((option) => option.names.map((name) => [name, option] as const)));
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    const [name, inlineValue] = split(arg, byName);
    const option = byName.get(name);
    if (option === undefined) {
      const kind = arg.startsWith('-') ? 'option' : 'argument';
      throw new UsageError(`${where}: unknown ${kind} '${name}'${didYouMean(name, byName.keys())}`);
    }
    let value = inlineValue;
    if (option.value === undefined) {
      if (value !== undefined) throw new UsageError(`${where}: ${name} takes no value, got '${value}'`);
    } else if (value === undefined && !option.valueOptional) {
      value = args[++i];
      if (value === undefined) throw new UsageError(`${where}: ${name} needs a value: ${name} ${option.value}`);
    }
    option.apply(value ?? '', name);
  }
}

function split(arg: string, byName: ReadonlyMap<string, OptionSpec>): [string, string | undefined] {
  if (arg.startsWith('--')) {
    const equals = arg.indexOf('=');
    return equals < 0 ? [arg, undefined] : [arg.slice(0, equals), arg.slice(equals + 1)];
  }
  if (byName.has(arg) || arg.length <= 2) return [arg, undefined];
  return byName.has(arg.slice(0, 2)) && arg.startsWith('-') ? [arg.slice(0, 2), arg.slice(2)] : [arg, undefined];
}

/** The help text of an option table, one option a paragraph, wrapped at 100 columns. */
export function optionHelp(options: readonly OptionSpec[]): string {
  const lines: string[] = [];
  for (const { names, value, valueOptional, help } of options) {
    const longest = names[names.length - 1]!;
    const tail =
      value === undefined ? '' : !longest.startsWith('--') ? ` ${value}` : valueOptional ? `[=${value}]` : `=${value}`;
    const head = `  ${names.join(', ')}${tail}`;
    const wrapped = wrap(help, 72);
    if (head.length > 26) lines.push(head, ...wrapped.map((line) => ' '.repeat(28) + line));
    else lines.push(head.padEnd(28) + wrapped[0]!, ...wrapped.slice(1).map((line) => ' '.repeat(28) + line));
  }
  return lines.join('\n');
}

function wrap(text: string, width: number): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines[lines.length - 1]!;
    if (line !== '' && line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines;
}
