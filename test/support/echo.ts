import type { Os } from '../../src/os/types.js';
import { FrameMaker } from './frames.js';
import { FrontEnd } from './front-end.js';
import { GuestMemory } from './guest-memory.js';
import { TestGuest } from './test-guest.js';

const RING_SIZE = 256;
const MEMORY_BYTES_PER_PAIR = 2 << 20;
/** Frames under way on one queue: fewer than any ring has room for, so that nothing has a reason to be dropped. */
const WINDOW = 64;
const BURST = 32;
const SEQUENCE_OFFSET = 16;

/** What one queue has seen since `reset`. */
interface QueueTally {
  sent: number;
  received: number;
  /** Sequence numbers that were passed over. */
  lost: number;
  /** Frames that came late or twice. */
  again: number;
  /** Frames of which any byte is not what was sent. */
  altered: number;
}

/** Every length from 60 to 1514, short and long ones mixed. */
function lengthOf(sequence: number): number {
  return 60 + ((Math.imul(sequence, 0x9e3779b1) >>> 8) % 1455);
}

class EchoQueue {
  tally: QueueTally = { sent: 0, received: 0, lost: 0, again: 0, altered: 0 };
  sentBytes = 0;
  /** Sequence numbers go on for ever, so that a frame of before is known as one. */
  next = 0;
  expected = 0;
  readonly #maker: FrameMaker;

  constructor(name: string, pair: number) {
    this.#maker = new FrameMaker(name, `02:ec:00:00:00:${pair.toString(16).padStart(2, '0')}`);
  }

  reset(): void {
    this.tally = { sent: 0, received: 0, lost: 0, again: 0, altered: 0 };
    this.sentBytes = 0;
    this.expected = this.next;
  }

  make(): Uint8Array {
    return this.#maker.make(this.next, lengthOf(this.next));
  }

  sent(frame: Uint8Array): void {
    this.next++;
    this.tally.sent++;
    this.sentBytes += frame.length;
  }

  /** Makes the frame of that number again and compares. */
  check(frame: Uint8Array): void {
    const sequence = new DataView(frame.buffer, frame.byteOffset).getUint32(SEQUENCE_OFFSET, true);
    const known = frame.length >= 60 && sequence < this.next;
    if (!known || Buffer.compare(frame, this.#maker.make(sequence, lengthOf(sequence))) !== 0) this.tally.altered++;
    else if (sequence < this.expected) this.tally.again++;
    else {
      this.tally.lost += sequence - this.expected;
      this.expected = sequence + 1;
      this.tally.received++;
    }
  }
}

/**
 * A test guest whose frames are to come back as they were, each on the queue pair that it was sent on and in the order of
 * sending. What comes back is compared byte by byte.
 */
export class EchoGuest {
  readonly #os: Os;
  readonly #guest: TestGuest;
  readonly #queues: readonly EchoQueue[];
  #frontEnd: FrontEnd | undefined;

  /** @param mac destination of its frames, which must differ from those of other guests */
  constructor(os: Os, mac: string, queuePairs: number) {
    this.#os = os;
    const memory = new GuestMemory(os, [{ guestAddress: 0, lengthBytes: queuePairs * MEMORY_BYTES_PER_PAIR }]);
    this.#guest = new TestGuest(os, { memory, queuePairs, ringSize: RING_SIZE });
    this.#queues = Array.from({ length: queuePairs }, (_, pair) => new EchoQueue(mac, pair));
  }

  /** Connects to a back end, or to its successor; what was under way is forgotten. */
  async connect(path: string): Promise<void> {
    this.#frontEnd?.close();
    this.#frontEnd = await FrontEnd.connect(this.#os, path, this.#guest, 20_000);
  }

  close(): void {
    this.#frontEnd?.close();
    this.#guest.close();
  }

  /** Starts to count anew. Whatever comes from before is counted as `again`. */
  reset(): void {
    for (const queue of this.#queues) queue.reset();
  }

  /** Sends until `goal` frames have been sent on each queue pair, as far as the window lets it. Returns their number. */
  send(goal: number): number {
    const guest = this.#guest;
    let count = 0;
    this.#queues.forEach((queue, pair) => {
      guest.reclaim(pair);
      const { tally } = queue;
      const room = Math.min(BURST, goal - tally.sent, WINDOW - (queue.next - queue.expected));
      for (let i = 0; i < room; i++) {
        const frame = queue.make();
        if (!guest.send(frame, pair)) break;
        queue.sent(frame);
        count++;
      }
      this.#frontEnd?.flush(pair);
    });
    return count;
  }

  /** Takes and checks everything that has arrived. Returns the number of frames. */
  receive(): number {
    const guest = this.#guest;
    let count = 0;
    this.#queues.forEach((queue, pair) => {
      for (let frame = guest.receive(pair); frame !== undefined; frame = guest.receive(pair)) {
        queue.check(frame);
        count++;
      }
      this.#frontEnd?.fillRx(pair);
    });
    return count;
  }

  /** Queue pairs on which the frame that was sent last has not come back: nothing else can be under way on the others. */
  get silent(): number {
    return this.#queues.filter(({ tally, next, expected }) => tally.sent === 0 || expected !== next).length;
  }

  /** One more frame on each silent queue pair. */
  probe(): void {
    this.#queues.forEach((queue, pair) => {
      if (queue.tally.sent > 0 && queue.expected === queue.next) return;
      this.#guest.reclaim(pair);
      const frame = queue.make();
      if (this.#guest.send(frame, pair)) queue.sent(frame);
      this.#frontEnd?.flush(pair);
    });
  }

  /** Whether each queue pair has got back `goal` frames since `reset`. */
  has(goal: number): boolean {
    return this.#queues.every(({ tally }) => tally.received >= goal);
  }

  /** What all queues have sent since `reset`. */
  get sent(): { readonly packets: number; readonly bytes: number } {
    return this.#queues.reduce(
      (sum, { tally, sentBytes }) => ({ packets: sum.packets + tally.sent, bytes: sum.bytes + sentBytes }),
      { packets: 0, bytes: 0 },
    );
  }

  /** What each queue pair has seen since `reset`. */
  get tallies(): QueueTally[] {
    return this.#queues.map(({ tally }) => ({ ...tally }));
  }
}
