import t from 'tap';
import { viaduct } from './command.js';

t.test('mistakes are one line, name what is near, and exit with 2', async (t) => {
  const cases: [string[], RegExp][] = [
    [['swich'], /^viaduct: ERR_USAGE: unknown command 'swich', did you mean switch\?/],
    [['constructor'], /unknown command 'constructor'/],
    [['switch'], /no port given; say --port vhost:/],
    [['switch', '--prot', 'x'], /unknown option '--prot', did you mean --port\?/],
    [['switch', '--port', 'vhots:/tmp/a'], /'vhots' is no kind of port.*did you mean vhost:\?/],
    [['switch', '--port', 'vhost:'], /needs a socket path/],
    [['switch', '--port', 'ring:a', '--lcores', '0'], /lcore 0 is the main thread/],
    [['demo', '--seconds', '0'], /--seconds must be between 1 and/],
    [['demo', '--second', '1'], /did you mean --seconds\?/],
    [['testpmd', '--', '--burst=0'], /--burst must be between 1 and 512/],
    [['testpmd', '-l', '0', '--vdev', 'net_null0', '--', '-i'], /no lcore to forward on.*say -l 0,1/],
    [['testpmd'], /no port to forward on: name one with --vdev/],
    [['testpmd', '--', '-i', '--nb-cores=3'], /--nb-cores=3, but 1 can forward/],
    [['testpmd', '--', '-i', '--cmdline-file=/nonexistent/x'], /--cmdline-file=\/nonexistent\/x: ENOENT/],
  ];
  const results = await Promise.all(cases.map(([args]) => viaduct(args, { input: '' })));
  for (const [i, [args, message]] of cases.entries()) {
    const { code, stderr } = results[i]!;
    t.equal(code, 2, args.join(' '));
    t.match(stderr, message);
    t.equal(stderr.trimEnd().split('\n').length, 1, 'one line');
  }
});

t.test('faults exit with 1 and carry their code; --debug shows where', async (t) => {
  const [driver, devargs, debug] = await Promise.all([
    viaduct(['testpmd', '--vdev', 'net_foo0', '--', '-i'], { input: '' }),
    viaduct(['testpmd', '--vdev', 'net_null0,siz=64', '--', '-i'], { input: '' }),
    viaduct(['testpmd', '--debug', '--vdev', 'net_foo0', '--', '-i'], { input: '' }),
  ]);
  t.equal(driver.code, 1);
  t.match(driver.stderr, /^viaduct: ERR_UNKNOWN_DRIVER: .*net_foo0.*\n$/);
  t.equal(devargs.code, 1);
  t.match(devargs.stderr, /^viaduct: ERR_DEVARGS: net_null0: .*'siz'.*\n$/);
  t.equal(debug.code, 1);
  t.match(debug.stderr, /\n\s+at /, 'a stack');
});

t.test('help and version', async (t) => {
  const [bare, help, version, demo, sw, testpmd] = await Promise.all([
    viaduct([]),
    viaduct(['--help']),
    viaduct(['--version']),
    viaduct(['demo', '--help']),
    viaduct(['help', 'switch']),
    viaduct(['testpmd', '--help']),
  ]);
  t.equal(bare.code, 2, 'no command is a mistake');
  t.match(bare.stderr, /usage: viaduct COMMAND/);
  t.equal(help.code, 0);
  t.match(help.stdout, /demo[\s\S]*switch[\s\S]*testpmd/);
  t.match(version.stdout, /^viaduct \d+\.\d+\.\d+\n$/);
  t.match(demo.stdout, /--seconds=N/);
  t.match(sw.stdout, /vhost:PATH[\s\S]*--ageing=SECONDS/);
  t.match(testpmd.stdout, /--vdev=DEVICE[\s\S]*--forward-mode=MODE/);
});

t.test('whoever reads the output may leave', async (t) => {
  const { code } = await viaduct(['testpmd', '--help'], { onOutput: (child) => child.stdout.destroy() });
  t.equal(code, 0);
});
