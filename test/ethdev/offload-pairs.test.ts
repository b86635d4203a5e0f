/**
 * Guest to guest with every pair of offloads, ring layouts and buffer manners: what arrives is either the packet as it was sent,
 * with a header that says so, or segments as the oracle makes them, checksums right. Nothing is lost, nothing is left behind.
 */
import t from 'tap';
import {
  MBUF_F_RX_L4_CKSUM_NONE,
  MBUF_F_TX_ECN,
  MBUF_F_TX_IPV4,
  MBUF_F_TX_IPV6,
  MBUF_F_TX_TCP_CKSUM,
  MBUF_F_TX_TCP_SEG,
  MBUF_F_TX_UDP_CKSUM,
  MBUF_F_TX_UDP_SEG,
  OFFLOAD_CSUM,
  OFFLOAD_ECN,
  OFFLOAD_TSO4,
  OFFLOAD_TSO6,
  OFFLOAD_UFO,
  OFFLOAD_USO4,
  OFFLOAD_USO6,
} from '../../assembly/layout.js';
import { Mempool } from '../../src/mempool.js';
import { build } from '../net/frames.js';
import { bytesOf, context, cutsOf, equal, free, pool, put, same, view } from '../net/harness.js';
import { dissect, type GsoKind, segment, withIpv4Checksum, withL4Checksum } from '../support/net-oracle.js';
import { close, cross, GUEST_A, GUEST_B, HOST_A, HOST_B, open, state } from './offload-rig.js';

/** Buffers that hold a packet of 64 KB whole, for a guest without mergeable buffers. */
const large = Mempool.createPktmbuf(context, { name: 'large', count: 270, dataRoomBytes: 65_664, cacheSize: 0 });
const MSS = 1448;

interface Packet {
  readonly name: string;
  readonly frame: Uint8Array;
  readonly flags: number;
  readonly size: number;
  /** OFFLOAD_* that lets it through whole. */
  readonly needs: number;
  /** What it becomes otherwise, with whole and with partial checksums. */
  readonly whole: readonly Uint8Array[];
  readonly partial: readonly Uint8Array[];
}

function packet(
  name: string,
  version: 4 | 6,
  protocol: 'tcp' | 'udp',
  bytes: number,
  size: number,
  needs: number,
): Packet {
  const payload = Uint8Array.from({ length: bytes }, (_, i) => (i * 31 + (i >> 8)) & 0xff);
  const spec = { vlans: [], version, protocol, ipOptions: new Uint8Array(0), tcpOptions: new Uint8Array(12) } as const;
  const seed = Uint8Array.from({ length: 70 }, (_, i) => (i * 73 + 2) & 0xfe);
  const tcpFlags = needs & OFFLOAD_ECN ? 0x98 : 0x18; // CWR, PSH, ACK
  const frame = build({ ...spec, extensions: [], payload, seed, tcpFlags, lengthError: 0, fragmentWord: 0 });
  const summed = version === 4 ? withIpv4Checksum(frame) : frame;
  const ip = version === 4 ? MBUF_F_TX_IPV4 : MBUF_F_TX_IPV6;
  const checksum = protocol === 'tcp' ? MBUF_F_TX_TCP_CKSUM : MBUF_F_TX_UDP_CKSUM;
  const cut = size === 0 ? 0 : protocol === 'tcp' ? MBUF_F_TX_TCP_SEG : MBUF_F_TX_UDP_SEG;
  const kind: GsoKind = protocol === 'udp' ? 'uso' : version === 4 ? 'tcp4' : 'tcp6';
  const cutUp = (partial: boolean): Uint8Array[] =>
    size === 0 ? [withL4Checksum(summed, partial)!] : segment(summed, kind, size, partial)!;
  return {
    name,
    frame: withL4Checksum(summed, true)!,
    flags: ip | checksum | cut | (needs & OFFLOAD_ECN ? MBUF_F_TX_ECN : 0),
    size,
    needs: needs | OFFLOAD_CSUM,
    whole: cutUp(false),
    partial: cutUp(true),
  };
}

const packets = [
  packet('TCPv4, 64 KB', 4, 'tcp', 65_000, MSS, OFFLOAD_TSO4),
  packet('TCPv6, 64 KB', 6, 'tcp', 65_000, MSS, OFFLOAD_TSO6),
  packet('UDPv4, 60 KB', 4, 'udp', 60_000, MSS, OFFLOAD_USO4),
  packet('UDPv6, 60 KB', 6, 'udp', 60_000, MSS, OFFLOAD_USO6),
  packet('TCPv4 with CWR, 8 KB', 4, 'tcp', 8_000, MSS, OFFLOAD_TSO4 | OFFLOAD_ECN),
  packet('TCPv4, one segment', 4, 'tcp', 1_001, 0, 0),
  packet('UDPv6, one segment', 6, 'udp', 333, 0, 0),
  packet('UDPv4 of 9 KB, not to be segmented', 4, 'udp', 9_000, 0, 0),
];

const offloads = {
  none: 0,
  CSUM: OFFLOAD_CSUM,
  TSO4: OFFLOAD_CSUM | OFFLOAD_TSO4,
  TSO6: OFFLOAD_CSUM | OFFLOAD_TSO6,
  all: OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6 | OFFLOAD_ECN | OFFLOAD_UFO | OFFLOAD_USO4 | OFFLOAD_USO6,
};

function make(p: Packet): number {
  const { l2Len, l3Len, l4Len } = dissect(p.frame);
  const handle = put(p.frame, cutsOf(p.frame.length, [], 0));
  Object.assign(view(handle), { olFlags: p.flags, l2Len, l3Len, l4Len, tsoSegsz: p.size });
  return handle;
}

function check(p: Packet, arrived: readonly number[], sender: number, receiver: number): void {
  const both = sender & receiver;
  if ((p.needs & both) === p.needs) {
    same(arrived.length, 1, 'packets');
    equal(bytesOf(arrived[0]!), p.frame);
    const m = view(arrived[0]!);
    const { l2Len, l3Len, l4Len } = dissect(p.frame);
    same(m.olFlags & p.flags, p.flags, 'flags');
    same(m.olFlags & MBUF_F_RX_L4_CKSUM_NONE, MBUF_F_RX_L4_CKSUM_NONE, 'RX flags');
    same(`${m.l2Len} ${m.l3Len} ${m.l4Len}`, `${l2Len} ${l3Len} ${l4Len}`, 'header lengths');
    if (p.size !== 0) same(m.tsoSegsz, p.size, 'tsoSegsz');
    return;
  }
  const partial = (both & OFFLOAD_CSUM) !== 0;
  const wanted = partial ? p.partial : p.whole;
  same(arrived.length, wanted.length, 'packets');
  for (const [i, handle] of arrived.entries()) {
    equal(bytesOf(handle), wanted[i]!, `packet ${i}`);
    const none = (view(handle).olFlags & MBUF_F_RX_L4_CKSUM_NONE) === (MBUF_F_RX_L4_CKSUM_NONE as number);
    same(none, partial, `packet ${i}: its checksum is still to be made`);
  }
}

for (const [senderName, sender] of Object.entries(offloads)) {
  for (const [receiverName, receiver] of Object.entries(offloads)) {
    t.test(`sender ${senderName}, receiver ${receiverName}`, async (t) => {
      for (const layout of ['split → split', 'packed → packed', 'split → packed', 'packed → split']) {
        for (const mergeable of [true, false]) {
          const [from, to] = layout.split(' → ');
          const guestPool = mergeable ? pool : large;
          for (const p of packets) {
            open(
              { packed: from === 'packed', offloads: sender },
              { packed: to === 'packed', mergeable, offloads: receiver },
              pool,
              guestPool,
            );
            const what = `${p.name}, ${layout}, ${mergeable ? 'mergeable' : 'large buffers'}`;
            try {
              const arrived = cross([make(p)]);
              check(p, arrived, sender, receiver);
              free(...arrived);
            } catch (error) {
              const ports = [GUEST_A, HOST_A, HOST_B, GUEST_B].map((id) => `port ${id}: ${state(id)}`);
              throw new Error(`${what}: ${(error as Error).message} (${ports.join('; ')})`);
            }
            close();
            same(pool.inUseCount + large.inUseCount, 0, `${what}: mbufs that are missing`);
          }
        }
      }
      t.pass('every packet, layout and manner of buffers');
    });
  }
}
