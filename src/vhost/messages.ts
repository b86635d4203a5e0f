/**
 * The vhost-user messages that a front end sends: their ids, the shape of their payload and of their reply, how many
 * descriptors (fds) may ride with them, and the protocol feature without which they are not allowed. QEMU's
 * docs/interop/vhost-user.rst, "Front-end message types". The table is the one place that says so; codec and sessions
 * read it.
 */
import {
  VHOST_USER_PROTOCOL_F_BACKEND_REQ,
  VHOST_USER_PROTOCOL_F_CONFIG,
  VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS,
  VHOST_USER_PROTOCOL_F_CROSS_ENDIAN,
  VHOST_USER_PROTOCOL_F_CRYPTO_SESSION,
  VHOST_USER_PROTOCOL_F_DEVICE_STATE,
  VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS,
  VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD,
  VHOST_USER_PROTOCOL_F_LOG_SHMFD,
  VHOST_USER_PROTOCOL_F_MQ,
  VHOST_USER_PROTOCOL_F_NET_MTU,
  VHOST_USER_PROTOCOL_F_PAGEFAULT,
  VHOST_USER_PROTOCOL_F_RESET_DEVICE,
  VHOST_USER_PROTOCOL_F_SHARED_OBJECT,
  VHOST_USER_PROTOCOL_F_STATUS,
} from './features.js';

/** request u32, flags u32, payload size u32. */
export const HEADER_LENGTH = 12;
export const FLAG_VERSION_MASK = 3;
export const FLAG_VERSION = 1;
export const FLAG_REPLY = 4;
export const FLAG_NEED_REPLY = 8;
/** Longest payload that is taken from the wire, for a request that we don't know. */
export const MAX_PAYLOAD_LENGTH = 4096;
/** Regions, and so fds, of one SET_MEM_TABLE (VHOST_MEMORY_BASELINE_NREGIONS). */
export const MAX_TABLE_REGIONS = 8;
export const REGION_LENGTH = 32;
/** Bits 0-7 of SET_VRING_KICK, CALL and ERR: the vring; bit 8: no descriptor rides along. */
export const VRING_INDEX_MASK = 0xffn;
export const VRING_NOFD = 0x100n;

export const GET_FEATURES = 1;
export const SET_FEATURES = 2;
export const SET_OWNER = 3;
export const RESET_OWNER = 4;
export const SET_MEM_TABLE = 5;
export const SET_LOG_BASE = 6;
export const SET_LOG_FD = 7;
export const SET_VRING_NUM = 8;
export const SET_VRING_ADDR = 9;
export const SET_VRING_BASE = 10;
export const GET_VRING_BASE = 11;
export const SET_VRING_KICK = 12;
export const SET_VRING_CALL = 13;
export const SET_VRING_ERR = 14;
export const GET_PROTOCOL_FEATURES = 15;
export const SET_PROTOCOL_FEATURES = 16;
export const GET_QUEUE_NUM = 17;
export const SET_VRING_ENABLE = 18;
export const SEND_RARP = 19;
export const NET_SET_MTU = 20;
export const SET_BACKEND_REQ_FD = 21;
export const IOTLB_MSG = 22;
export const SET_VRING_ENDIAN = 23;
export const GET_CONFIG = 24;
export const SET_CONFIG = 25;
export const CREATE_CRYPTO_SESSION = 26;
export const CLOSE_CRYPTO_SESSION = 27;
export const POSTCOPY_ADVISE = 28;
export const POSTCOPY_LISTEN = 29;
export const POSTCOPY_END = 30;
export const GET_INFLIGHT_FD = 31;
export const SET_INFLIGHT_FD = 32;
export const GPU_SET_SOCKET = 33;
export const RESET_DEVICE = 34;
export const VRING_KICK = 35;
export const GET_MAX_MEM_SLOTS = 36;
export const ADD_MEM_REG = 37;
export const REM_MEM_REG = 38;
export const SET_STATUS = 39;
export const GET_STATUS = 40;
export const GET_SHARED_OBJECT = 41;
export const SET_DEVICE_STATE_FD = 42;
export const CHECK_DEVICE_STATE = 43;

/** A memory region of the front end's: the same bytes at a guest physical and at a front-end user address. */
export interface MemoryRegion {
  readonly guestAddress: bigint;
  readonly size: bigint;
  readonly userAddress: bigint;
  /** Where the region begins in its file, bytes. */
  readonly mmapOffset: bigint;
}

export type Payload =
  | { readonly kind: 'none' }
  | { readonly kind: 'u64'; readonly value: bigint }
  | { readonly kind: 'vringState'; readonly index: number; readonly num: number }
  | {
      readonly kind: 'vringAddress';
      readonly index: number;
      readonly flags: number;
      /** User addresses; `log` is a guest physical address. */
      readonly desc: bigint;
      readonly used: bigint;
      readonly avail: bigint;
      readonly log: bigint;
    }
  | { readonly kind: 'memoryTable'; readonly regions: readonly MemoryRegion[] }
  | { readonly kind: 'memoryRegion'; readonly region: MemoryRegion }
  /** Bytes as they came: messages that we know by size only, and unknown ones. */
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array };

export type PayloadKind = Payload['kind'];

/** One message. `fds` belongs to whoever holds the message: who keeps a descriptor takes it out of the array. */
export interface Message {
  readonly request: number;
  /** FLAG_REPLY and FLAG_NEED_REPLY; the version is the codec's business. */
  readonly flags: number;
  readonly payload: Payload;
  readonly fds: number[];
}

export interface RequestInfo {
  readonly id: number;
  readonly name: string;
  readonly payload: PayloadKind;
  /** Smallest and largest payload in bytes. */
  readonly minLength: number;
  readonly maxLength: number;
  readonly minFds: number;
  readonly maxFds: number;
  /** Shape of its reply; undefined = answered only where REPLY_ACK asks for it. */
  readonly reply?: PayloadKind;
  /** Protocol feature that must have been negotiated. */
  readonly needs?: bigint;
  /** Name of what would have to be negotiated, where that is no protocol feature. */
  readonly needsName?: string;
}

type Rest = Partial<Omit<RequestInfo, 'id' | 'name' | 'payload'>>;

const LENGTHS: Readonly<Record<PayloadKind, readonly [number, number]>> = {
  none: [0, 0],
  u64: [8, 8],
  vringState: [8, 8],
  vringAddress: [40, 40],
  memoryTable: [8, 8 + MAX_TABLE_REGIONS * REGION_LENGTH],
  memoryRegion: [8 + REGION_LENGTH, 8 + REGION_LENGTH],
  bytes: [0, MAX_PAYLOAD_LENGTH],
};

function row(id: number, name: string, payload: PayloadKind, rest: Rest = {}): RequestInfo {
  const [minLength, maxLength] = LENGTHS[payload];
  return { id, name, payload, minLength, maxLength, minFds: 0, maxFds: 0, ...rest };
}

const oneFd = { minFds: 1, maxFds: 1 };
const exactly = (length: number): Rest => ({ minLength: length, maxLength: length });

const ROWS: readonly RequestInfo[] = [
  row(GET_FEATURES, 'GET_FEATURES', 'none', { reply: 'u64' }),
  row(SET_FEATURES, 'SET_FEATURES', 'u64'),
  row(SET_OWNER, 'SET_OWNER', 'none'),
  row(RESET_OWNER, 'RESET_OWNER', 'none'),
  row(SET_MEM_TABLE, 'SET_MEM_TABLE', 'memoryTable', { maxFds: MAX_TABLE_REGIONS }),
  row(SET_LOG_BASE, 'SET_LOG_BASE', 'bytes', { ...exactly(16), ...oneFd, needs: VHOST_USER_PROTOCOL_F_LOG_SHMFD }),
  row(SET_LOG_FD, 'SET_LOG_FD', 'bytes', { maxLength: 8, ...oneFd, needs: VHOST_USER_PROTOCOL_F_LOG_SHMFD }),
  row(SET_VRING_NUM, 'SET_VRING_NUM', 'vringState'),
  row(SET_VRING_ADDR, 'SET_VRING_ADDR', 'vringAddress'),
  row(SET_VRING_BASE, 'SET_VRING_BASE', 'vringState'),
  row(GET_VRING_BASE, 'GET_VRING_BASE', 'vringState', { reply: 'vringState' }),
  row(SET_VRING_KICK, 'SET_VRING_KICK', 'u64', { maxFds: 1 }),
  row(SET_VRING_CALL, 'SET_VRING_CALL', 'u64', { maxFds: 1 }),
  row(SET_VRING_ERR, 'SET_VRING_ERR', 'u64', { maxFds: 1 }),
  row(GET_PROTOCOL_FEATURES, 'GET_PROTOCOL_FEATURES', 'none', { reply: 'u64' }),
  row(SET_PROTOCOL_FEATURES, 'SET_PROTOCOL_FEATURES', 'u64'),
  row(GET_QUEUE_NUM, 'GET_QUEUE_NUM', 'none', { reply: 'u64', needs: VHOST_USER_PROTOCOL_F_MQ }),
  row(SET_VRING_ENABLE, 'SET_VRING_ENABLE', 'vringState'),
  // Only legal with RARP; harmless, so that it is taken from anybody: see BackendDevice.sendRarp.
  row(SEND_RARP, 'SEND_RARP', 'u64'),
  row(NET_SET_MTU, 'NET_SET_MTU', 'u64', { needs: VHOST_USER_PROTOCOL_F_NET_MTU }),
  row(SET_BACKEND_REQ_FD, 'SET_BACKEND_REQ_FD', 'none', { ...oneFd, needs: VHOST_USER_PROTOCOL_F_BACKEND_REQ }),
  row(IOTLB_MSG, 'IOTLB_MSG', 'bytes', { ...exactly(32), reply: 'u64', needsName: 'VIRTIO_F_ACCESS_PLATFORM' }),
  row(SET_VRING_ENDIAN, 'SET_VRING_ENDIAN', 'vringState', { needs: VHOST_USER_PROTOCOL_F_CROSS_ENDIAN }),
  row(GET_CONFIG, 'GET_CONFIG', 'bytes', {
    minLength: 12,
    maxLength: 268,
    reply: 'bytes',
    needs: VHOST_USER_PROTOCOL_F_CONFIG,
  }),
  row(SET_CONFIG, 'SET_CONFIG', 'bytes', { minLength: 12, maxLength: 268, needs: VHOST_USER_PROTOCOL_F_CONFIG }),
  row(CREATE_CRYPTO_SESSION, 'CREATE_CRYPTO_SESSION', 'bytes', {
    reply: 'bytes',
    needs: VHOST_USER_PROTOCOL_F_CRYPTO_SESSION,
  }),
  row(CLOSE_CRYPTO_SESSION, 'CLOSE_CRYPTO_SESSION', 'u64', { needs: VHOST_USER_PROTOCOL_F_CRYPTO_SESSION }),
  row(POSTCOPY_ADVISE, 'POSTCOPY_ADVISE', 'none', { reply: 'bytes', needs: VHOST_USER_PROTOCOL_F_PAGEFAULT }),
  row(POSTCOPY_LISTEN, 'POSTCOPY_LISTEN', 'none', { needs: VHOST_USER_PROTOCOL_F_PAGEFAULT }),
  row(POSTCOPY_END, 'POSTCOPY_END', 'none', { reply: 'u64', needs: VHOST_USER_PROTOCOL_F_PAGEFAULT }),
  // 20 bytes of fields; a C structure that is not packed sends 24.
  row(GET_INFLIGHT_FD, 'GET_INFLIGHT_FD', 'bytes', {
    minLength: 20,
    maxLength: 24,
    reply: 'bytes',
    needs: VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD,
  }),
  row(SET_INFLIGHT_FD, 'SET_INFLIGHT_FD', 'bytes', {
    minLength: 20,
    maxLength: 24,
    ...oneFd,
    needs: VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD,
  }),
  row(GPU_SET_SOCKET, 'GPU_SET_SOCKET', 'none', { ...oneFd, needsName: 'a GPU device' }),
  row(RESET_DEVICE, 'RESET_DEVICE', 'none', { needs: VHOST_USER_PROTOCOL_F_RESET_DEVICE }),
  row(VRING_KICK, 'VRING_KICK', 'vringState', { needs: VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS }),
  row(GET_MAX_MEM_SLOTS, 'GET_MAX_MEM_SLOTS', 'none', {
    reply: 'u64',
    needs: VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS,
  }),
  row(ADD_MEM_REG, 'ADD_MEM_REG', 'memoryRegion', { ...oneFd, needs: VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS }),
  // Some front ends send a descriptor with it, against the specification: it is closed unused.
  row(REM_MEM_REG, 'REM_MEM_REG', 'memoryRegion', { maxFds: 1, needs: VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS }),
  row(SET_STATUS, 'SET_STATUS', 'u64', { needs: VHOST_USER_PROTOCOL_F_STATUS }),
  row(GET_STATUS, 'GET_STATUS', 'none', { reply: 'u64', needs: VHOST_USER_PROTOCOL_F_STATUS }),
  row(GET_SHARED_OBJECT, 'GET_SHARED_OBJECT', 'bytes', { ...exactly(16), needs: VHOST_USER_PROTOCOL_F_SHARED_OBJECT }),
  row(SET_DEVICE_STATE_FD, 'SET_DEVICE_STATE_FD', 'bytes', {
    ...exactly(8),
    ...oneFd,
    reply: 'u64',
    needs: VHOST_USER_PROTOCOL_F_DEVICE_STATE,
  }),
  row(CHECK_DEVICE_STATE, 'CHECK_DEVICE_STATE', 'none', { reply: 'u64', needs: VHOST_USER_PROTOCOL_F_DEVICE_STATE }),
];

const BY_ID: ReadonlyMap<number, RequestInfo> = new Map(ROWS.map((info) => [info.id, info]));

/** Every request that the protocol knows. */
export const REQUESTS: readonly RequestInfo[] = ROWS;

/** What the protocol says of a request id; undefined for one that it doesn't know. */
export function requestInfo(id: number): RequestInfo | undefined {
  return BY_ID.get(id);
}

/** `SET_MEM_TABLE`, or `request 77` for an unknown id. */
export function requestName(id: number): string {
  return BY_ID.get(id)?.name ?? `request ${id}`;
}
