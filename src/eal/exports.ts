/**
 * The ABI of the Wasm module (assembly/index.ts): raw exports on numbers. Addresses and handles are u32 that arrive in
 * JavaScript as signed 32-bit numbers: host memory lies below 2 GiB, so that they never are negative in practice.
 * `lcoreId` says whose mempool cache to use; LCORE_ANY for callers that are no lcore.
 */
export interface WasmExports {
  // ring (rte_ring). `size` is a power of two; capacity is size - 1
  ringInit(ring: number, size: number, flags: number): void;
  ringEnqueueBulk(ring: number, objects: number, count: number): number;
  ringEnqueueBurst(ring: number, objects: number, count: number): number;
  ringDequeueBulk(ring: number, objects: number, count: number): number;
  ringDequeueBurst(ring: number, objects: number, count: number): number;
  ringCount(ring: number): number;
  ringFreeCount(ring: number): number;

  // mempool (rte_mempool), pktmbuf (rte_pktmbuf). get/alloc bulk: all or nothing, 1 or 0
  mempoolInit(
    pool: number,
    ring: number,
    elts: number,
    count: number,
    eltSize: number,
    cacheLimit: number,
    bufLen: number,
  ): void;
  mempoolGetBulk(pool: number, lcoreId: number, objects: number, count: number): number;
  mempoolPutBulk(pool: number, lcoreId: number, objects: number, count: number): void;
  mempoolAvailCount(pool: number): number;
  mempoolCacheFlush(pool: number, lcoreId: number): void;
  mbufAlloc(pool: number, lcoreId: number): number;
  mbufAllocBulk(pool: number, lcoreId: number, objects: number, count: number): number;
  mbufFree(mbuf: number, lcoreId: number): void;
  mbufFreeBulk(objects: number, count: number, lcoreId: number): void;
  mbufClone(mbuf: number, pool: number, lcoreId: number): number;
  mbufCopy(mbuf: number, pool: number, offset: number, length: number, lcoreId: number): number;
  mbufChain(head: number, tail: number): number;
  mbufAttachExternal(mbuf: number, ext: number, address: number, lengthBytes: number): void;

  // ports (rte_ethdev)
  rxBurst(lcoreId: number, port: number, queue: number, burst: number, count: number): number;
  txBurst(lcoreId: number, port: number, queue: number, burst: number, count: number): number;
  /** Packets that are ready for txBurst; why the next one is not: the lcore's LCORE_PREPARE_FAULT. */
  txPrepare(lcoreId: number, port: number, queue: number, burst: number, count: number): number;
  /** Guest regions: address of `length` bytes at guest address (low, high words), 0 if not inside one region. For tests. */
  regionTranslate(device: number, guestLow: number, guestHigh: number, length: number): number;
  /** Driver side: makes an empty ring; called once a connection. */
  virtioQueueInit(queue: number): void;
  /** Driver side, after virtioQueueInit: posts receive buffers. */
  virtioQueueFill(queue: number, lcoreId: number): void;
  /** Driver side, queue stopped: frees every mbuf that the ring still holds. */
  virtioQueueDrain(queue: number, lcoreId: number): void;

  // forwarding
  /** Polls the lcore's streams. Ends with RUN_STOPPED, RUN_IDLE (idlePolls empty rounds) or RUN_BUSY (maxPolls rounds). */
  lcoreRun(lcoreId: number, maxPolls: number, idlePolls: number, nowMs: number, nowUs?: number): number;
  /**
   * Sends the notifications that the lcore owes and that are due (all = 1: every one). Returns how many queues are still
   * owed one. Only a loop that calls it may set LCORE_MODERATED; see assembly/virtio/coalesce.ts.
   */
  lcoreFlush(lcoreId: number, nowUs: number, all: number): number;
  /** Wants notifications on the lcore's rx queues, then looks once more: 1 = packets wait (and nothing is armed). */
  lcoreArm(lcoreId: number): number;
  lcoreDisarm(lcoreId: number): void;
  /** Wakes a sleeping lcore, from any thread. */
  lcoreWake(lcoreId: number): void;
  switchInit(table: number, bucketCount: number, ageingMs: number, quota: number): void;
  /** Port of a MAC (6 bytes at `mac`), or -1. */
  switchLookup(table: number, mac: number, nowMs: number): number;
  switchLearn(table: number, mac: number, port: number, nowMs: number): void;
  /** Forgets every entry of a port (link down), returns how many. */
  switchFlushPort(table: number, port: number): number;
  /** Forgets what has aged out and counts anew what each port owns; returns how many were forgotten. */
  switchSweep(table: number, nowMs: number): number;

  // packets (rte_net, rte_ip, rte_gso, rte_thash). Checksums are as they lie in memory; parsePacket is called where needed
  /** Writes packet type and header lengths into the mbuf; returns the type, RTE_PTYPE_*. */
  parsePacket(mbuf: number): number;
  rawChecksum(address: number, lengthBytes: number): number;
  /** CHECKSUM_OUTSIDE (as -1) unless the packet has [offset, offset + length). */
  rawChecksumMbuf(mbuf: number, offset: number, lengthBytes: number): number;
  checksumUpdate16(checksum: number, from: number, to: number): number;
  checksumUpdate32(checksum: number, from: number, to: number): number;
  /** CHECKSUM_UNKNOWN, CHECKSUM_GOOD, CHECKSUM_BAD. */
  ipv4ChecksumVerify(mbuf: number): number;
  l4ChecksumVerify(mbuf: number): number;
  /** CHECKSUM_REFUSED, CHECKSUM_WRITTEN, CHECKSUM_SHARED. */
  ipv4ChecksumSet(mbuf: number): number;
  l4ChecksumSet(mbuf: number): number;
  pseudoChecksumSet(mbuf: number): number;
  /** VIRTIO_NET_HDR_F_NEEDS_CSUM in software. */
  checksumComplete(mbuf: number, csumStart: number, csumOffset: number): number;
  /** The packet with its first `length` bytes in an mbuf of its own, the others by reference; 0 if it can't. */
  mbufPrivateHead(lcoreId: number, mbuf: number, lengthBytes: number, pool: number): number;
  /** Packets written to the array at `out`, 0 = can't; `mbuf` stays the caller's. */
  gsoSegment(
    lcoreId: number,
    mbuf: number,
    gsoType: number,
    segmentSize: number,
    pool: number,
    out: number,
    outMax: number,
  ): number;
  /** Fills TOEPLITZ_TABLE_SIZE bytes at `table` from a key of TOEPLITZ_KEY_BYTES. */
  toeplitzInit(table: number, key: number): void;
  toeplitzHash(table: number, data: number, lengthBytes: number): number;
  flowHash(mbuf: number, table: number): number;
  retaLookup(reta: number, size: number, hash: number): number;
  /** 1, or 0 with nothing changed. */
  vlanStrip(mbuf: number): number;
  qinqStrip(mbuf: number): number;
  vlanInsert(mbuf: number, tpid: number, tci: number): number;
}
