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
import { sendBurst } from './steer';
import { receiveBurst } from './stream';

/** A port's address as a u64, the first byte lowest. */
// @ts-ignore: decorator
@inline
export function portMac(port: u32): u64 {
  const mac: usize = PORT_BASE + (port < MAX_PORTS ? port : 0) * PORT_SIZE + PORT_MAC;
  return <u64>load<u32>(mac) | (<u64>load<u16>(mac, 4) << 32);
}

/** STREAM_PEER_MAC as a u64. */
// @ts-ignore: decorator
@inline
export function peerMac(stream: usize): u64 {
  return <u64>load<u32>(stream, STREAM_PEER_MAC) | (<u64>load<u16>(stream, STREAM_PEER_MAC + 4) << 32);
}

/** Both addresses of a frame, as portMac has them: 48 bits and nothing above. */
// @ts-ignore: decorator
@inline
export function writeMacs(frame: usize, destination: u64, source: u64): void {
  store<u64>(frame, destination | (source << 48));
  store<u32>(frame, <u32>(source >> 16), 8);
}

/** Shorter frames pass untouched: no header is there to write. */
export function pollMac(lcoreId: u32, stream: usize, burst: usize): u32 {
  const n = receiveBurst(lcoreId, stream, burst);
  if (n == 0) return 0;
  const source = portMac(load<u32>(stream, STREAM_TX_PORT));
  const peer = peerMac(stream);
  const end = burst + (n << 2);
  for (let at = burst; at < end; at += 4) {
    const mbuf: usize = load<u32>(at);
    if (load<u32>(mbuf, MBUF_DATA_LEN) < ETHER_HDR_LEN) continue;
    writeMacs(load<u32>(mbuf, MBUF_BUF) + load<u32>(mbuf, MBUF_DATA_OFF), peer, source);
  }
  sendBurst(lcoreId, stream, burst, n);
  return n;
}
