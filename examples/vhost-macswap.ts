/** Two VMs, joined by a packet function in TypeScript: `node dist/examples/vhost-macswap.js /tmp/vm0.sock /tmp/vm1.sock`. */
import { Eal, Mempool, Port } from 'viaduct';

const eal = await Eal.init({ lcores: [0, 1] });
const mempool = Mempool.createPktmbuf(eal, { name: 'packets', count: 8191 });
for (const [i, path] of process.argv.slice(2, 4).entries()) {
  const port = await Port.probe(eal, `net_vhost${i},iface=${path}`);
  port.configure({ rxQueueCount: 1, txQueueCount: 1 });
  port.rxQueueSetup(0, { mempool });
  port.txQueueSetup(0);
  await port.start();
}
await eal.lcore(1).runModule(new URL('./macswap.js', import.meta.url));
console.log('forwarding; Ctrl-C ends it');
process.once('SIGINT', () => eal.cleanup());
