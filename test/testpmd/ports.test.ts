/** What testpmd tells of ports and refuses them, as a child process over ports that need no OS. */
import t from 'tap';
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
