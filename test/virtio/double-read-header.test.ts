/**
 * Rows G8, G11 and G12 of HOSTILE-INPUTS: each field of the virtio-net header, and each byte of the packet's own headers, changed
 * before each read of it, the header in one descriptor or over many. What the mbuf then says is what one header said.
 */
import t from 'tap';
import {
  MBUF_F_TX_L4_MASK,
  MBUF_F_TX_SEG_MASK,
  MBUF_L2_LEN,
  MBUF_L3_LEN,
  MBUF_L4_LEN,
  MBUF_OL_FLAGS,
  MBUF_PKT_LEN,
  MBUF_TSO_SEGSZ,
} from '../../assembly/layout.js';
import { HDR, INDIRECT, NEXT, offer, packetBytes, table } from './attack.js';
import { createTracedRig, interleave, receiveOutcome, type Scene, type Word } from './interleave.js';
import { frameOf, LAYOUTS, type Layout, type Rig } from './rig.js';

const traced = createTracedRig();
const { rig } = traced;
const { guest } = rig;
const RING = 32;
const ALL_OFFLOADS = 127;
const HEADERS = 54;

/** TCP over IPv4, as far as a device looks at it; or a packet that it knows nothing of. */
function packet(isTcp: boolean, length: number): Uint8Array {
  const frame = frameOf(7, length);
  if (!isTcp) return frame;
  const view = new DataView(frame.buffer);
  view.setUint16(12, 0x0800);
  view.setUint16(14, 0x4500);
  view.setUint16(16, length - 14);
  view.setUint32(18, 0);
  view.setUint16(22, 0x4006);
  view.setUint8(14 + 20 + 12, 0x50);
  return frame;
}

const SHAPES = ['whole', 'apart', 'pairs', 'bytes', 'pairs in a table'] as const;
type Shape = (typeof SHAPES)[number];

/** Where header and frame are cut. */
const CUTS: Readonly<Record<Shape, readonly number[]>> = {
  whole: [],
  apart: [HDR],
  pairs: [2, 4, 6, 8, 10, HDR],
  bytes: Array.from({ length: HDR }, (_, i) => i + 1),
  'pairs in a table': [2, 4, 6, 8, 10, HDR],
};

/** A field of two bytes that comes in pieces is read byte by byte: then each byte is a word of its own. */
function bytesOf({ name, offset, values }: Word): Word[] {
  return [0, 1].map((byte) => {
    const all = values.map((value) => (value >>> (8 * byte)) & 0xff);
    return { name: `${name}[${byte}]`, offset: offset + byte, bytes: 1, values: [...new Set(all)] };
  });
}

function scene(layout: Layout, shape: Shape, isTcp: boolean, length: number, region: number): Scene {
  const { tx } = rig.boot({ layout, ringSize: RING, hostOffloads: ALL_OFFLOADS });
  const frame = packet(isTcp, length);
  const address = packetBytes(rig, frame, [], region);
  const header = guest.offsetOf(address);
  const fields: readonly (readonly [string, number, 1 | 2, readonly number[]])[] = isTcp
    ? [
        ['flags', 0, 1, [1, 0, 2, 3]],
        ['gso_type', 1, 1, [1, 0, 3, 4, 0x81, 0xff]],
        ['hdr_len', 2, 2, [HEADERS, 0, 0xffff]],
        ['gso_size', 4, 2, [100, 0, HEADERS - 1, 120, 0xffff]],
        ['csum_start', 6, 2, [34, 0, 30, length - 1, 0xffff]],
        ['csum_offset', 8, 2, [16, 6, 18, length - 35, 0xffff]],
        ['num_buffers', 10, 2, [0, 1, 0xffff]],
      ]
    : [
        ['flags', 0, 1, [1, 0, 2]],
        ['gso_type', 1, 1, [0, 1, 0xff]],
        ['csum_start', 6, 2, [20, 30, length - 1, 0xffff]],
        ['csum_offset', 8, 2, [30, 16, length - 21, 0xffff]],
      ];
  for (const [, at, bytes, [honest]] of fields) {
    guest.u8[header + at] = honest!;
    if (bytes === 2) guest.u8[header + at + 1] = honest! >>> 8;
  }
  const ends = [...CUTS[shape], HDR + length];
  const inTable = shape === 'pairs in a table';
  const pieces = ends.map((end, i) => {
    const begin = ends[i - 1] ?? 0;
    return {
      address: address + begin,
      length: end - begin,
      flags: i < ends.length - 1 && (layout === 'split' || !inTable) ? NEXT : 0,
    };
  });
  if (inTable) offer(rig, tx, { address: table(rig, tx, pieces), length: 16 * pieces.length, flags: INDIRECT });
  else offer(rig, tx, ...pieces);
  offer(rig, tx, { address: packetBytes(rig, frameOf(8, 64)), length: HDR + 64 });
  tx.publish();
  const words = fields.map(([name, at, bytes, values]): Word => ({ name, offset: header + at, bytes, values }));
  const cutUp =
    shape === 'whole' || shape === 'apart' ? words : words.flatMap((w) => (w.bytes === 2 ? bytesOf(w) : [w]));
  if (isTcp) {
    for (const [name, at, values] of [
      ['EtherType', 13, [0, 0xdd]],
      ['version', 14, [0x45, 0x4f, 0x60, 0x40]],
      ['protocol', 23, [6, 17, 0]],
      ['data offset', 46, [0x50, 0xf0, 0x40]],
    ] as const) {
      cutUp.push({ name, offset: header + HDR + at, bytes: 1, values });
    }
  }
  return { words: cutUp, act: () => receiveOutcome(rig, tx, isTrue) };
}

/** What the flags say is true of the bytes that we hold. */
function isTrue(of: Rig, handle: number): void {
  const flags = of.get(handle, MBUF_OL_FLAGS);
  if ((flags & MBUF_F_TX_L4_MASK) === 0) return;
  const { u8, u16 } = of.memory;
  const length = of.get(handle, MBUF_PKT_LEN);
  const headers = u8[handle + MBUF_L2_LEN]! + u16[(handle + MBUF_L3_LEN) >>> 1]! + u8[handle + MBUF_L4_LEN]!;
  if (headers > length) throw new Error(`headers of ${headers} bytes in a packet of ${length}`);
  if ((flags & MBUF_F_TX_SEG_MASK) === 0) return;
  const size = u16[(handle + MBUF_TSO_SEGSZ) >>> 1]!;
  if (headers > size || length <= headers + size)
    throw new Error(`segments of ${size}, headers ${headers} of ${length}`);
}

for (const layout of LAYOUTS) {
  for (const shape of SHAPES) {
    t.test(`G11, G12 ${layout}: header ${shape}, each field changed at each read`, async (t) => {
      let runs = 0;
      for (const region of [0, 1]) {
        for (const [isTcp, length] of [
          [true, 250],
          [true, 400],
          [false, 100],
        ] as const) {
          runs += interleave(traced, () => scene(layout, shape, isTcp, length, region));
        }
      }
      t.pass(`${runs} runs`);
    });
  }
}
