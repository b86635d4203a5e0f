/** Offloads as testpmd writes them: DPDK's bits in masks, small letters in commands, capitals in what it prints. */
import {
  ETH_RX_OFFLOAD_IPV4_CKSUM,
  ETH_RX_OFFLOAD_QINQ_STRIP,
  ETH_RX_OFFLOAD_RSS_HASH,
  ETH_RX_OFFLOAD_SCATTER,
  ETH_RX_OFFLOAD_TCP_CKSUM,
  ETH_RX_OFFLOAD_TCP_LRO,
  ETH_RX_OFFLOAD_UDP_CKSUM,
  ETH_RX_OFFLOAD_VLAN_STRIP,
  ETH_TX_OFFLOAD_IPV4_CKSUM,
  ETH_TX_OFFLOAD_MBUF_FAST_FREE,
  ETH_TX_OFFLOAD_MT_LOCKFREE,
  ETH_TX_OFFLOAD_MULTI_SEGS,
  ETH_TX_OFFLOAD_QINQ_INSERT,
  ETH_TX_OFFLOAD_TCP_CKSUM,
  ETH_TX_OFFLOAD_TCP_TSO,
  ETH_TX_OFFLOAD_UDP_CKSUM,
  ETH_TX_OFFLOAD_UDP_TSO,
  ETH_TX_OFFLOAD_VLAN_INSERT,
} from '../../assembly/layout.js';
import { UsageError } from '../cli/usage-error.js';
import type { RxOffload, TxOffload } from '../index.js';

/** Bit of each offload, in the order of the bits. */
export const RX_OFFLOADS: Readonly<Record<RxOffload, number>> = {
  VLAN_STRIP: ETH_RX_OFFLOAD_VLAN_STRIP,
  IPV4_CKSUM: ETH_RX_OFFLOAD_IPV4_CKSUM,
  UDP_CKSUM: ETH_RX_OFFLOAD_UDP_CKSUM,
  TCP_CKSUM: ETH_RX_OFFLOAD_TCP_CKSUM,
  TCP_LRO: ETH_RX_OFFLOAD_TCP_LRO,
  QINQ_STRIP: ETH_RX_OFFLOAD_QINQ_STRIP,
  SCATTER: ETH_RX_OFFLOAD_SCATTER,
  RSS_HASH: ETH_RX_OFFLOAD_RSS_HASH,
};

export const TX_OFFLOADS: Readonly<Record<TxOffload, number>> = {
  VLAN_INSERT: ETH_TX_OFFLOAD_VLAN_INSERT,
  IPV4_CKSUM: ETH_TX_OFFLOAD_IPV4_CKSUM,
  UDP_CKSUM: ETH_TX_OFFLOAD_UDP_CKSUM,
  TCP_CKSUM: ETH_TX_OFFLOAD_TCP_CKSUM,
  TCP_TSO: ETH_TX_OFFLOAD_TCP_TSO,
  UDP_TSO: ETH_TX_OFFLOAD_UDP_TSO,
  QINQ_INSERT: ETH_TX_OFFLOAD_QINQ_INSERT,
  MT_LOCKFREE: ETH_TX_OFFLOAD_MT_LOCKFREE,
  MULTI_SEGS: ETH_TX_OFFLOAD_MULTI_SEGS,
  MBUF_FAST_FREE: ETH_TX_OFFLOAD_MBUF_FAST_FREE,
};

/** The words of commands: `vlan_strip`. */
export const RX_OFFLOAD_WORDS = Object.keys(RX_OFFLOADS).map((name) => name.toLowerCase());
export const TX_OFFLOAD_WORDS = Object.keys(TX_OFFLOADS).map((name) => name.toLowerCase());

/** Names in the order of their bits, each once. */
export function inBitOrder<N extends string>(table: Readonly<Record<N, number>>, names: Iterable<N>): N[] {
  const wanted = new Set(names);
  return (Object.keys(table) as N[]).filter((name) => wanted.has(name));
}

export function offloadMask<N extends string>(table: Readonly<Record<N, number>>, names: Iterable<N>): number {
  return [...names].reduce((mask, name) => mask + table[name], 0);
}

/** `0xe` → names. Throws UsageError for bits that no offload here has; `what` names the option. */
export function offloadsOfMask<N extends string>(
  table: Readonly<Record<N, number>>,
  text: string,
  what: string,
): Set<N> {
  if (!/^(0x)?[0-9a-f]{1,16}$/i.test(text))
    throw new UsageError(`${what} takes a hexadecimal mask as 0x8000, got '${text}'`);
  let left = BigInt(`0x${text.replace(/^0x/i, '')}`);
  const names = new Set<N>();
  for (const name of Object.keys(table) as N[]) {
    const bit = BigInt(table[name]);
    if ((left & bit) === 0n) continue;
    names.add(name);
    left &= ~bit;
  }
  if (left !== 0n) {
    const known = (Object.keys(table) as N[]).map((name) => `0x${table[name].toString(16)} ${name}`).join(', ');
    throw new UsageError(`${what}: no offload here has the bits 0x${left.toString(16)}; there are ${known}`);
  }
  return names;
}
