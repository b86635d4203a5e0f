/** The VLAN tag of a frame (IEEE 802.1Q), between its data and its mbuf: rte_vlan_strip, rte_vlan_insert. */
import {
  ETHER_HDR_LEN,
  MBUF_DATA_LEN,
  MBUF_DATA_OFF,
  MBUF_F_RX_QINQ,
  MBUF_F_RX_QINQ_STRIPPED,
  MBUF_F_RX_VLAN,
  MBUF_F_RX_VLAN_STRIPPED,
  MBUF_L2_LEN,
  MBUF_OL_FLAGS,
  MBUF_PKT_LEN,
  MBUF_VLAN_TCI,
  MBUF_VLAN_TCI_OUTER,
} from '../layout';
import { mbufData } from '../mem/mbuf';
import { be16, ETHER_TYPE, ETHER_TYPE_QINQ, ETHER_TYPE_VLAN, VLAN_TAG_LEN } from './headers';
import { segmentIsPrivate } from './private';

const BOTH_STRIPPED: u32 = MBUF_F_RX_VLAN | MBUF_F_RX_VLAN_STRIPPED | MBUF_F_RX_QINQ | MBUF_F_RX_QINQ_STRIPPED;

/** Moves the two MAC addresses. The places may overlap: all is loaded before anything is stored. */
// @ts-ignore: decorator
@inline
function moveMacs(to: u32, from: u32): void {
  const first = load<u64>(from);
  const last = load<u32>(from, 8);
  store<u64>(to, first);
  store<u32>(to, last, 8);
}

/** Data begins `bytes` later, or earlier with a negative number. */
// @ts-ignore: decorator
@inline
function moveStart(mbuf: u32, bytes: i32): void {
  store<u32>(mbuf, load<u32>(mbuf, MBUF_DATA_OFF) + bytes, MBUF_DATA_OFF);
  store<u32>(mbuf, load<u32>(mbuf, MBUF_DATA_LEN) - bytes, MBUF_DATA_LEN);
  store<u32>(mbuf, load<u32>(mbuf, MBUF_PKT_LEN) - bytes, MBUF_PKT_LEN);
}

/**
 * Takes the (outer) 802.1Q tag out of the frame and into MBUF_VLAN_TCI, with RX_VLAN and RX_VLAN_STRIPPED in the flags. 1, or
 * 0 with nothing changed: no such tag, not all of it in the first segment, or the bytes are not ours alone.
 */
export function vlanStrip(mbuf: u32): u32 {
  const data = mbufData(mbuf);
  if (load<u32>(mbuf, MBUF_DATA_LEN) < ETHER_HDR_LEN + VLAN_TAG_LEN) return 0;
  if (be16(load<u16>(data, ETHER_TYPE)) != ETHER_TYPE_VLAN || !segmentIsPrivate(mbuf)) return 0;
  store<u16>(mbuf, be16(load<u16>(data, ETHER_HDR_LEN)), MBUF_VLAN_TCI);
  store<u32>(mbuf, load<u32>(mbuf, MBUF_OL_FLAGS) | MBUF_F_RX_VLAN | MBUF_F_RX_VLAN_STRIPPED, MBUF_OL_FLAGS);
  moveMacs(data + VLAN_TAG_LEN, data);
  moveStart(mbuf, VLAN_TAG_LEN);
  const l2 = <u32>load<u8>(mbuf, MBUF_L2_LEN);
  if (l2 >= ETHER_HDR_LEN + VLAN_TAG_LEN) store<u8>(mbuf, l2 - VLAN_TAG_LEN, MBUF_L2_LEN);
  return 1;
}

/**
 * Takes both tags of a frame that has two, 802.1ad or 802.1Q outside and 802.1Q inside, into MBUF_VLAN_TCI_OUTER and
 * MBUF_VLAN_TCI. 1, or 0 with nothing changed, as vlanStrip.
 */
export function qinqStrip(mbuf: u32): u32 {
  const data = mbufData(mbuf);
  if (load<u32>(mbuf, MBUF_DATA_LEN) < ETHER_HDR_LEN + 2 * VLAN_TAG_LEN) return 0;
  const outer = be16(load<u16>(data, ETHER_TYPE));
  if (outer != ETHER_TYPE_QINQ && outer != ETHER_TYPE_VLAN) return 0;
  if (be16(load<u16>(data, ETHER_TYPE + VLAN_TAG_LEN)) != ETHER_TYPE_VLAN || !segmentIsPrivate(mbuf)) return 0;
  store<u16>(mbuf, be16(load<u16>(data, ETHER_HDR_LEN)), MBUF_VLAN_TCI_OUTER);
  store<u16>(mbuf, be16(load<u16>(data, ETHER_HDR_LEN + VLAN_TAG_LEN)), MBUF_VLAN_TCI);
  store<u32>(mbuf, load<u32>(mbuf, MBUF_OL_FLAGS) | BOTH_STRIPPED, MBUF_OL_FLAGS);
  moveMacs(data + 2 * VLAN_TAG_LEN, data);
  moveStart(mbuf, 2 * VLAN_TAG_LEN);
  const l2 = <u32>load<u8>(mbuf, MBUF_L2_LEN);
  if (l2 >= ETHER_HDR_LEN + 2 * VLAN_TAG_LEN) store<u8>(mbuf, l2 - 2 * VLAN_TAG_LEN, MBUF_L2_LEN);
  return 1;
}

/**
 * Puts a tag with `tci` in front of the frame's type, MBUF_VLAN_TCI for instance; `tpid` is 0x8100, or 0x88a8 for the outer of
 * two. 1, or 0 with nothing changed: less than 4 bytes of headroom, a frame without an Ethernet header in its first segment,
 * or bytes that are not ours alone.
 */
export function vlanInsert(mbuf: u32, tpid: u32, tci: u32): u32 {
  if (load<u32>(mbuf, MBUF_DATA_LEN) < ETHER_HDR_LEN || load<u32>(mbuf, MBUF_DATA_OFF) < VLAN_TAG_LEN) return 0;
  if (!segmentIsPrivate(mbuf)) return 0;
  const data = mbufData(mbuf) - VLAN_TAG_LEN;
  moveMacs(data, data + VLAN_TAG_LEN);
  store<u16>(data, be16(tpid), ETHER_TYPE);
  store<u16>(data, be16(tci), ETHER_HDR_LEN);
  moveStart(mbuf, -(<i32>VLAN_TAG_LEN));
  store<u32>(mbuf, load<u32>(mbuf, MBUF_OL_FLAGS) & ~MBUF_F_RX_VLAN_STRIPPED, MBUF_OL_FLAGS);
  const l2 = <u32>load<u8>(mbuf, MBUF_L2_LEN);
  if (l2 != 0) store<u8>(mbuf, l2 + VLAN_TAG_LEN, MBUF_L2_LEN);
  return 1;
}
