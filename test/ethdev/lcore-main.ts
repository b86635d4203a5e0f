/** What lcore-port.test.ts runs on a worker lcore: swaps the MACs of what comes on one port and sends it back there. */
import type { LcoreMain } from '../../src/index.js';

interface Arg {
  readonly port: number;
  readonly mempool: number;
  readonly ring: number;
  readonly fault?: 'port' | 'queue' | 'poll';
}

const main: LcoreMain<Arg> = (lcore) => {
  const { arg } = lcore;
  const port = lcore.port(arg.fault === 'port' ? 63 : arg.port, arg.fault === 'queue' ? { rxQueues: [9] } : {});
  const burst = lcore.burst();
  const report = lcore.burst(4);
  const m = lcore.mbuf();
  const mempool = lcore.mempool(arg.mempool);
  const ring = lcore.ring(arg.ring);
  report.handles.set([lcore.lcoreId, port.rxQueueCount, mempool.count, port.linkUp ? 1 : 0]);
  ring.enqueueBulk(report, 4);
  lcore.onEnd(() => {
    report.handles[0] = 4711;
    ring.enqueueBulk(report, 1);
  });
  return () => {
    const n = port.rxBurst(0, burst);
    for (let i = 0; i < n; i++) m.at(burst.handles[i]!).swapMacs();
    const sent = port.txBurst(0, burst, n);
    if (sent < n) burst.free(sent, n);
    if (n > 0 && arg.fault === 'poll') throw new Error('the packet function failed on purpose');
    return n;
  };
};
export default main;
