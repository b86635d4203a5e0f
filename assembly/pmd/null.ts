/** net_null: receives packets out of nothing, sends them into nothing. Measures what everything else costs. */
import {
  MBUF_DATA_OFF,
  MBUF_HEADROOM,
  MBUF_L2_LEN,
  MBUF_NB_SEGS,
  MBUF_OL_FLAGS,
  MBUF_PKT_LEN,
  QUEUE_FRAME_LEN,
  QUEUE_NO_MBUF,
  QUEUE_POOL,
  QUEUE_PORT,
} from '../layout';
import { mbufFreeBulk } from '../mem/mbuf';
import { mempoolGetBulk } from '../mem/mempool';
import { burstBytes, countBurst } from '../stats';
import { enterQueue, leaveQueue } from './lock';

/** Frames of QUEUE_FRAME_LEN bytes, whose content is whatever the mbuf held; none where it is 0 (`no-rx`). */
export function nullRxBurst(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  const frameLen = load<u32>(queue, QUEUE_FRAME_LEN);
  if (frameLen == 0 || count == 0 || !enterQueue(queue, lcoreId)) return 0;
  const received = makeUp(lcoreId, queue, burst, count, frameLen);
  leaveQueue(queue);
  return received;
}

function makeUp(lcoreId: u32, queue: usize, burst: usize, count: u32, frameLen: u32): u32 {
  if (!mempoolGetBulk(load<u32>(queue, QUEUE_POOL), lcoreId, burst, count)) {
    store<u64>(queue, load<u64>(queue, QUEUE_NO_MBUF) + 1, QUEUE_NO_MBUF);
    return 0;
  }
  const segmentAndPort = (load<u32>(queue, QUEUE_PORT) << 16) | 1;
  for (let at = burst, end = burst + (count << 2); at < end; at += 4) {
    const mbuf: usize = load<u32>(at);
    store<u32>(mbuf, MBUF_HEADROOM, MBUF_DATA_OFF);
    store<u32>(mbuf, segmentAndPort, MBUF_NB_SEGS);
    store<u64>(mbuf, 0, MBUF_OL_FLAGS);
    store<u64>(mbuf, 0, MBUF_L2_LEN);
    store<u64>(mbuf, ((<u64>frameLen) << 32) | <u64>frameLen, MBUF_PKT_LEN);
  }
  countBurst(queue, count, <u64>frameLen * count);
  return count;
}

export function nullTxBurst(lcoreId: u32, queue: usize, burst: usize, count: u32): u32 {
  if (count == 0 || !enterQueue(queue, lcoreId)) return 0;
  countBurst(queue, count, burstBytes(burst, count));
  mbufFreeBulk(burst, count, lcoreId);
  leaveQueue(queue);
  return count;
}
