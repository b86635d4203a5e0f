/**
 * The demo's guest: a packet function on a lcore of its own, behind real virtqueues. It sends frames of mixed sizes, each
 * with a sequence number, a payload of its own and a checksum, and verifies what the other guest sent.
 *
 * Flow control is a window, as in TCP: every frame says up to where the peer's frames have arrived, and no more than
 * WINDOW frames are under way. Without it the faster guest would only measure how many frames the switch can throw away;
 * `--flood` shows that.
 */
import type { Burst, LcoreContext, LcoreMain, LcorePort, MbufView, Mempool } from '../index.js';
import { GUEST_RUNS, type GuestCounters, GuestRecord } from './counters.js';
import { FRAME_ACKNOWLEDGED, FRAME_BYTES, FRAME_SEQUENCE, verifyFrame, writeFrame } from './frame.js';

/** What the main thread gives a guest. */
export interface GuestArgs {
  readonly portId: number;
  /** Address of its mempool. */
  readonly mempool: number;
  readonly record: SharedArrayBuffer;
  readonly mac: readonly number[];
  readonly peerMac: readonly number[];
  /** Frames under way at most; 0 = as many as the ring takes. */
  readonly windowFrames: number;
}

const BURST = 32;
const STALLED_MS = 100;
/** Polls after which the receive ring is full of buffers, whatever a poll refills at once. */
const WARM_UP_POLLS = 256;

class Guest {
  readonly #lcore: LcoreContext<GuestArgs>;
  readonly #port: LcorePort;
  readonly #pool: Mempool;
  readonly #u32: Uint32Array;
  readonly #rx: Burst;
  readonly #tx: Burst;
  readonly #m: MbufView;
  readonly #record: GuestRecord;
  readonly #window: number;
  /** Destination and source address as the three words that begin a frame. */
  readonly #addresses: Uint32Array;
  readonly #counters: GuestCounters = {
    sent: 0,
    sentBytes: 0,
    received: 0,
    receivedBytes: 0,
    verified: 0,
    altered: 0,
    missing: 0,
    disordered: 0,
  };
  /** Next sequence number to write, and to expect. */
  #sequence = 0;
  #expected = 0;
  /** The peer has seen everything below. */
  #acknowledged = 0;
  /** Frames at the beginning of #tx that are written but that the port has not taken yet. */
  #pending = 0;
  #lastSentMs = 0;
  #warmUpPolls = WARM_UP_POLLS;
  /** Frames came since the last frame that told so. */
  #owesAcknowledgement = false;

  constructor(lcore: LcoreContext<GuestArgs>) {
    const { arg } = lcore;
    this.#lcore = lcore;
    this.#port = lcore.port(arg.portId);
    this.#pool = lcore.mempool(arg.mempool);
    this.#u32 = lcore.memory.u32;
    this.#rx = lcore.burst(BURST);
    this.#tx = lcore.burst(BURST);
    this.#m = lcore.mbuf();
    this.#record = new GuestRecord(arg.record);
    this.#window = arg.windowFrames === 0 ? 2 ** 30 : arg.windowFrames;
    this.#addresses = new Uint32Array(Uint8Array.from([...arg.peerMac, ...arg.mac]).buffer);
    lcore.onEnd(() => this.#tx.free(0, this.#pending));
  }

  /** One poll: receive and verify a burst, then send one. */
  readonly poll = (): number => {
    const received = this.#receive();
    if (this.#warmUpPolls > 0 && --this.#warmUpPolls === 0) this.#record.setReady();
    const sent = this.#record.command === GUEST_RUNS ? this.#send() : 0;
    if (received + sent > 0) this.#record.publish(this.#counters);
    return received + sent;
  };

  #receive(): number {
    const n = this.#port.rxBurst(0, this.#rx);
    const counters = this.#counters;
    for (let i = 0; i < n; i++) {
      const m = this.#m.at(this.#rx.handles[i]!);
      const bytes = m.pktLen;
      counters.received++;
      counters.receivedBytes += bytes;
      // One segment at a multiple of 4, because our own mempool has room for the longest frame.
      const intact = m.nbSegs === 1 && (m.dataAddress & 3) === 0 && verifyFrame(this.#u32, m.dataAddress >>> 2, bytes);
      if (!intact) {
        counters.altered++;
        continue;
      }
      counters.verified++;
      this.#follow(m.dataAddress >>> 2);
    }
    if (n > 0) {
      this.#rx.free(0, n);
      this.#owesAcknowledgement = true;
    }
    return n;
  }

  /** Looks at the numbers of an intact frame. */
  #follow(w: number): void {
    const sequence = this.#u32[w + FRAME_SEQUENCE]!;
    // Distances of numbers that wrap at 2^32.
    const ahead = (sequence - this.#expected) | 0;
    if (ahead < 0) this.#counters.disordered++;
    else {
      this.#counters.missing += ahead;
      this.#expected = (sequence + 1) >>> 0;
    }
    const acknowledged = this.#u32[w + FRAME_ACKNOWLEDGED]!;
    if (((acknowledged - this.#acknowledged) | 0) > 0) this.#acknowledged = acknowledged;
  }

  #send(): number {
    if (this.#pending === 0) this.#write();
    if (this.#pending === 0) return 0;
    const sent = this.#port.txBurst(0, this.#tx, this.#pending);
    if (sent === 0) return 0;
    const counters = this.#counters;
    counters.sent += sent;
    for (let i = 0; i < sent; i++) counters.sentBytes += FRAME_BYTES[(counters.sent - sent + i) % FRAME_BYTES.length]!;
    // What was not taken moves to the front: a burst is sent from its beginning.
    this.#tx.handles.copyWithin(0, sent, this.#pending);
    this.#pending -= sent;
    return sent;
  }

  /** Writes as many frames as the window and the pool allow. */
  #write(): void {
    const underWay = (this.#sequence - this.#acknowledged) >>> 0;
    let count = Math.min(BURST, Math.max(0, this.#window - underWay));
    // A full window on both sides must not end the talk: who heard something may always say so.
    // And should every frame under way have been lost, one more after a while brings it on again.
    if (count === 0 && (this.#owesAcknowledgement || this.#isStalled())) count = 1;
    if (count === 0 || !this.#pool.allocBulk(this.#tx, count)) return;
    for (let i = 0; i < count; i++) {
      const bytes = FRAME_BYTES[this.#sequence % FRAME_BYTES.length]!;
      const m = this.#m.at(this.#tx.handles[i]!);
      m.append(bytes);
      const w = m.dataAddress >>> 2;
      for (let word = 0; word < 3; word++) this.#u32[w + word] = this.#addresses[word]!;
      writeFrame(this.#u32, w, this.#sequence, this.#expected, bytes);
      this.#sequence = (this.#sequence + 1) >>> 0;
    }
    this.#pending = count;
    this.#owesAcknowledgement = false;
    this.#lastSentMs = this.#lcore.nowMs();
  }

  #isStalled(): boolean {
    return (this.#lcore.nowMs() - this.#lastSentMs) >>> 0 > STALLED_MS;
  }
}

const main: LcoreMain<GuestArgs> = (lcore) => new Guest(lcore).poll;

export default main;
