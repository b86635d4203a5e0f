/** The ABI of the data plane: exports only. src/eal/exports.ts says what each takes and returns. */
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
export { regionTranslate } from './mem/region';
export { virtioQueueDrain, virtioQueueInit } from './pmd/virtio';
export { lcoreArm, lcoreDisarm, lcoreWake, rxBurst, txBurst } from './port';
export { lcoreRun } from './forward/run';
export { switchFlushPort, switchInit, switchLearn, switchLookup, switchSweep } from './forward/l2-table';
