/**
 * Checksums, segmentation and queue pairs between two QEMU guests with Debian's kernel on `viaduct switch`: each guest has
 * several NICs, and each NIC another set of features, so that two boots are enough for every pair of them.
 */
import t, { type Test } from 'tap';
import { ETHTOOL, TCPDUMP } from '../support/initramfs.js';
import { Lab } from '../support/lab.js';
import type { Peer } from '../support/peer.js';
import { QemuGuest } from '../support/qemu.js';
import { startViaduct } from '../support/viaduct.js';

const START_MS = 20_000;
const STOP_MS = 15_000;
const RUN_MS = 60_000;
/** Ethernet header and MTU: no frame is longer unless both sides agreed to more. */
const PLAIN_FRAME = 1514;
/** A frame's mean length well above what an MTU allows: large packets, although acknowledgements count too. */
const LARGE_FRAME = 2500;
const TRANSFER = '12M';
/** A capture that is over soon: parsing it under TCG takes longer than sending it. */
const CAPTURED = 300;

const NO_TX = 'csum=off,gso=off,host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off';
const NO_LARGE_RX = 'guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off';

interface NicKind {
  readonly name: string;
  /** Options of QEMU's device. */
  readonly device?: string;
  readonly queues?: number;
  /** Sends packets above its MTU; receives them. */
  readonly largeTx: boolean;
  readonly largeRx: boolean;
}

const ALL: NicKind = { name: 'all offloads', largeTx: true, largeRx: true };
const NONE: NicKind = {
  name: 'no offload',
  device: `${NO_TX},guest_csum=off,${NO_LARGE_RX}`,
  largeTx: false,
  largeRx: false,
};
const PACKED: NicKind = { name: 'packed ring', device: 'packed=on', largeTx: true, largeRx: true };
const CHECKSUM: NicKind = {
  name: 'checksums, no segmentation',
  device: `gso=off,host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off,${NO_LARGE_RX}`,
  largeTx: false,
  largeRx: false,
};
const NO_MERGE: NicKind = { name: 'no mergeable buffers', device: 'mrg_rxbuf=off', largeTx: true, largeRx: true };
const QUEUES: NicKind = { name: 'two queue pairs', queues: 2, largeTx: true, largeRx: true };

const NICS_A = [ALL, NONE, PACKED, QUEUES];
const NICS_B = [ALL, NONE, CHECKSUM, NO_MERGE, QUEUES];

/** One NIC of each guest, in subnets of their own. */
interface Pair {
  readonly a: NicKind;
  readonly b: NicKind;
  readonly deviceA: string;
  readonly deviceB: string;
  /** Number of the subnets. */
  readonly net: number;
}

function pair(a: NicKind, b: NicKind): Pair {
  const [i, j] = [NICS_A.indexOf(a), NICS_B.indexOf(b)];
  return { a, b, deviceA: `eth${i}`, deviceB: `eth${j}`, net: 10 * i + j };
}

const PAIRS = [ALL, NONE, PACKED].flatMap((a) => [ALL, NONE, CHECKSUM, NO_MERGE].map((b) => pair(a, b)));
const QUEUE_PAIR = pair(QUEUES, QUEUES);

type Family = 'IPv4' | 'IPv6';
const FAMILIES: readonly Family[] = ['IPv4', 'IPv6'];

function address(family: Family, net: number, host: 1 | 2): string {
  return family === 'IPv4' ? `10.9.${net}.${host}` : `fd09:${net}::${host}`;
}

interface Site {
  readonly network: Peer;
  readonly a: QemuGuest;
  readonly b: QemuGuest;
}

async function openSite(t: Test): Promise<Site> {
  const lab = Lab.forTest(t, 'qemu-offloads');
  const ports = [
    ...NICS_A.map((nic, i) => [`a${i}`, nic] as const),
    ...NICS_B.map((nic, i) => [`b${i}`, nic] as const),
  ];
  const specs = ports.flatMap(([name, { queues }]) => [
    '--port',
    `vhost:${lab.path(`${name}.sock`)},queues=${queues ?? 1}`,
  ]);
  const network = startViaduct(lab, 'switch', ['switch', ...specs]);
  await network.waitFor(new RegExp(`${ports.length} ports`), START_MS);
  const boot = (name: string, kinds: readonly NicKind[], host: 1 | 2) =>
    QemuGuest.boot(lab, name, {
      nics: kinds.map(({ device, queues }, i) => ({
        path: lab.path(`${name}${i}.sock`),
        mac: `52:54:00:00:0${host}:0${i}`,
        ...(device === undefined ? {} : { device }),
        ...(queues === undefined ? {} : { queues }),
      })),
      programs: [ETHTOOL, TCPDUMP],
      cpus: 2,
    });
  const died = network.exited.then(() => {
    throw new Error(`the switch ended:\n${network.tail()}`);
  });
  died.catch(() => {});
  const [a, b] = await Promise.race([Promise.all([boot('a', NICS_A, 1), boot('b', NICS_B, 2)]), died]);
  await Promise.all([setUp(a, NICS_A.length, 1), setUp(b, NICS_B.length, 2)]);
  await b.must('iperf3 -s -D');
  return { network, a, b };
}

/** Gives each NIC its addresses. All NICs are on one wire: each answers for its own addresses only. */
async function setUp(guest: QemuGuest, count: number, host: 1 | 2): Promise<void> {
  const conf = '/proc/sys/net/ipv4/conf/all';
  await guest.must(`echo 1 >${conf}/arp_ignore; echo 2 >${conf}/arp_announce`);
  for (let nic = 0; nic < count; nic++) {
    const device = `eth${nic}`;
    const lines = [`echo 0 >/proc/sys/net/ipv6/conf/${device}/accept_dad`, `ip link set ${device} up`];
    for (const { net, deviceA, deviceB } of [...PAIRS, QUEUE_PAIR]) {
      if ((host === 1 ? deviceA : deviceB) !== device) continue;
      lines.push(`ip addr add ${address('IPv4', net, host)}/24 dev ${device}`);
      lines.push(`ip -6 addr add ${address('IPv6', net, host)}/64 dev ${device}`);
    }
    await guest.must(lines.join(' && '));
  }
}

interface Counters {
  readonly txBytes: number;
  readonly txPackets: number;
  readonly rxBytes: number;
  readonly rxPackets: number;
}

/** What the guest's driver counted: a large packet is one. */
async function counters(guest: QemuGuest, device: string): Promise<Counters> {
  const files = ['tx_bytes', 'tx_packets', 'rx_bytes', 'rx_packets'];
  const output = await guest.must(`cd /sys/class/net/${device}/statistics && cat ${files.join(' ')}`);
  const [txBytes = 0, txPackets = 0, rxBytes = 0, rxPackets = 0] = output.split(/\s+/).map(Number);
  return { txBytes, txPackets, rxBytes, rxPackets };
}

/** Mean length of the frames of one transfer, at both ends. */
interface Means {
  readonly mbitPerS: number;
  readonly txA: number;
  readonly rxA: number;
  readonly txB: number;
  readonly rxB: number;
}

/** Runs iperf3 from a guest to the other. Its own figures must show that the data arrived. */
async function transfer(site: Site, { deviceA, deviceB, net }: Pair, family: Family, option = ''): Promise<Means> {
  const { a, b } = site;
  const [a0, b0] = [await counters(a, deviceA), await counters(b, deviceB)];
  const line = `iperf3 -c ${address(family, net, 2)} -n ${TRANSFER} -i 0 -f m ${option}`;
  const output = await a.must(line, { timeoutMs: RUN_MS });
  const [a1, b1] = [await counters(a, deviceA), await counters(b, deviceB)];
  // of the slower way, where there are two
  const rates = [...output.matchAll(/([\d.]+) Mbits\/sec\s+receiver/g)].map((match) => Number(match[1]));
  const mbitPerS = rates.length === 0 ? 0 : Math.min(...rates);
  const mean = (before: Counters, after: Counters, way: 'tx' | 'rx') =>
    Math.round((after[`${way}Bytes`] - before[`${way}Bytes`]) / (after[`${way}Packets`] - before[`${way}Packets`]));
  return {
    mbitPerS,
    txA: mean(a0, a1, 'tx'),
    rxA: mean(a0, a1, 'rx'),
    txB: mean(b0, b1, 'tx'),
    rxB: mean(b0, b1, 'rx'),
  };
}

/** Mean lengths of one way, at its sender and at its receiver. */
function wayOf(means: Means, sender: 'A' | 'B'): readonly [tx: number, rx: number] {
  return sender === 'A' ? [means.txA, means.rxB] : [means.txB, means.rxA];
}

/** Whether the frames of one way are as large as they should be, where they should be large. */
function areLarge(means: Means, sender: 'A' | 'B', largeTx: boolean, largeRx: boolean): boolean {
  const [tx, rx] = wayOf(means, sender);
  return (!largeTx || tx > LARGE_FRAME) && (!largeRx || rx > LARGE_FRAME);
}

function sizes(t: Test, means: Means, sender: 'A' | 'B', largeTx: boolean, largeRx: boolean, title: string): void {
  const [tx, rx] = wayOf(means, sender);
  const judge = (mean: number, large: boolean) => (large ? mean > LARGE_FRAME : mean <= PLAIN_FRAME);
  const shown = (large: boolean) => (large ? 'large packets' : 'frames of the MTU');
  t.ok(means.mbitPerS > 0, `${title}: ${means.mbitPerS} Mbit/s`);
  t.ok(judge(tx, largeTx), `${title}: the sender counts ${shown(largeTx)}, ${tx} bytes on average`);
  t.ok(judge(rx, largeRx), `${title}: the receiver counts ${shown(largeRx)}, ${rx} bytes on average`);
}

/** `ethtool -k`: features that are on, and those that nobody can change. */
async function features(guest: QemuGuest, device: string): Promise<{ on: Set<string>; fixed: Set<string> }> {
  const on = new Set<string>();
  const fixed = new Set<string>();
  for (const [, name = '', state, note] of (await guest.must(`ethtool -k ${device}`)).matchAll(
    /^\s*([\w-]+): (on|off)( \[.*\])?/gm,
  )) {
    if (state === 'on') on.add(name);
    if (note === ' [fixed]') fixed.add(name);
  }
  return { on, fixed };
}

/** The names that `ethtool -K` takes, and what `ethtool -k` calls them. */
const FEATURES: readonly (readonly [short: string, long: string])[] = [
  ['tx', 'tx-checksumming'],
  ['rx', 'rx-checksumming'],
  ['sg', 'scatter-gather'],
  ['tso', 'tcp-segmentation-offload'],
  ['gso', 'generic-segmentation-offload'],
  ['gro', 'generic-receive-offload'],
  ['rx-gro-hw', 'rx-gro-hw'],
  ['lro', 'large-receive-offload'],
];

/** Checksums that the guests' kernels found wrong, over every protocol. */
async function badChecksums(guest: QemuGuest): Promise<number> {
  const lines = (await guest.must('cat /proc/net/snmp')).split('\n');
  let sum = 0;
  for (let i = 0; i + 1 < lines.length; i += 2) {
    const values = lines[i + 1]!.trim().split(/\s+/);
    lines[i]!.trim()
      .split(/\s+/)
      .forEach((name, at) => {
        if (name === 'InCsumErrors') sum += Number(values[at]);
      });
  }
  for (const [, count] of (await guest.must('cat /proc/net/snmp6')).matchAll(/^\w+InCsumErrors\s+(\d+)/gm)) {
    sum += Number(count);
  }
  return sum;
}

/** Runs iperf3 into `b` while its tcpdump captures, and reads what tcpdump says of the checksums. */
async function capture(t: Test, site: Site, { deviceB, net }: Pair, family: Family, option: string, title: string) {
  const { a, b } = site;
  const protocol = option.includes('-u') ? 'udp' : 'tcp';
  const start = `tcpdump -Z root -n -i ${deviceB} -Q in -c ${CAPTURED} -w /tmp/capture ${protocol} 2>/tmp/tcpdump.txt &`;
  await b.must(start);
  await b.must('until grep -q listening /tmp/tcpdump.txt; do sleep 0.1; done');
  await a.must(`iperf3 -c ${address(family, net, 2)} -i 0 ${option}`, { timeoutMs: RUN_MS });
  await b.must('killall -INT tcpdump 2>/dev/null; wait; true');
  await b.must('tcpdump -Z root -n -vv -r /tmp/capture >/tmp/parsed.txt 2>/dev/null', { timeoutMs: RUN_MS });
  const count = async (pattern: string) => Number((await b.run(`grep -cE '${pattern}' /tmp/parsed.txt`)).output);
  const good = await count('cksum 0x[0-9a-f]+ \\(correct\\)|\\[udp sum ok\\]');
  const bad = await count('incorrect|bad udp cksum|bad cksum');
  const long = (
    await b.must(`tcpdump -Z root -n -r /tmp/capture 'greater ${PLAIN_FRAME + 1}' 2>/dev/null | wc -l`)
  ).trim();
  t.ok(good > 100, `${title}: tcpdump finds ${good} checksums correct`);
  t.equal(bad, 0, `${title}: and none wrong`);
  t.equal(long, '0', `${title}: no frame above the MTU`);
}

// The file's time, also when it runs without tap's runner.
t.setTimeout(280_000);

t.test('offloads between two guests', { timeout: 280_000 }, async (t) => {
  const site = await openSite(t);
  const { a, b, network } = site;
  const both = pair(ALL, ALL);

  await t.test('every pair of NICs', async (t) => {
    for (const link of PAIRS) {
      await a.reaches(address('IPv4', link.net, 2));
      for (const family of FAMILIES) {
        const title = `${link.a.name} and ${link.b.name}, ${family}`;
        const toB = [link.a.largeTx, link.a.largeTx && link.b.largeRx] as const;
        const toA = [link.b.largeTx, link.b.largeTx && link.a.largeRx] as const;
        // Both ways at once, the acknowledgements of the one count in the other: where they drown its data, it runs alone.
        const means = await transfer(site, link, family, '--bidir');
        const alone = async (sender: 'A' | 'B', large: readonly [boolean, boolean]): Promise<Means> =>
          areLarge(means, sender, ...large) ? means : transfer(site, link, family, sender === 'A' ? '' : '-R');
        sizes(t, await alone('A', toB), 'A', ...toB, `${title}, a to b`);
        sizes(t, await alone('B', toA), 'B', ...toA, `${title}, b to a`);
      }
    }
  });

  await t.test('ethtool -K turns one offload off on one side', async (t) => {
    for (const [short, long] of FEATURES) {
      const before = await features(a, both.deviceA);
      if (before.fixed.has(long) || !before.on.has(long)) {
        t.comment(`${short}: the guest's driver does not let it be changed; QEMU's device options cover it`);
        continue;
      }
      await a.must(`ethtool -K ${both.deviceA} ${short} off`);
      const after = await features(a, both.deviceA);
      t.notOk(after.on.has(long), `${long} is off in the sending guest`);
      for (const family of FAMILIES) {
        const tso = after.on.has(family === 'IPv4' ? 'tx-tcp-segmentation' : 'tx-tcp6-segmentation');
        sizes(t, await transfer(site, both, family), 'A', tso, tso, `${short} off, ${family}, it sends`);
        // rx-gro-hw too: QEMU does not tell a vhost-user back end what the guest does not want any more.
        const title = `${short} off, ${family}, it receives`;
        sizes(t, await transfer(site, both, family, '-R'), 'B', true, true, title);
      }
      const on = FEATURES.filter(([, name]) => before.on.has(name) && !before.fixed.has(name));
      await a.must(`ethtool -K ${both.deviceA} ${on.map(([name]) => `${name} on`).join(' ')}`);
    }
  });

  await t.test('tcpdump in a guest without offloads finds every checksum right', async (t) => {
    // GRO would join the frames before tcpdump sees them.
    for (const { deviceB } of [both, pair(ALL, NONE)]) await b.must(`ethtool -K ${deviceB} gro off`);
    const link = pair(ALL, NONE);
    for (const family of FAMILIES) {
      await capture(t, site, link, family, '-n 4M', `${family}, segmented by the switch`);
      await capture(t, site, link, family, '-u -l 1000 -b 20M -t 1', `${family}, UDP`);
    }
    await a.must(`ethtool -K ${link.deviceA} tso off`);
    for (const family of FAMILIES) {
      await capture(t, site, link, family, '-n 4M', `${family}, segmented by the sender, sums by the switch`);
    }
    await a.must(`ethtool -K ${link.deviceA} tx off`);
    await capture(t, site, both, 'IPv6', '-n 4M', 'sums by the sender');
    await a.must(`ethtool -K ${link.deviceA} tx on tso on`);
  });

  await t.test('ethtool -L in traffic', async (t) => {
    const { net, deviceA, deviceB } = QUEUE_PAIR;
    await a.reaches(address('IPv4', net, 2));
    await a.must(`iperf3 -c ${address('IPv4', net, 2)} -P 4 -t 8 -i 0 >/tmp/iperf.txt 2>&1 &`);
    const beforeChanges = network.position;
    for (const combined of [1, 2, 1, 2]) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      await b.must(`ethtool -L ${deviceB} combined ${combined}`);
      await a.must(`ethtool -L ${deviceA} combined ${combined}`);
      const shown = await b.must(`ethtool -l ${deviceB} | tail -1`);
      t.match(shown, new RegExp(`Combined:\\s+${combined}`), `combined ${combined} in traffic`);
    }
    for (const port of [NICS_A.indexOf(QUEUES), NICS_A.length + NICS_B.indexOf(QUEUES)]) {
      for (const state of ['enabled', 'disabled']) {
        const line = new RegExp(`port ${port} .*: queue pair 1 ${state}`);
        t.ok(
          await network.waitFor(line, RUN_MS, beforeChanges),
          `the switch says that port ${port}'s second pair is ${state}`,
        );
      }
    }
    await a.must('until grep -q "iperf Done" /tmp/iperf.txt; do sleep 0.2; done', { timeoutMs: RUN_MS });
    t.match(await a.must('cat /tmp/iperf.txt'), /SUM.*receiver/, 'iperf3 went on to its end');
    const queues = async () => {
      const text = await b.must(`ethtool -S ${deviceB}`);
      return [0, 1].map((n) => Number(new RegExp(`rx_queue_${n}_packets: (\\d+)`).exec(text)?.[1]));
    };
    const before = await queues();
    await a.must(`iperf3 -c ${address('IPv4', net, 2)} -P 8 -n 8M -i 0`, { timeoutMs: RUN_MS });
    const after = await queues();
    for (const n of [0, 1]) t.ok(after[n]! > before[n]!, `queue ${n} received ${after[n]! - before[n]!} packets`);
    t.match(await a.must(`ping -c 5 -i 0.2 ${address('IPv4', net, 2)}`), / 0% packet loss/, 'and ping loses nothing');
  });

  t.equal((await badChecksums(a)) + (await badChecksums(b)), 0, 'no kernel saw a wrong checksum');
  const from = network.position;
  t.same(await network.stop('SIGINT', STOP_MS), { code: 0, signal: null }, 'SIGINT ends the switch with status 0');
  const totals = network.outputSince(from);
  for (const [index, nic] of [...NICS_A, ...NICS_B].entries()) {
    const row =
      new RegExp(`^${index} \\S+\\s+([\\d,]+)\\s+([\\d,]+)\\s+([\\d,]+)\\s+([\\d,]+)`, 'm').exec(totals) ?? [];
    const [rxPackets = 0, rxBytes = 0, txPackets = 0, txBytes = 0] = row
      .slice(1)
      .map((cell) => Number(cell.replaceAll(',', '')));
    const title = `port ${index}, ${nic.name}: the switch counts`;
    const [rx, tx] = [Math.round(rxBytes / rxPackets), Math.round(txBytes / txPackets)];
    // The switch lengthens nobody's packets; the NICs with queues only carried data from a to b.
    if (!nic.largeTx) t.ok(rx <= PLAIN_FRAME, `${title} ${rx} bytes a packet from the guest`);
    if (!nic.largeRx) t.ok(tx <= PLAIN_FRAME, `${title} ${tx} bytes a packet to the guest`);
    if (index === NICS_A.indexOf(QUEUES)) t.ok(rx > LARGE_FRAME, `${title} ${rx} bytes a packet from the guest`);
    if (index === NICS_A.length + NICS_B.indexOf(QUEUES)) {
      t.ok(tx > LARGE_FRAME, `${title} ${tx} bytes a packet to the guest`);
    }
  }
  const lost = [...totals.matchAll(/^ {2}port \d+: (.*): [\d,]+ packets/gm)].map((match) => match[1]!);
  // A queue that ethtool -L turns off may have packets in its transmit ring: they are discarded, as vhost-user wants it.
  const usual = new Set(['tx ring full', 'rx disabled']);
  t.same(
    lost.filter((cause) => !usual.has(cause)),
    [],
    'it dropped nothing else than what full rings and disabled queues bring',
  );
});
