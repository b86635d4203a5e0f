/** rte_eth_tx_prepare's burst, the same for every pmd: an mbuf's flags mean the same on all of them. */
import { LCORE_BASE, LCORE_PREPARE_FAULT, LCORE_SIZE, MAX_LCORES, PREPARE_OK } from '../layout';
import { prepare } from '../net/tx-prepare';

/** Prepares packets until one that cannot be sent; returns how many are ready. Why it stopped is the lcore's PREPARE_FAULT. */
export function prepareBurst(lcoreId: u32, burst: usize, count: u32): u32 {
  let ready: u32 = 0;
  let fault = PREPARE_OK;
  while (ready < count) {
    fault = prepare(load<u32>(burst + (ready << 2)));
    if (fault != PREPARE_OK) break;
    ready++;
  }
  preparedWith(lcoreId, fault);
  return ready;
}

/** Writes down why an lcore's txPrepare ended. */
export function preparedWith(lcoreId: u32, fault: u32): void {
  if (lcoreId < MAX_LCORES) store<u32>(LCORE_BASE + lcoreId * LCORE_SIZE, fault, LCORE_PREPARE_FAULT);
}
