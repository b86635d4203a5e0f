/** The virtio-net header in front of each frame, virtio 1.2 section 5.1.6: 12 bytes, or 10 for a legacy driver. */
import { NET_HDR_SIZE } from './split';

/** Header of a packet without offloads: all zero, and num_buffers 1 where the header has the field. */
// @ts-ignore: decorator
@inline
export function writeNetHeader(at: usize, hdrLen: u32): void {
  store<u64>(at, 0);
  if (hdrLen == NET_HDR_SIZE) store<u32>(at, 0x0001_0000, 8);
  else store<u16>(at, 0, 8);
}
