/** Which lines a guest's queue changes become. */
import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { queueStateLines, tellQueueStates, type WatchedPort } from '../../src/cli/queue-states.js';
import type { QueueState } from '../../src/index.js';

const rx = (queue: number, enabled = true): QueueState => ({ direction: 'rx', queue, enabled });
const tx = (queue: number, enabled = true): QueueState => ({ direction: 'tx', queue, enabled });

t.test('pairs, ranges, halves', async (t) => {
  t.strictSame(queueStateLines([]), []);
  t.strictSame(queueStateLines([tx(1), rx(1)]), ['queue pair 1 enabled']);
  t.strictSame(queueStateLines([0, 1, 2, 5].flatMap((n) => [rx(n), tx(n)])), ['queue pairs 0-2,5 enabled']);
  t.strictSame(queueStateLines([rx(0, false), rx(1, false), tx(3, false)]), [
    'rx queues 0-1 disabled',
    'tx queue 3 disabled',
  ]);
  t.strictSame(queueStateLines([rx(2, false), tx(2)]), ['tx queue 2 enabled', 'rx queue 2 disabled']);
});

/** A port that is told what to say. */
class Port extends EventEmitter {
  state = 'started';
  up = true;
  readonly lines: string[] = [];
  readonly pairs: number;

  constructor(pairs: number) {
    super();
    this.pairs = pairs;
    tellQueueStates(this as unknown as WatchedPort, (text, stopped) => this.lines.push(stopped ? `!${text}` : text));
  }

  link = () => ({ up: this.up });
  info = () => ({ rxQueueCount: this.pairs });

  /** What is said of these changes. */
  async after(...states: QueueState[]): Promise<string[]> {
    for (const state of states) this.emit('queueState', state);
    await sleep(80);
    return this.lines.splice(0);
  }
}

t.test('what happens within a moment is one line; what did not change is none', async (t) => {
  const port = new Port(4);
  t.strictSame(await port.after(rx(0), tx(0), rx(1), tx(1)), ['queue pairs 0-1 enabled'], 'the guest has come');
  t.strictSame(await port.after(tx(1, false), rx(1, false)), ['queue pair 1 disabled'], 'ethtool -L eth0 combined 1');
  t.strictSame(await port.after(tx(1), rx(1), tx(1, false), rx(1, false)), [], 'as it was');
  t.strictSame(await port.after({ ...rx(0, false), cause: 'head' }), ['!rx queue 0 stopped: head']);
  t.strictSame(await port.after(rx(0)), ['rx queue 0 enabled'], 'after a new start');
});

t.test('a link that goes down, a port with one pair, a port that was closed: no line', async (t) => {
  const port = new Port(2);
  await port.after(rx(0), tx(0), rx(1), tx(1));
  port.up = false;
  t.strictSame(await port.after(rx(0, false), tx(0, false), rx(1, false), tx(1, false)), []);
  port.up = true;
  t.strictSame(await port.after(rx(0), tx(0)), ['queue pair 0 enabled'], 'the next guest uses one');
  port.state = 'closed';
  t.strictSame(await port.after(rx(1), tx(1)), []);
  t.strictSame(await new Port(1).after(rx(0), tx(0)), []);
});
