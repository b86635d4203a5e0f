/** Offload, checksum, queue and port commands of the real thing, as a child process over ports that need no OS. */
import t from 'tap';
import { UsageError } from '../../src/cli/usage-error.js';
import { parseAppOptions } from '../../src/testpmd/app-options.js';
import * as format from '../../src/testpmd/format-offloads.js';
import { inBitOrder, offloadMask, offloadsOfMask, RX_OFFLOADS, TX_OFFLOADS } from '../../src/testpmd/offloads.js';
import { session, table } from './script.js';

const PAIR = [
  '--vdev',
  'net_vhost0,iface=inproc:a,queues=2,tso=1',
  '--vdev',
  'net_virtio_user0,path=inproc:a,queues=2',
];
const RINGS = ['--vdev', 'net_ring0,wire=a', '--vdev=net_ring1,wire=a'];

t.test('checksums, segmentation and offloads: asked of a stopped port, in force when it starts', async (t) => {
  await table(
    t,
    [...PAIR, '--', '-i', '--rxq=2', '--txq=2', '--enable-rx-cksum'],
    [
      ['csum set ip hw 0', /^Please stop port 0 first\n$/],
      ['tso set 800 0', /^Please stop port 0 first\n$/],
      ['port config 0 rx_offload vlan_strip on', /^Error: Can't config offload when Port 0 is not stopped\n$/],
      ['port config all rxq 1', /^Please stop all ports first\n$/],
      ['port start 0', /^Port 0 is now not stopped\nPlease stop the ports first\nDone\n$/],
      ['port reset 0', /^Can not reset port\(s\), please stop port\(s\) first\.\n$/],
      ['port close 0', /^Closing ports\.\.\.\nCannot close started device \(port 0\)\nDone\n$/],
      ['show port 0 rx_offload configuration', / {2}Port : IPV4_CKSUM UDP_CKSUM TCP_CKSUM\n {2}Queue\[ 0\] : IPV4_CKSUM/],
      ['show port 0 tx_offload capabilities', /^Tx Offloading Capabilities of port 0 :\n {2}Per Queue :.* TCP_CKSUM TCP_TSO/],
      ['csum show 0', /^Parse tunnel is off\nIP checksum offload is sw\nUDP checksum offload is sw\nTCP checksum offload is sw\n/],
      ['port stop all', /^Stopping ports\.\.\.\nChecking link statuses\.\.\.\nDone\n$/],
      ['csum set ip hw 0', /IP checksum offload is hw\nUDP checksum offload is sw\n/],
      ['csum set tcp hw 0', /TCP checksum offload is hw\nSCTP checksum offload is sw\nOuter-Ip checksum offload is sw\n/],
      ['csum set sctp hw 0', /^SCTP checksum offload is not supported by port 0\nParse tunnel is off\n/],
      ['csum set ip sw 0', /IP checksum offload is sw\n/],
      ['csum set udp both 0', /^Bad arguments\nat 'both', expected: \(hw\|sw\)/],
      ['csum mac-swap off 0', ''],
      ['csum show 9', /^Invalid port 9\nThe valid ports array is \[ 0 1 \]/],
      ['tso set 800 0', /^TSO segment size for non-tunneled packets is 800\n$/],
      ['tso set 70000 0', /^Error: a TSO segment of 70000 bytes is more than 65535\n$/],
      ['tso show 0', /^TSO segment size for non-tunneled packets is 800\n$/],
      ['tso show 1', /^TSO for non-tunneled packets is disabled\n$/],
      ['port 0 rxq 1 rx_offload vlan_strip on', ''],
      ['port 0 rxq 2 rx_offload vlan_strip on', /^Error: input queue_id should be 0 \.\.\. 1\n$/],
      ['port 1 txq 0 tx_offload ipv4_cksum on', ''],
      ['show port 0 tx_offload configuration', / {2}Port :\n {2}Queue\[ 0\] : TCP_CKSUM TCP_TSO\n/],
      ['port start all', /^Configuring Port 0 \(socket 0\)\nPort 0: 02:.*\nConfiguring Port 1 [\s\S]*Checking link statuses\.\.\.\nDone\n$/],
      ['show port 0 tx_offload configuration', / {2}Port : TCP_CKSUM TCP_TSO\n {2}Queue\[ 0\] : TCP_CKSUM TCP_TSO\n/],
      ['show port 0 rx_offload configuration', /Queue\[ 0\] : IPV4_CKSUM UDP_CKSUM TCP_CKSUM\n {2}Queue\[ 1\] : VLAN_STRIP IPV4_CKSUM/],
      ['show config rxtx', /port 0: RX queue number: 2 [\s\S]*Rx offloads=0xe Tx offloads=0x28[\s\S]*port 1:[\s\S]*TX offloads=0x2\n/],
      ['sleep 1', ''],
      ['show rxq info 0 1', /Infos for port 0 , RX queue 1 [\s\S]*Mempool: mb_pool_0\n[\s\S]*RX offloads: VLAN_STRIP [\s\S]*Virtqueue size: 256\n/],
      ['show txq info 1 0', /TX queue 0 [\s\S]*Number of TXDs: 256\nTX offloads: IPV4_CKSUM\nBurst mode: split/],
      ['show txq info 1 7', /^Invalid Tx queue_id=7\nFailed to retrieve information for port: 1, TX queue: 7\nerror desc: Invalid argument\(-22\)\n$/],
      ['show rxq info 7 0', /^Invalid port_id=7\nFailed to retrieve information for port: 7, RX queue: 0\nerror desc: No such device\(-19\)\n$/],
      ['set fwd csum', /^Set csum packet forwarding mode\n$/],
      ['start tx_first 2', /^csum packet forwarding - ports=2 - cores=1 - streams=4/],
      ['sleep 1', ''],
      ['port stop 0', /^Stopping ports\.\.\.\nPlease remove port 0 from forwarding configuration\.\nDone\n$/],
      ['stop', /------- Forward Stats for RX Port= 0\/Queue= 1 -> TX Port= 1\/Queue= 1 -------\n {2}RX-packets: \d+ +TX-packets: \d+ +TX-dropped: 0 +RX- bad IP checksum: 0 +Rx- bad L4 checksum: 0 /],
    ], // biome-ignore format: a table
  );
});

t.test('queue counts, resets, counters that are 0', async (t) => {
  await table(
    t,
    [...RINGS, '--', '-i'],
    [
      ['tso set 800 0', /^Please stop port 0 first\n$/],
      ['port stop all', /Done\n$/],
      ['tso set 800 0', /^Error: TSO is not supported by port 0\n$/],
      ['csum set ip hw 0', /^IP checksum offload is not supported by port 0\nParse tunnel is off\nIP checksum offload is sw\n/],
      ['port config all rxq 2000', /^Fail: input rxq \(2000\) can't be greater than max_rx_queues \(16\) of port 0\n$/],
      ['port config all rxq 2', ''],
      ['port config all txq 2', ''],
      ['port config all rxd 512', ''],
      ['port config all txd 0', /^txd 0 <= 0 - invalid\n$/],
      ['port config mtu 0 10', /^MTU \(10\) < device min MTU \(68\) for port_id 0\n$/],
      ['port config mtu 0 1400', ''],
      ['port config all burst 8', /^Number of packets per burst set to 8\n$/],
      ['start', /^Not all ports were started\n$/],
      ['port start all', /^Configuring Port 0 \(socket 0\)\n/],
      ['show config rxtx', /packets\/burst=8\n[\s\S]*RX queue number: 2 Tx queue number: 2\n[\s\S]*RX desc=512\n/],
      ['show port info 0', /MTU: 1400\n/],
      ['set flow 0', /ignored\n$/],
      ['set flow 64', /^Number of flows set to 64\n$/],
      ['set fwd flowgen', /^Set flowgen packet forwarding mode\n$/],
      ['set txpkts 64,64', ''],
      ['start', /^flowgen packet forwarding - ports=2 - cores=1 - streams=4[\s\S]*packet len=128 - nb packet segments=2\n/],
      ['sleep 1', ''],
      ['stop', /------- Forward Stats for RX Port= 1\/Queue= 1 -> TX Port= 0\/Queue= 1 -------\n {2}RX-packets: [1-9]/],
      ['set xstats-hide-zero on', ''],
      ['show port xstats 0', /^###### NIC extended statistics for port 0 \nrx_good_packets: [1-9]\d*\n(\w+: [1-9]\d*\n)+$/],
      ['port stop 0', /Checking link statuses\.\.\.\nDone\n$/],
      ['port reset 0', /^Resetting ports\.\.\.\nDone\n$/],
      ['show port stats 0', /RX-packets: 0 /],
      ['port close 0', /^Closing ports\.\.\.\nPort 0 is closed\nDone\n$/],
      ['csum show 0', /^Invalid port 0/],
    ], // biome-ignore format: a table
  );
});

t.test('icmpecho answers through the port that asked', async (t) => {
  await table(
    t,
    [...RINGS, '--', '-i', '--forward-mode=icmpecho'],
    [['show config fwd', /RX P=0\/Q=0 \(socket 0\) -> TX P=0\/Q=0 [\s\S]*RX P=1\/Q=0 \(socket 0\) -> TX P=1\/Q=0 /]],
  );
});

t.test('masks are DPDK’s', async (t) => {
  t.strictSame([...offloadsOfMask(RX_OFFLOADS, '0xe', '--rx-offloads')], ['IPV4_CKSUM', 'UDP_CKSUM', 'TCP_CKSUM']);
  t.strictSame([...offloadsOfMask(TX_OFFLOADS, '8021', '--tx-offloads')], ['VLAN_INSERT', 'TCP_TSO', 'MULTI_SEGS']);
  t.equal(offloadMask(TX_OFFLOADS, ['MULTI_SEGS', 'IPV4_CKSUM']), 0x8002);
  t.strictSame(inBitOrder(RX_OFFLOADS, ['TCP_LRO', 'VLAN_STRIP', 'TCP_LRO']), ['VLAN_STRIP', 'TCP_LRO']);
  t.throws(() => offloadsOfMask(RX_OFFLOADS, '0x800', '--rx-offloads'), {
    message: /no offload here has the bits 0x800/,
  });
  for (const bad of ['', 'all', '0xg']) t.throws(() => offloadsOfMask(RX_OFFLOADS, bad, '--rx-offloads'), UsageError);
});

t.test('options', async (t) => {
  const rx = (...args: string[]) => [...parseAppOptions(args).rxOffloads];
  t.strictSame(rx('--enable-rx-cksum'), ['IPV4_CKSUM', 'UDP_CKSUM', 'TCP_CKSUM']);
  t.strictSame(rx('--enable-hw-vlan-strip', '--enable-lro', '--enable-scatter'), ['VLAN_STRIP', 'TCP_LRO', 'SCATTER']);
  t.strictSame(rx('--rx-offloads=0x1'), ['VLAN_STRIP']);
  t.strictSame([...parseAppOptions(['--tx-offloads=0x20']).txOffloads], ['TCP_TSO']);
  t.equal(parseAppOptions(['--max-pkt-len=9018']).mtu, 9000);
  t.equal(parseAppOptions(['--flowgen-flows=7']).flowCount, 7);
  t.throws(() => parseAppOptions(['--flowgen-flows=0']), UsageError);
  t.throws(() => parseAppOptions(['--max-pkt-len=10']), UsageError);
});

t.test('--max-pkt-len sets the MTU; an offload that a port lacks ends it by name', async (t) => {
  const { outputs } = await session([...RINGS, '--', '-i', '--max-pkt-len=2018'], ['show port info 1']);
  t.match(outputs[0], /MTU: 2000\n/);
  const refused = await session([...RINGS, '--', '-i', '--enable-rx-cksum'], ['quit']);
  t.not(refused.code, 0);
  t.match(refused.stderr, /rx offload IPV4_CKSUM is not supported/);
});

t.test('blocks of queues without a virtqueue', async (t) => {
  const facts = { portId: 3, queue: 12, descriptorCount: 64, started: false, offloads: [] };
  t.equal(
    format.queueInfo('TX', facts),
    [
      '',
      '********************* Infos for port 3 , TX queue 12 *********************',
      'TX deferred start: off',
      'Tx queue state: stopped',
      'Number of TXDs: 64',
      'TX offloads: none',
    ].join('\n'),
  );
  const virtqueue = { path: 'packed in-order', ringSize: 1024, enabled: false, running: false, offloads: ['csum'] };
  t.match(
    format.queueInfo('RX', { ...facts, mempool: 'p', scattered: true, virtqueue }),
    /Virtqueue state: disabled\n/,
  );
});
