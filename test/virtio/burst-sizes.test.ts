/** Bursts by size: what a burst moved counts, not what it threw away, and a burst that moved nothing is none. */
import t from 'tap';
import {
  BURST_BIN_COUNT,
  QUEUE_BURST_BINS,
  QUEUE_BURSTS,
  QUEUE_RUN,
  QUEUE_SIZE_BINS,
  RUN_DISCARD,
  SIZE_BIN_COUNT,
} from '../../assembly/layout.js';
import { HDR, packetBytes } from './attack.js';
import { createRig, frameOf, LAYOUTS } from './rig.js';

const rig = createRig();
const { guest } = rig;
const LARGE = 500;
const SMALL = 60;

/** Bursts by bin, frames in all bins of sizes, and the number of bursts. */
function counted(queue: number): { bins: number[]; frames: number; bursts: number } {
  const u64s = (field: number, count: number) =>
    Array.from({ length: count }, (_, i) => rig.counter(queue, field + 8 * i));
  const frames = u64s(QUEUE_SIZE_BINS, SIZE_BIN_COUNT).reduce((a, b) => a + b, 0);
  return { bins: u64s(QUEUE_BURST_BINS, BURST_BIN_COUNT), frames, bursts: rig.counter(queue, QUEUE_BURSTS) };
}
const bins = (...of: number[]) =>
  Array.from({ length: BURST_BIN_COUNT }, (_, bin) => of.filter((one) => one === bin).length);

for (const layout of LAYOUTS) {
  t.test(`${layout}: packets without room are in no burst`, async (t) => {
    const { rx } = rig.boot({ layout, ringSize: 16, mergeable: false });
    for (let i = 0; i < 8; i++) rx.addOne(guest.guestAddress(guest.allocate(100)), 100, true);
    rx.publish();
    const send = (...lengths: number[]) => rig.send(...lengths.map((length, i) => rig.packet(frameOf(i, length))));
    t.equal(send(LARGE), 1);
    t.equal(send(LARGE, LARGE, LARGE), 3);
    t.same(rig.drops(rig.txQueue), { no_room: 4 });
    t.same(counted(rig.txQueue), { bins: bins(), frames: 0, bursts: 0 }, 'all dropped: no burst');
    t.equal(send(LARGE, SMALL, LARGE, LARGE), 4);
    t.same(counted(rig.txQueue), { bins: bins(0), frames: 1, bursts: 1 }, 'a burst of one');
    t.equal(send(SMALL, LARGE, SMALL), 3);
    t.same(counted(rig.txQueue), { bins: bins(0, 1), frames: 3, bursts: 2 }, 'and one of two');
    t.equal(send(SMALL, SMALL, SMALL, SMALL, LARGE), 5);
    t.same(counted(rig.txQueue), { bins: bins(0, 1, 2), frames: 7, bursts: 3 }, 'and one of four');
    t.equal(rig.packets(rig.txQueue), 7);
    rig.checkPool();
  });

  t.test(`${layout}: what a disabled ring throws away is in no burst`, async (t) => {
    const { tx } = rig.boot({ layout, ringSize: 16 });
    const address = packetBytes(rig, frameOf(1, SMALL));
    const offer = (count: number) => {
      for (let i = 0; i < count; i++) tx.addOne(address, HDR + SMALL, false);
      tx.publish();
    };
    rig.set(rig.rxQueue, [[QUEUE_RUN, RUN_DISCARD]]);
    offer(3);
    t.equal(rig.receive().length, 0);
    t.same(rig.drops(rig.rxQueue), { disabled: 3 });
    t.same(counted(rig.rxQueue), { bins: bins(), frames: 0, bursts: 0 });
    rig.set(rig.rxQueue, [[QUEUE_RUN, 1]]);
    offer(3);
    t.equal(rig.receive().length, 3);
    t.same(counted(rig.rxQueue), { bins: bins(1), frames: 3, bursts: 1 });
    rig.checkPool();
  });
}
