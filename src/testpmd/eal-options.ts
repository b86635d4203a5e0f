import { getopt, type OptionSpec, optionHelp } from '../cli/getopt.js';
import { type LcoreSpec, parseCorelist, parseCoremask, parseLcoreMap } from '../cli/lcores.js';
import { wholeNumber } from '../cli/numbers.js';
import { UsageError } from '../cli/usage-error.js';

/** What the EAL part of a testpmd command line (before `--`) means here. */
export interface EalCommandLine {
  /** In the order of the command line; the main lcore first. Empty: nothing was said. */
  lcores: LcoreSpec[];
  /** CPUs were named (--lcores with @): they must be had. With -l and -c the CPU of the lcore's number is a wish. */
  pinned: boolean;
  /** Host memory in MiB, undefined: the default. */
  memoryMiB: number | undefined;
  /** vdev strings, in the order of the command line: the first is port 0. */
  vdevs: string[];
  help: boolean;
  version: boolean;
}

const MIN_MEMORY_MIB = 16;
const MAX_MEMORY_MIB = 2044;

/** Parses DPDK's EAL options. Throws UsageError, which names an unknown option and the nearest known one. */
export function parseEalOptions(args: readonly string[]): EalCommandLine {
  const line: EalCommandLine = {
    lcores: [],
    pinned: false,
    memoryMiB: undefined,
    vdevs: [],
    help: false,
    version: false,
  };
  let mainLcore: number | undefined;
  getopt(args, [...effective(line, (id) => (mainLcore = id)), ...accepted()], 'testpmd');
  if (mainLcore !== undefined) line.lcores = withMainFirst(line.lcores, mainLcore);
  return line;
}

/** The help text of both groups of options. */
export function ealHelp(): string {
  return [
    'EAL options:',
    optionHelp(ealOptionTable()),
    '',
    'EAL options that are taken from a DPDK command line and have nothing to do here:',
    optionHelp(accepted()),
  ].join('\n');
}

/** The EAL options that do something here. */
export function ealOptionTable(): OptionSpec[] {
  const line = { lcores: [], pinned: false, memoryMiB: undefined, vdevs: [], help: false, version: false };
  return effective(line, () => {});
}

function effective(line: EalCommandLine, setMain: (id: number) => void): OptionSpec[] {
  const setLcores = (specs: LcoreSpec[], name: string): void => {
    if (line.lcores.length > 0)
      throw new UsageError(`testpmd: ${name}: the lcores are given twice; use one of -l, --lcores, -c`);
    line.lcores = specs;
  };
  return [
    {
      names: ['-l'],
      value: 'CORELIST',
      help: 'lcores to run on, each on the CPU of its number: 0,1 or 0-3. The first is the main lcore: it takes commands, the others forward',
      apply: (value, name) => setLcores(parseCorelist(value, name), name),
    },
    {
      names: ['--lcores'],
      value: 'COREMAP',
      help: "lcores and their CPUs: '0@0,1@1', '(0-1)@0'; a group without a CPU, '(0-1)', is placed by the operating system",
      apply: (value, name) => {
        setLcores(parseLcoreMap(value, name), name);
        line.pinned = value.includes('@');
      },
    },
    {
      names: ['-c'],
      value: 'COREMASK',
      help: 'lcores as a hexadecimal mask: 0x3 is lcores 0 and 1',
      apply: (value, name) => setLcores(parseCoremask(value, name), name),
    },
    {
      names: ['--main-lcore'],
      value: 'ID',
      help: 'the lcore that takes commands, by default the lowest in the list',
      apply: (value, name) => setMain(wholeNumber(value, name, 0, 63)),
    },
    {
      names: ['-m'],
      value: 'MB',
      help: `host memory for packet buffers, rings and tables, ${MIN_MEMORY_MIB} to ${MAX_MEMORY_MIB} MiB (no hugepages needed)`,
      apply: (value, name) => (line.memoryMiB = wholeNumber(value, name, MIN_MEMORY_MIB, MAX_MEMORY_MIB)),
    },
    {
      names: ['--socket-mem'],
      value: 'MB[,MB...]',
      help: 'the same, as DPDK writes it for each NUMA node: the sum counts',
      apply: (value, name) => {
        const sum = value
          .split(',')
          .reduce((total, part) => total + wholeNumber(part || '0', name, 0, MAX_MEMORY_MIB), 0);
        line.memoryMiB = wholeNumber(String(sum), `${name} (sum)`, MIN_MEMORY_MIB, MAX_MEMORY_MIB);
      },
    },
    {
      names: ['--vdev'],
      value: 'DEVICE',
      help: 'a port, as in net_vhost0,iface=/run/vm0.sock,queues=2; may be given many times, the first is port 0. Keys: docs/testpmd.md, section Devargs',
      apply: (value) => line.vdevs.push(value),
    },
    { names: ['-v', '--version'], help: 'print the version and quit', apply: () => (line.version = true) },
    { names: ['-h', '--help'], help: 'print this help and quit', apply: () => (line.help = true) },
  ];
}

/** Options that tune what Viaduct doesn't have: taken, so that a DPDK command line works as it stands. */
function accepted(): OptionSpec[] {
  const flag = (name: string, help: string): OptionSpec => ({ names: [name], help, apply: () => {} });
  const valued = (names: string[], value: string, help: string): OptionSpec => ({
    names,
    value,
    help,
    apply: () => {},
  });
  return [
    flag('--no-pci', 'there is no PCI bus here'),
    flag('--no-huge', 'host memory never needs hugepages'),
    flag('--in-memory', 'nothing is ever put in shared files'),
    flag('--single-file-segments', 'host memory always is one file'),
    flag('--legacy-mem', 'host memory is reserved once'),
    flag('--match-allocations', 'as above'),
    flag('--no-shconf', 'there are no configuration files'),
    flag('--no-hpet', 'no HPET is used'),
    flag('--no-telemetry', 'there is no telemetry socket'),
    flag('--telemetry', 'there is no telemetry socket'),
    valued(['--file-prefix'], 'PREFIX', 'no files, so nothing to prefix; two instances never collide'),
    valued(['-n'], 'CHANNELS', 'memory channels'),
    valued(['-r'], 'RANKS', 'memory ranks'),
    valued(['--log-level'], '[TYPE:]LEVEL', 'log levels of DPDK components'),
    valued(['--huge-dir'], 'DIR', 'no hugetlbfs is used'),
    { ...valued(['--huge-unlink'], 'MODE', 'no hugetlbfs is used'), valueOptional: true },
    valued(['--socket-limit'], 'MB[,MB...]', 'memory never grows'),
    valued(['--base-virtaddr'], 'ADDRESS', 'addresses are linear-memory addresses'),
    valued(['--iova-mode'], 'pa|va', 'no DMA'),
    valued(['--syslog'], 'FACILITY', 'no syslog is used'),
    {
      ...valued(['--proc-type'], 'primary|auto', 'every instance is primary'),
      apply: (value) => {
        if (value !== 'primary' && value !== 'auto') {
          throw new UsageError(
            `testpmd: --proc-type=${value}: there are no secondary processes here; leave the option out`,
          );
        }
      },
    },
    valued(['-b', '--block'], 'DEVICE', 'there is no PCI bus here'),
    {
      ...valued(['-a', '--allow'], 'DEVICE', 'refused: there is no PCI bus here'),
      apply: (value) => {
        throw new UsageError(
          `testpmd: -a ${value}: there are no PCI devices here; name a port with --vdev (and put -a, auto-start, behind --)`,
        );
      },
    },
  ];
}

function withMainFirst(lcores: LcoreSpec[], main: number): LcoreSpec[] {
  const found = lcores.find(({ id }) => id === main);
  if (found === undefined) throw new UsageError(`testpmd: --main-lcore ${main} is not among the lcores given`);
  return [found, ...lcores.filter((spec) => spec !== found)];
}
