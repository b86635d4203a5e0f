/**
 * net_null: receives packets out of nothing and sends them into nothing, as fast as everything around it allows. DPDK's
 * devargs: `net_null0,size=64,copy=0,no-rx=0`.
 */
import {
  MAX_FRAME_LEN,
  MAX_LCORES,
  MBUF_HEADROOM,
  PMD_NULL,
  QUEUE_FRAME_LEN,
  QUEUE_GATE_ENABLED,
  QUEUE_GATE_READY,
} from '../../assembly/layout.js';
import { withQueueLock } from '../eal/queue-lock.js';
import { ViaductError } from '../errors.js';
import { setGates } from './queue.js';
import type { Driver, DriverInfo } from './types.js';

/** It has no descriptors: every count is as good. */
const DESCRIPTORS = { min: 1, max: 32768, align: 1, powerOfTwo: false, default: 512 };
const DEFAULT_SIZE = 64;
const MIN_SIZE = 14;
/** One for each lcore. */
const MAX_QUEUES = MAX_LCORES;

export const netNull: Driver = {
  name: 'net_null',
  devargs: [
    { key: 'size', help: `bytes of a received frame (default ${DEFAULT_SIZE})` },
    { key: 'copy', help: 'taken as 0 only: frames hold whatever their mbufs held' },
    { key: 'no-rx', help: '1 = receives nothing' },
  ],

  async probe(eal, slot, args) {
    const size = args.integer('size', DEFAULT_SIZE, MIN_SIZE, MAX_FRAME_LEN);
    const noRx = args.flag('no-rx');
    if (args.flag('copy')) {
      throw new ViaductError('ERR_DEVARGS', `${slot.name}: copy=1 is not there yet: leave copy out, or say copy=0`);
    }
    slot.createQueues({ pmd: PMD_NULL, rxQueues: MAX_QUEUES, txQueues: MAX_QUEUES });
    for (const queue of [...slot.rxQueues, ...slot.txQueues]) {
      setGates(eal, queue, QUEUE_GATE_READY | QUEUE_GATE_ENABLED);
    }
    const info: DriverInfo = {
      maxRxQueues: MAX_QUEUES,
      maxTxQueues: MAX_QUEUES,
      minMtu: 68,
      maxMtu: 65535,
      rxDescriptors: DESCRIPTORS,
      txDescriptors: DESCRIPTORS,
      rxOffloadCapabilities: [],
      txOffloadCapabilities: ['MULTI_SEGS'],
      speedMbps: 10_000,
      driverInfo: { size, 'no-rx': noRx },
    };
    return {
      info: () => info,
      rxQueueSetup(queue, { bufLen }) {
        if (!noRx && size > bufLen - MBUF_HEADROOM) {
          throw new ViaductError(
            'ERR_INVALID_ARGUMENT',
            `${slot.name}: rx queue ${queue}: frames of ${size} bytes do not fit the mempool's data room of ` +
              `${bufLen - MBUF_HEADROOM} bytes: make a pool with larger buffers, or say size=${bufLen - MBUF_HEADROOM}`,
          );
        }
        const address = slot.rxQueues[queue]!;
        withQueueLock(eal.memory, address, () => {
          eal.memory.u32[(address + QUEUE_FRAME_LEN) >>> 2] = noRx ? 0 : size;
        });
      },
      async start() {
        slot.linkChanged(true);
      },
      async stop() {
        slot.linkChanged(false, 'the port was stopped');
      },
      async close() {},
    };
  },
};
