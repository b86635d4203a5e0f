/** What a guest and the main thread share: counters that the guest writes, and a word that tells it what to do. */
export interface GuestCounters {
  /** Frames given to the port. */
  sent: number;
  sentBytes: number;
  received: number;
  receivedBytes: number;
  /** Frames whose checksum, length and contents were right. */
  verified: number;
  /** Frames that were altered. */
  altered: number;
  /** Sequence numbers that never came. */
  missing: number;
  /** Frames that came twice or after a later one. */
  disordered: number;
}

const FIELDS: readonly (keyof GuestCounters)[] = [
  'sent',
  'sentBytes',
  'received',
  'receivedBytes',
  'verified',
  'altered',
  'missing',
  'disordered',
];

/** The guest sends and receives. */
export const GUEST_RUNS = 0;
/** The guest only receives: what is under way arrives. */
export const GUEST_DRAINS = 1;

/**
 * One guest's record in a SharedArrayBuffer. Counters are float64, which is written and read whole and exact up to 2^53; the
 * guest keeps its own copy and publishes it once a poll, so that counting costs nothing a frame.
 */
export class GuestRecord {
  readonly buffer: SharedArrayBuffer;
  readonly #command: Int32Array;
  readonly #values: Float64Array;

  constructor(buffer = new SharedArrayBuffer(8 + FIELDS.length * 8)) {
    this.buffer = buffer;
    this.#command = new Int32Array(buffer, 0, 2);
    this.#values = new Float64Array(buffer, 8, FIELDS.length);
  }

  get command(): number {
    return Atomics.load(this.#command, 0);
  }

  set command(value: number) {
    Atomics.store(this.#command, 0, value);
  }

  /** Set by the guest once it has receive buffers in its ring: what comes earlier finds no room. */
  get isReady(): boolean {
    return Atomics.load(this.#command, 1) === 1;
  }

  setReady(): void {
    Atomics.store(this.#command, 1, 1);
  }

  publish(counters: GuestCounters): void {
    for (let i = 0; i < FIELDS.length; i++) this.#values[i] = counters[FIELDS[i]!];
  }

  read(): GuestCounters {
    return Object.fromEntries(FIELDS.map((field, i) => [field, this.#values[i]!])) as unknown as GuestCounters;
  }
}
