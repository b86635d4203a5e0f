/**
 * Before a burst is taken from a packed ring: looks at the first and the last byte of each buffer in it. The guest's core has
 * just written these cache lines. Loads that do not depend on one another fetch them all at once; the copies alone would wait
 * for one or two at a time. Nothing is decided here: every word that matters is read anew, and once, by the burst itself.
 *
 * Measured against DPDK's virtio-user client, 64 B: 0.89 of DPDK's net_vhost without, 1.02 with. A split ring gains nothing
 * by it, and receive buffers lose: a line that was only read must be asked for again to be written.
 */
import { QUEUE_DESC, QUEUE_DEVICE, QUEUE_TOUCHED, QUEUE_VQ_SIZE } from '../layout';
import { translate } from '../mem/region';
import {
  advance,
  availState,
  PACKED_DESC_SIZE,
  PACKED_TAIL,
  packedLen,
  packedState,
  positionIndex,
  positionWrap,
} from './packed';

/** Up to `count` descriptors from `position` on. */
export function touchPacked(queue: usize, position: u32, count: u32): void {
  const table: usize = load<u32>(queue, QUEUE_DESC);
  const device: usize = load<u32>(queue, QUEUE_DEVICE);
  const size = load<u32>(queue, QUEUE_VQ_SIZE);
  let seen: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const desc = table + positionIndex(position) * PACKED_DESC_SIZE;
    const tail = load<u64>(desc, PACKED_TAIL);
    if (packedState(tail) != availState(positionWrap(position))) break;
    seen += touch(device, load<u64>(desc), packedLen(tail));
    position = advance(position, 1, size);
  }
  store<u32>(queue, seen, QUEUE_TOUCHED);
}

/** What is seen goes to memory in the end, so that no compiler leaves the loads out. */
// @ts-ignore: decorator
@inline
function touch(device: usize, address: u64, length: u32): u32 {
  const host = length != 0 ? translate(device, address, length) : 0;
  return host != 0 ? <u32>load<u8>(host) + load<u8>(host + length - 1) : 0;
}
