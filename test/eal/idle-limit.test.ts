import t from 'tap';
import { IdleLimit } from '../../src/eal/idle-limit.js';

t.test('short sleeps make it poll longer, longer ones less, a pause hardly at all', async (t) => {
  const limit = new IdleLimit(2048);
  const after = (us: number): number => {
    limit.slept(us);
    return limit.polls;
  };
  t.equal(limit.polls, 2048, 'nothing is known at first');
  t.equal(after(1_000_000), 64);
  t.strictSame([20, 0, 199, 20, 20, 20, 20].map(after), [128, 256, 512, 1024, 2048, 2048, 2048]);
  t.strictSame([200, 4999].map(after), [1024, 512]);
  t.equal(after(5000), 64);
  t.equal(after(1000), 64);
});

t.test('never more than the user allows', async (t) => {
  const limit = new IdleLimit(10);
  for (const us of [0, 1_000_000, 10]) {
    limit.slept(us);
    t.equal(limit.polls, 10);
  }
});
