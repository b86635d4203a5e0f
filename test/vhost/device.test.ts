/** The device record and its queues in host memory: what the data plane sees. No operating system needed. */
import t from 'tap';
import {
  DEVICE_FEATURES,
  DEVICE_REGION_COUNT,
  DEVICE_REGIONS,
  LCORE_BASE,
  QUEUE_AVAIL,
  QUEUE_CALL_FD,
  QUEUE_DESC,
  QUEUE_DEVICE,
  QUEUE_GATE_STARTED,
  QUEUE_GATES,
  QUEUE_HDR_LEN,
  QUEUE_KICK_FD,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_LOCK,
  QUEUE_MAX_CHAINS,
  QUEUE_MAX_TABLE,
  QUEUE_PATH,
  QUEUE_PEER,
  QUEUE_RUN,
  QUEUE_SIGNALLED_VALID,
  QUEUE_STOP_CAUSE,
  QUEUE_USED,
  QUEUE_VQ_FLAGS,
  QUEUE_VQ_SIZE,
  QUEUE_WAITER,
  REGION_LINEAR,
  REGION_SIZE,
  VQ_EVENT_IDX,
  VQ_PATH_MERGEABLE,
} from '../../assembly/layout.js';
import { type GuestMemory, IdentityMemory } from '../../src/drivers/vhost/memory.js';
import { VhostDevice } from '../../src/drivers/vhost/vhost-device.js';
import { hostMemory } from '../../src/eal/memory.js';
import type { MemoryRegion } from '../../src/vhost/messages.js';
import { refuses } from './refuses.js';

const PAGES = 64;
const DEVICE = 0x4_0000;
const QUEUES = [0x5_0000, 0x5_0400, 0x5_0800, 0x5_0c00];
const EVENT_IDX = 1n << 29n;
const INDIRECT = 1n << 28n;
const MRG_RXBUF = 1n << 15n;
const VERSION_1 = 1n << 32n;

/** A device over little host memory; "files" are windows at fixed linear addresses. */
function rig(useDescriptors = true) {
  const memory = hostMemory(new WebAssembly.Memory({ initial: PAGES, maximum: PAGES, shared: true }), PAGES * 65536);
  const log: string[] = [];
  const closed: number[] = [];
  const signalled: number[] = [];
  const woken: number[] = [];
  let linear = 0x10_0000;
  const mapped = new Set<number>();
  const guestMemory: GuestMemory = {
    onWarning: undefined,
    check() {},
    map(region: MemoryRegion) {
      linear += 0x10_0000;
      mapped.add(linear);
      // Every queue must be at rest while a region comes or goes.
      t.notOk(QUEUES.some((queue) => memory.u32[(queue + QUEUE_RUN) >>> 2] === 1));
      return { region, linear };
    },
    unmap(one) {
      t.notOk(QUEUES.some((queue) => memory.u32[(queue + QUEUE_RUN) >>> 2] === 1));
      t.ok(mapped.delete(one.linear));
    },
  };
  for (const queue of QUEUES) {
    memory.i32[(queue + QUEUE_KICK_FD) >>> 2] = -1;
    memory.i32[(queue + QUEUE_CALL_FD) >>> 2] = -1;
    memory.u32[(queue + QUEUE_GATES) >>> 2] = QUEUE_GATE_STARTED;
  }
  const device = new VhostDevice({
    memory,
    device: DEVICE,
    vrings: QUEUES,
    guestMemory: useDescriptors ? guestMemory : new IdentityMemory(memory.endAddress),
    ...(useDescriptors && {
      descriptors: {
        close: (fd: number) => closed.push(fd),
        signal: (fd: number) => signalled.push(fd),
        isEventfd: (fd: number) => fd !== 666,
        setNonBlocking() {},
      },
    }),
    wakeLcore: (lcoreId) => woken.push(lcoreId),
    events: {
      linkUp: () => log.push('up'),
      linkDown: (reason) => log.push(`down: ${reason}`),
      vringState: (vring, enabled) => log.push(`vring ${vring} ${enabled}`),
      warning: (message) => log.push(message),
    },
  });
  const q = (index: number, field: number): number => memory.u32[(QUEUES[index]! + field) >>> 2]!;
  const fd = (index: number, field: number): number => memory.i32[(QUEUES[index]! + field) >>> 2]!;
  return { memory, device, log, closed, signalled, woken, mapped, q, fd };
}

const region = (guestAddress: bigint, size = 0x10000n): MemoryRegion => ({
  guestAddress,
  size,
  userAddress: guestAddress + 0x7f00_0000_0000n,
  mmapOffset: 0n,
});
const USER = 0x7f00_0000_0000n;
const ring = (
  over: Partial<{ packed: boolean; size: number; desc: bigint; avail: bigint; used: bigint; base: number }> = {},
) => ({
  packed: false,
  size: 256,
  desc: USER + 0x1000n,
  avail: USER + 0x2000n,
  used: USER + 0x3000n,
  base: 9,
  ...over,
});

t.test('a vring that starts is written down for the data plane', async (t) => {
  const { memory, device, q } = rig();
  t.equal(q(0, QUEUE_DEVICE), DEVICE);
  device.setFeatures(VERSION_1 | EVENT_IDX | INDIRECT);
  t.equal(memory.u64[(DEVICE + DEVICE_FEATURES) >>> 3], VERSION_1 | EVENT_IDX | INDIRECT);
  device.setMemoryTable([region(0n)], [30]);
  device.setVringEnabled(0, true);
  t.equal(q(0, QUEUE_RUN), 0);
  memory.u32[(QUEUES[0]! + QUEUE_STOP_CAUSE) >>> 2] = 1;
  device.startVring(0, ring());
  const linear = memory.u32[(DEVICE + DEVICE_REGIONS + REGION_LINEAR) >>> 2]!;
  t.equal(q(0, QUEUE_VQ_SIZE), 256);
  t.equal(q(0, QUEUE_DESC), linear + 0x1000);
  t.equal(q(0, QUEUE_AVAIL), linear + 0x2000);
  t.equal(q(0, QUEUE_USED), linear + 0x3000);
  t.equal(q(0, QUEUE_HDR_LEN), 12);
  t.equal(q(0, QUEUE_VQ_FLAGS), VQ_EVENT_IDX);
  t.equal(q(0, QUEUE_MAX_TABLE), 256);
  t.equal(q(0, QUEUE_MAX_CHAINS), 1);
  t.equal(q(0, QUEUE_LAST_AVAIL), 9);
  t.equal(q(0, QUEUE_LAST_USED), 9);
  t.equal(q(0, QUEUE_SIGNALLED_VALID), 0);
  t.equal(q(0, QUEUE_STOP_CAUSE), 0, 'a fault of the last life is forgotten');
  t.equal(q(0, QUEUE_RUN), 1);
  t.equal(q(0, QUEUE_LOCK), 0);
});

t.test('header length and path follow the features', async (t) => {
  for (const [features, length, path, maxChains, maxTable] of [
    [0n, 10, 0, 1, 0],
    [VERSION_1, 12, 0, 1, 0],
    [MRG_RXBUF, 12, VQ_PATH_MERGEABLE, 256, 0],
    [INDIRECT, 10, 0, 1, 256],
  ] as const) {
    const { device, q } = rig();
    device.setFeatures(features);
    device.setMemoryTable([region(0n)], [30]);
    device.startVring(1, ring());
    t.equal(q(1, QUEUE_HDR_LEN), length);
    t.equal(q(1, QUEUE_PATH), path);
    t.equal(q(1, QUEUE_MAX_CHAINS), maxChains);
    t.equal(q(1, QUEUE_MAX_TABLE), maxTable);
  }
});

t.test('RUN is the join of three gates; link is up while the first pair can move packets', async (t) => {
  const { memory, device, log, q } = rig();
  device.setFeatures(VERSION_1);
  device.setMemoryTable([region(0n)], [30]);
  memory.u32[(QUEUES[1]! + QUEUE_GATES) >>> 2] = 0;
  device.startVring(0, ring());
  device.startVring(1, ring());
  t.strictSame([q(0, QUEUE_RUN), q(1, QUEUE_RUN)], [0, 0]);
  device.setVringEnabled(0, true);
  device.setVringEnabled(1, true);
  t.strictSame([q(0, QUEUE_RUN), q(1, QUEUE_RUN)], [1, 0], 'queue 1 is not started by its port');
  t.strictSame(log.splice(0), ['vring 0 true', 'vring 1 true', 'up']);
  device.setVringEnabled(1, false);
  t.strictSame(log.splice(0), ['vring 1 false', 'down: the front end disabled vring 1']);
  device.setVringEnabled(1, true);
  log.splice(0);
  memory.u32[(QUEUES[0]! + QUEUE_LAST_AVAIL) >>> 2] = 0x1_0005;
  t.equal(device.stopVring(0), 5, '16 bits');
  t.equal(q(0, QUEUE_RUN), 0);
  t.equal(q(0, QUEUE_DESC), 0);
  t.strictSame(log, ['vring 0 false', 'down: the front end stopped vring 0']);
});

t.test('F7: areas outside every region, across a border, beyond an end, not aligned in the file', async (t) => {
  const { device, log, q } = rig();
  device.setFeatures(VERSION_1 | EVENT_IDX);
  const odd = { ...region(0x100_0000n), userAddress: USER + 0x100_0002n };
  device.setMemoryTable([region(0n), region(0x10000n), odd], [30, 31, 32]);
  const end = USER + 0x10000n;
  const bad: [string, Parameters<typeof ring>[0]][] = [
    ['desc', { desc: 0n }],
    ['desc', { desc: USER - 0x10n }],
    ['desc', { desc: end - 256n * 16n + 16n }],
    ['desc', { desc: (1n << 64n) - 16n }],
    ['avail', { avail: end - 512n - 4n }],
    ['used', { used: end - 2048n - 4n }],
    ['desc', { desc: USER + 0x100_1010n }],
    ['desc', { size: 32768 }],
  ];
  for (const [field, over] of bad) {
    refuses(t, () => device.startVring(0, ring(over)), { field });
    t.equal(q(0, QUEUE_RUN), 0);
    t.equal(q(0, QUEUE_DESC), 0);
  }
  device.startVring(0, ring({ desc: end - 4096n }));
  device.startVring(1, ring({ avail: end - 518n }));
  device.startVring(2, ring({ used: end - 2056n }));
  t.not(q(0, QUEUE_DESC), 0, 'an area may end where its region ends');
  t.strictSame(log, []);
});

t.test('F8: SET_MEM_TABLE while the queues run finds the rings again', async (t) => {
  const { memory, device, closed, mapped, log, q } = rig();
  device.setFeatures(VERSION_1);
  device.setMemoryTable([region(0n)], [30]);
  for (const index of [0, 1]) {
    device.setVringEnabled(index, true);
    device.startVring(index, ring());
  }
  const before = q(0, QUEUE_DESC);
  memory.u32[(QUEUES[0]! + QUEUE_LAST_AVAIL) >>> 2] = 77;
  log.splice(0);
  device.setMemoryTable([region(0x100_0000n, 0x2000n), region(0n)], [31, 32]);
  t.not(q(0, QUEUE_DESC), before);
  t.equal(q(0, QUEUE_LAST_AVAIL), 77, 'it goes on where it was');
  t.strictSame([q(0, QUEUE_RUN), q(1, QUEUE_RUN)], [1, 1]);
  t.strictSame(log, [], 'nobody outside noticed');
  t.equal(mapped.size, 2);
  t.strictSame(closed, [30, 31, 32], 'a mapping needs no descriptor');
  const first = memory.u32[(DEVICE + DEVICE_REGIONS + REGION_LINEAR) >>> 2]!;
  t.equal(q(0, QUEUE_DESC), first + 0x1000, 'the largest region is the first record');

  device.setMemoryTable([region(0x100_0000n)], [33]);
  t.strictSame([q(0, QUEUE_RUN), q(1, QUEUE_RUN)], [0, 0], 'their memory is gone');
  t.match(log.splice(0), ['vring 0 false', 'vring 1 false', /^down/]);
  device.addMemoryRegion(region(0n), 34);
  t.strictSame([q(0, QUEUE_RUN), q(1, QUEUE_RUN)], [1, 1], 'and is back');
  device.removeMemoryRegion(region(0n));
  t.strictSame([q(0, QUEUE_RUN), q(1, QUEUE_RUN)], [0, 0]);
  t.equal(memory.u32[(DEVICE + DEVICE_REGION_COUNT) >>> 2], 1);
  const second = (DEVICE + DEVICE_REGIONS + REGION_SIZE) >>> 2;
  t.ok(
    memory.u32.subarray(second, second + 8).every((word) => word === 0),
    'no trace of a removed region',
  );
});

t.test('F9: kick and call again and again: only the last is open', async (t) => {
  const { device, closed, signalled, fd } = rig();
  for (let n = 0; n < 100; n++) {
    device.setVringKick(1, 100 + n);
    device.setVringCall(1, 300 + n);
    device.setVringErr(1, 500 + n);
  }
  t.equal(closed.length, 297);
  t.equal(fd(1, QUEUE_KICK_FD), 199);
  t.equal(fd(1, QUEUE_CALL_FD), 399);
  t.equal(signalled.length, 100, 'each call descriptor is signalled once: something may have been used before');
  device.reset();
  t.equal(closed.length, 300);
  t.equal(fd(1, QUEUE_KICK_FD), -1);
  t.equal(fd(1, QUEUE_CALL_FD), -1);
});

t.test('a descriptor that is no eventfd could block a lcore: refused and closed', async (t) => {
  const { device, closed } = rig();
  refuses(t, () => device.setVringKick(0, 666), { request: 'SET_VRING_KICK', field: 'fds' });
  refuses(t, () => device.setVringCall(0, 666), { request: 'SET_VRING_CALL', field: 'fds' });
  refuses(t, () => device.setVringErr(0, 666), { request: 'SET_VRING_ERR', field: 'fds' });
  t.strictSame(closed, [666, 666, 666]);
});

t.test('F15: reset in full run leaves nothing behind', async (t) => {
  const { memory, device, log, mapped, q } = rig();
  device.setFeatures(VERSION_1);
  device.setMemoryTable([region(0n)], [30]);
  for (const index of [0, 1]) {
    device.setVringEnabled(index, true);
    device.startVring(index, ring());
  }
  log.splice(0);
  device.reset('killed');
  t.strictSame(log, ['vring 0 false', 'vring 1 false', 'down: killed']);
  t.equal(mapped.size, 0);
  t.equal(memory.u32[(DEVICE + DEVICE_REGION_COUNT) >>> 2], 0);
  t.equal(memory.u64[(DEVICE + DEVICE_FEATURES) >>> 3], 0n);
  for (const index of [0, 1, 2, 3]) t.equal(q(index, QUEUE_GATES), QUEUE_GATE_STARTED, "the port's gate stays");
  device.reset();
  t.equal(log.length, 3, 'a second reset is silent');
});

t.test('a fault is signalled once, through the error descriptor', async (t) => {
  const { memory, device, signalled } = rig();
  device.setVringErr(1, 70);
  memory.u32[(QUEUES[1]! + QUEUE_STOP_CAUSE) >>> 2] = 2;
  memory.u32[(QUEUES[0]! + QUEUE_STOP_CAUSE) >>> 2] = 2;
  device.reportFaults();
  device.reportFaults();
  t.strictSame(signalled, [70]);
});

t.test('lcores that sleep are woken when their queue begins to run', async (t) => {
  const { memory, device, woken } = rig();
  memory.u32[(QUEUES[1]! + QUEUE_WAITER) >>> 2] = LCORE_BASE + 256 * 3;
  device.setFeatures(VERSION_1);
  device.setMemoryTable([region(0n)], [30]);
  device.startVring(1, ring());
  t.ok(woken.includes(3));
});

t.test('in-process: no descriptors, memory as it is, peers instead of eventfds', async (t) => {
  const { memory, device, q, fd } = rig(false);
  const whole = { guestAddress: 0n, userAddress: 0n, size: BigInt(memory.endAddress), mmapOffset: 0n };
  device.setFeatures(VERSION_1);
  refuses(t, () => device.setMemoryTable([{ ...whole, size: whole.size + 1n }], [0x7fff_ffff]), { field: 'region' });
  refuses(t, () => device.setMemoryTable([{ ...whole, userAddress: 0x1000n }], [0x7fff_ffff]), { field: 'region' });
  device.setMemoryTable([whole], [0x7fff_ffff]);
  device.setPeer(0, 0x6_0000);
  device.setVringKick(0, 55);
  device.setVringCall(0, 56);
  device.setVringEnabled(0, true);
  device.startVring(0, { packed: false, size: 8, desc: 0x8_0000n, avail: 0x8_1000n, used: 0x8_2000n, base: 0 });
  t.equal(q(0, QUEUE_DESC), 0x8_0000);
  t.equal(q(0, QUEUE_PEER), 0x6_0000);
  t.equal(fd(0, QUEUE_KICK_FD), -1);
  t.equal(fd(0, QUEUE_CALL_FD), -1);
  t.equal(q(0, QUEUE_RUN), 1);
  device.reset();
  t.equal(q(0, QUEUE_RUN), 0);
});
