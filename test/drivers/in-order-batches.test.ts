/**
 * VIRTIO_F_IN_ORDER on the driver side, against a device that makes all of it: one used entry for a batch, naming its last
 * buffer (virtio 1.2 sections 2.7.9 and 2.8.9). The device is played here, in JavaScript, from the specification.
 */
import type { Test } from 'tap';
import t from 'tap';
import { joinInproc } from '../../src/drivers/inproc.js';
import type { PortSlot } from '../../src/drivers/types.js';
import { Burst, Eal, MbufView, Mempool, Port, silentLogger } from '../../src/index.js';
import { BackendConnection } from '../../src/vhost/connection.js';
import type { VringConfig } from '../../src/vhost/device.js';
import { RecordingDevice } from '../vhost/recording-device.js';

const HDR_LEN = 12;
const SIZE = 32;
const DATA_ROOM = 256;

class RingKeeper extends RecordingDevice {
  override vringCount = 2;
  readonly rings: VringConfig[] = [];

  override startVring(index: number, config: VringConfig): void {
    this.rings[index] = config;
  }
}

interface Chain {
  /** What the used entry names: head, or buffer id. */
  readonly id: number;
  /** Descriptors. */
  readonly count: number;
  readonly address: number;
  readonly length: number;
}

/** One virtqueue's device side: takes chains in order, returns them in batches. */
interface DeviceRing {
  take(): Chain[];
  /** Returns these chains with one entry. `written`: bytes in the last of them. */
  give(chains: readonly Chain[], written: number): void;
}

function splitDevice(bytes: DataView, { desc, avail, used, size }: VringConfig): DeviceRing {
  const [table, driver, device] = [Number(desc), Number(avail), Number(used)];
  let [taken, usedIdx] = [0, 0];
  return {
    take() {
      const chains: Chain[] = [];
      while (taken !== bytes.getUint16(driver + 2, true)) {
        const id = bytes.getUint16(driver + 4 + 2 * (taken % size), true);
        let [count, at] = [1, id];
        while (bytes.getUint16(table + 16 * at + 12, true) & 1) {
          const next = bytes.getUint16(table + 16 * at + 14, true);
          if (next !== (at + 1) % size) throw new Error(`2.7.5.4: next of ${at} is ${next}`);
          at = next;
          count++;
        }
        chains.push({
          id,
          count,
          address: Number(bytes.getBigUint64(table + 16 * id, true)),
          length: bytes.getUint32(table + 16 * id + 8, true),
        });
        taken = (taken + 1) & 0xffff;
      }
      return chains;
    },
    give(chains, written) {
      const entry = device + 4 + 8 * (usedIdx % size);
      bytes.setUint32(entry, chains.at(-1)!.id, true);
      bytes.setUint32(entry + 4, written, true);
      usedIdx = (usedIdx + chains.length) & 0xffff;
      bytes.setUint16(device + 2, usedIdx, true);
    },
  };
}

function packedDevice(bytes: DataView, { desc, size }: VringConfig): DeviceRing {
  const table = Number(desc);
  let avail = { at: 0, wrap: 1 };
  let used = { at: 0, wrap: 1 };
  const on = ({ at, wrap }: typeof avail, count: number) =>
    at + count >= size ? { at: at + count - size, wrap: wrap ^ 1 } : { at: at + count, wrap };
  return {
    take() {
      const chains: Chain[] = [];
      for (;;) {
        const first = table + 16 * avail.at;
        let count = 0;
        let flags: number;
        let id: number;
        do {
          const at = on(avail, count);
          flags = bytes.getUint16(table + 16 * at.at + 14, true);
          if (((flags >> 7) & 1) !== at.wrap || ((flags >> 15) & 1) === at.wrap) return chains;
          id = bytes.getUint16(table + 16 * at.at + 12, true);
          count++;
        } while (flags & 1);
        const length = bytes.getUint32(first + 8, true);
        chains.push({ id, count, address: Number(bytes.getBigUint64(first, true)), length });
        avail = on(avail, count);
      }
    },
    give(chains, written) {
      const at = table + 16 * used.at;
      bytes.setUint32(at + 8, written, true);
      bytes.setUint16(at + 12, chains.at(-1)!.id, true);
      bytes.setUint16(at + 14, used.wrap ? 0x8080 : 0, true);
      for (const { count } of chains) used = on(used, count);
    },
  };
}

async function rig(t: Test, packed: boolean) {
  const eal = await Eal.init({ memoryMiB: 32, logger: silentLogger });
  t.teardown(() => eal.cleanup());
  const device = new RingKeeper();
  joinInproc(eal, 'a', 'backend', {
    slot: { name: 'device', rxQueues: [], txQueues: [] } as unknown as PortSlot,
    connected: ({ channel }) => {
      const connection = new BackendConnection(channel, device);
      channel.notify = () => queueMicrotask(() => connection.pump(Number.POSITIVE_INFINITY));
    },
  });
  const mempool = Mempool.createPktmbuf(eal, { name: 'p', count: 511, cacheSize: 0, dataRoomBytes: DATA_ROOM });
  const port = await Port.probe(eal, `net_virtio_user0,path=inproc:a,packed_vq=${packed ? 1 : 0},queue_size=${SIZE}`);
  port.configure({ rxQueueCount: 1, txQueueCount: 1 });
  port.rxQueueSetup(0, { mempool });
  port.txQueueSetup(0);
  await port.start();
  while (!port.link().up) await new Promise((resolve) => setImmediate(resolve));
  const burst = Burst.create(eal, 64);
  const bytes = new DataView(eal.memory.u8.buffer);
  const ring = (index: number) => (packed ? packedDevice : splitDevice)(bytes, device.rings[index]!);
  return { mempool, port, burst, bytes, m: new MbufView(eal), receive: ring(0), transmit: ring(1) };
}

for (const packed of [false, true]) {
  const name = packed ? 'packed' : 'split';
  t.test(`${name}: batches of sent packets come back by one entry`, async (t) => {
    const { mempool, port, burst, m, transmit } = await rig(t, packed);
    port.rxBurst(0, burst, 0);
    const posted = mempool.inUseCount;
    const out: Chain[] = [];
    let sent = 0;
    for (let round = 0; round < 200; round++) {
      // one to three mbufs a packet, so that chains end at every place of the ring
      const want = 1 + (round % 7);
      for (let i = 0; i < want; i++) {
        const head = mempool.alloc();
        m.at(head).append(60);
        for (let n = (round + i) % 3; n > 0; n--) {
          const more = mempool.alloc();
          m.at(more).append(20);
          m.at(head).chain(more);
        }
        burst.handles[i] = head;
      }
      const took = port.txBurst(0, burst, want);
      burst.free(took, want);
      sent += took;
      out.push(...transmit.take());
      const batch = out.splice(0, Math.min(out.length, 1 + (round % 5)));
      if (batch.length > 0) transmit.give(batch, 0);
    }
    if (out.length > 0) transmit.give(out.splice(0), 0);
    t.ok(sent > 300, `${sent} packets were sent`);
    t.equal(port.txBurst(0, burst, 0), 0, 'this takes them back');
    t.equal(mempool.inUseCount, posted, 'every packet is free again');
    t.equal(port.stats().oerrors, 0);
  });

  t.test(`${name}: skipped receive buffers were filled to the end`, async (t) => {
    const { mempool, port, burst, bytes, m, receive } = await rig(t, packed);
    const wrong: string[] = [];
    port.rxBurst(0, burst, 0);
    const buffers = receive.take();
    for (let round = 0; round < 300; round++) {
      // packets of one to four buffers, all but the last of a packet full; the last one says how long it is
      const packet = buffers.splice(0, 1 + (round % 4));
      bytes.setBigUint64(packet[0]!.address, 0n, true);
      bytes.setUint16(packet[0]!.address + 8, 0, true);
      bytes.setUint16(packet[0]!.address + 10, packet.length, true);
      const last = 20 + (round % 200);
      receive.give(packet, last);
      const whole = packet.slice(0, -1).reduce((sum, { length }) => sum + length, 0);
      if (port.rxBurst(0, burst, 32) !== 1) wrong.push(`round ${round}: not one packet`);
      else if (m.at(burst.handles[0]!).pktLen !== whole + last - HDR_LEN) {
        wrong.push(`round ${round}: ${m.pktLen} bytes`);
      } else if (m.nbSegs !== packet.length) wrong.push(`round ${round}: ${m.nbSegs} segments`);
      burst.free(0, 1);
      if (round % 10 === 9) {
        // one goes back empty
        receive.give(buffers.splice(0, 1), 0);
        if (port.rxBurst(0, burst, 32) !== 0) wrong.push(`round ${round}: a packet out of nothing`);
      }
      buffers.push(...receive.take());
    }
    t.strictSame(wrong, []);
    await port.close();
    t.equal(mempool.inUseCount, 0);
  });

  t.test(`${name}: a batch that ends with a buffer that the device does not have stops the queue`, async (t) => {
    const { mempool, port, burst, m, transmit } = await rig(t, packed);
    const send = (): number => {
      const handle = mempool.alloc();
      m.at(handle).append(60);
      burst.handles[0] = handle;
      const took = port.txBurst(0, burst, 1);
      burst.free(took, 1);
      return took;
    };
    t.equal(send(), 1);
    const [chain] = transmit.take();
    transmit.give([{ ...chain!, id: 5 }], 0);
    send();
    t.equal(send(), 0, 'it has stopped');
    await port.close();
    t.equal(mempool.inUseCount, 0, 'and lost nothing');
  });
}
