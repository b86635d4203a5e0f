/** rxonly: packets are counted and freed. testpmd's `set fwd rxonly`. */
import { mbufFreeBulk } from '../mem/mbuf';
import { receiveBurst } from './stream';

export function pollRxonly(lcoreId: u32, stream: usize, burst: usize): u32 {
  const n = receiveBurst(lcoreId, stream, burst);
  if (n != 0) mbufFreeBulk(burst, n, lcoreId);
  return n;
}
