/**
 * The state machine of a port and everything that is checked before a driver is asked. Each refusal says what is wrong, on
 * which port and queue, and what to do first.
 *
 *   probed --configure--> configured --start--> started
 *                          ^    ^ |               |
 *                configure +----+ +<----stop------+        close: from every state.   removed: only close is left
 */
import { TOEPLITZ_KEY_BYTES } from '../../assembly/layout.js';
import { ViaductError } from '../errors.js';
import type { DescriptorLimits, PortConf, PortInfo } from './types.js';

export type PortState = 'probed' | 'configured' | 'started' | 'removed' | 'closed';

type Action = 'configure' | 'rxQueueSetup' | 'txQueueSetup' | 'setVlanOffload' | 'setReta' | 'start' | 'stop';

const allowed: Readonly<Record<Action, readonly PortState[]>> = {
  configure: ['probed', 'configured'],
  rxQueueSetup: ['configured'],
  txQueueSetup: ['configured'],
  setVlanOffload: ['configured', 'started'],
  setReta: ['configured', 'started'],
  start: ['configured'],
  stop: ['started'],
};

const remedies: Readonly<Record<PortState, string>> = {
  probed: 'it is not configured: call configure({ rxQueueCount, txQueueCount }) first',
  configured: 'it is not started',
  started: 'it is started: call stop() first',
  removed: 'its device is gone: only close() is left',
  closed: 'it is closed: probe a new one',
};

/** Throws ERR_INVALID_STATE if `action` is not for this state. `label` is `port 0 (net_ring0)`. */
export function checkState(label: string, state: PortState, action: Action): void {
  if (allowed[action].includes(state)) return;
  const remedy = action === 'start' && state === 'started' ? 'it is started already' : remedies[state];
  throw new ViaductError('ERR_INVALID_STATE', `${label}: cannot ${action}: ${remedy}`);
}

/** Throws unless a port with these abilities can take this configuration. */
export function checkConf(label: string, info: PortInfo, conf: PortConf): void {
  checkCount(label, 'rxQueueCount', conf.rxQueueCount, info.maxRxQueues);
  checkCount(label, 'txQueueCount', conf.txQueueCount, info.maxTxQueues);
  if (conf.rxQueueCount === 0 && conf.txQueueCount === 0) {
    throw new ViaductError(
      'ERR_INVALID_ARGUMENT',
      `${label}: configure: no queue at all; ask for one rx or one tx queue`,
    );
  }
  checkOffloads(label, 'rx', conf.rxOffloads ?? [], info.rxOffloadCapabilities);
  checkOffloads(label, 'tx', conf.txOffloads ?? [], info.txOffloadCapabilities);
  if (conf.mtu !== undefined) checkMtu(label, info, conf.mtu);
  if (conf.rssKey !== undefined && conf.rssKey.length !== TOEPLITZ_KEY_BYTES) {
    throw new ViaductError(
      'ERR_INVALID_ARGUMENT',
      `${label}: configure: rssKey has ${conf.rssKey.length} bytes, it must have ${TOEPLITZ_KEY_BYTES}`,
    );
  }
}

function checkCount(label: string, what: string, count: number, max: number): void {
  if (!Number.isInteger(count) || count < 0 || count > max) {
    throw new ViaductError(
      'ERR_INVALID_ARGUMENT',
      `${label}: configure: ${what} ${count} must be an integer from 0 to ${max}`,
    );
  }
}

/**
 * The offloads of one queue: its own and those of the whole port. Throws ERR_OFFLOAD for one that is not among the queue's
 * capabilities, unless the port has it enabled already.
 */
export function queueOffloads<Name extends string>(
  label: string,
  side: 'rx' | 'tx',
  queue: number,
  wanted: readonly Name[],
  enabled: readonly Name[],
  info: { readonly port: readonly Name[]; readonly queue: readonly Name[] },
): Name[] {
  for (const offload of wanted) {
    if (enabled.includes(offload) || info.queue.includes(offload)) continue;
    const what = `${label}: ${side} queue ${queue}: offload ${offload}`;
    if (info.port.includes(offload)) {
      throw new ViaductError(
        'ERR_OFFLOAD',
        `${what} is one of the whole port: enable it with configure({ ${side}Offloads: ['${offload}'] })`,
      );
    }
    const list = info.queue.length === 0 ? 'none' : info.queue.join(', ');
    throw new ViaductError('ERR_OFFLOAD', `${what} is not supported; a queue has: ${list}`);
  }
  return [...new Set([...enabled, ...wanted])];
}

/** Throws ERR_OFFLOAD for one that the port lacks. */
export function checkOffloads(label: string, side: string, wanted: readonly string[], has: readonly string[]): void {
  for (const offload of wanted) {
    if (has.includes(offload)) continue;
    const list = has.length === 0 ? 'none' : has.join(', ');
    throw new ViaductError(
      'ERR_OFFLOAD',
      `${label}: ${side} offload ${offload} is not supported; the port has: ${list}`,
    );
  }
}

export function checkMtu(label: string, info: { minMtu: number; maxMtu: number }, mtu: number): void {
  if (!Number.isInteger(mtu) || mtu < info.minMtu || mtu > info.maxMtu) {
    throw new ViaductError(
      'ERR_INVALID_ARGUMENT',
      `${label}: MTU ${mtu} must be an integer from ${info.minMtu} to ${info.maxMtu} bytes`,
    );
  }
}

/** Throws unless the queue exists. */
export function checkQueue(label: string, side: 'rx' | 'tx', queue: number, count: number): void {
  if (!Number.isInteger(queue) || queue < 0 || queue >= count) {
    const has = count === 0 ? `no ${side} queue` : `${side} queues 0 to ${count - 1}`;
    throw new ViaductError('ERR_INVALID_ARGUMENT', `${label}: no ${side} queue ${queue}; it is configured with ${has}`);
  }
}

/** The descriptor count to use. Throws unless the limits allow it. */
export function checkDescriptors(
  label: string,
  side: string,
  queue: number,
  limits: DescriptorLimits,
  count?: number,
): number {
  const n = count ?? limits.default;
  const shape = limits.powerOfTwo ? (n & (n - 1)) === 0 : n % limits.align === 0;
  if (!Number.isInteger(n) || n < limits.min || n > limits.max || !shape) {
    const rule = limits.powerOfTwo
      ? 'a power of two'
      : limits.align > 1
        ? `a multiple of ${limits.align}`
        : 'an integer';
    throw new ViaductError(
      'ERR_INVALID_ARGUMENT',
      `${label}: ${side} queue ${queue}: descriptorCount ${n} must be ${rule} from ${limits.min} to ${limits.max}`,
    );
  }
  return n;
}

/** Throws ERR_INVALID_STATE that names the first queue that is not set up. */
export function checkAllSetUp(label: string, side: 'rx' | 'tx', setups: readonly unknown[]): void {
  for (let queue = 0; queue < setups.length; queue++) {
    if (setups[queue] !== undefined) continue;
    const call = side === 'rx' ? `rxQueueSetup(${queue}, { mempool })` : `txQueueSetup(${queue})`;
    throw new ViaductError(
      'ERR_INVALID_STATE',
      `${label}: cannot start: ${side} queue ${queue} is not set up: call ${call} first`,
    );
  }
}
