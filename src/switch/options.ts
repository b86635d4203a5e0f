import { MAX_BURST, MAX_PORTS } from '../../assembly/layout.js';
import { getopt, type OptionSpec, optionHelp } from '../cli/getopt.js';
import { type LcoreSpec, parseLcoreMap } from '../cli/lcores.js';
import { didYouMean } from '../cli/nearest.js';
import { wholeNumber } from '../cli/numbers.js';
import { UsageError } from '../cli/usage-error.js';

/** What `viaduct switch` was asked for. */
export interface SwitchOptions {
  /** vdev strings: the first is port 0. */
  ports: string[];
  /** Worker lcores; empty: one, which the operating system places. */
  lcores: LcoreSpec[];
  /** Seconds between two tables of statistics; 0: a status line on a terminal, nothing elsewhere. */
  statsSeconds: number;
  /** Never sleep. */
  poll: boolean;
  /** Seconds after which a station that was silent is forgotten. */
  ageingSeconds: number;
  memoryMiB: number | undefined;
  mbufCount: number | undefined;
  burst: number;
  help: boolean;
}

/** Parses the arguments behind `viaduct switch`. Throws UsageError. */
export function parseSwitchOptions(args: readonly string[]): SwitchOptions {
  const options = defaults();
  getopt(args, table(options), 'switch');
  if (options.help) return options;
  if (options.ports.length === 0) {
    throw new UsageError(
      'switch: no port given; say --port vhost:/run/vm0.sock --port vhost:/run/vm1.sock (viaduct switch --help)',
    );
  }
  if (options.ports.length > MAX_PORTS)
    throw new UsageError(`switch: ${options.ports.length} ports, at most ${MAX_PORTS} are possible`);
  if (options.lcores.some(({ id }) => id === 0)) {
    throw new UsageError(
      'switch: lcore 0 is the main thread, which only controls; number the workers from 1 on, as in --lcores 1@1',
    );
  }
  return options;
}

export function switchHelp(): string {
  return `usage: viaduct switch --port SPEC [--port SPEC ...] [options]

A learning Ethernet switch between virtual machines. Stop it with Ctrl-C: it prints the totals.

A port is one of
  vhost:PATH[,KEY=VALUE...]     a vhost-user socket that Viaduct listens on; client=1: that the VM listens on
  virtio:PATH[,KEY=VALUE...]    the guest's side of somebody else's vhost-user socket (virtio-user)
  ring:NAME                     one end of a ring pair inside this process; the other end is a second ring:NAME
  null:                         packets out of nothing, into nothing
  net_vhost0,iface=PATH,...     any device as DPDK writes it; its keys are taken as they are: tso=1 for large packets
Useful keys: client=1: the VM listens; queues=4: queue pairs (the VM's device wants mq=on), over which flows are spread;
tso=0: guests get no packet larger than their MTU (vhost: adds tso=1 by itself); coalesce-usecs=50, coalesce-frames=64,
coalesce-adaptive=1 (the defaults): how long an interrupt of the guest may be put off, how many packets end the wait, 1: only
under load; coalesce-usecs=0: never. All keys: docs/testpmd.md, section Devargs.

${optionHelp(table(defaults()))}

QEMU's side of a port:
  -object memory-backend-memfd,id=mem,size=1G,share=on -machine q35,memory-backend=mem
  -chardev socket,id=c0,path=/run/vm0.sock -netdev vhost-user,id=n0,chardev=c0 -device virtio-net-pci,netdev=n0`;
}

/** Kinds of a port, and the vdev that each stands for. */
const KINDS: Readonly<
  Record<string, { readonly driver: string; readonly key: string; readonly needsTarget: boolean }>
> = {
  vhost: { driver: 'net_vhost', key: 'iface', needsTarget: true },
  virtio: { driver: 'net_virtio_user', key: 'path', needsTarget: true },
  ring: { driver: 'net_ring', key: 'wire', needsTarget: true },
  null: { driver: 'net_null', key: '', needsTarget: false },
};

/** `vhost:/run/vm0.sock,queues=2` → `net_vhost0,iface=/run/vm0.sock,queues=2`; a vdev string stays as it is. */
export function portSpecToVdev(spec: string, index: number): string {
  const colon = spec.indexOf(':');
  const comma = spec.indexOf(',');
  if (spec.startsWith('net_') && (colon < 0 || (comma >= 0 && comma < colon))) return spec;
  if (/^net_[a-z_]+\d+$/.test(spec)) return spec;
  const kindName = colon < 0 ? spec : spec.slice(0, colon);
  const kind = KINDS[kindName];
  if (colon < 0 || kind === undefined) {
    const names = Object.keys(KINDS).map((name) => `${name}:`);
    throw new UsageError(
      `switch: --port ${spec}: '${kindName}' is no kind of port (${names.join(' ')} or a vdev such as net_vhost0,iface=PATH)${didYouMean(`${kindName}:`, names)}`,
    );
  }
  const [target = '', ...keys] = spec.slice(colon + 1).split(',');
  if (kind.needsTarget && target === '') {
    throw new UsageError(
      `switch: --port ${spec}: ${kindName}: needs a ${kind.key === 'wire' ? 'name' : 'socket path'} behind the colon`,
    );
  }
  const first = target === '' ? [] : kind.key === '' ? [target] : [`${kind.key}=${target}`];
  // Guests of one switch need not cut up what they send each other: DPDK's default for tso, 0, is for those who do.
  const tso = kindName === 'vhost' && !keys.some((key) => key.startsWith('tso=')) ? ['tso=1'] : [];
  return [`${kind.driver}${index}`, ...first, ...tso, ...keys].join(',');
}

function defaults(): SwitchOptions {
  return {
    ports: [],
    lcores: [],
    statsSeconds: 0,
    poll: false,
    ageingSeconds: 300,
    memoryMiB: undefined,
    mbufCount: undefined,
    burst: 32,
    help: false,
  };
}

function table(o: SwitchOptions): OptionSpec[] {
  return [
    {
      names: ['-p', '--port'],
      value: 'SPEC',
      help: 'a port, see above; may be given many times',
      apply: (value) => o.ports.push(portSpecToVdev(value, o.ports.length)),
    },
    {
      names: ['-l', '--lcores'],
      value: 'LCORES',
      help: 'worker lcores, as in 1,2, or with their CPUs, 1@1,2@2; by default one worker that the operating system places',
      apply: (value, name) => (o.lcores = parseLcoreMap(value, name, false)),
    },
    {
      names: ['--stats'],
      value: 'SECONDS',
      help: 'print a table of the ports every so often, in place of the status line of a terminal',
      apply: (value, name) => (o.statsSeconds = wholeNumber(value, name, 1, 86400)),
    },
    { names: ['--poll'], help: 'never sleep: lowest latency, one CPU a worker', apply: () => (o.poll = true) },
    {
      names: ['--ageing'],
      value: 'SECONDS',
      help: 'forget a station after so many seconds of silence, 300',
      apply: (value, name) => (o.ageingSeconds = wholeNumber(value, name, 1, 1_000_000)),
    },
    {
      names: ['-m', '--memory'],
      value: 'MIB',
      help: 'host memory for packet buffers and tables, 16 to 2044 MiB',
      apply: (value, name) => (o.memoryMiB = wholeNumber(value, name, 16, 2044)),
    },
    {
      names: ['--mbufs'],
      value: 'N',
      help: 'packet buffers, by default enough for every port and lcore',
      apply: (value, name) => (o.mbufCount = wholeNumber(value, name, 512, 1_000_000)),
    },
    {
      names: ['--burst'],
      value: 'N',
      help: 'packets a burst, 32',
      apply: (value, name) => (o.burst = wholeNumber(value, name, 1, MAX_BURST)),
    },
    { names: ['-h', '--help'], help: 'print this help and quit', apply: () => (o.help = true) },
  ];
}
