/** The real thing as a child process, over ports that need no OS. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { once, viaduct } from '../bin/command.js';
import { table } from './script.js';

const env = { VIADUCT_NO_KOFFI: '1' };
const RINGS = ['--vdev', 'net_ring0,wire=a', '--vdev=net_ring1,wire=a'];

/** The transcript of each command: what stands between its prompt and the next one. */
function transcript(stdout: string): { line: string; output: string }[] {
  return stdout
    .split('testpmd> ')
    .slice(1)
    .map((part) => ({ line: part.slice(0, part.indexOf('\n')), output: part.slice(part.indexOf('\n') + 1) }));
}

/** `NAME: 123` out of a block. */
function number(block: string, name: string): number {
  return Number(new RegExp(`${name}: +(\\d+)`).exec(block)?.[1]);
}

t.test('a scripted session, counts consistent to the packet', async (t) => {
  const input = [
    'set fwd io',
    'start tx_first 4',
    'sleep 1',
    'show port stats all',
    'stop',
    'show port stats all',
    'show fwd stats all',
    'clear port stats all',
    'show port stats 0',
    'quit',
    'show port stats 1',
  ].join('\n');
  const { code, stdout } = await viaduct(['testpmd', '-l', '0,1', ...RINGS, '--', '-i', '--burst=16'], { env, input });
  t.equal(code, 0);
  const parts = transcript(stdout);
  t.strictSame(
    parts.map(({ line }) => line),
    input.split('\n').slice(0, -1),
    'in order, nothing after quit',
  );
  const [, start, , live, stop, after, fwd, , cleared] = parts.map(({ output }) => output);
  t.match(start, /^io packet forwarding - ports=2 - cores=1 - streams=2/);
  t.match(start, /RX P=0\/Q=0 \(socket 0\) -> TX P=1\/Q=0/);
  t.match(live, /######################## NIC statistics for port 0 {2}########################/);
  t.match(stop, /^Telling cores to stop\.\.\.\nWaiting for lcores to finish\.\.\.\n\n {2}-{22} Forward/);
  t.match(stop, /\nDone\.\n$/);

  // 4 bursts of 16 packets on each port circulate until stop: what one port sent the other received, but for what is in the ring
  const ports = after!.split('NIC statistics').slice(1);
  const [rx0, rx1] = ports.map((block) => number(block, 'RX-packets')) as [number, number];
  const [tx0, tx1] = ports.map((block) => number(block, 'TX-packets')) as [number, number];
  t.ok(rx0 > 64, `${rx0} packets`);
  t.equal(tx0 + tx1 - (rx0 + rx1), 128, 'both sent 64, which are in the rings now');
  t.equal(number(ports[0]!, 'TX-bytes'), tx0 * 64);
  t.ok(number(live!.split('NIC statistics')[1]!, 'RX-packets') <= rx0);

  const accumulated = stop!.slice(stop!.indexOf('Accumulated'));
  t.equal(number(accumulated, 'RX-packets'), rx0 + rx1, 'forward statistics are the ports’');
  t.equal(number(accumulated, 'TX-packets'), tx0 + tx1);
  t.equal(number(accumulated, 'TX-dropped'), 0);
  t.ok(stop!.includes(fwd!), 'show fwd stats tells of the last run');
  t.equal(number(cleared!, 'RX-packets'), 0);
  t.match(stdout, /Port 0 is closed\nDone[\s\S]*Bye\.\.\.\n$/);
});

t.test('every mode starts and stops; what is wrong is answered and the session goes on', async (t) => {
  const modes = ['io', 'mac', 'macswap', 'flowgen', 'rxonly', 'txonly', 'csum', 'icmpecho', '5tswap', 'l2'];
  const lines = [
    'stop',
    ...modes.flatMap((mode) => [`set fwd ${mode}`, 'start', 'start', 'stop']),
    'set fwd noisy',
    'set burst 600',
    'set burst 16',
    'set txpkts 20',
    'set txpkts 64,64',
    'show config txpkts',
    'show port info 9',
    'shwo port info 0',
    'port stop 0',
    'start',
    'port start 0',
    'set fwd mac',
    'set eth-peer 1 02:00:00:00:00:99',
    'show config fwd',
    'show config rxtx',
    'show config cores',
    'show port summary all',
    'show port xstats 0',
    'port config mtu 0 9',
    'help',
    'help all',
  ];
  const { code, stdout } = await viaduct(['testpmd', ...RINGS, '--', '-i'], { env, input: lines.join('\n') });
  t.equal(code, 0, 'the end of the input is quit');
  const outputs = new Map(transcript(stdout).map(({ line, output }) => [line, output]));
  t.match(stdout, /testpmd> stop\nPacket forwarding not started\n/);
  t.match(stdout, /Packet forwarding already started/);
  for (const mode of modes) {
    t.match(stdout, `Set ${mode} packet forwarding mode`);
    t.match(stdout, `${mode} packet forwarding - ports=2`);
  }
  t.match(
    outputs.get('set fwd noisy'),
    /^Bad arguments\nat 'noisy', expected: \(io\|mac\|macswap\|flowgen\|rxonly\|txonly\|csum\|icmpecho\|5tswap\|l2\)/,
  );
  t.match(outputs.get('set burst 600'), /600 > 512 \(maximum packet per burst\) {2}ignored/);
  t.match(outputs.get('set txpkts 20'), /total packet length=20 < 42 - give up/);
  t.match(outputs.get('show config txpkts'), /Number of segments: 2\nSegment sizes: 64,64/);
  t.match(outputs.get('show port info 9'), /^Invalid port 9\nThe valid ports array is \[ 0 1 \]/);
  t.match(outputs.get('shwo port info 0'), /^Command not found/);
  t.match(outputs.get('port start 0'), /Port 0: 02:/);
  t.match(outputs.get('show config fwd'), /-> TX P=1\/Q=0 \(socket 0\) peer=02:00:00:00:00:99/);
  t.match(outputs.get('show config rxtx'), /packets\/burst=16\n/);
  t.match(outputs.get('show config cores'), /^List of forwarding lcores: {2}1\n/);
  t.match(outputs.get('show port summary all'), /^Number of available ports: 2\nPort MAC Address/);
  t.match(outputs.get('show port xstats 0'), /^###### NIC extended statistics for port 0 \nrx_good_packets: \d+\n/);
  t.match(outputs.get('port config mtu 0 9'), /mtu/i, 'a library error is a line, not the end');
  t.match(outputs.get('help'), /help control {17,}: Start and stop forwarding\./);
  t.match(
    outputs.get('help all'),
    /start tx_first \(burst_num\)[\s\S]*show port \(info\|stats\|xstats\|summary\) \(port_id\|all\)/,
  );
});

t.test('without -i it forwards until Enter', async (t) => {
  const args = ['testpmd', '-l', '0-1', '--vdev', 'net_null0', '--', '--forward-mode=rxonly'];
  const onOutput = once('Press enter to exit', (child) => child.stdin.write('\n'));
  const { code, stdout } = await viaduct(args, { env, onOutput });
  t.equal(code, 0);
  t.match(stdout, /No commandline core given, start packet forwarding\nrxonly packet forwarding - ports=1/);
  t.match(stdout, /Warning! port-topology=paired and odd forward ports number/);
  t.match(stdout, /Accumulated forward statistics[\s\S]*Bye\.\.\./);
});

t.test('--stats-period prints until Ctrl-C, which ends it with the statistics', async (t) => {
  const args = ['testpmd', '--vdev', 'net_null0', '--vdev', 'net_null1', '--', '--stats-period=1', '--tx-first'];
  const onOutput = once('Tx-bps', (child) => child.kill('SIGINT'));
  const { code, stdout } = await viaduct(args, { env, onOutput, input: '' });
  t.equal(code, 0);
  t.match(stdout, /\nPort statistics =+\n {2}#+ NIC statistics for port 0/);
  t.match(stdout, /Accumulated forward statistics[\s\S]*Bye\.\.\./);
  const last = stdout.slice(stdout.indexOf('Accumulated'));
  t.ok(number(last, 'RX-packets') > 0);
  t.equal(
    number(last, 'TX-total'),
    number(last, 'RX-packets') + 64,
    'all that came in, and the first burst of each port',
  );
});

t.test('Ctrl-C ends an interactive session too', async (t) => {
  const onOutput = once('Start automatic packet forwarding', (child) => child.kill('SIGINT'));
  const { code, stdout } = await viaduct(['testpmd', ...RINGS, '--', '-i', '-a'], { env, onOutput });
  t.equal(code, 0);
  t.match(stdout, /Telling cores to stop[\s\S]*Bye\.\.\.\n$/);
});

t.test('commands from a file come first', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'viaduct-testpmd-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'commands');
  writeFileSync(file, '# set up\nset burst 8\n\nset fwd mac\n');
  const args = ['testpmd', ...RINGS, '--', '-i', `--cmdline-file=${file}`];
  const { stdout } = await viaduct(args, { env, input: 'show config rxtx\n' });
  t.match(stdout, /burst set to 8[\s\S]*testpmd> show config rxtx\n {2}mac packet forwarding packets\/burst=8\n/);
});

t.test('flowgen wants all headers in the first segment, txonly does not', async (t) => {
  await table(t, [...RINGS, '--', '-i'], [
    ['set txpkts 30,30', ''],
    ['set fwd flowgen', /^Set flowgen/],
    ['start', /flowgen writes 42 bytes of headers into the first segment, which has 30: make that segment longer \('set txpkts', --txpkts\), or 'set fwd txonly'\n$/],
    ['stop', /^Packet forwarding not started/],
    ['set fwd txonly', /^Set txonly/],
    ['start', /txonly packet forwarding - ports=2/],
    ['stop', /Done\.\n$/],
    ['set fwd flowgen', /^Set flowgen/],
    ['set txpkts 42,30', ''],
    ['start', /flowgen packet forwarding - ports=2/],
    ['stop', /Done\.\n$/],
  ]); // biome-ignore format: a table
  const { code, stderr } = await viaduct(['testpmd', ...RINGS, '--', '--forward-mode=flowgen', '--txpkts=30,30'], {
    env,
  });
  t.equal(code, 1);
  t.match(stderr, /make that segment longer \('set txpkts', --txpkts\)/);
});
