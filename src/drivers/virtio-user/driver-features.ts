/** Which of a back end's features net_virtio_user takes, and what they mean for its rings. Virtio 1.2 sections 5.1.3 and 6. */
import {
  VQ_EVENT_IDX,
  VQ_IN_ORDER,
  VQ_MERGEABLE,
  VQ_PACKED,
  VQ_PATH_PACKED,
  VQ_PATH_SPLIT,
} from '../../../assembly/layout.js';
import {
  NET_CHECKSUM_FEATURES,
  NET_GUEST_SEGMENTATION_FEATURES,
  NET_HOST_SEGMENTATION_FEATURES,
  VIRTIO_F_ANY_LAYOUT,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_VERSION_1,
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_MQ,
  VIRTIO_NET_F_MRG_RXBUF,
  VIRTIO_RING_F_EVENT_IDX,
} from '../../vhost/features.js';
import { offloadsOf } from '../offloads.js';

/** virtio 1.2 section 5.1.6: with num_buffers, and the legacy one without. */
const HDR_LEN = 12;
const LEGACY_HDR_LEN = 10;
/** A receive buffer this long takes any packet: guests with GUEST_TSO and without mergeable buffers need it (5.1.6.3.1). */
const WHOLE_PACKET_BYTES = 65562;

/** What the port's owner asks for. */
export interface DriverWishes {
  readonly packed: boolean;
  readonly inOrder: boolean;
  readonly mrgRxbuf: boolean;
  readonly eventIdx: boolean;
  /** Checksums that are not there yet, both ways. */
  readonly csum: boolean;
  /** Packets larger than the MTU, by direction; nothing without csum. */
  readonly sendSegments: boolean;
  readonly receiveSegments: boolean;
  readonly queuePairs: number;
  /** Room for frame and header in the smallest receive buffer. */
  readonly bufferBytes: number;
}

/** The features that the driver acknowledges of those on offer. */
export function chooseFeatures(offered: bigint, wishes: DriverWishes): bigint {
  let wanted = VIRTIO_F_VERSION_1 | VIRTIO_F_ANY_LAYOUT;
  if (wishes.packed) wanted |= VIRTIO_F_RING_PACKED;
  if (wishes.inOrder) wanted |= VIRTIO_F_IN_ORDER;
  if (wishes.mrgRxbuf) wanted |= VIRTIO_NET_F_MRG_RXBUF;
  if (wishes.eventIdx) wanted |= VIRTIO_RING_F_EVENT_IDX;
  if (wishes.queuePairs > 1) wanted |= VIRTIO_NET_F_MQ;
  if (wishes.csum) {
    wanted |= NET_CHECKSUM_FEATURES;
    const wholePackets =
      (offered & wanted & VIRTIO_NET_F_MRG_RXBUF) !== 0n || wishes.bufferBytes >= WHOLE_PACKET_BYTES + HDR_LEN;
    if (wishes.sendSegments && (offered & VIRTIO_NET_F_CSUM) !== 0n) wanted |= NET_HOST_SEGMENTATION_FEATURES;
    if (wishes.receiveSegments && wholePackets && (offered & VIRTIO_NET_F_GUEST_CSUM) !== 0n) {
      wanted |= NET_GUEST_SEGMENTATION_FEATURES;
    }
  }
  return offered & wanted;
}

/** What the data plane must know of a ring: QUEUE_VQ_FLAGS, QUEUE_PATH, QUEUE_HDR_LEN, QUEUE_OFFLOADS. */
export interface RingShape {
  readonly packed: boolean;
  readonly flags: number;
  readonly path: number;
  readonly hdrLen: number;
  readonly offloads: number;
}

/** The shape of a vring (even: the driver receives, odd: it sends) under these negotiated features. */
export function ringShape(features: bigint, index: number): RingShape {
  const has = (feature: bigint): boolean => (features & feature) !== 0n;
  const packed = has(VIRTIO_F_RING_PACKED);
  return {
    packed,
    flags:
      (has(VIRTIO_RING_F_EVENT_IDX) ? VQ_EVENT_IDX : 0) |
      (has(VIRTIO_NET_F_MRG_RXBUF) ? VQ_MERGEABLE : 0) |
      (has(VIRTIO_F_IN_ORDER) ? VQ_IN_ORDER : 0) |
      (packed ? VQ_PACKED : 0),
    path: packed ? VQ_PATH_PACKED : VQ_PATH_SPLIT,
    hdrLen: has(VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MRG_RXBUF) ? HDR_LEN : LEGACY_HDR_LEN,
    offloads: offloadsOf(features, index & 1 ? 'transmit' : 'receive'),
  };
}
