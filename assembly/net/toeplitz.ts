/**
 * The flow hash of receive-side scaling: Toeplitz, as Microsoft published it and as NICs compute it (rte_thash). Every set bit
 * of the input adds (xor) the 32 bits of the key that begin at the bit's own position:
 *
 *   hash = xor of key[i .. i+31] over all bits i that are set in  | source | destination | source port | destination port |
 *
 * The xor being linear, the 4 bits of a nibble can be looked up at once: `toeplitzInit` makes a table of 16 words for each
 * nibble of the longest input, 4.5 KB; an IPv4 flow takes 24 look-ups in 1.5 KB of it.
 */
import {
  MBUF_F_RX_RSS_HASH,
  MBUF_HASH,
  MBUF_L2_LEN,
  MBUF_L3_LEN,
  MBUF_OL_FLAGS,
  RTE_PTYPE_L3_MASK,
  RTE_PTYPE_L4_MASK,
  RTE_PTYPE_L4_SCTP,
  RTE_PTYPE_L4_TCP,
  RTE_PTYPE_L4_UDP,
  TOEPLITZ_TABLE_SIZE,
} from '../layout';
import { mbufData } from '../mem/mbuf';
import { IPV4_ADDRESSES, IPV6_ADDRESSES } from './headers';
import { isIpv4, parsePacket } from './parse';

/** Bytes of table for one byte of input: two nibbles, 16 words each. */
const BYTE_TABLE: u32 = 128;
/** Longest input: two IPv6 addresses and two ports. */
const MAX_INPUT: u32 = TOEPLITZ_TABLE_SIZE / BYTE_TABLE;
const IPV4_PAIR: u32 = 8;
const IPV6_PAIR: u32 = 32;
const PORT_PAIR: u32 = 4;

/** Bits [bit, bit + 32) of a key, bit 0 being the top bit of its first byte. */
function keyWindow(key: u32, bit: u32): u32 {
  const at = key + (bit >> 3);
  const shift = bit & 7;
  const high = bswap<u32>(load<u32>(at)) << shift;
  return shift == 0 ? high : high | (<u32>load<u8>(at, 4) >> (8 - shift));
}

/** Fills TOEPLITZ_TABLE_SIZE bytes at `table` from the TOEPLITZ_KEY_BYTES at `key`. The control plane's, once a key. */
export function toeplitzInit(table: u32, key: u32): void {
  for (let nibble: u32 = 0; nibble < MAX_INPUT * 2; nibble++) {
    const words = table + nibble * 64;
    store<u32>(words, 0);
    for (let value: u32 = 1; value < 16; value++) {
      const top = 31 - clz<u32>(value); // the rest of the value has its word already
      const rest = load<u32>(words + ((value ^ (1 << top)) << 2));
      store<u32>(words + (value << 2), rest ^ keyWindow(key, nibble * 4 + 3 - top));
    }
  }
}

/** Hash of `length` bytes of input that come behind `done` bytes; hashes of the parts are xored (rte_softrss). */
// @ts-ignore: decorator
@inline
function hashBytes(table: u32, done: u32, data: u32, length: u32): u32 {
  let words = table + done * BYTE_TABLE;
  let hash: u32 = 0;
  for (const end = data + length; data != end; data += 4) {
    const four = load<u32>(data);
    hash ^= load<u32>(words + ((four >> 2) & 0x3c)) ^ load<u32>(words + ((four << 2) & 0x3c), 64);
    hash ^= load<u32>(words + ((four >> 10) & 0x3c), 128) ^ load<u32>(words + ((four >> 6) & 0x3c), 192);
    hash ^= load<u32>(words + ((four >> 18) & 0x3c), 256) ^ load<u32>(words + ((four >> 14) & 0x3c), 320);
    hash ^= load<u32>(words + ((four >> 26) & 0x3c), 384) ^ load<u32>(words + ((four >> 22) & 0x3c), 448);
    words += 4 * BYTE_TABLE;
  }
  return hash;
}

/** Toeplitz hash of `length` bytes at `data`, a multiple of 4, at most 36. */
export function toeplitzHash(table: u32, data: u32, length: u32): u32 {
  return hashBytes(table, 0, data, length <= MAX_INPUT ? length & ~3 : MAX_INPUT);
}

/**
 * The flow hash of a packet: over addresses and ports of TCP, UDP and SCTP, over the addresses of other IP packets and of all
 * fragments (so that a datagram stays together), 0 without IP. Parses the packet, writes MBUF_HASH and sets
 * MBUF_F_RX_RSS_HASH. `table` is toeplitzInit's.
 */
export function flowHash(mbuf: u32, table: u32): u32 {
  return parsedFlowHash(mbuf, parsePacket(mbuf), table);
}

/** flowHash of a packet that was parsed just now. */
export function parsedFlowHash(mbuf: u32, ptype: u32, table: u32): u32 {
  let hash: u32 = 0;
  if (ptype & RTE_PTYPE_L3_MASK) {
    const ip = mbufData(mbuf) + <u32>load<u8>(mbuf, MBUF_L2_LEN);
    const l4 = ptype & RTE_PTYPE_L4_MASK;
    const ports = l4 == RTE_PTYPE_L4_TCP || l4 == RTE_PTYPE_L4_UDP || l4 == RTE_PTYPE_L4_SCTP;
    const transport = ip + <u32>load<u16>(mbuf, MBUF_L3_LEN);
    if (isIpv4(ptype)) {
      hash = hashBytes(table, 0, ip + IPV4_ADDRESSES, IPV4_PAIR);
      if (ports) hash ^= hashBytes(table, IPV4_PAIR, transport, PORT_PAIR);
    } else {
      hash = hashBytes(table, 0, ip + IPV6_ADDRESSES, IPV6_PAIR);
      if (ports) hash ^= hashBytes(table, IPV6_PAIR, transport, PORT_PAIR);
    }
  }
  store<u32>(mbuf, hash, MBUF_HASH);
  store<u32>(mbuf, load<u32>(mbuf, MBUF_OL_FLAGS) | MBUF_F_RX_RSS_HASH, MBUF_OL_FLAGS);
  return hash;
}

/** Queue of a hash in a redirection table (RETA): u16[size] at `reta`, `size` a power of two. */
export function retaLookup(reta: u32, size: u32, hash: u32): u32 {
  return load<u16>(reta + ((hash & (size - 1)) << 1));
}
