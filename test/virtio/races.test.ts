/**
 * Rows G3, G4, G11, G18 and G19 of HOSTILE-INPUTS with a thread that flips the fields while the device reads them: a word that
 * was read once is the word that is used. What would show a second look: a trap, a dead canary, bytes from outside the guest's
 * regions, an mbuf that does not come back, a packet that no counter knows.
 */
import t, { type Test } from 'tap';
import {
  MBUF_L2_LEN,
  MBUF_L3_LEN,
  MBUF_L4_LEN,
  MBUF_OL_FLAGS,
  MBUF_PKT_LEN,
  MBUF_TSO_SEGSZ,
  QUEUE_LAST_AVAIL,
  QUEUE_LAST_USED,
  QUEUE_NOTIFIED,
  QUEUE_RUN,
  QUEUE_STOP_CAUSE,
  QUEUE_SUPPRESSED,
} from '../../assembly/layout.js';
import { INDIRECT, NEXT, WRITE } from './attack.js';
import { Racer, type Target } from './racer.js';
import { createRig, END_OF_LAST, frameOf, hasCanary, LAYOUTS, type Layout, REGIONS, type RigRing } from './rig.js';

const rig = createRig(1500);
const { guest, arena } = rig;
const RING = 32;
const control = rig.context.memzones.reserve('racer', 64).address;
/** Least bursts, and least bursts during which the racer wrote. */
const ROUNDS = 300;
const CONTESTED = 100;
const ALL_OFFLOADS = 127;

const at = (offset: number) => arena + offset;
const low = (address: number) => address >>> 0;
const high = (address: number) => Math.floor(address / 0x1_0000_0000);

/** Everything that an attack may touch. */
interface Scene {
  readonly layout: Layout;
  readonly ring: RigRing;
  readonly buffers: readonly number[];
  readonly tables: readonly number[];
  /** WRITE where the device is to write. */
  readonly write: number;
  readonly indirect: boolean;
  readonly hot: boolean;
}

type Put = (where: number, index: number, address: number, length: number, flags: number, next: number) => void;

function putOf({ layout, ring }: Scene): Put {
  return (where, index, address, length, flags, next) =>
    layout === 'packed'
      ? ring.writeDesc(where, index, address, length, index, flags)
      : ring.writeDesc(where, index, address, length, flags, next);
}

/** What the device finds at first: all of the ring, each a buffer of its own or a table of four. */
function fill(scene: Scene): void {
  const { layout, ring, buffers, tables } = scene;
  const put = putOf(scene);
  for (let i = 0; i < ring.size; i++) {
    const buffer = guest.guestAddress(buffers[i]!);
    for (let e = 0; e < 4; e++) {
      const flags = scene.write | (layout === 'split' && e < 3 ? NEXT : 0);
      put(tables[i]!, e, buffer + 128 * e, 128, flags, e + 1);
    }
    if (layout === 'split') guest.u16[((ring.avail + 4) >>> 1) + i] = scene.hot ? 0 : i;
    fillDesc(scene, put, i, 0);
  }
}

function fillDesc({ ring, buffers, tables, write, indirect }: Scene, put: Put, index: number, state: number): void {
  if (indirect) put(ring.desc, index, guest.guestAddress(tables[index]!), 64, INDIRECT | state, 0);
  else put(ring.desc, index, guest.guestAddress(buffers[index]!), write ? 2048 : 400, write | state, 0);
}

/** Makes the whole ring available where the device stands. On a packed ring it has written into every descriptor. */
function offerAll(scene: Scene, queue: number): void {
  const { layout, ring } = scene;
  const position = rig.get(queue, QUEUE_LAST_AVAIL);
  if (layout === 'split') {
    Atomics.store(guest.u16, (ring.avail + 2) >>> 1, position + ring.size);
    return;
  }
  const put = putOf(scene);
  for (let i = 0; i < ring.size; i++) {
    const index = ((position & 0x7fff) + i) % ring.size;
    const wrap = (position >>> 15) ^ ((position & 0x7fff) + i >= ring.size ? 1 : 0);
    fillDesc(scene, put, index, wrap ? 0x80 : 0x8000);
  }
}

const sum = (drops: Record<string, number>) => Object.values(drops).reduce((a, b) => a + b, 0);

interface Race {
  readonly direction: 'tx' | 'rx';
  readonly indirect?: boolean;
  readonly eventIdx?: boolean;
  /** All heads, buffers and tables are one: the few words that the racer writes are read all the time. */
  readonly hot?: boolean;
  targets(scene: Scene): Target[];
  /** Looks at each packet received. */
  look?(handle: number): void;
}

/** Bursts against the racer. */
async function race(
  t: Test,
  layout: Layout,
  { direction, indirect = false, eventIdx = false, hot = false, targets, look }: Race,
): Promise<void> {
  const rings = rig.boot({ layout, ringSize: RING, mergeable: true, eventIdx, hostOffloads: ALL_OFFLOADS });
  const ring = rings[direction];
  const queue = direction === 'tx' ? rig.rxQueue : rig.txQueue;
  // The last one ends where its region ends: a length that grew reads or writes a canary.
  const buffers = Array.from({ length: RING }, (_, i) =>
    hot || i === RING - 1 ? guest.offsetOf(END_OF_LAST - 2048) : guest.allocateIn(1, 2048, 64),
  );
  const table = guest.allocateIn(0, 64, 16);
  const tables = Array.from({ length: RING }, () => (hot ? table : guest.allocateIn(0, 64, 16)));
  for (const buffer of buffers) guest.u8.fill(0, buffer, buffer + 2048);
  const scene = { layout, ring, buffers, tables, write: direction === 'rx' ? WRITE : 0, indirect, hot };
  fill(scene);
  const racer = await Racer.start(rig.shared, control, targets(scene));
  let received = 0;
  let stops = 0;
  let bursts = 0;
  let contested = 0;
  // By the clock: on a busy machine a hundred thousand short rounds may pass before the racer has its turn.
  const deadline = Date.now() + 60_000;
  try {
    for (let round = 0; round < ROUNDS || contested < CONTESTED; round++) {
      if (round % 256 === 0 && Date.now() > deadline) throw new Error('the racer does not run');
      if (round > ROUNDS && round % 256 === 0) racer.letRun();
      offerAll(scene, queue);
      if (round % 2 === 0) racer.letWrite();
      const before = rig.get(queue, QUEUE_LAST_USED);
      const written = racer.rounds;
      const known = rig.packets(queue) + sum(rig.drops(queue));
      if (direction === 'tx') {
        const frames = rig.receive(RING, look);
        if (frames.some(hasCanary)) throw new Error('bytes from outside the regions');
        received += frames.length;
      } else {
        const handles = Array.from({ length: 8 }, (_, i) => rig.packet(frameOf(i, 60 + 190 * i)));
        received += rig.send(...handles);
      }
      if (racer.rounds !== written) contested++;
      // Split: each chain that went back was a packet or has a cause.
      const chains = (rig.get(queue, QUEUE_LAST_USED) - before) & 0xffff;
      const told = rig.packets(queue) + sum(rig.drops(queue)) - known;
      if (layout === 'split' && direction === 'tx' && told !== chains)
        throw new Error(`${chains} chains, ${told} counted`);
      if (rig.get(queue, QUEUE_LAST_USED) !== before) bursts++;
      if (rig.get(queue, QUEUE_STOP_CAUSE) !== 0) {
        // As after a restart by the control plane.
        rig.stopped(queue);
        stops++;
        rig.set(queue, [
          [QUEUE_STOP_CAUSE, 0],
          [QUEUE_RUN, 1],
        ]);
      }
      rig.check();
    }
  } finally {
    await racer.stop();
  }
  rig.checkPool();
  t.pass(`${received} packets, ${stops} stops, drops ${JSON.stringify(rig.drops(queue))}`);
  t.equal(
    rig.counter(queue, QUEUE_NOTIFIED) + rig.counter(queue, QUEUE_SUPPRESSED),
    bursts,
    'one notification at most a burst',
  );
}

const ADDRESSES = [
  REGIONS[1].guestAddress + 4096,
  END_OF_LAST - 100,
  END_OF_LAST - 2048,
  END_OF_LAST,
  REGIONS[1].guestAddress - 16,
];
const LENGTHS = [0, 11, 12, 26, 400, 2048, 2049, 4096, 70_000, 0xffff_ffff];

/** The words of a descriptor, as the racer may flip them. */
function words(where: number, layout: Layout, flags: readonly number[]): Target[] {
  const next = [0, 1, RING - 1, RING, 0xffff];
  const states = layout === 'packed' ? flags.flatMap((one) => [one | 0x80, one | 0x8000, one]) : flags;
  const [nextAt, flagsAt] = layout === 'packed' ? [12, 14] : [14, 12];
  return [
    { address: at(where), bytes: 4, values: ADDRESSES.map(low) },
    { address: at(where + 4), bytes: 4, values: [1, 1, 1, 0, 0xffff_ffff, ...ADDRESSES.map(high)] },
    { address: at(where + 8), bytes: 4, values: LENGTHS },
    { address: at(where + nextAt), bytes: 2, values: layout === 'packed' ? [0, 1, 2, 3, RING] : next },
    { address: at(where + flagsAt), bytes: 2, values: states },
  ];
}

for (const layout of LAYOUTS) {
  t.test(`G3 ${layout}: an indirect table's length and links change between two reads`, async (t) => {
    const targets = ({ ring, tables }: Scene): Target[] =>
      tables.flatMap((table, i) => [
        {
          address: at(ring.desc + 16 * i + 8),
          bytes: 4,
          values: [0, 16, 32, 48, 64, 40, 16 * RING, 16 * (RING + 1), 0xffff_fff0],
        },
        ...[0, 1, 2, 3].map((e): Target => {
          const nextAt = at(table + 16 * e + (layout === 'packed' ? 12 : 14));
          return { address: nextAt, bytes: 2, values: [0, 1, 2, 3, 4, 5, 0xffff] };
        }),
      ]);
    await race(t, layout, { direction: 'tx', indirect: true, targets });
    await race(t, layout, { direction: 'rx', indirect: true, targets });
  });

  t.test(`G4 ${layout}: address, length, flags and links change while a packet is copied`, async (t) => {
    for (const direction of ['tx', 'rx'] as const) {
      const flags = direction === 'tx' ? [0, 0, 0, NEXT, WRITE, INDIRECT] : [WRITE, WRITE, WRITE | NEXT, 0, INDIRECT];
      const ringWords = ({ ring }: Scene) =>
        Array.from({ length: RING }, (_, i) => words(ring.desc + 16 * i, layout, flags)).flat();
      const tableWords = ({ tables }: Scene) =>
        tables.flatMap((one) => [0, 1, 2, 3].flatMap((e) => words(one + 16 * e, layout, flags)));
      await race(t, layout, { direction, targets: ringWords });
      await race(t, layout, { direction, indirect: true, targets: tableWords });
      await race(t, layout, { direction, targets: (scene) => [...ringWords(scene), ...tableWords(scene)] });
    }
  });

  t.test(`G4 ${layout}: one descriptor for all, its address and length flipping as fast as may be`, async (t) => {
    for (const direction of ['tx', 'rx'] as const) {
      for (const indirect of [false, true]) {
        const targets = ({ ring, tables }: Scene): Target[] => {
          // A packed ring's own descriptors are written by the device, each in turn.
          const hot = indirect
            ? [tables[0]!]
            : layout === 'split'
              ? [ring.desc]
              : [0, 1, 2].map((i) => ring.desc + 16 * i);
          const [good, bad] = direction === 'tx' ? [400, 16_384] : [100, 4096];
          return hot.flatMap((desc): Target[] => [
            { address: at(desc), bytes: 4, values: [END_OF_LAST - 2048, END_OF_LAST - good].map(low) },
            { address: at(desc + 8), bytes: 4, values: [good, bad] },
          ]);
        };
        await race(t, layout, { direction, indirect, hot: true, targets });
      }
    }
  });

  t.test(`G11 ${layout}: the net header changes after it was checked`, async (t) => {
    const targets = ({ buffers }: Scene): Target[] =>
      buffers.flatMap((buffer): Target[] => [
        { address: at(buffer), bytes: 2, values: [0, 1, 0x0101, 0x0401, 0x0501, 0x0100] },
        { address: at(buffer + 4), bytes: 2, values: [0, 1, 53, 54, 200, 0xffff] },
        { address: at(buffer + 6), bytes: 2, values: [0, 34, 387, 388, 0xffff] },
        { address: at(buffer + 8), bytes: 2, values: [0, 6, 16, 352, 0xffff] },
        // An IPv4 packet with TCP in it, and not.
        { address: at(buffer + 12 + 12), bytes: 2, values: [0x0008, 0x0008, 0xdd86, 0xb588] },
        { address: at(buffer + 12 + 14), bytes: 1, values: [0x45, 0x45, 0x4f, 0x60] },
        { address: at(buffer + 12 + 23), bytes: 1, values: [6, 6, 17] },
        { address: at(buffer + 12 + 46), bytes: 1, values: [0x50, 0x50, 0xf0, 0] },
      ]);
    const look = (handle: number) => {
      const flags = rig.get(handle, MBUF_OL_FLAGS);
      const { u8, u16 } = rig.memory;
      if ((flags & 0x003e_0000) === 0) return;
      // What the flags say is true of the bytes that we hold.
      const l3At = u8[handle + MBUF_L2_LEN]!;
      const l4At = l3At + u16[(handle + MBUF_L3_LEN) >>> 1]!;
      const headers = l4At + u8[handle + MBUF_L4_LEN]!;
      const length = rig.get(handle, MBUF_PKT_LEN);
      if (l4At + 18 > length && l4At + 8 > length) throw new Error('a checksum beyond the packet');
      if ((flags & 0x000e_0000) === 0) return;
      const size = u16[(handle + MBUF_TSO_SEGSZ) >>> 1]!;
      if (size === 0 || headers > size || length <= headers + size)
        throw new Error(`segments of ${size}, headers ${headers}`);
    };
    await race(t, layout, { direction: 'tx', targets, look });
  });

  t.test(`G18 ${layout}: the event index changes all the time`, async (t) => {
    const targets = ({ ring }: Scene): Target[] => {
      const values = [0, 1, 2, 0x7fff, 0x8000, 0xffff];
      if (layout === 'packed') return [0, 2].map((half) => ({ address: at(ring.avail + half), bytes: 2, values }));
      return [0, 4 + 2 * RING].map((field) => ({ address: at(ring.avail + field), bytes: 2, values }));
    };
    for (const eventIdx of [false, true]) {
      for (const direction of ['tx', 'rx'] as const) await race(t, layout, { direction, eventIdx, targets });
    }
  });
}

t.test('G19 packed: state bits and ids of the whole ring change all the time', async (t) => {
  const targets = ({ ring }: Scene): Target[] =>
    Array.from({ length: RING }, (_, i): Target[] => [
      {
        address: at(ring.desc + 16 * i + 14),
        bytes: 2,
        values: [0, 0x80, 0x8000, 0x8080, 0x82, 0x8002, 0x81, 0x8001, 0x83, 0x8003],
      },
      { address: at(ring.desc + 16 * i + 12), bytes: 2, values: [0, 1, RING - 1, RING, 0xffff] },
    ]).flat();
  await race(t, 'packed', { direction: 'tx', targets });
  await race(t, 'packed', { direction: 'rx', targets });
});

t.test('G6 split: heads and the available index change all the time', async (t) => {
  const targets = ({ ring }: Scene): Target[] => [
    { address: at(ring.avail + 2), bytes: 2, values: [0, 1, RING, 0x7fff, 0xffff] },
    ...Array.from({ length: RING }, (_, i): Target => {
      return {
        address: at(ring.avail + 4 + 2 * i),
        bytes: 2,
        values: [0, 1, 2, 3, RING - 1, i, i, i, i, RING, 0xffff],
      };
    }),
  ];
  await race(t, 'split', { direction: 'tx', targets });
  await race(t, 'split', { direction: 'rx', targets });
});
