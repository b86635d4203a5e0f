/**
 * What negotiated features make of a ring, for the data plane: net_vhost and net_virtio_user read it from here, so that both ends
 * of a virtqueue mean the same. Asked once, when the ring starts. Virtio 1.2 sections 2.7, 2.8, 5.1.6 and 6.
 */
import {
  MAX_CHAINS,
  QUEUE_HDR_LEN,
  QUEUE_MAX_CHAINS,
  QUEUE_MAX_TABLE,
  QUEUE_PATH,
  QUEUE_VQ_FLAGS,
  VQ_EVENT_IDX,
  VQ_PATH_IN_ORDER,
  VQ_PATH_MERGEABLE,
  VQ_PATH_PACKED,
} from '../../assembly/layout.js';
import type { HostMemory } from '../eal/memory.js';
import {
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_VERSION_1,
  VIRTIO_NET_F_MRG_RXBUF,
  VIRTIO_RING_F_EVENT_IDX,
  VIRTIO_RING_F_INDIRECT_DESC,
} from '../vhost/features.js';

/** Section 5.1.6: with num_buffers, and the legacy one without. */
export const HDR_LEN = 12;
const LEGACY_HDR_LEN = 10;

/** Fields of the queue record, see assembly/layout.ts. */
export interface VringShape {
  /** QUEUE_VQ_FLAGS, VQ_* bits. */
  readonly flags: number;
  /** QUEUE_PATH, VQ_PATH_* bits. */
  readonly path: number;
  /** QUEUE_HDR_LEN, bytes. */
  readonly hdrLen: number;
  /** QUEUE_MAX_CHAINS. */
  readonly maxChains: number;
  /** QUEUE_MAX_TABLE. */
  readonly maxTable: number;
}

/** `maxTable`: entries that an indirect table may have if such tables are negotiated at all. */
export function vringShape(features: bigint, packed: boolean, maxTable: number): VringShape {
  const has = (feature: bigint): boolean => (features & feature) !== 0n;
  const mergeable = has(VIRTIO_NET_F_MRG_RXBUF);
  return {
    flags: has(VIRTIO_RING_F_EVENT_IDX) ? VQ_EVENT_IDX : 0,
    path:
      (packed ? VQ_PATH_PACKED : 0) |
      (has(VIRTIO_F_IN_ORDER) ? VQ_PATH_IN_ORDER : 0) |
      (mergeable ? VQ_PATH_MERGEABLE : 0),
    hdrLen: mergeable || has(VIRTIO_F_VERSION_1) ? HDR_LEN : LEGACY_HDR_LEN,
    maxChains: mergeable ? MAX_CHAINS : 1,
    maxTable: has(VIRTIO_RING_F_INDIRECT_DESC) ? maxTable : 0,
  };
}

/** Writes it into a queue record. Lock held. */
export function writeVringShape({ u32 }: HostMemory, queue: number, shape: VringShape): void {
  const set = (field: number, value: number): void => {
    Atomics.store(u32, (queue + field) >>> 2, value);
  };
  set(QUEUE_HDR_LEN, shape.hdrLen);
  set(QUEUE_VQ_FLAGS, shape.flags);
  set(QUEUE_PATH, shape.path);
  set(QUEUE_MAX_CHAINS, shape.maxChains);
  set(QUEUE_MAX_TABLE, shape.maxTable);
}

/** A path's name: the layout, then what else was negotiated of it: `split`, `packed in-order mergeable`. */
export function pathName(path: number): string {
  const words = [path & VQ_PATH_PACKED ? 'packed' : 'split'];
  if (path & VQ_PATH_IN_ORDER) words.push('in-order');
  if (path & VQ_PATH_MERGEABLE) words.push('mergeable');
  return words.join(' ');
}
