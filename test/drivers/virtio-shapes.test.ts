/**
 * net_virtio_user and net_vhost of one process, under every shape of ring that the two can negotiate: layout, mergeable
 * buffers, in-order use, event indexes, indirect descriptors, ring size. Frames from one byte above a runt to several mbufs, every byte checked.
 */
import type { Test } from 'tap';
import t from 'tap';
import { Burst, Eal, MbufView, Mempool, type Port, silentLogger } from '../../src/index.js';
import { linkIs, openPort } from '../support/ports.js';

const TOTAL = 600;
/** Mbufs of 512 bytes of data: frames of up to 2100 bytes take up to five. */
const DATA_ROOM_BYTES = 512;
const LENGTHS = [14, 60, 64, 65, 511, 512, 513, 1024, 1025, 1514, 1777, 2100];
/** What fits one receive buffer, for guests that cannot merge them. */
const SHORT_LENGTHS = LENGTHS.filter((length) => length <= 512);

interface Lab {
  readonly eal: Eal;
  readonly mempool: Mempool;
  readonly burst: Burst;
  readonly m: MbufView;
}

async function openLab(t: Test): Promise<Lab> {
  const eal = await Eal.init({ memoryMiB: 32, logger: silentLogger });
  t.teardown(() => eal.cleanup());
  const mempool = Mempool.createPktmbuf(eal, {
    name: 'packets',
    count: 8191,
    cacheSize: 0,
    dataRoomBytes: DATA_ROOM_BYTES,
  });
  return { eal, mempool, burst: Burst.create(eal, 64), m: new MbufView(eal) };
}

const open = ({ eal, mempool }: Lab, vdev: string): Promise<Port> => openPort(eal, mempool, vdev);

const byteOf = (number: number, at: number): number => (number * 31 + at * 7) & 0xff;

/** A packet of `length` bytes in as many mbufs as it takes, at burst slot `slot`; false when the pool is empty. */
function make({ mempool, burst, m }: Lab, slot: number, number: number, length: number): boolean {
  const segments = Math.ceil(length / DATA_ROOM_BYTES);
  const handles = Array.from({ length: segments }, () => mempool.alloc());
  if (handles.includes(0)) {
    for (const handle of handles) if (handle !== 0) m.at(handle).free();
    return false;
  }
  for (let n = 0, at = 0; n < segments; n++) {
    const part = Math.min(DATA_ROOM_BYTES, length - at);
    m.at(handles[n]!).append(part);
    for (let i = 0; i < part; i++) m.setU8(i, byteOf(number, at + i));
    at += part;
    if (n > 0) {
      m.at(handles[0]!);
      if (!m.chain(handles[n]!)) throw new Error('cannot chain');
    }
  }
  burst.handles[slot] = handles[0]!;
  return true;
}

function intact({ m }: Lab, handle: number, number: number, length: number): boolean {
  if (m.at(handle).pktLen !== length) return false;
  let at = 0;
  for (let segment = handle; segment !== 0; segment = m.at(segment).next) {
    const { dataLen } = m.at(segment);
    for (let i = 0; i < dataLen; i++) if (m.u8(i) !== byteOf(number, at + i)) return false;
    at += dataLen;
  }
  return at === length;
}

function pour(lab: Lab, from: Port, to: Port, lengths: readonly number[]): { received: number; broken: number } {
  const { burst } = lab;
  const lengthOf = (number: number): number => lengths[number % lengths.length]!;
  let [sent, received, broken] = [0, 0, 0];
  for (let turn = 0; turn < TOTAL * 8 && received < TOTAL; turn++) {
    from.rxBurst(0, burst, 0);
    // bursts of 1 to 16, so that they meet the ring's end in every phase
    const want = Math.min(1 + (turn % 16), TOTAL - sent);
    let made = 0;
    while (made < want && make(lab, made, sent + made, lengthOf(sent + made))) made++;
    const took = from.txBurst(0, burst, made);
    burst.free(took, made);
    sent += took;
    const got = to.rxBurst(0, burst, 1 + (turn % 32));
    for (let i = 0; i < got; i++) {
      if (!intact(lab, burst.handles[i]!, received + i, lengthOf(received + i))) broken++;
    }
    burst.free(0, got);
    received += got;
  }
  return { received, broken };
}

for (const packed of [0, 1]) {
  t.test(packed ? 'packed rings' : 'split rings', async (t) => {
    for (let bits = 0; bits < 16; bits++) {
      const [mrg, inOrder, eventIdx, indirect] = [bits & 1, (bits >> 1) & 1, (bits >> 2) & 1, bits >> 3];
      for (const size of [32, 256]) {
        const args =
          `packed_vq=${packed},mrg_rxbuf=${mrg},in_order=${inOrder},` +
          `event_idx=${eventIdx},indirect_desc=${indirect},queue_size=${size}`;
        const lab = await openLab(t);
        const host = await open(lab, 'net_vhost0,iface=inproc:a,tso=1');
        const guest = await open(lab, `net_virtio_user0,path=inproc:a,${args}`);
        await Promise.all([linkIs(host, true), linkIs(guest, true)]);
        const toGuest = mrg ? LENGTHS : SHORT_LENGTHS;
        const whole = { received: TOTAL, broken: 0 };
        t.same(pour(lab, guest, host, LENGTHS), whole, `${args}: guest to host`);
        t.same(pour(lab, host, guest, toGuest), whole, `${args}: host to guest`);
        t.match(host.stats(), { ipackets: TOTAL, opackets: TOTAL, ierrors: 0, oerrors: 0 });
        t.match(guest.stats(), { ipackets: TOTAL, opackets: TOTAL, ierrors: 0, oerrors: 0 });
        t.equal(String(guest.info().driverInfo.features).includes('RING_PACKED'), packed === 1);
        t.equal(String(guest.info().driverInfo.features).includes('IN_ORDER'), inOrder === 1);
        await guest.close();
        await host.close();
        t.equal(lab.mempool.inUseCount, 0, 'every mbuf is back');
        await lab.eal.cleanup();
      }
    }
  });
}

t.test('a burst over more receive buffers than one call notes is sent as far as the ring goes', async (t) => {
  for (const packed of [0, 1]) {
    const lab = await openLab(t);
    const host = await open(lab, 'net_vhost0,iface=inproc:a');
    const guest = await open(lab, `net_virtio_user0,path=inproc:a,packed_vq=${packed},queue_size=4096`);
    await Promise.all([linkIs(host, true), linkIs(guest, true)]);
    guest.rxBurst(0, lab.burst, 0);
    // 64 segments of 512 bytes: with the header 65 buffers each, 40 of them 2600
    const [count, length] = [40, 64 * DATA_ROOM_BYTES];
    for (let i = 0; i < count; i++) if (!make(lab, i, i, length)) throw new Error('the pool is empty');
    t.equal(host.txBurst(0, lab.burst, count), count, `packed ${packed}`);
    t.equal(host.xstats().find(({ name }) => name.endsWith('_full'))?.value, 0, 'no ring was full');
    t.equal(guest.rxBurst(0, lab.burst, count), count);
    for (let i = 0; i < count; i++) t.ok(intact(lab, lab.burst.handles[i]!, i, length), `packet ${i}`);
    lab.burst.free(0, count);
    await lab.eal.cleanup();
  }
});

t.test('either side of a packed, in-order ring may go and come back', async (t) => {
  const lab = await openLab(t);
  const vhost = 'net_vhost0,iface=inproc:a';
  const virtio = 'net_virtio_user0,path=inproc:a,packed_vq=1,in_order=1';
  let host = await open(lab, vhost);
  let guest = await open(lab, virtio);
  for (let round = 0; round < 6; round++) {
    await Promise.all([linkIs(host, true), linkIs(guest, true)]);
    t.same(pour(lab, guest, host, LENGTHS), { received: TOTAL, broken: 0 });
    t.same(pour(lab, host, guest, LENGTHS), { received: TOTAL, broken: 0 });
    if (round % 2 === 0) {
      await guest.close();
      await linkIs(host, false);
      guest = await open(lab, virtio);
    } else {
      await host.close();
      await linkIs(guest, false);
      host = await open(lab, vhost);
    }
    t.ok(lab.mempool.inUseCount <= 32, "nothing but a fresh ring's receive buffers is out");
  }
});

t.test('a link that goes down loses the packets that the back end has not returned, and no others', async (t) => {
  for (const packed of [0, 1]) {
    for (const inOrder of [0, 1]) {
      const lab = await openLab(t);
      const host = await open(lab, 'net_vhost0,iface=inproc:a');
      const guest = await open(lab, `net_virtio_user0,path=inproc:a,packed_vq=${packed},in_order=${inOrder}`);
      await Promise.all([linkIs(host, true), linkIs(guest, true)]);
      for (let i = 0; i < 10; i++) make(lab, i, i, 100);
      t.equal(guest.txBurst(0, lab.burst, 10), 10);
      const got = host.rxBurst(0, lab.burst, 6);
      t.equal(got, 6);
      lab.burst.free(0, got);
      await host.close();
      await linkIs(guest, false);
      t.match(guest.stats(), { opackets: 10, oerrors: 4 }, `packed ${packed}, in order ${inOrder}`);
      t.equal(lab.mempool.inUseCount, 0);
      await lab.eal.cleanup();
    }
  }
});
