/** VLAN tags that a forwarder has its tx ports insert: testpmd's `tx_vlan set`. */
import { MBUF_F_TX_QINQ, MBUF_F_TX_VLAN } from '../../assembly/layout.js';
import { ViaductError } from '../errors.js';
import type { Port } from '../ethdev/port.js';

/** What a port puts into every packet that leaves through it. */
export interface TxVlan {
  /** VLAN of the tag, 0 to 4095. */
  readonly vlanId: number;
  /** VLAN of a second tag outside of it (802.1ad), 0 to 4095. */
  readonly outerVlanId?: number;
}

const MAX_VLAN_ID = 4095;

/** ERR_INVALID_ARGUMENT for a number that is no VLAN, ERR_OFFLOAD unless the port can insert such tags. */
export function checkTxVlan(owner: string, port: Port, { vlanId, outerVlanId }: TxVlan): void {
  for (const id of outerVlanId === undefined ? [vlanId] : [vlanId, outerVlanId]) {
    if (Number.isInteger(id) && id >= 0 && id <= MAX_VLAN_ID) continue;
    throw new ViaductError(
      'ERR_INVALID_ARGUMENT',
      `${owner}: VLAN ${id} is not a whole number from 0 to ${MAX_VLAN_ID}`,
    );
  }
  const has = port.info().txOffloadCapabilities;
  const offload = outerVlanId === undefined ? 'VLAN_INSERT' : 'QINQ_INSERT';
  if (has.includes(offload)) return;
  throw new ViaductError(
    'ERR_OFFLOAD',
    `${owner}: ${port.label} has no tx offload ${offload}; it has: ${has.join(', ') || 'none'}`,
  );
}

/** As a stream's record has it. */
export function txTags({ vlanId, outerVlanId }: TxVlan): { flags: number; tcis: number } {
  if (outerVlanId === undefined) return { flags: MBUF_F_TX_VLAN, tcis: vlanId };
  return { flags: MBUF_F_TX_VLAN | MBUF_F_TX_QINQ, tcis: vlanId | (outerVlanId << 16) };
}
