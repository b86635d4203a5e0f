import fc from 'fast-check';
import t from 'tap';
import {
  EXT_FREED,
  EXT_REFCNT,
  MAX_SEGMENTS,
  MBUF_BUF,
  MBUF_BUF_LEN,
  MBUF_F_EXTERNAL,
  MBUF_F_INDIRECT,
  MBUF_NB_SEGS,
  MBUF_NEXT,
  MBUF_OL_FLAGS,
  MBUF_POOL,
  MBUF_REFCNT,
} from '../../assembly/layout.js';
import { Burst } from '../../src/burst.js';
import { MbufView } from '../../src/mbuf.js';
import { Mempool } from '../../src/mempool.js';
import { createContext } from './context.js';

const context = createContext(1024);
const { memory, wasm } = context;
const { u16, u32 } = memory;

/** All elements are free, and each keeps what assembly/mem/mbuf.ts promises of a free mbuf. Says what is wrong. */
function leftovers(pool: Mempool): string {
  if (pool.inUseCount !== 0) return `${pool.inUseCount} in use`;
  for (let i = 0; i < pool.count; i++) {
    const mbuf = pool.elements + i * pool.strideBytes;
    const field = (offset: number) => u32[(mbuf + offset) >>> 2]!;
    if (field(MBUF_REFCNT) !== 1) return `${i}: refcnt ${field(MBUF_REFCNT)}`;
    if (field(MBUF_NEXT) !== 0) return `${i}: next`;
    if (u16[(mbuf + MBUF_NB_SEGS) >>> 1] !== 1) return `${i}: nbSegs ${u16[(mbuf + MBUF_NB_SEGS) >>> 1]}`;
    if (field(MBUF_BUF) !== mbuf + 64) return `${i}: not its own buffer`;
    if (field(MBUF_BUF_LEN) !== pool.bufferBytes) return `${i}: bufLen`;
    if (field(MBUF_POOL) !== pool.address) return `${i}: pool`;
    if ((field(MBUF_OL_FLAGS) & (MBUF_F_INDIRECT | MBUF_F_EXTERNAL)) >>> 0 !== 0) return `${i}: flags`;
  }
  return '';
}

const step = fc.record({
  kind: fc.constantFrom('alloc', 'clone', 'copy', 'chain', 'free', 'freeAll', 'prepend', 'append', 'adj', 'trim'),
  which: fc.nat(),
  other: fc.nat(),
  length: fc.integer({ min: 0, max: 90 }),
});

t.test('packets made, cloned, copied, chained, cut and freed at random stay what they should be', async (t) => {
  const burst = Burst.create(context, 512);
  const runs = 0;
  const run = fc.property(
    fc.array(step, { minLength: 1, maxLength: 80 }),
    fc.constantFrom(0, 8),
    (steps, cacheSize) => {
      const pool = Mempool.createPktmbuf(context, { name: `a${runs}`, count: 60, dataRoomBytes: 64, cacheSize });
      const clones = Mempool.createPktmbuf(context, { name: `b${runs}`, count: 60, dataRoomBytes: 40, cacheSize });
      const m = new MbufView(context);
      const packets: { handle: number; segments: number[][] }[] = [];
      let stamp = 1;
      const check = () => {
        for (const { handle, segments } of packets) {
          m.at(handle);
          const bytes = segments.flat();
          if (m.pktLen !== bytes.length || m.nbSegs !== segments.length) throw new Error(`length ${m.pktLen}`);
          const found = m.bytes();
          if (bytes.some((byte, i) => found[i] !== byte)) throw new Error(`${[...found]} is not ${bytes}`);
        }
      };
      for (const { kind, which, other, length } of steps) {
        const packet = packets[which % packets.length];
        if (kind === 'alloc') {
          const handle = pool.alloc();
          if ((handle === 0) !== (pool.availCount === 0) && handle === 0) throw new Error('no packet');
          if (handle === 0) continue;
          const bytes = Array.from({ length: Math.min(length, 64) }, () => stamp++ & 0xff);
          m.at(handle);
          if (m.headroom !== 128 || m.tailroom !== 64 || m.port !== 0xffff || m.olFlags !== 0)
            throw new Error('not fresh');
          if (!m.append(bytes.length)) throw new Error('append');
          m.write(0, Uint8Array.from(bytes));
          m.port = length;
          packets.push({ handle, segments: [bytes] });
        } else if (packet === undefined) {
        } else if (kind === 'clone') {
          const handle = m.at(packet.handle).clone(clones);
          if (handle !== 0) {
            packets.push({ handle, segments: packet.segments.map((s) => [...s]) });
            if (m.port !== m.at(handle).port) throw new Error('port');
          }
        } else if (kind === 'copy') {
          const bytes = packet.segments.flat().slice(length);
          const handle = m.at(packet.handle).copy(clones, length);
          if (handle === 0) {
            if (bytes.length !== 0 && clones.availCount * 40 >= bytes.length) throw new Error('no copy');
          } else {
            const segments = [];
            for (let at = 0; at < bytes.length; at += 40) segments.push(bytes.slice(at, at + 40));
            packets.push({ handle, segments });
          }
        } else if (kind === 'chain') {
          const tail = packets[other % packets.length]!;
          if (tail === packet || m.at(packet.handle).refcnt !== 1 || m.at(tail.handle).refcnt !== 1) continue;
          if (!m.at(packet.handle).chain(tail.handle)) throw new Error('chain');
          packet.segments.push(...tail.segments);
          packets.splice(packets.indexOf(tail), 1);
        } else if (kind === 'free') {
          m.at(packet.handle).free();
          packets.splice(packets.indexOf(packet), 1);
        } else if (kind === 'freeAll') {
          packets.forEach(({ handle }, i) => {
            burst.handles[i] = handle;
          });
          burst.free(0, packets.length);
          packets.length = 0;
        } else {
          // cut or grow: the model says what fits; bytes that are new are written, so that both know them
          m.at(packet.handle);
          const first = packet.segments[0]!;
          const last = packet.segments.at(-1)!;
          if (kind === 'adj' || kind === 'trim') {
            const segment = kind === 'adj' ? first : last;
            const fits = length <= segment.length;
            if (m[kind](length) !== fits) throw new Error(kind);
            if (fits) segment.splice(kind === 'adj' ? 0 : segment.length - length, length);
          } else if (kind === 'prepend' && m.refcnt === 1 && (m.olFlags & MBUF_F_INDIRECT) === 0) {
            const fits = length <= m.headroom;
            if (m.prepend(length) !== fits) throw new Error('prepend');
            if (!fits) continue;
            const bytes = Array.from({ length }, () => stamp++ & 0xff);
            m.write(0, Uint8Array.from(bytes));
            first.unshift(...bytes);
          } else if (kind === 'append') {
            while (m.next !== 0) m.at(m.next);
            const tailroom = m.tailroom;
            // bytes that a clone shares may not be changed
            if (m.refcnt !== 1 || (m.olFlags & MBUF_F_INDIRECT) !== 0) continue;
            const segment = m.handle;
            if (m.at(packet.handle).append(length) !== length <= tailroom) throw new Error('append');
            if (length > tailroom) continue;
            const bytes = Array.from({ length }, () => stamp++ & 0xff);
            m.at(segment).write(last.length, Uint8Array.from(bytes));
            last.push(...bytes);
          }
        }
        check();
      }
      for (const { handle } of packets) m.at(handle).free();
      const wrong = leftovers(pool) || leftovers(clones);
      if (wrong !== '') throw new Error(wrong);
      pool.free();
      clones.free();
      return true;
    },
  );
  t.doesNotThrow(() =>
    fc.assert(run, {
      numRuns: 200,
    }),
  );
});

t.test('a clone keeps its original alive, whichever is freed first, and a clone of a clone too', async (t) => {
  const pool = Mempool.createPktmbuf(context, { name: 'owners', count: 8 });
  const headers = Mempool.createPktmbuf(context, { name: 'headers', count: 8, dataRoomBytes: 0 });
  const m = new MbufView(context);
  const original = pool.alloc();
  m.at(original).append(3);
  m.write(0, Uint8Array.of(1, 2, 3));
  m.olFlags = 0x5;
  const clone = m.clone(headers);
  const second = m.at(clone).clone(headers);
  t.equal(m.at(original).refcnt, 3);
  t.equal(m.at(clone).refcnt, 1, 'the clone of a clone holds on to the original');
  t.equal(m.at(second).olFlags, (MBUF_F_INDIRECT | 0x5) >>> 0);
  m.at(original).free();
  t.equal(pool.availCount, 7);
  m.at(clone).free();
  t.same(m.at(second).bytes(), Uint8Array.of(1, 2, 3));
  t.equal(m.refcnt, 1);
  m.free();
  t.equal(leftovers(pool) + leftovers(headers), '');
});

t.test('a clone or a copy that runs out of buffers half-way leaves nothing behind', async (t) => {
  const pool = Mempool.createPktmbuf(context, { name: 'plenty', count: 8, dataRoomBytes: 100 });
  const few = Mempool.createPktmbuf(context, { name: 'few', count: 2, dataRoomBytes: 100, cacheSize: 0 });
  const m = new MbufView(context);
  const packet = pool.alloc();
  m.at(packet).append(100);
  for (let i = 0; i < 2; i++) {
    const tail = pool.alloc();
    m.at(tail).append(100);
    t.ok(m.at(packet).chain(tail));
  }
  t.equal(m.at(packet).clone(few), 0);
  t.equal(m.copy(few), 0);
  t.equal(leftovers(few), '');
  const part = m.copy(few, 150, 120);
  t.equal(m.at(part).pktLen, 120);
  t.equal(m.nbSegs, 2);
  m.free();
  t.equal(m.at(packet).copy(few, 300), 0, 'no bytes there');
  m.free();
  t.equal(leftovers(pool) + leftovers(few), '');
});

t.test('a copy into a pool without data room ends', async (t) => {
  const pool = Mempool.createPktmbuf(context, { name: 'roomy', count: 2 });
  const none = Mempool.createPktmbuf(context, { name: 'no room', count: 200, dataRoomBytes: 0 });
  const m = new MbufView(context);
  m.at(pool.alloc()).append(10);
  t.equal(m.copy(none), 0);
  t.equal(leftovers(none), '');
  m.free();
});

t.test('a chain has at most 128 segments', async (t) => {
  const pool = Mempool.createPktmbuf(context, { name: 'links', count: 200, dataRoomBytes: 64 });
  const m = new MbufView(context);
  const packet = pool.alloc();
  m.at(packet).append(1);
  for (let i = 1; i < MAX_SEGMENTS; i++) {
    const tail = pool.alloc();
    m.at(tail).append(1);
    t.ok(m.at(packet).chain(tail));
  }
  const extra = pool.alloc();
  m.at(extra).append(1);
  t.notOk(m.at(packet).chain(extra));
  t.match(m, { nbSegs: MAX_SEGMENTS, pktLen: MAX_SEGMENTS });
  t.notOk(m.chain(packet), 'nor is it chained to itself');
  m.free();
  m.at(extra).free();
  t.equal(leftovers(pool), '');
});

t.test('an external buffer goes back to its owner with the last reference', async (t) => {
  const pool = Mempool.createPktmbuf(context, { name: 'external', count: 8 });
  const ext = context.memzones.reserve('ext', 64).address;
  const buffer = context.memzones.reserve('buffer', 256).address;
  const m = new MbufView(context);
  u32[(ext + EXT_REFCNT) >>> 2] = 1;
  const packet = pool.alloc();
  wasm.mbufAttachExternal(packet, ext, buffer, 256);
  t.match(m.at(packet), { headroom: 0, tailroom: 256, pktLen: 0, olFlags: MBUF_F_EXTERNAL });
  t.ok(m.append(200));
  m.setU16(198, 0x1234);
  t.equal(memory.u8[buffer + 199], 0x34);
  const clone = m.clone(pool);
  t.equal(u32[(ext + EXT_REFCNT) >>> 2], 2);
  m.free();
  t.equal(u32[(ext + EXT_FREED) >>> 2], 0);
  t.equal(m.at(clone).u16(198), 0x1234);
  const copy = m.copy(pool);
  t.equal(m.at(copy).olFlags, 0, 'a copy owns its bytes');
  m.free();
  m.at(clone).free();
  t.equal(u32[(ext + EXT_REFCNT) >>> 2], 0);
  t.equal(u32[(ext + EXT_FREED) >>> 2], 1);
  t.equal(leftovers(pool), '');
});

t.test('freeing a burst: several pools, chains, clones and holes in one array', async (t) => {
  const a = Mempool.createPktmbuf(context, { name: 'burst a', count: 50 });
  const b = Mempool.createPktmbuf(context, { name: 'burst b', count: 50, cacheSize: 4 });
  const m = new MbufView(context);
  const burst = Burst.create(context, 16);
  const { handles } = burst;
  const chained = a.alloc();
  m.at(chained).chain(b.alloc());
  const cloned = b.alloc();
  handles.set([a.alloc(), a.alloc(), b.alloc(), b.alloc(), 0, a.alloc(), chained, a.alloc(), cloned, b.alloc()]);
  handles[10] = m.at(cloned).clone(a);
  burst.free(0, 11);
  t.equal(leftovers(a) + leftovers(b), '');
  burst.free(0, 0);
  t.throws(() => burst.free(3, 17), { code: 'ERR_INVALID_ARGUMENT' });
  t.throws(() => burst.free(3, 2), { code: 'ERR_INVALID_ARGUMENT' });
});
