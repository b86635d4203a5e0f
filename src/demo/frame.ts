/**
 * The demo's frames, which prove that what arrives is what was sent: a header with source, sequence number, length and
 * checksum, then a payload that depends on all of them.
 *
 *    0  destination MAC      6  source MAC     12  EtherType 0x88b5 (IEEE 802: local experiment)   14  version
 *   16  sequence number     20  acknowledged: how many of the peer's sequence numbers were seen   24  length
 *   28  checksum            32  payload
 *
 * Words are little-endian u32 at addresses that are multiples of 4, so that one Uint32Array over the host memory reads and
 * writes them. `w` in the functions below is the index of the frame's first word.
 */
export const FRAME_ETHERTYPE_VERSION = 0x0001_b588;
export const FRAME_SEQUENCE = 4;
export const FRAME_ACKNOWLEDGED = 5;
export const FRAME_LENGTH = 6;
export const FRAME_CHECKSUM = 7;
export const FRAME_PAYLOAD = 8;

/** Header, and a payload of one word. */
const MIN_FRAME_BYTES = 36;

/** Sizes in turn: small packets are the most, full ones carry the most bytes, as on a real network. Multiples of 4. */
export const FRAME_BYTES: readonly number[] = [
  64, 64, 128, 64, 576, 64, 1516, 64, 256, 1516, 64, 128, 1024, 64, 1516, 64,
];

/** Fills header words and payload; destination and source are already there. */
export function writeFrame(
  u32: Uint32Array,
  w: number,
  sequence: number,
  acknowledged: number,
  lengthBytes: number,
): void {
  u32[w + 3] = FRAME_ETHERTYPE_VERSION;
  u32[w + FRAME_SEQUENCE] = sequence;
  u32[w + FRAME_ACKNOWLEDGED] = acknowledged;
  u32[w + FRAME_LENGTH] = lengthBytes;
  const end = w + (lengthBytes >>> 2);
  // One multiplication a word; every word differs from its neighbour and from the same word of the frame before.
  let value = Math.imul(sequence, 0x9e37_79b1) ^ lengthBytes;
  let sum = headerSum(sequence, acknowledged, lengthBytes);
  for (let i = w + FRAME_PAYLOAD; i < end; i++) {
    value = (Math.imul(value, 0x0019_660d) + 0x3c6e_f35f) | 0;
    u32[i] = value;
    sum = (Math.imul(sum, 31) + value) | 0;
  }
  u32[w + FRAME_CHECKSUM] = sum;
}

/** Whether a frame of `lengthBytes` is intact: its header says the same length, and the checksum over header and payload fits. */
export function verifyFrame(u32: Uint32Array, w: number, lengthBytes: number): boolean {
  if (lengthBytes < MIN_FRAME_BYTES || (lengthBytes & 3) !== 0) return false;
  if (u32[w + 3] !== FRAME_ETHERTYPE_VERSION || u32[w + FRAME_LENGTH] !== lengthBytes) return false;
  const end = w + (lengthBytes >>> 2);
  let sum = headerSum(u32[w + FRAME_SEQUENCE]!, u32[w + FRAME_ACKNOWLEDGED]!, lengthBytes);
  for (let i = w + FRAME_PAYLOAD; i < end; i++) sum = (Math.imul(sum, 31) + u32[i]!) | 0;
  return u32[w + FRAME_CHECKSUM] === sum >>> 0;
}

function headerSum(sequence: number, acknowledged: number, lengthBytes: number): number {
  return (Math.imul(sequence, 0x85eb_ca6b) + Math.imul(acknowledged, 0xc2b2_ae35) + lengthBytes) | 0;
}

/** MAC of guest `id`: locally administered. */
export function guestMac(id: number): string {
  return `02:00:00:00:01:${id.toString(16).padStart(2, '0')}`;
}
