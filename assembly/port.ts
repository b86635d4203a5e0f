/**
 * The port table: finds a port's queue and lets its poll-mode driver move the burst (rte_eth_rx_burst, rte_eth_tx_burst).
 * A port, or a queue, that is not there moves 0 packets.
 */
import { wakeLcore } from './hook';
import {
  LCORE_BASE,
  LCORE_NOW_US,
  LCORE_OWED_COUNT,
  LCORE_RXQ_COUNT,
  LCORE_RXQS,
  LCORE_SIZE,
  MAX_LCORES,
  MAX_PORTS,
  PMD_NULL,
  PMD_RING,
  PMD_VHOST,
  PMD_VIRTIO,
  PORT_BASE,
  PORT_RXQ_COUNT,
  PORT_RXQS,
  PORT_SIZE,
  PORT_TXQ_COUNT,
  PORT_TXQS,
  PREPARE_QUEUE,
  QUEUE_FRAME_LEN,
  QUEUE_PMD,
  QUEUE_RUN,
  QUEUE_SLEEPS,
  QUEUE_WAITER,
  QUEUE_WAKEUPS,
} from './layout';
import { nullRxBurst, nullTxBurst } from './pmd/null';
import { prepareBurst, preparedWith } from './pmd/prepare';
import { lcoreFlush } from './pmd/owed';
import { ringRxArm, ringRxBurst, ringTxBurst } from './pmd/ring';
import { vhostRxArm, vhostRxBurst, vhostRxDisarm, vhostTxBurst } from './pmd/vhost';
import { virtioRxArm, virtioRxBurst, virtioRxDisarm, virtioTxBurst } from './pmd/virtio';

// The loop of an lcore stands above the pmds and reaches them through here.
export { lcoreFlush };

/** Receives up to `count` packets into the handles at `burst`; the caller owns them. */
export function rxBurst(lcoreId: u32, port: u32, queue: u32, burst: usize, count: u32): u32 {
  if (port >= MAX_PORTS) return 0;
  const record: usize = PORT_BASE + port * PORT_SIZE;
  if (queue >= load<u32>(record, PORT_RXQ_COUNT)) return 0;
  const rxq: usize = load<u32>(load<u32>(record, PORT_RXQS) + (queue << 2));
  const pmd = load<u32>(rxq, QUEUE_PMD);
  if (pmd == PMD_VHOST) return vhostRxBurst(lcoreId, rxq, burst, count);
  if (pmd == PMD_VIRTIO) return virtioRxBurst(lcoreId, rxq, burst, count);
  if (pmd == PMD_RING) return ringRxBurst(lcoreId, rxq, burst, count);
  if (pmd == PMD_NULL) return nullRxBurst(lcoreId, rxq, burst, count);
  return 0;
}

/** Sends up to `count` packets; the first so many that it returns are the port's, the others stay the caller's. */
export function txBurst(lcoreId: u32, port: u32, queue: u32, burst: usize, count: u32): u32 {
  if (port >= MAX_PORTS) return 0;
  const record: usize = PORT_BASE + port * PORT_SIZE;
  if (queue >= load<u32>(record, PORT_TXQ_COUNT)) return 0;
  const txq: usize = load<u32>(load<u32>(record, PORT_TXQS) + (queue << 2));
  const pmd = load<u32>(txq, QUEUE_PMD);
  if (pmd == PMD_VHOST) return vhostTxBurst(lcoreId, txq, burst, count);
  if (pmd == PMD_VIRTIO) return virtioTxBurst(lcoreId, txq, burst, count);
  if (pmd == PMD_RING) return ringTxBurst(lcoreId, txq, burst, count);
  if (pmd == PMD_NULL) return nullTxBurst(lcoreId, txq, burst, count);
  return 0;
}

/**
 * Makes packets ready for txBurst: fills what checksum and segmentation offloads expect, refuses what cannot be sent. Returns
 * how many are ready; the packet after them is the one that LCORE_PREPARE_FAULT speaks of.
 */
export function txPrepare(lcoreId: u32, port: u32, queue: u32, burst: usize, count: u32): u32 {
  if (port < MAX_PORTS && queue < load<u32>(PORT_BASE + port * PORT_SIZE, PORT_TXQ_COUNT)) {
    return prepareBurst(lcoreId, burst, count);
  }
  preparedWith(lcoreId, PREPARE_QUEUE);
  return 0;
}

/** Wants a notification for the queue's next packet (rte_eth_dev_rx_intr_enable). True if one is there already. */
function rxArm(lcoreId: u32, rxq: usize): bool {
  const running = load<u32>(rxq, QUEUE_RUN) != 0;
  const pmd = load<u32>(rxq, QUEUE_PMD);
  if (pmd == PMD_VHOST) return vhostRxArm(lcoreId, rxq, running);
  if (pmd == PMD_VIRTIO) return virtioRxArm(lcoreId, rxq, running);
  if (pmd == PMD_RING) return ringRxArm(rxq);
  if (pmd == PMD_NULL) return running && load<u32>(rxq, QUEUE_FRAME_LEN) != 0;
  return false;
}

/** Polls again. True if packets wait. */
function rxDisarm(lcoreId: u32, rxq: usize): bool {
  const pmd = load<u32>(rxq, QUEUE_PMD);
  if (pmd == PMD_VHOST) return vhostRxDisarm(lcoreId, rxq);
  if (pmd == PMD_VIRTIO) return virtioRxDisarm(lcoreId, rxq);
  return pmd == PMD_RING && ringRxArm(rxq);
}

/**
 * Before the lcore sleeps: asks every rx queue that it polls to wake it, and looks once more. 1 = packets wait, or may wait,
 * and nothing is armed any more; 0 = sleep. It never sleeps while it owes a notification. First the waiter, then the look: whoever publishes after the look sees the waiter.
 */
export function lcoreArm(lcoreId: u32): u32 {
  if (lcoreId >= MAX_LCORES) return 1;
  const lcore: usize = LCORE_BASE + lcoreId * LCORE_SIZE;
  if (load<u32>(lcore, LCORE_OWED_COUNT) != 0 && lcoreFlush(lcoreId, load<u32>(lcore, LCORE_NOW_US), 1) != 0) return 1;
  let at: usize = load<u32>(lcore, LCORE_RXQS);
  const end = at + (load<u32>(lcore, LCORE_RXQ_COUNT) << 2);
  for (; at < end; at += 4) {
    const rxq: usize = load<u32>(at);
    atomic.store<u32>(rxq, <u32>lcore, QUEUE_WAITER);
    if (rxArm(lcoreId, rxq)) {
      disarmAll(lcoreId, lcore, false);
      return 1;
    }
  }
  for (at = load<u32>(lcore, LCORE_RXQS); at < end; at += 4) countOne(load<u32>(at), QUEUE_SLEEPS);
  return 0;
}

/** After the sleep: polls again, nobody needs to signal. */
export function lcoreDisarm(lcoreId: u32): void {
  if (lcoreId >= MAX_LCORES) return;
  disarmAll(lcoreId, LCORE_BASE + lcoreId * LCORE_SIZE, true);
}

function disarmAll(lcoreId: u32, lcore: usize, slept: bool): void {
  let at: usize = load<u32>(lcore, LCORE_RXQS);
  const end = at + (load<u32>(lcore, LCORE_RXQ_COUNT) << 2);
  for (; at < end; at += 4) {
    const rxq: usize = load<u32>(at);
    atomic.store<u32>(rxq, 0, QUEUE_WAITER);
    if (rxDisarm(lcoreId, rxq) && slept) countOne(rxq, QUEUE_WAKEUPS);
  }
}

function countOne(queue: usize, counter: usize): void {
  store<u64>(queue + counter, load<u64>(queue + counter) + 1);
}

/** Wakes an lcore by its id, whether it sleeps or not. */
export function lcoreWake(lcoreId: u32): void {
  if (lcoreId < MAX_LCORES) wakeLcore(LCORE_BASE + lcoreId * LCORE_SIZE);
}
