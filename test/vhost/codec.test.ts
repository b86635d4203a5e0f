import fc from 'fast-check';
import t from 'tap';
import { decodeHeader, decodePayload, encodeMessage } from '../../src/vhost/codec.js';
import * as M from '../../src/vhost/messages.js';
import { refuses } from './refuses.js';

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
const plain = { noNullPrototype: true } as const;
const region = fc.record({ guestAddress: u64, size: u64, userAddress: u64, mmapOffset: u64 }, plain);

/** A payload of each shape. */
const payloads: Record<M.PayloadKind, fc.Arbitrary<M.Payload>> = {
  none: fc.constant({ kind: 'none' }),
  u64: u64.map((value) => ({ kind: 'u64', value })),
  vringState: fc.record({ kind: fc.constant('vringState'), index: u32, num: u32 }, plain),
  vringAddress: fc.record(
    {
      kind: fc.constant('vringAddress'),
      index: u32,
      flags: u32,
      desc: u64,
      used: u64,
      avail: u64,
      log: u64,
    },
    plain,
  ),
  memoryTable: fc.array(region, { maxLength: 8 }).map((regions) => ({ kind: 'memoryTable', regions })),
  memoryRegion: region.map((one) => ({ kind: 'memoryRegion', region: one })),
  bytes: fc.uint8Array({ minLength: 12, maxLength: 24 }).map((bytes) => ({ kind: 'bytes', bytes })),
};

const fixed = M.REQUESTS.filter((info) => info.payload !== 'bytes');

t.test('what is encoded is decoded again, for every request and every value', async (t) => {
  const messages = fc
    .constantFrom(...fixed)
    .chain((info) => fc.record({ info: fc.constant(info), payload: payloads[info.payload], needReply: fc.boolean() }));
  fc.assert(
    fc.property(messages, ({ info, payload, needReply }) => {
      const flags = needReply ? M.FLAG_NEED_REPLY : 0;
      const bytes = encodeMessage({ request: info.id, flags, payload, fds: [] });
      const header = decodeHeader(bytes, 'frontend');
      t.equal(header.request, info.id);
      t.equal(header.flags, flags | 1);
      t.equal(header.length, bytes.length - 12);
      t.strictSame(decodePayload(info.id, info.payload, bytes.subarray(12)), payload);
    }),
    { numRuns: 300 },
  );
});

t.test('any bytes are either a message or a VhostProtocolError', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 12, maxLength: 300 }), fc.boolean(), (bytes, plausible) => {
      if (plausible) {
        bytes[0]! %= 45;
        bytes.fill(0, 1, 4);
        bytes.set([1, 0, 0, 0, (bytes.length - 12) & 0xff, (bytes.length - 12) >> 8, 0, 0], 4);
      }
      try {
        const header = decodeHeader(bytes, 'frontend');
        const kind = M.requestInfo(header.request)?.payload ?? 'bytes';
        decodePayload(header.request, kind, bytes.subarray(12, 12 + header.length));
      } catch (error) {
        t.equal((error as { code?: string }).code, 'ERR_VHOST_PROTOCOL', String(error));
      }
    }),
    { numRuns: 1000 },
  );
});

t.test('bytes on the wire, written down by hand', async (t) => {
  const hex = (message: M.Message): string => Buffer.from(encodeMessage(message)).toString('hex');
  t.equal(hex({ request: M.GET_FEATURES, flags: 0, payload: { kind: 'none' }, fds: [] }), '010000000100000000000000');
  t.equal(
    hex({ request: M.SET_FEATURES, flags: 8, payload: { kind: 'u64', value: 0x1_4000_0000n }, fds: [] }),
    '02000000090000000800000000000040' + '01000000',
  );
  t.equal(
    hex({ request: M.SET_VRING_NUM, flags: 0, payload: { kind: 'vringState', index: 3, num: 256 }, fds: [] }),
    '080000000100000008000000' + '0300000000010000',
  );
  const address = { index: 1, flags: 0, desc: 0x1000n, used: 0x3000n, avail: 0x2000n, log: 0n };
  t.equal(
    hex({ request: M.SET_VRING_ADDR, flags: 0, payload: { kind: 'vringAddress', ...address }, fds: [] }),
    '090000000100000028000000' +
      '0100000000000000' +
      '0010000000000000' +
      '0030000000000000' +
      '0020000000000000' +
      '0000000000000000',
  );
});

t.test('F12: header length that disagrees with the request, for every request', async (t) => {
  const header = (request: number, length: number): Uint8Array => {
    const bytes = new Uint8Array(12);
    new DataView(bytes.buffer).setUint32(0, request, true);
    new DataView(bytes.buffer).setUint32(4, 1, true);
    new DataView(bytes.buffer).setUint32(8, length, true);
    return bytes;
  };
  for (const info of M.REQUESTS) {
    refuses(t, () => decodeHeader(header(info.id, info.maxLength + 1), 'frontend'), { field: 'size' }, info.name);
    refuses(t, () => decodeHeader(header(info.id, 0xffff_ffff), 'frontend'), { field: 'size', request: info.name });
    if (info.minLength > 0) {
      refuses(t, () => decodeHeader(header(info.id, info.minLength - 1), 'frontend'), { field: 'size' }, info.name);
    }
  }
  refuses(t, () => decodeHeader(header(999, 0xffff_ffff), 'frontend'), { field: 'size' }, 'unknown request');
  t.doesNotThrow(() => decodeHeader(header(999, 64), 'frontend'));
});

t.test('F12: a region count that disagrees with the payload', async (t) => {
  for (const count of [0, 2, 0x0800_0000, 0xffff_ffff]) {
    const bytes = new Uint8Array(8 + 32);
    new DataView(bytes.buffer).setUint32(0, count, true);
    refuses(t, () => decodePayload(M.SET_MEM_TABLE, 'memoryTable', bytes), { field: 'num_regions' }, `${count}`);
  }
  refuses(t, () => decodePayload(M.SET_MEM_TABLE, 'memoryTable', new Uint8Array(8 + 31)), { field: 'num_regions' });
});

t.test('F12: wrong version, or a reply where a request belongs', async (t) => {
  const header = (flags: number): Uint8Array => Uint8Array.from([1, 0, 0, 0, flags, 0, 0, 0, 0, 0, 0, 0]);
  refuses(t, () => decodeHeader(header(0), 'frontend'), { field: 'flags', message: /version 0/ });
  refuses(t, () => decodeHeader(header(2), 'frontend'), { field: 'flags' });
  refuses(t, () => decodeHeader(header(1 | 4), 'frontend'), { field: 'flags', message: /reply/ });
  refuses(t, () => decodeHeader(header(1), 'backend'), { field: 'flags', message: /reply bit/ });
});

t.test('F17: padding in what is sent is zero', async (t) => {
  const one = { guestAddress: 1n, size: 2n, userAddress: 3n, mmapOffset: 4n };
  const table = encodeMessage({
    request: M.SET_MEM_TABLE,
    flags: 0,
    payload: { kind: 'memoryTable', regions: [one] },
    fds: [],
  });
  t.strictSame([...table.subarray(16, 20)], [0, 0, 0, 0]);
  const region = encodeMessage({
    request: M.ADD_MEM_REG,
    flags: 0,
    payload: { kind: 'memoryRegion', region: one },
    fds: [],
  });
  t.strictSame([...region.subarray(12, 20)], [0, 0, 0, 0, 0, 0, 0, 0]);
});

t.test('every request has one row and a name', async (t) => {
  t.equal(new Set(M.REQUESTS.map((info) => info.id)).size, M.REQUESTS.length);
  t.strictSame(
    M.REQUESTS.map((info) => info.id),
    Array.from({ length: 43 }, (_, n) => n + 1),
  );
  t.equal(M.requestName(5), 'SET_MEM_TABLE');
  t.equal(M.requestName(77), 'request 77');
});
