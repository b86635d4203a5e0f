/** The blocks are DPDK 22.11's own output (dpdk-testpmd over net_null), typed in here with other numbers. */
import t from 'tap';
import type { LinkStatus, PortInfo, PortStats } from '../../src/index.js';
import * as format from '../../src/testpmd/format.js';
import { ThroughputMeter } from '../../src/testpmd/throughput.js';

const zero: PortStats = {
  ipackets: 0,
  opackets: 0,
  ibytes: 0,
  obytes: 0,
  imissed: 0,
  ierrors: 0,
  oerrors: 0,
  rxNombuf: 0,
  queueIpackets: [],
  queueOpackets: [],
  queueIbytes: [],
  queueObytes: [],
  queueErrors: [],
};

t.test('show port stats', async (t) => {
  const stats = {
    ...zero,
    ipackets: 399040,
    ibytes: 25538560,
    opackets: 2720,
    obytes: 174080,
    rxNombuf: 7,
    ierrors: 3,
  };
  const rate = { rxPps: 9973673, rxBps: 5106520576, txPps: 67984, txBps: 34807808 };
  const block = [
    '',
    '  ######################## NIC statistics for port 0  ########################',
    '  RX-packets: 399040     RX-missed: 0          RX-bytes:  25538560',
    '  RX-errors: 3',
    '  RX-nombuf:  7         ',
    '  TX-packets: 2720       TX-errors: 0          TX-bytes:  174080',
    '',
    '  Throughput (since last show)',
    '  Rx-pps:      9973673          Rx-bps:   5106520576',
    '  Tx-pps:        67984          Tx-bps:     34807808',
    '  ############################################################################',
  ];
  t.equal(format.portStats(0, stats, rate), block.join('\n'));
});

t.test('forward statistics', async (t) => {
  const ports = [
    { portId: 0, rxPackets: 7488, rxDropped: 0, txPackets: 7488, txDropped: 0 },
    { portId: 1, rxPackets: 7488, rxDropped: 2, txPackets: 7520, txDropped: 10 },
  ];
  const block = [
    '',
    '  ---------------------- Forward statistics for port 0  ----------------------',
    '  RX-packets: 7488           RX-dropped: 0             RX-total: 7488',
    '  TX-packets: 7488           TX-dropped: 0             TX-total: 7488',
    '  ----------------------------------------------------------------------------',
    '',
    '  ---------------------- Forward statistics for port 1  ----------------------',
    '  RX-packets: 7488           RX-dropped: 2             RX-total: 7490',
    '  TX-packets: 7520           TX-dropped: 10            TX-total: 7530',
    '  ----------------------------------------------------------------------------',
    '',
    '  +++++++++++++++ Accumulated forward statistics for all ports+++++++++++++++',
    '  RX-packets: 14976          RX-dropped: 2             RX-total: 14978',
    '  TX-packets: 15008          TX-dropped: 10            TX-total: 15018',
    '  ++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++',
  ];
  t.equal(format.forwardStats(ports), block.join('\n'));
  const stream = { rxPort: 1, rxQueue: 0, txPort: 0, txQueue: 0, rxPackets: 32, txPackets: 32, txDropped: 0 };
  const withStreams = format.forwardStats(ports, [stream, stream, stream]).split('\n');
  t.strictSame(withStreams.slice(0, 3), [
    '',
    '  ------- Forward Stats for RX Port= 1/Queue= 0 -> TX Port= 0/Queue= 0 -------',
    '  RX-packets: 32             TX-packets: 32             TX-dropped: 0             ',
  ]);
  t.equal(
    format.forwardStats(ports, [stream, stream]),
    block.join('\n'),
    'streams show only where there are more than ports',
  );
});

t.test('config blocks', async (t) => {
  const stream = (rxPort: number, txPort: number) => ({
    rxPort,
    rxQueue: 0,
    txPort,
    txQueue: 0,
    peer: `02:00:00:00:00:0${txPort}`,
  });
  const plan = { mode: 'io', portCount: 2, lcores: [{ id: 1, streams: [stream(0, 1), stream(1, 0)] }] };
  t.equal(
    format.forwardingConfig(plan),
    [
      'io packet forwarding - ports=2 - cores=1 - streams=2 - NUMA support disabled, MP allocation mode: native',
      'Logical Core 1 (socket 0) forwards packets on 2 streams:',
      '  RX P=0/Q=0 (socket 0) -> TX P=1/Q=0 (socket 0) peer=02:00:00:00:00:01',
      '  RX P=1/Q=0 (socket 0) -> TX P=0/Q=0 (socket 0) peer=02:00:00:00:00:00',
    ].join('\n'),
  );
  t.match(format.forwardingConfig({ ...plan, mode: 'l2' }), /RX P=0\/Q=0 \(socket 0\) -> the port of its MAC address/);
  t.equal(
    format.rxtxConfig({
      mode: 'txonly',
      burst: 32,
      lcoreCount: 1,
      txPackets: [64, 64],
      ports: [
        {
          portId: 0,
          rxOffloads: 0xe,
          txOffloads: 0,
          rxQueues: [{ descriptorCount: 256, offloads: 0xf }],
          txQueues: [{ descriptorCount: 512, offloads: 0x8000 }],
        },
      ],
    }),
    [
      '  txonly packet forwarding packets/burst=32',
      '  packet len=128 - nb packet segments=2',
      '  nb forwarding cores=1 - nb forwarding ports=1',
      '  port 0: RX queue number: 1 Tx queue number: 1',
      '    Rx offloads=0xe Tx offloads=0x0',
      '    RX queue: 0',
      '      RX desc=256',
      '      RX Offloads=0xf',
      '    TX queue: 0',
      '      TX desc=512',
      '      TX offloads=0x8000',
    ].join('\n'),
  );
  t.equal(format.txPacketsConfig([64, 64]), 'Number of segments: 2\nSegment sizes: 64,64\nSplit packet: off');
});

t.test('port blocks', async (t) => {
  const limits = { min: 64, max: 32768, align: 1, powerOfTwo: true, default: 256 };
  const info: PortInfo = {
    portId: 0,
    name: 'net_null0',
    driver: 'net_null',
    macAddress: 'c2:d2:c0:e0:ed:3d',
    maxRxQueues: 8,
    maxTxQueues: 8,
    minMtu: 68,
    maxMtu: 9000,
    rxDescriptors: limits,
    txDescriptors: limits,
    rxOffloadCapabilities: [],
    txOffloadCapabilities: ['MULTI_SEGS'],
    rxQueueOffloadCapabilities: [],
    txQueueOffloadCapabilities: [],
    rxQueueCount: 1,
    txQueueCount: 1,
    driverInfo: { 'Socket path': '/tmp/a' },
  };
  const link: LinkStatus = { up: true, speedMbps: 10000, duplex: 'full', autoneg: false };
  t.equal(
    format.portSummary([{ info, link }], 2),
    [
      'Number of available ports: 2',
      'Port MAC Address       Name         Driver         Status   Link',
      '0    C2:D2:C0:E0:ED:3D net_null0    net_null       up       10 Gbps',
    ].join('\n'),
  );
  const lines = format
    .portInfo({ info, link, mtu: 1500, promiscuous: true, rxOffloads: ['QINQ_STRIP'], devargs: 'size=64' })
    .split('\n');
  for (const line of [
    '********************* Infos for port 0  *********************',
    'MAC address: C2:D2:C0:E0:ED:3D',
    'Device name: net_null0',
    'Driver name: net_null',
    'Devargs: size=64',
    'Link status: up',
    'Link speed: 10 Gbps',
    'Link duplex: full-duplex',
    'Autoneg status: Off',
    'MTU: 1500',
    'Promiscuous mode: enabled',
    'Maximum number of MAC addresses: 1',
    'VLAN offload: ',
    '  strip off, filter off, extend off, qinq strip on',
    'Current number of RX queues: 1',
    'Max possible RX queues: 8',
    'Max possible number of TXDs per queue: 32768',
    'Socket path: /tmp/a',
  ]) {
    t.ok(lines.includes(line), line);
  }
  t.equal(format.linkSpeed({ ...link, up: false, speedMbps: 0 }), 'None');
  t.equal(format.linkSpeed({ ...link, speedMbps: 2500 }), '2500 Mbps');
  t.equal(format.invalidPort(9, [0, 1]), 'Invalid port 9\nThe valid ports array is [ 0 1 ]', "testpmd's words");
  t.equal(
    format.portXstats(0, [{ name: 'rx_good_packets', value: 402688 }]),
    '###### NIC extended statistics for port 0 \nrx_good_packets: 402688',
  );
});

t.test('rates count from the last show', async (t) => {
  const meter = new ThroughputMeter();
  const second = 1_000_000_000n;
  t.strictSame(
    meter.measure(0, { ...zero, ipackets: 5 }, second),
    { rxPps: 0, rxBps: 0, txPps: 0, txBps: 0 },
    'nothing to compare with',
  );
  const now = { ...zero, ipackets: 1005, ibytes: 64000, opackets: 10, obytes: 640 };
  t.strictSame(meter.measure(0, now, 3n * second), { rxPps: 500, rxBps: 256000, txPps: 5, txBps: 2560 });
  t.strictSame(meter.measure(0, now, 4n * second), { rxPps: 0, rxBps: 0, txPps: 0, txBps: 0 });
  t.strictSame(meter.measure(1, now, 4n * second).rxPps, 0, 'each port has its own last show');
  meter.cleared(0, zero, 5n * second);
  t.equal(meter.measure(0, { ...zero, ipackets: 7 }, 6n * second).rxPps, 7);
});
