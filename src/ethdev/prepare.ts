/** Why txPrepare refuses a packet: the data plane's PREPARE_* as words. */
import {
  LCORE_BASE,
  LCORE_PREPARE_FAULT,
  LCORE_SIZE,
  MAX_FRAME_LEN,
  MAX_GSO_SEGMENTS,
  MAX_LCORES,
  MAX_SEGMENTS,
  PREPARE_CHAIN,
  PREPARE_FLAGS,
  PREPARE_HEADERS,
  PREPARE_LENGTH,
  PREPARE_QUEUE,
  PREPARE_SEGSZ,
  PREPARE_SHARED,
  PREPARE_SPLIT_HEADERS,
} from '../../assembly/layout.js';
import type { MemContext } from '../eal/context.js';

/** Why the packet behind those that txPrepare returned cannot be sent. */
export interface TxPrepareFault {
  readonly code: 'queue' | 'length' | 'chain' | 'flags' | 'headers' | 'split_headers' | 'segsz' | 'shared';
  /** What DPDK's rte_errno says in such a case. */
  readonly errno: 'EINVAL' | 'ENOTSUP' | 'ENODEV';
  /** A sentence for people. */
  readonly reason: string;
}

const FAULTS: Readonly<Record<number, TxPrepareFault>> = {
  [PREPARE_QUEUE]: { code: 'queue', errno: 'ENODEV', reason: 'no such port, or no such tx queue' },
  [PREPARE_LENGTH]: {
    code: 'length',
    errno: 'EINVAL',
    reason: `pktLen is less than an Ethernet header or more than ${MAX_FRAME_LEN}`,
  },
  [PREPARE_CHAIN]: {
    code: 'chain',
    errno: 'EINVAL',
    reason: `pktLen, nbSegs and the segments contradict each other, or there are more than ${MAX_SEGMENTS} segments`,
  },
  [PREPARE_FLAGS]: {
    code: 'flags',
    errno: 'EINVAL',
    reason: 'flags exclude each other, or say neither TX_IPV4 nor TX_IPV6',
  },
  [PREPARE_HEADERS]: {
    code: 'headers',
    errno: 'EINVAL',
    reason: "flags, l2Len, l3Len or l4Len do not agree with the packet's headers, or its lengths do not add up",
  },
  [PREPARE_SPLIT_HEADERS]: {
    code: 'split_headers',
    errno: 'ENOTSUP',
    reason: 'the headers are not all in the first segment',
  },
  [PREPARE_SEGSZ]: {
    code: 'segsz',
    errno: 'EINVAL',
    reason: `tsoSegsz is 0, or makes more than ${MAX_GSO_SEGMENTS} segments`,
  },
  [PREPARE_SHARED]: {
    code: 'shared',
    errno: 'ENOTSUP',
    reason: 'the checksum field must be written, but others refer to the same bytes: copy() the packet',
  },
};

/** Why this lcore's last txPrepare stopped; undefined when it took every packet. */
export function txPrepareFault({ memory }: Pick<MemContext, 'memory'>, lcoreId: number): TxPrepareFault | undefined {
  if (lcoreId >= MAX_LCORES) return undefined;
  return FAULTS[memory.u32[(LCORE_BASE + lcoreId * LCORE_SIZE + LCORE_PREPARE_FAULT) >>> 2]!];
}
