/**
 * What every engine does at the two ends of its burst: take packets from the stream's rx queue, give packets to a tx queue
 * and account for those that it did not take. Which queue that is says ./steer.
 */
import {
  MAX_PORTS,
  PORT_BASE,
  PORT_SIZE,
  PORT_TXQ_COUNT,
  PORT_TXQS,
  QUEUE_LOCK,
  STREAM_BURST,
  STREAM_RX_PACKETS,
  STREAM_RX_PORT,
  STREAM_RX_QUEUE,
  STREAM_TX_DROPPED,
  STREAM_TX_PACKETS,
} from '../layout';
import { mbufFreeBulk } from '../mem/mbuf';
import { rxBurst, txBurst } from '../port';

/** Looks at a lock that another lcore holds: some ten microseconds, longer than a burst of full frames takes. */
const TX_LOCK_SPINS: u32 = 16384;
/** Times that a burst is offered again after such a wait. */
const TX_LOCK_RETRIES: u32 = 4;

// @ts-ignore: decorator
@inline
export function addCounter(address: usize, count: u32, immediate: usize): void {
  store<u64>(address + immediate, load<u64>(address + immediate) + count);
}

/** Packets received into `burst`, counted. */
// @ts-ignore: decorator
@inline
export function receiveBurst(lcoreId: u32, stream: usize, burst: usize): u32 {
  const rxPort = load<u32>(stream, STREAM_RX_PORT);
  const n = rxBurst(lcoreId, rxPort, load<u32>(stream, STREAM_RX_QUEUE), burst, load<u32>(stream, STREAM_BURST));
  if (n != 0) addCounter(stream, n, STREAM_RX_PACKETS);
  return n;
}

/** Gives all `n` packets away: what the port does not take is freed and counted as dropped. */
export function sendTo(lcoreId: u32, stream: usize, port: u32, queue: u32, burst: usize, n: u32): void {
  let sent = txBurst(lcoreId, port, queue, burst, n);
  if (sent == 0) sent = sendAfterLock(lcoreId, port, queue, burst, n);
  addCounter(stream, sent, STREAM_TX_PACKETS);
  if (sent < n) {
    mbufFreeBulk(burst + (sent << 2), n - sent, lcoreId);
    addCounter(stream, n - sent, STREAM_TX_DROPPED);
  }
}

/**
 * txBurst took nothing. If that is because another lcore is in a burst of its own on this queue, there may be room behind it:
 * wait for it, a bounded time. A queue that nobody holds is full or stopped, and waiting would not help.
 */
function sendAfterLock(lcoreId: u32, port: u32, queue: u32, burst: usize, n: u32): u32 {
  const address = txQueueAt(port, queue);
  if (address == 0) return 0;
  let spins = TX_LOCK_SPINS;
  for (let tries: u32 = 0; tries < TX_LOCK_RETRIES; tries++) {
    if (atomic.load<u32>(address, QUEUE_LOCK) == 0) return 0;
    while (atomic.load<u32>(address, QUEUE_LOCK) != 0) {
      if (--spins == 0) return 0;
    }
    const sent = txBurst(lcoreId, port, queue, burst, n);
    if (sent != 0) return sent;
  }
  return 0;
}

/** Address of a port's tx queue, 0 for none. */
export function txQueueAt(port: u32, queue: u32): usize {
  if (port >= MAX_PORTS) return 0;
  const record: usize = PORT_BASE + port * PORT_SIZE;
  if (queue >= load<u32>(record, PORT_TXQ_COUNT)) return 0;
  return load<u32>(<usize>load<u32>(record, PORT_TXQS) + (queue << 2));
}
