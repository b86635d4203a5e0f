import t from 'tap';
import { Devargs, formatMac, parseMac, parseVdev } from '../../src/drivers/devargs.js';
import { allDrivers, driverNameOf, driverNames, findDriver } from '../../src/drivers/registry.js';
import type { ViaductError } from '../../src/errors.js';
import { Eal, Port, silentLogger } from '../../src/index.js';

/** The error that `fn` throws, as `code: message`. */
function errorOf(fn: () => unknown): string {
  try {
    fn();
  } catch (error) {
    return `${(error as ViaductError).code}: ${(error as Error).message}`;
  }
  return 'no error';
}

const known = ['iface', 'queues', 'client', 'mode'].map((key) => ({ key, help: '' }));
const args = (text: string) => new Devargs(parseVdev(text), known);

t.test('vdev strings split as rte_kvargs does', async (t) => {
  const table: [string, string, [string, string][]][] = [
    ['net_null0', 'net_null0', []],
    [
      'net_vhost0,iface=/tmp/s.sock,queues=2',
      'net_vhost0',
      [
        ['iface', '/tmp/s.sock'],
        ['queues', '2'],
      ],
    ],
    ['net_vhost0,client', 'net_vhost0', [['client', '1']]],
    ['net_vhost0, iface = /a b ', 'net_vhost0', [['iface', '/a b']]],
    [
      'net_vhost0,iface="/a,b",queues=1',
      'net_vhost0',
      [
        ['iface', '/a,b'],
        ['queues', '1'],
      ],
    ],
    ['net_vhost0,iface=[/a,b]', 'net_vhost0', [['iface', '/a,b']]],
    ['net_vhost0,iface=/a=b', 'net_vhost0', [['iface', '/a=b']]],
    ['net_vhost0,iface=', 'net_vhost0', [['iface', '']]],
  ];
  for (const [text, name, pairs] of table) t.same(parseVdev(text), { name, pairs }, text);
});

t.test('malformed vdev strings are refused', async (t) => {
  for (const text of ['', ',iface=/a', '0net', 'net-null0', 'net_null0,', 'net_null0,=1', 'net_null0,iface="/a']) {
    t.match(
      errorOf(() => parseVdev(text)),
      /^ERR_DEVARGS: vdev '/,
      text,
    );
  }
});

t.test('keys: unknown ones name the known, duplicates are refused', async (t) => {
  t.equal(
    errorOf(() => args('net_x0,ifase=/a')),
    "ERR_DEVARGS: net_x0: unknown argument 'ifase'; it knows iface, queues, client, mode",
  );
  t.equal(
    errorOf(() => new Devargs(parseVdev('a0,b=1'), [])),
    "ERR_DEVARGS: a0: unknown argument 'b'; it takes none",
  );
  t.equal(
    errorOf(() => args('net_x0,queues=1,queues=1')),
    "ERR_DEVARGS: net_x0: argument 'queues' is given twice",
  );
});

t.test('typed getters', async (t) => {
  const a = args('net_x0,iface=/a,queues=0x10,client=1,mode=b');
  t.equal(a.string('iface'), '/a');
  t.equal(a.integer('queues', 1, 1, 128), 16);
  t.equal(a.flag('client'), true);
  t.equal(a.choice('mode', 'a', ['a', 'b']), 'b');
  t.ok(a.has('iface'));

  const none = args('net_x0');
  t.equal(none.string('iface'), undefined);
  t.equal(none.integer('queues', 7, 1, 128), 7);
  t.equal(none.flag('client'), false);
  t.equal(none.flag('client', true), true);
  t.equal(none.choice('mode', 'a', ['a', 'b']), 'a');
  t.equal(none.mac('iface'), undefined);
  t.equal(
    errorOf(() => none.requiredString('iface', '/run/vm0.sock')),
    "ERR_DEVARGS: net_x0: argument 'iface' is missing: say net_x0,iface=/run/vm0.sock",
  );

  for (const text of ['0', '129', '-1', '1.5', 'x', '', '1e2', '0x']) {
    t.equal(
      errorOf(() => args(`net_x0,queues=${text}`).integer('queues', 1, 1, 128)),
      `ERR_DEVARGS: net_x0: argument 'queues=${text}' must be an integer from 1 to 128`,
    );
  }
  t.match(
    errorOf(() => args('net_x0,client=2').flag('client')),
    /from 0 to 1$/,
  );
  t.match(
    errorOf(() => args('net_x0,iface=').string('iface')),
    /argument 'iface' is empty$/,
  );
  t.match(
    errorOf(() => args('net_x0,mode=c').choice('mode', 'a', ['a', 'b'])),
    /must be one of a, b$/,
  );
  t.match(
    errorOf(() => args('net_x0,mode=01:00:00:00:00:00').mac('mode')),
    /group address/,
  );
});

t.test('MAC addresses', async (t) => {
  t.equal(formatMac(parseMac('02:00:00:00:00:0A')), '02:00:00:00:00:0a');
  t.equal(formatMac(parseMac('2-0-0-0-0-1')), '02:00:00:00:00:01');
  for (const text of [
    '',
    '02:00:00:00:00',
    '02:00:00:00:00:001',
    '02:00:00:00:00:0g',
    'ff:ff:ff:ff:ff:ff',
    '0:0:0:0:0:0',
  ]) {
    t.match(
      errorOf(() => parseMac(text)),
      /^ERR_INVALID_ARGUMENT/,
      text,
    );
  }
});

t.test('the driver of a device', async (t) => {
  t.equal(driverNameOf('net_null0'), 'net_null');
  t.equal(driverNameOf('net_null'), 'net_null');
  t.equal(driverNameOf('net_virtio_user12'), 'net_virtio_user');
  t.equal(driverNameOf('eth_ring3'), 'net_ring', 'earlier names are aliases');
  t.equal(driverNameOf('virtio_user0'), 'net_virtio_user');
  for (const name of ['net_vhost_pci0', 'net_nullx', 'foo', 'net_']) {
    const error = errorOf(() => driverNameOf(name));
    t.match(error, /^ERR_UNKNOWN_DRIVER/, name);
    for (const driver of driverNames) t.match(error, driver, `the message of ${name} names ${driver}`);
  }
  await t.rejects(findDriver('net_null0,frobnicate=1'), {
    code: 'ERR_DEVARGS',
    message: /unknown argument 'frobnicate'; it knows size, copy, no-rx/,
  });
});

/** The strings that DPDK 22.11 documents for the driver (`dpdk-pmdinfo.py`), each argument with each value of a kind. */
const DPDK_ARGS: Readonly<Record<string, readonly string[]>> = {
  'net_vhost0,iface=inproc:a': [
    'queues=2',
    'client=0',
    'dequeue-zero-copy=0',
    'iommu-support=0',
    'postcopy-support=0',
    'tso=0',
    'tso=1',
    'linear-buffer=0',
    'ext-buffer=0',
    'ext-buffer=1',
    'legacy-ol-flags=0',
    'legacy-ol-flags=1',
  ],
  'net_virtio_user0,path=inproc:a': [
    'mac=00:01:02:03:04:05',
    'cq=0',
    'cq=1',
    'queue_size=1024',
    'queues=2',
    'server=0',
    'mrg_rxbuf=0',
    'mrg_rxbuf=1',
    'in_order=0',
    'in_order=1',
    'packed_vq=0',
    'packed_vq=1',
    'speed=25000',
    'vectorized=0',
    'vectorized=1',
  ],
};

t.test("DPDK's own strings are taken, or refused with a reason and a remedy", async (t) => {
  const eal = await Eal.init({ memoryMiB: 16, logger: silentLogger });
  t.teardown(() => eal.cleanup());
  const probe = async (vdev: string) => (await Port.probe(eal, vdev)).close();
  for (const [device, args] of Object.entries(DPDK_ARGS)) {
    for (const arg of args) await t.resolves(probe(`${device},${arg}`), `${device},${arg}`);
  }
  for (const [vdev, what] of [
    ['net_vhost0,iface=inproc:a,linear-buffer=1', /linear-buffer=1: .*; leave it out/],
    ['net_vhost0,iface=inproc:a,postcopy-support=1', /postcopy-support=1: .*; leave it out/],
    ['net_vhost0,iface=inproc:a,iommu-support=1', /iommu-support=1: .*; leave it out/],
    ['net_vhost0,iface=inproc:a,dequeue-zero-copy=1', /dequeue-zero-copy=1: .*; leave it out/],
    ['net_virtio_user0,path=inproc:a,iface=tap0', /^net_virtio_user0: iface: .*: leave iface out/],
    ['net_virtio_user0,path=/dev/vhost-net,queues=2', /path=\/dev\/vhost-net: .*give path the socket/],
    ['net_virtio_user0,path=/dev/vhost-vdpa-0', /path=\/dev\/vhost-vdpa-0: /],
    ['net_virtio_user0,path=inproc:a,cq=2', /'cq=2' must be an integer from 0 to 1/],
    ['net_virtio_user0,path=inproc:a,speed=0', /'speed=0' must be an integer from 1 to 400000/],
  ] as const) {
    await t.rejects(probe(vdev), { code: 'ERR_DEVARGS', message: what }, vdev);
  }
});

t.test('every driver is of the one shape', async (t) => {
  for (const driver of await allDrivers()) {
    t.ok(driverNames.includes(driver.name), driver.name);
    t.type(driver.probe, 'function');
    const keys = driver.devargs.map((arg) => arg.key);
    t.equal(new Set(keys).size, keys.length, `${driver.name} names each key once`);
    for (const arg of driver.devargs) t.ok(arg.help.length > 0, `${driver.name} explains ${arg.key}`);
  }
});
