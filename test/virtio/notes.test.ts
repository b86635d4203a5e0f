/**
 * One call takes or gives back MAX_NOTES chains at the most: its notes end where the queue's record ends, and the rig's canaries
 * stand behind it. A burst goes on in a second and a third call on a ring that holds so many (assembly/pmd/send.ts). Rows G14 and
 * G16 of HOSTILE-INPUTS.
 */
import t from 'tap';
import { MAX_CHAINS, MAX_NOTES, QUEUE_LAST_USED } from '../../assembly/layout.js';
import { HDR, packetBytes } from './attack.js';
import { createRig, frameOf, LAYOUTS, type RigRing } from './rig.js';

const rig = createRig(1500);
const { guest } = rig;
const RING = 4096;
const BURST = 512;

const times = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
/** Chains that the device has given back: none of these rings goes round. */
const given = () => rig.get(rig.txQueue, QUEUE_LAST_USED) & 0x7fff;

function post(rx: RigRing, count: number, length: number): void {
  const address = guest.guestAddress(guest.allocate(length + 1));
  for (let i = 0; i < count; i++) if (rx.addOne(address, length, true) < 0) throw new Error('the ring is full');
}

for (const layout of LAYOUTS) {
  const boot = { layout, ringSize: RING, mergeable: true };

  t.test(`${layout}: packets over so many chains that a burst's notes run out`, async (t) => {
    const { rx } = rig.boot(boot);
    const chains = 5;
    post(rx, RING, 100);
    rx.publish();
    const packets = times(BURST, (i) => rig.packet(frameOf(i, 100 * chains - HDR)));
    const sent = rig.send(...packets);
    t.equal(sent, BURST);
    t.equal(given(), chains * BURST, 'more than one call notes');
    rig.checkPool();
    t.equal(rig.send(...times(100, (i) => rig.packet(frameOf(i, 100 * chains - HDR)))), 100, 'the next burst goes on');
    rig.checkPool();
  });

  t.test(
    `${layout}: a packet of as many chains as there may be, behind as many bad buffers as there may be`,
    async (t) => {
      for (const bad of [MAX_NOTES - MAX_CHAINS, MAX_NOTES - MAX_CHAINS + 1, MAX_NOTES - 1, MAX_NOTES + 100]) {
        const { rx } = rig.boot(boot);
        post(rx, bad, 1);
        post(rx, MAX_CHAINS, 200);
        rx.publish();
        const length = 200 * MAX_CHAINS - HDR;
        const packet = () =>
          rig.packet(
            frameOf(1, length),
            times(Math.floor(length / 2000), (i) => 2000 * (i + 1)),
          );
        t.equal(rig.send(packet()), 1, `${bad} bad buffers`);
        rig.checkPool();
        t.same(rig.drops(rig.txQueue), { rx_buffer: bad });
        t.equal(given(), bad + MAX_CHAINS);
      }
    },
  );

  t.test(`${layout}: a packet of one chain more than there may be is dropped`, async (t) => {
    const { rx } = rig.boot(boot);
    post(rx, 2 * MAX_CHAINS, 200);
    rx.publish();
    const length = 200 * MAX_CHAINS - HDR + 1;
    const cuts = times(Math.floor(length / 2000), (i) => 2000 * (i + 1));
    t.equal(rig.send(rig.packet(frameOf(1, length), cuts)), 1);
    t.same(rig.drops(rig.txQueue), { no_room: 1 });
    t.equal(given(), 0, 'its buffers stay');
    rig.checkPool();
  });

  t.test(`${layout}: plain buffers behind bad ones`, async (t) => {
    const { rx } = rig.boot(boot);
    const bad = MAX_NOTES - MAX_CHAINS;
    post(rx, bad, 1);
    post(rx, BURST, 200);
    rx.publish();
    const sent = rig.send(...times(BURST, () => rig.packet(frameOf(1, 100))));
    t.equal(given(), bad + BURST, 'more than one call notes');
    t.equal(sent, BURST);
    rig.checkPool();
  });

  t.test(`${layout}: the largest burst of what the guest sends`, async (t) => {
    for (const length of [60, 3000]) {
      const { tx } = rig.boot(boot);
      const address = packetBytes(rig, frameOf(1, length));
      while (tx.addOne(address, HDR + length, false) >= 0);
      tx.publish();
      const received = rig.receive(BURST).length;
      t.ok(received > 0 && received <= BURST, `${received} frames`);
      rig.checkPool();
    }
  });
}
