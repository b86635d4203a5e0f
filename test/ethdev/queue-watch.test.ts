import t from 'tap';
import { QUEUE_STOP_CAUSE, STOP_CHAIN, STOP_HEAD } from '../../assembly/layout.js';
import type { HostMemory } from '../../src/eal/memory.js';
import { QueueWatch } from '../../src/ethdev/queue-watch.js';

const RX = 4096;
const TX = 8192;

t.test(
  'each fault of a queue is told once, also the next one after a peer that came back between two looks',
  async (t) => {
    const u32 = new Uint32Array(new SharedArrayBuffer(16384));
    const told: string[] = [];
    const queues = { rxQueues: [RX], txQueues: [TX] };
    const watch = new QueueWatch({ u32 } as unknown as HostMemory, queues, ({ direction, queue, cause }) => {
      told.push(`${direction} ${queue} ${cause}`);
    });
    const stop = (queue: number, cause: number) => {
      u32[(queue + QUEUE_STOP_CAUSE) >>> 2] = cause;
    };
    const look = (): string[] => {
      watch.look();
      return told.splice(0);
    };
    t.same(look(), []);
    stop(RX, STOP_CHAIN);
    t.same(look(), ['rx 0 chain']);
    t.same(look(), [], 'once');
    stop(RX, STOP_HEAD);
    t.same(look(), ['rx 0 head'], 'revived and stopped for another cause between two looks');
    stop(RX, 0);
    t.same(look(), []);
    stop(RX, STOP_HEAD);
    stop(TX, STOP_HEAD);
    t.same(look(), ['rx 0 head', 'tx 0 head'], 'revived, looked at, and stopped again');
    watch.forget();
    t.same(look(), ['rx 0 head', 'tx 0 head'], 'the peer came back, and it stopped again at once');
  },
);
