/** The hostile guest of HOSTILE-INPUTS, rows G1 to G10, G13, G17, G19 to G21, split and packed, at the rings themselves. */
import t from 'tap';
import {
  QUEUE_DESC,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_NO_MBUF,
  QUEUE_RUN,
  QUEUE_WALKED,
  RUN_DISCARD,
} from '../../assembly/layout.js';
import { Mempool } from '../../src/mempool.js';
import { PackedRing } from '../support/packed-ring.js';
import { SplitRing } from '../support/split-ring.js';
import { attackRx, attackTx, type Desc, HDR, INDIRECT, NEXT, offer, packetBytes, table, WRITE } from './attack.js';
import {
  createRig,
  END_OF_FIRST,
  END_OF_LAST,
  frameOf,
  LAYOUTS,
  REGIONS,
  type RigRing,
  same,
  UNMAPPED,
} from './rig.js';

const rig = createRig();
const { guest } = rig;
const RING = 16;
const FRAME = 200;
const WHOLE = HDR + FRAME;
const whole = () => packetBytes(rig, frameOf(5, FRAME));
const times = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));

for (const layout of LAYOUTS) {
  const boot = { layout, ringSize: RING, mergeable: true };

  t.test(`G1 ${layout}: a descriptor that is not inside one region`, async (t) => {
    const cases: readonly [string, number | bigint, number][] = [
      ['begins inside and ends outside', END_OF_LAST - 100, WHOLE],
      ['ends one byte outside', END_OF_FIRST - WHOLE + 1, WHOLE],
      ['begins before a region', REGIONS[1].guestAddress - 100, WHOLE],
      ['lies outside every region', UNMAPPED, WHOLE],
      ['begins just behind a region', END_OF_LAST, WHOLE],
      ['wraps around the address space', 0xffff_ffff_ffff_ff80n, WHOLE],
      ['is 4 GiB long', REGIONS[0].guestAddress, 0xffff_ffff],
      ['is as long as 32 bits wrap the header', REGIONS[0].guestAddress, 0xffff_fff8],
    ];
    for (const [title, address, length] of cases) {
      t.test(title, async (t) => {
        attackTx(t, rig, boot, (tx) => offer(rig, tx, { address, length }), { drops: { address: 1 } });
        const second = (tx: RigRing) => offer(rig, tx, { address: whole(), length: HDR + 20 }, { address, length });
        attackTx(t, rig, boot, second, { drops: { address: 1 } });
        const inTable = (tx: RigRing) => {
          const entries = [
            { address: whole(), length: HDR + 20 },
            { address, length },
          ];
          offer(rig, tx, { address: table(rig, tx, entries), length: 32, flags: INDIRECT });
        };
        attackTx(t, rig, boot, inTable, { drops: { address: 1 } });
        const bad = { address, length, flags: WRITE };
        attackRx(t, rig, boot, (rx) => offer(rig, rx, bad), { drops: { rx_buffer: 1 } });
        const behind = (rx: RigRing) => offer(rig, rx, { address: whole(), length: 20, flags: WRITE | NEXT }, bad);
        attackRx(t, rig, boot, behind, { drops: { rx_buffer: 1 } });
        const badTable = (rx: RigRing) =>
          offer(rig, rx, { address: table(rig, rx, [bad]), length: 16, flags: INDIRECT });
        attackRx(t, rig, boot, badTable, { drops: { rx_buffer: 1 } });
      });
    }
  });

  t.test(`G2 ${layout}: an indirect table that is none`, async (t) => {
    const entries = (count: number, flags?: number): Desc[] =>
      times(count, () => ({ address: whole(), length: 40, ...(flags === undefined ? {} : { flags }) }));
    const cases: readonly [string, (ring: RigRing, flags?: number) => Desc[]][] = [
      ['only partly inside a region', () => [{ address: END_OF_LAST - 16, length: 48, flags: INDIRECT }]],
      ['outside every region', () => [{ address: UNMAPPED, length: 48, flags: INDIRECT }]],
      [
        'not a multiple of 16',
        (ring, flags) => [{ address: table(rig, ring, entries(3, flags)), length: 40, flags: INDIRECT }],
      ],
      ['of length 0', (ring, flags) => [{ address: table(rig, ring, entries(1, flags)), length: 0, flags: INDIRECT }]],
      [
        'larger than the ring',
        (ring, flags) => [
          { address: table(rig, ring, entries(RING + 1, flags)), length: 16 * (RING + 1), flags: INDIRECT },
        ],
      ],
      [
        'of 4 GiB',
        (ring, flags) => [{ address: table(rig, ring, entries(1, flags)), length: 0xffff_fff0, flags: INDIRECT }],
      ],
      [
        'inside another one',
        (ring, flags) => {
          const inner = { address: table(rig, ring, entries(1, flags)), length: 16, flags: INDIRECT };
          return [{ address: table(rig, ring, [inner]), length: 16, flags: INDIRECT }];
        },
      ],
      [
        'that points to itself',
        (ring) => {
          const offset = guest.allocate(16, 16);
          const address = guest.guestAddress(offset);
          ring.writeDesc(
            offset,
            0,
            address,
            16,
            ring instanceof PackedRing ? 0 : INDIRECT,
            ring instanceof PackedRing ? INDIRECT : 0,
          );
          return [{ address, length: 16, flags: INDIRECT }];
        },
      ],
      [
        'with a descriptor behind it',
        (ring, flags) => [
          { address: table(rig, ring, entries(1, flags)), length: 16, flags: INDIRECT | NEXT },
          { address: whole(), length: WHOLE, flags: flags ?? 0 },
        ],
      ],
    ];
    for (const [title, attack] of cases) {
      t.test(title, async (t) => {
        attackTx(t, rig, boot, (tx) => offer(rig, tx, ...attack(tx)), { drops: { indirect: 1 } });
        attackRx(t, rig, boot, (rx) => offer(rig, rx, ...attack(rx, WRITE)), { drops: { rx_buffer: 1 } });
      });
    }
    t.test('a table behind a plain descriptor', async (t) => {
      const behind = (tx: RigRing) =>
        offer(
          rig,
          tx,
          { address: whole(), length: HDR + 20 },
          { address: table(rig, tx, entries(1)), length: 16, flags: INDIRECT },
        );
      attackTx(t, rig, boot, behind, { drops: { indirect: 1 } });
    });
    t.test('the WRITE flag beside INDIRECT means nothing', async (t) => {
      const odd = (tx: RigRing) =>
        offer(rig, tx, {
          address: table(rig, tx, [{ address: whole(), length: WHOLE }]),
          length: 16,
          flags: INDIRECT | WRITE,
        });
      attackTx(t, rig, boot, odd, { frames: 1 });
    });
  });

  t.test(`G5 ${layout}: chains without an end`, async (t) => {
    for (const length of [0, 1, 40]) {
      t.test(`descriptors of ${length} bytes`, async (t) => {
        const address = guest.guestAddress(guest.allocate(64));
        if (layout === 'packed') {
          const all = (flags: number) => (ring: RigRing) =>
            offer(rig, ring, ...times(RING, () => ({ address, length, flags })));
          // Behind it the walk meets descriptors of its own, or what the last lap left: all with NEXT.
          attackTx(t, rig, boot, all(NEXT), { drops: { chain: 1 }, stop: 'chain' });
          attackRx(t, rig, boot, all(NEXT | WRITE), { stop: 'chain' });
        } else {
          const self = (flags: number) => (ring: RigRing) => {
            const head = offer(rig, ring, { address, length, flags });
            if (ring instanceof SplitRing) ring.writeDesc(ring.desc, head, address, length, flags, head);
          };
          attackTx(t, rig, boot, self(NEXT), { drops: { chain: 1 } });
          const loop = (ring: RigRing) => {
            const entries = times(3, (i) => ({ address, length, flags: NEXT, next: (i + 1) % 3 }));
            offer(rig, ring, { address: table(rig, ring, entries), length: 48, flags: INDIRECT });
          };
          attackTx(t, rig, boot, loop, { drops: { chain: 1 } });
          // 16 × 40 bytes would hold the frame.
          if (length < 13) attackRx(t, rig, boot, self(NEXT | WRITE), { drops: { rx_buffer: 1 } });
        }
      });
    }
  });

  t.test(`G7 ${layout}: an index or id that the ring does not have`, async (t) => {
    for (const bad of [RING, RING + 1, 0x7fff, 0x8000, 0xffff]) {
      t.test(`${bad}`, async (t) => {
        const address = REGIONS[1].guestAddress + 4096;
        const one = (ring: RigRing, ...descs: Partial<Desc>[]) =>
          offer(rig, ring, ...descs.map((desc) => ({ address: whole(), length: WHOLE, ...desc })));
        if (layout === 'packed') {
          attackTx(t, rig, boot, (tx) => one(tx, { id: bad }), {
            drops: { index: 1 },
            stop: 'head',
          });
          const chain = (tx: RigRing) => one(tx, { length: 40 }, { length: 40, id: bad });
          attackTx(t, rig, boot, chain, { drops: { index: 1 }, stop: 'head' });
          attackRx(t, rig, boot, (rx) => offer(rig, rx, { address, length: WHOLE, id: bad, flags: WRITE }), {
            stop: 'head',
          });
          const short = (rx: RigRing) =>
            offer(
              rig,
              rx,
              { address, length: 40, flags: WRITE | NEXT },
              { address, length: WHOLE, id: bad, flags: WRITE },
            );
          attackRx(t, rig, boot, short, { stop: 'head' });
        } else {
          attackTx(t, rig, boot, (tx) => tx instanceof SplitRing && tx.offerRaw(bad), { stop: 'head' });
          attackRx(t, rig, boot, (rx) => rx instanceof SplitRing && rx.offerRaw(bad), { stop: 'head' });
          const next = { address, length: 40, flags: NEXT, next: bad };
          attackTx(t, rig, boot, (tx) => offer(rig, tx, next), { drops: { index: 1 } });
          const inTable = (tx: RigRing) =>
            offer(rig, tx, { address: table(rig, tx, [next]), length: 16, flags: INDIRECT });
          attackTx(t, rig, boot, inTable, { drops: { index: 1 } });
          attackRx(t, rig, boot, (rx) => offer(rig, rx, { ...next, flags: NEXT | WRITE }), { drops: { rx_buffer: 1 } });
        }
      });
    }
  });

  t.test(`G8 ${layout}: a chain that is hardly a header`, async (t) => {
    for (const length of [0, 1, HDR - 1, HDR]) {
      attackTx(t, rig, boot, (tx) => offer(rig, tx, { address: whole(), length }), { drops: { header: 1 } });
    }
    const address = whole();
    const bytes = times(HDR, (i) => ({ address: address + i, length: 1 }));
    attackTx(t, rig, boot, (tx) => offer(rig, tx, ...bytes.map((one) => ({ ...one, address: whole() }))), {
      drops: { header: 1 },
    });
    const empty = times(RING, () => ({ address, length: 0 }));
    attackTx(t, rig, boot, (tx) => offer(rig, tx, ...empty.map((one) => ({ ...one, address: whole() }))), {
      drops: { header: 1 },
    });
    const spread = (tx: RigRing) => {
      const at = whole();
      offer(rig, tx, ...bytes.map((_, i) => ({ address: at + i, length: 1 })), { address: at + HDR, length: FRAME });
    };
    attackTx(t, rig, boot, spread, { frames: 1 });
  });

  t.test(`G9 ${layout}: receive descriptors shorter than the header`, async (t) => {
    const write = (length: number, more = false) => ({
      address: guest.guestAddress(guest.allocate(length + 1)),
      length,
      flags: WRITE | (more ? NEXT : 0),
    });
    for (const length of [0, 1, HDR - 1]) {
      attackRx(t, rig, boot, (rx) => offer(rig, rx, write(length)), { drops: { rx_buffer: 1 } });
      attackRx(t, rig, boot, (rx) => offer(rig, rx, write(length, true), write(2048)), { drops: { rx_buffer: 1 } });
      const runtFirst = (rx: RigRing) => {
        offer(rig, rx, write(length));
        offer(rig, rx, write(2048));
      };
      attackRx(t, rig, boot, runtFirst, { drops: { rx_buffer: 1 }, frames: 1 });
      attackRx(t, rig, boot, (rx) => offer(rig, rx, write(HDR, true), write(length, true), write(2048)), { frames: 1 });
      const runtSecond = (rx: RigRing) => {
        offer(rig, rx, write(HDR));
        offer(rig, rx, write(length));
        offer(rig, rx, write(2048));
      };
      attackRx(t, rig, boot, runtSecond, { frames: 1 });
    }
    attackRx(t, rig, { ...boot, mergeable: false }, (rx) => offer(rig, rx, write(HDR)), { drops: { no_room: 1 } });
  });

  t.test(`G9 ${layout}: what is skipped comes back by its id, with nothing in it`, async (t) => {
    for (const firstFilled of [false, true]) {
      const { rx } = rig.boot(boot);
      const good = guest.guestAddress(guest.allocate(2048));
      // a runt alone; or a packet's second buffer is bad, when the first one is filled already
      const first = firstFilled
        ? offer(rig, rx, { address: good, length: 100, flags: WRITE })
        : offer(rig, rx, { address: good, length: HDR - 1, flags: WRITE });
      const second = firstFilled ? offer(rig, rx, { address: UNMAPPED, length: 2048, flags: WRITE }) : -1;
      const last = offer(rig, rx, { address: good, length: 2048, flags: WRITE });
      rx.publish();
      t.equal(rig.send(rig.packet(frameOf(1, FRAME))), 1);
      const skipped = firstFilled ? [first, second] : [first];
      for (const id of skipped) t.strictSame([rx.takeUsed(), rx.usedId, rx.usedLength], [true, id, 0]);
      t.strictSame([rx.takeUsed(), rx.usedId, rx.usedLength], [true, last, WHOLE]);
      t.notOk(rx.takeUsed());
      rig.checkPool();
    }
  });

  t.test(`G10 ${layout}: an unmapped address with a length of 0`, async (t) => {
    const nothing = { address: UNMAPPED, length: 0 };
    attackTx(t, rig, boot, (tx) => offer(rig, tx, nothing), { drops: { header: 1 } });
    for (const address of [0, END_OF_FIRST, END_OF_LAST]) {
      attackTx(t, rig, boot, (tx) => offer(rig, tx, { address, length: 0 }), { drops: { header: 1 } });
    }
    // In the midst of others, four to a cache line: each by itself.
    for (let bad = 0; bad < 4; bad++) {
      const four = (tx: RigRing) => {
        for (let i = 0; i < 4; i++) offer(rig, tx, i === bad ? nothing : { address: whole(), length: WHOLE });
      };
      attackTx(t, rig, boot, four, { drops: { header: 1 }, frames: 3 });
      const fourBuffers = (rx: RigRing) => {
        for (let i = 0; i < 4; i++) {
          const one = i === bad ? nothing : { address: guest.guestAddress(guest.allocate(2048)), length: 2048 };
          offer(rig, rx, { ...one, flags: WRITE });
        }
      };
      attackRx(t, rig, boot, fourBuffers, { drops: { rx_buffer: 1 }, frames: 3 }, FRAME, 4);
    }
    attackRx(t, rig, boot, (rx) => offer(rig, rx, { ...nothing, flags: WRITE }), { drops: { rx_buffer: 1 } });
  });

  t.test(`G13 ${layout}: a frame that is cut short`, async (t) => {
    for (const length of [1, 6, 13]) {
      attackTx(t, rig, boot, (tx) => offer(rig, tx, { address: whole(), length: HDR + length }), {
        drops: { runt: 1 },
      });
      const apart = (tx: RigRing) => {
        const address = whole();
        offer(rig, tx, { address, length: HDR }, { address: address + HDR, length });
      };
      attackTx(t, rig, boot, apart, { drops: { runt: 1 } });
    }
    // An mbuf that holds no more than the Ethernet header: what is dropped is the whole chain of them.
    const pool = Mempool.createPktmbuf(rig.context, {
      name: `crumbs ${layout}`,
      count: 200,
      dataRoomBytes: 14,
      cacheSize: 8,
    });
    for (const type of [0x00_81, 0xa8_88]) {
      for (const length of [14, 17]) {
        const tagged = (): Uint8Array => {
          const frame = frameOf(1, length);
          frame.set([type & 0xff, type >> 8], 12);
          return frame;
        };
        const one = (tx: RigRing) => offer(rig, tx, { address: packetBytes(rig, tagged()), length: HDR + length });
        const two = (tx: RigRing) => {
          const address = packetBytes(rig, tagged());
          offer(rig, tx, { address, length: HDR + 3 }, { address: address + HDR + 3, length: length - 3 });
        };
        for (const attack of [one, two]) attackTx(t, rig, { ...boot, pool }, attack, { drops: { runt: 1 } });
      }
    }
  });

  t.test(`G16 ${layout}: mergeable buffers that run out half way`, async (t) => {
    for (const posted of [1, 2, 5]) {
      const { rx } = rig.boot(boot);
      const buffers = times(posted, () => guest.allocate(100));
      for (const offset of buffers) rx.addOne(guest.guestAddress(offset), 100, true);
      rx.publish();
      const frame = frameOf(3, 100 * posted);
      t.equal(rig.send(rig.packet(frame)), 0, 'not taken');
      t.equal(rig.send(rig.packet(frame)), 0, 'nor the second time');
      t.notOk(rx.hasUsed, 'no buffer is used');
      t.same(rig.drops(rig.txQueue), {}, 'nothing dropped');
      const more = guest.allocate(100);
      rx.addOne(guest.guestAddress(more), 100, true);
      rx.publish();
      t.equal(rig.send(rig.packet(frame)), 1, 'with one more it goes');
      const got: number[] = [];
      for (const offset of [...buffers, more]) {
        t.ok(rx.takeUsed());
        got.push(...guest.bytes(offset, rx.usedLength));
      }
      same(Uint8Array.from(got.slice(HDR)), frame, 'frame');
      t.equal(got[10], posted + 1, 'num_buffers');
      rig.checkPool();
    }
    t.test('behind packets that fitted, in the same burst', async (t) => {
      const { rx } = rig.boot(boot);
      for (let i = 0; i < 5; i++) rx.addOne(guest.guestAddress(guest.allocate(512)), 512, true);
      rx.publish();
      const [small, large] = [frameOf(1, FRAME), frameOf(2, 1400)];
      const packets = [small, small, small, large, small].map((frame) => rig.packet(frame));
      t.equal(rig.send(...packets), 3, 'the large one needs three buffers, two are left');
      for (let i = 0; i < 3; i++) t.strictSame([rx.takeUsed(), rx.usedLength], [true, WHOLE]);
      t.notOk(rx.takeUsed(), 'nothing of it is given back');
      rx.addOne(guest.guestAddress(guest.allocate(512)), 512, true);
      rx.publish();
      t.equal(rig.send(rig.packet(large)), 1, 'it goes into the same buffers and one more');
      let bytes = 0;
      for (let i = 0; i < 3; i++) {
        t.ok(rx.takeUsed());
        bytes += rx.usedLength;
      }
      t.equal(bytes, HDR + 1400);
      rig.checkPool();
    });
    t.test('more than the whole ring can hold is dropped: waiting would not help', async (t) => {
      const { rx } = rig.boot(boot);
      for (let i = 0; i < RING; i++) rx.addOne(guest.guestAddress(guest.allocate(100)), 100, true);
      rx.publish();
      t.equal(rig.send(rig.packet(frameOf(3, 2000))), 1);
      t.same(rig.drops(rig.txQueue), { no_room: 1 });
      t.notOk(rx.hasUsed);
      t.equal(rig.send(rig.packet(frameOf(3, 1500))), 1, 'the next one goes');
      t.equal(rig.packets(rig.txQueue), 1);
      rig.checkPool();
    });
  });

  t.test(`G17 ${layout}: descriptors of the wrong direction`, async (t) => {
    attackTx(t, rig, boot, (tx) => offer(rig, tx, { address: whole(), length: WHOLE, flags: WRITE }), {
      drops: { direction: 1 },
    });
    const second = (tx: RigRing) =>
      offer(rig, tx, { address: whole(), length: HDR + 20 }, { address: whole(), length: 40, flags: WRITE });
    attackTx(t, rig, boot, second, { drops: { direction: 1 } });
    const entry = (tx: RigRing) =>
      offer(rig, tx, {
        address: table(rig, tx, [{ address: whole(), length: WHOLE, flags: WRITE }]),
        length: 16,
        flags: INDIRECT,
      });
    attackTx(t, rig, boot, entry, { drops: { direction: 1 } });

    const offset = guest.allocate(4096);
    const readOnly = { address: guest.guestAddress(offset), length: 2048, flags: 0 };
    const attack = (...descs: Desc[]) => {
      guest.u8.fill(0x77, offset, offset + 4096);
      attackRx(t, rig, boot, (rx) => offer(rig, rx, ...descs), { drops: { rx_buffer: 1 } });
    };
    attack(readOnly);
    attack({ address: whole(), length: 20, flags: WRITE | NEXT }, readOnly);
    attackRx(
      t,
      rig,
      boot,
      (rx) => offer(rig, rx, { address: table(rig, rx, [readOnly]), length: 16, flags: INDIRECT }),
      {
        drops: { rx_buffer: 1 },
      },
    );
  });

  t.test(`G17 ${layout}: read-only memory stays as it is`, async (t) => {
    for (const second of [false, true]) {
      const { rx } = rig.boot(boot);
      const offset = guest.allocate(4096);
      guest.u8.fill(0x77, offset, offset + 4096);
      if (second) offer(rig, rx, { address: guest.guestAddress(guest.allocate(100)), length: 100, flags: WRITE });
      offer(rig, rx, { address: guest.guestAddress(offset), length: 2048, flags: 0 });
      rx.publish();
      t.equal(rig.send(rig.packet(frameOf(1, FRAME))), 0);
      t.ok(guest.u8.subarray(offset, offset + 4096).every((byte) => byte === 0x77));
    }
  });

  t.test(`G20 ${layout}: a feature that was not negotiated`, async (t) => {
    const plain = { ...boot, indirect: false, mergeable: false };
    const inTable = (tx: RigRing) =>
      offer(rig, tx, { address: table(rig, tx, [{ address: whole(), length: WHOLE }]), length: 16, flags: INDIRECT });
    attackTx(t, rig, plain, inTable, { drops: { feature: 1 } });
    const forReceiving = (rx: RigRing) =>
      offer(rig, rx, {
        address: table(rig, rx, [{ address: whole(), length: WHOLE, flags: WRITE }]),
        length: 16,
        flags: INDIRECT,
      });
    attackRx(t, rig, plain, forReceiving, { drops: { rx_buffer: 1 } });
    const small = (rx: RigRing) => {
      for (let i = 0; i < 8; i++) rx.addOne(guest.guestAddress(guest.allocate(64)), 64, true);
    };
    attackRx(t, rig, plain, small, { drops: { no_room: 1 } });
  });

  t.test(`G21 ${layout}: more than the pool can hold`, async (t) => {
    const pool = Mempool.createPktmbuf(rig.context, {
      name: `few ${layout}`,
      count: 6,
      dataRoomBytes: 256,
      cacheSize: 0,
    });
    const large = (tx: RigRing, length: number) =>
      offer(rig, tx, { address: packetBytes(rig, frameOf(7, length)), length: HDR + length });
    t.test('one packet of more bytes than there are', async (t) => {
      const { tx } = rig.boot({ ...boot, pool });
      large(tx, 2000);
      large(tx, 100);
      tx.publish();
      const frames = rig.receiveAll();
      t.same(
        frames.map(({ length }) => length),
        [100],
      );
      t.same(rig.drops(rig.rxQueue), { no_mbuf: 1 });
      rig.checkPool();
    });
    t.test('a pool that is empty: the packets wait', async (t) => {
      const { tx } = rig.boot({ ...boot, pool });
      const held = times(6, () => pool.alloc());
      for (let i = 0; i < 8; i++) large(tx, 100 + i);
      tx.publish();
      const position = rig.get(rig.rxQueue, QUEUE_LAST_AVAIL);
      for (let i = 1; i <= 3; i++) {
        t.equal(rig.receive().length, 0);
        t.equal(rig.counter(rig.rxQueue, QUEUE_NO_MBUF), i, 'each time is counted');
      }
      t.notOk(tx.hasUsed, 'nothing is used');
      t.equal(rig.get(rig.rxQueue, QUEUE_LAST_AVAIL), position, 'nor taken');
      t.equal(rig.stopped(rig.rxQueue), undefined);
      rig.wasm.mbufFree(held.pop()!, rig.lcoreId);
      const lengths = rig.receive().map((frame) => frame.length);
      t.same(lengths, [100], 'one mbuf, one packet, the first');
      t.equal(rig.counter(rig.rxQueue, QUEUE_NO_MBUF), 4, 'the burst asked for more');
      t.equal(rig.receive(1).length, 1, 'a burst of one asks for no more than there is');
      t.equal(rig.counter(rig.rxQueue, QUEUE_NO_MBUF), 4);
      for (const mbuf of held) rig.wasm.mbufFree(mbuf, rig.lcoreId);
      lengths.push(101, ...rig.receiveAll().map((frame) => frame.length));
      t.same(lengths, [100, 101, 102, 103, 104, 105, 106, 107], 'nothing is lost, nothing twice');
      t.same(rig.drops(rig.rxQueue), {});
      while (tx.takeUsed());
      t.equal(tx.inFlight, 0, 'every descriptor came back');
      rig.checkPool();
    });
    t.test('longer than any frame', async (t) => {
      const { tx } = rig.boot(boot);
      const offset = guest.allocate(70_000);
      guest.u8.fill(0, offset, offset + 70_000);
      const address = guest.guestAddress(offset);
      offer(rig, tx, { address, length: HDR + 65_562 });
      offer(rig, tx, { address, length: HDR + 65_563 });
      offer(rig, tx, { address, length: HDR + 30_000 }, { address, length: 35_563 });
      tx.publish();
      t.equal(rig.receiveAll().length, 1);
      t.same(rig.drops(rig.rxQueue), { too_long: 2 });
      rig.checkPool();
    });
  });
}

for (const layout of LAYOUTS) {
  t.test(`F19 ${layout}: a disabled ring lets nothing in, also in the burst that stops it`, async (t) => {
    const { tx } = rig.boot({ layout, ringSize: RING });
    rig.set(rig.rxQueue, [[QUEUE_RUN, RUN_DISCARD]]);
    for (let i = 0; i < 3; i++) offer(rig, tx, { address: whole(), length: WHOLE });
    if (tx instanceof SplitRing) tx.offerRaw(RING);
    else offer(rig, tx, { address: whole(), length: WHOLE, id: 99 });
    tx.publish();
    t.equal(rig.receive().length, 0);
    t.equal(rig.stopped(rig.rxQueue), 'head');
    t.equal(rig.drops(rig.rxQueue).disabled, 3);
    rig.checkPool();
  });

  t.test(`${layout}: buffers of any region take the plain path`, async (t) => {
    for (const region of [0, 1]) {
      const { tx, rx } = rig.boot({ layout, ringSize: RING });
      const frame = frameOf(6, FRAME);
      const sent = packetBytes(rig, frame, undefined, region);
      for (let i = 0; i < RING; i++) {
        tx.addOne(sent, WHOLE, false);
        rx.addOne(guest.guestAddress(guest.allocateIn(region, 2048)), 2048, true);
      }
      tx.publish();
      rx.publish();
      t.ok(rig.receive(RING).every((got) => Buffer.compare(got, frame) === 0));
      t.equal(rig.send(...times(RING, () => rig.packet(frame))), RING);
      for (const queue of [rig.rxQueue, rig.txQueue]) {
        t.equal(rig.get(queue, QUEUE_WALKED), 0, `region ${region}: no descriptor was walked alone`);
      }
      rig.checkPool();
    }
  });
}

t.test('G6 split: an available index that runs ahead', async (t) => {
  for (const ahead of [RING + 1, RING + 2, 0x7fff, 0x8000, 0xfff0]) {
    const jump = (ring: RigRing) => ring instanceof SplitRing && ring.publishRaw(ring.availIndex + ahead);
    attackTx(t, rig, { layout: 'split', ringSize: RING }, jump, { stop: 'avail_ahead' });
    attackRx(t, rig, { layout: 'split', ringSize: RING }, jump, { stop: 'avail_ahead' });
  }
});

t.test('G19 packed: state bits that contradict', async (t) => {
  const boot = { layout: 'packed', ringSize: RING } as const;
  for (const [title, lie] of [
    ['neither', 0],
    ['both', 0x8080],
    ['the other lap', 0x8000],
  ] as const) {
    t.test(`the next descriptor says ${title}`, async (t) => {
      const { tx, rx } = rig.boot(boot);
      for (const ring of [tx, rx]) ring.writeDesc(ring.desc, 0, whole(), WHOLE, 0, lie | (ring === rx ? WRITE : 0));
      t.equal(rig.receive().length, 0, 'not available');
      t.equal(rig.send(rig.packet(frameOf(1, 60))), 0, 'nothing to write into');
      t.equal(rig.stopped(rig.rxQueue), undefined);
      t.equal(rig.stopped(rig.txQueue), undefined);
      rig.checkPool();
    });
  }
  for (const id of [0, 3]) {
    t.test(`the whole ring at once, all with id ${id}`, async (t) => {
      const { tx, rx } = rig.boot(boot);
      for (let i = 0; i < RING; i++) {
        tx.writeDesc(tx.desc, i, whole(), WHOLE, id, 0x80);
        rx.writeDesc(rx.desc, i, guest.guestAddress(guest.allocate(2048)), 2048, id, 0x80 | WRITE);
      }
      t.equal(rig.receive(64).length, RING, 'one lap');
      t.equal(rig.receive(64).length, 0, 'and no more');
      t.equal(rig.send(...times(64, () => rig.packet(frameOf(1, 60)))), RING, 'one lap');
      t.equal(rig.send(rig.packet(frameOf(1, 60))), 0, 'and no more');
      rig.checkPool();
    });
  }
  t.test('the whole ring again in each lap, whatever the device has written', async (t) => {
    const { tx } = rig.boot(boot);
    for (let lap = 0; lap < 100; lap++) {
      for (let i = 0; i < RING; i++)
        tx.writeDesc(tx.desc, i, whole(), WHOLE, lap % RING, lap % 2 === 0 ? 0x80 : 0x8000);
      t.equal(rig.receive(512).length, RING);
      if (lap % 8 === 7) rig.check();
      if (lap % 20 === 19) break;
    }
    rig.checkPool();
  });
  t.test('mergeable chains that add up to more than the ring', async (t) => {
    const { rx } = rig.boot({ ...boot, mergeable: true });
    // the ring ends with its region: what lies behind is not the guest's
    const end = guest.offsetOf(REGIONS[0]!.guestAddress) + REGIONS[0]!.lengthBytes;
    const desc = end - 16 * RING;
    guest.u8.fill(0, desc, end);
    rig.set(rig.txQueue, [[QUEUE_DESC, rig.arena + desc]]);
    const buffer = guest.guestAddress(guest.allocate(2048));
    const put = (index: number, length: number, flags: number, id = 0) =>
      rx.writeDesc(desc, index, buffer, length, id, WRITE | flags);
    for (let i = 0; i < RING - 1; i++) put(i, 2048, 0x80, i);
    t.equal(rig.send(...times(RING - 1, () => rig.packet(frameOf(1, 60)))), RING - 1);
    // one chain from the last descriptor on, too small for the packet; the next one runs over it
    put(RING - 1, HDR, 0x80 | NEXT);
    for (let i = 0; i < RING - 2; i++) put(i, 0, 0x8000 | (i < RING - 3 ? NEXT : 0));
    put(RING - 2, 2048, 0x8000 | NEXT);
    const behind = guest.bytes(end, 32 * RING);
    t.equal(rig.send(rig.packet(frameOf(2, 500))), 0);
    t.equal(rig.stopped(rig.txQueue), 'chain');
    t.ok((rig.get(rig.txQueue, QUEUE_LAST_AVAIL) & 0x7fff) < RING, 'the position stays inside the ring');
    t.equal(rig.send(...times(4, () => rig.packet(frameOf(3, 60)))), 0);
    t.strictSame(guest.bytes(end, 32 * RING), behind, 'and nothing behind it is written');
  });
  t.test('a chain that begins at the end of the lap and runs over what was taken already', async (t) => {
    const { tx } = rig.boot(boot);
    const address = whole();
    for (let i = 0; i < RING; i++) tx.writeDesc(tx.desc, i, address, 40, 1, 0x80 | (i >= RING - 2 ? NEXT : 0));
    t.equal(rig.receive(64).length, RING - 2, 'those before it');
    t.equal(rig.stopped(rig.rxQueue), 'chain', 'more than the ring has');
    t.equal(rig.receive(64).length, 0, 'then nothing');
    rig.checkPool();
  });
  t.test('the same where packets go out', async (t) => {
    const { rx } = rig.boot(boot);
    const buffer = guest.guestAddress(guest.allocate(2048));
    for (let i = 0; i < RING; i++) {
      const last = i >= RING - 2;
      rx.writeDesc(rx.desc, i, buffer, last ? 40 : 2048, i, 0x80 | WRITE | (last ? NEXT : 0));
    }
    t.equal(rig.send(...times(RING, () => rig.packet(frameOf(1, 60)))), RING - 2, 'those before it');
    t.equal(rig.stopped(rig.txQueue), 'chain', 'more than the ring has');
    rig.checkPool();
  });
  t.test('in each lap only what that lap makes available', async (t) => {
    for (const lap of [0, 1, 2, 3]) {
      const [now, other] = lap % 2 === 0 ? [0x80, 0x8000] : [0x8000, 0x80];
      for (const lie of [other, 0, 0x8080]) {
        const { tx, rx } = rig.boot(boot);
        for (const queue of [rig.rxQueue, rig.txQueue]) {
          const position = lap % 2 === 0 ? 0x8000 : 0;
          rig.set(queue, [
            [QUEUE_LAST_AVAIL, position],
            [QUEUE_LAST_USED, position],
          ]);
        }
        for (let i = 0; i < RING; i++) {
          const state = i < 2 || i > 2 ? now : lie;
          tx.writeDesc(tx.desc, i, whole(), WHOLE, i, state);
          rx.writeDesc(rx.desc, i, guest.guestAddress(guest.allocate(2048)), 2048, i, state | WRITE);
        }
        t.equal(rig.receive(64).length, 2, `lap ${lap}: the two before it`);
        t.equal(rig.send(...times(4, () => rig.packet(frameOf(1, 60)))), 2, `lap ${lap}: the two before it`);
        t.equal(rig.receive(64).length, 0);
        rig.checkPool();
      }
    }
  });
});
