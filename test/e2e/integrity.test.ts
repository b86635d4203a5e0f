import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { Flow, turn, until } from '../support/flow.js';
import { GuestMemory } from '../support/guest-memory.js';
import { Lab } from '../support/lab.js';
import { type Holdings, SwitchRig } from '../support/switch-rig.js';
import {
  type TestGuestOptions,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_VERSION_1,
  VIRTIO_NET_F_MRG_RXBUF,
} from '../support/test-guest.js';

/** Frames of the long run, both directions together. VIADUCT_INTEGRITY_FRAMES changes it. */
const FRAMES = Number(process.env.VIADUCT_INTEGRITY_FRAMES ?? 10_000_000);
const STALL_MS = 10_000;

/** Every length from 60 to 1514, short and long ones mixed. */
function mixedSize(sequence: number): number {
  return 60 + ((Math.imul(sequence, 0x9e3779b1) >>> 8) % 1455);
}

/** Runs the flows until each has sent `frames` and nothing is under way any more. */
async function run(rig: SwitchRig, flows: readonly Flow[], frames: number, dropsBefore = 0): Promise<void> {
  let progress = Date.now();
  for (let round = 0; ; round++) {
    let moved = 0;
    for (const flow of flows) moved += flow.send(frames);
    for (const flow of flows) moved += flow.receive();
    if (moved > 0) progress = Date.now();
    else {
      const missing = flows.reduce((sum, flow) => sum + flow.missing, 0);
      const allSent = flows.every((flow) => flow.sent === frames && flow.inFlight === 0);
      if (allSent && (missing === 0 || missing === rig.dropCount() - dropsBefore)) return;
      if (Date.now() - progress > STALL_MS) {
        const state = flows.map(({ sent, received, inFlight }) => ({ sent, received, inFlight }));
        throw new Error(`nothing moves: ${JSON.stringify({ state, drops: rig.dropCount(), stats: rig.l2.stats() })}`);
      }
    }
    if (round % 64 === 0 || moved === 0) await turn();
  }
}

/** Flows between two guests, one each way, on a switch of two ports. */
async function connectBoth(
  rig: SwitchRig,
  a: TestGuestOptions,
  b: TestGuestOptions,
  sizeOf: (sequence: number) => number,
) {
  const ends = [await rig.connect(0, a), await rig.connect(1, b)] as const;
  const flows = [new Flow(ends[0], ends[1], sizeOf), new Flow(ends[1], ends[0], sizeOf)] as const;
  const disconnect = async () => {
    await rig.disconnect(ends[0], 0);
    await rig.disconnect(ends[1], 1);
  };
  return { flows, disconnect };
}

/** The link is down before the control worker has closed the socket: then nothing may be left. */
async function checkHoldings(t: Test, rig: SwitchRig, before: Holdings): Promise<void> {
  const deadline = Date.now() + 2_000;
  while (rig.holdings().descriptors !== before.descriptors && Date.now() < deadline) await sleep(5);
  t.same(rig.holdings(), before, 'descriptors, windows and mbufs as before');
}

/** What holds of every run, however much was dropped. */
function checkFlows(t: Test, rig: SwitchRig, flows: readonly Flow[], frames: number, dropsBefore = 0): void {
  for (const flow of flows) {
    t.equal(flow.sent, frames, 'sent');
    t.equal(flow.altered, 0, 'none altered');
    t.equal(flow.misordered, 0, 'none twice, none late');
  }
  const missing = flows.reduce((sum, flow) => sum + flow.missing, 0);
  t.equal(missing, rig.dropCount() - dropsBefore, `the ${missing} missing frames were counted as dropped`);
}

// The file's time, also when it runs without tap's runner.
t.setTimeout(300_000);

t.test('10 million frames of mixed sizes: none altered, none lost but counted', { timeout: 240_000 }, async (t) => {
  const lab = Lab.forTest(t, 'integrity');
  const rig = await SwitchRig.open(lab, { ports: 2 });
  const before = rig.holdings();
  const ringSize = 1024;
  const wants = VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MRG_RXBUF;
  const { flows, disconnect } = await connectBoth(
    rig,
    { ringSize, wants: wants | VIRTIO_F_EVENT_IDX, txLayout: 'single' },
    { ringSize, wants: wants | VIRTIO_F_INDIRECT_DESC, txLayout: 'header-apart' },
    mixedSize,
  );
  await run(rig, flows, FRAMES / 2);
  checkFlows(t, rig, flows, FRAMES / 2);
  const delivered = flows[0].received + flows[1].received;
  t.ok(delivered >= FRAMES * 0.9, `${delivered} of ${FRAMES} frames delivered`);
  t.equal(rig.xstat(0, 'rx_good_packets') + rig.xstat(1, 'rx_good_packets'), FRAMES, 'the ports counted what was sent');
  t.equal(rig.xstat(0, 'tx_good_packets'), flows[1].received);
  t.equal(rig.xstat(1, 'tx_good_packets'), flows[0].received);
  await disconnect();
  await checkHoldings(t, rig, before);
});

/** Ordinary frames, and jumbo frames that need several mbufs and several receive buffers. */
function jumboSize(sequence: number): number {
  return sequence % 3 === 0 ? 2000 + ((Math.imul(sequence, 0x9e3779b1) >>> 8) % 7014) : mixedSize(sequence);
}

const MODERN = VIRTIO_F_VERSION_1;
const shapes: readonly { readonly name: string; readonly jumbo?: boolean; readonly options: TestGuestOptions }[] = [
  { name: 'legacy, header of 10 bytes apart', options: { wants: 0n, txLayout: 'header-apart' } },
  { name: 'legacy, header of 12 bytes', options: { wants: VIRTIO_NET_F_MRG_RXBUF, txLayout: 'header-apart' } },
  { name: 'modern, no mergeable buffers', options: { wants: MODERN, txLayout: 'segments' } },
  { name: 'chains of 64 bytes', options: { wants: MODERN, txLayout: 'segments', segmentBytes: 64 } },
  {
    name: 'indirect tables, event index',
    options: { wants: MODERN | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX, txLayout: 'indirect', segmentBytes: 100 },
  },
  {
    name: 'mergeable receive buffers of 256 bytes',
    options: { wants: MODERN | VIRTIO_NET_F_MRG_RXBUF, rxBufferBytes: 256, ringSize: 1024 },
  },
  {
    name: 'jumbo frames, mergeable and indirect',
    jumbo: true,
    options: {
      wants: MODERN | VIRTIO_NET_F_MRG_RXBUF | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX,
      txLayout: 'indirect',
      segmentBytes: 1500,
      ringSize: 512,
      maxFrameBytes: 9014,
    },
  },
];

t.test('every shape of chain and buffer, to and from every other', async (t) => {
  const frames = 5_000;
  const lab = Lab.forTest(t, 'shapes');
  const rig = await SwitchRig.open(lab, { ports: 2, mtu: 9000 });
  const before = rig.holdings();
  for (const [index, shape] of shapes.entries()) {
    const other = shapes[(index + 1) % shapes.length]!;
    // A guest without mergeable buffers has no room for jumbo frames: it exchanges ordinary ones only.
    const peer = shape.jumbo === true ? { ...shape.options, txLayout: 'single' as const } : other.options;
    const dropsBefore = rig.dropCount();
    const size = shape.jumbo === true ? jumboSize : mixedSize;
    const memory = () => ({ memory: new GuestMemory(rig.os, [{ guestAddress: 0x8000_0000, lengthBytes: 64 << 20 }]) });
    const { flows, disconnect } = await connectBoth(
      rig,
      { ...shape.options, ...memory() },
      { ...peer, ...memory() },
      size,
    );
    await run(rig, flows, frames, dropsBefore);
    t.comment(shape.name);
    checkFlows(t, rig, flows, frames, dropsBefore);
    t.ok(flows[0].received + flows[1].received > frames, 'most of them came');
    await disconnect();
    await checkHoldings(t, rig, before);
  }
});

t.test('a receiver that does not keep up: what it misses is counted, the sender goes on', async (t) => {
  const frames = 20_000;
  const lab = Lab.forTest(t, 'overload');
  const rig = await SwitchRig.open(lab, { ports: 2 });
  const { flows, disconnect } = await connectBoth(rig, {}, {}, mixedSize);
  const [there, back] = flows;
  // One frame back: from now on the switch knows where the receiver is.
  await run(rig, [back], 1);
  while (there.sent < frames) if (there.send(frames) === 0) await turn();
  await until('the switch took every frame', 10_000, () => {
    there.send(frames);
    return there.inFlight === 0;
  });
  t.ok(rig.dropCount() > frames / 2, `${rig.dropCount()} frames dropped, ring of 256 buffers`);
  await run(rig, [there], frames);
  checkFlows(t, rig, [there], frames);
  await disconnect();
  t.equal(rig.mempool.inUseCount, 0, 'every mbuf back in the pool');
});

t.test('queues are stopped and started again in full traffic: they go on where they were', async (t) => {
  const lab = Lab.forTest(t, 'restart');
  const rig = await SwitchRig.open(lab, { ports: 2 });
  const { flows, disconnect } = await connectBoth(rig, { ringSize: 1024 }, { ringSize: 1024 }, mixedSize);
  const { frontEnd } = flows[0].from;
  const { rx, tx } = frontEnd.guest.splitPairs[0]!;
  for (let time = 1; time <= 20; time++) {
    const goal = time * 1_000;
    while (flows[0].sent < goal) {
      for (const flow of flows) flow.send(goal);
      for (const flow of flows) flow.receive();
      await turn();
    }
    // In the middle of it: frames are under way in both directions.
    const bases = [await frontEnd.stopQueue(0), await frontEnd.stopQueue(1)];
    t.equal(bases[0], rx.usedIndex, 'every receive buffer that it took is given back');
    t.equal(bases[1], tx.usedIndex, 'every frame that it took is given back');
    flows[0].send();
    await turn();
    t.equal(tx.usedIndex, bases[1], 'a stopped queue is left alone');
    for (const [queue, base] of bases.entries()) await frontEnd.startQueue(queue, base);
    await frontEnd.enable(true);
    frontEnd.kick(1);
  }
  const frames = Math.max(flows[0].sent, flows[1].sent);
  await run(rig, flows, frames);
  checkFlows(t, rig, flows, frames);
  await disconnect();
});

t.test('a lcore that sleeps is woken by each kick, and a guest that sleeps by each call', async (t) => {
  const rounds = 200;
  const lab = Lab.forTest(t, 'sleep');
  const rig = await SwitchRig.open(lab, { ports: 2 });
  const worker = rig.eal.lcore(1);
  for (const wants of [MODERN, MODERN | VIRTIO_F_EVENT_IDX]) {
    const { flows, disconnect } = await connectBoth(rig, { wants }, { wants }, () => 64);
    const [there] = flows;
    const receiver = there.to.frontEnd;
    receiver.called(0);
    const sleepsBefore = worker.stats().sleeps;
    let slow = 0;
    for (let round = 1; round <= rounds; round++) {
      receiver.guest.pairs[0]!.rx.wantInterrupts(true);
      // Now and then it is in any other state: busy, on its way to sleep.
      if (round % 4 !== 0) await until('the lcore sleeps', 5_000, () => rig.isAsleep(1));
      const start = Date.now();
      there.send(round);
      await until('the frame comes', 5_000, () => receiver.guest.pairs[0]!.rx.hasUsed);
      if (Date.now() - start > 500) slow++;
      // the used index comes first, the interrupt behind it
      await until('its interrupt', 5_000, () => receiver.called(0));
      there.receive();
    }
    t.equal(there.received, rounds);
    t.ok(
      slow < rounds / 20,
      `${slow} of ${rounds} frames waited for more than half a second: the time-out woke the lcore`,
    );
    t.ok(worker.stats().sleeps > sleepsBefore + rounds / 2, 'it slept in between');

    receiver.guest.pairs[0]!.rx.wantInterrupts(false);
    receiver.called(0);
    for (let i = 1; i <= 50; i++) {
      there.send(rounds + i);
      await until('the frame comes', 5_000, () => there.receive() > 0);
    }
    t.notOk(receiver.called(0), 'no interrupt when none is wanted');
    await disconnect();
  }
});
