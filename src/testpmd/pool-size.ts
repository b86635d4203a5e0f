import type { AppOptions } from './app-options.js';

/** RTE_TEST_RX_DESC_MAX, RTE_TEST_TX_DESC_MAX, MAX_PKT_BURST of testpmd. */
const RX_DESCRIPTORS_MAX = 2048;
const TX_DESCRIPTORS_MAX = 2048;
const PACKETS_BURST_MAX = 512;

/**
 * mbufs that every queue, every burst under way and every lcore's cache can hold at once: testpmd's sum for one port, times
 * the ports that there are. testpmd takes 32 ports whatever there are, 348 MB: a pool is used in turn, all of it, and the
 * smaller one stays in the CPU's cache.
 */
export function mbufCountFor(
  { rxQueueCount, txQueueCount, mempoolCache, rxDescriptorCount, txDescriptorCount }: AppOptions,
  portCount: number,
  lcoreCount: number,
): number {
  const rx = rxQueueCount * Math.max(rxDescriptorCount ?? 0, RX_DESCRIPTORS_MAX);
  const tx = txQueueCount * Math.max(txDescriptorCount ?? 0, TX_DESCRIPTORS_MAX);
  return portCount * (rx + tx + PACKETS_BURST_MAX) + lcoreCount * Math.ceil(mempoolCache * 1.5);
}
