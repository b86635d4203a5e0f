/** Framing, descriptor bookkeeping and both sessions over a channel in memory. */
import fc from 'fast-check';
import t from 'tap';
import type { ByteChannel, Received } from '../../src/vhost/channel.js';
import { channelPair } from '../../src/vhost/channel.js';
import { encodeMessage } from '../../src/vhost/codec.js';
import { BackendConnection } from '../../src/vhost/connection.js';
import { FrontEndSession, type WaitReadable } from '../../src/vhost/frontend.js';
import * as M from '../../src/vhost/messages.js';
import { RecordingDevice } from './recording-device.js';
import { refuses } from './refuses.js';

/** A channel that a test feeds piece by piece, and that knows which descriptors are open. */
class Feed implements ByteChannel {
  readonly open = new Set<number>();
  readonly sent: Uint8Array[] = [];
  readonly pieces: Received[] = [];
  readonly data: Uint8Array[] = [];
  ended = false;
  truncateNext = false;

  push(bytes: Uint8Array, fds: number[] = []): void {
    for (const fd of fds) this.open.add(fd);
    this.data.push(bytes);
    this.pieces.push({ length: bytes.length, fds, truncated: this.truncateNext });
    this.truncateNext = false;
  }

  send(bytes: Uint8Array): void {
    this.sent.push(bytes);
  }

  receive(into: Uint8Array): Received {
    const bytes = this.data[0];
    const piece = this.pieces[0];
    if (bytes === undefined || piece === undefined) return { length: this.ended ? 0 : -1, fds: [], truncated: false };
    const length = Math.min(bytes.length, into.length);
    into.set(bytes.subarray(0, length));
    const fds = piece.fds.splice(0);
    if (length === bytes.length) {
      this.data.shift();
      this.pieces.shift();
    } else {
      this.data[0] = bytes.subarray(length);
    }
    return { length, fds, truncated: piece.truncated };
  }

  closeFd(fd: number): void {
    t.ok(this.open.delete(fd), `descriptor ${fd} is closed once`);
  }

  close(): void {}
}

const message = (request: number, payload: M.Payload, flags = 0): Uint8Array =>
  encodeMessage({ request, flags, payload, fds: [] });
const kick = (index: bigint): Uint8Array => message(M.SET_VRING_KICK, { kind: 'u64', value: index });
const none: M.Payload = { kind: 'none' };

t.test('a dialogue cut at any places is the same dialogue', async (t) => {
  const dialogue = Buffer.concat([
    message(M.SET_OWNER, none),
    message(M.GET_FEATURES, none),
    message(M.SET_VRING_NUM, { kind: 'vringState', index: 1, num: 256 }),
    message(200, { kind: 'bytes', bytes: new Uint8Array(77) }),
    message(M.GET_VRING_BASE, { kind: 'vringState', index: 1, num: 0 }),
  ]);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: dialogue.length - 1 }), { maxLength: 20 }), (cuts) => {
      const feed = new Feed();
      const connection = new BackendConnection(feed, new RecordingDevice());
      const edges = [0, ...cuts.sort((a, b) => a - b), dialogue.length];
      for (let n = 1; n < edges.length; n++) {
        const piece = dialogue.subarray(edges[n - 1], edges[n]);
        if (piece.length > 0) feed.push(piece);
        t.equal(connection.pump(10), 'idle');
      }
      t.equal(feed.sent.length, 2);
      t.equal(connection.midMessage, false);
    }),
    { numRuns: 50 },
  );
});

t.test('F12: half a header and then silence: nobody waits, and a close in the middle is named', async (t) => {
  const feed = new Feed();
  const connection = new BackendConnection(feed, new RecordingDevice());
  feed.push(message(M.SET_FEATURES, { kind: 'u64', value: 0n }).subarray(0, 6));
  t.equal(connection.pump(10), 'idle');
  t.equal(connection.midMessage, true);
  feed.ended = true;
  refuses(t, () => connection.pump(10), { request: 'header', field: 'size', message: /closed after 6 of 12/ });
});

t.test('F12: a length that cannot be is refused before its bytes come', async (t) => {
  const feed = new Feed();
  const connection = new BackendConnection(feed, new RecordingDevice());
  const bytes = message(M.SET_FEATURES, { kind: 'u64', value: 0n }).subarray(0, 12);
  bytes.fill(0xff, 8, 12);
  feed.push(bytes);
  refuses(t, () => connection.pump(10), { request: 'SET_FEATURES', field: 'size' });
});

t.test('F3: descriptors belong to the message with which they came', async (t) => {
  const feed = new Feed();
  const device = new RecordingDevice();
  const connection = new BackendConnection(feed, device);
  feed.push(kick(0n), [50]);
  feed.push(kick(1n).subarray(0, 12), [51]);
  feed.push(kick(1n).subarray(12));
  t.equal(connection.pump(10), 'idle');
  t.strictSame(device.take(), ['kick 0 50', 'kick 1 51']);
  feed.push(message(M.SET_OWNER, none), [52]);
  refuses(t, () => connection.pump(10), { request: 'SET_OWNER', field: 'fds' });
  t.notOk(feed.open.has(52), 'closed');
  t.strictSame([...feed.open], [50, 51], 'the device has those');
});

t.test('F3: truncated ancillary data, and too many descriptors in pieces', async (t) => {
  const cut = new Feed();
  const first = new BackendConnection(cut, new RecordingDevice());
  cut.truncateNext = true;
  cut.push(kick(0n), [50]);
  refuses(t, () => first.pump(10), { field: 'fds' });
  first.close();
  t.equal(cut.open.size, 0);

  const many = new Feed();
  const second = new BackendConnection(many, new RecordingDevice());
  const bytes = kick(0n);
  for (let n = 0; n < 20; n++) many.push(bytes.subarray(n, n + 1), [100 + n]);
  refuses(t, () => second.pump(10), { field: 'fds' });
  second.close();
  t.equal([...many.open].filter((fd) => fd < 117).length, 0, 'those that were received are closed');
});

t.test('F3: descriptors of half a message are closed with the connection', async (t) => {
  const feed = new Feed();
  const device = new RecordingDevice();
  const connection = new BackendConnection(feed, device);
  feed.push(kick(0n).subarray(0, 15), [50]);
  t.equal(connection.pump(10), 'idle');
  connection.close();
  connection.close();
  t.equal(feed.open.size, 0);
  t.strictSame(device.take(), ['reset'], 'once');
});

t.test('F9: a peer that never stops gets its share, not more', async (t) => {
  const feed = new Feed();
  const connection = new BackendConnection(feed, new RecordingDevice());
  for (let n = 0; n < 100; n++) feed.push(message(M.GET_FEATURES, none));
  t.equal(connection.pump(32), 'more');
  t.equal(feed.sent.length, 32);
});

/** Front end and back end, joined in memory. */
function joined(device = new RecordingDevice()) {
  const [back, front] = channelPair();
  const backEnd = new BackendConnection(back, device);
  let wake: (() => void) | undefined;
  front.notify = () => wake?.();
  back.notify = () =>
    queueMicrotask(() => {
      try {
        if (backEnd.pump(100) === 'closed') backEnd.close();
      } catch {
        backEnd.close();
      }
    });
  const readable: WaitReadable = (timeoutMs) =>
    new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), timeoutMs);
      wake = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
  return { device, backEnd, front: new FrontEndSession(front, readable, 200), frontChannel: front };
}

const region = { guestAddress: 0n, userAddress: 0n, size: 0x10_0000n, mmapOffset: 0n, fd: 9 };
const vring = { size: 256, desc: 0x1000n, avail: 0x2000n, used: 0x3000n, base: 3, kickFd: -1, callFd: -1 };

t.test('the front end goes through the whole dialogue with our back end', async (t) => {
  const { device, backEnd, front } = joined();
  const link = await front.negotiate((1n << 32n) | (1n << 15n) | (1n << 5n));
  t.equal(link.features, (1n << 32n) | (1n << 15n), 'what both know');
  t.equal(link.queuePairs, 2);
  t.equal(link.memorySlots, 64);
  await front.shareMemory([region]);
  await front.startVring(0, vring);
  await front.enableVring(0, true);
  await front.driverOk();
  t.equal(await front.setMtu(1500), true);
  t.equal(await front.setMtu(9001), false);
  t.strictSame(device.take(), [
    'status 0',
    'status 3',
    'features 0x140008000',
    'status 11',
    'add 0',
    'call 0 -1',
    'kick 0 -1',
    'disable 0',
    `start 0 size 256 base 3 desc ${0x1000n}`,
    'enable 0',
    'status 15',
    'mtu 1500',
    'mtu 9001',
  ]);
  await front.shareMemory([{ ...region, guestAddress: 0x100_0000n, userAddress: 0x100_0000n }]);
  t.strictSame(device.take(), ['remove 0', `add ${0x100_0000n}`]);
  t.equal(await front.stopVring(0), 7);
  t.ok(front.alive());
  backEnd.close();
  t.notOk(front.alive());
  await t.rejects(front.stopVring(0));
});

t.test('the front end and a back end of the first days: no protocol features, no acknowledgements', async (t) => {
  const device = new RecordingDevice();
  device.features = 1n << 15n;
  const { front } = joined(device);
  const link = await front.negotiate((1n << 32n) | (1n << 15n));
  t.strictSame(link, { features: 1n << 15n, protocolFeatures: 0n, queuePairs: 1, memorySlots: 8 });
  await front.shareMemory([region]);
  await front.startVring(1, vring);
  await front.enableVring(1, true);
  t.equal(await front.setMtu(1500), false);
  t.equal(await front.stopVring(1), 7);
  t.match(device.take(), ['features 0x8000', 'memory 0', 'call 1 -1', 'kick 1 -1', 'enable 1', 'start 1', 'stop 1']);
});

t.test('the front end names what the back end does wrong', async (t) => {
  const failing = joined();
  await failing.front.negotiate(1n << 32n);
  failing.device.failure = new Error('no room');
  await t.rejects(failing.front.shareMemory([region]), { code: 'ERR_VHOST_PROTOCOL', message: /ADD_MEM_REG/ });

  const [back, front] = channelPair();
  const silent = new FrontEndSession(front, async () => false, 20);
  await t.rejects(silent.negotiate(0n), { message: /GET_FEATURES: reply did not come/ });
  back.close();
  await t.rejects(silent.negotiate(0n));

  const [liar, cheated] = channelPair();
  liar.notify = () =>
    liar.send(encodeMessage({ request: M.GET_QUEUE_NUM, flags: 4, payload: { kind: 'u64', value: 1n }, fds: [] }), []);
  await t.rejects(new FrontEndSession(cheated, async () => true, 20).negotiate(0n), { message: /is one to/ });
});
