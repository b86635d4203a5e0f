import {
  MAX_BURST,
  MAX_PORTS,
  MAX_QUEUE_PAIRS,
  MAX_VRING_SIZE,
  MBUF_HEADROOM,
  TXONLY_MAX_SEGMENTS,
} from '../../assembly/layout.js';
import { getopt, type OptionSpec, optionHelp } from '../cli/getopt.js';
import { didYouMean } from '../cli/nearest.js';
import { wholeNumber } from '../cli/numbers.js';
import { UsageError } from '../cli/usage-error.js';
import type { RxOffload, TxOffload } from '../index.js';
import { offloadsOfMask, RX_OFFLOADS, TX_OFFLOADS } from './offloads.js';

/** The forwarding modes of `set fwd` and `--forward-mode`. `l2`, the learning switch, is Viaduct's own; the others are DPDK's. */
export const FORWARD_MODES = [
  'io',
  'mac',
  'macswap',
  'flowgen',
  'rxonly',
  'txonly',
  'csum',
  'icmpecho',
  '5tswap',
  'l2',
] as const;
export type ForwardMode = (typeof FORWARD_MODES)[number];

export const PORT_TOPOLOGIES = ['paired', 'chained', 'loop'] as const;
export type PortTopology = (typeof PORT_TOPOLOGIES)[number];

/** What testpmd's own options (behind `--`) say; undefined is testpmd's default. */
export interface AppOptions {
  interactive: boolean;
  autoStart: boolean;
  txFirst: boolean;
  forwardMode: ForwardMode;
  portTopology: PortTopology;
  rxQueueCount: number;
  txQueueCount: number;
  burst: number;
  mempoolCache: number;
  /** Data room of an mbuf with its headroom, bytes. */
  mbufBytes: number;
  /** Bytes of each segment of a generated packet. */
  txPackets: number[];
  lcoreCount: number | undefined;
  portCount: number | undefined;
  rxDescriptorCount: number | undefined;
  txDescriptorCount: number | undefined;
  mbufCount: number | undefined;
  /** Offloads of all queues of every port. */
  rxOffloads: Set<RxOffload>;
  txOffloads: Set<TxOffload>;
  /** MTU that every port is configured with, bytes; undefined: the port's own. */
  mtu: number | undefined;
  /** Flows that flowgen goes through. */
  flowCount: number;
  /** Leaves counters that are 0 out of `show port xstats`. */
  xstatsHideZero: boolean;
  /** Seconds between two prints of the port statistics; 0 never. */
  statsPeriodSeconds: number;
  /** MAC address of the peer behind a port, by port id: what `mac` forwarding writes. */
  ethPeers: Map<number, string>;
  /** File of commands to run first. */
  commandFile: string | undefined;
  help: boolean;
}

/** testpmd's defaults. */
export function defaultAppOptions(): AppOptions {
  return {
    interactive: false,
    autoStart: false,
    txFirst: false,
    forwardMode: 'io',
    portTopology: 'paired',
    rxQueueCount: 1,
    txQueueCount: 1,
    burst: 32,
    mempoolCache: 250,
    mbufBytes: 2176,
    txPackets: [64],
    lcoreCount: undefined,
    portCount: undefined,
    rxDescriptorCount: undefined,
    txDescriptorCount: undefined,
    mbufCount: undefined,
    rxOffloads: new Set(),
    txOffloads: new Set(),
    mtu: undefined,
    flowCount: 1024,
    xstatsHideZero: false,
    statsPeriodSeconds: 0,
    ethPeers: new Map(),
    commandFile: undefined,
    help: false,
  };
}

/** Parses the options behind `--`. Throws UsageError. */
export function parseAppOptions(args: readonly string[]): AppOptions {
  const options = defaultAppOptions();
  getopt(args, table(options), 'testpmd (behind --)');
  // here, because --mbuf-size may come behind --txpkts
  const refused = refuseTxPackets(options.txPackets, options.mbufBytes);
  if (refused !== undefined) throw new UsageError(`--txpkts=${options.txPackets.join(',')}: ${refused}`);
  return options;
}

export function appHelp(): string {
  return `testpmd options (behind --):\n${optionHelp(appOptionTable())}`;
}

/** testpmd's own options, those that are only taken at the end. */
export function appOptionTable(): OptionSpec[] {
  return table(defaultAppOptions());
}

/** `64,64,1024` → lengths. Throws UsageError; `what` names the option or command. */
export function parseTxPackets(text: string, what: string): number[] {
  const lengths = text.split(',').map((part) => wholeNumber(part, what, 1, 65535));
  if (lengths.length > TXONLY_MAX_SEGMENTS) {
    throw new UsageError(`${what}: ${lengths.length} segments, at most ${TXONLY_MAX_SEGMENTS} are possible`);
  }
  return lengths;
}

/** Ethernet, IPv4 and UDP headers of a generated packet: over several segments where the first is shorter, but for flowgen. */
const TXONLY_HEADER_BYTES = 42;

/** Ethernet header and the longest IPv4 packet. */
const TXONLY_MAX_BYTES = 65_549;

/**
 * Why packets of these segment lengths can't be generated (testpmd's rules), or undefined when they can. `mbufBytes` is
 * --mbuf-size: testpmd compares with all of it, but a segment has no more than what the headroom leaves.
 */
export function refuseTxPackets(lengths: readonly number[], mbufBytes: number): string | undefined {
  const room = mbufBytes - MBUF_HEADROOM;
  for (const [i, length] of lengths.entries()) {
    if (length > room) {
      return `length[${i}]=${length} > ${room}, what mbuf_data_size=${mbufBytes} leaves behind the headroom - give up\nSplit it into segments of at most ${room}, or start testpmd with --mbuf-size=${length + MBUF_HEADROOM}`;
    }
  }
  const total = lengths.reduce((sum, length) => sum + length, 0);
  if (total < TXONLY_HEADER_BYTES) return `total packet length=${total} < ${TXONLY_HEADER_BYTES} - give up`;
  if (total > TXONLY_MAX_BYTES) return `total packet length=${total} > ${TXONLY_MAX_BYTES} - give up`;
  return undefined;
}

/** Ethernet header and frame check sequence: what DPDK counts on top of the MTU. */
const ETHER_OVERHEAD = 18;
const MIN_PACKET = 64;
const MAX_PACKET = 65_535;

export function parseForwardMode(text: string, what: string): ForwardMode {
  return oneOf(text, FORWARD_MODES, what);
}

function oneOf<T extends string>(text: string, words: readonly T[], what: string): T {
  const found = words.find((word) => word === text);
  if (found === undefined)
    throw new UsageError(`${what}: '${text}' is none of ${words.join(', ')}${didYouMean(text, words)}`);
  return found;
}

function table(o: AppOptions): OptionSpec[] {
  const flag = (names: string[], help: string, set: () => void): OptionSpec => ({ names, help, apply: set });
  const count = (name: string, min: number, max: number, help: string, set: (n: number) => void): OptionSpec => ({
    names: [name],
    value: 'N',
    help,
    apply: (value) => set(wholeNumber(value, name, min, max)),
  });
  return [
    flag(
      ['-i', '--interactive'],
      'take commands; without it forwarding starts at once and ends with Enter or Ctrl-C',
      () => {
        o.interactive = true;
      },
    ),
    flag(['-a', '--auto-start'], 'start forwarding at once, also with -i', () => (o.autoStart = true)),
    flag(['--tx-first'], 'send one burst on every port before forwarding', () => (o.txFirst = true)),
    {
      names: ['--forward-mode'],
      value: 'MODE',
      help: `${FORWARD_MODES.join('|')} (l2, a learning switch, is Viaduct's own)`,
      apply: (value, name) => (o.forwardMode = parseForwardMode(value, name)),
    },
    {
      names: ['--port-topology'],
      value: 'TOPOLOGY',
      help: 'paired: 0 and 1, 2 and 3 (default); chained: 0 to 1 to 2 to 0; loop: every port to itself',
      apply: (value, name) => (o.portTopology = oneOf(value, PORT_TOPOLOGIES, name)),
    },
    count('--nb-cores', 1, 63, 'lcores that forward', (n) => (o.lcoreCount = n)),
    count('--nb-ports', 1, MAX_PORTS, 'ports that forward', (n) => (o.portCount = n)),
    count('--rxq', 1, MAX_QUEUE_PAIRS, 'receive queues of each port', (n) => (o.rxQueueCount = n)),
    count('--txq', 1, MAX_QUEUE_PAIRS, 'transmit queues of each port', (n) => (o.txQueueCount = n)),
    count('--rxd', 1, MAX_VRING_SIZE, 'descriptors of a receive queue', (n) => (o.rxDescriptorCount = n)),
    count('--txd', 1, MAX_VRING_SIZE, 'descriptors of a transmit queue', (n) => (o.txDescriptorCount = n)),
    count('--burst', 1, MAX_BURST, 'packets a burst, 32', (n) => (o.burst = n)),
    count('--mbcache', 0, 512, 'mbufs that an lcore keeps in its cache, 250', (n) => (o.mempoolCache = n)),
    count('--total-num-mbufs', 64, 4_000_000, 'mbufs in the pool', (n) => (o.mbufCount = n)),
    count(
      '--mbuf-size',
      256,
      65535,
      'data room of an mbuf in bytes, headroom included, 2176',
      (n) => (o.mbufBytes = n),
    ),
    count(
      '--max-pkt-len',
      MIN_PACKET,
      MAX_PACKET,
      'longest frame in bytes, which sets every port’s MTU 18 bytes below',
      (n) => {
        o.mtu = n - ETHER_OVERHEAD;
      },
    ),
    flag(['--enable-rx-cksum'], 'have ports verify IPv4, UDP and TCP checksums of what they receive', () => {
      for (const offload of ['IPV4_CKSUM', 'UDP_CKSUM', 'TCP_CKSUM'] as const) o.rxOffloads.add(offload);
    }),
    flag(['--enable-lro'], 'take packets that the peer has made of several', () => o.rxOffloads.add('TCP_LRO')),
    flag(['--enable-scatter'], 'take packets of several mbufs', () => o.rxOffloads.add('SCATTER')),
    flag(['--enable-hw-vlan', '--enable-hw-vlan-strip'], 'have ports take VLAN tags off', () =>
      o.rxOffloads.add('VLAN_STRIP'),
    ),
    flag(['--enable-hw-qinq-strip'], 'have ports take both tags off', () => o.rxOffloads.add('QINQ_STRIP')),
    {
      names: ['--rx-offloads'],
      value: 'MASK',
      help: 'hexadecimal mask of the receive offloads of all queues, DPDK’s bits: 0x1 VLAN_STRIP, 0xe checksums, ...',
      apply: (value, name) => (o.rxOffloads = offloadsOfMask(RX_OFFLOADS, value, name)),
    },
    {
      names: ['--tx-offloads'],
      value: 'MASK',
      help: 'hexadecimal mask of the transmit offloads of all queues, DPDK’s bits: 0xe checksums, 0x20 TCP_TSO, 0x8000 MULTI_SEGS, ...',
      apply: (value, name) => (o.txOffloads = offloadsOfMask(TX_OFFLOADS, value, name)),
    },
    count('--flowgen-flows', 1, 0x7fff_ffff, 'flows that flowgen goes through, 1024', (n) => (o.flowCount = n)),
    {
      names: ['--txpkts'],
      value: 'LENGTH[,LENGTH...]',
      help: 'bytes of each segment of a packet that txonly, flowgen and tx_first send, 64; flowgen wants 42 or more in the first',
      apply: (value, name) => (o.txPackets = parseTxPackets(value, name)),
    },
    {
      names: ['--eth-peer'],
      value: 'PORT,MAC',
      help: 'the MAC address behind a port, which mac forwarding writes as destination; may be given many times',
      apply: (value, name) => {
        const [port, mac, ...rest] = value.split(',');
        if (mac === undefined || rest.length > 0 || !isMac(mac)) {
          throw new UsageError(`${name} takes PORT,MAC as in 0,02:00:00:00:00:01, got '${value}'`);
        }
        o.ethPeers.set(wholeNumber(port!, `${name} (port)`, 0, MAX_PORTS - 1), mac.toLowerCase());
      },
    },
    count(
      '--stats-period',
      1,
      86400,
      'print the port statistics every N seconds while forwarding (not with -i)',
      (n) => {
        o.statsPeriodSeconds = n;
      },
    ),
    {
      names: ['--cmdline-file'],
      value: 'FILE',
      help: 'run the commands in this file first',
      apply: (value) => (o.commandFile = value),
    },
    flag(['-h', '--help'], 'print this help and quit', () => (o.help = true)),
    ...accepted(),
  ];
}

/** Six hexadecimal bytes, and no group address: a peer is one machine. */
export function isMac(text: string): boolean {
  return /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text) && (Number.parseInt(text.slice(0, 2), 16) & 1) === 0;
}

/** Options of testpmd that steer what isn't here: taken, so that a DPDK command line works as it stands. */
function accepted(): OptionSpec[] {
  const names = [
    ['--numa', '--no-numa', '--mlockall', '--no-mlockall', '--no-flush-rx', '--no-lsc-interrupt', '--no-rmv-interrupt'],
    ['--disable-rss', '--rss-ip', '--rss-udp', '--disable-link-check', '--disable-crc-strip'],
  ].flat();
  return [{ names, help: 'taken from a DPDK command line, nothing to do here', apply: () => {} }];
}
