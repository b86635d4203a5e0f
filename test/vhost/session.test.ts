/** The back-end session without a socket: messages in, replies and device calls out. */
import assert from 'node:assert/strict';
import t from 'tap';
import { ViaductError } from '../../src/errors.js';
import { BackendSession } from '../../src/vhost/backend.js';
import * as M from '../../src/vhost/messages.js';
import { RecordingDevice } from './recording-device.js';
import { refuses } from './refuses.js';

const PROTOCOL_FEATURES = 1n << 30n;
const VERSION_1 = 1n << 32n;
/** MQ, REPLY_ACK, NET_MTU, CONFIGURE_MEM_SLOTS, STATUS. */
const ALL_PROTOCOL = 0x1_8019n;

const none: M.Payload = { kind: 'none' };
const u64 = (value: bigint): M.Payload => ({ kind: 'u64', value });
const state = (index: number, num: number): M.Payload => ({ kind: 'vringState', index, num });
const address = (index: number, desc: bigint, avail = desc + 0x1000n, used = desc + 0x2000n): M.Payload => ({
  kind: 'vringAddress',
  index,
  flags: 0,
  desc,
  avail,
  used,
  log: 0n,
});
const region = (guestAddress: bigint, size = 0x10000n, mmapOffset = 0n): M.MemoryRegion => ({
  guestAddress,
  size,
  userAddress: guestAddress + 0x7f00_0000_0000n,
  mmapOffset,
});
const table = (...regions: M.MemoryRegion[]): M.Payload => ({ kind: 'memoryTable', regions });

/** A session with short words for its messages. */
function rig() {
  const device = new RecordingDevice();
  const session = new BackendSession(device);
  const say = (request: number, payload: M.Payload = none, fds: number[] = [], flags = 0): M.Payload | undefined => {
    const answer = session.handle({ request, flags, payload, fds });
    if (answer === undefined) return undefined;
    assert.equal(answer.request, request, 'a reply has its request id');
    assert.equal(answer.flags, M.FLAG_REPLY, 'a reply is marked, and nothing else');
    return answer.payload;
  };
  /** With need_reply; true for an acknowledgement of success. */
  const ack = (request: number, payload: M.Payload = none, fds: number[] = []): boolean | undefined => {
    const answer = say(request, payload, fds, M.FLAG_NEED_REPLY);
    return answer?.kind === 'u64' ? answer.value === 0n : undefined;
  };
  const negotiate = (features = PROTOCOL_FEATURES | VERSION_1, protocol = ALL_PROTOCOL): void => {
    say(M.SET_PROTOCOL_FEATURES, u64(protocol));
    say(M.SET_FEATURES, u64(features));
    device.take();
  };
  const start = (index: number, base = 0): void => {
    say(M.SET_VRING_NUM, state(index, 256));
    say(M.SET_VRING_BASE, state(index, base));
    say(M.SET_VRING_ADDR, address(index, 0x1000n));
    say(M.SET_VRING_KICK, u64(BigInt(index)), [40 + index]);
  };
  return { device, session, say, ack, negotiate, start };
}

t.test("QEMU 7.2's dialogue: negotiation, two vrings, stop, restart", async (t) => {
  const { device, say, ack } = rig();
  const offered = say(M.GET_FEATURES);
  t.ok(offered?.kind === 'u64' && (offered.value & PROTOCOL_FEATURES) !== 0n);
  t.strictSame(say(M.GET_PROTOCOL_FEATURES), u64(ALL_PROTOCOL));
  t.equal(say(M.SET_PROTOCOL_FEATURES, u64(ALL_PROTOCOL)), undefined);
  t.strictSame(say(M.GET_QUEUE_NUM), u64(2n), 'queue pairs, not vrings');
  t.strictSame(say(M.GET_MAX_MEM_SLOTS), u64(64n));
  say(M.SET_OWNER);
  say(M.SET_VRING_CALL, u64(0n), [20]);
  say(M.SET_VRING_CALL, u64(1n), [21]);
  t.strictSame(device.take(), ['call 0 20', 'call 1 21']);
  say(M.SET_VRING_ENABLE, state(0, 1));
  say(M.SET_VRING_ENABLE, state(1, 1));
  say(M.SET_FEATURES, u64(PROTOCOL_FEATURES | VERSION_1));
  t.equal(ack(M.ADD_MEM_REG, { kind: 'memoryRegion', region: region(0n) }, [30]), true);
  t.equal(ack(M.ADD_MEM_REG, { kind: 'memoryRegion', region: region(0x10_0000n) }, [31]), true);
  device.take();
  for (const index of [0, 1]) {
    say(M.SET_VRING_NUM, state(index, 1024));
    say(M.SET_VRING_BASE, state(index, 5));
    say(M.SET_VRING_ADDR, address(index, 0x4000n));
    t.strictSame(device.take(), [], 'not before the kick descriptor');
    say(M.SET_VRING_KICK, u64(BigInt(index)), [40 + index]);
    t.strictSame(device.take(), [
      `kick ${index} ${40 + index}`,
      `enable ${index}`,
      `start ${index} size 1024 base 5 desc ${0x4000n}`,
    ]);
  }
  t.strictSame(say(M.GET_VRING_BASE, state(0, 0)), state(0, 7));
  t.strictSame(say(M.GET_VRING_BASE, state(0, 0)), state(0, 7), 'asking a stopped vring changes nothing');
  t.strictSame(device.take(), ['stop 0']);
  say(M.SET_VRING_KICK, u64(0n), [50]);
  t.match(device.take(), ['kick 0 50', 'enable 0', 'start 0 size 1024 base 7'], 'goes on where it was');
});

t.test('QEMU before 8.0 adds and removes each region once a queue pair: once is enough', async (t) => {
  const { device, say, ack, negotiate } = rig();
  negotiate();
  const one = (guest: bigint, change: Partial<M.MemoryRegion> = {}): M.Payload => ({
    kind: 'memoryRegion',
    region: { ...region(guest), ...change },
  });
  t.equal(ack(M.ADD_MEM_REG, one(0n), [30]), true);
  const again = [31];
  t.equal(ack(M.ADD_MEM_REG, one(0n), again), true, 'the second queue pair says it too');
  t.strictSame(again, [31], 'its descriptor is left to be closed, unused');
  t.strictSame(device.take(), ['add 0'], 'the device hears of it once');
  refuses(t, () => say(M.ADD_MEM_REG, one(0n, { mmapOffset: 0x1000n }), [32]), { message: /overlaps/ });

  t.equal(ack(M.REM_MEM_REG, one(0n)), true);
  t.equal(ack(M.ADD_MEM_REG, one(0x8000n), [33]), true, 'the first pair has another one in its place already');
  t.equal(ack(M.REM_MEM_REG, one(0n)), true, 'when the second takes it out');
  t.equal(ack(M.ADD_MEM_REG, one(0x8000n), [34]), true);
  t.strictSame(device.take(), ['remove 0', 'add 32768']);
  refuses(t, () => say(M.REM_MEM_REG, one(0x100_0000n)), { message: /never added/ });

  t.equal(ack(M.REM_MEM_REG, one(0x8000n)), true);
  t.equal(ack(M.ADD_MEM_REG, one(0n), [35]), true, 'one that was removed may come back');
  t.strictSame(device.take(), ['remove 32768', 'add 0']);
});

t.test('REPLY_ACK: zero on success, only where it was negotiated and asked for', async (t) => {
  const { say, ack, negotiate } = rig();
  t.equal(ack(M.SET_OWNER), undefined, 'not negotiated yet');
  negotiate();
  t.equal(say(M.SET_OWNER), undefined, 'not asked for');
  t.equal(ack(M.SET_OWNER), true);
  t.equal(ack(M.RESET_OWNER), true, 'deprecated: acknowledged and ignored');
  t.equal(ack(M.NET_SET_MTU, u64(1500n)), true);
  for (const bad of [0n, 67n, 9001n, 65536n, 1n << 63n]) t.equal(ack(M.NET_SET_MTU, u64(bad)), false, `${bad}`);
  t.strictSame(ack(M.GET_QUEUE_NUM), false, 'a request with an answer of its own gets that: 2 queue pairs');
});

t.test("this side's own limits are told to a front end that listens, and close the connection else", async (t) => {
  const { device, session, say, ack, negotiate } = rig();
  negotiate();
  const refused: string[] = [];
  session.onRefused = (request, error) => refused.push(`${request}: ${error.message}`);
  device.failure = new ViaductError('ERR_WINDOW_FULL', 'no room');
  t.equal(ack(M.ADD_MEM_REG, { kind: 'memoryRegion', region: region(0n) }, [30]), false);
  t.strictSame(refused, ['ADD_MEM_REG: no room']);
  t.equal(ack(M.ADD_MEM_REG, { kind: 'memoryRegion', region: region(0n) }, [31]), true, 'the slot is still free');
  device.failure = new ViaductError('ERR_WINDOW_FULL', 'no room');
  refuses(t, () => say(M.SET_MEM_TABLE, table(region(0n)), [32]), { code: 'ERR_WINDOW_FULL' });
});

t.test('STATUS, RARP and MTU reach the device; a status of 0 stops the vrings', async (t) => {
  const { device, say, negotiate, start } = rig();
  negotiate();
  start(0);
  device.take();
  say(M.SET_STATUS, u64(15n));
  t.strictSame(say(M.GET_STATUS), u64(15n));
  say(M.SET_STATUS, u64(0n));
  say(M.SEND_RARP, u64(0x0605_0403_0201n));
  t.strictSame(device.take(), ['status 15', 'stop 0', 'status 0', 'rarp 010203040506']);
  refuses(t, () => say(M.SET_STATUS, u64(256n)), { field: 'status' });
});

t.test('F19: without protocol features a vring starts enabled, with them it starts disabled', async (t) => {
  const old = rig();
  old.say(M.SET_FEATURES, u64(VERSION_1));
  old.start(0);
  t.ok(old.device.take().includes('enable 0'));
  const modern = rig();
  modern.negotiate();
  modern.start(0);
  t.ok(modern.device.take().includes('disable 0'));
  modern.say(M.SET_VRING_ENABLE, state(0, 1));
  t.strictSame(modern.device.take(), ['enable 0']);
});

t.test('F19: SET_FEATURES again, as a second queue pair makes QEMU do, disables nothing', async (t) => {
  const { device, say, negotiate, start } = rig();
  negotiate();
  start(0);
  say(M.SET_VRING_ENABLE, state(0, 1));
  device.take();
  say(M.SET_FEATURES, u64(PROTOCOL_FEATURES | VERSION_1));
  t.strictSame(device.take(), []);
});

t.test('F11: features that were not offered, or that change while a vring runs', async (t) => {
  const { say, negotiate, start } = rig();
  refuses(t, () => say(M.SET_FEATURES, u64(1n << 26n)), { field: 'features', message: /VHOST_F_LOG_ALL/ });
  refuses(t, () => say(M.SET_FEATURES, u64(1n << 63n)), { field: 'features', message: /bit 63/ });
  refuses(t, () => say(M.SET_PROTOCOL_FEATURES, u64(ALL_PROTOCOL | 2n)), { field: 'features', message: /LOG_SHMFD/ });
  negotiate();
  say(M.SET_FEATURES, u64(PROTOCOL_FEATURES), []);
  start(0);
  refuses(t, () => say(M.SET_FEATURES, u64(PROTOCOL_FEATURES | VERSION_1)), {
    field: 'features',
    message: /changed while a vring runs: VIRTIO_F_VERSION_1/,
  });
});

t.test('F4: queue index beyond the limit, also as 0x10000+n', async (t) => {
  const { device, say, negotiate } = rig();
  negotiate();
  for (const index of [4, 255, 0x1_0000, 0x1_0001, 0x8000_0000, 0xffff_ffff]) {
    for (const request of [M.SET_VRING_NUM, M.SET_VRING_BASE, M.GET_VRING_BASE, M.SET_VRING_ENABLE]) {
      refuses(t, () => say(request, state(index, 1)), { field: 'index', request: M.requestName(request) });
    }
    refuses(t, () => say(M.SET_VRING_ADDR, address(index, 0x1000n)), { field: 'index' });
    for (const request of [M.SET_VRING_KICK, M.SET_VRING_CALL, M.SET_VRING_ERR]) {
      const fds = [60];
      refuses(t, () => say(request, u64(BigInt(index)), fds), { field: 'index' });
      t.strictSame(fds, [60], 'the descriptor is left to be closed');
    }
  }
  refuses(t, () => say(M.SET_VRING_KICK, u64(1n << 32n), [60]), { field: 'index' });
  refuses(t, () => say(M.SET_VRING_KICK, u64(0x200n), [60]), { field: 'index' });
  t.strictSame(device.take(), []);
});

t.test('F6: ring sizes that cannot be, and changes while the ring runs', async (t) => {
  const { device, say, negotiate, start } = rig();
  negotiate();
  for (const num of [0, 3, 255, 257, 32769, 65536, 0x8000_0000, 0xffff_ffff]) {
    refuses(t, () => say(M.SET_VRING_NUM, state(0, num)), { field: 'num' }, `${num}`);
  }
  for (const num of [1, 2, 32768]) t.doesNotThrow(() => say(M.SET_VRING_NUM, state(0, num)));
  start(0);
  device.take();
  t.doesNotThrow(() => say(M.SET_VRING_NUM, state(0, 256)), 'the same again');
  refuses(t, () => say(M.SET_VRING_NUM, state(0, 512)), { field: 'num', message: /while vring 0 runs/ });
  refuses(t, () => say(M.SET_VRING_BASE, state(0, 1)), { field: 'num', message: /while vring 0 runs/ });
  refuses(t, () => say(M.SET_VRING_BASE, state(1, 0x1_0000)), { field: 'num' });
  refuses(t, () => say(M.SET_VRING_ENABLE, state(0, 2)), { field: 'num' });
  t.strictSame(device.take(), []);
});

t.test('F7: vring addresses that are not aligned', async (t) => {
  const { say, negotiate } = rig();
  negotiate();
  refuses(t, () => say(M.SET_VRING_ADDR, address(0, 0x1008n)), { field: 'desc' });
  refuses(t, () => say(M.SET_VRING_ADDR, address(0, 0x1000n, 0x2001n)), { field: 'avail' });
  refuses(t, () => say(M.SET_VRING_ADDR, address(0, 0x1000n, 0x2000n, 0x3002n)), { field: 'used' });
});

t.test('F13: the NOFD bit with a descriptor, and neither bit nor descriptor', async (t) => {
  const { device, say, negotiate } = rig();
  negotiate();
  for (const request of [M.SET_VRING_KICK, M.SET_VRING_CALL, M.SET_VRING_ERR]) {
    const fds = [60];
    refuses(t, () => say(request, u64(0x101n), fds), { field: 'fds', message: /NOFD bit/ });
    t.strictSame(fds, [60]);
    refuses(t, () => say(request, u64(1n)), { field: 'fds' });
    t.doesNotThrow(() => say(request, u64(0x101n)));
    t.doesNotThrow(() => say(request, u64(1n), [61]));
  }
  t.strictSame(device.take(), ['kick 1 -1', 'kick 1 61', 'call 1 -1', 'call 1 61', 'err 1 -1', 'err 1 61']);
});

t.test('F13: a vring without kick descriptor starts too: it is polled', async (t) => {
  const { device, say, negotiate } = rig();
  negotiate();
  say(M.SET_VRING_NUM, state(0, 256));
  say(M.SET_VRING_ADDR, address(0, 0x1000n));
  say(M.SET_VRING_KICK, u64(0x100n));
  t.match(device.take(), ['kick 0 -1', 'disable 0', 'start 0 size 256 base 0']);
});

t.test('F3: descriptors on a message that takes none, or too many', async (t) => {
  const { device, say, negotiate } = rig();
  negotiate();
  const noFds: [number, M.Payload][] = [
    [M.GET_FEATURES, none],
    [M.SET_FEATURES, u64(PROTOCOL_FEATURES)],
    [M.SET_OWNER, none],
    [M.SET_VRING_NUM, state(0, 256)],
    [M.SET_VRING_ADDR, address(0, 0x1000n)],
    [M.GET_VRING_BASE, state(0, 0)],
    [M.SET_VRING_ENABLE, state(0, 1)],
    [M.SET_STATUS, u64(0n)],
    [M.NET_SET_MTU, u64(1500n)],
  ];
  for (const [request, payload] of noFds) {
    const fds = [60];
    refuses(t, () => say(request, payload, fds), { field: 'fds', request: M.requestName(request) });
    t.strictSame(fds, [60]);
  }
  refuses(t, () => say(M.SET_VRING_KICK, u64(0n), [60, 61]), { field: 'fds' });
  const one: M.Payload = { kind: 'memoryRegion', region: region(0n) };
  refuses(t, () => say(M.ADD_MEM_REG, one, []), { field: 'fds' });
  refuses(t, () => say(M.ADD_MEM_REG, one, [60, 61]), { field: 'fds' });
  t.strictSame(device.take(), []);
});

t.test('F1: regions whose numbers alone are wrong', async (t) => {
  const { device, say, negotiate } = rig();
  negotiate();
  const good = region(0n);
  const bad: [string, Partial<M.MemoryRegion>][] = [
    ['size', { size: 0n }],
    ['guest address', { guestAddress: (1n << 64n) - 0x1000n }],
    ['user address', { userAddress: (1n << 64n) - 0x1000n }],
    ['mmap offset', { mmapOffset: 0x800n }],
    ['mmap offset', { mmapOffset: (1n << 64n) - 0x1000n }],
    ['mmap offset', { mmapOffset: (1n << 63n) - 0x1000n }],
  ];
  for (const [field, change] of bad) {
    const fds = [60, 61];
    refuses(t, () => say(M.SET_MEM_TABLE, table(region(0x100_0000n), { ...good, ...change }), fds), {
      field: `region 1 ${field}`,
    });
    t.strictSame(fds, [60, 61]);
    refuses(t, () => say(M.ADD_MEM_REG, { kind: 'memoryRegion', region: { ...good, ...change } }, [60]), {
      field: `region ${field}`,
    });
  }
  t.strictSame(device.take(), []);
});

t.test('F2: too many regions, overlaps, fewer or more descriptors than regions', async (t) => {
  const { device, say, negotiate } = rig();
  negotiate();
  for (const fds of [[], [60], [60, 61, 62]]) {
    refuses(t, () => say(M.SET_MEM_TABLE, table(region(0n), region(0x10_0000n)), fds), { field: 'fds' });
  }
  refuses(t, () => say(M.SET_MEM_TABLE, table(region(0n), region(0xf000n)), [60, 61]), {
    field: 'region 1 guest address',
    message: /overlaps/,
  });
  const sameUser = { ...region(0x10_0000n), userAddress: region(0n).userAddress + 0xffffn };
  refuses(t, () => say(M.SET_MEM_TABLE, table(region(0n), sameUser), [60, 61]), { field: 'region 1 user address' });
  t.strictSame(device.take(), []);

  device.maxMemorySlots = 2;
  const add = (guest: bigint) => say(M.ADD_MEM_REG, { kind: 'memoryRegion', region: region(guest) }, [60]);
  add(0n);
  refuses(t, () => add(0x8000n), { message: /overlaps/ });
  add(0x10000n);
  refuses(t, () => add(0x20000n), { field: 'region', message: /slots/ });
  const remove = (guest: bigint, fds: number[]) =>
    say(M.REM_MEM_REG, { kind: 'memoryRegion', region: region(guest) }, fds);
  const stray = [60];
  remove(0n, stray);
  t.strictSame(stray, [60], 'a descriptor with REM_MEM_REG is left to be closed, unused');
  refuses(t, () => remove(0x50000n, []), { field: 'region', message: /never added/ });
  add(0x20000n);
});

t.test('F16: unknown requests, and known ones whose feature was never negotiated', async (t) => {
  const { device, say, ack, negotiate } = rig();
  const unknown: M.Payload = { kind: 'bytes', bytes: new Uint8Array(5) };
  t.equal(say(200, unknown), undefined, 'ignored');
  refuses(t, () => say(M.GET_QUEUE_NUM), { message: /VHOST_USER_PROTOCOL_F_MQ/ });
  negotiate();
  t.equal(say(200, unknown, [60]), undefined);
  t.equal(ack(200, unknown), false);
  const log: M.Payload = { kind: 'bytes', bytes: new Uint8Array(16) };
  t.equal(ack(M.SET_LOG_BASE, log, [60]), false);
  refuses(t, () => say(M.SET_LOG_BASE, log, [60]), { message: /SET_LOG_BASE.*VHOST_USER_PROTOCOL_F_LOG_SHMFD/ });
  const inflight: M.Payload = { kind: 'bytes', bytes: new Uint8Array(20) };
  refuses(t, () => say(M.GET_INFLIGHT_FD, inflight), { message: /INFLIGHT_SHMFD/ });
  t.equal(ack(M.SET_INFLIGHT_FD, inflight, [60]), false);
  refuses(t, () => say(M.POSTCOPY_ADVISE), { message: /PAGEFAULT/ });
  refuses(t, () => ack(M.IOTLB_MSG, { kind: 'bytes', bytes: new Uint8Array(32) }), {
    message: /VIRTIO_F_ACCESS_PLATFORM/,
  });
  t.equal(ack(M.SET_BACKEND_REQ_FD, none, [60]), false);
  t.equal(ack(M.RESET_DEVICE), false);
  t.strictSame(device.take(), []);
});

t.test('F9: SET_MEM_TABLE without end keeps one table', async (t) => {
  const { session, say, negotiate } = rig();
  negotiate();
  for (let n = 0; n < 100; n++) say(M.SET_MEM_TABLE, table(region(BigInt(n) << 20n)), [60]);
  t.equal(session.regions.length, 1);
  t.equal(session.regions[0]!.guestAddress, 99n << 20n);
});

t.test('close() resets the device', async (t) => {
  const { device, session, negotiate, start } = rig();
  negotiate();
  start(1);
  device.take();
  session.close();
  t.strictSame(device.take(), ['reset']);
  t.equal(session.regions.length, 0);
});
