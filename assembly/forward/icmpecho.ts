/**
 * icmpecho: answers ARP requests, whatever address they ask for, and ICMP echo requests over IPv4, tagged or not, through the
 * port that they came in on. Everything else is thrown away. testpmd's `set fwd icmpecho`: ping works without a guest.
 */
import {
  MBUF_DATA_LEN,
  MBUF_F_RX_RSS_HASH,
  MBUF_L2_LEN,
  MBUF_L3_LEN,
  MBUF_OL_FLAGS,
  RTE_PTYPE_L4_ICMP,
  RTE_PTYPE_L4_MASK,
  STREAM_FILTERED,
  STREAM_TX_PORT,
} from '../layout';
import { mbufData, mbufFree } from '../mem/mbuf';
import { checksumUpdate16 } from '../net/checksum';
import { be32, IPV4_ADDRESSES } from '../net/headers';
import { storeIpv4Checksum } from '../net/l4-checksum';
import { isIpv4, parsePacket } from '../net/parse';
import { loadMac, isGroup, MAC_MASK } from './l2-table';
import { portMac, writeMacs } from './mac';
import { ownHeaders } from './own';
import { sendBurst } from './steer';
import { addCounter, receiveBurst } from './stream';

// ARP for IPv4 over Ethernet (RFC 826), fields as they lie in memory
const ETHER_TYPE_ARP: u32 = 0x0608;
const ARP_LEN: u32 = 28;
/** Hardware type Ethernet, protocol type IPv4, lengths 6 and 4. */
const ARP_ETHERNET_IPV4: u64 = 0x0406_0008_0100;
const ARP_OPERATION: u32 = 6;
const ARP_REQUEST: u32 = 0x0100;
const ARP_REPLY: u32 = 0x0200;
const ARP_SENDER_MAC: u32 = 8;
const ARP_SENDER_IP: u32 = 14;
const ARP_TARGET_MAC: u32 = 18;
const ARP_TARGET_IP: u32 = 24;

// ICMP (RFC 792): type and code as one word
const ICMP_ECHO_REQUEST: u32 = 0x0008;
const ICMP_ECHO_REPLY: u32 = 0;
const ICMP_CHECKSUM: u32 = 2;

export function pollIcmpecho(lcoreId: u32, stream: usize, burst: usize): u32 {
  const n = receiveBurst(lcoreId, stream, burst);
  if (n == 0) return 0;
  const mac = portMac(load<u32>(stream, STREAM_TX_PORT));
  let replies: u32 = 0;
  for (let i: u32 = 0; i < n; i++) {
    const mbuf = load<u32>(burst + (i << 2));
    const reply = answer(lcoreId, mbuf, mac);
    if (reply != 0) store<u32>(burst + (replies++ << 2), reply);
    else mbufFree(mbuf, lcoreId);
  }
  if (replies != n) addCounter(stream, n - replies, STREAM_FILTERED);
  if (replies != 0) sendBurst(lcoreId, stream, burst, replies);
  return n;
}

/** The request made into its reply, 0 if it is none. `mac`: our own address. */
function answer(lcoreId: u32, mbuf: u32, mac: u64): u32 {
  const ptype = parsePacket(mbuf);
  const l2 = <u32>load<u8>(mbuf, MBUF_L2_LEN);
  if (l2 == 0) return 0;
  if ((ptype & RTE_PTYPE_L4_MASK) == RTE_PTYPE_L4_ICMP) {
    return isIpv4(ptype) ? answerEcho(lcoreId, mbuf, l2, load<u16>(mbuf, MBUF_L3_LEN), mac) : 0;
  }
  return load<u16>(mbufData(mbuf) + l2 - 2) == ETHER_TYPE_ARP ? answerArp(lcoreId, mbuf, l2, mac) : 0;
}

/** Sender and target change places, and we are the station that was asked for. */
function answerArp(lcoreId: u32, mbuf: u32, l2: u32, mac: u64): u32 {
  if (load<u32>(mbuf, MBUF_DATA_LEN) < l2 + ARP_LEN) return 0;
  let arp = mbufData(mbuf) + l2;
  if ((load<u64>(arp) & MAC_MASK) != ARP_ETHERNET_IPV4 || load<u16>(arp, ARP_OPERATION) != ARP_REQUEST) return 0;
  const own = ownHeaders(lcoreId, mbuf, l2 + ARP_LEN);
  if (own == 0) return 0;
  const frame = mbufData(own);
  arp = frame + l2;
  writeMacs(frame, loadMac(frame + 6), mac);
  const senderIp = load<u32>(arp, ARP_SENDER_IP);
  const targetIp = load<u32>(arp, ARP_TARGET_IP);
  store<u16>(arp, ARP_REPLY, ARP_OPERATION);
  copyMac(arp + ARP_TARGET_MAC, loadMac(arp + ARP_SENDER_MAC));
  copyMac(arp + ARP_SENDER_MAC, mac);
  store<u32>(arp, targetIp, ARP_SENDER_IP);
  store<u32>(arp, senderIp, ARP_TARGET_IP);
  return own;
}

// @ts-ignore: decorator
@inline
function copyMac(at: u32, mac: u64): void {
  store<u32>(at, <u32>mac);
  store<u16>(at, <u16>(mac >> 32), 4);
}

/** The reply comes from whom the request went to; a group does not answer, so there we do. */
function answerEcho(lcoreId: u32, mbuf: u32, l2: u32, l3: u32, mac: u64): u32 {
  if (load<u16>(mbufData(mbuf) + l2 + l3) != ICMP_ECHO_REQUEST) return 0;
  const own = ownHeaders(lcoreId, mbuf, l2 + l3 + ICMP_CHECKSUM + 2);
  if (own == 0) return 0;
  const frame = mbufData(own);
  const destination = loadMac(frame);
  writeMacs(frame, loadMac(frame + 6), isGroup(destination) ? mac : destination);
  const ip = frame + l2;
  const addresses = load<u64>(ip, IPV4_ADDRESSES);
  const asked = be32(<u32>(addresses >> 32));
  if (isMulticastOrBroadcast(asked)) {
    // As testpmd: an address beside the one that asks.
    const asker = be32(<u32>addresses);
    const ours = (asker & 3) == 1 ? (asker & ~3) | 2 : (asker & ~3) | 1;
    store<u64>(ip, (addresses << 32) | be32(ours), IPV4_ADDRESSES);
    storeIpv4Checksum(ip, l3);
  } else {
    store<u64>(ip, rotl<u64>(addresses, 32), IPV4_ADDRESSES);
  }
  const icmp = ip + l3;
  store<u16>(icmp, ICMP_ECHO_REPLY);
  store<u16>(icmp, checksumUpdate16(load<u16>(icmp, ICMP_CHECKSUM), ICMP_ECHO_REQUEST, ICMP_ECHO_REPLY), ICMP_CHECKSUM);
  store<u32>(own, load<u32>(own, MBUF_OL_FLAGS) & ~MBUF_F_RX_RSS_HASH, MBUF_OL_FLAGS);
  return own;
}

/** 224.0.0.0/4 and 255.255.255.255, in machine order. */
// @ts-ignore: decorator
@inline
function isMulticastOrBroadcast(address: u32): bool {
  return address >> 28 == 14 || address == 0xffff_ffff;
}
