/** What a frame must be before it is let in: hostile input G13. Looks at our copy, never at guest memory. */

/** Ethernet types as loaded little-endian: 0x8100 and 0x88a8. */
const VLAN_TYPE: u32 = 0x0081;
const QINQ_TYPE: u32 = 0xa888;
/** Ethernet header with one tag. */
const VLAN_HDR_LEN: u32 = 18;

/** The frame says that it has a VLAN tag, and ends inside it. */
// @ts-ignore: decorator
@inline
export function isCutVlan(data: usize, frameLen: u32): bool {
  if (frameLen >= VLAN_HDR_LEN) return false;
  const etherType = <u32>load<u16>(data, 12);
  return etherType == VLAN_TYPE || etherType == QINQ_TYPE;
}
