/**
 * Runs anywhere: no VM, no root, no koffi. The main thread sends numbered frames into a ring port; a lcore swaps their MAC
 * addresses (macswap.ts) and sends them on; the main thread receives them from another ring port.
 *
 *   main thread ── near0 ⇄ far0 ── lcore 1 ── far1 ⇄ near1 ── main thread
 */
import { Burst, Eal, MbufView, Mempool, Port } from 'viaduct';

const FRAMES = 10_000;
/** Frames under way at the most: fewer than the rings hold, so that the packet function never finds one full. */
const WINDOW = 512;

const eal = await Eal.init({ memoryMiB: 64, lcores: [0, 1] });
const mempool = Mempool.createPktmbuf(eal, { name: 'packets', count: 8191 });

async function ring(number: number, wire: string): Promise<Port> {
  const port = await Port.probe(eal, `net_ring${number},wire=${wire}`);
  port.configure({ rxQueueCount: 1, txQueueCount: 1 });
  port.rxQueueSetup(0, { mempool });
  port.txQueueSetup(0);
  await port.start();
  return port;
}

// The packet function forwards between ports 0 and 1.
await ring(0, 'a');
await ring(1, 'b');
const [near0, near1] = [await ring(2, 'a'), await ring(3, 'b')];
await eal.lcore(1).runModule(new URL('./macswap.js', import.meta.url));

const burst = Burst.create(eal, 32);
const m = new MbufView(eal);
let sent = 0;
let received = 0;
let wrong = 0;
while (received < FRAMES) {
  const count = Math.min(burst.capacity, FRAMES - sent, WINDOW - (sent - received));
  if (count > 0 && mempool.allocBulk(burst, count)) {
    for (let i = 0; i < count; i++) {
      m.at(burst.handles[i]!).append(64);
      m.setU32(0, 0x02000000); // destination 02:00:00:00:00:aa
      m.setU16(4, 0x00aa);
      m.setU32(6, 0x02000000); // source 02:00:00:00:00:bb
      m.setU16(10, 0x00bb);
      m.setU32(16, sent + i);
    }
    const taken = near0.txBurst(0, burst, count);
    burst.free(taken, count);
    sent += taken;
  }
  const n = near1.rxBurst(0, burst);
  for (let i = 0; i < n; i++) {
    m.at(burst.handles[i]!);
    if (m.u16(4) !== 0x00bb || m.u16(10) !== 0x00aa || m.u32(16) !== received + i) wrong++;
  }
  burst.free(0, n);
  received += n;
  // The lcore needs the CPU too, where there is only one.
  if (n === 0) await new Promise((resolve) => setImmediate(resolve));
}
await eal.cleanup();
console.log(`${received} frames came back with their addresses swapped, ${wrong} were wrong`);
process.exitCode = wrong === 0 ? 0 : 1;
