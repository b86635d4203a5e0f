import { VhostProtocolError } from './errors.js';
import {
  FLAG_REPLY,
  FLAG_VERSION,
  FLAG_VERSION_MASK,
  HEADER_LENGTH,
  MAX_PAYLOAD_LENGTH,
  type MemoryRegion,
  type Message,
  type Payload,
  type PayloadKind,
  REGION_LENGTH,
  requestInfo,
  requestName,
} from './messages.js';

/** All numbers travel in the machine's own order; every machine that Viaduct runs on is little-endian. */
const LITTLE = true;

export interface Header {
  readonly request: number;
  readonly flags: number;
  /** Payload bytes that follow. */
  readonly length: number;
}

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/**
 * Reads and checks the 12 bytes that begin a message. `from` says who sent it: a front end's message must not have the
 * reply flag, a back end's must have it. Throws VhostProtocolError for a wrong version, a wrong direction, and a payload
 * length that the request cannot have, so that nobody waits for bytes that don't come (F12).
 */
export function decodeHeader(bytes: Uint8Array, from: 'frontend' | 'backend'): Header {
  const data = view(bytes);
  const request = data.getUint32(0, LITTLE);
  const flags = data.getUint32(4, LITTLE);
  const length = data.getUint32(8, LITTLE);
  const name = requestName(request);
  if ((flags & FLAG_VERSION_MASK) !== FLAG_VERSION) {
    throw new VhostProtocolError(name, 'flags', `say version ${flags & FLAG_VERSION_MASK}, not ${FLAG_VERSION}`);
  }
  const isReply = (flags & FLAG_REPLY) !== 0;
  if (isReply !== (from === 'backend')) {
    throw new VhostProtocolError(name, 'flags', isReply ? 'mark a request as a reply' : 'lack the reply bit');
  }
  if (length > MAX_PAYLOAD_LENGTH) {
    throw new VhostProtocolError(name, 'size', `${length} is beyond the largest payload, ${MAX_PAYLOAD_LENGTH}`);
  }
  const info = requestInfo(request);
  if (info !== undefined && from === 'frontend' && (length < info.minLength || length > info.maxLength)) {
    const want = info.minLength === info.maxLength ? `${info.minLength}` : `${info.minLength} to ${info.maxLength}`;
    throw new VhostProtocolError(name, 'size', `${length} where the request has ${want} bytes`);
  }
  return { request, flags, length };
}

function decodeRegion(data: DataView, at: number): MemoryRegion {
  return {
    guestAddress: data.getBigUint64(at, LITTLE),
    size: data.getBigUint64(at + 8, LITTLE),
    userAddress: data.getBigUint64(at + 16, LITTLE),
    mmapOffset: data.getBigUint64(at + 24, LITTLE),
  };
}

/** Payload bytes → typed payload; the length must be exactly the shape's. */
export function decodePayload(request: number, kind: PayloadKind, bytes: Uint8Array): Payload {
  const data = view(bytes);
  const need = (length: number): void => {
    if (bytes.length !== length) {
      throw new VhostProtocolError(requestName(request), 'size', `${bytes.length} where ${length} bytes belong`);
    }
  };
  switch (kind) {
    case 'none':
      need(0);
      return { kind };
    case 'u64':
      need(8);
      return { kind, value: data.getBigUint64(0, LITTLE) };
    case 'vringState':
      need(8);
      return { kind, index: data.getUint32(0, LITTLE), num: data.getUint32(4, LITTLE) };
    case 'vringAddress':
      need(40);
      return {
        kind,
        index: data.getUint32(0, LITTLE),
        flags: data.getUint32(4, LITTLE),
        desc: data.getBigUint64(8, LITTLE),
        used: data.getBigUint64(16, LITTLE),
        avail: data.getBigUint64(24, LITTLE),
        log: data.getBigUint64(32, LITTLE),
      };
    case 'memoryTable': {
      if (bytes.length < 8) need(8);
      const count = data.getUint32(0, LITTLE);
      // The count is compared before it is multiplied: it is the peer's number.
      if (count !== (bytes.length - 8) / REGION_LENGTH) {
        throw new VhostProtocolError(
          requestName(request),
          'num_regions',
          `${count} disagrees with a payload of ${bytes.length} bytes`,
        );
      }
      return { kind, regions: Array.from({ length: count }, (_, n) => decodeRegion(data, 8 + n * REGION_LENGTH)) };
    }
    case 'memoryRegion':
      need(8 + REGION_LENGTH);
      return { kind, region: decodeRegion(data, 8) };
    case 'bytes':
      return { kind, bytes: bytes.slice() };
  }
}

function payloadLength(payload: Payload): number {
  switch (payload.kind) {
    case 'none':
      return 0;
    case 'u64':
    case 'vringState':
      return 8;
    case 'vringAddress':
      return 40;
    case 'memoryTable':
      return 8 + payload.regions.length * REGION_LENGTH;
    case 'memoryRegion':
      return 8 + REGION_LENGTH;
    case 'bytes':
      return payload.bytes.length;
  }
}

function encodeRegion(data: DataView, at: number, region: MemoryRegion): void {
  data.setBigUint64(at, region.guestAddress, LITTLE);
  data.setBigUint64(at + 8, region.size, LITTLE);
  data.setBigUint64(at + 16, region.userAddress, LITTLE);
  data.setBigUint64(at + 24, region.mmapOffset, LITTLE);
}

/**
 * Message → bytes. The buffer is new and zeroed, so padding never carries anything else out (F17). The message's fds travel
 * beside the bytes.
 */
export function encodeMessage(message: Message): Uint8Array {
  const { payload } = message;
  const length = payloadLength(payload);
  const bytes = new Uint8Array(HEADER_LENGTH + length);
  const data = view(bytes);
  data.setUint32(0, message.request, LITTLE);
  data.setUint32(4, (message.flags & ~FLAG_VERSION_MASK) | FLAG_VERSION, LITTLE);
  data.setUint32(8, length, LITTLE);
  const at = HEADER_LENGTH;
  switch (payload.kind) {
    case 'none':
      break;
    case 'u64':
      data.setBigUint64(at, payload.value, LITTLE);
      break;
    case 'vringState':
      data.setUint32(at, payload.index, LITTLE);
      data.setUint32(at + 4, payload.num, LITTLE);
      break;
    case 'vringAddress':
      data.setUint32(at, payload.index, LITTLE);
      data.setUint32(at + 4, payload.flags, LITTLE);
      data.setBigUint64(at + 8, payload.desc, LITTLE);
      data.setBigUint64(at + 16, payload.used, LITTLE);
      data.setBigUint64(at + 24, payload.avail, LITTLE);
      data.setBigUint64(at + 32, payload.log, LITTLE);
      break;
    case 'memoryTable':
      data.setUint32(at, payload.regions.length, LITTLE);
      for (const [n, region] of payload.regions.entries()) encodeRegion(data, at + 8 + n * REGION_LENGTH, region);
      break;
    case 'memoryRegion':
      encodeRegion(data, at + 8, payload.region);
      break;
    case 'bytes':
      bytes.set(payload.bytes, at);
      break;
  }
  return bytes;
}
