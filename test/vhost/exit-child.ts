/** Run as a process of its own by socket.test.ts: opens a vhost port and ends without closing it, in the way it is told. */
import { Eal, Port } from '../../src/index.js';

const [socket, how] = process.argv.slice(2);
const eal = await Eal.init({ memoryMiB: 16 });
await Port.probe(eal, `net_vhost0,iface=${socket}`);
if (how === 'exit') process.exit(7);
if (how === 'throw') throw new Error('on purpose');
if (how === 'cleanup') await eal.cleanup();
if (how === 'kill') process.kill(process.pid, 'SIGKILL');
