/** mac: the destination becomes the stream's peer, the source the tx port. testpmd's `set fwd mac`, `set eth-peer`. */
import {
  ETHER_HDR_LEN,
  MAX_PORTS,
  MBUF_BUF,
  MBUF_DATA_LEN,
  MBUF_DATA_OFF,
  PORT_BASE,
  PORT_MAC,
  PORT_SIZE,
  STREAM_PEER_MAC,
  STREAM_TX_PORT,
} from '../layout';
import { receiveBurst, sendBurst } from './stream';

/** Shorter frames pass untouched: no header is there to write. */
export function pollMac(lcoreId: u32, stream: usize, burst: usize): u32 {
  const n = receiveBurst(lcoreId, stream, burst);
  if (n == 0) return 0;
  const txPort = load<u32>(stream, STREAM_TX_PORT);
  const mac: usize = PORT_BASE + (txPort < MAX_PORTS ? txPort : 0) * PORT_SIZE + PORT_MAC;
  const source = <u64>load<u32>(mac) | (<u64>load<u16>(mac, 4) << 32);
  const peer = <u64>load<u32>(stream, STREAM_PEER_MAC) | (<u64>load<u16>(stream, STREAM_PEER_MAC + 4) << 32);
  const word0 = peer | (source << 48);
  const word1 = <u32>(source >> 16);
  const end = burst + (n << 2);
  for (let at = burst; at < end; at += 4) {
    const mbuf: usize = load<u32>(at);
    if (load<u32>(mbuf, MBUF_DATA_LEN) < ETHER_HDR_LEN) continue;
    const frame: usize = load<u32>(mbuf, MBUF_BUF) + load<u32>(mbuf, MBUF_DATA_OFF);
    store<u64>(frame, word0);
    store<u32>(frame, word1, 8);
  }
  sendBurst(lcoreId, stream, burst, n);
  return n;
}
