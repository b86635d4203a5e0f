/** A frame that comes from a guest: the mbuf for it, and what it must be before it is let in (hostile input G13). */
import {
  MBUF_DATA_OFF,
  MBUF_HEADROOM,
  MBUF_L2_LEN,
  MBUF_NB_SEGS,
  MBUF_OL_FLAGS,
  MBUF_VLAN_TCI,
} from '../layout';

/** Ethernet types as loaded little-endian: 0x8100 and 0x88a8. */
const VLAN_TYPE: u32 = 0x0081;
const QINQ_TYPE: u32 = 0xa888;
/** Ethernet header with one tag. */
const VLAN_HDR_LEN: u32 = 18;

/** The frame says, in our copy of it, that it has a VLAN tag, and ends inside it. */
// @ts-ignore: decorator
@inline
export function isCutVlan(data: usize, frameLen: u32): bool {
  if (frameLen >= VLAN_HDR_LEN) return false;
  const etherType = <u32>load<u16>(data, 12);
  return etherType == VLAN_TYPE || etherType == QINQ_TYPE;
}

/** A fresh mbuf of one segment, without any flag. */
// @ts-ignore: decorator
@inline
export function mbufBegin(mbuf: usize, segmentAndPort: u32): void {
  store<u32>(mbuf, MBUF_HEADROOM, MBUF_DATA_OFF);
  store<u32>(mbuf, segmentAndPort, MBUF_NB_SEGS);
  store<u64>(mbuf, 0, MBUF_OL_FLAGS);
  store<u32>(mbuf, 0, MBUF_VLAN_TCI);
  store<u64>(mbuf, 0, MBUF_L2_LEN);
}
