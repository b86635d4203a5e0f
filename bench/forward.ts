/**
 * Forwarding: the engines, which run whole in Wasm, and the same work with a packet function in TypeScript, over the same
 * ports. net_null makes up and throws away packets for next to nothing, so that what a function adds shows most there; in a
 * net_ring port 64 packets go round. Over net_vhost a guest of this process (net_virtio_user) bounces 64 packets on real
 * virtqueues, on the same thread: its share is in both figures and is about half of them.
 */
import { setTimeout as delay } from 'node:timers/promises';
import {
  ENGINE_IO,
  ENGINE_L2,
  ENGINE_MACSWAP,
  ENGINE_RXONLY,
  ENGINE_TXONLY,
  LCORE_BASE,
  LCORE_SIZE,
  LCORE_STREAM_COUNT,
  LCORE_STREAMS,
} from '../assembly/layout.js';
import { Burst } from '../src/burst.js';
import { Eal } from '../src/eal/eal.js';
import { silentLogger } from '../src/eal/log.js';
import { LcorePort } from '../src/ethdev/lcore-port.js';
import { Port } from '../src/ethdev/port.js';
import { MacTable } from '../src/forward/mac-table.js';
import { StreamRecords, type StreamSpec } from '../src/forward/stream-records.js';
import { txonlyTemplate } from '../src/forward/txonly-template.js';
import { MbufView } from '../src/mbuf.js';
import { Mempool } from '../src/mempool.js';
import type { BenchRow } from './report.js';

const BURST = 32;
/** Rounds a call, as a lcore makes them by the thousand. */
const ROUNDS = 64;
const LENGTH = 64;

const eal = await Eal.init({ memoryMiB: 64, logger: silentLogger });
const mempool = Mempool.createPktmbuf(eal, { name: 'bench', count: 2047 });

async function probe(vdev: string): Promise<Port> {
  const port = await Port.probe(eal, vdev);
  port.configure({ rxQueueCount: 1, txQueueCount: 1 });
  port.rxQueueSetup(0, { mempool });
  port.txQueueSetup(0);
  await port.start();
  return port;
}

const [null0, null1, ring0] = [await probe('net_null0'), await probe('net_null1'), await probe('net_ring0')];
const burst = Burst.create(eal, BURST);
const m = new MbufView(eal);

// Every mbuf once: 32 neighbours in a burst are stations of their own, all different.
const table = new MacTable(eal, { tableSize: 4096, ageingMs: 0, quota: 4096 });
table.setMembers([null0.id, null1.id], 4096);
const every = Array.from({ length: mempool.count }, () => mempool.alloc());
every.forEach((handle, i) => {
  m.at(handle).append(LENGTH);
  m.write(0, Uint8Array.of(0x02, 1, 0, 0, i >> 8, i & 0xff, 0x02, 0, 0, 0, i >> 8, i & 0xff, 8, 0));
  table.learn(`02:01:00:00:${(i >> 8).toString(16)}:${(i & 0xff).toString(16)}`, null1.id, 0);
  table.learn(`02:00:00:00:${(i >> 8).toString(16)}:${(i & 0xff).toString(16)}`, null0.id, 0);
  m.free();
});
const [guest, vhost] = [
  await probe('net_virtio_user0,path=inproc:bench'),
  await probe('net_vhost0,iface=inproc:bench'),
];
while (!guest.link().up || !vhost.link().up) await delay(1);
for (const port of [ring0, ring0, guest, guest]) {
  mempool.allocBulk(burst, BURST);
  for (const handle of burst.handles) m.at(handle).append(LENGTH);
  port.txBurst(0, burst, BURST);
}

/** Streams from one port to another, for the main lcore. */
function streams(...specs: (Partial<StreamSpec> & { engine: number; rx: Port; tx: Port })[]): () => void {
  const records = new StreamRecords(
    eal.memory,
    eal.memzones,
    specs.map(({ rx, tx, ...spec }) => ({
      lcoreIndex: 0,
      rxPort: rx.id,
      rxQueue: 0,
      txPort: tx.id,
      txQueue: 0,
      burst: BURST,
      ...spec,
    })),
  );
  const { streams: address, streamCount } = records.lcores[0]!;
  const lcore = LCORE_BASE + eal.lcoreId * LCORE_SIZE;
  const { u32 } = eal.memory;
  return () => {
    u32[(lcore + LCORE_STREAMS) >>> 2] = address;
    u32[(lcore + LCORE_STREAM_COUNT) >>> 2] = streamCount;
  };
}

const { wasm, lcoreId } = eal;

/** The streams' rounds in one call. */
function engine(name: string, choose: () => void): BenchRow {
  return {
    name,
    packetsPerIteration: BURST * ROUNDS,
    fn: () => {
      choose();
      wasm.lcoreRun(lcoreId, ROUNDS, 0, 0);
    },
  };
}

/** The packet function of the README, polled as often, and each time what else has to move. */
function typescript(name: string, rx: Port, tx: Port, others: (() => void) | undefined, mark: string): BenchRow {
  const [a, b] = [new LcorePort(eal, rx.id), new LcorePort(eal, tx.id)];
  const view = new MbufView(eal);
  const poll = (): number => {
    const n = a.rxBurst(0, burst);
    for (let i = 0; i < n; i++) view.at(burst.handles[i]!).swapMacs();
    const sent = b.txBurst(0, burst, n);
    if (sent < n) burst.free(sent, n);
    return n;
  };
  return {
    name,
    packetsPerIteration: BURST * ROUNDS,
    mark,
    fn: () => {
      others?.();
      for (let round = 0; round < ROUNDS; round++) {
        poll();
        if (others !== undefined) wasm.lcoreRun(lcoreId, 1, 0, 0);
      }
    },
  };
}

const [io, swap] = [ENGINE_IO, ENGINE_MACSWAP];
const nulls = { rx: null0, tx: null1 };
const rings = { rx: ring0, tx: ring0 };
const guestIo = { engine: io, rx: guest, tx: guest };
const template = txonlyTemplate({
  destination: Uint8Array.of(2, 0, 0, 0, 0, 1),
  source: Uint8Array.of(2, 0, 0, 0, 0, 2),
  segmentLengths: [LENGTH],
});

export const rows: readonly BenchRow[] = [
  engine('net_null, rxonly', streams({ engine: ENGINE_RXONLY, ...nulls })),
  engine('net_null, io', streams({ engine: io, ...nulls })),
  // the switch before macswap: it wants the addresses that were written above
  engine(
    'net_null, l2 switch, 32 stations a burst',
    streams({ engine: ENGINE_L2, state: table.address, scratch: true, ...nulls }),
  ),
  engine('net_null, txonly 64 bytes', streams({ engine: ENGINE_TXONLY, pool: mempool.address, template, ...nulls })),
  engine('net_null, macswap', streams({ engine: swap, ...nulls })),
  typescript('net_null, macswap in TypeScript', null0, null1, undefined, 'ixy.js forwards a packet in 202 ns'),
  engine('net_ring, macswap', streams({ engine: swap, ...rings })),
  typescript('net_ring, macswap in TypeScript', ring0, ring0, undefined, 'ixy.js forwards a packet in 202 ns'),
  engine('net_vhost, io, and its guest', streams({ engine: io, rx: vhost, tx: vhost }, guestIo)),
  engine('net_vhost, macswap, and its guest', streams({ engine: swap, rx: vhost, tx: vhost }, guestIo)),
  typescript(
    'net_vhost, macswap in TypeScript, and its guest',
    vhost,
    vhost,
    streams(guestIo),
    'at most 1.4 × the row above',
  ),
];

export const close = () => eal.cleanup();
