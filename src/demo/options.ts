import { getopt, type OptionSpec, optionHelp } from '../cli/getopt.js';
import { wholeNumber } from '../cli/numbers.js';

export interface DemoOptions {
  seconds: number;
  /** Frames under way at most in each direction; 0 = no flow control. */
  windowFrames: number;
  help: boolean;
}

const DEFAULT_SECONDS = 6;
const DEFAULT_WINDOW = 512;

/** Parses the arguments behind `viaduct demo`. Throws UsageError. */
export function parseDemoOptions(args: readonly string[]): DemoOptions {
  const options: DemoOptions = { seconds: DEFAULT_SECONDS, windowFrames: DEFAULT_WINDOW, help: false };
  getopt(args, table(options), 'demo');
  return options;
}

export function demoHelp(): string {
  const options = { seconds: DEFAULT_SECONDS, windowFrames: DEFAULT_WINDOW, help: false };
  return `usage: viaduct demo [options]

Two embedded guests talk over virtqueues and a learning switch, each on a lcore of its own, all in this process: no VM, no
root, nothing to install. Every frame is verified, and every frame that is lost must be in a drop counter.

${optionHelp(table(options))}`;
}

function table(o: DemoOptions): OptionSpec[] {
  return [
    {
      names: ['-s', '--seconds'],
      value: 'N',
      help: `how long the guests send, ${DEFAULT_SECONDS}`,
      apply: (value, name) => (o.seconds = wholeNumber(value, name, 1, 86400)),
    },
    {
      names: ['--flood'],
      help: 'send without flow control: shows where frames are dropped, and that each is counted',
      apply: () => (o.windowFrames = 0),
    },
    { names: ['-h', '--help'], help: 'print this help and quit', apply: () => (o.help = true) },
  ];
}
