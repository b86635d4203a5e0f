/** Offloads as testpmd writes them: DPDK's bits in masks, small letters in commands, capitals in what it prints. */
import { UsageError } from '../cli/usage-error.js';
import { rxOffloadBits as RX_OFFLOADS, txOffloadBits as TX_OFFLOADS } from '../index.js';

export { RX_OFFLOADS, TX_OFFLOADS };

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
