/** macswap: source and destination change places. testpmd's `set fwd macswap`. */
import { ETHER_HDR_LEN, MBUF_BUF, MBUF_DATA_LEN, MBUF_DATA_OFF } from '../layout';
import { sendBurst } from './steer';
import { receiveBurst } from './stream';

/** Shorter frames pass untouched: no header is there to swap. */
export function pollMacswap(lcoreId: u32, stream: usize, burst: usize): u32 {
  const n = receiveBurst(lcoreId, stream, burst);
  if (n == 0) return 0;
  const end = burst + (n << 2);
  for (let at = burst; at < end; at += 4) {
    const mbuf: usize = load<u32>(at);
    if (load<u32>(mbuf, MBUF_DATA_LEN) < ETHER_HDR_LEN) continue;
    swapMacs(load<u32>(mbuf, MBUF_BUF) + load<u32>(mbuf, MBUF_DATA_OFF));
  }
  sendBurst(lcoreId, stream, burst, n);
  return n;
}

/** 12 bytes in two words: word0 = destination | first 2 of the source, word1 = last 4 of the source. */
// @ts-ignore: decorator
@inline
export function swapMacs(frame: usize): void {
  const word0 = load<u64>(frame);
  const word1 = load<u32>(frame, 8);
  store<u64>(frame, (word0 >> 48) | (<u64>word1 << 16) | (word0 << 48));
  store<u32>(frame, <u32>(word0 >> 16), 8);
}
