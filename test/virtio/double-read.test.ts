/**
 * Rows G3, G4, G6, G7, G16, G17 and G19 of HOSTILE-INPUTS, with every word that a guest can change changed between any two reads of it: the
 * chain's descriptors, its table, heads, ids, indexes. The racing thread of races.test.ts strikes anywhere; here nothing is left out.
 */
import t from 'tap';
import { HDR, INDIRECT, NEXT, WRITE } from './attack.js';
import {
  createTracedRig,
  interleave,
  publish,
  receiveOutcome,
  type Scene,
  sendOutcome,
  type Word,
} from './interleave.js';
import { frameOf, LAYOUTS, type Layout, type RigRing, UNMAPPED } from './rig.js';

const traced = createTracedRig();
const { rig } = traced;
const { guest } = rig;
const RING = 16;
const AVAIL = 0x80;
/** A chain, or a packed buffer id, that is not offered. */
const SPARE = RING - 1;
const FRAME = 100;
const BUFFER = 256;

/** Behind the last byte of a region. */
const endOf = (region: number) => rig.regions[region]!.offset + rig.regions[region]!.lengthBytes;

interface Piece {
  readonly offset: number;
  readonly length: number;
}

/** Writes descriptors of the ring, or of a table. */
function put(layout: Layout, ring: RigRing, table: number, index: number, piece: Piece, flags: number, next: number) {
  const address = guest.guestAddress(piece.offset);
  if (layout === 'split') ring.writeDesc(table, index, address, piece.length, flags, next);
  else ring.writeDesc(table, index, address, piece.length, next, flags | (table === ring.desc ? AVAIL : 0));
}

/** The words of the descriptor at `desc`. `decoy` is where another address leads; `past` is longer than the region has. */
function words(
  layout: Layout,
  name: string,
  desc: number,
  decoy: number,
  past: number,
  links: readonly number[],
): Word[] {
  const at = (field: number) => desc + field;
  const [linkAt, flagsAt] = layout === 'packed' ? [12, 14] : [14, 12];
  const address = guest.u32[at(0) >>> 2]! + guest.u32[at(4) >>> 2]! * 0x1_0000_0000;
  const length = guest.u32[at(8) >>> 2]!;
  const flags = guest.u16[at(flagsAt) >>> 1]!;
  const others = [flags ^ WRITE, flags ^ NEXT, flags ^ INDIRECT, ...(layout === 'packed' ? [flags ^ AVAIL] : [])];
  return [
    {
      name: `${name}.addr`,
      offset: at(0),
      bytes: 8,
      values: [address, guest.guestAddress(decoy), address + 16, UNMAPPED],
    },
    { name: `${name}.len`, offset: at(8), bytes: 4, values: [length, length - 16, 0, past, 0xffff_fff0] },
    { name: `${name}.flags`, offset: at(flagsAt), bytes: 2, values: [flags, ...others] },
    { name: `${name}.${layout === 'packed' ? 'id' : 'next'}`, offset: at(linkAt), bytes: 2, values: links },
  ];
}

/** An open table goes on, by its links or by the packet's length, behind its end, which is the region's. */
type Shape = 'plain' | 'chain' | 'table' | 'open table' | 'merged';

/** Three packets or buffers, the second of this shape, in this region: up to its end. */
function scene(layout: Layout, direction: 'tx' | 'rx', shape: Shape, region: number): Scene {
  const { tx, rx } = rig.boot({ layout, ringSize: RING, mergeable: true });
  const ring = direction === 'tx' ? tx : rx;
  const write = direction === 'tx' ? 0 : WRITE;
  const bytes = direction === 'tx' ? HDR + FRAME : BUFFER;
  const fill = (offset: number, n: number) => {
    guest.u8.fill(0, offset, offset + bytes);
    if (direction === 'tx') guest.u8.set(frameOf(n, FRAME), offset + HDR);
  };
  const buffer = (n: number) => {
    const offset = guest.allocateIn(region, BUFFER, 16);
    fill(offset, n);
    return offset;
  };
  const before = buffer(1);
  const behind = buffer(2);
  const decoy = buffer(3);
  // What is looked at ends with the region: its table, or its buffer.
  const isTable = shape === 'table' || shape === 'open table';
  const last = endOf(region) - (isTable ? 32 : bytes);
  const own = isTable ? buffer(4) : last;
  if (!isTable) fill(last, 4);
  const cut = direction === 'tx' ? 40 : 64;
  const pieces = [
    { offset: own, length: cut },
    { offset: own + cut, length: bytes - cut },
  ];

  const id = (index: number) => (layout === 'packed' ? index : 0);
  put(layout, ring, ring.desc, 0, { offset: before, length: bytes }, write, id(0));
  put(layout, ring, ring.desc, SPARE, { offset: decoy, length: bytes }, write, SPARE);
  // Split: linked to no descriptor whose words change, which the walk would come to twice. Packed: an id that does not count.
  const next = layout === 'packed' ? [SPARE - 1, SPARE, RING, 0xffff] : [2, SPARE, 0, RING, 0xffff];
  const end = layout === 'packed' ? [1, SPARE, RING, 0xffff] : [0, 1, RING, 0xffff];
  const found: Word[] = [];
  const look = (name: string, desc: number, past: number, links: readonly number[]) =>
    found.push(...words(layout, name, desc, decoy, past, links));
  let index = 1;
  if (shape === 'plain') {
    put(layout, ring, ring.desc, index, { offset: own, length: bytes }, write, end[0]!);
    look('desc', ring.desc + 16, bytes + 16, end);
  } else if (shape === 'merged') {
    put(layout, ring, ring.desc, index++, pieces[0]!, write, end[0]!);
    put(layout, ring, ring.desc, index, pieces[1]!, write, id(index));
    look('desc', ring.desc + 16, bytes + 16, end);
    // A bad second buffer: the first one is skipped, and the packet begins anew with the second one, which is looked at again.
    const links = layout === 'packed' ? [2, SPARE, RING, 0xffff] : end;
    const second = words(layout, 'second desc', ring.desc + 32, decoy, bytes + 16, links);
    found.push(...second.map((word) => ({ ...word, again: true })));
  } else if (shape === 'chain') {
    put(layout, ring, ring.desc, index++, pieces[0]!, write | NEXT, next[0]!);
    put(layout, ring, ring.desc, index, pieces[1]!, write, end[0]!);
    look('desc', ring.desc + 16, bytes + 16, next);
    look('second desc', ring.desc + 32, bytes + 16, end);
  } else {
    const linked = layout === 'split' ? NEXT : 0;
    put(layout, ring, last, 0, pieces[0]!, write | linked, 1);
    put(
      layout,
      ring,
      last,
      1,
      pieces[1]!,
      write | (shape === 'open table' ? linked : 0),
      shape === 'open table' ? 2 : 0,
    );
    put(layout, ring, ring.desc, index, { offset: last, length: 32 }, INDIRECT, end[0]!);
    look('desc', ring.desc + 16, 48, end);
    look('entry', last, 0x30_0000, layout === 'split' ? [1, 0, 2, 0xffff] : [1, 0, 2, 0xffff]);
    look('second entry', last + 16, 0x30_0000, shape === 'open table' ? [2, 0xffff] : [0, 1, 2, 0xffff]);
  }
  put(layout, ring, ring.desc, ++index, { offset: behind, length: bytes }, write, id(index));
  publish(rig, ring, shape === 'merged' ? [0, 1, 2, index] : [0, 1, index]);
  if (layout === 'split') {
    found.push({ name: 'head', offset: ring.avail + 6, bytes: 2, values: [1, SPARE, RING, 0xffff] });
    if (shape === 'merged')
      found.push({ name: 'next head', offset: ring.avail + 8, bytes: 2, values: [2, SPARE, RING], again: true });
    const offered = guest.u16[(ring.avail + 2) >>> 1]!;
    found.push({ name: 'avail.idx', offset: ring.avail + 2, bytes: 2, values: [offered, 2, RING + 1, 0xffff] });
    found.push({ name: 'avail.flags', offset: ring.avail, bytes: 2, values: [1, 0] });
  } else {
    found.push({ name: 'event', offset: ring.avail, bytes: 4, values: [0x1_0000, 0, 0x2_8000, 0x2_0001] });
  }
  if (direction === 'tx') return { words: found, act: () => receiveOutcome(rig, ring) };
  const frames = [frameOf(11, 60), frameOf(12, shape === 'open table' ? 400 : 150), frameOf(13, 62)];
  const buffers = [before, behind, decoy, own].map((offset) => [offset, bytes] as const);
  return { words: found, act: () => sendOutcome(rig, ring, frames, HDR, buffers) };
}

for (const layout of LAYOUTS) {
  for (const direction of ['tx', 'rx'] as const) {
    for (const [row, shape] of [
      ['G4', 'plain'],
      ['G4', 'chain'],
      ['G3', 'table'],
      ['G3', 'open table'],
      ['G16', 'merged'],
    ] as const) {
      if (shape === 'merged' && direction === 'tx') continue;
      for (const region of [0, 1]) {
        t.test(
          `${row} ${layout} ${direction}: a ${shape}, each word changed at each read, region ${region}`,
          async (t) => {
            const begin = Date.now();
            const runs = interleave(traced, () => scene(layout, direction, shape, region));
            t.pass(`${runs} runs, ${Date.now() - begin} ms`);
          },
        );
      }
    }
  }
}

t.test('G16, G19 packed: a burst is one lap at the most, whatever becomes of what it has taken already', async (t) => {
  const cases: readonly (readonly [string, 'tx' | 'rx', readonly number[], boolean])[] = [
    ['two buffers left for a packet that takes three', 'rx', [...Array<number>(RING - 2).fill(60), 200], false],
    ['more packets than buffers', 'rx', Array<number>(RING + 1).fill(60), false],
    ['a lap of single packets', 'tx', [], false],
    ['a lap of chains', 'tx', [], true],
  ];
  for (const [title, direction, lengths, chained] of cases) {
    const write = direction === 'rx' ? WRITE : 0;
    const runs = interleave(traced, () => {
      const ring = rig.boot({ layout: 'packed', ringSize: RING, mergeable: true })[direction];
      const buffers = Array.from({ length: RING }, () => guest.allocate(100));
      buffers.forEach((offset, i) => {
        guest.u8.fill(i, offset, offset + 100);
        guest.u8.fill(0, offset, offset + HDR);
        put('packed', ring, ring.desc, i, { offset, length: 100 }, write | (chained && i % 2 === 0 ? NEXT : 0), i);
      });
      // The first descriptors become available again, for the next lap, before the burst has given them back. The second one of a
      // chain has no state of its own.
      const found = (chained ? [0] : [0, 1]).map((i): Word => {
        const offset = ring.desc + 16 * i + 14;
        return { name: `flags ${i}`, offset, bytes: 2, values: [guest.u16[offset >>> 1]!, write | 0x8000] };
      });
      if (direction === 'tx') return { words: found, act: () => receiveOutcome(rig, ring) };
      const frames = lengths.map((length, i) => frameOf(i, length));
      // What stands in buffers that are not given back does not count.
      const filled = buffers.slice(0, RING - 2).map((offset) => [offset, 100] as const);
      return { words: found, act: () => sendOutcome(rig, ring, frames, HDR, filled) };
    });
    t.ok(runs > 4, `${title}: ${runs} runs`);
  }
});

for (const layout of LAYOUTS) {
  t.test(`G18 ${layout}: where the guest wants to hear of it, changed at each read`, async (t) => {
    const outcomes = new Set<string>();
    const runs = interleave(traced, () => {
      const { tx } = rig.boot({ layout, ringSize: RING, eventIdx: true });
      const offset = guest.allocate(HDR + FRAME);
      guest.u8.fill(0, offset, offset + HDR);
      const offer = (first: number) => {
        for (const i of [first, first + 1]) put(layout, tx, tx.desc, i, { offset, length: HDR + FRAME }, 0, i);
        publish(
          rig,
          tx,
          Array.from({ length: first + 2 }, (_, i) => i),
        );
      };
      // The first burst of a ring is always told of.
      offer(0);
      if (rig.receive().length !== 2) throw new Error('not received');
      offer(2);
      // DESC at an entry of the burst and at none; whatever stands beside ENABLE and DISABLE.
      const word: Word =
        layout === 'packed'
          ? { name: 'event', offset: tx.avail, bytes: 4, values: [0x2_8003, 0x2_8009, 0x8009, 0x1_8003] }
          : { name: 'used_event', offset: tx.avail + 4 + 2 * RING, bytes: 2, values: [3, 9, 0xffff] };
      const act = () => {
        const outcome = receiveOutcome(rig, tx);
        outcomes.add(outcome);
        return outcome;
      };
      return { words: [word], act };
    });
    t.equal(outcomes.size, 2, `told or not: ${runs} runs`);
  });
}
