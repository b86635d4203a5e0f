import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { parseSwitchOptions, portSpecToVdev } from '../../src/switch/options.js';
import { offloadLines, type PortView, portDrops } from '../../src/switch/report.js';
import { queuePairsOf } from '../../src/switch/switch.js';
import { once, viaduct } from './command.js';

t.test('a port spec becomes a vdev', async (t) => {
  const cases: [string, string][] = [
    ['vhost:/run/vm0.sock', 'net_vhost3,iface=/run/vm0.sock,tso=1'],
    ['vhost:/run/vm1.sock,client=1,queues=2', 'net_vhost3,iface=/run/vm1.sock,tso=1,client=1,queues=2'],
    ['vhost:inproc:vm0,tso=0', 'net_vhost3,iface=inproc:vm0,tso=0'],
    ['virtio:/run/x.sock', 'net_virtio_user3,path=/run/x.sock'],
    ['ring:a', 'net_ring3,wire=a'],
    ['null:', 'net_null3'],
    ['null:size=128', 'net_null3,size=128'],
    ['net_vhost7,iface=/tmp/a:b.sock', 'net_vhost7,iface=/tmp/a:b.sock'],
    ['net_ring0', 'net_ring0'],
  ];
  for (const [spec, vdev] of cases) t.equal(portSpecToVdev(spec, 3), vdev, spec);
  t.strictSame(parseSwitchOptions(['--port', 'ring:a', '-p', 'ring:a']).ports, [
    'net_ring0,wire=a',
    'net_ring1,wire=a',
  ]);
  const lcores = (text: string) => parseSwitchOptions(['-p', 'ring:a', '-l', text]).lcores;
  t.strictSame(lcores('1,2'), [{ id: 1 }, { id: 2 }], 'placed by the operating system');
  t.strictSame(lcores('1@0,2@1'), [
    { id: 1, cpu: 0 },
    { id: 2, cpu: 1 },
  ]);
  t.equal(queuePairsOf('net_vhost0,iface=/a,queues=4'), 4);
  t.equal(queuePairsOf('net_vhost0,iface=/a,queues=4,client=1'), 4);
  t.equal(queuePairsOf('net_vhost0,iface=/a'), 1);
});

t.test('drops by cause, over all queues', async (t) => {
  const xstats = [
    { name: 'rx_good_packets', value: 9 },
    { name: 'rx_q0_drop_runt', value: 1 },
    { name: 'rx_q1_drop_runt', value: 2 },
    { name: 'tx_q0_drop_no_room', value: 4 },
    { name: 'tx_q0_drop_mtu', value: 0 },
    { name: 'tx_q0_full', value: 5 },
  ];
  t.strictSame(portDrops(xstats), [
    { cause: 'rx runt', packets: 3 },
    { cause: 'tx no room', packets: 4 },
    { cause: 'tx ring full', packets: 5 },
  ]);
});

t.test('what offloads do shows where there is something', async (t) => {
  const view = (id: number, xstats: PortView['xstats']) => ({ id, xstats }) as PortView;
  const lines = offloadLines([
    view(0, [{ name: 'rx_q0_size_1519_max_packets', value: 0 }]),
    view(1, [
      { name: 'rx_q0_size_1519_max_packets', value: 1000 },
      { name: 'rx_q1_size_1519_max_packets', value: 234 },
      { name: 'tx_q0_drop_offload', value: 1 },
      { name: 'rx_q0_drop_feature', value: 2 },
      { name: 'rx_q0_drop_runt', value: 3 },
    ]),
  ]);
  t.strictSame(lines, [
    '  port 1: large frames rx 1,234, dropped for an offload that is wrong 1, dropped for a feature that was not negotiated 2',
  ]);
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  t.test(`${signal} ends the switch with the totals`, async (t) => {
    const onOutput = once('MACs', (child) => child.kill(signal));
    const args = ['switch', '--port', 'ring:a', '--port', 'ring:a', '--stats', '1', '--lcores', '1'];
    const { code, stdout, stderr } = await viaduct(args, { onOutput, env: { VIADUCT_NO_KOFFI: '1' } });
    t.equal(stderr, '');
    t.equal(code, 0);
    t.match(stdout, /2 ports, lcore 1/);
    t.match(stdout, /port 0 \(net_ring0\): link up/);
    t.match(stdout, /Totals\nport +rx packets +rx bytes +tx packets +tx bytes +dropped\n0 ring a +0/);
    t.match(stdout, /no packet was dropped/);
    t.notMatch(stdout, '\x1b', 'plain where there is no terminal');
  });
}

t.test('packets are switched and counted', async (t) => {
  // net_null makes runts of nothing: frames of zeroes, from and to no address, so each is flooded to the other port
  const onOutput = once('MACs', (child) => child.kill('SIGINT'));
  const args = ['switch', '--port', 'null:', '--port', 'null:no-rx=1', '--stats', '1', '--lcores', '1'];
  const { code, stdout } = await viaduct(args, { onOutput });
  t.equal(code, 0);
  const totals = stdout.slice(stdout.indexOf('Totals')).split('\n');
  const cells = (line: string) => line.split(/ {2,}/).map((cell) => Number(cell.replaceAll(',', '')));
  const [, rx0, rxBytes0, tx0] = cells(totals[2]!);
  const [, rx1, , tx1, txBytes1, dropped1] = cells(totals[3]!);
  t.ok(rx0! > 0, `${rx0} packets`);
  t.equal(rxBytes0, rx0! * 64, '64 bytes each');
  t.equal(tx1! + dropped1!, rx0, 'all of them went to the other port');
  t.equal(txBytes1, tx1! * 64);
  t.strictSame([tx0, rx1], [0, 0]);
});

t.test('vhost sockets: a live one is refused, a stale one replaced', { skip: noSockets() }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'viaduct-switch-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const port = ['switch', '--port', `vhost:${join(folder, 'a.sock')}`];
  let refused: ReturnType<typeof viaduct> | undefined;
  const first = await viaduct(port, {
    onOutput: once('listens on', (child) => {
      refused = viaduct(port);
      void refused.then(() => child.kill('SIGKILL'));
    }),
  });
  t.equal(first.code, null, 'killed');
  const second = await refused!;
  t.equal(second.code, 1);
  t.match(second.stderr, /^viaduct: ERR_SOCKET_IN_USE: .*a\.sock.*\n$/);
  t.strictSame(readdirSync(folder), ['a.sock'], 'the killed one left its socket');
  const third = await viaduct(port, { onOutput: once('listens on', (child) => child.kill('SIGINT')) });
  t.equal(third.code, 0);
  t.match(third.stdout, /Totals/);
  t.strictSame(readdirSync(folder), [], 'and the clean end takes it away');
});

/** Why vhost-user sockets can't be had here, or false. */
function noSockets(): string | false {
  return process.platform === 'linux' && process.env.VIADUCT_NO_KOFFI !== '1' ? false : 'needs Linux and koffi';
}
