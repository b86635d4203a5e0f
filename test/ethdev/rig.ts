/** Shared by the tests of ports: an Eal for the test, and a driver whose every move the test sees. */
import type { Test } from 'tap';
import { PMD_NULL, QUEUE_GATE_ENABLED, QUEUE_GATE_READY } from '../../assembly/layout.js';
import { setGates } from '../../src/drivers/queue.js';
import type { Driver, DriverInfo, PortSlot } from '../../src/drivers/types.js';
import { Eal } from '../../src/eal/eal.js';
import { Mempool, type ViaductError } from '../../src/index.js';

/** An Eal that ends with the test. */
export async function openEal(t: Test, memoryMiB = 32): Promise<Eal> {
  const eal = await Eal.init({ memoryMiB });
  t.teardown(() => eal.cleanup());
  return eal;
}

export function packetPool(eal: Eal, count = 1023, name = 'packets'): Mempool {
  return Mempool.createPktmbuf(eal, { name, count, cacheSize: 0 });
}

/** The error that `fn` throws, as `code: message`. */
export function errorOf(fn: () => unknown): string {
  try {
    fn();
  } catch (error) {
    return `${(error as ViaductError).code}: ${(error as Error).message}`;
  }
  return 'no error';
}

export const spyInfo: DriverInfo = {
  maxRxQueues: 4,
  maxTxQueues: 2,
  minMtu: 68,
  maxMtu: 9000,
  rxDescriptors: { min: 64, max: 1024, align: 1, powerOfTwo: true, default: 256 },
  txDescriptors: { min: 32, max: 96, align: 32, powerOfTwo: false, default: 64 },
  rxOffloadCapabilities: ['SCATTER'],
  txOffloadCapabilities: [],
  speedMbps: 40_000,
  driverInfo: { colour: 'green' },
};

/** A driver that writes down what it is asked, and fails where `fails` says so. */
export class Spy {
  readonly calls: string[] = [];
  readonly fails = new Set<string>();
  slot: PortSlot | undefined;

  readonly driver: Driver = {
    name: 'net_spy',
    devargs: [{ key: 'colour', help: 'of the coat' }],
    probe: async (eal, slot, args) => {
      this.#note('probe', args.string('colour'));
      this.slot = slot;
      slot.createQueues({ pmd: PMD_NULL, rxQueues: 4, txQueues: 2 });
      for (const queue of [...slot.rxQueues, ...slot.txQueues]) {
        setGates(eal, queue, QUEUE_GATE_READY | QUEUE_GATE_ENABLED);
      }
      return {
        info: () => spyInfo,
        configure: (conf) => this.#note('configure', conf.rxQueueCount, conf.txQueueCount),
        rxQueueSetup: (queue, setup) => this.#note('rxQueueSetup', queue, setup.descriptorCount),
        txQueueSetup: (queue, setup) => this.#note('txQueueSetup', queue, setup.descriptorCount),
        start: async () => this.#note('start'),
        stop: async () => this.#note('stop'),
        close: async () => this.#note('close'),
        setMac: (mac) => this.#note('setMac', [...mac].join(':')),
        setMtu: (mtu) => this.#note('setMtu', mtu),
        setPromiscuous: (on) => this.#note('setPromiscuous', on),
      };
    },
  };

  #note(what: string, ...details: unknown[]): void {
    this.calls.push([what, ...details.filter((detail) => detail !== undefined)].join(' '));
    if (this.fails.has(what)) throw new Error(`${what} failed on purpose`);
  }
}
