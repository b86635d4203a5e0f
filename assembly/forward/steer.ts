/**
 * What a stream sends, on which tx queue. A port with one queue costs nothing here. To one with several, each flow goes on the
 * queue that its hash finds in the port's redirection table, so that a flow's packets keep their order whichever rx queue of
 * however many lcores they came from:
 *
 *   packet → MBUF_HASH (Toeplitz over the 5-tuple, once a packet) → RETA[hash & 127] → tx queue that runs
 *
 * Each lcore has tables of its own, over queues of its own as far as there are any, so that lcores do not meet at a queue's lock.
 * The control plane leaves queues that the guest has switched off out of them (src/forward/steering.ts).
 */
import {
  MBUF_F_RX_RSS_HASH,
  MBUF_HASH,
  MBUF_OL_FLAGS,
  MBUF_VLAN_TCI,
  QUEUE_RUN,
  RETA_SIZE,
  RUN_ON,
  STEER_RETA_BYTES,
  STEER_RETAS,
  STREAM_STEER_OWN_FIRST,
  STREAM_STEER_SCRATCH,
  STREAM_STEER_TABLE,
  STREAM_TX_PORT,
  STREAM_TX_QUEUE,
  STREAM_TX_TAGS,
  STREAM_TX_TCIS,
} from '../layout';
import { flowHash, retaLookup } from '../net/toeplitz';
import { sendTo, txQueueAt } from './stream';

/** Gives all `n` packets away to the stream's own tx port. */
// @ts-ignore: decorator
@inline
export function sendBurst(lcoreId: u32, stream: usize, burst: usize, n: u32): void {
  const tags = load<u32>(stream, STREAM_TX_TAGS);
  if (tags != 0) tagBurst(burst, n, tags, load<u32>(stream, STREAM_TX_TCIS));
  const port = load<u32>(stream, STREAM_TX_PORT);
  const queue = load<u32>(stream, STREAM_TX_QUEUE);
  if (load<u32>(stream, STREAM_STEER_TABLE) == 0 || ownQueueTakes(stream, port, queue)) {
    sendTo(lcoreId, stream, port, queue, burst, n);
  } else {
    sendSteered(lcoreId, stream, port, burst, n);
  }
}

/** Asks the port for VLAN tags: `tags` are TX_ flags, `tcis` the inner and, above it, the outer tag. */
function tagBurst(burst: usize, n: u32, tags: u32, tcis: u32): void {
  for (let at = burst, end = burst + (n << 2); at < end; at += 4) {
    const mbuf: usize = load<u32>(at);
    store<u32>(mbuf, tcis, MBUF_VLAN_TCI);
    store<u32>(mbuf, load<u32>(mbuf, MBUF_OL_FLAGS) | tags, MBUF_OL_FLAGS);
  }
}

/** Rx and tx queues that come in pairs keep a flow's order by themselves, as long as the stream's own runs. */
function ownQueueTakes(stream: usize, port: u32, queue: u32): bool {
  if (load<u32>(stream, STREAM_STEER_OWN_FIRST) == 0) return false;
  const txq = txQueueAt(port, queue);
  return txq != 0 && atomic.load<u32>(txq, QUEUE_RUN) == RUN_ON;
}

/** One sendTo for each queue that flows of the burst go to; the array is used up. The stream has a STREAM_STEER_TABLE. */
export function sendSteered(lcoreId: u32, stream: usize, port: u32, burst: usize, n: u32): void {
  const table = load<u32>(stream, STREAM_STEER_TABLE);
  const picked = load<u32>(stream, STREAM_STEER_SCRATCH);
  const reta = picked + STEER_RETAS + port * STEER_RETA_BYTES;
  while (n != 0) {
    const queue = queueOf(reta, table, load<u32>(burst));
    let count: u32 = 0;
    let rest: u32 = 0;
    for (let i: u32 = 0; i < n; i++) {
      const mbuf = load<u32>(burst + (i << 2));
      if (queueOf(reta, table, mbuf) == queue) store<u32>(picked + (count++ << 2), mbuf);
      else store<u32>(burst + (rest++ << 2), mbuf);
    }
    sendTo(lcoreId, stream, port, queue, picked, count);
    n = rest;
  }
}

// @ts-ignore: decorator
@inline
function queueOf(reta: u32, table: u32, mbuf: u32): u32 {
  const known = load<u32>(mbuf, MBUF_OL_FLAGS) & MBUF_F_RX_RSS_HASH;
  return retaLookup(reta, RETA_SIZE, known ? load<u32>(mbuf, MBUF_HASH) : flowHash(mbuf, table));
}
