/**
 * Feature bits as bigint masks: virtio 1.2 section 5.1.3 (network device) and 6 (reserved bits), and the vhost-user
 * protocol features. Names are the specifications' own.
 */
const bit = (n: number): bigint => 1n << BigInt(n);

export const VIRTIO_NET_F_CSUM = bit(0);
export const VIRTIO_NET_F_GUEST_CSUM = bit(1);
export const VIRTIO_NET_F_CTRL_GUEST_OFFLOADS = bit(2);
export const VIRTIO_NET_F_MTU = bit(3);
export const VIRTIO_NET_F_MAC = bit(5);
export const VIRTIO_NET_F_GSO = bit(6);
export const VIRTIO_NET_F_GUEST_TSO4 = bit(7);
export const VIRTIO_NET_F_GUEST_TSO6 = bit(8);
export const VIRTIO_NET_F_GUEST_ECN = bit(9);
export const VIRTIO_NET_F_GUEST_UFO = bit(10);
export const VIRTIO_NET_F_HOST_TSO4 = bit(11);
export const VIRTIO_NET_F_HOST_TSO6 = bit(12);
export const VIRTIO_NET_F_HOST_ECN = bit(13);
export const VIRTIO_NET_F_HOST_UFO = bit(14);
export const VIRTIO_NET_F_MRG_RXBUF = bit(15);
export const VIRTIO_NET_F_STATUS = bit(16);
export const VIRTIO_NET_F_CTRL_VQ = bit(17);
export const VIRTIO_NET_F_CTRL_RX = bit(18);
export const VIRTIO_NET_F_CTRL_VLAN = bit(19);
export const VIRTIO_NET_F_CTRL_RX_EXTRA = bit(20);
export const VIRTIO_NET_F_GUEST_ANNOUNCE = bit(21);
export const VIRTIO_NET_F_MQ = bit(22);
export const VIRTIO_NET_F_CTRL_MAC_ADDR = bit(23);
export const VIRTIO_F_NOTIFY_ON_EMPTY = bit(24);
/** Dirty logging for migration (vhost's own bit). */
export const VHOST_F_LOG_ALL = bit(26);
export const VIRTIO_F_ANY_LAYOUT = bit(27);
export const VIRTIO_RING_F_INDIRECT_DESC = bit(28);
export const VIRTIO_RING_F_EVENT_IDX = bit(29);
/** vhost-user's own bit: protocol features exist, and rings start disabled. */
export const VHOST_USER_F_PROTOCOL_FEATURES = bit(30);
export const VIRTIO_F_VERSION_1 = bit(32);
export const VIRTIO_F_ACCESS_PLATFORM = bit(33);
export const VIRTIO_F_RING_PACKED = bit(34);
export const VIRTIO_F_IN_ORDER = bit(35);
export const VIRTIO_F_ORDER_PLATFORM = bit(36);
export const VIRTIO_F_RING_RESET = bit(40);
export const VIRTIO_NET_F_GUEST_USO4 = bit(54);
export const VIRTIO_NET_F_GUEST_USO6 = bit(55);
export const VIRTIO_NET_F_HOST_USO = bit(56);

export const VHOST_USER_PROTOCOL_F_MQ = bit(0);
export const VHOST_USER_PROTOCOL_F_LOG_SHMFD = bit(1);
export const VHOST_USER_PROTOCOL_F_RARP = bit(2);
export const VHOST_USER_PROTOCOL_F_REPLY_ACK = bit(3);
export const VHOST_USER_PROTOCOL_F_NET_MTU = bit(4);
export const VHOST_USER_PROTOCOL_F_BACKEND_REQ = bit(5);
export const VHOST_USER_PROTOCOL_F_CROSS_ENDIAN = bit(6);
export const VHOST_USER_PROTOCOL_F_CRYPTO_SESSION = bit(7);
export const VHOST_USER_PROTOCOL_F_PAGEFAULT = bit(8);
export const VHOST_USER_PROTOCOL_F_CONFIG = bit(9);
export const VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD = bit(10);
export const VHOST_USER_PROTOCOL_F_HOST_NOTIFIER = bit(11);
export const VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD = bit(12);
export const VHOST_USER_PROTOCOL_F_RESET_DEVICE = bit(13);
export const VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS = bit(14);
export const VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS = bit(15);
export const VHOST_USER_PROTOCOL_F_STATUS = bit(16);
export const VHOST_USER_PROTOCOL_F_XEN_MMAP = bit(17);
export const VHOST_USER_PROTOCOL_F_SHARED_OBJECT = bit(18);
export const VHOST_USER_PROTOCOL_F_DEVICE_STATE = bit(19);

const FEATURE_NAMES: Readonly<Record<number, string>> = {
  0: 'VIRTIO_NET_F_CSUM',
  1: 'VIRTIO_NET_F_GUEST_CSUM',
  2: 'VIRTIO_NET_F_CTRL_GUEST_OFFLOADS',
  3: 'VIRTIO_NET_F_MTU',
  5: 'VIRTIO_NET_F_MAC',
  6: 'VIRTIO_NET_F_GSO',
  7: 'VIRTIO_NET_F_GUEST_TSO4',
  8: 'VIRTIO_NET_F_GUEST_TSO6',
  9: 'VIRTIO_NET_F_GUEST_ECN',
  10: 'VIRTIO_NET_F_GUEST_UFO',
  11: 'VIRTIO_NET_F_HOST_TSO4',
  12: 'VIRTIO_NET_F_HOST_TSO6',
  13: 'VIRTIO_NET_F_HOST_ECN',
  14: 'VIRTIO_NET_F_HOST_UFO',
  15: 'VIRTIO_NET_F_MRG_RXBUF',
  16: 'VIRTIO_NET_F_STATUS',
  17: 'VIRTIO_NET_F_CTRL_VQ',
  18: 'VIRTIO_NET_F_CTRL_RX',
  19: 'VIRTIO_NET_F_CTRL_VLAN',
  20: 'VIRTIO_NET_F_CTRL_RX_EXTRA',
  21: 'VIRTIO_NET_F_GUEST_ANNOUNCE',
  22: 'VIRTIO_NET_F_MQ',
  23: 'VIRTIO_NET_F_CTRL_MAC_ADDR',
  24: 'VIRTIO_F_NOTIFY_ON_EMPTY',
  26: 'VHOST_F_LOG_ALL',
  27: 'VIRTIO_F_ANY_LAYOUT',
  28: 'VIRTIO_RING_F_INDIRECT_DESC',
  29: 'VIRTIO_RING_F_EVENT_IDX',
  30: 'VHOST_USER_F_PROTOCOL_FEATURES',
  32: 'VIRTIO_F_VERSION_1',
  33: 'VIRTIO_F_ACCESS_PLATFORM',
  34: 'VIRTIO_F_RING_PACKED',
  35: 'VIRTIO_F_IN_ORDER',
  36: 'VIRTIO_F_ORDER_PLATFORM',
  40: 'VIRTIO_F_RING_RESET',
  54: 'VIRTIO_NET_F_GUEST_USO4',
  55: 'VIRTIO_NET_F_GUEST_USO6',
  56: 'VIRTIO_NET_F_HOST_USO',
};

const PROTOCOL_FEATURE_NAMES = [
  'MQ',
  'LOG_SHMFD',
  'RARP',
  'REPLY_ACK',
  'NET_MTU',
  'BACKEND_REQ',
  'CROSS_ENDIAN',
  'CRYPTO_SESSION',
  'PAGEFAULT',
  'CONFIG',
  'BACKEND_SEND_FD',
  'HOST_NOTIFIER',
  'INFLIGHT_SHMFD',
  'RESET_DEVICE',
  'INBAND_NOTIFICATIONS',
  'CONFIGURE_MEM_SLOTS',
  'STATUS',
  'XEN_MMAP',
  'SHARED_OBJECT',
  'DEVICE_STATE',
];

function names(mask: bigint, nameOf: (n: number) => string | undefined): string[] {
  const found: string[] = [];
  for (let n = 0; n < 64; n++) if ((mask >> BigInt(n)) & 1n) found.push(nameOf(n) ?? `bit ${n}`);
  return found;
}

/** Names of the virtio feature bits in a mask, lowest bit first; a bit without a name becomes `bit 41`. */
export function featureNames(mask: bigint): string[] {
  return names(mask, (n) => FEATURE_NAMES[n]);
}

/** Names of the vhost-user protocol features in a mask, without their common prefix: `MQ`, `REPLY_ACK`. */
export function protocolFeatureNames(mask: bigint): string[] {
  return names(mask, (n) => PROTOCOL_FEATURE_NAMES[n]);
}

/** A packet whose checksum is not there yet: the guest may send one, and receive one. */
export const NET_CHECKSUM_FEATURES: bigint = VIRTIO_NET_F_CSUM | VIRTIO_NET_F_GUEST_CSUM;

/** A packet that is larger than the MTU allows, to be cut up by whoever must: sent by the guest. */
export const NET_HOST_SEGMENTATION_FEATURES: bigint =
  VIRTIO_NET_F_HOST_TSO4 |
  VIRTIO_NET_F_HOST_TSO6 |
  VIRTIO_NET_F_HOST_ECN |
  VIRTIO_NET_F_HOST_UFO |
  VIRTIO_NET_F_HOST_USO;

/** The same, received by the guest. */
export const NET_GUEST_SEGMENTATION_FEATURES: bigint =
  VIRTIO_NET_F_GUEST_TSO4 |
  VIRTIO_NET_F_GUEST_TSO6 |
  VIRTIO_NET_F_GUEST_ECN |
  VIRTIO_NET_F_GUEST_UFO |
  VIRTIO_NET_F_GUEST_USO4 |
  VIRTIO_NET_F_GUEST_USO6;

export const NET_SEGMENTATION_FEATURES: bigint = NET_HOST_SEGMENTATION_FEATURES | NET_GUEST_SEGMENTATION_FEATURES;

/**
 * What SET_FEATURES may change while rings run: offloads are asked of each packet anew. All others shape the rings, and are
 * settled before they start (virtio 1.2 section 3.1.1).
 */
export const RUNTIME_FEATURES: bigint = NET_CHECKSUM_FEATURES | NET_SEGMENTATION_FEATURES;

/**
 * What Viaduct's network back end offers: both layouts, in order, every offload; no migration log yet. VIRTIO_NET_F_MTU is
 * added by whoever has an MTU to tell.
 */
export const NET_BACKEND_FEATURES: bigint =
  NET_CHECKSUM_FEATURES |
  NET_SEGMENTATION_FEATURES |
  VIRTIO_F_RING_PACKED |
  VIRTIO_F_IN_ORDER |
  VIRTIO_F_VERSION_1 |
  VIRTIO_F_ANY_LAYOUT |
  VIRTIO_RING_F_INDIRECT_DESC |
  VIRTIO_RING_F_EVENT_IDX |
  VIRTIO_NET_F_MRG_RXBUF |
  VIRTIO_NET_F_MQ |
  VIRTIO_NET_F_CTRL_VQ |
  VIRTIO_NET_F_STATUS |
  VIRTIO_NET_F_GUEST_ANNOUNCE |
  VHOST_USER_F_PROTOCOL_FEATURES;

/** The protocol features that Viaduct's back end offers today. */
export const NET_BACKEND_PROTOCOL_FEATURES: bigint =
  VHOST_USER_PROTOCOL_F_MQ |
  VHOST_USER_PROTOCOL_F_REPLY_ACK |
  VHOST_USER_PROTOCOL_F_NET_MTU |
  VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS |
  VHOST_USER_PROTOCOL_F_STATUS;
