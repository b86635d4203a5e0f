import { LCORE_SIZE } from './layout';
export function probe(a: usize): u32 { return load<u32>(a + LCORE_SIZE); }
export { mbufAlloc, mbufAllocBulk, mbufAttachExternal, mbufChain, mbufClone, mbufCopy, mbufFree, mbufFreeBulk } from './mem/mbuf';
export { mempoolAvailCount, mempoolCacheFlush, mempoolGetBulk, mempoolInit, mempoolPutBulk } from './mem/mempool';
export {
  ringCount,
  ringDequeueBulk,
  ringDequeueBurst,
  ringEnqueueBulk,
  ringEnqueueBurst,
  ringFreeCount,
  ringInit,
} from './mem/ring';
