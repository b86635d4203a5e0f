/**
 * 5tswap: what came from one side goes back to it: MAC addresses, IPv4 or IPv6 addresses, TCP or UDP ports change places.
 * testpmd's `set fwd 5tswap`. No checksum changes, for a sum does not care about the order of its words.
 */
import {
  ETHER_HDR_LEN,
  MBUF_DATA_LEN,
  MBUF_F_RX_RSS_HASH,
  MBUF_L2_LEN,
  MBUF_L3_LEN,
  MBUF_OL_FLAGS,
  RTE_PTYPE_L3_MASK,
  RTE_PTYPE_L4_MASK,
  RTE_PTYPE_L4_TCP,
  RTE_PTYPE_L4_UDP,
  STREAM_FILTERED,
} from '../layout';
import { mbufData, mbufFree } from '../mem/mbuf';
import { IPV4_ADDRESSES, IPV6_ADDRESSES, IPV6_DESTINATION } from '../net/headers';
import { isIpv4, parsePacket } from '../net/parse';
import { swapMacs } from './macswap';
import { ownHeaders } from './own';
import { sendBurst } from './steer';
import { addCounter, receiveBurst } from './stream';

/** Ports lie in the first four bytes of TCP's and UDP's header. */
const PORTS_LEN: u32 = 4;

/** Frames without an Ethernet header pass untouched; of fragments only the addresses are swapped. */
export function pollFiveTupleSwap(lcoreId: u32, stream: usize, burst: usize): u32 {
  const n = receiveBurst(lcoreId, stream, burst);
  if (n == 0) return 0;
  let kept: u32 = 0;
  for (let i: u32 = 0; i < n; i++) {
    const mbuf = load<u32>(burst + (i << 2));
    const swapped = swapPacket(lcoreId, mbuf);
    if (swapped != 0) store<u32>(burst + (kept++ << 2), swapped);
    else mbufFree(mbuf, lcoreId);
  }
  if (kept != n) addCounter(stream, n - kept, STREAM_FILTERED);
  if (kept != 0) sendBurst(lcoreId, stream, burst, kept);
  return n;
}

/** The packet, or one in its place; 0 if its bytes are others' too and no copy of them can be had. */
function swapPacket(lcoreId: u32, mbuf: u32): u32 {
  if (load<u32>(mbuf, MBUF_DATA_LEN) < ETHER_HDR_LEN) return mbuf;
  const ptype = parsePacket(mbuf);
  const l2 = <u32>load<u8>(mbuf, MBUF_L2_LEN);
  const l3 = <u32>load<u16>(mbuf, MBUF_L3_LEN);
  const l4 = ptype & RTE_PTYPE_L4_MASK;
  const hasPorts = l4 == RTE_PTYPE_L4_TCP || l4 == RTE_PTYPE_L4_UDP;
  const own = ownHeaders(lcoreId, mbuf, l2 + l3 + (hasPorts ? PORTS_LEN : 0));
  if (own == 0) return 0;
  const frame = mbufData(own);
  swapMacs(frame);
  if (ptype & RTE_PTYPE_L3_MASK) {
    const ip = frame + l2;
    if (isIpv4(ptype)) swapIpv4(ip);
    else swapIpv6(ip);
    if (hasPorts) store<u32>(ip + l3, rotl<u32>(load<u32>(ip + l3), 16));
    // the flow is another one now
    store<u32>(own, load<u32>(own, MBUF_OL_FLAGS) & ~MBUF_F_RX_RSS_HASH, MBUF_OL_FLAGS);
  }
  return own;
}

// @ts-ignore: decorator
@inline
function swapIpv4(ip: u32): void {
  store<u64>(ip, rotl<u64>(load<u64>(ip, IPV4_ADDRESSES), 32), IPV4_ADDRESSES);
}

// @ts-ignore: decorator
@inline
function swapIpv6(ip: u32): void {
  const source = v128.load(ip, IPV6_ADDRESSES);
  v128.store(ip, v128.load(ip, IPV6_DESTINATION), IPV6_ADDRESSES);
  v128.store(ip, source, IPV6_DESTINATION);
}
