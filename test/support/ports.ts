/** Ports of a test, by the public API alone. */
import { type Eal, type Mempool, Port } from '../../src/index.js';

/** Probes a vdev, gives it queue pairs over one mempool, and starts it. */
export async function openPort(eal: Eal, mempool: Mempool, vdev: string, queuePairs = 1): Promise<Port> {
  const port = await Port.probe(eal, vdev);
  port.configure({ rxQueueCount: queuePairs, txQueueCount: queuePairs });
  for (let queue = 0; queue < queuePairs; queue++) {
    port.rxQueueSetup(queue, { mempool });
    port.txQueueSetup(queue);
  }
  await port.start();
  return port;
}

/** Waits until the link is up or down; a process that has nothing else to do stays alive meanwhile. */
export async function linkIs(port: Port, up: boolean): Promise<void> {
  const alive = setInterval(() => {}, 1000);
  while (port.link().up !== up) await new Promise((resolve) => setImmediate(resolve));
  clearInterval(alive);
}
