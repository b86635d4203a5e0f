/**
 * Negotiated features as the data plane's OFFLOAD_* bits (QUEUE_OFFLOADS), virtio 1.2 section 5.1.3. HOST_ features speak of
 * packets that the guest sends, GUEST_ features of those that it receives; who is asked is the same on both sides of the
 * virtqueue, so net_vhost and net_virtio_user read one table:
 *
 *   the guest's transmit ring   vhost: what the guest may ask of us      virtio-user: what the back end takes from us
 *   the guest's receive ring    vhost: what the guest takes from us      virtio-user: what the back end may send us
 */
import {
  OFFLOAD_CSUM,
  OFFLOAD_ECN,
  OFFLOAD_TSO4,
  OFFLOAD_TSO6,
  OFFLOAD_UFO,
  OFFLOAD_USO4,
  OFFLOAD_USO6,
} from '../../assembly/layout.js';
import {
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_ECN,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_GUEST_TSO6,
  VIRTIO_NET_F_GUEST_UFO,
  VIRTIO_NET_F_GUEST_USO4,
  VIRTIO_NET_F_GUEST_USO6,
  VIRTIO_NET_F_HOST_ECN,
  VIRTIO_NET_F_HOST_TSO4,
  VIRTIO_NET_F_HOST_TSO6,
  VIRTIO_NET_F_HOST_UFO,
  VIRTIO_NET_F_HOST_USO,
} from '../vhost/features.js';

/** Which of a guest's two rings: it sends on the one, it receives on the other. */
export type GuestRing = 'transmit' | 'receive';

interface Row {
  readonly offloads: number;
  readonly name: string;
  readonly transmit: bigint;
  readonly receive: bigint;
}

const CHECKSUM: Row = {
  offloads: OFFLOAD_CSUM,
  name: 'csum',
  transmit: VIRTIO_NET_F_CSUM,
  receive: VIRTIO_NET_F_GUEST_CSUM,
};

/** Each needs the checksum feature of its direction (section 5.1.3.1). */
const SEGMENTATION: readonly Row[] = [
  { offloads: OFFLOAD_TSO4, name: 'tso4', transmit: VIRTIO_NET_F_HOST_TSO4, receive: VIRTIO_NET_F_GUEST_TSO4 },
  { offloads: OFFLOAD_TSO6, name: 'tso6', transmit: VIRTIO_NET_F_HOST_TSO6, receive: VIRTIO_NET_F_GUEST_TSO6 },
  { offloads: OFFLOAD_ECN, name: 'ecn', transmit: VIRTIO_NET_F_HOST_ECN, receive: VIRTIO_NET_F_GUEST_ECN },
  { offloads: OFFLOAD_UFO, name: 'ufo', transmit: VIRTIO_NET_F_HOST_UFO, receive: VIRTIO_NET_F_GUEST_UFO },
  // One feature for both IP versions where the guest sends, one each where it receives.
  { offloads: OFFLOAD_USO4, name: 'uso4', transmit: VIRTIO_NET_F_HOST_USO, receive: VIRTIO_NET_F_GUEST_USO4 },
  { offloads: OFFLOAD_USO6, name: 'uso6', transmit: VIRTIO_NET_F_HOST_USO, receive: VIRTIO_NET_F_GUEST_USO6 },
];

/**
 * OFFLOAD_* of one ring. A segmentation feature without its checksum feature, and ECN without TSO, mean nothing: the
 * specification forbids them, and a peer that negotiates them all the same gets less, not more.
 */
export function offloadsOf(features: bigint, ring: GuestRing): number {
  if ((features & CHECKSUM[ring]) === 0n) return 0;
  let offloads = CHECKSUM.offloads;
  for (const row of SEGMENTATION) if ((features & row[ring]) !== 0n) offloads |= row.offloads;
  return offloads & (OFFLOAD_TSO4 | OFFLOAD_TSO6) ? offloads : offloads & ~OFFLOAD_ECN;
}

/** `csum`, `tso4`, ... for people. */
export function offloadNames(offloads: number): string[] {
  return [CHECKSUM, ...SEGMENTATION].filter((row) => (offloads & row.offloads) !== 0).map((row) => row.name);
}
