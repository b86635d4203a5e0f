import { type Command, choice, command, count, portId, word } from './grammar.js';
import type { Session } from './session.js';

const [vlan, txVlan, set, reset] = [word('vlan'), word('tx_vlan'), word('set'), word('reset')];
const MAX_VLAN_ID = 4095;

/** The rx offload behind each kind of `vlan set`; filter and extend are for NICs that keep a table of VLANs. */
const KINDS = {
  strip: { offload: 'VLAN_STRIP', what: 'strip' },
  filter: undefined,
  qinq_strip: { offload: 'QINQ_STRIP', what: 'qinqStrip' },
  extend: undefined,
} as const;
const KIND_NAMES = Object.keys(KINDS) as (keyof typeof KINDS)[];

/** VLAN tags: off what a port receives, and into what it sends. */
export const vlanCommands: readonly Command<Session>[] = [
  command(
    'config',
    [vlan, set, choice('kind', KIND_NAMES), choice('mode', ['on', 'off']), portId('port')],
    'Set the VLAN strip or QinQ strip on a port, also while it runs. filter and extend: no port here has them.',
    (s: Session, { kind, mode, port: id }) => {
      const [port] = s.select(id);
      if (port === undefined) return;
      const known = KINDS[kind];
      if (known !== undefined && port.info().rxOffloadCapabilities.includes(known.offload)) {
        s.setup(port).setVlanStrip(known.what, mode === 'on');
      } else if (mode === 'on') {
        s.print(`Error: vlan ${kind} is not supported by port ${id}`);
      }
    },
  ),
  command(
    'config',
    [txVlan, set, portId('port'), count('vlan_id')],
    'Set hardware insertion of VLAN ID in packets sent on a port: by every engine but io, icmpecho and l2.',
    (s: Session, { port, vlan_id }) => insertTags(s, port, vlan_id),
  ),
  command(
    'config',
    [txVlan, set, portId('port'), count('vlan_id'), count('vlan_id_outer')],
    'Set hardware insertion of two VLAN IDs (802.1ad) in packets sent on a port.',
    (s: Session, { port, vlan_id, vlan_id_outer }) => insertTags(s, port, vlan_id, vlan_id_outer),
  ),
  command(
    'config',
    [txVlan, reset, portId('port')],
    'Disable hardware insertion of a VLAN header in packets sent on a port.',
    (s: Session, { port }) => s.selectStopped(port)?.setTxVlan(undefined),
  ),
];

function insertTags(s: Session, id: number, vlanId: number, outerVlanId?: number): void {
  const setup = s.selectStopped(id);
  if (setup === undefined) return;
  const wrong = [vlanId, outerVlanId ?? 0].find((vlan) => vlan > MAX_VLAN_ID);
  const double = outerVlanId !== undefined;
  const has = setup.port.info().txOffloadCapabilities;
  if (wrong !== undefined) {
    s.print(`Invalid vlan_id ${wrong} (must be < 4096)`);
  } else if (!double && setup.txOffloads.has('QINQ_INSERT')) {
    s.print(`Error, as QinQ has been enabled.\nSay tx_vlan reset ${id} first`);
  } else if (!has.includes(double ? 'QINQ_INSERT' : 'VLAN_INSERT')) {
    s.print(`Error: ${double ? 'qinq' : 'vlan'} insert is not supported by port ${id}`);
  } else {
    setup.setTxVlan(double ? { vlanId, outerVlanId } : { vlanId });
  }
}
