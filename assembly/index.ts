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
export { virtioQueueDrain, virtioQueueFill, virtioQueueInit } from './pmd/virtio';
export { lcoreArm, lcoreDisarm, lcoreWake, rxBurst, txBurst, txPrepare } from './port';
export { lcoreRun } from './forward/run';
export { lcoreFlush } from './pmd/owed';
export { switchFlushPort, switchInit, switchLearn, switchLookup, switchSweep } from './forward/l2-table';
export { checksumUpdate16, checksumUpdate32, rawChecksum, rawChecksumMbuf } from './net/checksum';
export { gsoSegment } from './net/gso';
export {
  checksumComplete,
  ipv4ChecksumSet,
  ipv4ChecksumVerify,
  l4ChecksumSet,
  l4ChecksumVerify,
  pseudoChecksumSet,
} from './net/l4-checksum';
export { parsePacket } from './net/parse';
export { mbufPrivateHead } from './net/private';
export { flowHash, retaLookup, toeplitzHash, toeplitzInit } from './net/toeplitz';
export { qinqStrip, vlanInsert, vlanStrip } from './net/vlan';
