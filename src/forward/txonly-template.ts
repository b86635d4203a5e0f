import {
  ETHER_HDR_LEN,
  TXONLY_HEADERS,
  TXONLY_HEADERS_LEN,
  TXONLY_MAX_SEGMENTS,
  TXONLY_SEGMENT_COUNT,
  TXONLY_SEGMENT_LENGTHS,
  TXONLY_SIZE,
} from '../../assembly/layout.js';
import { ViaductError } from '../errors.js';

const IPV4_HDR_LEN = 20;
const UDP_HDR_LEN = 8;
const ETHER_TYPE_IPV4 = 0x0800;
const IPPROTO_UDP = 17;
const MAX_TOTAL = ETHER_HDR_LEN + 0xffff;
const TTL = 64;

/** IPv4 addresses and UDP ports. */
export interface UdpFlow {
  readonly sourceIp: readonly number[];
  readonly destinationIp: readonly number[];
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** testpmd's txonly: the addresses of RFC 2544 benchmarks, the discard port. */
export const TXONLY_FLOW: UdpFlow = {
  sourceIp: [198, 18, 0, 1],
  destinationIp: [198, 18, 0, 2],
  sourcePort: 9,
  destinationPort: 9,
};
/** testpmd's flowgen: its first flow. */
export const FLOWGEN_FLOW: UdpFlow = {
  sourceIp: [10, 254, 0, 0],
  destinationIp: [10, 253, 0, 0],
  sourcePort: 1000,
  destinationPort: 1001,
};

/** What a txonly stream sends. */
export interface TxonlyPacket {
  /** 6 bytes each. */
  readonly destination: Uint8Array;
  readonly source: Uint8Array;
  /** Bytes of each segment, Ethernet header included, frame check sequence not. */
  readonly segmentLengths: readonly number[];
  /** Default TXONLY_FLOW. */
  readonly flow?: UdpFlow;
}

/**
 * Checks `set txpkts`: 1 to 8 segments of at least one byte, 42 bytes (Ethernet, IPv4, UDP headers) to 65549 together.
 * Throws ERR_INVALID_ARGUMENT.
 */
export function checkSegmentLengths(lengths: readonly number[]): void {
  const refuse = (what: string): never => {
    throw new ViaductError('ERR_INVALID_ARGUMENT', `txpkts ${lengths.join(',')}: ${what}`);
  };
  if (lengths.length < 1 || lengths.length > TXONLY_MAX_SEGMENTS) {
    refuse(`${lengths.length} segments, but a packet has 1 to ${TXONLY_MAX_SEGMENTS}`);
  }
  const bad = lengths.find((length) => !Number.isInteger(length) || length < 1);
  if (bad !== undefined) refuse(`a segment of ${bad} bytes is none: take a whole number from 1 on`);
  const total = lengths.reduce((sum, length) => sum + length, 0);
  if (total < TXONLY_HEADERS_LEN) refuse(`${total} bytes do not hold the ${TXONLY_HEADERS_LEN} bytes of headers`);
  if (total > MAX_TOTAL)
    refuse(`${total} bytes are more than the ${MAX_TOTAL} of a frame with the longest IPv4 packet`);
}

/**
 * The TXONLY_ record that the txonly engine copies from: testpmd's packet, Ethernet | IPv4 | UDP without checksum (0, RFC 768),
 * of the given flow. flowgen counts on from it. Throws as checkSegmentLengths.
 */
export function txonlyTemplate(packet: TxonlyPacket): Uint8Array {
  checkSegmentLengths(packet.segmentLengths);
  const flow = packet.flow ?? TXONLY_FLOW;
  const record = new Uint8Array(TXONLY_SIZE);
  // the record is ours and the module's: little-endian; what goes over the wire is big-endian
  const view = new DataView(record.buffer);
  view.setUint32(TXONLY_SEGMENT_COUNT, packet.segmentLengths.length, true);
  packet.segmentLengths.forEach((length, i) => {
    view.setUint32(TXONLY_SEGMENT_LENGTHS + i * 4, length, true);
  });
  const ipLength = packet.segmentLengths.reduce((sum, length) => sum + length, 0) - ETHER_HDR_LEN;

  record.set(packet.destination, TXONLY_HEADERS);
  record.set(packet.source, TXONLY_HEADERS + 6);
  view.setUint16(TXONLY_HEADERS + 12, ETHER_TYPE_IPV4);

  const ip = TXONLY_HEADERS + ETHER_HDR_LEN;
  record[ip] = 0x45; // version 4, five words of header
  view.setUint16(ip + 2, ipLength);
  record[ip + 8] = TTL;
  record[ip + 9] = IPPROTO_UDP;
  record.set(flow.sourceIp, ip + 12);
  record.set(flow.destinationIp, ip + 16);
  view.setUint16(ip + 10, internetChecksum(view, ip, IPV4_HDR_LEN));

  const udp = ip + IPV4_HDR_LEN;
  view.setUint16(udp, flow.sourcePort);
  view.setUint16(udp + 2, flow.destinationPort);
  view.setUint16(udp + 4, ipLength - IPV4_HDR_LEN);
  if (udp + UDP_HDR_LEN !== TXONLY_HEADERS + TXONLY_HEADERS_LEN) throw new Error('the headers are not what they say');
  return record;
}

/** RFC 1071 over an even number of bytes. */
function internetChecksum(view: DataView, offset: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i += 2) sum += view.getUint16(offset + i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
