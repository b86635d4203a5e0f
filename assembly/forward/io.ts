/** io: packets leave as they came. The measure of everything else. testpmd's `set fwd io`. */
import { sendBurst } from './steer';
import { receiveBurst } from './stream';

export function pollIo(lcoreId: u32, stream: usize, burst: usize): u32 {
  const n = receiveBurst(lcoreId, stream, burst);
  if (n != 0) sendBurst(lcoreId, stream, burst, n);
  return n;
}
