import { FrameChecker, FrameMaker, macBytes } from './frames.js';
import type { FrontEnd } from './front-end.js';

const BURST = 64;

export interface FlowEnd {
  readonly frontEnd: FrontEnd;
  readonly mac: string;
}

/**
 * Numbered frames from one test guest to another. What arrives is checked byte for byte; the order within the flow must be
 * that of sending, since nothing on the way has two queues.
 */
export class Flow {
  readonly from: FlowEnd;
  readonly to: FlowEnd;
  sent = 0;
  received = 0;
  /** Sequence numbers that were passed over. */
  lost = 0;
  /** Frames that were altered, and frames that came late or twice. */
  altered = 0;
  misordered = 0;
  /** Frames of others, which a switch may flood: left aside, as a network card does. */
  foreign = 0;
  readonly #sizeOf: (sequence: number) => number;
  readonly #maker: FrameMaker;
  readonly #addresses: readonly number[];
  readonly #checker = new FrameChecker();
  #expected = 0;

  constructor(from: FlowEnd, to: FlowEnd, sizeOf: (sequence: number) => number) {
    this.from = from;
    this.to = to;
    this.#sizeOf = sizeOf;
    this.#maker = new FrameMaker(to.mac, from.mac);
    this.#addresses = [...macBytes(to.mac), ...macBytes(from.mac)];
  }

  /** Sends a burst, as far as there is room and `limit` lets it. Returns the number of frames. */
  send(limit = Number.POSITIVE_INFINITY): number {
    const { guest } = this.from.frontEnd;
    guest.reclaim();
    const before = this.sent;
    while (this.sent < limit && this.sent - before < BURST) {
      if (!guest.send(this.#maker.make(this.sent, this.#sizeOf(this.sent)))) break;
      this.sent++;
    }
    this.from.frontEnd.flush();
    return this.sent - before;
  }

  /** Takes and checks everything that has arrived. Returns the number of frames. */
  receive(): number {
    const { guest } = this.to.frontEnd;
    let count = 0;
    for (let frame = guest.receive(); frame !== undefined; frame = guest.receive()) {
      count++;
      if (!this.#isOurs(frame)) {
        this.foreign++;
        continue;
      }
      const sequence = this.#checker.check(frame);
      if (sequence < 0) this.altered++;
      else if (sequence < this.#expected) this.misordered++;
      else {
        this.lost += sequence - this.#expected;
        this.#expected = sequence + 1;
        this.received++;
      }
    }
    this.to.frontEnd.fillRx();
    return count;
  }

  /** Frames that the device has not given back to the sender. */
  get inFlight(): number {
    const { guest } = this.from.frontEnd;
    guest.reclaim();
    return guest.pairs[0]!.tx.inFlight;
  }

  #isOurs(frame: Uint8Array): boolean {
    for (let i = 0; i < 12; i++) if (frame[i] !== this.#addresses[i]) return false;
    return true;
  }

  /** Sent and not (yet) received. */
  get missing(): number {
    return this.sent - this.received;
  }
}

/** Gives other work a turn: messages between threads, timers. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Waits until the condition holds; the error names what did not come. */
export async function until(what: string, timeoutMs: number, condition: () => boolean): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
