/** The flow hash in TypeScript, for programs that want to know where a flow goes: rte_softrss. The data plane has its own. */

import { ViaductError } from '../errors.js';

/** Bytes of the key that are behind the last one of the input. */
const KEY_BEHIND = 4;

/**
 * Toeplitz hash of an input, as receive-side scaling defines it: for each bit that is set, the 32 bits of the key from there on,
 * xored. The input of a flow is | source address | destination address | source port | destination port |, big-endian; without
 * the ports for fragments and for protocols other than TCP, UDP and SCTP. Throws ERR_INVALID_ARGUMENT for a key that has not 4
 * bytes more than the input.
 */
export function toeplitzHash(key: Uint8Array, input: Uint8Array): number {
  if (key.length < input.length + KEY_BEHIND) {
    throw new ViaductError(
      'ERR_INVALID_ARGUMENT',
      `toeplitzHash: a key of ${key.length} bytes is too short for ${input.length} bytes of input: it takes ` +
        `${input.length + KEY_BEHIND} or more (steeringKey has 40)`,
    );
  }
  let hash = 0;
  for (let bit = 0; bit < input.length * 8; bit++) {
    if ((input[bit >>> 3]! & (0x80 >>> (bit & 7))) !== 0) hash ^= keyWindow(key, bit);
  }
  return hash >>> 0;
}

/** 32 bits of the key from `bit` on. */
function keyWindow(key: Uint8Array, bit: number): number {
  const byte = (n: number): number => key[(bit >>> 3) + n]!;
  const word = (byte(0) << 24) | (byte(1) << 16) | (byte(2) << 8) | byte(3);
  const shift = bit & 7;
  return shift === 0 ? word : (word << shift) | (byte(4) >>> (8 - shift));
}
