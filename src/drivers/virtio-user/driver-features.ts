/** Which of a back end's features net_virtio_user takes, and what they mean for its rings. Virtio 1.2 sections 5.1.3 and 6. */
import { TX_TABLE_MAX } from '../../../assembly/layout.js';
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
  VIRTIO_RING_F_INDIRECT_DESC,
} from '../../vhost/features.js';
import { offloadsOf } from '../offloads.js';
import { HDR_LEN, type VringShape, vringShape } from '../vring-shape.js';

/** A receive buffer this long takes any packet: guests with GUEST_TSO and without mergeable buffers need it (5.1.6.3.1). */
const WHOLE_PACKET_BYTES = 65562;

/** What the port's owner asks for. */
export interface DriverWishes {
  readonly packed: boolean;
  readonly inOrder: boolean;
  readonly mrgRxbuf: boolean;
  readonly eventIdx: boolean;
  /** Packets of several pieces take one descriptor. */
  readonly indirectDesc: boolean;
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
  if (wishes.indirectDesc) wanted |= VIRTIO_RING_F_INDIRECT_DESC;
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

/** What the data plane must know of a ring. */
export interface RingShape extends VringShape {
  readonly packed: boolean;
  /** QUEUE_OFFLOADS. */
  readonly offloads: number;
}

/** The shape of a vring of `size` entries (index even: the driver receives, odd: it sends) under these negotiated features. */
export function ringShape(features: bigint, index: number, size: number): RingShape {
  const packed = (features & VIRTIO_F_RING_PACKED) !== 0n;
  return {
    packed,
    ...vringShape(features, packed, Math.min(TX_TABLE_MAX, size)),
    offloads: offloadsOf(features, index & 1 ? 'transmit' : 'receive'),
  };
}
