import { FORWARD_MODES, isMac, PORT_TOPOLOGIES, parseTxPackets, refuseTxPackets } from './app-options.js';
import { type Command, choice, command, count, portId, text, word } from './grammar.js';
import { ODD_PORTS, type Session } from './session.js';

const [start, stop, set] = [word('start'), word('stop'), word('set')];

/** Starting, stopping and configuring the forwarding. A `set` becomes active at the next start, as in testpmd. */
export const forwardingCommands: readonly Command<Session>[] = [
  command('control', [start], 'Start packet forwarding with current configuration.', (s: Session) =>
    s.startForwarding(),
  ),
  command(
    'control',
    [start, word('tx_first')],
    'Start packet forwarding with current config after sending one burst of packets.',
    (s: Session) => s.startForwarding(1),
  ),
  command(
    'control',
    [start, word('tx_first'), count('burst_num')],
    'The same after sending burst_num bursts of packets.',
    (s: Session, { burst_num }) => s.startForwarding(burst_num),
  ),
  command('control', [stop], 'Stop packet forwarding, and display accumulated statistics.', (s: Session) =>
    s.stopForwarding(),
  ),
  command(
    'config',
    [set, word('fwd'), choice('mode', FORWARD_MODES)],
    "Set packet forwarding mode. l2 is Viaduct's own: a learning switch over all ports.",
    (s: Session, { mode }) => {
      s.config.forwardMode = mode;
      s.print(`Set ${mode} packet forwarding mode`);
    },
  ),
  command('config', [set, word('burst'), count('num')], 'Set number of packets per burst.', (s: Session, { num }) =>
    s.setBurst(num),
  ),
  command(
    'config',
    [set, word('txpkts'), text('lengths', '(x[,y]*)', /^\d{1,5}(,\d{1,5})*$/)],
    'Set the length of each segment of the packets that txonly, flowgen and tx_first send; flowgen wants 42 or more in the first.',
    (s: Session, { lengths }) => {
      const packets = parseTxPackets(lengths, 'set txpkts');
      const refused = refuseTxPackets(packets, s.config.mbufBytes);
      if (refused !== undefined) s.print(refused);
      else s.config.txPackets = packets;
    },
  ),
  command(
    'config',
    [set, word('flow'), count('num')],
    "Set the number of flows that flowgen goes through (Viaduct's own; testpmd has --flowgen-flows only).",
    (s: Session, { num }) => {
      if (num < 1 || num > 0x7fff_ffff) s.print(`flows: ${num} is not from 1 to ${0x7fff_ffff} - ignored`);
      else {
        s.config.flowCount = num;
        s.print(`Number of flows set to ${num}`);
      }
    },
  ),
  command(
    'config',
    [set, word('xstats-hide-zero'), choice('mode', ['on', 'off'])],
    'Set the option to hide the zero values for xstats display.',
    (s: Session, { mode }) => {
      s.config.xstatsHideZero = mode === 'on';
    },
  ),
  command('config', [set, word('nbcore'), count('num')], 'Set number of cores.', (s: Session, { num }) => {
    const most = s.workerIds.length;
    if (num > most) s.print(`nb fwd cores ${num} > ${most} (max. number of configured lcores) - ignored`);
    else if (num < 1) s.print('nb fwd cores 0 < 1 - ignored');
    else {
      s.config.lcoreCount = num;
      s.print(`Number of forwarding cores set to ${num}`);
    }
  }),
  command('config', [set, word('nbport'), count('num')], 'Set number of ports.', (s: Session, { num }) => {
    const most = s.portIds.length;
    if (num > most) s.print(`nb fwd ports ${num} > ${most} (number of available ports) - ignored`);
    else if (num < 1) s.print('nb fwd ports 0 < 1 - ignored');
    else {
      s.config.portCount = num;
      s.print(`Number of forwarding ports set to ${num}`);
      if (s.config.portTopology === 'paired' && num % 2 === 1) s.print(ODD_PORTS);
    }
  }),
  command(
    'config',
    [set, word('port-topology'), choice('topology', PORT_TOPOLOGIES)],
    "Set which port's packets go where (Viaduct's own; testpmd has it as an option only).",
    (s: Session, { topology }) => {
      s.config.portTopology = topology;
    },
  ),
  command(
    'config',
    [set, word('eth-peer'), portId('port'), text('address', '(peer_addr)', /^[0-9a-fA-F:]{17}$/)],
    'set the peer address for certain port.',
    (s: Session, { port, address }) => {
      if (s.select(port).length === 0) return;
      if (isMac(address)) s.config.ethPeers.set(port, address.toLowerCase());
      else s.print(`'${address}' is no unicast MAC address such as 02:00:00:00:00:01`);
    },
  ),
];
