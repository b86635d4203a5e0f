/** Names of the causes in assembly/layout.ts, in its order: index = value. A test holds that the two lists agree. */

/** DROP_*: why a packet was dropped. The names are parts of xstats names: `rx_q0_drop_no_mbuf`. */
export const dropCauses = [
  'address',
  'indirect',
  'chain',
  'index',
  'header',
  'runt',
  'direction',
  'too_long',
  'no_mbuf',
  'feature',
  'offload',
  'no_room',
  'rx_buffer',
  'mtu',
  'link_down',
  'disabled',
] as const;

export type DropCause = (typeof dropCauses)[number];

/** STOP_*: why a queue stopped itself. */
export const stopCauses = ['none', 'avail_ahead', 'head', 'used', 'trap', 'chain'] as const;

export type StopCause = (typeof stopCauses)[number];

const explanations: Readonly<Record<StopCause, string>> = {
  none: 'it is healthy',
  avail_ahead: 'the guest made more buffers available than its ring has entries',
  head: 'the guest made a descriptor available that its ring does not have',
  used: 'the device returned a buffer that it does not hold',
  trap: "the guest's memory vanished under the ring",
  chain: 'the guest made a chain of descriptors available that does not end',
};

/** STOP_* value → name; a value from a newer module reads as its number. */
export function stopCauseName(value: number): string {
  return stopCauses[value] ?? String(value);
}

/** What a stop cause means, for people. */
export function explainStop(name: string): string {
  return explanations[name as StopCause] ?? `cause ${name}`;
}
