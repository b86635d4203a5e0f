/** Rows G11, G12 and G20 of HOSTILE-INPUTS, split and packed: net headers that lie about the packet behind them. */
import t from 'tap';
import {
  MBUF_OL_FLAGS,
  MBUF_TSO_SEGSZ,
  OFFLOAD_CSUM,
  OFFLOAD_ECN,
  OFFLOAD_TSO4,
  OFFLOAD_TSO6,
  OFFLOAD_UFO,
  OFFLOAD_USO4,
  OFFLOAD_USO6,
} from '../../assembly/layout.js';
import { attackTx, HDR, offer, packetBytes } from './attack.js';
import { createRig, frameOf, LAYOUTS, type RigRing } from './rig.js';

const rig = createRig();
const NEEDS_CSUM = 1;
const GSO = { NONE: 0, TCPV4: 1, UDP: 3, TCPV6: 4, UDP_L4: 5, ECN: 0x80 } as const;
const ALL = OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6 | OFFLOAD_ECN | OFFLOAD_UFO | OFFLOAD_USO4 | OFFLOAD_USO6;

/** A TCP or UDP packet over IPv4 or IPv6 with `payload` bytes, as far as a device looks at it. */
function packet(l4: 'tcp' | 'udp', v6: boolean, payload: number): Uint8Array {
  const [l3Len, l4Len] = [v6 ? 40 : 20, l4 === 'tcp' ? 20 : 8];
  const frame = frameOf(payload, 14 + l3Len + l4Len + payload);
  const view = new DataView(frame.buffer);
  const proto = l4 === 'tcp' ? 6 : 17;
  view.setUint16(12, v6 ? 0x86dd : 0x0800);
  if (v6) {
    view.setUint32(14, 0x6000_0000);
    view.setUint16(18, l4Len + payload);
    view.setUint8(20, proto);
  } else {
    view.setUint16(14, 0x4500);
    view.setUint16(16, l3Len + l4Len + payload);
    view.setUint32(18, 0);
    view.setUint16(22, 0x4000 | proto);
  }
  if (l4 === 'tcp') view.setUint8(14 + l3Len + 12, 0x50);
  else view.setUint16(14 + l3Len + 4, l4Len + payload);
  return frame;
}

function header(
  flags: number,
  gsoType: number,
  gsoSize: number,
  csumStart: number,
  csumOffset: number,
  hdrLen = 0,
): number[] {
  const bytes = new Uint8Array(HDR);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, flags);
  view.setUint8(1, gsoType);
  view.setUint16(2, hdrLen, true);
  view.setUint16(4, gsoSize, true);
  view.setUint16(6, csumStart, true);
  view.setUint16(8, csumOffset, true);
  return [...bytes];
}

for (const layout of LAYOUTS) {
  const boot = { layout, ringSize: 32, hostOffloads: ALL };
  /** In one descriptor, and with its header cut: both ways in must say the same. */
  const shapes = (frame: Uint8Array, bytes: readonly number[]): ((tx: RigRing) => void)[] => [
    (tx) => offer(rig, tx, { address: packetBytes(rig, frame, bytes), length: HDR + frame.length }),
    (tx) => {
      const address = packetBytes(rig, frame, bytes);
      offer(
        rig,
        tx,
        { address, length: 5 },
        { address: address + 5, length: 17 },
        { address: address + 22, length: HDR + frame.length - 22 },
      );
    },
  ];

  t.test(`G11 ${layout}: checksum fields beyond the packet`, async (t) => {
    const tcp = packet('tcp', false, 100);
    const end = tcp.length;
    const cases: readonly [number, number][] = [
      [end, 0],
      [end + 1, 0],
      [end - 1, 0],
      [end - 1, 1],
      [0xffff, 0],
      [0xffff, 0xffff],
      [34, end],
      [34, end - 34],
      [34, end - 35],
      [34, 0xffff],
      [0, 0xfffe],
      [0, end - 1],
    ];
    for (const [csumStart, csumOffset] of cases) {
      for (const attack of shapes(tcp, header(NEEDS_CSUM, 0, 0, csumStart, csumOffset))) {
        attackTx(t, rig, boot, attack, { drops: { offload: 1 } });
      }
    }
    // The last two bytes of the packet, of headers that nobody here knows: completed at once.
    for (const attack of shapes(frameOf(3, 60), header(NEEDS_CSUM, 0, 0, 20, 38)))
      attackTx(t, rig, boot, attack, { frames: 1 });
    for (const attack of shapes(tcp, header(NEEDS_CSUM, 0, 0, 34, 16))) attackTx(t, rig, boot, attack, { frames: 1 });
  });

  t.test(`G12 ${layout}: segmentation that contradicts the packet`, async (t) => {
    const tcp4 = packet('tcp', false, 3000 - 54);
    const cases: readonly [string, Uint8Array, number[]][] = [
      ['a size of 0', tcp4, header(NEEDS_CSUM, GSO.TCPV4, 0, 34, 16)],
      ['without NEEDS_CSUM', tcp4, header(0, GSO.TCPV4, 1400, 34, 16)],
      ['DATA_VALID instead of NEEDS_CSUM', tcp4, header(2, GSO.TCPV4, 1400, 34, 16)],
      ['headers longer than the size', tcp4, header(NEEDS_CSUM, GSO.TCPV4, 53, 34, 16)],
      ['more segments than there may be', packet('tcp', false, 60_000), header(NEEDS_CSUM, GSO.TCPV4, 60, 34, 16)],
      ['a type that there is not', tcp4, header(NEEDS_CSUM, 2, 1400, 34, 16)],
      ['a type with odd bits', tcp4, header(NEEDS_CSUM, 0x41, 1400, 34, 16)],
      ['ECN alone', tcp4, header(NEEDS_CSUM, GSO.ECN, 1400, 34, 16)],
      ['IPv6 for an IPv4 packet', tcp4, header(NEEDS_CSUM, GSO.TCPV6, 1400, 34, 16)],
      ['IPv4 for an IPv6 packet', packet('tcp', true, 2000), header(NEEDS_CSUM, GSO.TCPV4, 1400, 54, 16)],
      ['UDP for a TCP packet', tcp4, header(NEEDS_CSUM, GSO.UDP_L4, 1400, 34, 16)],
      ['TCP for a UDP packet', packet('udp', false, 2000), header(NEEDS_CSUM, GSO.TCPV4, 1400, 34, 6)],
      ['neither TCP nor UDP', frameOf(1, 3000), header(NEEDS_CSUM, GSO.TCPV4, 1400, 34, 16)],
      ['a checksum that is not where TCP has it', tcp4, header(NEEDS_CSUM, GSO.TCPV4, 1400, 34, 18)],
      ['a checksum that begins elsewhere', tcp4, header(NEEDS_CSUM, GSO.TCPV4, 1400, 30, 16)],
      ['headers and nothing else', packet('tcp', false, 0), header(NEEDS_CSUM, GSO.TCPV4, 1400, 34, 16)],
    ];
    for (const [title, frame, bytes] of cases) {
      t.test(title, async (t) => {
        for (const attack of shapes(frame, bytes)) attackTx(t, rig, boot, attack, { drops: { offload: 1 } });
      });
    }
    t.test('ECN of what is no TCP', async (t) => {
      for (const attack of shapes(packet('udp', false, 2000), header(NEEDS_CSUM, GSO.UDP_L4 | GSO.ECN, 1000, 34, 6))) {
        attackTx(t, rig, boot, attack, { drops: { feature: 1 } });
      }
    });
    t.test('hdr_len is a hint that nobody believes', async (t) => {
      for (const hdrLen of [0, 1, 54, 0xffff]) {
        const { tx } = rig.boot(boot);
        for (const attack of shapes(tcp4, header(NEEDS_CSUM, GSO.TCPV4, 1400, 34, 16, hdrLen))) attack(tx);
        tx.publish();
        const sizes: number[] = [];
        rig.receive(32, (handle) => sizes.push(rig.memory.u16[(handle + MBUF_TSO_SEGSZ) >>> 1]!));
        t.same(sizes, [1400, 1400]);
        rig.checkPool();
      }
    });
    t.test('what fits into one segment needs no segmentation', async (t) => {
      const { tx } = rig.boot(boot);
      for (const attack of shapes(packet('tcp', false, 1000), header(NEEDS_CSUM, GSO.TCPV4, 1400, 34, 16))) attack(tx);
      tx.publish();
      const flags: number[] = [];
      rig.receive(32, (handle) => flags.push(rig.get(handle, MBUF_OL_FLAGS) & 0x000e_0000));
      t.same(flags, [0, 0]);
      rig.checkPool();
    });
    t.test('IPv6 headers that do not end in the first segment', async (t) => {
      // Hop-by-hop options beyond the mbuf: the type is not known, so there is nothing to segment by.
      const frame = packet('tcp', true, 3000);
      frame[20] = 0;
      frame[54] = 0;
      frame[55] = 255;
      for (const attack of shapes(frame, header(NEEDS_CSUM, GSO.TCPV6, 1400, 54, 16))) {
        attackTx(t, rig, boot, attack, { drops: { offload: 1 } });
      }
    });
  });

  t.test(`G20 ${layout}: offloads that were not negotiated`, async (t) => {
    const feature = { drops: { feature: 1 } };
    const tcp4 = packet('tcp', false, 2000);
    const tcp6 = packet('tcp', true, 2000);
    const udp4 = packet('udp', false, 2000);
    const udp6 = packet('udp', true, 2000);
    const cases: readonly [string, number, Uint8Array, number[]][] = [
      ['NEEDS_CSUM', 0, tcp4, header(NEEDS_CSUM, 0, 0, 34, 16)],
      ['TSO4', ALL & ~OFFLOAD_TSO4, tcp4, header(NEEDS_CSUM, GSO.TCPV4, 1400, 34, 16)],
      ['TSO6', ALL & ~OFFLOAD_TSO6, tcp6, header(NEEDS_CSUM, GSO.TCPV6, 1400, 54, 16)],
      ['ECN', ALL & ~OFFLOAD_ECN, tcp4, header(NEEDS_CSUM, GSO.TCPV4 | GSO.ECN, 1400, 34, 16)],
      ['UFO', ALL & ~OFFLOAD_UFO, udp4, header(NEEDS_CSUM, GSO.UDP, 1400, 34, 6)],
      ['USO over IPv4', ALL & ~OFFLOAD_USO4, udp4, header(NEEDS_CSUM, GSO.UDP_L4, 1400, 34, 6)],
      ['USO over IPv6', ALL & ~OFFLOAD_USO6, udp6, header(NEEDS_CSUM, GSO.UDP_L4, 1400, 54, 6)],
      ['TSO with CSUM alone', OFFLOAD_CSUM, tcp4, header(NEEDS_CSUM, GSO.TCPV4, 1400, 34, 16)],
    ];
    for (const [title, hostOffloads, frame, bytes] of cases) {
      t.test(title, async (t) => {
        for (const attack of shapes(frame, bytes)) {
          attackTx(t, rig, { ...boot, hostOffloads }, attack, feature);
          attackTx(t, rig, boot, attack, { frames: 1 });
        }
      });
    }
  });
}
