/**
 * Rows G14 and G18 of HOSTILE-INPUTS, split and packed: how much a guest can make one burst do, and event indexes full of
 * nonsense. Work is counted (descriptors walked), never timed.
 */
import t from 'tap';
import {
  MBUF_F_TX_VLAN,
  MBUF_REFCNT,
  QUEUE_NOTIFIED,
  QUEUE_SUPPRESSED,
  QUEUE_WALKED,
  WALKS_PER_PACKET,
} from '../../assembly/layout.js';
import { PackedRing } from '../support/packed-ring.js';
import { SplitRing } from '../support/split-ring.js';
import { HDR, INDIRECT, NEXT, offer, packetBytes, table, WRITE } from './attack.js';
import { createRig, frameOf, LAYOUTS, type RigRing } from './rig.js';

const rig = createRig();
const { guest } = rig;
const RING = 256;

/** What one burst may walk: a lap, its packets' share, and the chain or table that it was in when that was used up. */
function most(count: number, longest = RING): number {
  return RING + count * WALKS_PER_PACKET + longest;
}

/** A table of `count` descriptors without a byte, then `behind`. */
function emptyTable(
  ring: RigRing,
  count: number,
  flags: number,
  behind: readonly { address: number; length: number }[],
) {
  const address = guest.guestAddress(guest.allocate(16));
  const empty = Array.from({ length: count }, () => ({ address, length: 0 }));
  const descs = [...empty, ...behind];
  const linked = ring instanceof SplitRing;
  return table(
    rig,
    ring,
    descs.map((desc, i) => ({ ...desc, flags: flags | (linked && i < descs.length - 1 ? NEXT : 0) })),
  );
}

for (const layout of LAYOUTS) {
  t.test(`G14 ${layout}: chains of empty descriptors`, async (t) => {
    const { tx } = rig.boot({ layout, ringSize: RING });
    const frame = frameOf(1, 100);
    const address = packetBytes(rig, frame);
    const at = emptyTable(tx, RING - 1, 0, [{ address, length: HDR + 100 }]);
    for (let i = 0; i < RING; i++) offer(rig, tx, { address: at, length: 16 * RING, flags: INDIRECT });
    tx.publish();
    let bursts = 0;
    let received = 0;
    while (received < RING && bursts < 1000) {
      const frames = rig.receive(32);
      t.ok(frames.length > 0 && rig.get(rig.rxQueue, QUEUE_WALKED) <= most(32), 'bounded, and it goes on') ||
        t.bailout();
      received += frames.length;
      bursts++;
    }
    t.equal(received, RING, `all of them, in ${bursts} bursts`);
    t.ok(bursts > 16, 'not in as many bursts as an honest guest needs');
    rig.checkPool();
  });

  t.test(`G14 ${layout}: receive buffers that are bad at the very end`, async (t) => {
    const { rx } = rig.boot({ layout, ringSize: RING, mergeable: true });
    const at = emptyTable(rx, RING - 2, WRITE, [{ address: 0x7_0000_0000, length: 100 }]);
    const good = guest.guestAddress(guest.allocate(HDR));
    // The first of each holds the header, so that the table behind it is walked.
    for (let i = 0; i < RING / 2; i++) {
      rx.addOne(good, HDR, true);
      offer(rig, rx, { address: at, length: 16 * (RING - 1), flags: INDIRECT });
    }
    rx.publish();
    let calls = 0;
    while ((rig.drops(rig.txQueue).rx_buffer ?? 0) < RING && calls++ < 1000) {
      const before = rig.drops(rig.txQueue).rx_buffer ?? 0;
      if (rig.send(rig.packet(frameOf(1, 500))) !== 0) break;
      const walked = rig.get(rig.txQueue, QUEUE_WALKED);
      if (walked > most(1, 2 * RING)) throw new Error(`${walked} descriptors for one packet`);
      if ((rig.drops(rig.txQueue).rx_buffer ?? 0) === before) throw new Error('no progress');
    }
    t.ok(calls > 10 && calls < 1000, `skipped in ${calls} bursts`);
    t.equal(rig.drops(rig.txQueue).rx_buffer, RING);
    rig.checkPool();
  });

  t.test(`G14 ${layout}: a bad buffer behind each large one`, async (t) => {
    const { rx } = rig.boot({ layout, ringSize: RING, mergeable: true });
    const large = guest.guestAddress(guest.allocate(60_000));
    for (let i = 0; i < RING / 2; i++) {
      rx.addOne(large, 60_000, true);
      rx.addOne(0x7_0000_0000, 2000, true);
    }
    rx.publish();
    const cuts = Array.from({ length: 30 }, (_, i) => 2000 * (i + 1));
    let calls = 0;
    while ((rig.drops(rig.txQueue).rx_buffer ?? 0) < RING && calls++ < 1000) {
      if (rig.send(rig.packet(frameOf(1, 61_000), cuts)) !== 0) throw new Error('sent');
      // A copy of 60000 bytes counts as 937 descriptors.
      if (rig.get(rig.txQueue, QUEUE_WALKED) > most(1, 940 + 4)) throw new Error('too much for one packet');
    }
    t.ok(calls >= RING / 2, `${calls} bursts: no more than one such copy in each`);
    rig.checkPool();
  });

  t.test(`G14 ${layout}: tiny receive buffers under a fast sender`, async (t) => {
    const { rx } = rig.boot({ layout, ringSize: RING, mergeable: true });
    const address = guest.guestAddress(guest.allocate(64));
    let calls = 0;
    for (let round = 0; round < 20; round++) {
      while (rx.addOne(address, HDR, true) >= 0);
      rx.publish();
      rig.send(...Array.from({ length: 32 }, () => rig.packet(frameOf(1, 1500))));
      while (rx.takeUsed());
      const walked = rig.get(rig.txQueue, QUEUE_WALKED);
      if (walked > most(32)) throw new Error(`${walked} descriptors`);
      calls++;
    }
    t.equal(calls, 20);
    rig.checkPool();
  });

  for (const ringSize of [RING, 4096]) {
    /** One chain as long as the ring, as it is or as a table, that has room for a header and nothing else. */
    const postLongChain = (indirect: boolean): void => {
      const { rx } = rig.boot({ layout, ringSize });
      const address = guest.guestAddress(guest.allocate(64));
      const linked = !indirect || rx instanceof SplitRing;
      const descs = Array.from({ length: ringSize }, (_, i) => ({
        address,
        length: i === 0 ? HDR : 0,
        flags: WRITE | (linked && i < ringSize - 1 ? NEXT : 0),
      }));
      if (indirect) offer(rig, rx, { address: table(rig, rx, descs), length: 16 * ringSize, flags: INDIRECT });
      else offer(rig, rx, ...descs);
      rx.publish();
    };
    /** Each packet that was dropped has cost the chain. */
    const walked = (): number => rig.drops(rig.txQueue).no_room! * ringSize;
    const bound = (count: number): number => ringSize + count * WALKS_PER_PACKET + ringSize;

    for (const indirect of [false, true]) {
      const what = `too small for each packet${indirect ? ', a table' : ''}, ring ${ringSize}`;
      t.test(`G14 ${layout}: one long chain that is ${what}`, async (t) => {
        for (const count of [32, 512]) {
          postLongChain(indirect);
          rig.send(...Array.from({ length: count }, () => rig.packet(frameOf(1, 100))));
          t.ok(walked() <= bound(count), `${walked()} descriptors for ${count} packets`);
          t.ok(rig.drops(rig.txQueue).no_room! > 0);
          rig.checkPool();
        }
      });
    }

    t.test(`G14 ${layout}: the same for packets that software makes fit one by one, ring ${ringSize}`, async (t) => {
      for (const count of [32, 200]) {
        postLongChain(false);
        const packets = Array.from({ length: count }, () => rig.packet(frameOf(1, 100), [], MBUF_F_TX_VLAN));
        // Somebody else has them too, so that the tag cannot be put in place.
        for (const packet of packets) rig.memory.u16[(packet + MBUF_REFCNT) >>> 1] = 2;
        rig.send(...packets);
        t.ok(walked() <= bound(count), `${walked()} descriptors for ${count} packets`);
        t.ok(rig.drops(rig.txQueue).no_room! > 0);
        for (const packet of packets) rig.wasm.mbufFree(packet, rig.lcoreId);
        rig.checkPool();
      }
    });
  }

  for (const eventIdx of [false, true]) {
    t.test(`G18 ${layout}: nonsense where the guest says when to notify it, event index ${eventIdx}`, async (t) => {
      const { tx, rx } = rig.boot({ layout, ringSize: 64, eventIdx, mergeable: true });
      const address = packetBytes(rig, frameOf(1, 60));
      const buffer = guest.guestAddress(guest.allocate(2048));
      const event = (ring: RigRing, value: number) => {
        if (ring instanceof PackedRing) ring.writeEvent(value & 0xffff, value >>> 16);
        else {
          guest.u16[(ring.avail + 4 + 2 * ring.size) >>> 1] = value;
          guest.u16[ring.avail >>> 1] = value >>> 16;
        }
      };
      const signals = (queue: number) => rig.counter(queue, QUEUE_NOTIFIED) + rig.counter(queue, QUEUE_SUPPRESSED);
      let state = 1;
      let bursts = 0;
      for (let round = 0; round < 3000; round++) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        event(tx, state);
        event(rx, state ^ 0x8000_8000);
        const count = 1 + (state >>> 27);
        for (let i = 0; i < count; i++) {
          tx.addOne(address, HDR + 60, false);
          rx.addOne(buffer, 2048, true);
        }
        tx.publish();
        rx.publish();
        if (rig.receive(64).length !== count) throw new Error('frames are missing');
        if (rig.send(...Array.from({ length: count }, () => rig.packet(frameOf(1, 60)))) !== count)
          throw new Error('not sent');
        while (tx.takeUsed());
        while (rx.takeUsed());
        bursts++;
        if (signals(rig.rxQueue) !== bursts || signals(rig.txQueue) !== bursts) throw new Error('one decision a burst');
        if (round % 10 !== 0) continue;
        bursts++;
        // Now it asks as it should: the next burst is told of.
        const before = rig.counter(rig.rxQueue, QUEUE_NOTIFIED);
        if (ringFlagsCleared(tx)) tx.wantInterrupts(true);
        tx.addOne(address, HDR + 60, false);
        tx.publish();
        rig.receive();
        tx.takeUsed();
        if (rig.counter(rig.rxQueue, QUEUE_NOTIFIED) !== before + 1) throw new Error(`round ${round}: a lost wake-up`);
        rx.addOne(buffer, 2048, true);
        rx.publish();
        rig.send(rig.packet(frameOf(1, 60)));
        rx.takeUsed();
      }
      t.pass('one decision a burst, no lost wake-up');
      rig.checkPool();
    });
  }
}

/** With an event index a split ring's flags are reserved: what stood there before goes. */
function ringFlagsCleared(ring: RigRing): boolean {
  if (ring instanceof SplitRing) guest.u16[ring.avail >>> 1] = 0;
  return true;
}
