/** VLAN tags in and out of frames, with the rules for who may write and where there is room. */
import fc from 'fast-check';
import t from 'tap';
import { MBUF_F_RX_VLAN, MBUF_F_RX_VLAN_STRIPPED } from '../../assembly/layout.js';
import { build, frameSpec } from './frames.js';
import { allBack, bytesOf, cutsOf, equal, free, LCORE, pool, put, same, view, wasm, wishes } from './harness.js';

const STRIPPED = MBUF_F_RX_VLAN | MBUF_F_RX_VLAN_STRIPPED;

t.test('a tag comes out, and goes back in', async (t) => {
  const property = fc.property(frameSpec(40), wishes, fc.boolean(), (spec, wish, parsed) => {
    const frame = build(spec);
    const tagged = frame[12] === 0x81;
    const mbuf = put(frame, cutsOf(frame.length, wish, 18));
    if (parsed) wasm.parsePacket(mbuf);
    same(wasm.vlanStrip(mbuf), tagged ? 1 : 0, 'answer');
    const m = view(mbuf);
    same(m.olFlags, tagged ? STRIPPED : 0, 'flags');
    if (tagged) {
      same(m.vlanTci, spec.vlans[0], 'tag');
      equal(bytesOf(mbuf), Uint8Array.from([...frame.subarray(0, 12), ...frame.subarray(16)]), 'frame without it');
      same(view(mbuf).l2Len, parsed ? 14 : 0, 'l2Len');
      same(wasm.vlanInsert(mbuf, 0x8100, view(mbuf).vlanTci), 1, 'answer');
      same(view(mbuf).olFlags, MBUF_F_RX_VLAN, 'flags');
      same(view(mbuf).l2Len, parsed ? 18 : 0, 'l2Len');
    }
    equal(bytesOf(mbuf), frame, 'frame');
    same(view(mbuf).pktLen, frame.length, 'length');
    free(mbuf);
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: 500 }));
  t.doesNotThrow(() => allBack());
});

const FRAME = Uint8Array.from({ length: 60 }, (_, i) => (i === 12 ? 0x81 : i === 13 ? 0 : i));

t.test('two tags make QinQ', async (t) => {
  const frame = Uint8Array.from(FRAME);
  frame.set([0x08, 0x00], 12);
  const mbuf = put(frame);
  t.equal(wasm.vlanInsert(mbuf, 0x8100, 0x0123), 1);
  t.equal(wasm.vlanInsert(mbuf, 0x88a8, 0xe456), 1);
  t.same([...bytesOf(mbuf).subarray(12, 22)], [0x88, 0xa8, 0xe4, 0x56, 0x81, 0x00, 0x01, 0x23, 0x08, 0x00]);
  t.equal(wasm.parsePacket(mbuf) & 0xf, 7);
  t.equal(wasm.vlanStrip(mbuf), 0, 'a service tag is not stripped');
  free(mbuf);
});

t.test('refused, and nothing changed', async (t) => {
  const unchanged = (mbuf: number, bytes: Uint8Array, what: string) => {
    t.equal(wasm.vlanStrip(mbuf), 0, `${what}: strip`);
    t.equal(wasm.vlanInsert(mbuf, 0x8100, 5), 0, `${what}: insert`);
    t.same(bytesOf(mbuf), bytes, `${what}: the bytes`);
    t.equal(view(mbuf).olFlags & STRIPPED, 0, `${what}: the flags`);
  };
  for (let length = 0; length < 14; length++) {
    const mbuf = put(FRAME, [length]);
    unchanged(mbuf, FRAME, `${length} bytes in the first segment`);
    free(mbuf);
  }
  for (let length = 14; length < 18; length++) {
    const mbuf = put(FRAME.subarray(0, length), [], 0x81);
    t.equal(wasm.vlanStrip(mbuf), 0, `a tag cut short at ${length}`);
    free(mbuf);
  }
  const mbuf = put(FRAME);
  const clone = wasm.mbufClone(mbuf, pool.address, LCORE);
  unchanged(mbuf, FRAME, 'a packet with a clone');
  unchanged(clone, FRAME, 'a clone');
  free(clone);
  t.equal(wasm.vlanStrip(mbuf), 1, 'alone again');
  free(mbuf);

  const full = put(FRAME.subarray(0, 18));
  view(full).prepend(126);
  t.equal(wasm.vlanInsert(full, 0x8100, 5), 0, '2 bytes of headroom');
  t.equal(view(full).pktLen, 18 + 126);
  view(full).adj(2);
  t.equal(wasm.vlanInsert(full, 0x8100, 5), 1, '4 bytes of headroom');
  t.equal(view(full).headroom, 0);
  free(full);
  allBack();
});
