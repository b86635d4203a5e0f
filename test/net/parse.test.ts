/** parsePacket against the oracle: headers of all kinds, cut short anywhere, lying about their lengths. */
import fc from 'fast-check';
import t from 'tap';
import { dissect } from '../support/net-oracle.js';
import { build, frameSpec } from './frames.js';
import { allBack, cutsOf, disturbed, free, put, same, view, wasm, wishes } from './harness.js';

/** Parses the frame cut so, among 0x00 and among 0xff bytes: same answer, and the oracle's. */
function check(frame: Uint8Array, cuts: readonly number[]): void {
  const wanted = dissect(frame, cuts[0] ?? frame.length);
  for (const around of [0x00, 0xff, 0x86]) {
    const mbuf = put(frame, cuts, around);
    const ptype = wasm.parsePacket(mbuf);
    const m = view(mbuf);
    same(ptype.toString(16), wanted.ptype.toString(16), 'type');
    same(m.packetType, ptype, 'type in the mbuf');
    same(m.l2Len, wanted.l2Len, 'l2Len');
    same(m.l3Len, wanted.l3Len, 'l3Len');
    same(m.l4Len, wanted.l4Len, 'l4Len');
    same(disturbed(mbuf, around), '', 'bytes around');
    free(mbuf);
  }
}

t.test('frames of every kind, cut into segments anywhere', async (t) => {
  const property = fc.property(frameSpec(40), wishes, (spec, wish) => {
    const frame = build(spec);
    check(frame, cutsOf(frame.length, wish));
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: 1500 }));
  t.doesNotThrow(() => allBack());
});

t.test('each frame cut short at every byte', async (t) => {
  const property = fc.property(frameSpec(8), (spec) => {
    const frame = build(spec);
    for (let length = 0; length < frame.length; length++) check(frame.subarray(0, length), []);
    for (let first = 0; first < frame.length; first++) check(frame, [first]);
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: 25 }));
});

t.test('nonsense, and frames with any one byte changed', async (t) => {
  const nonsense = fc.property(fc.uint8Array({ maxLength: 120 }), wishes, (frame, wish) =>
    check(frame, cutsOf(frame.length, wish)),
  );
  t.doesNotThrow(() => fc.assert(nonsense, { numRuns: 200 }));
  const changed = fc.property(frameSpec(20), fc.nat(), fc.nat(255), (spec, where, value) => {
    const frame = build(spec);
    frame[12 + (where % (frame.length - 12))] = value;
    check(frame, []);
  });
  t.doesNotThrow(() => fc.assert(changed, { numRuns: 1500 }));
});

t.test('lengths and types by hand', async (t) => {
  const macs = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
  const ip = [0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
  const tcp = [0, 80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0];
  const rows: [string, number[], number[]][] = [
    ['TCP over IPv4', [...macs, 8, 0, ...ip, ...tcp], [0x111, 14, 20, 20]],
    ['one tag', [...macs, 0x81, 0, 0, 7, 8, 0, ...ip, ...tcp], [0x116, 18, 20, 20]],
    ['two tags', [...macs, 0x88, 0xa8, 0, 7, 0x81, 0, 0, 9, 8, 0, ...ip, ...tcp], [0x117, 22, 20, 20]],
    ['ARP', [...macs, 8, 6, ...ip], [0x1, 14, 0, 0]],
    ['a tag cut short', [...macs, 0x81, 0, 0, 7, 8], [0x1, 14, 0, 0]],
    ['a runt', macs, [0, 0, 0, 0]],
  ];
  for (const [name, bytes, wanted] of rows) {
    const mbuf = put(Uint8Array.from(bytes));
    const ptype = wasm.parsePacket(mbuf);
    const m = view(mbuf);
    t.same([ptype, m.l2Len, m.l3Len, m.l4Len], wanted, name);
    free(mbuf);
  }
});
