/** The redirection table by testpmd's commands. */
import t from 'tap';
import { table } from './script.js';

const RINGS = ['--vdev', 'net_ring0,wire=a', '--vdev=net_ring1,wire=a'];
const allOn = (queue: number): string => Array.from({ length: 128 }, (_, i) => `(${i},${queue})`).join(',');

t.test('show port rss reta, port config rss reta', async (t) => {
  await table(
    t,
    [...RINGS, '--', '-i', '--rxq=2', '--txq=2', '--forward-mode=flowgen'],
    [
      ['show port 1 rss reta', /^RSS RETA configuration: hash index=0, queue=0\nRSS RETA configuration: hash index=1, queue=1\n[\s\S]*hash index=127, queue=1\n$/],
      ['port config 1 rss reta (5,0),(127,0)', ''],
      ['show port 1 rss reta 128 (0x60,0x8000000000000000)', /^RSS RETA configuration: hash index=5, queue=0\nRSS RETA configuration: hash index=6, queue=0\nRSS RETA configuration: hash index=127, queue=0\n$/],
      ['show port 1 rss reta 200 (0x1)', /^Invalid redirection table size: 200 \(1-128\)\n$/],
      ['port config 1 rss reta (5,2)', /^port 1 \(net_ring1\): redirection table: no tx queue 2: there are 0 to 1\n$/],
      ['port config 1 rss reta 5,1', /^Bad arguments\nat '5,1', expected: \(hash,queue\)/],
      ['port config 9 rss reta (5,0)', /^Invalid port 9\n/],
      [`port config 1 rss reta ${allOn(1)}`, ''],
      ['start', /^flowgen /],
      ['sleep 1', ''],
      ['stop', /Done/],
      ['show port xstats 1', /\ntx_q0_packets: 0\ntx_q0_bytes: 0\ntx_q1_packets: [1-9]/],
      ['show port xstats 0', /\ntx_q0_packets: [1-9]\d*\ntx_q0_bytes: \d+\ntx_q1_packets: [1-9]/],
    ], // biome-ignore format: a table
  );
});
