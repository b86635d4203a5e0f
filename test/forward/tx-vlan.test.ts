/** VLAN tags that a forwarder has its tx ports insert, and tags that a port takes off: from guest to guest, byte for byte. */
import t, { type Test } from 'tap';
import {
  ENGINE_5TSWAP,
  ENGINE_CSUM,
  ENGINE_FLOWGEN,
  ENGINE_IO,
  ENGINE_MAC,
  ENGINE_MACSWAP,
  ENGINE_TXONLY,
  MBUF_F_TX_QINQ,
  MBUF_F_TX_VLAN,
  MBUF_OL_FLAGS,
  MBUF_VLAN_TCI,
} from '../../assembly/layout.js';
import { type ForwardEngine, Forwarder } from '../../src/forward/index.js';
import { TXONLY_FLOW, txonlyTemplate } from '../../src/forward/txonly-template.js';
import { Burst, Eal, MbufView, Mempool, Port, silentLogger } from '../../src/index.js';
import { errorOf } from '../ethdev/rig.js';
import { Bench, frame, station } from './harness.js';
import { until } from './lab.js';

const MAC = /^02(:[0-9a-f]{2}){5}$/;
const bytesOf = (mac: string): number[] => mac.split(':').map((byte) => Number.parseInt(byte, 16));

t.test('every engine that sends asks for the tags of its stream', async (t) => {
  const bench = new Bench(255);
  const port = bench.ringPort(0);
  const template = txonlyTemplate({
    destination: Uint8Array.from(station(1)),
    source: Uint8Array.from(station(2)),
    segmentLengths: [64],
    flow: TXONLY_FLOW,
  });
  for (const engine of [ENGINE_MAC, ENGINE_MACSWAP, ENGINE_5TSWAP, ENGINE_CSUM, ENGINE_TXONLY, ENGINE_FLOWGEN]) {
    const generates = engine === ENGINE_TXONLY || engine === ENGINE_FLOWGEN;
    const records = bench.streams({
      engine,
      rxPort: 0,
      burst: 4,
      peerMac: Uint8Array.from(station(3)),
      txTags: { flags: MBUF_F_TX_VLAN | MBUF_F_TX_QINQ, tcis: 0x0abc_0123 },
      ...(generates ? { template, pool: bench.pool.address } : {}),
    });
    if (!generates) bench.inject(port, [bench.packet(frame(station(1), station(2)))]);
    bench.run(0, 1);
    const out = bench.collectHandles(port);
    t.ok(out.length > 0, `engine ${engine} sends`);
    for (const mbuf of out) {
      const asked = bench.get(mbuf + MBUF_OL_FLAGS) & (MBUF_F_TX_VLAN | MBUF_F_TX_QINQ);
      t.equal(asked, MBUF_F_TX_VLAN | MBUF_F_TX_QINQ);
      t.equal(bench.get(mbuf + MBUF_VLAN_TCI), 0x0abc_0123);
      bench.wasm.mbufFree(mbuf, bench.lcoreId);
    }
    records.free();
  }
  const records = bench.streams({ engine: ENGINE_IO, rxPort: 0 });
  bench.inject(port, [bench.packet(frame(station(1), station(2)))]);
  bench.run();
  const [mbuf] = bench.collectHandles(port);
  t.equal(bench.get(mbuf! + MBUF_OL_FLAGS), 0, 'a stream without tags asks for none');
  records.free();
});

/** Guest a - host port a, forwarder, host port b - guest b. */
class Cable {
  readonly eal: Eal;
  readonly hosts: Port[] = [];
  readonly guests: Port[] = [];
  readonly #pool: Mempool;
  readonly #burst: Burst;
  readonly #view: MbufView;

  private constructor(eal: Eal) {
    this.eal = eal;
    this.#pool = Mempool.createPktmbuf(eal, { name: 'cable', count: 4095, cacheSize: 64 });
    this.#burst = Burst.create(eal, 64);
    this.#view = new MbufView(eal);
  }

  static async open(t: Test): Promise<Cable> {
    const cable = new Cable(await Eal.init({ lcores: [0, 1], memoryMiB: 64, logger: silentLogger }));
    t.teardown(() => cable.eal.cleanup());
    for (const n of [0, 1]) {
      cable.hosts.push(await cable.#probe(`net_vhost${n},iface=inproc:${n}`));
      cable.guests.push(await cable.#probe(`net_virtio_user${n},path=inproc:${n}`));
    }
    await until(() => [...cable.hosts, ...cable.guests].every((port) => port.link().up));
    return cable;
  }

  async #probe(vdev: string): Promise<Port> {
    const port = await Port.probe(this.eal, vdev);
    port.configure({ rxQueueCount: 1, txQueueCount: 1 });
    port.rxQueueSetup(0, { mempool: this.#pool });
    port.txQueueSetup(0);
    await port.start();
    return port;
  }

  /** What guest b receives when guest a sends a frame. */
  async pass(bytes: Uint8Array): Promise<number[]> {
    const mbuf = this.#pool.alloc();
    this.#view.at(mbuf).append(bytes.length);
    this.#view.write(0, bytes);
    this.#burst.handles[0] = mbuf;
    if (this.guests[0]!.txBurst(0, this.#burst, 1) !== 1) throw new Error('not sent');
    let count = 0;
    await until(() => {
      count = this.guests[1]!.rxBurst(0, this.#burst);
      return count > 0;
    });
    const got = Array.from({ length: count }, (_, i) => [...this.#view.at(this.#burst.handles[i]!).bytes()]);
    this.#burst.free(0, count);
    if (got.length !== 1) throw new Error(`${got.length} frames`);
    return got[0]!;
  }
}

const DESTINATION = [0x02, 0xd0, 0, 0, 0, 1];
const SOURCE = [0x02, 0x50, 0, 0, 0, 2];
const REST = [0x88, 0xb5, ...Array.from({ length: 46 }, (_, i) => i)];
const sent = Uint8Array.from([...DESTINATION, ...SOURCE, ...REST]);

t.test('frames through a forwarder', async (t) => {
  const cable = await Cable.open(t);
  const [a, b] = cable.hosts as [Port, Port];
  const forwarder = new Forwarder(cable.eal, { ports: [a, b], engine: 'mac' });
  const own = bytesOf(b.macAddress);
  t.match(b.macAddress, MAC);
  const peer = [0x02, 0, 0, 0, 0, b.id];
  const run = async (engine: ForwardEngine, bytes = sent): Promise<number[]> => {
    forwarder.setEngine(engine);
    await forwarder.start();
    const got = await cable.pass(bytes);
    await forwarder.stop();
    return got;
  };

  t.strictSame(await run('mac'), [...peer, ...own, ...REST], 'none is set');
  forwarder.setTxVlan(b, { vlanId: 0x123 });
  t.strictSame(await run('mac'), [...peer, ...own, 0x81, 0, 0x01, 0x23, ...REST]);
  t.strictSame(await run('macswap'), [...SOURCE, ...DESTINATION, 0x81, 0, 0x01, 0x23, ...REST]);
  t.strictSame(await run('csum'), [...peer, ...own, 0x81, 0, 0x01, 0x23, ...REST]);
  t.strictSame(await run('io'), [...sent], 'io sends packets as they are');
  forwarder.setTxVlan(b, { vlanId: 5, outerVlanId: 4095 });
  t.strictSame(await run('mac'), [...peer, ...own, 0x88, 0xa8, 0x0f, 0xff, 0x81, 0, 0, 5, ...REST]);
  forwarder.setTxVlan(b, undefined);
  t.strictSame(await run('mac'), [...peer, ...own, ...REST]);

  const tagged = Uint8Array.from([...DESTINATION, ...SOURCE, 0x81, 0, 0x20, 7, ...REST]);
  t.strictSame(await run('io', tagged), [...tagged]);
  a.setVlanOffload({ strip: true });
  t.strictSame([a.rxOffloads, a.rxQueueInfo(0)!.offloads], [['VLAN_STRIP'], ['VLAN_STRIP']]);
  t.strictSame(await run('io', tagged), [...sent], 'the port takes the tag off, from now on');
  forwarder.setTxVlan(b, { vlanId: 9 });
  t.strictSame(
    await run('macswap', tagged),
    [...SOURCE, ...DESTINATION, 0x81, 0, 0, 9, ...REST],
    'another in its place',
  );
  a.setVlanOffload({ strip: false });
  t.strictSame(await run('io', tagged), [...tagged]);
});

t.test('what cannot be had is refused', async (t) => {
  const eal = await Eal.init({ lcores: [0, 1], memoryMiB: 32, logger: silentLogger });
  t.teardown(() => eal.cleanup());
  const host = await Port.probe(eal, 'net_vhost0,iface=inproc:0');
  const ring = await Port.probe(eal, 'net_ring0,wire=a');
  const forwarder = new Forwarder(eal, { ports: [host, ring] });
  t.match(
    errorOf(() => forwarder.setTxVlan(host, { vlanId: 4096 })),
    /ERR_INVALID_ARGUMENT: .*VLAN 4096 is not/,
  );
  t.match(
    errorOf(() => forwarder.setTxVlan(host, { vlanId: 1, outerVlanId: -1 })),
    /VLAN -1 is not/,
  );
  t.match(
    errorOf(() => forwarder.setTxVlan(ring, { vlanId: 1 })),
    /ERR_OFFLOAD: .*\(net_ring0\) has no tx offload VLAN_INSERT/,
  );
  t.match(
    errorOf(() => host.setVlanOffload({ strip: true })),
    /ERR_INVALID_STATE: .*call configure/,
  );
  ring.configure({ rxQueueCount: 1, txQueueCount: 1 });
  t.match(
    errorOf(() => ring.setVlanOffload({ qinqStrip: true })),
    /ERR_OFFLOAD: .*QINQ_STRIP is not supported/,
  );
  ring.setVlanOffload({ qinqStrip: false });
});
