/** DPDK's testpmd on the other side of the socket: its virtio-user client, its vhost back end. Split rings. */
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { Testpmd, type TestpmdPortStats } from '../support/dpdk.js';
import { Lab } from '../support/lab.js';
import { startViaductTestpmd } from '../support/viaduct.js';

const MAC = '00:11:22:33:44:10';
const VIADUCT_LCORES = '0@0,1@1';
const DPDK_LCORES = '0@1,1@0';
const TRAFFIC_MS = 400;
const PATIENCE_MS = 15_000;
const TIMEOUT_MS = 90_000;
const LOOPED = 20_000;

// The file's time, also when it runs without tap's runner.
t.setTimeout(600_000);

interface Pair {
  readonly lab: Lab;
  viaduct: Testpmd;
  dpdk: Testpmd;
}

interface Variant {
  /** More devargs of the virtio-user client. */
  readonly client?: string;
  /** More devargs of the vhost back end. */
  readonly backend?: string;
  readonly queues?: number;
  /** The virtio-user side listens. */
  readonly clientListens?: boolean;
}

function backendVdev(lab: Lab, variant: Variant): string {
  const { backend = '', queues = 1, clientListens = false } = variant;
  return `net_vhost0,iface=${lab.path('vh.sock')},queues=${queues}${clientListens ? ',client=1' : ''}${backend}`;
}

function clientVdev(lab: Lab, variant: Variant): string {
  const { client = '', queues = 1, clientListens = false } = variant;
  const listens = clientListens ? ',server=1' : '';
  return `net_virtio_user0,mac=${MAC},path=${lab.path('vh.sock')},queues=${queues}${listens}${client}`;
}

function queueArgs({ queues = 1 }: Variant): string[] {
  return queues === 1 ? [] : [`--rxq=${queues}`, `--txq=${queues}`];
}

function startViaduct(lab: Lab, vdev: string, variant: Variant): Promise<Testpmd> {
  return startViaductTestpmd(lab, 'viaduct', { vdev: [vdev], lcores: VIADUCT_LCORES, args: queueArgs(variant) });
}

function startDpdk(lab: Lab, vdev: string, variant: Variant): Promise<Testpmd> {
  return Testpmd.start(lab, 'dpdk', { vdev: [vdev], lcores: DPDK_LCORES, args: queueArgs(variant) });
}

async function connected(pair: Pair): Promise<Pair> {
  await pair.viaduct.linkUp();
  await pair.dpdk.linkUp();
  return pair;
}

/** Viaduct's vhost back end, DPDK's virtio-user client. Who listens is started first. */
async function openBackend(t: Test, variant: Variant = {}): Promise<Pair> {
  const lab = Lab.forTest(t, 'dpdk');
  if (variant.clientListens === true) {
    // DPDK waits for the back end before it goes on to its prompt.
    const starting = startDpdk(lab, `${clientVdev(lab, variant)},packed_vq=0`, variant);
    const viaduct = await startViaduct(lab, backendVdev(lab, variant), variant);
    return connected({ lab, viaduct, dpdk: await starting });
  }
  const viaduct = await startViaduct(lab, backendVdev(lab, variant), variant);
  const dpdk = await startDpdk(lab, `${clientVdev(lab, variant)},packed_vq=0`, variant);
  return connected({ lab, viaduct, dpdk });
}

/** Viaduct's virtio-user client, DPDK's vhost back end. */
async function openClient(t: Test, variant: Variant = {}): Promise<Pair> {
  const lab = Lab.forTest(t, 'dpdk');
  if (variant.clientListens === true) {
    const viaduct = await startViaduct(lab, clientVdev(lab, variant), variant);
    const dpdk = await startDpdk(lab, backendVdev(lab, variant), variant);
    return connected({ lab, viaduct, dpdk });
  }
  const dpdk = await startDpdk(lab, backendVdev(lab, variant), variant);
  const viaduct = await startViaduct(lab, clientVdev(lab, variant), variant);
  return connected({ lab, viaduct, dpdk });
}

/** One side makes frames, the other counts them: every frame and every byte that was sent is received. */
async function oneWay(t: Test, title: string, from: Testpmd, to: Testpmd, lengths: string): Promise<void> {
  await from.run('set fwd txonly');
  await to.run('set fwd rxonly');
  await from.run(`set txpkts ${lengths}`);
  for (const side of [from, to]) await side.run('clear port stats all');
  await to.run('start');
  await from.run('start');
  await sleep(TRAFFIC_MS);
  await from.run('stop');
  const sent = await from.stats();
  const received = await to.statsUntil(({ rxPackets }) => rxPackets >= sent.txPackets, PATIENCE_MS);
  await to.run('stop');
  t.ok(sent.txPackets > 1_000, `${title}, ${lengths} B: ${sent.txPackets} frames sent`);
  t.equal(received.rxPackets, sent.txPackets, 'as many received');
  t.equal(received.rxBytes, sent.txBytes, 'as many bytes');
  t.equal(received.rxErrors + received.rxNombuf + received.rxMissed, 0, 'no errors');
}

/** Frames go round between the two. Returns what the one who began has counted. */
async function loop(t: Test, first: Testpmd, second: Testpmd, least = LOOPED): Promise<TestpmdPortStats> {
  for (const side of [first, second]) {
    await side.run('stop');
    await side.run('set fwd io');
    await side.run('set txpkts 64');
    await side.run('clear port stats all');
  }
  await second.run('start');
  await first.run('start tx_first 8');
  const stats = await first.statsUntil(({ rxPackets }) => rxPackets >= least, PATIENCE_MS);
  t.ok(stats.rxPackets >= least, `frames go round: ${stats.rxPackets} came back`);
  return stats;
}

async function end(t: Test, { viaduct, dpdk }: Pair): Promise<void> {
  t.equal(await dpdk.quit(), 0, 'DPDK ends with status 0');
  t.equal(await viaduct.quit(), 0, 'Viaduct ends with status 0');
}

const backendVariants: readonly [title: string, variant: Variant][] = [
  ['as it is', {}],
  ['a ring of 1024', { client: ',queue_size=1024' }],
  ['no mergeable buffers', { client: ',mrg_rxbuf=0' }],
  ['no mergeable buffers, not in order', { client: ',mrg_rxbuf=0,in_order=0' }],
  ['not in order', { client: ',in_order=0' }],
  ['vectorised', { client: ',vectorized=1,mrg_rxbuf=0,in_order=0' }],
  ['the client listens', { clientListens: true }],
];
for (const [title, variant] of backendVariants) {
  t.test(`DPDK's virtio-user client, ${title}: exact counts both ways`, { timeout: TIMEOUT_MS }, async (t) => {
    const pair = await openBackend(t, variant);
    const { viaduct, dpdk } = pair;
    await oneWay(t, 'DPDK to Viaduct', dpdk, viaduct, '64');
    await oneWay(t, 'Viaduct to DPDK', viaduct, dpdk, '64');
    await oneWay(t, 'DPDK to Viaduct', dpdk, viaduct, '1518');
    await oneWay(t, 'Viaduct to DPDK', viaduct, dpdk, '1518');
    await oneWay(t, 'DPDK to Viaduct', dpdk, viaduct, '64,64,300');
    await oneWay(t, 'Viaduct to DPDK', viaduct, dpdk, '64,64,300');
    await loop(t, dpdk, viaduct);
    await end(t, pair);
  });
}

t.test("DPDK's virtio-user client with two queue pairs", { timeout: TIMEOUT_MS }, async (t) => {
  const pair = await openBackend(t, { queues: 2 });
  const { viaduct, dpdk } = pair;
  await oneWay(t, 'DPDK to Viaduct', dpdk, viaduct, '64');
  await oneWay(t, 'Viaduct to DPDK', viaduct, dpdk, '64');
  await loop(t, dpdk, viaduct);
  const xstats = await viaduct.run('show port xstats all');
  for (const name of ['rx_q0_packets', 'rx_q1_packets', 'tx_q0_packets', 'tx_q1_packets']) {
    t.ok(Number(new RegExp(`${name}: (\\d+)`).exec(xstats)?.[1]) > 0, `${name} counts`);
  }
  await end(t, pair);
});

t.test("DPDK's client is killed in full traffic and comes back", { timeout: TIMEOUT_MS }, async (t) => {
  const pair = await openBackend(t);
  for (let time = 1; time <= 3; time++) {
    await loop(t, pair.dpdk, pair.viaduct);
    await pair.dpdk.peer.kill();
    pair.dpdk = await startDpdk(pair.lab, `${clientVdev(pair.lab, {})},packed_vq=0`, {});
    await connected(pair);
  }
  await loop(t, pair.dpdk, pair.viaduct);
  await end(t, pair);
});

t.test('Viaduct is killed in full traffic and comes back', { timeout: TIMEOUT_MS }, async (t) => {
  // DPDK's client comes back by itself only when it is the one that listens.
  const variant = { clientListens: true };
  const pair = await openBackend(t, variant);
  for (let time = 1; time <= 2; time++) {
    await loop(t, pair.dpdk, pair.viaduct);
    await pair.viaduct.peer.kill();
    pair.viaduct = await startViaduct(pair.lab, backendVdev(pair.lab, variant), variant);
    await connected(pair);
  }
  await loop(t, pair.dpdk, pair.viaduct);
  await end(t, pair);
});

for (const clientListens of [false, true]) {
  const who = clientListens ? 'the client listens' : 'the back end listens';
  t.test(`Viaduct's virtio-user client, DPDK's back end, ${who}: exact counts`, { timeout: TIMEOUT_MS }, async (t) => {
    const pair = await openClient(t, { clientListens });
    const { viaduct, dpdk } = pair;
    await oneWay(t, 'Viaduct to DPDK', viaduct, dpdk, '64');
    await oneWay(t, 'DPDK to Viaduct', dpdk, viaduct, '64');
    await oneWay(t, 'Viaduct to DPDK', viaduct, dpdk, '1518');
    await oneWay(t, 'DPDK to Viaduct', dpdk, viaduct, '1518');
    await oneWay(t, 'Viaduct to DPDK', viaduct, dpdk, '64,64,300');
    await oneWay(t, 'DPDK to Viaduct', dpdk, viaduct, '64,64,300');
    await loop(t, viaduct, dpdk);
    await end(t, pair);
  });
}
