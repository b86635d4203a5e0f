/** What testpmd tells of ports and refuses them, as a child process over ports that need no OS. */
import t from 'tap';
import { Eal, Forwarder, Mempool, Port } from '../../src/index.js';
import { inTestpmdsWords, testpmdLogger } from '../../src/testpmd/remedies.js';
import { openEal, packetPool } from '../ethdev/rig.js';
import { openPort } from '../support/ports.js';
import { session, table } from './script.js';

const vhost = (devargs = ''): string[] => [
  '--vdev',
  `net_vhost0,iface=inproc:a,queues=2${devargs}`,
  '--vdev=net_virtio_user0,path=inproc:a,queues=2',
];

t.test('queues that a guest switches on are told of', async (t) => {
  const { stdout } = await session([...vhost(), '--', '-i', '--rxq=2', '--txq=2'], ['sleep 1', 'quit']);
  t.match(stdout, /Port 0: link state change event: up\n/);
  t.match(stdout, /Port 0: queue state event: queue pairs 0-1 enabled\n/);
  t.equal(stdout.split('queue state event').length, 2, 'one line');
});

t.test('the coalescing in force', async (t) => {
  await table(
    t,
    [...vhost(',coalesce-usecs=120,coalesce-frames=16,coalesce-adaptive=0'), '--', '-i'],
    [
      ['show port info 0', /\nInterrupt coalescing: usecs 120, frames 16, adaptive off\n/],
      ['show txq info 0 0', /\nInterrupt coalescing: usecs 120, frames 16, adaptive off\n/],
      ['show rxq info 0 0', /\nInterrupt coalescing: usecs 120, frames 16, adaptive off\n/],
      ['show port info 1', /^(?![\s\S]*coalescing)/],
    ], // biome-ignore format: a table
  );
  const { outputs } = await session([...vhost(',coalesce-usecs=0'), '--', '-i'], ['show port info 0']);
  t.match(outputs[0], /\nInterrupt coalescing: off\n/);
});

t.test('what cannot be had is refused when it is asked for, and nothing changes', async (t) => {
  await table(
    t,
    [...vhost(), '--vdev=net_ring0', '--', '-i'],
    [
      ['set txpkts 2048', ''],
      ['set txpkts 2049', /^length\[0\]=2049 > 2048, what mbuf_data_size=2176 leaves behind the headroom - give up\nSplit it into segments of at most 2048, or start testpmd with --mbuf-size=2177\n$/],
      ['show config txpkts', /Segment sizes: 2048\n/],
      ['port stop all', /Done\n$/],
      ['port config 2 rx_offload vlan_strip on', /^Error: rx offload VLAN_STRIP is not supported by port 2; it has: SCATTER\n$/],
      ['port config 2 rx_offload vlan_strip off', ''],
      ['port config 2 tx_offload tcp_tso on', /^Error: tx offload TCP_TSO is not supported by port 2; it has: MULTI_SEGS\n$/],
      ['port config 0 tx_offload mt_lockfree on', /^Error: tx offload MT_LOCKFREE is not supported by port 0; it has: VLAN_INSERT /],
      ['port 0 rxq 0 rx_offload tcp_lro on', /^Error: rx offload TCP_LRO is one of the whole port: say 'port config 0 rx_offload tcp_lro on'\n$/],
      ['port config 0 rx_offload tcp_lro on', ''],
      ['port 0 rxq 0 rx_offload tcp_lro on', ''],
      ['port 2 txq 0 tx_offload udp_cksum on', /^Error: tx offload UDP_CKSUM is not supported by port 2; /],
      ['port config all rxd 1000', /^Fail: input rxd \(1000\) must be a power of two from \d+ to \d+ for port 1\n$/],
      ['port config all rxq 3', /^Fail: input rxq \(3\) can't be greater than max_rx_queues \(2\) of port 0\n$/],
      ['port config all rxq 2', /^Port 1 has as many rx as tx queues: say 'port config all txq 2' too, before it starts\n$/],
      ['port start 1', /^Configuring Port 1 \(socket 0\)\n.*virtqueues come in pairs, make --rxq and --txq the same, or 'port config all rxq' and txq\n$/],
      ['port config all txq 2', ''],
      ['port start all', /Checking link statuses\.\.\.\nDone\n$/],
    ], // biome-ignore format: a table
  );
});

t.test("the API's remedies become testpmd's commands", async (t) => {
  const eal = await openEal(t);
  const port = await Port.probe(eal, 'net_vhost3,iface=inproc:words');
  const tiny = Mempool.createPktmbuf(eal, { name: 'tiny', count: 63, cacheSize: 0, dataRoomBytes: 32 });
  const good = packetPool(eal);
  const words = async (what: () => unknown): Promise<string> => {
    try {
      await what();
    } catch (error) {
      return inTestpmdsWords((error as Error).message);
    }
    return 'no error';
  };
  const id = port.id;
  const label = `port ${id} (net_vhost3)`;
  t.equal(
    await words(() => port.start()),
    `${label}: cannot start: it is not configured: say 'port start ${id}' first`,
  );
  t.equal(
    await words(() => port.configure({ rxQueueCount: 4, txQueueCount: 1 })),
    `${label}: 4 rx queues (--rxq, 'port config all rxq') must be an integer from 0 to 1: say queues=4 in its --vdev`,
  );
  port.configure({ rxQueueCount: 1, txQueueCount: 1 });
  t.match(await words(() => port.start()), `say 'port reset ${id}' first`);
  t.match(await words(() => port.rxQueueSetup(0, { mempool: tiny })), /32 bytes: start with a larger --mbuf-size$/);
  t.match(
    await words(() => port.rxQueueSetup(0, { mempool: good, offloads: ['TCP_LRO'] })),
    `is one of the whole port: say 'port config ${id} rx_offload tcp_lro on'`,
  );
  t.match(
    await words(() => port.rxQueueSetup(0, { mempool: good, descriptorCount: 40_000 })),
    /40000 rx descriptors \(--rxd, 'port config all rxd'\) must be/,
  );
  port.rxQueueSetup(0, { mempool: good });
  port.txQueueSetup(0);
  t.match(await words(() => new Forwarder(eal, { ports: [port] }).start()), `say 'port start ${id}' first`);
  await port.start();
  t.match(await words(() => port.configure({ rxQueueCount: 1, txQueueCount: 1 })), `say 'port stop ${id}' first`);
  const forwarder = new Forwarder(eal, { ports: [port], engine: 'txonly', txPackets: [3000] });
  t.match(await words(() => forwarder.start()), /split it with 'set txpkts', or start with a larger --mbuf-size$/);
});

t.test("a log line of a port names it once, and says what to do in testpmd's words", async (t) => {
  const lines: string[] = [];
  const eal = await Eal.init({ memoryMiB: 32, logger: testpmdLogger((line) => lines.push(line)) });
  t.teardown(() => eal.cleanup());
  const mempool = packetPool(eal);
  for (const [vdev, queues] of [
    ['net_vhost0,iface=inproc:few,queues=1', 1],
    ['net_virtio_user0,path=inproc:few,queues=2', 2],
  ] as const) {
    await openPort(eal, mempool, vdev, queues);
  }
  for (let turn = 0; turn < 200 && lines.length === 0; turn++) await new Promise((resolve) => setTimeout(resolve, 5));
  t.strictSame(lines, [
    '[net_virtio_user0] warning: the back end has 1 queue pairs, but the port is configured with 2: ' +
      "take 1 (--rxq and --txq, or 'port config all rxq' and txq), or give the back end 2 (net_vhost: queues=2); trying again",
  ]);
});
