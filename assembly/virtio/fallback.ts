/**
 * What the peer did not negotiate is done here in software, in mbufs that refer to the payload where that pays: tags,
 * checksums, segmentation. The rings' own files never see a packet that their peer cannot take.
 */
import {
  CHECKSUM_WRITTEN,
  GSO_PARTIAL_CHECKSUM,
  MAX_GSO_SEGMENTS,
  MBUF_DATA_LEN,
  MBUF_DATA_OFF,
  MBUF_F_RX_L4_CKSUM_NONE,
  MBUF_F_TX_IP_CKSUM,
  MBUF_F_TX_IPV4,
  MBUF_F_TX_IPV6,
  MBUF_F_TX_L4_MASK,
  MBUF_F_TX_QINQ,
  MBUF_F_TX_SEG_MASK,
  MBUF_F_TX_TCP_CKSUM,
  MBUF_F_TX_TCP_SEG,
  MBUF_F_TX_UDP_CKSUM,
  MBUF_F_TX_UFO,
  MBUF_F_TX_VLAN,
  MBUF_L2_LEN,
  MBUF_L3_LEN,
  MBUF_L4_LEN,
  MBUF_OL_FLAGS,
  MBUF_POOL,
  MBUF_TSO_SEGSZ,
  MBUF_VLAN_TCI,
  MBUF_VLAN_TCI_OUTER,
  OFFLOAD_CSUM,
  QUEUE_GSO,
  QUEUE_OFFLOADS,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
  VIRTIO_NET_HDR_GSO_UDP,
  VIRTIO_NET_HDR_GSO_UDP_L4,
} from '../layout';
import { mbufFree } from '../mem/mbuf';
import { gsoSegment } from '../net/gso';
import { ETHER_TYPE_QINQ, ETHER_TYPE_VLAN, TCP_CHECKSUM, UDP_CHECKSUM, VLAN_TAG_LEN } from '../net/headers';
import { checksumComplete, ipv4ChecksumSet } from '../net/l4-checksum';
import { mbufPrivateHead, segmentIsPrivate } from '../net/private';
import { vlanInsert } from '../net/vlan';
import { fits, takesSegments } from './net-header';

/** An Ethernet header at least lies in the new head. */
const MIN_HEADERS: u32 = 14;

/**
 * The packets that `mbuf` becomes for this peer, written to the queue's QUEUE_GSO array: how many, or 0 when it cannot be
 * done. They are new references: `mbuf` itself stays the caller's, whatever becomes of them.
 */
export function makeFit(lcoreId: u32, queue: usize, mbuf: u32): u32 {
  const out = <u32>queue + QUEUE_GSO;
  const head = prepare(lcoreId, mbuf);
  if (head == 0) return 0;
  const flags = load<u32>(head, MBUF_OL_FLAGS);
  if (!fits(queue, head)) {
    if (flags & MBUF_F_TX_SEG_MASK) {
      const count = segment(lcoreId, queue, head, flags, out);
      mbufFree(head, lcoreId);
      return count;
    }
    if (!complete(head, flags)) {
      mbufFree(head, lcoreId);
      return 0;
    }
  }
  store<u32>(out, head);
  return 1;
}

/** The same packet with its headers in an mbuf of its own, its tags inserted and its IP checksum written; 0 = impossible. */
function prepare(lcoreId: u32, mbuf: u32): u32 {
  const headers = <u32>load<u8>(mbuf, MBUF_L2_LEN) + load<u16>(mbuf, MBUF_L3_LEN) + load<u8>(mbuf, MBUF_L4_LEN);
  const head = mbufPrivateHead(lcoreId, mbuf, max(headers, MIN_HEADERS), load<u32>(mbuf, MBUF_POOL));
  if (head == 0) return 0;
  if (tagAndSum(head)) return head;
  mbufFree(head, lcoreId);
  return 0;
}

/** Inserts the tags and writes the IP checksum that the flags ask for. The headers are ours alone. False = impossible. */
function tagAndSum(head: u32): bool {
  const flags = load<u32>(head, MBUF_OL_FLAGS);
  const lengths = load<u64>(head, MBUF_L2_LEN); // all three, and the segment size: parsing would write them
  let ok = true;
  // also of a packet to be segmented: a peer that takes it whole verifies it
  if (flags & MBUF_F_TX_IP_CKSUM) ok = ipv4ChecksumSet(head) == CHECKSUM_WRITTEN;
  let tags: u32 = 0;
  // The inner tag first: the outer one goes in front of it.
  if (ok && flags & MBUF_F_TX_VLAN) {
    ok = vlanInsert(head, ETHER_TYPE_VLAN, load<u16>(head, MBUF_VLAN_TCI)) != 0;
    tags += VLAN_TAG_LEN;
  }
  if (ok && flags & MBUF_F_TX_QINQ) {
    ok = vlanInsert(head, ETHER_TYPE_QINQ, load<u16>(head, MBUF_VLAN_TCI_OUTER)) != 0;
    tags += VLAN_TAG_LEN;
  }
  store<u64>(head, lengths, MBUF_L2_LEN);
  if (!ok) return false;
  store<u8>(head, <u8>(<u32>lengths + tags), MBUF_L2_LEN);
  store<u32>(head, load<u32>(head, MBUF_OL_FLAGS) & ~(MBUF_F_TX_IP_CKSUM | MBUF_F_TX_VLAN | MBUF_F_TX_QINQ), MBUF_OL_FLAGS);
  return true;
}

/**
 * Makes a packet fit without another mbuf: its bytes are ours alone, there is headroom for its tags, and it needs not be cut
 * up. True if it fits now. False: makeFit may be able to; what has been done until then is right and stays.
 */
export function fitInPlace(queue: usize, mbuf: u32): bool {
  const flags = load<u32>(mbuf, MBUF_OL_FLAGS);
  if (!segmentIsPrivate(mbuf) || load<u32>(mbuf, MBUF_DATA_OFF) < 2 * VLAN_TAG_LEN) return false;
  if (load<u32>(mbuf, MBUF_DATA_LEN) < MIN_HEADERS) return false;
  if (flags & MBUF_F_TX_SEG_MASK && !takesSegments(queue, flags)) return false;
  if (flags & (MBUF_F_TX_IP_CKSUM | MBUF_F_TX_VLAN | MBUF_F_TX_QINQ) && !tagAndSum(mbuf)) return false;
  return fits(queue, mbuf) || complete(mbuf, load<u32>(mbuf, MBUF_OL_FLAGS));
}

/** Writes the L4 checksum whose pseudo header's sum is in the field already. */
function complete(head: u32, flags: u32): bool {
  const start = <u32>load<u8>(head, MBUF_L2_LEN) + load<u16>(head, MBUF_L3_LEN);
  if (checksumComplete(head, start, flags & MBUF_F_TX_TCP_CKSUM ? TCP_CHECKSUM : UDP_CHECKSUM) != CHECKSUM_WRITTEN) return false;
  store<u32>(head, flags & ~(MBUF_F_TX_L4_MASK | MBUF_F_RX_L4_CKSUM_NONE), MBUF_OL_FLAGS);
  return true;
}

/** Cuts the packet into the array at `out`. The segments' checksums are left to a peer that completes them. */
function segment(lcoreId: u32, queue: usize, head: u32, flags: u32, out: u32): u32 {
  const v6 = (flags & MBUF_F_TX_IPV6) != 0;
  let type = VIRTIO_NET_HDR_GSO_UDP_L4;
  if (flags & MBUF_F_TX_TCP_SEG) type = v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
  else if (flags & MBUF_F_TX_UFO) type = VIRTIO_NET_HDR_GSO_UDP;
  const partial = (load<u32>(queue, QUEUE_OFFLOADS) & OFFLOAD_CSUM) != 0 && (flags & MBUF_F_TX_UFO) == 0;
  if (partial) type |= GSO_PARTIAL_CHECKSUM;
  const size = <u32>load<u16>(head, MBUF_TSO_SEGSZ);
  const count = gsoSegment(lcoreId, head, type, size, load<u32>(head, MBUF_POOL), out, MAX_GSO_SEGMENTS);
  if (!partial) return count;
  const l4 = flags & MBUF_F_TX_TCP_SEG ? MBUF_F_TX_TCP_CKSUM : MBUF_F_TX_UDP_CKSUM;
  const kept = l4 | (v6 ? MBUF_F_TX_IPV6 : MBUF_F_TX_IPV4) | MBUF_F_RX_L4_CKSUM_NONE;
  for (let i: u32 = 0; i < count; i++) {
    const packet: usize = load<u32>(out + (i << 2));
    store<u32>(packet, load<u32>(packet, MBUF_OL_FLAGS) | kept, MBUF_OL_FLAGS);
  }
  return count;
}
