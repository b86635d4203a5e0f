/**
 * DPDK's virtio-user client in every combination of what can be asked of it, against `viaduct testpmd`: packed_vq, mrg_rxbuf,
 * in_order and vectorized (0 and 1), queue_size (256 and 1024), queues (1, 2 and 4), server (0 and 1): 192, all of them.
 *
 *     test guests  ⇄  viaduct testpmd, io, ports in pairs  ⇄  dpdk-testpmd, io, every port to itself
 *
 * What is the same for a whole dpdk-testpmd (queues, server, queue_size) makes a run of its own; the 16 combinations of
 * feature bits are its ports. A test guest (in this process, independent of the product) sends numbered frames of every
 * length to each, and compares what comes back byte by byte: payload, counts and order, on each queue pair, in both
 * directions of both of the client's rings. Both testpmds must have counted the same packets and bytes.
 *
 * Then the client is killed in traffic and comes back; and Viaduct is killed in traffic and comes back: all as exact as before.
 * Where the client finds its way back it goes on, elsewhere it is started anew too. In the end each side floods the other.
 */
import t from 'tap';
import { loadOs } from '../../src/os/index.js';
import { VariantRun } from '../support/variant-run.js';
import { clientNeeds, type Device, expectedPaths, type Shape } from '../support/variants.js';

const STORM_MS = 150;
/** Every port of Viaduct maps all of the client's memory, and the address space for guests has 4 GiB. */
const GUESTS_MIB = 3_600;

const bits = [0, 1] as const;
const devices: readonly Device[] = bits.flatMap((packed_vq) =>
  bits.flatMap((mrg_rxbuf) =>
    bits.flatMap((in_order) => bits.map((vectorized) => ({ packed_vq, mrg_rxbuf, in_order, vectorized }))),
  ),
);
const shapes: readonly Shape[] = bits.flatMap((server) =>
  [1, 2, 4].flatMap((queues) => [256, 1024].map((queueSize) => ({ queueSize, queues, server }))),
);

/**
 * When a back end comes back, DPDK's client frees every mbuf that its packed rings still name; the vector path leaves
 * there what it has given away already (DPDK 22.11, virtqueue_rxvq_reset_packed), so that its pool gives mbufs out twice.
 * It does so with DPDK's own net_vhost too: `dump_mempool` then finds more mbufs free and in the ring than the pool has.
 */
function freesTwice(device: Device): boolean {
  return expectedPaths(device).includes('packed ring vectorized Rx');
}

/**
 * Whether the client goes on when its back end has come back. One that connects does so once, when its port is probed, and
 * dies of SIGPIPE when that port is detached without a back end: it has to be started anew.
 */
function goesOn(shape: Shape, portion: readonly Device[]): boolean {
  return shape.server === 1 && !portion.some(freesTwice);
}

/** As many devices for one dpdk-testpmd, and its one pool, as Viaduct's address space can take and as can live together. */
function portions(shape: Shape): (readonly Device[])[] {
  const apart = devices.filter((device) => shape.server === 1 && freesTwice(device));
  const together = devices.filter((device) => !apart.includes(device));
  let count = together.length;
  while (count * clientNeeds(shape, count).memoryMiB > GUESTS_MIB) count = Math.ceil(count / 2);
  const result: (readonly Device[])[] = [];
  for (let from = 0; from < together.length; from += count) result.push(together.slice(from, from + count));
  if (apart.length > 0) result.push(apart);
  return result;
}

// The file's time, also when it runs without tap's runner.
t.setTimeout(600_000);

const { os } = loadOs();
if (os === undefined) throw new Error('this test needs Linux and koffi');
for (const shape of shapes) {
  for (const portion of portions(shape)) {
    const { queueSize, queues, server } = shape;
    const title = `queue_size=${queueSize}, queues=${queues}, server=${server}, devices: ${portion.length}`;
    t.test(title, { timeout: 90_000 }, async (t) => {
      const run = new VariantRun(t, os, shape, portion);
      await run.open();
      const itself = goesOn(shape, portion);
      if (server === 1 && !itself) {
        // Nothing received yet, nothing to free twice: these devices too find their way back.
        await run.killViaduct();
        await run.startViaduct();
        await run.exact(t, 'Viaduct restarted before the first frame');
      } else await run.exact(t, 'at first');
      await run.checkPaths(t);
      await run.storm(STORM_MS);
      await run.killClient();
      await run.storm(STORM_MS);
      await run.startClient();
      await run.exact(t, 'client restarted in traffic');
      await run.storm(STORM_MS);
      await run.killViaduct();
      await run.startViaduct();
      if (!itself) {
        await run.killClient();
        await run.startClient();
      }
      await run.exact(t, `Viaduct restarted in traffic${itself ? '' : ', then its client'}`);
      await run.flood(t);
      await run.end(t);
    });
  }
}
