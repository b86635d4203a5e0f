/** The driver side of a virtqueue: a device's headers, right and wrong ones; packets that the device cannot take as they are. */
import t from 'tap';
import {
  DROP_FEATURE,
  DROP_OFFLOAD,
  ETH_RX_OFFLOAD_IPV4_CKSUM,
  ETH_RX_OFFLOAD_TCP_CKSUM,
  ETH_RX_OFFLOAD_VLAN_STRIP,
  MBUF_DATA_OFF,
  MBUF_F_RX_L4_CKSUM_GOOD,
  MBUF_F_TX_IP_CKSUM,
  MBUF_F_TX_IPV4,
  MBUF_F_TX_TCP_CKSUM,
  MBUF_F_TX_TCP_SEG,
  MBUF_F_TX_VLAN,
  OFFLOAD_CSUM,
  OFFLOAD_ECN,
  OFFLOAD_TSO4,
  OFFLOAD_TSO6,
  QUEUE_BYTES,
  QUEUE_DESC,
  QUEUE_ETH_OFFLOADS,
  QUEUE_FULL,
  QUEUE_NOTIFIED,
  QUEUE_PACKETS,
  QUEUE_SUPPRESSED,
} from '../../assembly/layout.js';
import { mbufFlagNames } from '../../src/mbuf-flags.js';
import { build, type FrameSpec } from '../net/frames.js';
import { bytesOf, equal, free, LCORE, memory, pool, put, view, wasm } from '../net/harness.js';
import { dissect, segment, withIpv4Checksum, withL4Checksum } from '../support/net-oracle.js';
import {
  close,
  cross,
  GUEST_A,
  GUEST_B,
  HOST_A,
  HOST_B,
  handles,
  open,
  queues,
  type RingOptions,
  receive,
  send,
  state,
} from './offload-rig.js';

const TSO = OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6;
const NEEDS_CSUM = 1;
const DATA_VALID = 2;

const spec: FrameSpec = {
  vlans: [],
  version: 4,
  protocol: 'tcp',
  ipOptions: new Uint8Array(0),
  tcpOptions: new Uint8Array(0),
  extensions: [],
  payload: Uint8Array.from({ length: 1000 }, (_, i) => (i * 7) & 0xff),
  seed: Uint8Array.from({ length: 70 }, (_, i) => (i * 37 + 2) & 0xfe),
  tcpFlags: 0x10,
  lengthError: 0,
  fragmentWord: 0,
};
const whole = withL4Checksum(withIpv4Checksum(build(spec)))!;
const partial = withL4Checksum(whole, true)!;

interface Header {
  readonly flags: number;
  readonly gsoType?: number;
  readonly gsoSize?: number;
  readonly csumStart?: number;
  readonly csumOffset?: number;
}

/** What guest B receives when its device hands over `frame` with this header. */
function deliver(frame: Uint8Array, header: Header, options: RingOptions): { flags: string[]; bytes: Uint8Array }[] {
  open({ packed: false, offloads: 0 }, options, pool, pool);
  send(HOST_B, [put(frame)]);
  const at = memory.u32[memory.u32[(queues[GUEST_B] + QUEUE_DESC) >>> 2]! >>> 2]!; // address of the first buffer
  const view16 = new DataView(memory.buffer, at, 12);
  view16.setUint8(0, header.flags);
  view16.setUint8(1, header.gsoType ?? 0);
  view16.setUint16(4, header.gsoSize ?? 0, true);
  view16.setUint16(6, header.csumStart ?? 0, true);
  view16.setUint16(8, header.csumOffset ?? 0, true);
  send(HOST_B, [put(whole)]); // and a plain one behind it
  const arrived = receive(GUEST_B);
  const last = arrived.pop()!;
  equal(bytesOf(last), whole, 'the packet behind');
  free(last);
  const packets = arrived.map((handle) => ({ flags: mbufFlagNames(view(handle).olFlags), bytes: bytesOf(handle) }));
  free(...arrived);
  return packets;
}

const layouts = { split: { packed: false }, packed: { packed: true } };

for (const [name, layout] of Object.entries(layouts)) {
  t.test(`${name}: what a device says`, async (t) => {
    const has = (offloads: number) => ({ ...layout, offloads });
    const l4At = 34;
    const needs: Header = { flags: NEEDS_CSUM, csumStart: l4At, csumOffset: 16 };
    const offered = ['TX_TCP_CKSUM', 'TX_IPV4', 'RX_L4_CKSUM_NONE'];
    const taken: [string, Uint8Array, Header, number, string[], Uint8Array?][] = [
      ['DATA_VALID', whole, { flags: DATA_VALID }, OFFLOAD_CSUM, ['RX_L4_CKSUM_GOOD']],
      ['DATA_VALID without GUEST_CSUM says nothing', whole, { flags: DATA_VALID }, 0, []],
      ['a checksum that is still to be made', partial, needs, OFFLOAD_CSUM, offered],
      ['both', partial, { ...needs, flags: NEEDS_CSUM | DATA_VALID }, OFFLOAD_CSUM, offered],
      ['flags of nobody', whole, { flags: 0xfc }, OFFLOAD_CSUM, []],
      ['a segmented one', partial, { ...needs, gsoType: 1, gsoSize: 500 }, TSO, ['RX_LRO', 'TX_TCP_SEG', ...offered]],
    ];
    for (const [what, frame, header, offloads, flags] of taken) {
      t.same(deliver(frame, header, has(offloads)), [{ flags, bytes: frame }], what);
      t.equal(state(GUEST_B), 'stop 0', what);
      close();
    }
    // SCTP's checksum is another one, but a device that asks for the Internet checksum there gets it
    const sctp = build({ ...spec, protocol: 'sctp' });
    const [packet] = deliver(sctp, { flags: NEEDS_CSUM, csumStart: l4At, csumOffset: 8 }, has(OFFLOAD_CSUM));
    t.same(packet?.flags, []);
    t.notSame(packet?.bytes, sctp);
    close();

    const refused: [string, number, Header, number][] = [
      ['NEEDS_CSUM without GUEST_CSUM', DROP_FEATURE, needs, 0],
      ['segments without GUEST_TSO4', DROP_FEATURE, { ...needs, gsoType: 1, gsoSize: 500 }, OFFLOAD_CSUM],
      ['ECN without GUEST_ECN', DROP_FEATURE, { ...needs, gsoType: 0x81, gsoSize: 500 }, TSO],
      ['segments without NEEDS_CSUM', DROP_OFFLOAD, { flags: DATA_VALID, gsoType: 1, gsoSize: 500 }, TSO],
      ['a field outside the packet', DROP_OFFLOAD, { ...needs, csumStart: 1050, csumOffset: 16 }, OFFLOAD_CSUM],
      ['TCPv6 of a TCPv4 packet', DROP_OFFLOAD, { ...needs, gsoType: 4, gsoSize: 500 }, TSO],
      ['segments of nothing', DROP_OFFLOAD, { ...needs, gsoType: 1, gsoSize: 0 }, TSO],
      ['a kind of nobody', DROP_OFFLOAD, { ...needs, gsoType: 9, gsoSize: 500 }, TSO | OFFLOAD_ECN],
    ];
    for (const [what, cause, header, offloads] of refused) {
      t.same(deliver(partial, header, has(offloads)), [], what);
      t.equal(state(GUEST_B), `stop 0, drop ${cause}: 1`, what);
      const counter = (field: number) => Number(memory.u64[(queues[GUEST_B] + field) >>> 3]!);
      t.same(
        [counter(QUEUE_PACKETS), counter(QUEUE_BYTES)],
        [1, whole.length],
        'a dropped packet is not counted as received',
      );
      close();
      t.equal(pool.inUseCount, 0, what);
    }
  });

  t.test(`${name}: a verified checksum is told on, and only to who asked`, async (t) => {
    for (const [offloads, wanted] of [
      [OFFLOAD_CSUM, ['RX_L4_CKSUM_GOOD']],
      [0, []],
    ] as const) {
      open({ packed: false, offloads: 0 }, { ...layout, offloads }, pool, pool);
      const handle = put(whole);
      view(handle).olFlags = MBUF_F_RX_L4_CKSUM_GOOD;
      send(HOST_B, [handle]);
      const [arrived] = receive(GUEST_B);
      t.same(mbufFlagNames(view(arrived!).olFlags), wanted);
      t.same(bytesOf(arrived!), whole);
      free(arrived!);
      close();
    }
  });

  const big = build({ ...spec, payload: new Uint8Array(5000).fill(9) });
  const bare = withL4Checksum(withIpv4Checksum(big), true)!;
  function bigOne(olFlags: number): number {
    const frame = Uint8Array.from(bare);
    frame.fill(0, 24, 26); // the IP checksum is asked for too, as DPDK programs do
    const handle = put(frame, [2000, 4000]);
    const { l2Len, l3Len, l4Len } = dissect(bare);
    Object.assign(view(handle), { olFlags, l2Len, l3Len, l4Len, tsoSegsz: 1000, vlanTci: 42 });
    return handle;
  }
  const asks = MBUF_F_TX_TCP_SEG | MBUF_F_TX_TCP_CKSUM | MBUF_F_TX_IP_CKSUM | MBUF_F_TX_IPV4;

  t.test(`${name}: IP checksum and tag are made before a packet goes out to be segmented`, async (t) => {
    const options = { ...layout, offloads: TSO };
    for (const [flags, frame] of [
      [asks, bare],
      [asks | MBUF_F_TX_VLAN, Uint8Array.from([...bare.subarray(0, 12), 0x81, 0, 0, 42, ...bare.subarray(12)])],
    ] as const) {
      open(options, options, pool, pool);
      const arrived = cross([bigOne(flags)]);
      t.equal(arrived.length, 1);
      t.same(bytesOf(arrived[0]!), frame);
      t.equal(view(arrived[0]!).l2Len, flags & MBUF_F_TX_VLAN ? 18 : 14);
      t.equal(view(arrived[0]!).tsoSegsz, 1000);
      free(...arrived);
      close();
      t.equal(pool.inUseCount, 0);
    }
  });

  t.test(
    `${name}: receive offloads leave alone what the sender has said, and know where a stripped packet's headers are`,
    async (t) => {
      const options = { ...layout, offloads: TSO };
      open(options, options, pool, pool);
      const enabled = (queues[HOST_A] + QUEUE_ETH_OFFLOADS) >>> 2;
      memory.u32[enabled] = ETH_RX_OFFLOAD_TCP_CKSUM | ETH_RX_OFFLOAD_IPV4_CKSUM | ETH_RX_OFFLOAD_VLAN_STRIP;
      const tagged = Uint8Array.from([...bare.subarray(0, 12), 0x81, 0, 0, 42, ...bare.subarray(12)]);
      const handle = put(tagged, [2000, 4000]);
      const olFlags = asks & ~MBUF_F_TX_IP_CKSUM;
      Object.assign(view(handle), { olFlags, l2Len: 18, l3Len: 20, l4Len: 20, tsoSegsz: 1000 });
      send(GUEST_A, [handle]);
      const inside = receive(HOST_A);
      t.same(mbufFlagNames(view(inside[0]!).olFlags), [
        'RX_VLAN',
        'RX_VLAN_STRIPPED',
        'RX_IP_CKSUM_GOOD',
        'RX_LRO',
        'TX_TCP_SEG',
        'TX_TCP_CKSUM',
        'TX_IPV4',
        'RX_L4_CKSUM_NONE',
      ]);
      t.match(view(inside[0]!), { vlanTci: 42, l2Len: 14, l3Len: 20, l4Len: 20, tsoSegsz: 1000 });
      send(HOST_B, inside);
      send(GUEST_A, []);
      const arrived = receive(GUEST_B);
      t.equal(arrived.length, 1);
      t.same(bytesOf(arrived[0]!), bare);
      t.match(view(arrived[0]!), { l2Len: 14, l3Len: 20, l4Len: 20, tsoSegsz: 1000 });
      free(...arrived);
      memory.u32[enabled] = 0;
      close();
      t.equal(pool.inUseCount, 0);
    },
  );

  t.test(`${name}: a packet that is ours alone is seen to in place, a burst of them is told of once`, async (t) => {
    open({ ...layout, offloads: 0 }, { ...layout, offloads: 0 }, pool, pool);
    const { l2Len, l3Len, l4Len } = dissect(partial);
    const wish = {
      olFlags: MBUF_F_TX_TCP_CKSUM | MBUF_F_TX_IP_CKSUM | MBUF_F_TX_IPV4 | MBUF_F_TX_VLAN,
      ...{ l2Len, l3Len, l4Len, vlanTci: 42 },
    };
    const packets = Array.from({ length: 20 }, () => put(partial));
    for (const handle of packets) Object.assign(view(handle), wish);
    // one that others see too: it needs an mbuf
    const shared = put(partial);
    Object.assign(view(shared), wish);
    packets.splice(10, 0, wasm.mbufClone(shared, pool.address, LCORE));
    const hostTx = queues[HOST_B];
    const told = () => memory.u64[(hostTx + QUEUE_NOTIFIED) >>> 3]! + memory.u64[(hostTx + QUEUE_SUPPRESSED) >>> 3]!;
    send(HOST_B, packets);
    t.equal(told(), 3n, 'once before the shared one, once for it, once behind it');
    const wanted = Uint8Array.from([...whole.subarray(0, 12), 0x81, 0, 0, 42, ...whole.subarray(12)]);
    const arrived = receive(GUEST_B);
    t.equal(arrived.length, 21);
    for (const handle of arrived) equal(bytesOf(handle), wanted);
    t.same(bytesOf(shared), partial, 'what others see is as it was');
    free(...arrived, shared);

    const last = put(partial);
    Object.assign(view(last), wish);
    const rest: number[] = [];
    for (let handle = pool.alloc(); handle !== 0; handle = pool.alloc()) rest.push(handle);
    send(HOST_B, [last]);
    t.equal(state(HOST_B), 'stop 0', 'no mbuf is needed for it');
    free(...rest);
    const [alone] = receive(GUEST_B);
    t.same(bytesOf(alone!), wanted);
    free(alone!);
    close();
    t.equal(pool.inUseCount, 0);
  });

  t.test(`${name}: a burst keeps its order where one packet needs software`, async (t) => {
    open({ ...layout, offloads: 0 }, { ...layout, offloads: 0 }, pool, pool);
    const arrived = cross([put(whole), bigOne(asks), put(partial), bigOne(asks)]);
    const segments = segment(bare, 'tcp4', 1000, false)!;
    t.equal(segments.length, 5);
    const wanted = [whole, ...segments, partial, ...segments];
    t.equal(arrived.length, wanted.length);
    for (const [i, handle] of arrived.entries()) t.same(bytesOf(handle), wanted[i], `packet ${i}`);
    t.equal(state(GUEST_A), 'stop 0');
    free(...arrived);
    close();
    t.equal(pool.inUseCount, 0);
  });

  t.test(`${name}: a full ring: what it does not take stays the sender's, and is counted once`, async (t) => {
    open({ ...layout, offloads: 0 }, { ...layout, offloads: 0 }, pool, pool);
    const full = () => Number(memory.u64[(queues[GUEST_A] + QUEUE_FULL) >>> 3]!);
    for (let i = 0; i < 254; i += 127)
      send(
        GUEST_A,
        Array.from({ length: 127 }, () => put(whole)),
      );
    t.equal(full(), 0);
    send(GUEST_A, [bigOne(asks)]); // five segments, two places
    t.match(state(GUEST_A), 'drop 11: 3', 'the rest of a packet that went out in part is counted');
    const before = pool.inUseCount;
    const rest = [bigOne(asks), put(whole)];
    const made = pool.inUseCount;
    memory.u32.set(rest, handles >>> 2);
    t.equal(wasm.txBurst(0, GUEST_A, 0, handles, 2), 0);
    t.equal(full(), 2);
    t.equal(pool.inUseCount, made, 'nothing was taken for the attempt');
    t.equal(memory.u32[(rest[0]! + MBUF_DATA_OFF) >>> 2], 128, 'nor was the packet changed');
    free(...rest);
    t.equal(pool.inUseCount, before);
    free(...receive(HOST_A));
    close();
    t.equal(pool.inUseCount, 0);
  });
}
