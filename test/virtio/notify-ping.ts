/** A guest that sends one frame, sleeps until it comes back, and sends the next: what notify-sleep.test.ts runs on an lcore. */
import type { LcoreMain } from '../../src/index.js';

interface Arg {
  readonly port: number;
  readonly mempool: number;
  /** Address of a u32: frames that came back. */
  readonly done: number;
  readonly total: number;
  /** Sends back what comes instead. */
  readonly echo: boolean;
}

const main: LcoreMain<Arg> = (lcore) => {
  const { arg } = lcore;
  const port = lcore.port(arg.port);
  const burst = lcore.burst();
  const m = lcore.mbuf();
  const mempool = lcore.mempool(arg.mempool);
  const words = lcore.memory.u32;
  const done = arg.done >>> 2;
  let [sent, received] = [0, 0];
  if (arg.echo) {
    return () => {
      const n = port.rxBurst(0, burst);
      const took = n === 0 ? 0 : port.txBurst(0, burst, n);
      burst.free(took, n);
      return n;
    };
  }
  return () => {
    const n = port.rxBurst(0, burst);
    burst.free(0, n);
    received += n;
    if (n > 0) Atomics.store(words, done, received);
    if (sent > received || sent === arg.total || !mempool.allocBulk(burst, 1)) return n;
    m.at(burst.handles[0]!).append(64);
    const took = port.txBurst(0, burst, 1);
    burst.free(took, 1);
    sent += took;
    return n + took;
  };
};
export default main;
