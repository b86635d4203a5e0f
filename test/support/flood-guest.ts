/**
 * A test guest in a process of its own, to be killed: connects (or listens), then sends frames as fast as it can and takes
 * what comes. Arguments: connect|listen, socket, own MAC, destination MAC. Prints "flooding" when its queues are up.
 */
import { loadOs } from '../../src/os/index.js';
import { FrameMaker } from './frames.js';
import { FrontEnd } from './front-end.js';
import { TestGuest } from './test-guest.js';

const [role, path, mac, destination] = process.argv.slice(2);
const { os } = loadOs();
if (os === undefined || path === undefined || mac === undefined || destination === undefined) {
  throw new Error('usage: flood-guest connect|listen SOCKET MAC DESTINATION (on Linux, with koffi)');
}
const guest = new TestGuest(os, { ringSize: 256 });
const patienceMs = 20_000;
const frontEnd =
  role === 'listen'
    ? await FrontEnd.listen(os, path, guest, patienceMs)
    : await FrontEnd.connect(os, path, guest, patienceMs);
console.log('flooding');
const maker = new FrameMaker(destination, mac);
for (let sequence = 0; ; ) {
  guest.reclaim();
  while (guest.send(maker.make(sequence, 60 + (sequence % 1400)))) sequence++;
  frontEnd.flush();
  while (guest.receive() !== undefined);
  frontEnd.fillRx();
}
