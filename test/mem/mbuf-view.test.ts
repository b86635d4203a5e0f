import fc from 'fast-check';
import t from 'tap';
import { MBUF_BUF, MBUF_F_INDIRECT } from '../../assembly/layout.js';
import { MbufView } from '../../src/mbuf.js';
import { Mempool } from '../../src/mempool.js';
import { createContext } from './context.js';

const context = createContext();
const { memory } = context;
const pool = Mempool.createPktmbuf(context, { name: 'view', count: 64, dataRoomBytes: 256 });

/** A view at a fresh packet with these bytes, whose data begins `shift` bytes further on. */
function packetOf(bytes: Uint8Array, shift = 0): MbufView {
  const m = new MbufView(context).at(pool.alloc());
  m.append(shift);
  m.adj(shift);
  m.append(bytes.length);
  m.write(0, bytes);
  return m;
}

t.test('reads and writes are in network byte order, at any alignment', async (t) => {
  const run = fc.property(
    fc.uint8Array({ minLength: 4, maxLength: 40 }),
    fc.nat(3),
    fc.nat(36),
    fc.nat(0xffff_ffff),
    (bytes, shift, at, value) => {
      const offset = Math.min(at, bytes.length - 4);
      const oracle = new DataView(bytes.buffer, bytes.byteOffset);
      const m = packetOf(bytes, shift);
      try {
        if (m.u8(offset) !== oracle.getUint8(offset)) return false;
        if (m.u16(offset) !== oracle.getUint16(offset)) return false;
        if (m.u32(offset) !== oracle.getUint32(offset)) return false;
        m.setU32(offset, value);
        oracle.setUint32(offset, value);
        if (Buffer.compare(m.bytes(), bytes) !== 0) return false;
        m.setU16(offset + 1, value);
        oracle.setUint16(offset + 1, value);
        m.setU8(offset, value);
        oracle.setUint8(offset, value);
        return Buffer.compare(m.bytes(), bytes) === 0;
      } finally {
        m.free();
      }
    },
  );
  t.doesNotThrow(() => fc.assert(run));
});

t.test('swapMacs exchanges the addresses and nothing else, at any alignment', async (t) => {
  const frame = Uint8Array.from({ length: 60 }, (_, i) => i + 1);
  const swapped = Uint8Array.from([...frame.subarray(6, 12), ...frame.subarray(0, 6), ...frame.subarray(12)]);
  for (let shift = 0; shift < 8; shift++) {
    const m = packetOf(frame, shift);
    m.swapMacs();
    t.same(m.bytes(), swapped, `shifted by ${shift}`);
    m.free();
  }
  const runt = packetOf(frame.subarray(0, 11));
  t.throws(() => runt.swapMacs(), { name: 'RangeError', message: /12 bytes at offset 0 .* 11 bytes/ });
  runt.free();
});

t.test('an access outside the data is refused and changes nothing', async (t) => {
  const m = packetOf(Uint8Array.of(1, 2, 3, 4, 5));
  const around = m.dataAddress;
  memory.u8[around - 1] = 0xaa;
  memory.u8[around + 5] = 0xbb;
  for (const offset of [5, -1, 6, 2 ** 32, 2 ** 32 + 1, -(2 ** 32), 1.5, Number.NaN, Infinity]) {
    const refused = { name: 'RangeError', message: new RegExp(`offset ${offset} `) };
    for (const access of ['u8', 'u16', 'u32'] as const)
      t.throws(() => m[access](offset), refused, `${access} ${offset}`);
    for (const access of ['setU8', 'setU16', 'setU32'] as const) t.throws(() => m[access](offset, 9), refused);
    t.throws(() => m.write(offset, Uint8Array.of(1)), refused);
  }
  t.throws(() => m.u16(4), RangeError);
  t.throws(() => m.u32(2), RangeError);
  t.throws(() => m.setU32(2, 0), RangeError);
  t.throws(() => m.write(3, new Uint8Array(3)), RangeError);
  t.same(m.bytes(), Uint8Array.of(1, 2, 3, 4, 5));
  t.equal(memory.u8[around - 1], 0xaa);
  t.equal(memory.u8[around + 5], 0xbb);
  m.free();
});

t.test('a view at nothing says so', async (t) => {
  const m = new MbufView(context);
  t.throws(() => m.u8(0), { code: 'ERR_INVALID_STATE' });
  const used = packetOf(Uint8Array.of(1));
  used.free();
  t.throws(() => used.u8(0), { code: 'ERR_INVALID_STATE' });
});

t.test('data in a guest window is never touched from JavaScript', async (t) => {
  for (const address of [memory.endAddress, memory.endAddress - 2, 0x7fff_ff00, 0x8000_0000, 0xfffe_ff00]) {
    const m = new MbufView(context);
    const handle = pool.alloc();
    context.wasm.mbufAttachExternal(handle, context.memzones.reserve(`ext ${address}`, 64).address, address, 1000);
    m.at(handle).append(14);
    t.match(m, { pktLen: 14, dataLen: 14, dataAddress: address });
    for (const access of [
      () => m.u8(0),
      () => m.u16(12),
      () => m.u32(0),
      () => m.setU8(0, 1),
      () => m.setU16(0, 1),
      () => m.setU32(0, 1),
      () => m.write(0, Uint8Array.of(1)),
      () => m.swapMacs(),
      () => m.bytes(),
    ]) {
      t.throws(access, { code: 'ERR_INVALID_STATE', message: /guest/ });
    }
    m.free();
  }
});

t.test('header fields are where the layout puts them, and do not touch each other', async (t) => {
  const m = new MbufView(context).at(pool.alloc());
  const values = {
    port: 0x1234,
    olFlags: 0x0fff_0001,
    packetType: 0xf123_4567,
    hash: 0xfedc_ba98,
    vlanTci: 0xabcd,
    vlanTciOuter: 0x9876,
    l2Len: 14,
    l3Len: 500,
    l4Len: 20,
    tsoSegsz: 1460,
    udata: 0xbeef,
  };
  Object.assign(m, values);
  t.match(m, { ...values, nbSegs: 1, next: 0, refcnt: 1, pool: pool.address, pktLen: 0, headroom: 128, tailroom: 256 });
  m.olFlags = 0xffff_ffff;
  t.equal(m.olFlags & MBUF_F_INDIRECT, 0, 'whose buffer it is stays as it is');
  m.free();
  const fresh = new MbufView(context).at(pool.alloc());
  t.match(fresh, { port: 0xffff, olFlags: 0, packetType: 0, hash: 0, vlanTci: 0, l2Len: 0, l3Len: 0, l4Len: 0 });
  t.equal(fresh.vlanTciOuter, 0);
  t.match(fresh, { tsoSegsz: 0, udata: 0 });
  fresh.free();
});

t.test('room before and behind the data', async (t) => {
  const m = packetOf(Uint8Array.of(1, 2, 3));
  t.ok(m.prepend(128));
  t.notOk(m.prepend(1));
  t.ok(m.append(253));
  t.notOk(m.append(1));
  t.equal(m.pktLen, 384);
  t.equal(m.dataAddress, memory.u32[(m.handle + MBUF_BUF) >>> 2]);
  t.equal(m.u8(128), 1);
  t.notOk(m.trim(385));
  t.notOk(m.adj(385));
  t.ok(m.trim(384));
  t.match(m, { pktLen: 0, dataLen: 0 });
  for (const length of [-1, 0.5, Number.NaN]) {
    for (const change of ['prepend', 'append', 'adj', 'trim'] as const) {
      t.throws(() => m[change](length), { code: 'ERR_INVALID_ARGUMENT' }, `${change} ${length}`);
    }
  }
  m.free();
  t.equal(pool.inUseCount, 0);
});
