import t from 'tap';
import { parseAppOptions, refuseTxPackets } from '../../src/testpmd/app-options.js';
import { ealHelp, parseEalOptions } from '../../src/testpmd/eal-options.js';

const eal = (...args: string[]) => parseEalOptions(args);
const app = (...args: string[]) => parseAppOptions(args);

t.test('lcores in every form of DPDK', async (t) => {
  const on = (...pairs: [number, number?][]) => pairs.map(([id, cpu]) => (cpu === undefined ? { id } : { id, cpu }));
  const cases: [string[], object[]][] = [
    [['-l', '0,1'], on([0, 0], [1, 1])],
    [['-l', '0-1'], on([0, 0], [1, 1])],
    [['-l0-2,5'], on([0, 0], [1, 1], [2, 2], [5, 5])],
    [['--lcores', '0@0,1@1'], on([0, 0], [1, 1])],
    [['--lcores=0@1,1@0'], on([0, 1], [1, 0])],
    [['--lcores', '(0-1)@0'], on([0, 0], [1, 0])],
    [['--lcores', '(0,2)@1,3'], on([0, 1], [2, 1], [3, 3])],
    [['--lcores', '0-1'], on([0, 0], [1, 1])],
    [['--lcores', '(0-1)'], on([0], [1])],
    [['--lcores', '0@(1)'], on([0, 1])],
    [['-c', '0x5'], on([0, 0], [2, 2])],
    [['-c', 'f', '--main-lcore', '2'], on([2, 2], [0, 0], [1, 1], [3, 3])],
  ];
  for (const [args, lcores] of cases) t.strictSame(eal(...args).lcores, lcores, args.join(' '));
  const bad: [string[], RegExp][] = [
    [['-l', 'a'], /-l: 'a' in 'a' is no core/],
    [['-l', '1-0'], /'1-0'/],
    [['-l', '0,0'], /lcore 0 is named twice/],
    [['-l', '0,64'], /lcore 64 is too high.*63/],
    [['-l', ''], /no core/],
    [['--lcores', '0@(0,1)'], /names 2 CPUs/],
    [['--lcores', '0@'], /no core/],
    [['-c', '0'], /names no lcore/],
    [['-c', 'xyz'], /hexadecimal/],
    [['-l', '0', '-c', '1'], /given twice/],
    [['-l', '0', '--main-lcore', '3'], /3 is not among/],
  ];
  for (const [args, message] of bad) t.throws(() => eal(...args), { name: 'UsageError', message }, args.join(' '));
});

t.test('a whole DPDK command line is taken as it stands', async (t) => {
  const line = eal(
    ...[
      '-l',
      '0,1',
      '-n',
      '4',
      '-m',
      '512',
      '--no-pci',
      '--no-huge',
      '--in-memory',
      '--single-file-segments',
      '--legacy-mem',
    ],
    ...[
      '--file-prefix',
      'a',
      '--file-prefix=b',
      '--log-level',
      'lib.vhost:8',
      '--vdev',
      'net_vhost0,iface=/tmp/a,queues=2',
    ],
    ...['--vdev=net_null1', '--proc-type=auto', '--huge-unlink', '--huge-unlink=never'],
  );
  t.equal(line.memoryMiB, 512);
  t.strictSame(line.vdevs, ['net_vhost0,iface=/tmp/a,queues=2', 'net_null1'], 'in order: the first is port 0');
  t.equal(eal('--socket-mem', '256,128').memoryMiB, 384);
  t.equal(eal('--socket-mem=512,').memoryMiB, 512);
});

t.test('mistakes are named, with what is near or allowed', async (t) => {
  const bad: [() => unknown, RegExp][] = [
    [() => eal('--vdve', 'x'), /unknown option '--vdve', did you mean --vdev\?/],
    [() => eal('--file-prefx=a'), /'--file-prefx', did you mean --file-prefix\?/],
    [() => eal('--zzzzzzzz'), /unknown option '--zzzzzzzz'$/],
    [() => eal('stray'), /unknown argument 'stray'/],
    [() => eal('--vdev'), /--vdev needs a value: --vdev DEVICE/],
    [() => eal('--no-pci=1'), /--no-pci takes no value/],
    [() => eal('-m', '1e3'), /-m takes a whole number, got '1e3'/],
    [() => eal('-m', '5'), /-m must be between 16 and 2044, got 5/],
    [() => eal('-a', '0000:01:00.0'), /no PCI devices here/],
    [() => eal('--proc-type=secondary'), /no secondary processes/],
    [
      () => app('--forward-mode=noisy'),
      /'noisy' is none of io, mac, macswap, flowgen, rxonly, txonly, csum, icmpecho, 5tswap, l2/,
    ],
    [() => app('--forward-mode=macswp'), /did you mean macswap\?/],
    [() => app('--burst=513'), /--burst must be between 1 and 512/],
    [() => app('--burst', '0'), /between 1 and 512/],
    [() => app('--rxq=0'), /--rxq must be between 1/],
    [() => app('--eth-peer=0'), /--eth-peer takes PORT,MAC/],
    [() => app('--eth-peer=0,01:00:00:00:00:00'), /takes PORT,MAC/],
    [() => app('--eth-peer=99,02:00:00:00:00:00'), /port\) must be between 0 and 63/],
    [() => app('--port-topology=ring'), /none of paired, chained, loop/],
    [() => app('--txpkts=64,x'), /--txpkts takes a whole number, got 'x'/],
    [() => app('--txpkts=1,1,1,1,1,1,1,1,1'), /9 segments, at most 8/],
    [() => app('--nb-core=1'), /did you mean --nb-cores\?/],
  ];
  for (const [run, message] of bad) t.throws(run, { name: 'UsageError', code: 'ERR_USAGE', message });
});

t.test("testpmd's own options", async (t) => {
  const defaults = app();
  t.equal(defaults.forwardMode, 'io');
  t.equal(defaults.burst, 32);
  t.strictSame(defaults.txPackets, [64]);
  const o = app(
    ...[
      '-i',
      '-a',
      '--forward-mode=macswap',
      '--nb-cores=1',
      '--rxq=2',
      '--txq',
      '2',
      '--rxd=256',
      '--txd=512',
      '--burst=64',
    ],
    ...[
      '--mbcache=128',
      '--total-num-mbufs=8192',
      '--mbuf-size=4096',
      '--stats-period',
      '2',
      '--tx-first',
      '--port-topology=chained',
    ],
    ...[
      '--eth-peer=1,02:AA:00:00:00:01',
      '--txpkts=64,64',
      '--rss-ip',
      '--no-numa',
      '--nb-ports=2',
      '--cmdline-file=x',
    ],
  );
  t.match(o, {
    interactive: true,
    autoStart: true,
    txFirst: true,
    forwardMode: 'macswap',
    lcoreCount: 1,
    portCount: 2,
    rxQueueCount: 2,
    txQueueCount: 2,
    rxDescriptorCount: 256,
    txDescriptorCount: 512,
    burst: 64,
    mempoolCache: 128,
    mbufCount: 8192,
    mbufBytes: 4096,
    statsPeriodSeconds: 2,
    portTopology: 'chained',
    txPackets: [64, 64],
    commandFile: 'x',
  });
  t.strictSame([...o.ethPeers], [[1, '02:aa:00:00:00:01']]);
});

t.test('lengths of generated packets', async (t) => {
  t.equal(
    refuseTxPackets([64, 5000], 2176),
    'length[1]=5000 > 2048, what mbuf_data_size=2176 leaves behind the headroom - give up\n' +
      'Split it into segments of at most 2048, or start testpmd with --mbuf-size=5128',
  );
  t.match(refuseTxPackets([2049], 2176), /length\[0\]=2049 > 2048/);
  t.equal(refuseTxPackets([2048, 2048], 2176), undefined, 'as many as the room is');
  t.match(refuseTxPackets([60_000, 6000], 65_000), /total packet length=66000 > 65549 - give up/);
  t.throws(() => parseAppOptions(['--txpkts=2100']), { message: /--txpkts=2100: length\[0\]=2100 > 2048/ });
  t.strictSame(parseAppOptions(['--txpkts=2100', '--mbuf-size=4096']).txPackets, [2100]);
  t.equal(refuseTxPackets([20], 2176), 'total packet length=20 < 42 - give up', "testpmd's words");
  t.equal(refuseTxPackets([30, 30], 2176), undefined, 'the headers may be cut');
  t.strictSame(parseAppOptions(['--txpkts=30,30']).txPackets, [30, 30]);
  t.equal(refuseTxPackets([64, 1], 2176), undefined);
});

t.test('help names every option and stays within 100 columns', async (t) => {
  for (const line of ealHelp().split('\n')) t.ok(line.length <= 100, line);
  t.match(ealHelp(), /--vdev=DEVICE[\s\S]*--file-prefix=PREFIX/);
});
