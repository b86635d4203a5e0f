/**
 * Packets in software, called from JavaScript one by one (1-3 ns of each figure): parsing, checksums, segmentation, flow hash.
 * A "packet" of the checksum rows is one range, of the segmentation rows one packet that comes out.
 */
import {
  GSO_PARTIAL_CHECKSUM,
  MAX_BURST,
  TOEPLITZ_TABLE_SIZE,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_UDP,
} from '../assembly/layout.js';
import { Eal } from '../src/eal/eal.js';
import { MbufView } from '../src/mbuf.js';
import { Mempool } from '../src/mempool.js';
import type { BenchRow } from './report.js';

const eal = await Eal.init({ memoryMiB: 64 });
const { wasm, memory } = eal;
const lcoreId = eal.mainLcoreId;
const pool = Mempool.createPktmbuf(eal, { name: 'bench_net', count: 2048 });
/** Buffers with room for headers only, so that payload is always referred to. */
const headerPool = Mempool.createPktmbuf(eal, { name: 'bench_net_headers', count: 4096, dataRoomBytes: 128 });
const out = eal.memzones.reserve('bench_net_out', MAX_BURST * 4).address;
const area = eal.memzones.reserve('bench_net_area', 1 << 17).address;
const table = eal.memzones.reserve('bench_net_table', TOEPLITZ_TABLE_SIZE).address;
for (let i = 0; i < 1 << 17; i++) memory.u8[area + i] = Math.imul(i, 2654435761) >>> 24;
wasm.toeplitzInit(table, area);

const MACS = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
const ADDRESSES4 = [10, 0, 0, 1, 10, 0, 0, 2];
const ADDRESSES6 = [0xfd, ...new Array(14).fill(0), 1, 0xfd, ...new Array(14).fill(0), 2];

/** A packet of `lengthBytes` in segments of up to 2048: TCP with timestamps, or UDP; returns its handle. */
function packet(lengthBytes: number, ip: 4 | 6 = 4, protocol: 6 | 17 = 6): number {
  const l3 = lengthBytes - 14;
  const header4 = [8, 0, 0x45, 0, l3 >> 8, l3 & 255, 0, 1, 0x40, 0, 64, protocol, 0, 0, ...ADDRESSES4];
  const payload = l3 - 40;
  const header6 = [0x86, 0xdd, 0x60, 0, 0, 0, payload >> 8, payload & 255, protocol, 64, ...ADDRESSES6];
  const l4 = ip === 4 ? l3 - 20 : payload;
  const tcp = [0, 80, 9, 9, 0, 0, 0, 1, 0, 0, 0, 1, 0x80, 0x18, 1, 0, 0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
  const udp = [0, 80, 9, 9, l4 >> 8, l4 & 255, 0, 0];
  const frame = new Uint8Array(lengthBytes).map((_, i) => i * 7);
  frame.set([...MACS, ...(ip === 4 ? header4 : header6), ...(protocol === 6 ? tcp : udp)]);
  const m = new MbufView(eal);
  let head = 0;
  for (let at = 0; at < lengthBytes; at += 2048) {
    const handle = pool.alloc();
    const bytes = frame.subarray(at, at + 2048);
    m.at(handle);
    if (!m.append(bytes.length)) throw new Error('a buffer of the pool holds 2048 bytes');
    m.write(0, bytes);
    if (head === 0) head = handle;
    else if (!m.at(head).chain(handle)) throw new Error('too many segments');
  }
  return head;
}

function checksum(lengthBytes: number, start = 0): BenchRow {
  return {
    name: `checksum of ${lengthBytes} B${start === 0 ? '' : `, ${start} off a word`}`,
    packetsPerIteration: 1,
    fn: () => wasm.rawChecksum(area + start, lengthBytes),
  };
}

function perPacket(name: string, mbuf: number, act: (mbuf: number) => number): BenchRow {
  return { name, packetsPerIteration: 1, fn: () => act(mbuf) };
}

function gso(name: string, mbuf: number, type: number, size: number, from: Mempool): BenchRow {
  const once = () => {
    const count = wasm.gsoSegment(lcoreId, mbuf, type, size, from.address, out, MAX_BURST);
    wasm.mbufFreeBulk(out, count, lcoreId);
    return count;
  };
  return { name, packetsPerIteration: once(), fn: once };
}

const tcp4 = packet(14 + 65_535);
const tcp6 = packet(1514, 6);
const udp64 = packet(64, 4, 17);
const udpLarge = packet(14 + 65_535, 4, 17);
const TCP = VIRTIO_NET_HDR_GSO_TCPV4;
const PARTIAL = TCP | GSO_PARTIAL_CHECKSUM;

export const rows: readonly BenchRow[] = [
  checksum(20),
  checksum(64),
  checksum(1500),
  checksum(1500, 1),
  checksum(65_536),
  perPacket('parse UDP over IPv4', udp64, wasm.parsePacket),
  perPacket('parse TCP over IPv6', tcp6, wasm.parsePacket),
  perPacket('flow hash, IPv4', udp64, (mbuf) => wasm.flowHash(mbuf, table)),
  perPacket('flow hash, IPv6', tcp6, (mbuf) => wasm.flowHash(mbuf, table)),
  perPacket('L4 checksum of 64 B', udp64, wasm.l4ChecksumSet),
  perPacket('L4 checksum of 1514 B', tcp6, wasm.l4ChecksumSet),
  perPacket('L4 checksum of 64 KB in 32 segments', tcp4, wasm.l4ChecksumSet),
  gso('TCP 64 KB → 1448, copied, and freed', tcp4, TCP, 1448, pool),
  gso('TCP 64 KB → 1448, referred to, and freed', tcp4, TCP, 1448, headerPool),
  gso('TCP 64 KB → 1448, copied, checksum partial', tcp4, PARTIAL, 1448, pool),
  gso('TCP 64 KB → 1448, referred to, checksum partial', tcp4, PARTIAL, 1448, headerPool),
  gso('TCP 64 KB → 536, copied', tcp4, TCP, 536, pool),
  gso('TCP 64 KB → 8960, referred to', tcp4, TCP, 8960, headerPool),
  gso('UDP 64 KB → fragments of 1480', udpLarge, VIRTIO_NET_HDR_GSO_UDP, 1480, pool),
];

export const close = () => eal.cleanup();
