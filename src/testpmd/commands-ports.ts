import type { Port } from '../index.js';
import { type Command, choice, command, count, portId, portOrAll, text, word } from './grammar.js';
import type { Session } from './session.js';

const port = word('port');
const QUEUE_SETTINGS = ['rxq', 'txq', 'rxd', 'txd'] as const;

/** Changing ports. */
export const portCommands: readonly Command<Session>[] = [
  command(
    'config',
    [word('set'), word('promisc'), portOrAll('port'), choice('mode', ['on', 'off'])],
    'Set the promiscuous mode on port_id, or all.',
    (s: Session, { port: which, mode }) => {
      for (const p of s.select(which)) p.setPromiscuous(mode === 'on');
    },
  ),
  command(
    'config',
    [word('mac_addr'), word('set'), portId('port'), text('address', '(XX:XX:XX:XX:XX:XX)', /^[0-9a-fA-F:]{17}$/)],
    'Set the default MAC address for port_id.',
    (s: Session, { port: which, address }) => {
      for (const p of s.select(which)) p.setMacAddress(address);
    },
  ),
  command(
    'ports',
    [port, word('start'), portOrAll('port')],
    'Start all ports or port_id.',
    async (s: Session, { port: which }) => {
      let started = 0;
      for (const p of s.select(which)) {
        if (p.state === 'started') {
          s.print(`Port ${p.id} is now not stopped`);
          continue;
        }
        await s.startPort(p);
        started++;
      }
      s.print(`${started > 0 ? 'Checking link statuses...' : 'Please stop the ports first'}\nDone`);
    },
  ),
  command(
    'ports',
    [port, word('stop'), portOrAll('port')],
    'Stop all ports or port_id.',
    async (s: Session, { port: which }) => {
      s.print('Stopping ports...');
      let stopped = 0;
      for (const p of s.select(which)) {
        if (s.isForwardingOn(p)) s.print(inUse(p));
        else if (p.state === 'started') {
          await p.stop();
          stopped++;
        }
      }
      s.print(stopped > 0 ? 'Checking link statuses...\nDone' : 'Done');
    },
  ),
  command(
    'ports',
    [port, word('close'), portOrAll('port')],
    'Close all ports or port_id.',
    async (s: Session, { port: which }) => {
      s.print('Closing ports...');
      for (const p of s.select(which)) {
        if (s.isForwardingOn(p)) s.print(inUse(p));
        else if (p.state === 'started') s.print(`Cannot close started device (port ${p.id})`);
        else {
          await s.closePort(p);
          s.print(`Port ${p.id} is closed`);
        }
      }
      s.print('Done');
    },
  ),
  command(
    'ports',
    [port, word('reset'), portOrAll('port')],
    'Reset all ports or port_id: configured anew, counters at 0. The port is stopped, and stays so.',
    (s: Session, { port: which }) => {
      const ports = s.select(which);
      if (ports.some(({ state }) => state === 'started')) {
        s.print('Can not reset port(s), please stop port(s) first.');
        return;
      }
      s.print('Resetting ports...');
      for (const p of ports) s.resetPort(p);
      s.print('Done');
    },
  ),
  command(
    'ports',
    [port, word('config'), word('mtu'), portId('port'), count('value')],
    'Set the MTU of port_id to a given value.',
    (s: Session, { port: which, value }) => {
      for (const p of s.select(which)) {
        const { minMtu, maxMtu } = p.info();
        if (value < minMtu) s.print(`MTU (${value}) < device min MTU (${minMtu}) for port_id ${p.id}`);
        else if (value > maxMtu) s.print(`MTU (${value}) > device max MTU (${maxMtu}) for port_id ${p.id}`);
        else p.setMtu(value);
      }
    },
  ),
  command(
    'ports',
    [port, word('config'), word('all'), choice('what', QUEUE_SETTINGS), count('value')],
    'Set number for rxq/txq/rxd/txd. The ports are stopped; it comes into force when they start.',
    (s: Session, { what, value }) => configureAll(s, what, value),
  ),
  command(
    'ports',
    [port, word('config'), word('all'), word('burst'), count('value')],
    'Set the number of packets per burst, as set burst.',
    (s: Session, { value }) => s.setBurst(value),
  ),
];

/** Its virtqueues come in pairs. */
const PAIRED_DRIVER = 'net_virtio_user';

/** Why a port cannot have rings of that many descriptors; undefined when it can. */
function refuseDescriptors(p: Port, what: 'rxd' | 'txd', value: number): string | undefined {
  const { rxDescriptors, txDescriptors } = p.info();
  const { min, max, align, powerOfTwo } = what === 'rxd' ? rxDescriptors : txDescriptors;
  const shape = powerOfTwo ? (value & (value - 1)) === 0 : value % align === 0;
  if (value >= min && value <= max && shape) return undefined;
  const rule = powerOfTwo ? 'a power of two ' : align > 1 ? `a multiple of ${align} ` : '';
  return `Fail: input ${what} (${value}) must be ${rule}from ${min} to ${max} for port ${p.id}`;
}

function inUse(p: Port): string {
  return `Please remove port ${p.id} from forwarding configuration.`;
}

/** `port config all rxq 2`. Nothing changes unless every port can have it. */
function configureAll(s: Session, what: (typeof QUEUE_SETTINGS)[number], value: number): void {
  const { setups, config } = s;
  if (setups.some(({ port: p }) => p.state === 'started')) {
    s.print('Please stop all ports first');
    return;
  }
  if (what === 'rxq' || what === 'txq') {
    for (const { port: p } of setups) {
      const { maxRxQueues, maxTxQueues } = p.info();
      const most = what === 'rxq' ? maxRxQueues : maxTxQueues;
      if (value <= most) continue;
      const limit = what === 'rxq' ? 'max_rx_queues' : 'max_tx_queues';
      s.print(`Fail: input ${what} (${value}) can't be greater than ${limit} (${most}) of port ${p.id}`);
      return;
    }
    const other = what === 'rxq' ? config.txQueueCount : config.rxQueueCount;
    if (value === 0 && other === 0) {
      s.print('Warning: Either rx or tx queues should be non zero');
      return;
    }
    if (what === 'rxq') config.rxQueueCount = value;
    else config.txQueueCount = value;
    const paired = setups.find(({ port: p }) => p.driver === PAIRED_DRIVER);
    if (paired !== undefined && config.rxQueueCount !== config.txQueueCount) {
      const rest = what === 'rxq' ? 'txq' : 'rxq';
      s.print(
        `Port ${paired.port.id} has as many rx as tx queues: say 'port config all ${rest} ${value}' too, before it starts`,
      );
    }
  } else {
    if (value === 0) {
      s.print(`${what} ${value} <= 0 - invalid`);
      return;
    }
    const refused = setups.map(({ port: p }) => refuseDescriptors(p, what, value)).find((text) => text !== undefined);
    if (refused !== undefined) {
      s.print(refused);
      return;
    }
    if (what === 'rxd') config.rxDescriptorCount = value;
    else config.txDescriptorCount = value;
  }
  for (const setup of setups) setup.changed = true;
}
