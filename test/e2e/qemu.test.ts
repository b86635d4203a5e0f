/** Two QEMU guests with Debian's kernel on `viaduct switch`. */
import t, { type Test } from 'tap';
import { Lab } from '../support/lab.js';
import type { Peer } from '../support/peer.js';
import { QemuGuest } from '../support/qemu.js';
import { startViaduct } from '../support/viaduct.js';

const TIMEOUT_MS = 150_000;
const ADDRESS_A = '10.9.0.1';
const ADDRESS_B = '10.9.0.2';
const IPERF_SECONDS = 2;
/** Far below what anything that works reaches (hundreds), far above what retransmissions alone would bring. */
const LEAST_MBIT_PER_S = 20;
const START_MS = 20_000;
const STOP_MS = 15_000;

interface Site {
  readonly lab: Lab;
  readonly a: QemuGuest;
  readonly b: QemuGuest;
  network: Peer;
}

type Role = 'client' | 'server';

async function startSwitch(lab: Lab, qemu: Role): Promise<Peer> {
  const client = qemu === 'server' ? ',client=1' : '';
  const ports = ['a', 'b'].flatMap((name) => ['--port', `vhost:${lab.path(`${name}.sock`)}${client}`]);
  const network = startViaduct(lab, 'switch', ['switch', ...ports]);
  await network.waitFor(/2 ports/, START_MS);
  return network;
}

/** Starts the switch, then both guests. `qemu` is what QEMU is on the sockets. */
async function openSite(t: Test, qemu: Role): Promise<Site> {
  const lab = Lab.forTest(t, `qemu-${qemu}`);
  const network = await startSwitch(lab, qemu);
  const server = qemu === 'server';
  const boot = (name: string, mac: string, address: string) =>
    QemuGuest.boot(lab, name, { nics: [{ path: lab.path(`${name}.sock`), mac, server }], address: `${address}/24` });
  const [a, b] = await Promise.all([
    boot('a', '52:54:00:00:00:01', ADDRESS_A),
    boot('b', '52:54:00:00:00:02', ADDRESS_B),
  ]);
  return { lab, a, b, network };
}

async function ping(t: Test, from: QemuGuest, address: string): Promise<void> {
  const output = await from.must(`ping -c 5 -i 0.2 ${address}`);
  t.match(output, /5 packets transmitted, 5 packets received, 0% packet loss/, `${from.name} pings ${address}`);
}

async function iperf(t: Test, from: QemuGuest, address: string, title: string, ...options: string[]): Promise<void> {
  const line = `iperf3 -c ${address} -t ${IPERF_SECONDS} -f m ${options.join(' ')}`;
  const output = await from.must(line, { timeoutMs: 60_000 });
  const rate = Number(/([\d.]+) Mbits\/sec\s+receiver/.exec(output)?.[1] ?? 0);
  t.ok(rate > LEAST_MBIT_PER_S, `iperf3 ${title}: ${rate} Mbit/s`);
}

/** SIGINT: the totals, and status 0. */
async function endSwitch(t: Test, network: Peer): Promise<void> {
  const from = network.position;
  const exit = await network.stop('SIGINT', STOP_MS);
  t.same(exit, { code: 0, signal: null }, 'SIGINT ends the switch with status 0');
  t.match(network.outputSince(from), /total/i, 'and with totals');
}

// The file's time, also when it runs without tap's runner.
t.setTimeout(600_000);

t.test('ping and iperf3, QEMU connects to the switch', { timeout: TIMEOUT_MS }, async (t) => {
  const { a, b, network } = await openSite(t, 'client');
  await a.reaches(ADDRESS_B);
  await ping(t, a, ADDRESS_B);
  await ping(t, b, ADDRESS_A);
  await b.must('iperf3 -s -D');
  await iperf(t, a, ADDRESS_B, 'a to b');
  await iperf(t, a, ADDRESS_B, 'b to a', '-R');
  await ping(t, a, ADDRESS_B);
  await endSwitch(t, network);
});

t.test('ping and iperf3, the switch connects to QEMU', { timeout: TIMEOUT_MS }, async (t) => {
  const { a, b, network } = await openSite(t, 'server');
  await a.reaches(ADDRESS_B);
  await ping(t, a, ADDRESS_B);
  await b.must('iperf3 -s -D');
  await iperf(t, a, ADDRESS_B, 'a to b');
  await iperf(t, a, ADDRESS_B, 'b to a', '-R');
  await endSwitch(t, network);
});

for (const qemu of ['client', 'server'] as const) {
  t.test(`a guest and the switch are killed in full traffic, QEMU as ${qemu}`, { timeout: TIMEOUT_MS }, async (t) => {
    const site = await openSite(t, qemu);
    const { lab, a, b } = site;
    await a.reaches(ADDRESS_B);

    // The guest: kill -9 while iperf3 sends to it, then it boots again.
    await b.must('iperf3 -s -D');
    await a.must(`iperf3 -c ${ADDRESS_B} -t 60 >/tmp/iperf.txt 2>&1 &`);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    t.equal((await b.kill()).signal, 'SIGKILL');
    t.equal(site.network.exit, undefined, 'the switch lives');
    await b.start();
    await a.reaches(ADDRESS_B);
    await ping(t, a, ADDRESS_B);
    await a.run('killall -9 iperf3');

    // The switch: its socket files stay behind, the guests' queues are in the middle of everything.
    await b.must('iperf3 -s -D');
    await a.must(`iperf3 -c ${ADDRESS_B} -t 60 >/tmp/iperf.txt 2>&1 &`);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    t.equal((await site.network.kill()).signal, 'SIGKILL');
    site.network = await startSwitch(lab, qemu);
    await a.run('killall -9 iperf3');
    await a.reaches(ADDRESS_B);
    await ping(t, a, ADDRESS_B);
    await ping(t, b, ADDRESS_A);
    await endSwitch(t, site.network);
  });
}
