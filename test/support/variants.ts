import { readFileSync } from 'node:fs';

/** What DPDK holds for itself and for each descriptor of a ring; an mbuf, which does not cross a page, and its place in the pool. */
const CLIENT_BASE_MIB = 48;
const DESCRIPTOR_BYTES = 200;
const MBUF_BYTES = 4096 + 64;

/** A device of the client, as its devargs say it. */
export interface Device {
  readonly packed_vq: 0 | 1;
  readonly mrg_rxbuf: 0 | 1;
  readonly in_order: 0 | 1;
  readonly vectorized: 0 | 1;
}

/** What all devices of one dpdk-testpmd have in common. */
export interface Shape {
  readonly queueSize: number;
  readonly queues: number;
  /** The client listens. */
  readonly server: 0 | 1;
}

const hasAvx512 = / avx512f /.test(readFileSync('/proc/cpuinfo', 'utf8'));

/** The paths that DPDK 22.11 chooses and tells, by the rules of its virtio_ethdev.c. */
export function expectedPaths({ packed_vq, mrg_rxbuf, in_order, vectorized }: Device): string[] {
  if (packed_vq === 1) {
    const vector = vectorized === 1 && in_order === 1 && hasAvx512;
    const receive = mrg_rxbuf === 1 ? 'mergeable buffer' : vector ? 'vectorized' : 'standard';
    return [`packed ring ${vector ? 'vectorized' : 'standard'} Tx`, `packed ring ${receive} Rx`];
  }
  if (in_order === 1) return ['inorder Tx', 'inorder Rx'];
  return ['standard Tx', mrg_rxbuf === 1 ? 'mergeable buffer Rx' : vectorized === 1 ? 'vectorized Rx' : 'standard Rx'];
}

/** Its devargs. */
export function devargs(device: Device): string {
  return Object.entries(device)
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
}

/** mbufs for full rings in both directions, and the memory that they and the rings take. */
export function clientNeeds(
  { queues, queueSize }: Shape,
  deviceCount: number,
): { mbufCount: number; memoryMiB: number } {
  const mbufCount = deviceCount * (2 * queues * queueSize + 256) + 1024;
  // One more ring, for control; its descriptors are as many.
  const descriptors = deviceCount * (2 * queues + 1) * queueSize;
  const bytes = mbufCount * MBUF_BYTES + descriptors * DESCRIPTOR_BYTES;
  return { mbufCount, memoryMiB: CLIENT_BASE_MIB + Math.ceil(bytes / 2 ** 20) };
}
