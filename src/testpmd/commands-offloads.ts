import type { Port, RxOffload, TxOffload, VirtqueueInfo } from '../index.js';
import * as format from './format-offloads.js';
import { type Command, choice, command, count, portId, word } from './grammar.js';
import { inBitOrder, RX_OFFLOAD_WORDS, RX_OFFLOADS, TX_OFFLOAD_WORDS, TX_OFFLOADS } from './offloads.js';
import type { PortSetup } from './port-setup.js';
import type { Session } from './session.js';

const [show, set] = [word('show'), word('set')];
const [port, config] = [word('port'), word('config')];
const [csum, tso] = [word('csum'), word('tso')];
const onOff = choice('mode', ['on', 'off']);

/** Checksums that `csum set` knows, testpmd's name for each, and the offload that stands for "hw". */
const CHECKSUMS: Readonly<Record<string, { readonly title: string; readonly offload?: TxOffload }>> = {
  ip: { title: 'IP', offload: 'IPV4_CKSUM' },
  udp: { title: 'UDP', offload: 'UDP_CKSUM' },
  tcp: { title: 'TCP', offload: 'TCP_CKSUM' },
  sctp: { title: 'SCTP' },
  'outer-ip': { title: 'Outer IP' },
  'outer-udp': { title: 'Outer UDP' },
};

/** Checksums, segmentation, offloads, queues. What changes a port asks for a stopped one and comes into force when it starts. */
export const offloadCommands: readonly Command<Session>[] = [
  command(
    'config',
    [csum, set, choice('what', Object.keys(CHECKSUMS)), choice('by', ['hw', 'sw']), portId('port')],
    'Select hardware or software calculation of the checksum when transmitting a packet using the csum forward engine.',
    (s: Session, { what, by, port: id }) => {
      const setup = s.selectStopped(id);
      if (setup === undefined) return;
      const { title, offload } = CHECKSUMS[what]!;
      if (offload !== undefined && (by === 'sw' || supports(setup.port, offload))) setup.setTx(offload, by === 'hw');
      else if (by === 'hw') s.print(`${title} checksum offload is not supported by port ${id}`);
      s.print(checksums(setup));
    },
  ),
  command(
    'config',
    [csum, word('mac-swap'), onOff, portId('port')],
    'Let the csum engine write MAC addresses as mac forwarding does (on), or leave them.',
    (s: Session, { mode, port: id }) => {
      for (const p of s.select(id)) s.setup(p).writeMacs = mode === 'on';
    },
  ),
  command(
    'display',
    [csum, show, portId('port')],
    'Display tx checksum offload configuration.',
    (s: Session, { port: id }) => {
      for (const p of s.select(id)) s.print(checksums(s.setup(p)));
    },
  ),
  command(
    'config',
    [tso, set, count('segsize'), portId('port')],
    'Enable TCP Segmentation Offload in csum forward engine: payload bytes of a segment, 0 to disable it.',
    (s: Session, { segsize, port: id }) => {
      const setup = s.selectStopped(id);
      if (setup === undefined) return;
      if (segsize > 65_535) s.print(`Error: a TSO segment of ${segsize} bytes is more than 65535`);
      else if (segsize !== 0 && !supports(setup.port, 'TCP_TSO')) s.print(`Error: TSO is not supported by port ${id}`);
      else {
        setup.tsoSegmentBytes = segsize;
        setup.setTx('TCP_TSO', segsize !== 0);
        s.print(format.tsoPlan(segsize));
      }
    },
  ),
  command(
    'display',
    [tso, show, portId('port')],
    'Display the status of TCP Segmentation Offload.',
    (s: Session, { port: id }) => {
      for (const p of s.select(id)) s.print(format.tsoPlan(s.setup(p).tsoSegmentBytes));
    },
  ),
  command(
    'display',
    [
      show,
      port,
      portId('port'),
      choice('side', ['rx_offload', 'tx_offload']),
      choice('what', ['capabilities', 'configuration']),
    ],
    'Display the offloads that a port and its queues can have, or have.',
    (s: Session, { port: id, side, what }) => {
      for (const p of s.select(id)) {
        if (what === 'capabilities') s.print(side === 'rx_offload' ? rxCapabilities(p) : txCapabilities(p));
        else s.print(side === 'rx_offload' ? rxConfiguration(s.setup(p)) : txConfiguration(s.setup(p)));
      }
    },
  ),
  command(
    'ports',
    [port, config, portId('port'), word('rx_offload'), choice('offload', RX_OFFLOAD_WORDS), onOff],
    'Enable or disable a per port Rx offloading on all Rx queues of a port.',
    (s: Session, { port: id, offload, mode }) => {
      const name = offload.toUpperCase() as RxOffload;
      const setup = offloadSetup(s, id);
      if (setup !== undefined && (mode === 'off' || portHas(s, 'rx', setup, name))) setup.setRx(name, mode === 'on');
    },
  ),
  command(
    'ports',
    [port, config, portId('port'), word('tx_offload'), choice('offload', TX_OFFLOAD_WORDS), onOff],
    'Enable or disable a per port Tx offloading on all Tx queues of a port.',
    (s: Session, { port: id, offload, mode }) => {
      const name = offload.toUpperCase() as TxOffload;
      const setup = offloadSetup(s, id);
      if (setup !== undefined && (mode === 'off' || portHas(s, 'tx', setup, name))) setup.setTx(name, mode === 'on');
    },
  ),
  command(
    'ports',
    [
      port,
      portId('port'),
      word('rxq'),
      count('queue_id'),
      word('rx_offload'),
      choice('offload', RX_OFFLOAD_WORDS),
      onOff,
    ],
    'Enable or disable a per queue Rx offloading only on a specific Rx queue.',
    (s: Session, { port: id, queue_id, offload, mode }) => {
      const setup = offloadSetup(s, id);
      if (setup === undefined || !hasQueue(s, queue_id, s.config.rxQueueCount)) return;
      const name = offload.toUpperCase() as RxOffload;
      if (mode === 'off' || queueHas(s, 'rx', setup, name)) setup.setRxQueue(queue_id, name, mode === 'on');
    },
  ),
  command(
    'ports',
    [
      port,
      portId('port'),
      word('txq'),
      count('queue_id'),
      word('tx_offload'),
      choice('offload', TX_OFFLOAD_WORDS),
      onOff,
    ],
    'Enable or disable a per queue Tx offloading only on a specific Tx queue.',
    (s: Session, { port: id, queue_id, offload, mode }) => {
      const setup = offloadSetup(s, id);
      if (setup === undefined || !hasQueue(s, queue_id, s.config.txQueueCount)) return;
      const name = offload.toUpperCase() as TxOffload;
      if (mode === 'off' || queueHas(s, 'tx', setup, name)) setup.setTxQueue(queue_id, name, mode === 'on');
    },
  ),
  command(
    'display',
    [show, choice('side', ['rxq', 'txq']), word('info'), portId('port'), count('queue_id')],
    'Display information of a queue: its ring, burst path, offloads.',
    (s: Session, { side, port: id, queue_id }) => showQueue(s, side === 'rxq' ? 'rx' : 'tx', id, queue_id),
  ),
];

function supports(p: Port, offload: TxOffload): boolean {
  return p.info().txOffloadCapabilities.includes(offload);
}

function checksums({ txOffloads }: PortSetup): string {
  return format.checksumPlan({
    ip: txOffloads.has('IPV4_CKSUM'),
    udp: txOffloads.has('UDP_CKSUM'),
    tcp: txOffloads.has('TCP_CKSUM'),
  });
}

/** The setup of a port whose offloads may be changed now; else prints testpmd's answer. */
function offloadSetup(s: Session, id: number): PortSetup | undefined {
  const [p] = s.select(id);
  if (p === undefined) return undefined;
  if (p.state !== 'started') return s.setup(p);
  s.print(`Error: Can't config offload when Port ${id} is not stopped`);
  return undefined;
}

/** Whether the port has an offload; else prints what it has. The next `port start` would refuse it. */
function portHas(s: Session, side: 'rx' | 'tx', setup: PortSetup, offload: RxOffload | TxOffload): boolean {
  const { rxOffloadCapabilities, txOffloadCapabilities } = setup.port.info();
  const all: readonly string[] = side === 'rx' ? rxOffloadCapabilities : txOffloadCapabilities;
  if (all.includes(offload)) return true;
  s.print(
    `Error: ${side} offload ${offload} is not supported by port ${setup.port.id}; it has: ${all.join(' ') || 'none'}`,
  );
  return false;
}

/** Whether a single queue may have it. One of the whole port that is on already is no news, and stays. */
function queueHas(s: Session, side: 'rx' | 'tx', setup: PortSetup, offload: RxOffload | TxOffload): boolean {
  if (!portHas(s, side, setup, offload)) return false;
  const { rxQueueOffloadCapabilities, txQueueOffloadCapabilities } = setup.port.info();
  const queue: readonly string[] = side === 'rx' ? rxQueueOffloadCapabilities : txQueueOffloadCapabilities;
  const enabled: ReadonlySet<string> = side === 'rx' ? setup.rxOffloads : setup.txOffloads;
  if (queue.includes(offload) || enabled.has(offload)) return true;
  s.print(
    `Error: ${side} offload ${offload} is one of the whole port: say 'port config ${setup.port.id} ${side}_offload ${offload.toLowerCase()} on'`,
  );
  return false;
}

function hasQueue(s: Session, queue: number, queueCount: number): boolean {
  if (queue < queueCount) return true;
  s.print(`Error: input queue_id should be 0 ... ${queueCount - 1}`);
  return false;
}

function rxCapabilities(p: Port): string {
  const { rxQueueOffloadCapabilities: queue, rxOffloadCapabilities: all } = p.info();
  return format.offloadCapabilities('Rx', p.id, inBitOrder(RX_OFFLOADS, queue), inBitOrder(RX_OFFLOADS, all));
}

function txCapabilities(p: Port): string {
  const { txQueueOffloadCapabilities: queue, txOffloadCapabilities: all } = p.info();
  return format.offloadCapabilities('Tx', p.id, inBitOrder(TX_OFFLOADS, queue), inBitOrder(TX_OFFLOADS, all));
}

function rxConfiguration(setup: PortSetup): string {
  const queues = Array.from({ length: setup.port.info().rxQueueCount }, (_, queue) =>
    inBitOrder(RX_OFFLOADS, setup.rxQueueOffloads(queue)),
  );
  return format.offloadConfiguration('Rx', setup.port.id, inBitOrder(RX_OFFLOADS, setup.port.rxOffloads), queues);
}

function txConfiguration(setup: PortSetup): string {
  const queues = Array.from({ length: setup.port.info().txQueueCount }, (_, queue) =>
    inBitOrder(TX_OFFLOADS, setup.txQueueOffloads(queue)),
  );
  return format.offloadConfiguration('Tx', setup.port.id, inBitOrder(TX_OFFLOADS, setup.port.txOffloads), queues);
}

function showQueue(s: Session, direction: 'rx' | 'tx', id: number, queue: number): void {
  const side = direction === 'rx' ? 'RX' : 'TX';
  const p = s.setups.find((setup) => setup.port.id === id)?.port;
  if (p === undefined) {
    s.print(`Invalid port_id=${id}\n${format.queueInfoFailed(side, id, queue, 'No such device(-19)')}`);
    return;
  }
  const info = p.info();
  if (queue >= (direction === 'rx' ? info.rxQueueCount : info.txQueueCount)) {
    const which = direction === 'rx' ? 'Rx' : 'Tx';
    s.print(`Invalid ${which} queue_id=${queue}\n${format.queueInfoFailed(side, id, queue, 'Invalid argument(-22)')}`);
    return;
  }
  const rx = direction === 'rx' ? p.rxQueueInfo(queue) : undefined;
  const tx = direction === 'tx' ? p.txQueueInfo(queue) : undefined;
  const conf = rx ?? tx;
  if (conf === undefined) {
    s.print(format.queueInfoFailed(side, id, queue, 'Invalid argument(-22)'));
    return;
  }
  const virtqueue: VirtqueueInfo | undefined = p.virtqueueInfo(direction, queue);
  s.print(
    format.queueInfo(side, {
      portId: id,
      queue,
      descriptorCount: conf.descriptorCount,
      started: p.state === 'started',
      offloads: [...inBitOrder(RX_OFFLOADS, rx?.offloads ?? []), ...inBitOrder(TX_OFFLOADS, tx?.offloads ?? [])],
      ...(rx === undefined ? {} : { mempool: rx.mempool.name, scattered: rx.offloads.includes('SCATTER') }),
      ...(info.coalescing === undefined ? {} : { coalescing: p.coalescing(queue, direction) }),
      ...(virtqueue === undefined ? {} : { virtqueue }),
    }),
  );
}
