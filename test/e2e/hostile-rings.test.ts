/**
 * The hostile guest of HOSTILE-INPUTS: rows G1, G2, G5, G6, G7, G8, G13 on split rings, and what is different on packed ones
 * (test/virtio has every row of both). A test guest writes them into the rings of a real port; two others exchange frames over the same switch and the same lcore meanwhile.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { QueueState } from '../../src/index.js';
import { Flow, type FlowEnd, turn } from '../support/flow.js';
import { FrameMaker } from '../support/frames.js';
import { GuestMemory } from '../support/guest-memory.js';
import { Lab } from '../support/lab.js';
import type { PackedRing, RawDesc } from '../support/packed-ring.js';
import { DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, type SplitRing } from '../support/split-ring.js';
import { SwitchRig } from '../support/switch-rig.js';
import {
  type TestGuest,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_VERSION_1,
  VIRTIO_NET_F_MRG_RXBUF,
} from '../support/test-guest.js';

const HOSTILE = 0;
const SINK = 3;
const MIB = 1 << 20;
const RING_SIZE = 256;
const HEADER_BYTES = 12;
const FRAME_BYTES = 200;
const PATIENCE_MS = 10_000;
const MODERN = VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MRG_RXBUF | VIRTIO_F_INDIRECT_DESC;

/** A descriptor, as it will stand in guest memory. */
interface Desc {
  readonly address: number | bigint;
  readonly length: number;
  readonly flags?: number;
  readonly next?: number;
}

/** The hostile guest's hands. */
interface Hostile {
  readonly guest: TestGuest;
  readonly memory: GuestMemory;
  readonly tx: SplitRing;
  readonly rx: SplitRing;
  /** Guest address of a header and a good frame to the sink. */
  goodBuffer(frameBytes?: number): number;
  /** Guest address of a new buffer with these bytes. */
  buffer(bytes: Uint8Array): number;
  /** Guest address of a table with these descriptors. */
  table(descs: readonly Desc[], align?: number): number;
  /** Makes a chain available whose descriptors are all of these, in table entries of their own, linked as they say. */
  offer(...descs: Desc[]): void;
}

/** The same on packed rings. */
interface PackedHostile {
  readonly tx: PackedRing;
  readonly rx: PackedRing;
  goodBuffer(): number;
  /** Guest address of an indirect table with these descriptors. */
  table(descs: readonly RawDesc[]): number;
  /** Rewrites every receive buffer that the device has, available in the ring's first lap. */
  everyRxBuffer(desc: (index: number) => RawDesc): void;
}

type Regions = readonly { readonly guestAddress: number; readonly lengthBytes: number }[];

type Expected =
  /** The frame is dropped for this cause, its descriptor comes back, the queue goes on. */
  | { readonly drop: string; readonly count?: number }
  /** The queue stops itself for this cause. */
  | { readonly stop: string; readonly direction: 'rx' | 'tx' }
  /** It looks odd but is allowed: the frame arrives whole. */
  | { readonly delivered: number };

class Stage {
  readonly rig: SwitchRig;
  /** Between ports 1 and 2, all along. */
  readonly friends: Flow;
  readonly sink: FlowEnd;

  constructor(rig: SwitchRig, friends: Flow, sink: FlowEnd) {
    this.rig = rig;
    this.friends = friends;
    this.sink = sink;
  }

  static async open(t: Test): Promise<Stage> {
    const rig = await SwitchRig.open(Lab.forTest(t, 'hostile'), { ports: 4 });
    const one = await rig.connect(1, { ringSize: 1024 });
    const two = await rig.connect(2, { ringSize: 1024 });
    const sink = await rig.connect(SINK, { ringSize: 1024 });
    const stage = new Stage(rig, new Flow(one, two, (sequence) => 60 + (sequence % 1400)), sink);
    // Every station has spoken once: nothing needs to be flooded.
    for (const flow of [new Flow(two, one, () => 60), new Flow(sink, one, () => 60)]) {
      flow.send(1);
      await stage.meanwhile('the stations are known', () => flow.receive() > 0);
    }
    return stage;
  }

  /** Lets the friends talk until the condition holds, and at least as long as it takes for some frames. */
  async meanwhile(what: string, condition: () => boolean): Promise<void> {
    const { friends } = this;
    const enough = friends.received + 500;
    const deadline = Date.now() + PATIENCE_MS;
    while (friends.received < enough || !condition()) {
      if (friends.missing < 512) friends.send();
      friends.receive();
      await turn();
      if (Date.now() > deadline) {
        throw new Error(
          `${what}: not within ${PATIENCE_MS} ms; friends ${friends.received}, ${JSON.stringify(this.rig.drops(HOSTILE))}`,
        );
      }
    }
    // Nothing of theirs is under way when others count mbufs.
    while (friends.missing > friends.lost) {
      friends.receive();
      await turn();
      if (Date.now() > deadline) throw new Error(`${friends.missing} frames of the friends are missing`);
    }
  }

  /** Connects a hostile guest, lets it attack, and checks all that the head of HOSTILE-INPUTS asks. */
  async attack(t: Test, attack: (hostile: Hostile) => void, expected: Expected, regions?: Regions): Promise<void> {
    await this.#attack(t, MODERN, (end) => attack(hands(end, this.sink)), expected, regions);
  }

  /** The same with packed rings. */
  async attackPacked(t: Test, attack: (hostile: PackedHostile) => void, expected: Expected): Promise<void> {
    const wants = MODERN | VIRTIO_F_RING_PACKED;
    await this.#attack(t, wants, (end) => attack(packedHands(end, this.sink)), expected);
  }

  async #attack(t: Test, wants: bigint, attack: (end: FlowEnd) => void, expected: Expected, regions?: Regions) {
    const { rig } = this;
    const before = rig.holdings();
    const friendsLost = this.friends.lost;
    const memory = regions === undefined ? {} : { memory: new GuestMemory(rig.os, regions) };
    const end = await rig.connect(HOSTILE, { ringSize: RING_SIZE, wants, ...memory });
    const stops: string[] = [];
    const onState = (state: QueueState) => {
      if (state.cause !== undefined) stops.push(`${state.direction} ${state.queue} ${state.cause}`);
    };
    rig.ports[HOSTILE]!.on('queueState', onState);
    try {
      await this.#play(t, end, attack, expected, stops);
    } finally {
      await rig.disconnect(end, HOSTILE);
      rig.ports[HOSTILE]!.off('queueState', onState);
    }
    t.equal(this.friends.lost, friendsLost, 'the friends lost nothing');
    t.equal(this.friends.altered + this.friends.misordered, 0, 'and got nothing odd');
    t.ok(rig.l2.isRunning, 'the switch runs');
    // The link is told down before the control worker has closed the last of its descriptors.
    for (let i = 0; i < 400 && rig.holdings().descriptors !== before.descriptors; i++) await sleep(5);
    t.same(rig.holdings(), before, 'descriptors, windows and mbufs as before');
  }

  async #play(t: Test, end: FlowEnd, attack: (end: FlowEnd) => void, expected: Expected, stops: string[]) {
    const { rig } = this;
    const { guest } = end.frontEnd;
    const toSink = new Flow(end, this.sink, () => FRAME_BYTES);
    const toHostile = new Flow(this.sink, end, () => FRAME_BYTES);
    toSink.send(1);
    await this.meanwhile('a good frame before the attack', () => toSink.receive() > 0);
    guest.reclaim();
    const dropsBefore = rig.drops(HOSTILE);

    attack(end);
    guest.pairs[0]!.tx.publish();
    guest.pairs[0]!.rx.publish();
    end.frontEnd.kick(0);
    end.frontEnd.kick(1);

    if ('stop' in expected) {
      if (expected.direction === 'tx') toHostile.send(1);
      await this.meanwhile('the queue stops', () => stops.length > 0);
      t.same(stops, [`${expected.direction} 0 ${expected.stop}`], 'the queue stopped, and said why');
      if (expected.direction === 'rx') {
        toHostile.send(1);
        await this.meanwhile('the other queue goes on', () => toHostile.receive() > 0);
      }
    } else if ('drop' in expected) {
      const name = expected.drop;
      const wanted = (dropsBefore[name] ?? 0) + (expected.count ?? 1);
      if (name.startsWith('tx')) toHostile.send(1);
      await this.meanwhile(`${name} counts ${wanted}`, () => rig.xstat(HOSTILE, name) >= wanted);
      t.same(rig.drops(HOSTILE), { ...dropsBefore, [name]: wanted }, `${name} and nothing else`);
      guest.reclaim();
      t.equal(guest.pairs[0]!.tx.inFlight, 0, 'the descriptors came back');
      toSink.send(2);
      await this.meanwhile('a good frame after the attack', () => toSink.receive() > 0);
      t.equal(toSink.received, 2, 'the queue goes on, and nothing else came out of it');
      t.same(stops, [], 'no queue stopped');
    } else {
      await this.meanwhile('it arrives', () => toSink.receive() > 0);
      t.equal(toSink.received, 1 + expected.delivered, 'delivered');
      t.same(rig.drops(HOSTILE), dropsBefore, 'nothing dropped');
    }
    t.equal(toSink.altered, 0, 'no bytes but good frames reached the sink');
  }
}

/** Frames that the hostile guest puts together itself carry on the sequence of its good ones. */
function hands(end: FlowEnd, sink: FlowEnd): Hostile {
  const { guest } = end.frontEnd;
  const { memory } = guest;
  const { rx, tx } = guest.splitPairs[0]!;
  const maker = new FrameMaker(sink.mac, end.mac);
  const buffer = (bytes: Uint8Array): number => {
    const offset = memory.allocate(bytes.length);
    memory.u8.set(bytes, offset);
    return memory.guestAddress(offset);
  };
  return {
    guest,
    memory,
    tx,
    rx,
    buffer,
    goodBuffer: (frameBytes = FRAME_BYTES) =>
      buffer(Uint8Array.of(...new Uint8Array(HEADER_BYTES), ...maker.make(1, frameBytes))),
    table: (descs, align = 16) => {
      const offset = memory.allocate(16 * descs.length, align);
      descs.forEach((desc, index) => {
        tx.writeDesc(offset, index, desc.address, desc.length, desc.flags ?? 0, desc.next ?? 0);
      });
      return memory.guestAddress(offset);
    },
    offer: (...descs) => {
      // An honest chain of as many descriptors, rewritten before the device may see it.
      const piece = { offset: memory.allocate(64), length: 1 };
      const head = tx.add(
        descs.map(() => piece),
        false,
      );
      let index = head;
      descs.forEach((desc, position) => {
        const at = tx.desc + 16 * index;
        const honestNext = memory.u16[(at >>> 1) + 7]!;
        const flags = desc.flags ?? (position < descs.length - 1 ? DESC_F_NEXT : 0);
        tx.writeDesc(tx.desc, index, desc.address, desc.length, flags, desc.next ?? honestNext);
        index = honestNext;
      });
    },
  };
}

function packedHands(end: FlowEnd, sink: FlowEnd): PackedHostile {
  const { guest } = end.frontEnd;
  const { memory } = guest;
  const { rx, tx } = guest.packedPairs[0]!;
  const maker = new FrameMaker(sink.mac, end.mac);
  return {
    tx,
    rx,
    goodBuffer: () => {
      const offset = memory.allocate(WHOLE);
      memory.u8.set([...new Uint8Array(HEADER_BYTES), ...maker.make(1, FRAME_BYTES)], offset);
      return memory.guestAddress(offset);
    },
    table: (descs) => {
      const offset = memory.allocate(16 * descs.length, 16);
      descs.forEach(({ address, length, flags = 0 }, i) => {
        tx.writeDesc(offset, i, address, length, 0, flags);
      });
      return memory.guestAddress(offset);
    },
    everyRxBuffer: (desc) => {
      for (let i = 0; i < RING_SIZE; i++) {
        const { address, length, flags = DESC_F_WRITE, id = i } = desc(i);
        rx.writeDesc(rx.desc, i, address, length, id, flags | rx.availFlags(0));
      }
    },
  };
}

/** Two regions that meet in guest-physical memory, though not in the file's mapping, and a third far away. */
const neighbours = [
  { guestAddress: 0, lengthBytes: 2 * MIB },
  { guestAddress: 2 * MIB, lengthBytes: 2 * MIB },
  { guestAddress: 0x1_0000_0000, lengthBytes: 8 * MIB },
];
const END_OF_FIRST = 2 * MIB;
/** Of the default regions. */
const END_OF_GUEST = 0x1_0000_0000 + 14 * MIB;
const END_OF_LAST = 0x1_0000_0000 + 8 * MIB;
const WHOLE = HEADER_BYTES + FRAME_BYTES;

// The file's time, also when it runs without tap's runner.
t.setTimeout(120_000);

t.test('hostile rings', async (t) => {
  const stage = await Stage.open(t);

  t.test('G1 a descriptor that is not inside one region', async (t) => {
    const cases: readonly [title: string, address: number | bigint, length: number][] = [
      ['begins inside a region and ends outside', END_OF_LAST - 100, WHOLE],
      ['ends one byte outside', END_OF_LAST - WHOLE + 1, WHOLE],
      ['spans two regions', END_OF_FIRST - 100, WHOLE],
      ['begins before a region and ends inside', 0x1_0000_0000 - 100, WHOLE],
      ['lies outside every region', 0x7_0000_0000, WHOLE],
      ['begins just behind a region', END_OF_LAST, WHOLE],
      ['wraps around the address space', 0xffff_ffff_ffff_ff00n, 0x200],
      ['ends at the top of the address space', 0xffff_ffff_ffff_ff00n, 0x100],
    ];
    for (const [title, address, length] of cases) {
      t.test(`G1 ${title}`, async (t) => {
        const drop = { drop: 'rx_q0_drop_address' };
        await stage.attack(t, ({ offer }) => offer({ address, length }), drop, neighbours);
      });
      t.test(`G1 ${title}, second of a chain`, async (t) => {
        await stage.attack(
          t,
          ({ offer, goodBuffer }) => offer({ address: goodBuffer(), length: HEADER_BYTES + 14 }, { address, length }),
          { drop: 'rx_q0_drop_address' },
          neighbours,
        );
      });
      t.test(`G1 ${title}, for receiving`, async (t) => {
        await stage.attack(
          t,
          ({ rx }) => {
            // The next buffers that the device would fill: enough of them to hold the frame in spite of all.
            for (let i = 0; i < RING_SIZE; i++) rx.writeDesc(rx.desc, i, address, 2048, DESC_F_WRITE, 0);
          },
          { drop: 'tx_q0_drop_rx_buffer', count: RING_SIZE },
          neighbours,
        );
      });
    }
    t.test('G1 a length of 4 GiB less one', async (t) => {
      await stage.attack(t, ({ offer, goodBuffer }) => offer({ address: goodBuffer(), length: 0xffff_ffff }), {
        drop: 'rx_q0_drop_address',
      });
    });
  });

  t.test('G2 an indirect table that is none', async (t) => {
    const entries = (address: number, count: number): Desc[] =>
      Array.from({ length: count }, (_, i) => {
        const last = i === count - 1;
        return { address, length: WHOLE, flags: last ? 0 : DESC_F_NEXT, next: last ? 0 : i + 1 };
      });
    const cases: readonly [title: string, attack: (hostile: Hostile) => void][] = [
      [
        'only partly inside a region',
        ({ offer }) => offer({ address: END_OF_LAST - 16, length: 48, flags: DESC_F_INDIRECT }),
      ],
      ['outside every region', ({ offer }) => offer({ address: 0x7_0000_0000, length: 48, flags: DESC_F_INDIRECT })],
      ['over two regions', ({ offer }) => offer({ address: END_OF_FIRST - 16, length: 32, flags: DESC_F_INDIRECT })],
      [
        'of a length that is not a multiple of 16',
        ({ offer, table, goodBuffer }) =>
          offer({ address: table(entries(goodBuffer(), 3)), length: 40, flags: DESC_F_INDIRECT }),
      ],
      [
        'of length 0',
        ({ offer, table, goodBuffer }) =>
          offer({ address: table(entries(goodBuffer(), 1)), length: 0, flags: DESC_F_INDIRECT }),
      ],
      [
        'larger than the ring',
        ({ offer, table, goodBuffer }) =>
          offer({
            address: table(entries(goodBuffer(60), RING_SIZE + 1)),
            length: 16 * (RING_SIZE + 1),
            flags: DESC_F_INDIRECT,
          }),
      ],
      [
        'inside another one',
        ({ offer, table, goodBuffer }) => {
          const inner = table(entries(goodBuffer(), 1));
          const outer = table([{ address: inner, length: 16, flags: DESC_F_INDIRECT }]);
          offer({ address: outer, length: 16, flags: DESC_F_INDIRECT });
        },
      ],
      [
        'that points to itself',
        ({ offer, memory, tx }) => {
          const offset = memory.allocate(16, 16);
          const address = memory.guestAddress(offset);
          tx.writeDesc(offset, 0, address, 16, DESC_F_INDIRECT, 0);
          offer({ address, length: 16, flags: DESC_F_INDIRECT });
        },
      ],
      [
        'with a descriptor behind it',
        ({ offer, table, goodBuffer }) => {
          const address = goodBuffer();
          offer(
            { address: table(entries(address, 1)), length: 16, flags: DESC_F_INDIRECT | DESC_F_NEXT },
            { address, length: WHOLE },
          );
        },
      ],
    ];
    for (const [title, attack] of cases) {
      t.test(`G2 ${title}`, (t) => stage.attack(t, attack, { drop: 'rx_q0_drop_indirect' }, neighbours));
    }
    t.test('G2 with an entry that is not inside one region', (t) =>
      stage.attack(
        t,
        ({ offer, table }) =>
          offer({ address: table(entries(END_OF_LAST - 100, 1)), length: 16, flags: DESC_F_INDIRECT }),
        { drop: 'rx_q0_drop_address' },
        neighbours,
      ),
    );
    t.test('G2 tables that are none, for receiving', (t) =>
      stage.attack(
        t,
        ({ rx }) => {
          const flags = DESC_F_INDIRECT | DESC_F_WRITE;
          for (let i = 0; i < RING_SIZE; i++) {
            const [address, length] = [
              [END_OF_LAST - 16, 48],
              [END_OF_FIRST - 16, 32],
              [0x1_0000_0000, 40],
              [0x1_0000_0000, 16 * (RING_SIZE + 1)],
            ][i % 4]!;
            rx.writeDesc(rx.desc, i, address!, length!, flags, 0);
          }
        },
        { drop: 'tx_q0_drop_rx_buffer', count: RING_SIZE },
        neighbours,
      ),
    );
  });

  t.test('G5 a chain without an end', async (t) => {
    const chain = { drop: 'rx_q0_drop_chain' };
    const own = (hostile: Hostile, length: number) => {
      // The descriptor that `offer` takes is on top of the driver's free list: look which, then link it to itself.
      const { tx, memory } = hostile;
      const head = tx.addOne(hostile.goodBuffer(), length, false);
      const address = memory.guestAddress(memory.allocate(2048));
      tx.writeDesc(tx.desc, head, address, length, DESC_F_NEXT, head);
    };
    t.test('G5 a descriptor that links to itself', (t) => stage.attack(t, (hostile) => own(hostile, 64), chain));
    t.test('G5 a descriptor of length 0 that links to itself', (t) =>
      stage.attack(t, (hostile) => own(hostile, 0), chain),
    );
    t.test('G5 a descriptor of 64 KiB that links to itself', (t) =>
      stage.attack(t, (hostile) => own(hostile, 65_535), { drop: 'rx_q0_drop_too_long' }),
    );
    t.test('G5 two descriptors that link to each other', (t) =>
      stage.attack(
        t,
        ({ tx, goodBuffer }) => {
          const address = goodBuffer();
          const first = tx.addOne(address, 64, false);
          const second = tx.addOne(address, 64, false);
          tx.writeDesc(tx.desc, first, address, 64, DESC_F_NEXT, second);
          tx.writeDesc(tx.desc, second, address, 64, DESC_F_NEXT, first);
        },
        { drop: 'rx_q0_drop_chain', count: 2 },
      ),
    );
    t.test('G5 the whole ring, each head a loop over all descriptors', (t) =>
      stage.attack(
        t,
        ({ tx, goodBuffer }) => {
          const address = goodBuffer();
          for (let i = 0; i < RING_SIZE; i++) tx.addOne(address, 20, false);
          for (let i = 0; i < RING_SIZE; i++) tx.writeDesc(tx.desc, i, address, 20, DESC_F_NEXT, (i + 1) % RING_SIZE);
        },
        { drop: 'rx_q0_drop_chain', count: RING_SIZE },
      ),
    );
    t.test('G5 a loop inside an indirect table', (t) =>
      stage.attack(
        t,
        ({ offer, table, goodBuffer }) => {
          const address = goodBuffer();
          const loop = [0, 1, 2].map((i) => ({ address, length: 20, flags: DESC_F_NEXT, next: (i + 1) % 3 }));
          offer({ address: table(loop), length: 48, flags: DESC_F_INDIRECT });
        },
        chain,
      ),
    );
    t.test('G5 receive buffers that link to themselves', (t) =>
      stage.attack(
        t,
        ({ rx, buffer }) => {
          const address = buffer(new Uint8Array(64));
          // One byte each: a frame does not fit into as many as the ring has entries.
          for (let i = 0; i < RING_SIZE; i++) rx.writeDesc(rx.desc, i, address, 0, DESC_F_WRITE | DESC_F_NEXT, i);
        },
        { drop: 'tx_q0_drop_rx_buffer', count: RING_SIZE },
      ),
    );
  });

  t.test('G6 an available index that runs ahead', async (t) => {
    for (const ahead of [RING_SIZE + 1, RING_SIZE + 2, 0x7fff, 0x8000, 0xffff]) {
      t.test(`G6 by ${ahead}`, (t) =>
        stage.attack(t, ({ tx }) => tx.publishRaw(tx.availIndex + ahead), { stop: 'avail_ahead', direction: 'rx' }),
      );
      t.test(`G6 by ${ahead}, for receiving`, (t) =>
        stage.attack(
          t,
          // All but one of the ring's entries are there already.
          ({ rx }) => rx.publishRaw(rx.usedIndex + ahead),
          { stop: 'avail_ahead', direction: 'tx' },
        ),
      );
    }
  });

  t.test('G7 an index that the table does not have', async (t) => {
    for (const head of [RING_SIZE, RING_SIZE + 1, 0x7fff, 0xffff]) {
      t.test(`G7 head ${head}`, (t) =>
        stage.attack(t, ({ tx }) => tx.offerRaw(head), { stop: 'head', direction: 'rx' }),
      );
      t.test(`G7 head ${head}, for receiving`, (t) =>
        stage.attack(
          t,
          ({ rx, memory }) => {
            for (let i = 0; i < RING_SIZE; i++) memory.u16[((rx.avail + 4) >>> 1) + i] = head;
          },
          { stop: 'head', direction: 'tx' },
        ),
      );
      t.test(`G7 next ${head}`, (t) =>
        stage.attack(
          t,
          ({ offer, goodBuffer }) => offer({ address: goodBuffer(), length: 40, flags: DESC_F_NEXT, next: head }),
          { drop: 'rx_q0_drop_index' },
        ),
      );
    }
    t.test('G7 next beyond an indirect table that the ring would have', (t) =>
      stage.attack(
        t,
        ({ offer, table, goodBuffer }) => {
          const desc = { address: goodBuffer(), length: 40, flags: DESC_F_NEXT, next: 2 };
          offer({ address: table([desc, desc]), length: 32, flags: DESC_F_INDIRECT });
        },
        { drop: 'rx_q0_drop_index' },
      ),
    );
  });

  t.test('G8 a chain that is hardly a header', async (t) => {
    const drop = { drop: 'rx_q0_drop_header' };
    for (const length of [1, HEADER_BYTES - 1, HEADER_BYTES]) {
      t.test(`G8 of ${length} bytes`, (t) =>
        stage.attack(t, ({ offer, goodBuffer }) => offer({ address: goodBuffer(), length }), drop),
      );
    }
    t.test('G8 of no bytes at all', (t) =>
      stage.attack(t, ({ offer, goodBuffer }) => offer({ address: goodBuffer(), length: 0 }), drop),
    );
    t.test('G8 a header alone, a byte in each descriptor', (t) =>
      stage.attack(
        t,
        ({ offer, goodBuffer }) => {
          const address = goodBuffer();
          offer(...Array.from({ length: HEADER_BYTES }, (_, i) => ({ address: address + i, length: 1 })));
        },
        drop,
      ),
    );
    t.test('G8 as many empty descriptors as the ring has', (t) =>
      stage.attack(
        t,
        ({ offer, goodBuffer }) => {
          const address = goodBuffer();
          offer(...Array.from({ length: RING_SIZE }, () => ({ address, length: 0 })));
        },
        drop,
      ),
    );
    t.test('G8 a header spread over twelve descriptors with a whole frame behind it is no fault', (t) =>
      stage.attack(
        t,
        ({ offer, goodBuffer }) => {
          const address = goodBuffer();
          const header = Array.from({ length: HEADER_BYTES }, (_, i) => ({ address: address + i, length: 1 }));
          offer(...header, { address: address + HEADER_BYTES, length: FRAME_BYTES });
        },
        { delivered: 1 },
      ),
    );
  });

  t.test('G13 a frame that is cut short', async (t) => {
    const drop = { drop: 'rx_q0_drop_runt' };
    for (const bytes of [1, 6, 12, 13]) {
      t.test(`G13 ${bytes} bytes`, (t) =>
        stage.attack(
          t,
          ({ offer, goodBuffer }) => offer({ address: goodBuffer(), length: HEADER_BYTES + bytes }),
          drop,
        ),
      );
      t.test(`G13 ${bytes} bytes, in two descriptors`, (t) =>
        stage.attack(
          t,
          ({ offer, goodBuffer }) => {
            const address = goodBuffer();
            offer({ address, length: HEADER_BYTES }, { address: address + HEADER_BYTES, length: bytes });
          },
          drop,
        ),
      );
    }
    for (const [name, type] of [
      ['a VLAN tag', 0x8100],
      ['a service VLAN tag', 0x88a8],
    ] as const) {
      for (const bytes of [14, 15, 17]) {
        t.test(`G13 ${name} cut short, ${bytes} bytes`, (t) =>
          stage.attack(
            t,
            ({ offer, goodBuffer, memory }) => {
              const address = goodBuffer();
              const offset = memory.offsetOf(address) + HEADER_BYTES;
              memory.u8[offset + 12] = type >> 8;
              memory.u8[offset + 13] = type & 0xff;
              offer({ address, length: HEADER_BYTES + bytes });
            },
            drop,
          ),
        );
      }
    }
  });

  t.test('packed rings', async (t) => {
    const outside = { address: END_OF_GUEST - 100, length: WHOLE };
    const attack = (title: string, play: (hostile: PackedHostile) => void, expected: Expected) =>
      t.test(title, (t) => stage.attackPacked(t, play, expected));
    attack('G1 a descriptor that ends outside its region', ({ tx }) => tx.addRaw([outside]), {
      drop: 'rx_q0_drop_address',
    });
    attack(
      'G1 the second of a chain',
      ({ tx, goodBuffer }) => tx.addRaw([{ address: goodBuffer(), length: HEADER_BYTES + 14 }, outside]),
      { drop: 'rx_q0_drop_address' },
    );
    attack('G1 for receiving', ({ everyRxBuffer }) => everyRxBuffer(() => ({ ...outside, length: 2048 })), {
      drop: 'tx_q0_drop_rx_buffer',
      count: RING_SIZE,
    });
    attack(
      'G2 a table only partly inside a region',
      ({ tx }) => tx.addRaw([{ address: END_OF_GUEST - 16, length: 48, flags: DESC_F_INDIRECT }]),
      { drop: 'rx_q0_drop_indirect' },
    );
    attack(
      'G2 a table inside a table',
      ({ tx, table, goodBuffer }) => {
        const inner = table([{ address: goodBuffer(), length: WHOLE }]);
        const outer = table([{ address: inner, length: 16, flags: DESC_F_INDIRECT }]);
        tx.addRaw([{ address: outer, length: 16, flags: DESC_F_INDIRECT }]);
      },
      { drop: 'rx_q0_drop_indirect' },
    );
    attack(
      'G5 a chain without an end',
      ({ tx, goodBuffer }) => {
        const desc = { address: goodBuffer(), length: 20, flags: DESC_F_NEXT };
        for (let i = 0; i < RING_SIZE; i++) tx.writeDesc(tx.desc, i, desc.address, desc.length, 0, DESC_F_NEXT);
        tx.addRaw([desc]);
      },
      { stop: 'chain', direction: 'rx' },
    );
    attack(
      'G7 an id that the ring does not have',
      ({ tx, goodBuffer }) => tx.addRaw([{ address: goodBuffer(), length: WHOLE, id: RING_SIZE }]),
      { stop: 'head', direction: 'rx' },
    );
    attack(
      'G7 for receiving',
      ({ everyRxBuffer, goodBuffer }) => {
        const address = goodBuffer();
        everyRxBuffer(() => ({ address, length: WHOLE + HEADER_BYTES, id: 0xffff }));
      },
      { stop: 'head', direction: 'tx' },
    );
    attack(
      'G8 a header and nothing else',
      ({ tx, goodBuffer }) => tx.addRaw([{ address: goodBuffer(), length: HEADER_BYTES }]),
      { drop: 'rx_q0_drop_header' },
    );
    attack('G10 an unmapped address and no length', ({ tx }) => tx.addRaw([{ address: 0x7_0000_0000, length: 0 }]), {
      drop: 'rx_q0_drop_header',
    });
    attack(
      'G17 a descriptor that may be written',
      ({ tx, goodBuffer }) => tx.addRaw([{ address: goodBuffer(), length: WHOLE, flags: DESC_F_WRITE }]),
      { drop: 'rx_q0_drop_direction' },
    );
    attack(
      'a whole frame in an indirect table is no fault',
      ({ tx, table, goodBuffer }) => {
        const address = table([{ address: goodBuffer(), length: WHOLE }]);
        tx.addRaw([{ address, length: 16, flags: DESC_F_INDIRECT }]);
      },
      { delivered: 1 },
    );
  });

  t.test('afterwards everything still works', async (t) => {
    const { rig } = stage;
    const end = await rig.connect(HOSTILE);
    const flow = new Flow(end, stage.sink, (sequence) => 60 + (sequence % 1400));
    await stage.meanwhile('a hundred frames', () => {
      flow.send(100);
      flow.receive();
      return flow.received === 100;
    });
    t.equal(flow.lost + flow.altered, 0);
    await rig.disconnect(end, HOSTILE);
  });
});
