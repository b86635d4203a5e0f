/** What a packed virtqueue changes in the back-end session: sizes, alignments, positions, features (F6, F7, F11). */
import assert from 'node:assert/strict';
import t from 'tap';
import { BackendSession } from '../../src/vhost/backend.js';
import type { VringConfig } from '../../src/vhost/device.js';
import { RUNTIME_FEATURES } from '../../src/vhost/features.js';
import * as M from '../../src/vhost/messages.js';
import { RecordingDevice } from './recording-device.js';
import { refuses } from './refuses.js';

const VERSION_1 = 1n << 32n;
const PACKED = 1n << 34n;

class PackedDevice extends RecordingDevice {
  readonly started: VringConfig[] = [];

  override startVring(index: number, config: VringConfig): void {
    super.startVring(index, config);
    this.started.push(config);
  }
}

const u64 = (value: bigint): M.Payload => ({ kind: 'u64', value });
const state = (index: number, num: number): M.Payload => ({ kind: 'vringState', index, num });
const address = (desc: bigint, avail: bigint, used: bigint): M.Payload => ({
  kind: 'vringAddress',
  index: 0,
  flags: 0,
  desc,
  avail,
  used,
  log: 0n,
});

function rig(features = VERSION_1 | PACKED) {
  const device = new PackedDevice();
  const session = new BackendSession(device);
  const say = (request: number, payload: M.Payload, fds: number[] = []): M.Payload | undefined =>
    session.handle({ request, flags: 0, payload, fds })?.payload;
  const kick = (): unknown => say(M.SET_VRING_KICK, u64(0n), [40]);
  /** Everything but the kick; a base of undefined is never said. */
  const prepare = (size: number, base?: number): void => {
    say(M.SET_VRING_NUM, state(0, size));
    if (base !== undefined) say(M.SET_VRING_BASE, state(0, base));
    say(M.SET_VRING_ADDR, address(0x1000n, 0x2004n, 0x2008n));
  };
  const getBase = (): number => {
    const answer = say(M.GET_VRING_BASE, state(0, 0));
    assert.ok(answer?.kind === 'vringState');
    return answer.num;
  };
  say(M.SET_FEATURES, u64(features));
  return { device, say, kick, prepare, getBase };
}

t.test('F6: a packed ring has any number of entries from 1 to 32768', async (t) => {
  for (const size of [1, 2, 3, 100, 255, 256, 1000, 32767, 32768]) {
    const { device, kick, prepare } = rig();
    prepare(size);
    kick();
    t.match(device.started, [{ packed: true, size, base: 0x8000 }], `${size}`);
  }
  const { say } = rig();
  for (const size of [0, 32769, 65536, 0xffff_ffff]) {
    refuses(t, () => say(M.SET_VRING_NUM, state(0, size)), { field: 'num', message: /from 1 to 32768/ });
  }
});

t.test('F7: both event suppression areas are aligned to 4 bytes, the ring to 16', async (t) => {
  for (const [field, bad] of [
    ['desc', address(0x1008n, 0x2000n, 0x3000n)],
    ['avail', address(0x1000n, 0x2002n, 0x3000n)],
    ['used', address(0x1000n, 0x2000n, 0x3002n)],
  ] as const) {
    refuses(t, () => rig().say(M.SET_VRING_ADDR, bad), { field, message: /is not aligned to/ });
  }
  t.doesNotThrow(() => rig(VERSION_1).say(M.SET_VRING_ADDR, address(0x1000n, 0x2002n, 0x3000n)), 'split: 2 bytes do');
});

t.test('size and alignment are looked at again when the layout is chosen after them', async (t) => {
  const size = rig();
  size.prepare(100);
  size.say(M.SET_FEATURES, u64(VERSION_1));
  refuses(t, size.kick, { field: 'num', message: /100 is not a power of two/ });
  const alignment = rig(VERSION_1);
  alignment.say(M.SET_VRING_NUM, state(0, 256));
  alignment.say(M.SET_VRING_ADDR, address(0x1000n, 0x2002n, 0x3000n));
  alignment.say(M.SET_FEATURES, u64(VERSION_1 | PACKED));
  refuses(t, alignment.kick, { field: 'avail', message: /aligned to 4/ });
  const base = rig();
  base.prepare(256, 0x8005_8005);
  base.say(M.SET_FEATURES, u64(VERSION_1));
  refuses(t, base.kick, { field: 'num', message: /more than 16 bits/ });
});

t.test('SET_VRING_BASE: where a packed ring goes on', async (t) => {
  const cases: [said: number | undefined, begins: number, why: string][] = [
    [undefined, 0x8000, 'never said: a fresh ring, wrap counter 1'],
    [0x8000_8000, 0x8000, 'as QEMU writes a fresh ring'],
    [0x8000, 0x8000, "as DPDK's front end writes it: the low half is both"],
    [0x8007, 0x8007, 'the same, later'],
    [0x0007, 7, 'the same, wrap counter 0'],
    [0x8005_8005, 0x8005, 'nothing held back'],
    [0x0005_0005, 5, 'wrap counter 0'],
    [0x8003_8009, 0x8003, 'six descriptors were held back: they are taken again'],
    [0x80ff_0002, 0x80ff, 'the same, over the end of the ring'],
    [0x0000_0000, 0, 'first entry, wrap counter 0'],
  ];
  for (const [said, begins, why] of cases) {
    const { device, kick, prepare } = rig();
    prepare(256, said);
    kick();
    t.match(device.started, [{ base: begins }], why);
  }
});

t.test('SET_VRING_BASE beyond the ring is refused before the data plane could read there', async (t) => {
  for (const base of [0x8100, 0x0100, 0xffff, 0x8100_8000, 0x8000_8100, 0xffff_0000, 0xffff_ffff]) {
    const { device, kick, prepare } = rig();
    prepare(256, base);
    refuses(t, kick, { field: 'num', message: /entry \d+ of 256/ });
    t.strictSame(device.started, []);
  }
});

t.test('GET_VRING_BASE: both halves, also of a ring that never ran', async (t) => {
  const never = rig();
  t.equal(never.getBase(), 0x8000_8000);
  never.prepare(256, 0x8005);
  t.equal(never.getBase(), 0x8005, 'what was said is said back');
  t.equal(rig(VERSION_1).getBase(), 0);

  const { device, kick, prepare, getBase } = rig();
  prepare(256, 0x8000);
  kick();
  device.nextAvail = 0x8011;
  t.equal(getBase(), 0x8011_8011);
  kick();
  t.match(device.started.at(-1), { base: 0x8011 }, 'it goes on there, without another SET_VRING_BASE');
  device.nextAvail = 0x0003;
  t.equal(getBase(), 0x0003_0003);
});

t.test('F11: offload bits may change while a ring runs; what shapes the ring may not', async (t) => {
  const offers = VERSION_1 | PACKED | RUNTIME_FEATURES;
  const { device, say, kick, prepare } = rig(offers);
  prepare(256);
  kick();
  device.take();
  for (let bit = 0n; bit < 64n; bit++) {
    const mask = 1n << bit;
    if ((RUNTIME_FEATURES & mask) === 0n) continue;
    say(M.SET_FEATURES, u64(offers & ~mask));
    t.strictSame(device.take(), [`features 0x${(offers & ~mask).toString(16)}`], `bit ${bit}: told, and nothing stops`);
  }
  say(M.SET_FEATURES, u64(VERSION_1 | PACKED));
  for (const [changed, name] of [
    [VERSION_1, /VIRTIO_F_RING_PACKED/],
    [PACKED, /VIRTIO_F_VERSION_1/],
    [VERSION_1 | PACKED | (1n << 35n), /VIRTIO_F_IN_ORDER/],
    [VERSION_1 | PACKED | (1n << 15n), /VIRTIO_NET_F_MRG_RXBUF/],
    [VERSION_1 | PACKED | (1n << 29n), /VIRTIO_RING_F_EVENT_IDX/],
  ] as const) {
    refuses(t, () => say(M.SET_FEATURES, u64(changed)), { field: 'features', message: name });
  }
  t.strictSame(device.take(), ['features 0x500000000']);
});
