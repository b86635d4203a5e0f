/** Counters of virtqueues: DPDK's names, and exactly what a plain count of the same frames gives. */
import fc from 'fast-check';
import t from 'tap';
import { Burst, Eal, MbufView, Mempool, Port, silentLogger } from '../../src/index.js';

/** DPDK's own list, in its order; the first 12 are net_virtio's too. */
const dpdkNames = `good_packets good_bytes multicast_packets broadcast_packets undersize_packets size_64_packets
  size_65_127_packets size_128_255_packets size_256_511_packets size_512_1023_packets size_1024_1518_packets
  size_1519_max_packets guest_notifications guest_notifications_offloaded guest_notifications_error
  guest_notifications_suppressed iotlb_hits iotlb_misses inflight_submitted inflight_completed mbuf_alloc_failed`.split(
  /\s+/,
);

interface Frame {
  readonly length: number;
  readonly kind: 'unicast' | 'multicast' | 'broadcast';
}

const lastOf: readonly [string, number][] = [
  ['undersize_packets', 63],
  ['size_64_packets', 64],
  ['size_65_127_packets', 127],
  ['size_128_255_packets', 255],
  ['size_256_511_packets', 511],
  ['size_512_1023_packets', 1023],
  ['size_1024_1518_packets', 1518],
  ['size_1519_max_packets', Number.POSITIVE_INFINITY],
];

/** The plain count. */
function tally(frames: readonly Frame[]): Record<string, number> {
  const count = (is: (frame: Frame) => boolean) => frames.filter(is).length;
  const result: Record<string, number> = {
    good_packets: frames.length,
    good_bytes: frames.reduce((sum, { length }) => sum + length, 0),
    multicast_packets: count(({ kind }) => kind === 'multicast'),
    broadcast_packets: count(({ kind }) => kind === 'broadcast'),
  };
  let first = 0;
  for (const [name, last] of lastOf) {
    result[name] = count(({ length }) => length >= first && length <= last);
    first = last + 1;
  }
  return result;
}

async function openPair(t: import('tap').Test, guestArgs: string) {
  const eal = await Eal.init({ memoryMiB: 32, logger: silentLogger });
  t.teardown(() => eal.cleanup());
  const mempool = Mempool.createPktmbuf(eal, { name: 'packets', count: 1023, cacheSize: 0 });
  const ports: Port[] = [];
  for (const vdev of ['net_vhost0,iface=inproc:vm0', `net_virtio_user0,path=inproc:vm0${guestArgs}`]) {
    const port = await Port.probe(eal, vdev);
    port.configure({ rxQueueCount: 1, txQueueCount: 1 });
    port.rxQueueSetup(0, { mempool });
    port.txQueueSetup(0);
    await port.start();
    ports.push(port);
  }
  const [host, guest] = ports as [Port, Port];
  for (let turn = 0; turn < 1000 && !(host.link().up && guest.link().up); turn++) {
    await new Promise((go) => setTimeout(go, 5));
  }
  return { mempool, host, guest, burst: Burst.create(eal, 64), m: new MbufView(eal) };
}

const xstatsOf = (port: Port, prefix: string): Record<string, number> =>
  Object.fromEntries(
    port
      .xstats()
      .filter(({ name }) => name.startsWith(prefix))
      .map(({ name, value }) => [name.slice(prefix.length), value]),
  );

t.test('names', async (t) => {
  const { host, guest } = await openPair(t, '');
  for (const [port, count] of [
    [host, 21],
    [guest, 12],
  ] as const) {
    const names = port.xstats().map(({ name }) => name);
    for (const prefix of ['rx_q0_', 'tx_q0_']) {
      const first = names.indexOf(`${prefix}good_packets`);
      t.same(
        names.slice(first, first + count),
        dpdkNames.slice(0, count).map((name) => prefix + name),
      );
    }
    t.equal(new Set(names).size, names.length, 'no name comes twice');
  }
});

const edges = [14, 31, 32, 60, 63, 64, 65, 127, 128, 255, 256, 511, 512, 1023, 1024, 1518, 1519, 1900];
const frameArb = fc.record<Frame>({
  length: fc.oneof(fc.constant(64), fc.constantFrom(...edges), fc.integer({ min: 14, max: 1900 })),
  kind: fc.constantFrom('unicast', 'unicast', 'unicast', 'multicast', 'broadcast'),
});
/** Bursts that are all alike take another way through the counters than mixed ones. */
const burstArb = fc.oneof(
  fc.array(frameArb, { minLength: 1, maxLength: 16 }),
  fc.tuple(frameArb, fc.integer({ min: 1, max: 16 })).map(([frame, n]) => Array<Frame>(n).fill(frame)),
);

for (const guestArgs of ['', ',packed_vq=1', ',mrg_rxbuf=0']) {
  t.test(`frames of every size and kind, both ways, and after a reset${guestArgs}`, async (t) => {
    const { mempool, host, guest, burst, m } = await openPair(t, guestArgs);
    const send = (from: Port, to: Port, frames: readonly Frame[]) => {
      from.rxBurst(0, burst, 0);
      to.rxBurst(0, burst, 0);
      if (!mempool.allocBulk(burst, frames.length)) throw new Error('mempool empty');
      frames.forEach(({ length, kind }, i) => {
        m.at(burst.handles[i]!).append(length);
        for (let at = 0; at < 14; at++) m.setU8(at, kind === 'broadcast' && at < 6 ? 0xff : 2 * at);
        if (kind === 'multicast') m.setU8(0, 0x33);
      });
      if (from.txBurst(0, burst, frames.length) !== frames.length) throw new Error('the ring is full');
      let left = frames.length;
      for (let turn = 0; turn < 10 && left > 0; turn++) {
        const n = to.rxBurst(0, burst);
        burst.free(0, n);
        left -= n;
      }
      if (left !== 0) throw new Error(`${left} of ${frames.length} did not arrive`);
    };
    for (let round = 0; round < 2; round++) {
      host.statsReset();
      guest.statsReset();
      const sent: { guest: Frame[]; host: Frame[] } = { guest: [], host: [] };
      const bursts = { guest: 0, host: 0 };
      for (const [frames, byGuest] of fc.sample(fc.tuple(burstArb, fc.boolean()), 150)) {
        const side = byGuest ? 'guest' : 'host';
        if (byGuest) send(guest, host, frames);
        else send(host, guest, frames);
        sent[side].push(...frames);
        bursts[side]++;
      }
      for (const [sender, receiver, frames, n] of [
        [guest, host, sent.guest, bursts.guest],
        [host, guest, sent.host, bursts.host],
      ] as const) {
        const [tx, rx] = [xstatsOf(sender, 'tx_q0_'), xstatsOf(receiver, 'rx_q0_')];
        t.match(tx, tally(frames), `${sender.name} sends`);
        t.match(rx, tally(frames), `${receiver.name} receives`);
        for (const stats of [tx, rx]) {
          t.equal(stats.bursts, n);
          const sizes = Object.keys(stats).filter((name) => /^bursts_\d/.test(name));
          t.equal(sizes.length, 10);
          t.equal(
            sizes.reduce((sum, name) => sum + stats[name]!, 0),
            n,
            'each burst has a size',
          );
        }
        const told = tx.guest_notifications ?? tx.notifications_sent!;
        t.equal(tx.notifications_per_million_packets, Math.round((told * 1_000_000) / frames.length));
      }
    }
  });
}

t.test('coalescing by devargs', async (t) => {
  const eal = await Eal.init({ memoryMiB: 32, logger: silentLogger });
  t.teardown(() => eal.cleanup());
  const probe = (name: string, devargs: string) => Port.probe(eal, `${name},iface=inproc:${name}${devargs}`);
  const port = await probe('net_vhost0', ',queues=2,coalesce-usecs=120,coalesce-frames=16,coalesce-adaptive=0');
  for (const direction of ['rx', 'tx'] as const) {
    t.same(port.coalescing(1, direction), { usecs: 120, frames: 16, adaptive: false });
  }
  const off = await probe('net_vhost1', ',coalesce-usecs=0');
  t.equal(off.coalescing(0).usecs, 0);
  for (const wrong of ['coalesce-usecs=10001', 'coalesce-frames=0', 'coalesce-adaptive=2']) {
    await t.rejects(probe('net_vhost2', `,${wrong}`), { code: 'ERR_DEVARGS', message: new RegExp(wrong) });
  }
});

t.test('coalescing is set by queue and direction, and checked', async (t) => {
  const { host, guest } = await openPair(t, '');
  const byDefault = { usecs: 50, frames: 64, adaptive: true };
  t.same(host.coalescing(0), byDefault);
  t.same(host.coalescing(0, 'rx'), byDefault);
  host.setCoalescing(0, { usecs: 20, direction: 'tx' });
  t.same(host.coalescing(0), { ...byDefault, usecs: 20 });
  t.same(host.coalescing(0, 'rx'), byDefault);
  host.setCoalescing(0, { adaptive: false, frames: 8 });
  t.same(host.coalescing(0), { usecs: 20, frames: 8, adaptive: false });
  host.setCoalescing(0, { usecs: 0 });
  t.equal(host.coalescing(0).usecs, 0, 'off');
  t.throws(() => host.setCoalescing(0, { usecs: 10_001 }), { code: 'ERR_INVALID_ARGUMENT', message: /usecs 10001/ });
  t.throws(() => host.setCoalescing(0, { frames: 0 }), { code: 'ERR_INVALID_ARGUMENT', message: /frames 0/ });
  t.throws(() => host.setCoalescing(1000, {}), { code: 'ERR_INVALID_ARGUMENT' });
  t.throws(() => guest.setCoalescing(0, {}), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /net_virtio_user interrupts no/,
  });
});
