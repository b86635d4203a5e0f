#!/usr/bin/env node
/** The `viaduct` command: finds the subcommand, runs it, and turns what went wrong into one line and an exit code. */
import { existsSync, readFileSync } from 'node:fs';
import { didYouMean } from '../cli/nearest.js';
import { UsageError } from '../cli/usage-error.js';

/** A subcommand: takes its arguments, resolves with the exit code. `--help` among them prints its help. */
type Run = (args: readonly string[]) => Promise<number>;

interface Subcommand {
  readonly summary: string;
  /** Loaded when asked for: `viaduct --version` compiles no Wasm. */
  readonly load: () => Promise<Run>;
}

const subcommands: Readonly<Record<string, Subcommand>> = {
  demo: {
    summary: 'two embedded guests, one switch, live rates; no VM, no root',
    load: async () => (await import('../demo/demo.js')).demo,
  },
  switch: {
    summary: 'a learning Ethernet switch between VMs: --port vhost:/run/vm0.sock ...',
    load: async () => (await import('../switch/switch.js')).switchCommand,
  },
  testpmd: {
    summary: "DPDK's testpmd: [EAL options] [--vdev ...] -- [testpmd options]",
    load: async () => (await import('../testpmd/testpmd.js')).testpmd,
  },
};

const EXIT_FAULT = 1;
const EXIT_USAGE = 2;

async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  switch (name) {
    case undefined:
      process.stderr.write(`${help()}\n`);
      return EXIT_USAGE;
    case '--version':
    case '-v':
    case 'version':
      process.stdout.write(`${version()}\n`);
      return 0;
    case '--help':
    case '-h':
      process.stdout.write(`${help()}\n`);
      return 0;
    case 'help':
      if (rest.length > 0) return (await find(rest[0]!).load())(['--help']);
      process.stdout.write(`${help()}\n`);
      return 0;
    default:
      return (await find(name).load())(rest);
  }
}

function find(name: string): Subcommand {
  const found = Object.hasOwn(subcommands, name) ? subcommands[name] : undefined;
  if (found !== undefined) return found;
  const names = Object.keys(subcommands);
  throw new UsageError(
    `unknown command '${name}'${didYouMean(name, [...names, 'help', '--version'])} (commands: ${names.join(', ')}; viaduct help)`,
  );
}

function help(): string {
  const rows = Object.entries(subcommands).map(([name, { summary }]) => `  ${name.padEnd(9)} ${summary}`);
  return [
    'usage: viaduct COMMAND [options]',
    '',
    'Moves packets between virtual machines.',
    '',
    ...rows,
    `  ${'help'.padEnd(9)} this text; viaduct help COMMAND for a command's options`,
    '',
    '  --version print the version',
    '  --debug   on an error, print where it came from',
  ].join('\n');
}

function version(): string {
  // dist/src/bin in the package; src/bin where it is built elsewhere
  const file = ['../../../package.json', '../../package.json']
    .map((path) => new URL(path, import.meta.url))
    .find((url) => existsSync(url));
  const { version } = JSON.parse(readFileSync(file!, 'utf8')) as { version: string };
  return `viaduct ${version}`;
}

/** One line for people; with --debug the stack and the causes. */
function describe(error: unknown, debug: boolean): string {
  if (debug) return error instanceof Error ? inspectError(error) : String(error);
  if (!(error instanceof Error)) return `viaduct: ${String(error)}`;
  const code = (error as { code?: unknown }).code;
  const message = error.message.replaceAll(/\s*\n\s*/g, ' ');
  return typeof code === 'string'
    ? `viaduct: ${code}: ${message}`
    : `viaduct: ${message} (a fault of Viaduct: --debug shows where)`;
}

function inspectError(error: Error): string {
  const cause = error.cause;
  return `viaduct: ${error.stack ?? error.message}${cause instanceof Error ? `\ncaused by ${inspectError(cause)}` : ''}`;
}

/** Takes `--debug` out, wherever it stands before `--`. */
function takeDebug(args: readonly string[]): { args: string[]; debug: boolean } {
  const end = args.includes('--') ? args.indexOf('--') : args.length;
  const kept = args.filter((arg, i) => i >= end || arg !== '--debug');
  return { args: kept, debug: kept.length < args.length };
}

/** Output that is on its way must be out before the process ends. */
function flush(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => stream.write('', () => resolve()));
}

// Whoever reads our output may leave (`viaduct demo | head`): that ends the command, it is no fault.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : EXIT_FAULT));

const { args, debug } = takeDebug(process.argv.slice(2));
let exitCode: number;
try {
  exitCode = await main(args);
} catch (error) {
  process.stderr.write(`${describe(error, debug)}\n`);
  exitCode = error instanceof UsageError ? EXIT_USAGE : EXIT_FAULT;
}
await Promise.all([flush(process.stdout), flush(process.stderr)]);
process.exit(exitCode);
