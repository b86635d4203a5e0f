/** What the data plane is told of a vring's layout and offloads, and of pairs that a guest enables and disables. */
import t from 'tap';
import {
  OFFLOAD_CSUM,
  OFFLOAD_ECN,
  OFFLOAD_TSO4,
  OFFLOAD_TSO6,
  OFFLOAD_UFO,
  OFFLOAD_USO4,
  OFFLOAD_USO6,
  PMD_VHOST,
  QUEUE_AVAIL,
  QUEUE_CALL_FD,
  QUEUE_DESC,
  QUEUE_GATE_STARTED,
  QUEUE_GATES,
  QUEUE_ID,
  QUEUE_KICK_FD,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_LOCK,
  QUEUE_OFFLOADS,
  QUEUE_PATH,
  QUEUE_PMD,
  QUEUE_POOL,
  QUEUE_RUN,
  QUEUE_SIZE,
  QUEUE_USED,
  QUEUE_VQ_FLAGS,
  QUEUE_VQ_SIZE,
  RUN_DISCARD,
  RUN_OFF,
  RUN_ON,
  VQ_EVENT_IDX,
  VQ_PATH_IN_ORDER,
  VQ_PATH_MERGEABLE,
  VQ_PATH_PACKED,
} from '../../assembly/layout.js';
import { IdentityMemory } from '../../src/drivers/vhost/memory.js';
import { VhostDevice } from '../../src/drivers/vhost/vhost-device.js';
import { virtqueueInfo } from '../../src/drivers/virtqueue-info.js';
import { hostMemory } from '../../src/eal/memory.js';
import { refuses } from './refuses.js';

const PAGES = 64;
const END = PAGES * 65536;
const DEVICE = 0x4_0000;
const QUEUE_BASE = 0x5_0000;
const bits = (...numbers: number[]): bigint => numbers.reduce((mask, n) => mask | (1n << BigInt(n)), 0n);
const VERSION_1 = bits(32);
const PACKED = bits(32, 34);

/** A device whose guest's memory is this memory: user address = linear address. */
function rig(pairs = 1) {
  const memory = hostMemory(new WebAssembly.Memory({ initial: PAGES, maximum: PAGES, shared: true }), END);
  const queues = Array.from({ length: 2 * pairs }, (_, n) => QUEUE_BASE + n * QUEUE_SIZE);
  for (const [vring, queue] of queues.entries()) {
    memory.i32[(queue + QUEUE_KICK_FD) >>> 2] = -1;
    memory.i32[(queue + QUEUE_CALL_FD) >>> 2] = -1;
    memory.u32[(queue + QUEUE_GATES) >>> 2] = QUEUE_GATE_STARTED;
    memory.u32[(queue + QUEUE_PMD) >>> 2] = PMD_VHOST;
    memory.u32[(queue + QUEUE_ID) >>> 2] = vring >>> 1;
    if (vring & 1) memory.u32[(queue + QUEUE_POOL) >>> 2] = 0x4_8000;
  }
  const log: string[] = [];
  const device = new VhostDevice({
    memory,
    device: DEVICE,
    vrings: queues,
    guestMemory: new IdentityMemory(END),
    wakeLcore() {},
    events: {
      linkUp: () => log.push('up'),
      linkDown: (reason) => log.push(`down: ${reason}`),
      vringState: (vring, enabled) => log.push(`vring ${vring} ${enabled}`),
    },
  });
  const share = (): void => {
    device.setMemoryTable([{ guestAddress: 0n, size: BigInt(END), userAddress: 0n, mmapOffset: 0n }], [0x7fff_ffff]);
    log.splice(0);
  };
  const q = (index: number, field: number): number => memory.u32[(queues[index]! + field) >>> 2]!;
  return { memory, device, queues, log, share, q };
}

const ring = (over: Partial<Parameters<VhostDevice['startVring']>[1]> = {}) => ({
  packed: true,
  size: 256,
  desc: 0x10_0000n,
  avail: 0x11_0004n,
  used: 0x11_0008n,
  base: 0x8005,
  ...over,
});

t.test('a packed ring is written down with its path, its flags and one position', async (t) => {
  const { device, queues, memory, share, q } = rig();
  device.setFeatures(PACKED | bits(15, 29, 35));
  share();
  t.equal(virtqueueInfo(memory, queues[1]!), undefined);
  device.startVring(1, ring());
  t.equal(q(1, QUEUE_PATH), VQ_PATH_PACKED | VQ_PATH_MERGEABLE | VQ_PATH_IN_ORDER);
  t.equal(q(1, QUEUE_VQ_FLAGS), VQ_EVENT_IDX);
  t.strictSame([q(1, QUEUE_DESC), q(1, QUEUE_AVAIL), q(1, QUEUE_USED)], [0x10_0000, 0x11_0004, 0x11_0008]);
  t.strictSame([q(1, QUEUE_LAST_AVAIL), q(1, QUEUE_LAST_USED)], [0x8005, 0x8005]);
  t.strictSame(virtqueueInfo(memory, queues[1]!), {
    layout: 'packed',
    path: 'packed in-order mergeable',
    ringSize: 256,
    eventIdx: true,
    indirect: false,
    enabled: false,
    running: false,
    offloads: [],
  });
  device.setVringEnabled(1, true);
  t.match(virtqueueInfo(memory, queues[1]!), { enabled: true, running: true });
  memory.u32[(queues[1]! + QUEUE_LAST_AVAIL) >>> 2] = 0x0009;
  t.equal(device.stopVring(1), 9, 'the position, wrap counter and all');
  t.equal(virtqueueInfo(memory, queues[1]!), undefined);
  device.setFeatures(VERSION_1);
  device.startVring(1, ring({ packed: false, avail: 0x12_0000n, used: 0x13_0000n, base: 5 }));
  t.equal(q(1, QUEUE_PATH), 0, 'the next driver may choose otherwise');
  t.match(virtqueueInfo(memory, queues[1]!), { layout: 'split', path: 'split' });
});

t.test('F7: the areas of a packed ring lie inside memory, and end where they end', async (t) => {
  const { device, share, q } = rig();
  device.setFeatures(PACKED);
  share();
  for (const [field, over] of [
    ['desc', { desc: BigInt(END - 256 * 16 + 16) }],
    ['desc', { size: 32768, desc: BigInt(END - 32768 * 16 + 16) }],
    ['avail', { avail: BigInt(END) }],
    ['avail', { avail: BigInt(END - 2) }],
    ['used', { used: (1n << 64n) - 4n }],
    ['used', { used: BigInt(END - 3) }],
    ['avail', { avail: 0x11_0002n }],
  ] as const) {
    refuses(t, () => device.startVring(0, ring(over)), { field });
    t.equal(q(0, QUEUE_VQ_SIZE), 0);
  }
  device.startVring(0, ring({ desc: BigInt(END - 256 * 16), avail: BigInt(END - 4), used: BigInt(END - 4) }));
  t.equal(q(0, QUEUE_VQ_SIZE), 256);
});

const HOST_ALL = OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6 | OFFLOAD_ECN | OFFLOAD_UFO | OFFLOAD_USO4 | OFFLOAD_USO6;

t.test(
  'offloads: HOST_ features on the ring that the guest sends on, GUEST_ on the other; they may change in flight',
  async (t) => {
    const { device, memory, queues, share, q } = rig();
    const all = PACKED | bits(0, 1, 7, 8, 9, 10, 11, 12, 13, 14, 54, 55, 56);
    device.setFeatures(all);
    share();
    t.equal(q(1, QUEUE_OFFLOADS), 0, 'not before the ring starts');
    for (const index of [0, 1]) {
      device.setVringEnabled(index, true);
      device.startVring(
        index,
        ring({
          desc: BigInt(0x10_0000 + index * 0x1000),
          avail: BigInt(0x11_0000 + 8 * index),
          used: BigInt(0x11_0100 + 8 * index),
        }),
      );
    }
    t.strictSame([q(0, QUEUE_OFFLOADS), q(1, QUEUE_OFFLOADS)], [HOST_ALL, HOST_ALL]);
    memory.u32[(queues[0]! + QUEUE_LAST_AVAIL) >>> 2] = 0x0077;
    device.setFeatures(PACKED | bits(0, 1, 7, 12));
    t.equal(q(0, QUEUE_OFFLOADS), OFFLOAD_CSUM | OFFLOAD_TSO4, 'the guest takes');
    t.equal(q(1, QUEUE_OFFLOADS), OFFLOAD_CSUM | OFFLOAD_TSO6, 'the guest asks');
    t.strictSame([q(0, QUEUE_RUN), q(1, QUEUE_RUN)], [RUN_ON, RUN_ON], 'F19: nothing stops');
    t.equal(q(0, QUEUE_LAST_AVAIL), 0x0077, 'and nothing begins anew');
    t.strictSame([q(0, QUEUE_LOCK), q(1, QUEUE_LOCK)], [0, 0]);
    device.setFeatures(PACKED);
    t.strictSame([q(0, QUEUE_OFFLOADS), q(1, QUEUE_OFFLOADS)], [0, 0]);
    device.reset();
    device.setFeatures(all);
    t.strictSame([q(0, QUEUE_OFFLOADS), q(1, QUEUE_OFFLOADS)], [0, 0], 'a ring that is gone has none');
  },
);

t.test('ethtool -L: pairs come and go, the link stays while the first lives', async (t) => {
  const { device, log, share, q } = rig(4);
  device.setFeatures(PACKED);
  share();
  for (let index = 0; index < 8; index++) {
    const at = 0x10_0000 + index * 0x2000;
    device.startVring(index, ring({ desc: BigInt(at), avail: BigInt(at + 0x1000), used: BigInt(at + 0x1004) }));
  }
  t.strictSame(log, [], 'all are there, none is enabled');
  const runs = (): number[] => Array.from({ length: 8 }, (_, index) => q(index, QUEUE_RUN));
  const disabled = [RUN_OFF, RUN_DISCARD];
  const enabled = [RUN_ON, RUN_ON];
  t.strictSame(runs(), [...disabled, ...disabled, ...disabled, ...disabled], 'what the guest sends is thrown away');
  const combined = (count: number): void => {
    for (let index = 0; index < 8; index++) device.setVringEnabled(index, index < 2 * count);
  };
  combined(1);
  t.strictSame(log.splice(0), ['vring 0 true', 'vring 1 true', 'up']);
  t.strictSame(runs(), [...enabled, ...disabled, ...disabled, ...disabled]);
  combined(3);
  t.strictSame(log.splice(0), ['vring 2 true', 'vring 3 true', 'vring 4 true', 'vring 5 true']);
  combined(2);
  t.strictSame(log.splice(0), ['vring 4 false', 'vring 5 false'], 'the link is still up');
  t.strictSame(runs(), [...enabled, ...enabled, ...disabled, ...disabled]);
  combined(0);
  t.match(log.splice(0), [
    'vring 0 false',
    /^down: the front end disabled vring 0/,
    'vring 1 false',
    'vring 2 false',
    'vring 3 false',
  ]);
});
