const ETHER_TYPE_EXPERIMENTAL = 0x88b5;
const SEQUENCE_WORD = 4;
const LENGTH_WORD = 5;
const SUM_WORD = 6;
/** Least frame that carries all fields. */
export const MIN_TEST_FRAME_BYTES = 28;
const PAYLOAD_POOL_BYTES = 1 << 17;
const MAX_FRAME_BYTES = 65_536;

/**
 * Writes and checks test frames: Ethernet header, a sequence number, the length, a checksum over all of it, and payload out
 * of a pool of random bytes, from a place that the sequence number chooses.
 */
export class FrameMaker {
  readonly #frame = new Uint32Array(MAX_FRAME_BYTES / 4);
  readonly #bytes = new Uint8Array(this.#frame.buffer);
  readonly #pool = new Uint8Array(PAYLOAD_POOL_BYTES + MAX_FRAME_BYTES);

  constructor(destination: string, source: string) {
    this.#bytes.set([...macBytes(destination), ...macBytes(source)]);
    this.#bytes[12] = ETHER_TYPE_EXPERIMENTAL >> 8;
    this.#bytes[13] = ETHER_TYPE_EXPERIMENTAL & 0xff;
    const words = new Uint32Array(this.#pool.buffer);
    let state = 0x2545f491;
    for (let i = 0; i < words.length; i++) {
      // xorshift32
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      words[i] = state;
    }
  }

  /** A frame that is good until the next call. */
  make(sequence: number, lengthBytes: number): Uint8Array {
    const from = Math.imul(sequence, 0x9e3779b1) >>> 15;
    this.#bytes.set(this.#pool.subarray(from, from + lengthBytes - MIN_TEST_FRAME_BYTES), MIN_TEST_FRAME_BYTES);
    this.#frame[SEQUENCE_WORD] = sequence;
    this.#frame[LENGTH_WORD] = lengthBytes;
    this.#frame[SUM_WORD] = 0;
    const frame = this.#bytes.subarray(0, lengthBytes);
    this.#frame[SUM_WORD] = checksum(this.#frame, this.#bytes, lengthBytes);
    return frame;
  }
}

/** Checks frames of a FrameMaker. */
export class FrameChecker {
  readonly #frame = new Uint32Array(MAX_FRAME_BYTES / 4);
  readonly #bytes = new Uint8Array(this.#frame.buffer);

  /** The sequence number, or -1 for a frame that was altered in any way. */
  check(frame: Uint8Array): number {
    if (frame.length < MIN_TEST_FRAME_BYTES) return -1;
    this.#bytes.set(frame);
    if (this.#frame[LENGTH_WORD] !== frame.length) return -1;
    const sum = this.#frame[SUM_WORD]!;
    this.#frame[SUM_WORD] = 0;
    return checksum(this.#frame, this.#bytes, frame.length) === sum ? this.#frame[SEQUENCE_WORD]! : -1;
  }
}

/** Fletcher's sum over 32-bit words; it sees lost, swapped and changed words. Bytes behind the end are made 0. */
function checksum(words: Uint32Array, bytes: Uint8Array, lengthBytes: number): number {
  const end = (lengthBytes + 3) & ~3;
  for (let i = lengthBytes; i < end; i++) bytes[i] = 0;
  let first = lengthBytes;
  let second = 0;
  for (let i = 0; i < end >>> 2; i++) {
    first = (first + words[i]!) | 0;
    second = (second + first) | 0;
  }
  return (first ^ Math.imul(second, 0x85ebca6b)) >>> 0;
}

export function macBytes(mac: string): number[] {
  return mac.split(':').map((part) => Number.parseInt(part, 16));
}
