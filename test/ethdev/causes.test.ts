/** The names of causes agree with assembly/layout.ts, one by one. */
import t from 'tap';
import * as layout from '../../assembly/layout.js';
import { dropCauses, explainStop, stopCauseName, stopCauses } from '../../src/ethdev/causes.js';

/** Names of the layout's constants with a prefix, by value: `DROP_NO_MBUF = 8` → names[8] = 'no_mbuf'. */
function namesOf(prefix: string): string[] {
  const names: string[] = [];
  for (const [key, value] of Object.entries(layout)) {
    if (key.startsWith(prefix) && key !== 'DROP_COUNT') names[value as number] = key.slice(prefix.length).toLowerCase();
  }
  return names;
}

t.test('drop causes', async (t) => {
  t.same([...dropCauses], namesOf('DROP_'));
  t.equal(dropCauses.length, layout.DROP_COUNT as number);
  t.ok(layout.QUEUE_DROPS + layout.DROP_COUNT * 8 <= layout.QUEUE_SIZE, 'the counters lie inside the record');
});

t.test('stop causes', async (t) => {
  t.same([...stopCauses], namesOf('STOP_'));
  t.equal(stopCauseName(layout.STOP_HEAD), 'head');
  t.equal(stopCauseName(99), '99');
  const texts = stopCauses.map(explainStop);
  t.equal(new Set(texts).size, texts.length, 'each is explained in its own words');
  t.equal(explainStop('99'), 'cause 99');
});
