/** A packet function: what comes in on port 0 or 1 goes out on the other with its MAC addresses swapped. Runs on a lcore. */
import type { LcoreMain } from 'viaduct';

const main: LcoreMain = (lcore) => {
  const ports = [lcore.port(0), lcore.port(1)] as const;
  const burst = lcore.burst(32);
  const m = lcore.mbuf();
  const forward = (from: (typeof ports)[number], to: (typeof ports)[number]): number => {
    const n = from.rxBurst(0, burst);
    for (let i = 0; i < n; i++) if (m.at(burst.handles[i]!).dataLen >= 12) m.swapMacs();
    const sent = to.txBurst(0, burst, n);
    if (sent < n) burst.free(sent, n);
    return n;
  };
  return () => forward(ports[0], ports[1]) + forward(ports[1], ports[0]);
};

export default main;
