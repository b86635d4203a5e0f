/**
 * txonly: makes packets from the stream's template and sends them. testpmd's `set fwd txonly`, `set txpkts`.
 *
 *   template: segment count, segment lengths, 42 bytes of Ethernet, IPv4 and UDP headers (src/forward/txonly-template.ts)
 *   packet:   the headers, then zeroes, cut into the template's segments; the headers themselves may be cut too
 *
 * The payload is written, never left as it was: a buffer that comes from the pool holds another guest's bytes.
 */
import {
  MBUF_BUF_LEN,
  MBUF_DATA_LEN,
  MBUF_DATA_OFF,
  MBUF_NB_SEGS,
  MBUF_NEXT,
  MBUF_PKT_LEN,
  PORT_BASE,
  PORT_LINK_UP,
  PORT_SIZE,
  STREAM_BURST,
  STREAM_ENGINE,
  STREAM_LIMIT,
  STREAM_NEXT_ENGINE,
  STREAM_POOL,
  STREAM_STATE,
  STREAM_TX_PORT,
  TXONLY_HEADERS,
  TXONLY_HEADERS_LEN,
  TXONLY_SEGMENT_COUNT,
  TXONLY_SEGMENT_LENGTHS,
} from '../layout';
import { mbufAlloc, mbufAllocBulk, mbufData, mbufFree } from '../mem/mbuf';
import { sendBurst } from './steer';

const FOR_EVER: u32 = 0xffff_ffff;

/**
 * One burst made and sent: packets made. None while the tx port's link is down, so that a lcore without a peer may sleep and
 * `start tx_first` reaches a peer that comes later.
 */
export function pollTxonly(lcoreId: u32, stream: usize, burst: usize): u32 {
  const txPort: usize = PORT_BASE + load<u32>(stream, STREAM_TX_PORT) * PORT_SIZE;
  if (load<u32>(txPort, PORT_LINK_UP) == 0) return 0;
  const limit = load<u32>(stream, STREAM_LIMIT);
  let wanted = load<u32>(stream, STREAM_BURST);
  if (wanted > limit) wanted = limit;
  const made = makePackets(lcoreId, load<u32>(stream, STREAM_STATE), load<u32>(stream, STREAM_POOL), burst, wanted);
  if (made != 0) sendBurst(lcoreId, stream, burst, made);
  if (limit != FOR_EVER) {
    store<u32>(stream, limit - made, STREAM_LIMIT);
    if (limit == made) store<u32>(stream, load<u32>(stream, STREAM_NEXT_ENGINE), STREAM_ENGINE);
  }
  return made;
}

/** As many of `wanted` packets as the pool has mbufs for. */
export function makePackets(lcoreId: u32, template: usize, pool: u32, burst: usize, wanted: u32): u32 {
  while (wanted != 0 && mbufAllocBulk(pool, lcoreId, burst, wanted) == 0) wanted >>= 1;
  const segments = load<u32>(template, TXONLY_SEGMENT_COUNT);
  for (let i: u32 = 0; i < wanted; i++) {
    const mbuf = load<u32>(burst + (i << 2));
    if (segments == 1) {
      fillSegment(mbuf, template, 0, load<u32>(template, TXONLY_SEGMENT_LENGTHS));
      store<u32>(mbuf, load<u32>(mbuf, MBUF_DATA_LEN), MBUF_PKT_LEN);
    } else if (!fillChain(mbuf, lcoreId, template, pool, segments)) {
      for (let rest = i; rest < wanted; rest++) mbufFree(load<u32>(burst + (rest << 2)), lcoreId);
      return i;
    }
  }
  return wanted;
}

/** Grows a fresh mbuf into the template's chain. False when the pool is exhausted: the chain is then short, for the caller to free. */
function fillChain(head: u32, lcoreId: u32, template: usize, pool: u32, segments: u32): bool {
  let last = head;
  let offset: u32 = 0;
  for (let i: u32 = 0; i < segments; i++) {
    if (i != 0) {
      const segment = mbufAlloc(pool, lcoreId);
      if (segment == 0) return false;
      store<u32>(last, segment, MBUF_NEXT);
      store<u16>(head, i + 1, MBUF_NB_SEGS);
      last = segment;
    }
    fillSegment(last, template, offset, load<u32>(template + (i << 2), TXONLY_SEGMENT_LENGTHS));
    offset += load<u32>(last, MBUF_DATA_LEN);
  }
  store<u32>(head, offset, MBUF_PKT_LEN);
  return true;
}

/** Bytes [offset, offset + length) of the packet into an empty segment, cut to what its buffer holds. */
// @ts-ignore: decorator
@inline
function fillSegment(mbuf: u32, template: usize, offset: u32, length: u32): void {
  const room = load<u32>(mbuf, MBUF_BUF_LEN) - load<u32>(mbuf, MBUF_DATA_OFF);
  if (length > room) length = room;
  const data = mbufData(mbuf);
  let headers: u32 = 0;
  if (offset == 0 && length >= TXONLY_HEADERS_LEN) {
    copyHeaders(data, template + TXONLY_HEADERS);
    headers = TXONLY_HEADERS_LEN;
  } else if (offset < TXONLY_HEADERS_LEN) {
    headers = TXONLY_HEADERS_LEN - offset;
    if (headers > length) headers = length;
    memory.copy(data, template + TXONLY_HEADERS + offset, headers);
  }
  fillZero(data + headers, length - headers);
  store<u32>(mbuf, length, MBUF_DATA_LEN);
}

/** All 42 bytes, the last 16 overlapping the ones before. */
// @ts-ignore: decorator
@inline
function copyHeaders(to: usize, from: usize): void {
  v128.store(to, v128.load(from));
  v128.store(to, v128.load(from, 16), 16);
  v128.store(to, v128.load(from, TXONLY_HEADERS_LEN - 16), TXONLY_HEADERS_LEN - 16);
}

/** memory.fill, without the price of its call where there is little to fill. */
// @ts-ignore: decorator
@inline
function fillZero(to: usize, length: u32): void {
  if (length < 16 || length > 256) {
    if (length != 0) memory.fill(to, 0, length);
    return;
  }
  const zero = i64x2.splat(0);
  const last = to + length - 16;
  for (; to < last; to += 16) v128.store(to, zero);
  v128.store(last, zero);
}
