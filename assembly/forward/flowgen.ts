/**
 * flowgen: makes packets of many UDP flows, one after the other, and throws away what comes in. testpmd's `set fwd flowgen`,
 * `--flowgen-flows`. The template is txonly's, with a first segment that holds all headers; flow i goes to its destination
 * address + i, from its source port + i mod 1024.
 */
import {
  ETHER_HDR_LEN,
  PORT_BASE,
  PORT_LINK_UP,
  PORT_SIZE,
  STREAM_BURST,
  STREAM_FLOW_COUNT,
  STREAM_FLOW_NEXT,
  STREAM_POOL,
  STREAM_STATE,
  STREAM_TX_PORT,
} from '../layout';
import { mbufData, mbufFreeBulk } from '../mem/mbuf';
import { checksumUpdate32 } from '../net/checksum';
import { be16, be32, IPV4_CHECKSUM, IPV4_HDR_LEN } from '../net/headers';
import { sendBurst } from './steer';
import { receiveBurst } from './stream';
import { makePackets } from './txonly';

const IPV4_DESTINATION: u32 = 16;
const SOURCE_PORTS: u32 = 1024;

/** One burst received and one made: packets of both. None is made while the tx port's link is down. */
export function pollFlowgen(lcoreId: u32, stream: usize, burst: usize): u32 {
  const received = receiveBurst(lcoreId, stream, burst);
  if (received != 0) mbufFreeBulk(<u32>burst, received, lcoreId);
  const txPort: usize = PORT_BASE + load<u32>(stream, STREAM_TX_PORT) * PORT_SIZE;
  if (load<u32>(txPort, PORT_LINK_UP) == 0) return received;
  const wanted = load<u32>(stream, STREAM_BURST);
  const made = makePackets(lcoreId, load<u32>(stream, STREAM_STATE), load<u32>(stream, STREAM_POOL), burst, wanted);
  const flows = load<u32>(stream, STREAM_FLOW_COUNT);
  let flow = load<u32>(stream, STREAM_FLOW_NEXT);
  for (let i: u32 = 0; i < made; i++) {
    writeFlow(mbufData(load<u32>(burst + (i << 2))) + ETHER_HDR_LEN, flow);
    if (++flow >= flows) flow = 0;
  }
  store<u32>(stream, flow, STREAM_FLOW_NEXT);
  if (made != 0) sendBurst(lcoreId, stream, burst, made);
  return received + made;
}

// @ts-ignore: decorator
@inline
function writeFlow(ip: u32, flow: u32): void {
  const before = load<u32>(ip, IPV4_DESTINATION);
  const after = be32(be32(before) + flow);
  store<u32>(ip, after, IPV4_DESTINATION);
  store<u16>(ip, checksumUpdate32(load<u16>(ip, IPV4_CHECKSUM), before, after), IPV4_CHECKSUM);
  const udp = ip + IPV4_HDR_LEN;
  store<u16>(udp, be16(be16(load<u16>(udp)) + (flow & (SOURCE_PORTS - 1))));
}
