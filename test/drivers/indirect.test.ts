/**
 * Packets of several pieces as net_virtio_user puts them into its ring: one descriptor and a table (virtio 1.2 sections 2.7.5.3 and
 * 2.8.7) where the back end takes such, else a chain. The rings are read here by the specification, in plain code, before the
 * back end has looked at them.
 */
import type { Test } from 'tap';
import t from 'tap';
import { PORT_BASE, PORT_SIZE, PORT_TXQS, QUEUE_AVAIL, QUEUE_DESC, QUEUE_FREE_COUNT } from '../../assembly/layout.js';
import { Burst, Eal, MbufView, Mempool, silentLogger } from '../../src/index.js';
import { linkIs, openPort } from '../support/ports.js';

const [F_NEXT, F_WRITE, F_INDIRECT] = [1, 2, 4];
const HDR_LEN = 12;
const PIECE_BYTES = 200;
/** Table entries of ours at the most, a ring of this size permitting. */
const MAX_TABLE = 35;

interface Piece {
  readonly at: number;
  readonly length: number;
  readonly flags: number;
  /** Split: the next field; packed: the buffer id. */
  readonly last: number;
}

async function openLab(t: Test, args: string) {
  const eal = await Eal.init({ memoryMiB: 32, logger: silentLogger });
  t.teardown(() => eal.cleanup());
  const mempool = Mempool.createPktmbuf(eal, { name: 'packets', count: 2047, cacheSize: 0, dataRoomBytes: 512 });
  const host = await openPort(eal, mempool, 'net_vhost0,iface=inproc:a');
  const guest = await openPort(eal, mempool, `net_virtio_user0,path=inproc:a,${args}`);
  await Promise.all([linkIs(host, true), linkIs(guest, true)]);

  const { u32, u8, view } = { ...eal.memory, view: new DataView(eal.memory.u8.buffer) };
  const queue = u32[u32[(PORT_BASE + guest.id * PORT_SIZE + PORT_TXQS) >>> 2]! >>> 2]!;
  const field = (offset: number): number => u32[(queue + offset) >>> 2]!;
  const m = new MbufView(eal);
  const burst = Burst.create(eal, 8);

  /** A packet of `segments` mbufs of PIECE_BYTES each; `bare`: the first one has no headroom for a header. */
  const make = (segments: number, seed: number, bare: boolean): { handle: number; bytes: Uint8Array } => {
    const bytes = Uint8Array.from({ length: segments * PIECE_BYTES }, (_, i) => (seed + i * 7) & 0xff);
    const handles = Array.from({ length: segments }, () => mempool.alloc());
    for (const [n, handle] of handles.entries()) {
      m.at(handle);
      if (n === 0 && bare) m.prepend(m.headroom);
      const inFront = m.dataLen;
      m.append(PIECE_BYTES - inFront);
      for (let i = 0; i < PIECE_BYTES; i++) m.setU8(i, bytes[n * PIECE_BYTES + i]!);
      if (n > 0) {
        m.at(handles[0]!);
        if (!m.chain(handle)) throw new Error('cannot chain');
      }
    }
    return { handle: handles[0]!, bytes };
  };
  const descriptor = (at: number, packed: boolean): Piece => ({
    at: Number(view.getBigUint64(at, true)),
    length: view.getUint32(at + 8, true),
    flags: view.getUint16(at + (packed ? 14 : 12), true) & 0x7f,
    last: view.getUint16(at + (packed ? 12 : 14), true),
  });
  const textOf = (pieces: readonly Piece[]): Buffer =>
    Buffer.concat(pieces.map(({ at, length }) => Buffer.from(u8.slice(at, at + length))));
  return { eal, mempool, host, guest, m, burst, field, make, descriptor, textOf };
}

for (const packed of [false, true]) {
  t.test(packed ? 'packed' : 'split', async (t) => {
    for (const [size, inOrder] of [
      [32, 0],
      [256, 1],
    ] as const) {
      const lab = await openLab(t, `packed_vq=${packed ? 1 : 0},queue_size=${size},in_order=${inOrder}`);
      const { burst, descriptor, field, guest, host, m, make, mempool, textOf } = lab;
      const inUse = mempool.inUseCount;
      const limit = Math.min(MAX_TABLE, size);
      let slot = 0;
      for (const segments of [1, 2, 3, 7, limit - 1, limit, limit + 1]) {
        for (const bare of [false, true]) {
          const pieces = segments + (bare ? 1 : 0);
          if (pieces >= size && pieces > limit) continue; // neither a table nor a chain takes it
          const title = `size ${size}, ${segments} segments${bare ? ', header apart' : ''}`;
          const { handle, bytes } = make(segments, slot, bare);
          burst.handles[0] = handle;
          if (guest.txBurst(0, burst, 1) !== 1) throw new Error(`${title}: not sent`);

          const desc = field(QUEUE_DESC);
          const avail = field(QUEUE_AVAIL);
          const head = packed ? slot % size : lab.eal.memory.u8[avail + 4 + (slot % size) * 2]!;
          const first = descriptor(desc + head * 16, packed);
          const alone = pieces === 1 || pieces <= limit;
          let found: Piece[] = [];
          if (pieces > 1 && alone) {
            t.equal(first.flags, F_INDIRECT, `${title}: stands alone`);
            t.equal(first.length, pieces * 16, title);
            found = Array.from({ length: pieces }, (_, i) => descriptor(first.at + i * 16, packed));
            const links = found.map(({ flags, last }) => [flags, last]);
            const expected = found.map((_, i) => (packed || i === pieces - 1 ? [0, 0] : [F_NEXT, i + 1]));
            t.strictSame(links, expected, `${title}: the table's links`);
          } else {
            let at = head;
            for (let n = 0; n < pieces; n++) {
              const piece = descriptor(desc + at * 16, packed);
              found.push(piece);
              at = packed ? (at + 1) % size : piece.last;
            }
            const flags = found.map((piece) => piece.flags);
            t.strictSame(
              flags,
              flags.map((_, i) => (i === pieces - 1 ? 0 : F_NEXT)),
              `${title}: a chain`,
            );
          }
          t.equal(found.filter(({ flags }) => flags & F_WRITE).length, 0, `${title}: nothing to write to`);
          const content = textOf(found);
          t.ok(content.subarray(0, HDR_LEN).equals(Buffer.alloc(HDR_LEN)), `${title}: a plain header`);
          t.ok(content.subarray(HDR_LEN).equals(bytes), `${title}: its bytes`);
          t.equal(field(QUEUE_FREE_COUNT), size - (alone ? 1 : pieces), `${title}: descriptors`);

          t.equal(host.rxBurst(0, burst, 1), 1, title);
          t.equal(m.at(burst.handles[0]!).pktLen, bytes.length, title);
          burst.free(0, 1);
          guest.txBurst(0, burst, 0); // takes back
          t.equal(mempool.inUseCount, inUse, `${title}: nothing is out`);
          slot += packed && !alone ? pieces : 1;
        }
      }
      await lab.eal.cleanup();
    }
  });
}

t.test('a back end without, or a user who wants none: chains', async (t) => {
  for (const packed of [0, 1]) {
    const lab = await openLab(t, `packed_vq=${packed},indirect_desc=0`);
    t.notMatch(lab.guest.info().driverInfo.features, /INDIRECT/);
    lab.burst.handles[0] = lab.make(3, 1, true).handle;
    t.equal(lab.guest.txBurst(0, lab.burst, 1), 1);
    t.equal(lab.field(QUEUE_FREE_COUNT), 256 - 4);
    t.equal(lab.descriptor(lab.field(QUEUE_DESC), packed === 1).flags, F_NEXT);
    await lab.eal.cleanup();
  }
});

t.test('a chain as long as the ring waits until the ring is empty; a longer one is dropped', async (t) => {
  for (const packed of [0, 1]) {
    const lab = await openLab(t, `packed_vq=${packed},indirect_desc=0,queue_size=32`);
    const { burst, guest, host, make } = lab;
    burst.handles[0] = make(1, 1, false).handle;
    t.equal(guest.txBurst(0, burst, 1), 1);
    const whole = make(32, 2, false).handle;
    burst.handles[0] = whole;
    t.equal(guest.txBurst(0, burst, 1), 0, 'one descriptor is with the back end');
    t.equal(host.rxBurst(0, burst, 1), 1);
    burst.free(0, 1);
    burst.handles[0] = whole;
    t.equal(guest.txBurst(0, burst, 1), 1);
    t.equal(host.rxBurst(0, burst, 1), 1);
    burst.free(0, 1);
    burst.handles[0] = make(33, 3, false).handle;
    t.equal(guest.txBurst(0, burst, 1), 1);
    t.equal(guest.stats().oerrors, 1, 'no ring of this size takes it');
    await lab.eal.cleanup();
  }
});

t.test('more large packets fit the ring', async (t) => {
  const lab = await openLab(t, 'queue_size=32');
  for (let i = 0; i < 8; i++) lab.burst.handles[i] = lab.make(20, i, false).handle;
  t.equal(lab.guest.txBurst(0, lab.burst, 8), 8, '160 pieces, 8 descriptors');
  t.equal(lab.host.rxBurst(0, lab.burst, 8), 8);
  lab.burst.free(0, 8);
});
