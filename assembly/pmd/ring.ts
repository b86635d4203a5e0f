/** net_ring: a port over a ring of mbufs. Host drivers that live in JavaScript stand behind such a port. */
import { signalPeer } from '../hook';
import { MBUF_PORT, QUEUE_FULL, QUEUE_PORT, QUEUE_RING, QUEUE_RUN } from '../layout';
import { ringCount, ringDequeueBurst, ringEnqueueBurst } from '../mem/ring';
import { burstBytes, countBurst } from '../stats';
import { enterQueue, leaveQueue } from './lock';

export function ringRxBurst(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  if (!enterQueue(queue, lcoreId)) return 0;
  const received = receive(queue, burst, count);
  leaveQueue(queue);
  return received;
}

function receive(queue: usize, burst: usize, count: u32): u32 {
  const received = ringDequeueBurst(load<u32>(queue, QUEUE_RING), burst, count);
  if (received == 0) return 0;
  const port = load<u16>(queue, QUEUE_PORT);
  for (let at = burst, end = burst + (received << 2); at < end; at += 4) {
    store<u16>(load<u32>(at), port, MBUF_PORT);
  }
  countBurst(queue, received, burstBytes(burst, received));
  return received;
}

export function ringTxBurst(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  if (count == 0 || !enterQueue(queue, lcoreId)) return 0;
  const sent = send(queue, burst, count);
  leaveQueue(queue);
  return sent;
}

function send(queue: usize, burst: usize, count: u32): u32 {
  // Bytes first: once enqueued, an mbuf belongs to the other side.
  const bytes = burstBytes(burst, count);
  const sent = ringEnqueueBurst(load<u32>(queue, QUEUE_RING), burst, count);
  if (sent < count) store<u64>(queue, load<u64>(queue, QUEUE_FULL) + (count - sent), QUEUE_FULL);
  if (sent == 0) return 0;
  countBurst(queue, sent, sent == count ? bytes : bytes - burstBytes(burst + (sent << 2), count - sent));
  signalPeer(queue);
  return sent;
}

export function ringRxArm(queue: usize): bool {
  return load<u32>(queue, QUEUE_RUN) != 0 && ringCount(load<u32>(queue, QUEUE_RING)) != 0;
}
