/** Offloads as a port's user enables them: refusals by name, per port and per queue, and what is done to packets then. */
import type { Test } from 'tap';
import t from 'tap';
import {
  ETH_RX_OFFLOAD_RSS_HASH,
  ETH_RX_OFFLOAD_TCP_CKSUM,
  ETH_RX_OFFLOAD_VLAN_STRIP,
  ETH_TX_OFFLOAD_MULTI_SEGS,
  ETH_TX_OFFLOAD_TCP_TSO,
  PORT_BASE,
  PORT_RXQS,
  PORT_SIZE,
  PORT_TXQS,
  QUEUE_ETH_OFFLOADS,
} from '../../assembly/layout.js';
import type { DriverPort } from '../../src/drivers/types.js';
import type { Eal } from '../../src/eal/eal.js';
import { LcorePort } from '../../src/ethdev/lcore-port.js';
import { Burst, MbufFlags, MbufView, type Mempool, mbufFlagNames, Port, packetTypeName } from '../../src/index.js';
import { build, type FrameSpec } from '../net/frames.js';
import { dissect, flowHashOf, withIpv4Checksum, withL4Checksum } from '../support/net-oracle.js';
import { errorOf, openEal, packetPool, Spy, spyInfo } from './rig.js';

const ONE = { rxQueueCount: 1, txQueueCount: 1 };

/** A driver with offloads, all but TCP_LRO for single queues too, that tells what it was asked. */
async function spyPort(t: Test): Promise<{ eal: Eal; mempool: Mempool; port: Port; asked: unknown[] }> {
  const eal = await openEal(t);
  const asked: unknown[] = [];
  const { driver } = new Spy();
  const port = await Port.probe(eal, 'net_spy0', {
    driver: {
      ...driver,
      async probe(...args) {
        const device: DriverPort = await driver.probe(...args);
        return {
          ...device,
          info: () => ({
            ...spyInfo,
            rxOffloadCapabilities: ['VLAN_STRIP', 'TCP_CKSUM', 'TCP_LRO', 'RSS_HASH'],
            rxQueueOffloadCapabilities: ['VLAN_STRIP', 'TCP_CKSUM', 'RSS_HASH'],
            txOffloadCapabilities: ['TCP_TSO', 'MULTI_SEGS'],
          }),
          rxQueueSetup: (queue, setup) => asked.push(['rx', queue, ...setup.offloads]),
          txQueueSetup: (queue, setup) => asked.push(['tx', queue, ...setup.offloads]),
        };
      },
    },
  });
  return { eal, mempool: packetPool(eal), port, asked };
}

function offloadsOf(eal: Eal, port: Port, side: 'rx' | 'tx', queue: number): number {
  const { u32 } = eal.memory;
  const list = u32[(PORT_BASE + port.id * PORT_SIZE + (side === 'rx' ? PORT_RXQS : PORT_TXQS)) >>> 2]!;
  return u32[(u32[(list >>> 2) + queue]! + QUEUE_ETH_OFFLOADS) >>> 2]!;
}

t.test("a port's offloads are its queues', a queue may have more", async (t) => {
  const { eal, mempool, port, asked } = await spyPort(t);
  port.configure({ rxQueueCount: 2, txQueueCount: 1, rxOffloads: ['TCP_LRO', 'VLAN_STRIP'], txOffloads: ['TCP_TSO'] });
  t.same([port.rxOffloads, port.txOffloads], [['TCP_LRO', 'VLAN_STRIP'], ['TCP_TSO']]);
  t.equal(port.rxQueueInfo(0), undefined);
  port.rxQueueSetup(0, { mempool });
  port.rxQueueSetup(1, { mempool, offloads: ['RSS_HASH', 'TCP_CKSUM', 'TCP_LRO'], descriptorCount: 128 });
  port.txQueueSetup(0, { offloads: ['TCP_TSO'] });
  t.same(asked, [
    ['rx', 0, 'TCP_LRO', 'VLAN_STRIP'],
    ['rx', 1, 'TCP_LRO', 'VLAN_STRIP', 'RSS_HASH', 'TCP_CKSUM'],
    ['tx', 0, 'TCP_TSO'],
  ]);
  t.match(port.rxQueueInfo(1), { mempool, descriptorCount: 128, offloads: asked[1] && ['TCP_LRO', 'VLAN_STRIP'] });
  t.same(port.txQueueInfo(0), { descriptorCount: 64, offloads: ['TCP_TSO'] });
  const lro = 0x10; // DPDK's bit
  t.equal(offloadsOf(eal, port, 'rx', 0), lro | ETH_RX_OFFLOAD_VLAN_STRIP);
  const more = ETH_RX_OFFLOAD_VLAN_STRIP | ETH_RX_OFFLOAD_RSS_HASH | ETH_RX_OFFLOAD_TCP_CKSUM;
  t.equal(offloadsOf(eal, port, 'rx', 1), lro | more);
  t.equal(offloadsOf(eal, port, 'tx', 0), ETH_TX_OFFLOAD_TCP_TSO as number);

  port.configure({ ...ONE, txOffloads: ['MULTI_SEGS'] });
  port.rxQueueSetup(0, { mempool });
  port.txQueueSetup(0);
  t.equal(offloadsOf(eal, port, 'rx', 0), 0, 'another configuration forgets the first');
  t.equal(offloadsOf(eal, port, 'tx', 0), ETH_TX_OFFLOAD_MULTI_SEGS as number);
  t.throws(() => port.rxQueueInfo(1), { code: 'ERR_INVALID_ARGUMENT', message: /no rx queue 1/ });
});

t.test('what cannot be had is refused by name, and nothing changes', async (t) => {
  const { mempool, port, asked } = await spyPort(t);
  t.match(
    errorOf(() => port.configure({ ...ONE, rxOffloads: ['QINQ_STRIP'] })),
    /ERR_OFFLOAD: .*rx offload QINQ_STRIP is not supported; the port has: VLAN_STRIP, TCP_CKSUM, TCP_LRO, RSS_HASH$/,
  );
  t.match(
    errorOf(() => port.configure({ ...ONE, txOffloads: ['TCP_TSO', 'MBUF_FAST_FREE'] })),
    /ERR_OFFLOAD: .*tx offload MBUF_FAST_FREE is not supported; the port has: TCP_TSO, MULTI_SEGS$/,
  );
  t.match(
    errorOf(() => port.configure({ ...ONE, rssKey: new Uint8Array(16) })),
    /ERR_INVALID_ARGUMENT: .*rssKey has 16 bytes, it must have 40$/,
  );
  port.configure(ONE);
  t.equal(
    errorOf(() => port.rxQueueSetup(0, { mempool, offloads: ['TCP_LRO'] })),
    'ERR_OFFLOAD: port 0 (net_spy0): rx queue 0: offload TCP_LRO is one of the whole port: ' +
      "enable it with configure({ rxOffloads: ['TCP_LRO'] })",
  );
  t.equal(
    errorOf(() => port.rxQueueSetup(0, { mempool, offloads: ['IPV4_CKSUM'] })),
    'ERR_OFFLOAD: port 0 (net_spy0): rx queue 0: offload IPV4_CKSUM is not supported; a queue has: VLAN_STRIP, TCP_CKSUM, RSS_HASH',
  );
  t.equal(
    errorOf(() => port.txQueueSetup(0, { offloads: ['VLAN_INSERT'] })),
    'ERR_OFFLOAD: port 0 (net_spy0): tx queue 0: offload VLAN_INSERT is not supported; a queue has: none',
  );
  t.same(asked, [], 'the driver was not even asked');
  await t.rejects(port.start(), { message: /rx queue 0 is not set up/ });
});

t.test('capabilities of the drivers', async (t) => {
  const eal = await openEal(t);
  const capabilities = async (vdev: string) => {
    const { rxOffloadCapabilities, txOffloadCapabilities, ...info } = (await Port.probe(eal, vdev)).info();
    return {
      rx: [...rxOffloadCapabilities].sort().join(' '),
      tx: [...txOffloadCapabilities].sort().join(' '),
      rxq: [...info.rxQueueOffloadCapabilities].sort().join(' '),
      txq: [...info.txQueueOffloadCapabilities].sort().join(' '),
    };
  };
  const virtqueue = {
    rx: 'IPV4_CKSUM QINQ_STRIP RSS_HASH SCATTER TCP_CKSUM TCP_LRO UDP_CKSUM VLAN_STRIP',
    tx: 'IPV4_CKSUM MULTI_SEGS QINQ_INSERT TCP_CKSUM TCP_TSO UDP_CKSUM UDP_TSO VLAN_INSERT',
    rxq: 'IPV4_CKSUM QINQ_STRIP RSS_HASH TCP_CKSUM UDP_CKSUM VLAN_STRIP',
    txq: 'IPV4_CKSUM MULTI_SEGS QINQ_INSERT TCP_CKSUM TCP_TSO UDP_CKSUM UDP_TSO VLAN_INSERT',
  };
  t.same(await capabilities('net_vhost0,iface=inproc:caps'), virtqueue);
  t.same(await capabilities('net_virtio_user0,path=inproc:caps'), virtqueue);
  t.same(await capabilities('net_ring0'), { rx: 'SCATTER', tx: 'MULTI_SEGS', rxq: '', txq: '' });
  t.same(await capabilities('net_null0'), { rx: '', tx: 'MULTI_SEGS', rxq: '', txq: '' });
});

// ---- what is done to packets: net_virtio_user sends, net_vhost has the offloads --------------------------------------------

interface Lab {
  readonly eal: Eal;
  readonly mempool: Mempool;
  readonly burst: Burst;
  readonly m: MbufView;
  readonly guest: Port;
  readonly host: Port;
}

async function openLab(t: Test, conf: Partial<Parameters<Port['configure']>[0]> = {}): Promise<Lab> {
  const eal = await openEal(t);
  const mempool = packetPool(eal);
  const host = await Port.probe(eal, 'net_vhost0,iface=inproc:vm0');
  const guest = await Port.probe(eal, 'net_virtio_user0,path=inproc:vm0');
  host.configure({ ...ONE, ...conf });
  guest.configure(ONE);
  for (const port of [host, guest]) {
    port.rxQueueSetup(0, { mempool });
    port.txQueueSetup(0);
    await port.start();
  }
  for (const port of [host, guest]) {
    if (!port.link().up) await new Promise<void>((resolve) => port.once('linkUp', () => resolve()));
  }
  return { eal, mempool, burst: Burst.create(eal, 32), m: new MbufView(eal), guest, host };
}

/** What the host receives when the guest sends `frames`, whose mbufs `change` has seen to. */
function through(
  { mempool, burst, m, guest, host }: Lab,
  frames: readonly Uint8Array[],
  change?: (m: MbufView) => void,
) {
  mempool.allocBulk(burst, frames.length);
  for (const [i, frame] of frames.entries()) {
    m.at(burst.handles[i]!).append(frame.length);
    m.write(0, frame);
    change?.(m);
  }
  const sent = guest.txBurst(0, burst, frames.length);
  if (sent !== frames.length) throw new Error(`sent ${sent}`);
  const count = host.rxBurst(0, burst);
  const got = Array.from({ length: count }, (_, i) => {
    m.at(burst.handles[i]!);
    const { vlanTci, vlanTciOuter, hash, l2Len, l3Len, l4Len } = m;
    const packetType = packetTypeName(m.packetType);
    return {
      bytes: m.bytes(),
      flags: mbufFlagNames(m.olFlags),
      packetType,
      vlanTci,
      vlanTciOuter,
      hash,
      l2Len,
      l3Len,
      l4Len,
    };
  });
  burst.free(0, count);
  guest.txBurst(0, burst, 0);
  return got;
}

const plain: FrameSpec = {
  vlans: [],
  version: 4,
  protocol: 'tcp',
  ipOptions: new Uint8Array(0),
  tcpOptions: new Uint8Array(0),
  extensions: [],
  payload: Uint8Array.from({ length: 100 }, (_, i) => i),
  seed: Uint8Array.from({ length: 70 }, (_, i) => (i * 37 + 2) & 0xfe),
  tcpFlags: 0x10,
  lengthError: 0,
  fragmentWord: 0,
};

/** A frame with right checksums. */
function frameOf(spec: Partial<FrameSpec>): Uint8Array {
  const frame = build({ ...plain, ...spec });
  const summed = dissect(frame).version === 4 ? withIpv4Checksum(frame) : frame;
  return withL4Checksum(summed) ?? summed;
}

function spoilt(frame: Uint8Array, at: number): Uint8Array {
  const copy = Uint8Array.from(frame);
  copy[at]! ^= 0x10;
  return copy;
}

t.test('nothing enabled: nothing is looked at', async (t) => {
  const lab = await openLab(t);
  const tagged = frameOf({ vlans: [5] });
  t.match(through(lab, [tagged]), [{ bytes: tagged, flags: [], packetType: 'UNKNOWN', l2Len: 0, l3Len: 0, l4Len: 0 }]);
  lab.host.setPtypes(true);
  const wanted = {
    bytes: tagged,
    flags: [],
    packetType: 'L2_ETHER_VLAN L3_IPV4 L4_TCP',
    l2Len: 18,
    l3Len: 20,
    l4Len: 20,
  };
  t.match(through(lab, [tagged]), [wanted], 'packet types, while it runs');
  lab.host.setPtypes(false);
  t.match(through(lab, [tagged]), [{ packetType: 'UNKNOWN' }]);
});

t.test('checksums are verified, those that are asked for', async (t) => {
  const good = { tcp: frameOf({}), udp6: frameOf({ version: 6, protocol: 'udp' }), tagged: frameOf({ vlans: [7, 8] }) };
  const frames = [
    good.tcp,
    spoilt(good.tcp, 60), // a byte of payload
    spoilt(good.tcp, 22), // time to live
    good.udp6,
    spoilt(good.udp6, 100),
    good.tagged,
    frameOf({ protocol: 'icmp' }),
    frameOf({ fragmentWord: 0x2000 }),
    Uint8Array.from({ length: 60 }, (_, i) => i),
  ];
  const flags = async (conf: Parameters<typeof openLab>[1]) => {
    const lab = await openLab(t, conf);
    return through(lab, frames).map((packet) => packet.flags.join(' '));
  };
  const ip = 'RX_IP_CKSUM_GOOD';
  t.same(await flags({ rxOffloads: ['IPV4_CKSUM', 'TCP_CKSUM', 'UDP_CKSUM'] }), [
    `${ip} RX_L4_CKSUM_GOOD`,
    `${ip} RX_L4_CKSUM_BAD`,
    'RX_IP_CKSUM_BAD RX_L4_CKSUM_GOOD',
    'RX_L4_CKSUM_GOOD',
    'RX_L4_CKSUM_BAD',
    `${ip} RX_L4_CKSUM_GOOD`,
    ip,
    ip,
    '',
  ]);
  t.same(await flags({ rxOffloads: ['TCP_CKSUM'] }), [
    'RX_L4_CKSUM_GOOD',
    'RX_L4_CKSUM_BAD',
    'RX_L4_CKSUM_GOOD',
    '',
    '',
    'RX_L4_CKSUM_GOOD',
    '',
    '',
    '',
  ]);
  t.same(await flags({ rxOffloads: ['UDP_CKSUM'] }), [
    '',
    '',
    '',
    'RX_L4_CKSUM_GOOD',
    'RX_L4_CKSUM_BAD',
    '',
    '',
    '',
    '',
  ]);
});

t.test('tags: off on one side, on on the other', async (t) => {
  const bare = frameOf({});
  const one = frameOf({ vlans: [0x6123] });
  const two = frameOf({ vlans: [0x2fff, 0x8001] });
  const q = Uint8Array.from(two);
  q[12] = 0x81; // 802.1Q twice
  q[13] = 0x00;
  const stripped = ['RX_VLAN', 'RX_VLAN_STRIPPED'];
  const both = [...stripped, 'RX_QINQ', 'RX_QINQ_STRIPPED'];

  const vlan = through(await openLab(t, { rxOffloads: ['VLAN_STRIP'] }), [bare, one, two, q]);
  t.match(vlan[0], { bytes: bare, flags: [] });
  t.match(vlan[1], { bytes: bare, flags: stripped, vlanTci: 0x6123, l2Len: 14, packetType: 'L2_ETHER L3_IPV4 L4_TCP' });
  t.match(vlan[2], { bytes: two, flags: [] }, '802.1ad is not 802.1Q');
  const inner = Uint8Array.from([...q.subarray(0, 12), ...q.subarray(16)]);
  t.match(vlan[3], { bytes: inner, flags: stripped, vlanTci: 0x2fff }, 'the outer one of two');

  const qinq = through(await openLab(t, { rxOffloads: ['VLAN_STRIP', 'QINQ_STRIP'] }), [bare, one, two, q]);
  t.match(qinq[1], { bytes: bare, flags: stripped, vlanTci: 0x6123 });
  for (const packet of [qinq[2], qinq[3]]) {
    t.match(packet, { bytes: bare, vlanTci: 0x8001, vlanTciOuter: 0x2fff, l2Len: 14 });
    t.same([...packet!.flags].sort(), [...both].sort());
  }
  t.match(through(await openLab(t, { rxOffloads: ['QINQ_STRIP'] }), [one]), [{ bytes: one, flags: [] }]);

  const lab = await openLab(t);
  const posted = lab.mempool.inUseCount;
  const insert = (flags: number) => (m: MbufView) => {
    Object.assign(m, { olFlags: flags, vlanTci: 0x8001, vlanTciOuter: 0x2fff });
  };
  const tagged = frameOf({ vlans: [0x8001] });
  t.same(through(lab, [bare], insert(MbufFlags.TX_VLAN))[0]?.bytes, tagged);
  t.same(through(lab, [bare], insert(MbufFlags.TX_VLAN | MbufFlags.TX_QINQ))[0]?.bytes, two);
  t.match(lab.guest.stats(), { opackets: 2, oerrors: 0 });
  t.equal(lab.mempool.inUseCount, posted, 'every mbuf is back, but for the receive buffers');
});

t.test("the flow hash, with the port's key", async (t) => {
  const frames = [
    frameOf({}),
    frameOf({ version: 6, protocol: 'udp' }),
    frameOf({ vlans: [9], protocol: 'icmp' }),
    frameOf({ fragmentWord: 0x2001 }),
    Uint8Array.from({ length: 60 }, (_, i) => i),
  ];
  const own = Uint8Array.from({ length: 40 }, (_, i) => (i * 29 + 11) & 0xff);
  for (const rssKey of [undefined, own]) {
    const lab = await openLab(t, { rxOffloads: ['RSS_HASH'], ...(rssKey && { rssKey }) });
    const key = lab.host.rssKey;
    if (rssKey) t.same(key, own);
    const got = through(lab, frames);
    t.same(
      got.map((packet) => packet.hash),
      frames.map((frame) => flowHashOf(key, frame)),
    );
    for (const { flags } of got) t.same(flags, ['RX_RSS_HASH']);
    const zones = lab.eal.memzones.list().map((zone) => zone.name);
    t.ok(zones.includes('net_vhost0-rss'));
    await lab.host.close();
    t.notOk(lab.eal.memzones.lookup('net_vhost0-rss'), 'the table is given back');
  }
  // Microsoft's verification suite: 66.9.149.187:2794 → 161.142.100.80:1766 over TCP
  const lab = await openLab(t, { rxOffloads: ['RSS_HASH'] });
  const frame = frameOf({});
  frame.set([66, 9, 149, 187, 161, 142, 100, 80], 26);
  frame.set([2794 >> 8, 2794 & 255, 1766 >> 8, 1766 & 255], 34);
  t.equal(through(lab, [frame])[0]?.hash, 0x51ccc178);
});

t.test('a queue alone', async (t) => {
  const lab = await openLab(t);
  await lab.host.stop();
  lab.host.rxQueueSetup(0, { mempool: lab.mempool, offloads: ['VLAN_STRIP', 'RSS_HASH'] });
  await lab.host.start();
  const [packet] = through(lab, [frameOf({ vlans: [77] })]);
  t.same(packet?.flags, ['RX_VLAN', 'RX_RSS_HASH', 'RX_VLAN_STRIPPED']);
  t.equal(packet?.vlanTci, 77);
});

t.test('txPrepare, on the main lcore and on others', async (t) => {
  const lab = await openLab(t);
  const { burst, m, mempool, guest, eal } = lab;
  const frame = frameOf({});
  for (const port of [guest, new LcorePort(eal, guest.id)]) {
    mempool.allocBulk(burst, 3);
    for (const handle of burst.handles.subarray(0, 3)) {
      m.at(handle).append(frame.length);
      m.write(0, frame);
      m.olFlags = MbufFlags.TX_TCP_CKSUM | MbufFlags.TX_IPV4;
      Object.assign(m, { l2Len: 14, l3Len: 20 });
    }
    t.equal(port.txPrepare(0, burst, 3), 3);
    t.equal(port.txPrepareFault, undefined);
    t.same(m.at(burst.handles[1]!).bytes(), withL4Checksum(frame, true));
    m.l3Len = 24;
    t.equal(port.txPrepare(0, burst, 3), 1);
    t.match(port.txPrepareFault, { code: 'headers', errno: 'EINVAL', reason: /l3Len/ });
    t.equal(port.txPrepare(7, burst, 3), 0);
    t.match(port.txPrepareFault, { code: 'queue', errno: 'ENODEV' });
    burst.free(0, 3);
  }
  await guest.close();
  t.equal(guest.txPrepare(0, burst, 1), 0, 'a closed port prepares nothing');
});
