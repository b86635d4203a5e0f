import { ViaductError } from '../errors.js';

/** `02:00:00:00:00:01` → 6 bytes. Any address: a peer may be a group, a lookup may ask for one. Throws ERR_INVALID_ARGUMENT. */
export function macBytes(text: string): Uint8Array {
  const groups = text.split(/[:-]/);
  if (groups.length !== 6 || !groups.every((group) => /^[0-9a-f]{1,2}$/i.test(group))) {
    throw new ViaductError('ERR_INVALID_ARGUMENT', `'${text}' is not a MAC address such as 02:00:00:00:00:01`);
  }
  return Uint8Array.from(groups, (group) => Number.parseInt(group, 16));
}

/** 6 bytes → `02:00:00:00:00:01`. */
export function macText(bytes: Uint8Array): string {
  return Array.from(bytes.subarray(0, 6), (byte) => byte.toString(16).padStart(2, '0')).join(':');
}
