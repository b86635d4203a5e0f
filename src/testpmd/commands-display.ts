import type { Port } from '../index.js';
import * as format from './format.js';
import { type Command, choice, command, portOrAll, word } from './grammar.js';
import type { Session } from './session.js';

const [show, clear] = [word('show'), word('clear')];
const all = word('all');

/** Showing and clearing. */
export const displayCommands: readonly Command<Session>[] = [
  command(
    'display',
    [show, word('port'), choice('what', ['info', 'stats', 'xstats', 'summary']), portOrAll('port')],
    'Display information, statistics or a summary line of a port, or of all.',
    (s: Session, { what, port }) => {
      const ports = s.select(port);
      if (ports.length === 0) return;
      if (what === 'summary') {
        s.print(
          format.portSummary(
            ports.map((p) => ({ info: p.info(), link: p.link() })),
            s.portIds.length,
          ),
        );
        return;
      }
      for (const p of ports) {
        if (what === 'stats') s.print(s.portStats(p));
        else if (what === 'xstats') s.print(format.portXstats(p.id, p.xstats(), s.config.xstatsHideZero));
        else {
          s.print(format.portInfo(portFacts(s, p)));
        }
      }
    },
  ),
  command(
    'display',
    [clear, word('port'), choice('what', ['stats', 'xstats']), portOrAll('port')],
    'Set the counters of a port, or of all, to 0.',
    (s: Session, { port }) => {
      for (const p of s.select(port)) {
        s.clearPortStats(p);
        s.print(`\n  NIC statistics for port ${p.id} cleared`);
      }
    },
  ),
  command(
    'display',
    [show, word('fwd'), word('stats'), all],
    'Display statistics for all fwd engines: of the running forwarding or of the last.',
    (s: Session) => s.print(s.forwardStats()),
  ),
  command(
    'display',
    [clear, word('fwd'), word('stats'), all],
    'Clear statistics for all fwd engines.',
    (s: Session) => {
      s.clearForwardStats();
    },
  ),
  command(
    'display',
    [show, word('config'), choice('what', ['rxtx', 'cores', 'fwd', 'txpkts'])],
    'Display the given configuration.',
    (s: Session, { what }) => {
      if (what === 'fwd') s.print(`${s.forwardingConfig()}\n`);
      else if (what === 'rxtx') s.print(s.rxtxConfig());
      else if (what === 'cores') s.print(`List of forwarding lcores:  ${s.forwardingLcoreIds.join(' ')}`);
      else s.print(format.txPacketsConfig(s.config.txPackets));
    },
  ),
];

function portFacts(s: Session, p: Port): format.PortFacts {
  const info = p.info();
  const queues = (direction: 'rx' | 'tx', queueCount: number) =>
    Array.from({ length: queueCount }, (_, queue) => p.coalescing(queue, direction));
  return {
    info,
    link: p.link(),
    mtu: p.mtu,
    promiscuous: p.promiscuous,
    rxOffloads: p.rxOffloads,
    devargs: s.setup(p).devargs,
    ...(info.coalescing === undefined
      ? {}
      : { coalescing: [...queues('rx', info.rxQueueCount), ...queues('tx', info.txQueueCount)] }),
  };
}
