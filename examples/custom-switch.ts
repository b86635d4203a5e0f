/**
 * A switch of your own, in TypeScript: learns in a Map, floods with reference-counted clones, and keeps one port from
 * talking to another. `node dist/examples/custom-switch.js net_vhost0,iface=/tmp/a.sock net_vhost1,iface=/tmp/b.sock ...`
 */
import { Eal, Mempool, Port } from 'viaduct';
import type { CustomSwitchArgs } from './custom-switch-lcore.js';

const eal = await Eal.init({ lcores: [0, 1] });
const mempool = Mempool.createPktmbuf(eal, { name: 'packets', count: 16383 });
const portIds: number[] = [];
for (const vdev of process.argv.slice(2)) {
  const port = await Port.probe(eal, vdev);
  port.configure({ rxQueueCount: 1, txQueueCount: 1 });
  port.rxQueueSetup(0, { mempool });
  port.txQueueSetup(0);
  await port.start();
  port.on('linkUp', () => console.log(`${port.name} is up`));
  port.on('linkDown', (reason) => console.log(`${port.name} is down: ${reason}`));
  portIds.push(port.id);
}
const args: CustomSwitchArgs = { portIds, mempool: mempool.address, isolated: [[1, 2]] };
await eal.lcore(1).runModule(new URL('./custom-switch-lcore.js', import.meta.url), args);
console.log(`switching between ${portIds.length} ports; Ctrl-C ends it`);
process.once('SIGINT', () => eal.cleanup());
