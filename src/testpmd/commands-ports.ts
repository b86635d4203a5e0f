import { type Command, choice, command, count, portId, portOrAll, text, word } from './grammar.js';
import type { Session } from './session.js';

const port = word('port');

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
      for (const p of s.select(which)) {
        if (p.state === 'started') {
          s.print(`Port ${p.id} is now not stopped`);
          continue;
        }
        await p.start();
        s.print(`Port ${p.id}: ${p.macAddress.toUpperCase()}`);
      }
      s.print('Checking link statuses...\nDone');
    },
  ),
  command(
    'ports',
    [port, word('stop'), portOrAll('port')],
    'Stop all ports or port_id.',
    async (s: Session, { port: which }) => {
      s.print('Stopping ports...');
      for (const p of s.select(which)) {
        if (s.isForwardingOn(p)) s.print('Please stop forwarding first');
        else if (p.state === 'started') await p.stop();
      }
      s.print('Done');
    },
  ),
  command(
    'ports',
    [port, word('close'), portOrAll('port')],
    'Close all ports or port_id.',
    async (s: Session, { port: which }) => {
      s.print('Closing ports...');
      for (const p of s.select(which)) {
        if (s.isForwardingOn(p)) s.print('Please stop forwarding first');
        else if (p.state === 'started') s.print('Please stop port first');
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
    [port, word('config'), word('mtu'), portId('port'), count('value')],
    'Set the MTU of port_id to a given value.',
    (s: Session, { port: which, value }) => {
      for (const p of s.select(which)) p.setMtu(value);
    },
  ),
];
