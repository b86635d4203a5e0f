import { MAX_BURST, MBUF_HEADROOM } from '../../assembly/layout.js';
import type { Interrupt } from '../cli/interrupt.js';
import { tellQueueStates } from '../cli/queue-states.js';
import { type Eal, Mempool, Port, planStreams } from '../index.js';
import type { AppOptions } from './app-options.js';
import * as format from './format.js';
import { type Counts, type Forwarding, sinceAll, startForwarding } from './forwarding.js';
import { offloadMask, RX_OFFLOADS, TX_OFFLOADS } from './offloads.js';
import { mbufCountFor } from './pool-size.js';
import { PortSetup } from './port-setup.js';
import { inTestpmdsWords } from './remedies.js';
import { ThroughputMeter } from './throughput.js';

/**
 * The state behind testpmd's commands: ports, the forwarding configuration, which becomes active at the next start, and what
 * forwards. Methods do the work and return or print testpmd's text; the grammar is in commands.ts.
 */
export class Session {
  readonly eal: Eal;
  /** The forwarding configuration, changed by `set ...`. */
  readonly config: AppOptions;
  readonly print: (text: string) => void;
  readonly #interrupt: Interrupt;
  readonly #meter = new ThroughputMeter();
  #ports: PortSetup[] = [];
  #mempool: Mempool | undefined;
  #running: Forwarding | undefined;
  /** The run that `show fwd stats` tells of: the running one, or the last. */
  #last: Forwarding | undefined;
  /** Its counts at `clear fwd stats`. */
  #cleared: Counts = { ports: [], streams: [] };

  constructor(eal: Eal, config: AppOptions, interrupt: Interrupt, print: (text: string) => void) {
    this.eal = eal;
    this.#interrupt = interrupt;
    this.config = config;
    this.print = print;
  }

  get portIds(): number[] {
    return this.#ports.map(({ port }) => port.id);
  }

  get isForwarding(): boolean {
    return this.#running !== undefined;
  }

  /** Lcores that may forward: all but the main one. */
  get workerIds(): number[] {
    return this.eal.lcores.map((lcore) => lcore.id).filter((id) => id !== this.eal.mainLcoreId);
  }

  /** Lcores that will forward, as `--nb-cores` and `set nbcore` say. */
  get forwardingLcoreIds(): number[] {
    return this.workerIds.slice(0, this.config.lcoreCount ?? this.workerIds.length);
  }

  /** Ports that will forward, as `--nb-ports` and `set nbport` say. */
  get forwardingPorts(): Port[] {
    return this.#ports.slice(0, this.config.portCount ?? this.#ports.length).map(({ port }) => port);
  }

  // ---- ports -----------------------------------------------------------------------------------------------------------

  /** Probes, configures and starts the ports of the command line, with testpmd's words. */
  async openPorts(vdevs: readonly string[]): Promise<void> {
    const { config, eal } = this;
    if (vdevs.length === 0) {
      this.print('testpmd: No probed ethernet devices');
      return;
    }
    for (const vdev of vdevs) {
      const comma = vdev.indexOf(',');
      const port = await Port.probe(eal, vdev);
      this.#ports.push(new PortSetup(port, comma < 0 ? '' : vdev.slice(comma + 1), config));
    }
    const count = config.mbufCount ?? mbufCountFor(config, vdevs.length, this.eal.lcores.length);
    const dataRoomBytes = config.mbufBytes - MBUF_HEADROOM;
    this.print(`testpmd: create a new mbuf pool <mb_pool_0>: n=${count}, size=${config.mbufBytes}, socket=0`);
    const cacheSize = Math.min(config.mempoolCache, Math.floor(count / 1.5));
    this.#mempool = Mempool.createPktmbuf(eal, { name: 'mb_pool_0', count, dataRoomBytes, cacheSize });
    if (config.portTopology === 'paired' && this.forwardingPorts.length % 2 === 1) this.print(ODD_PORTS);
    for (const { port } of this.#ports) {
      await this.startPort(port);
      const event = (what: string): void => this.print(`Port ${port.id}: ${what}`);
      port.on('linkUp', () => event('link state change event: up'));
      port.on('linkDown', (reason) => event(`link state change event: down, ${inTestpmdsWords(reason)}`));
      tellQueueStates(port, (what) => event(`queue state event: ${what}`));
      port.on('removed', () => event('device removal event'));
    }
    this.print('Checking link statuses...\nDone');
  }

  /** Starts a port that is not started, configured anew if something was changed. */
  async startPort(port: Port): Promise<void> {
    const setup = this.setup(port);
    if (setup.changed) {
      this.print(`Configuring Port ${port.id} (socket 0)`);
      setup.configure(this.config, this.#mempool!);
    }
    await port.start();
    this.print(`Port ${port.id}: ${port.macAddress.toUpperCase()}`);
  }

  /** `port reset`: a stopped port as if it were new; its counters are 0 again. */
  resetPort(port: Port): void {
    this.setup(port).configure(this.config, this.#mempool!);
    this.clearPortStats(port);
  }

  /** What testpmd remembers of a port. */
  setup(port: Port): PortSetup {
    return this.#ports.find((known) => known.port === port)!;
  }

  /** Every port. */
  get setups(): readonly PortSetup[] {
    return this.#ports;
  }

  /** The ports that `(port_id|all)` means; for one that isn't there, prints testpmd's answer and gives none. */
  select(which: number | 'all'): Port[] {
    if (which === 'all') return this.#ports.map(({ port }) => port);
    const found = this.#ports.find(({ port }) => port.id === which);
    if (found === undefined) this.print(format.invalidPort(which, this.portIds));
    return found === undefined ? [] : [found.port];
  }

  /** The stopped port that a command may configure; else prints testpmd's answer. */
  selectStopped(which: number): PortSetup | undefined {
    const [port] = this.select(which);
    if (port === undefined) return undefined;
    if (port.state !== 'started') return this.setup(port);
    this.print(`Please stop port ${port.id} first`);
    return undefined;
  }

  /** `show port stats`: counters and the rates since the last show. */
  portStats(port: Port): string {
    const stats = port.stats();
    return format.portStats(port.id, stats, this.#meter.measure(port.id, stats));
  }

  clearPortStats(port: Port): void {
    port.statsReset();
    this.#meter.cleared(port.id, port.stats());
  }

  /** Whether the running forwarding uses the port, which then must not be stopped under it. */
  isForwardingOn(port: Port): boolean {
    return this.#running?.ports.includes(port) ?? false;
  }

  /** `port close`: the port is gone from every list. */
  async closePort(port: Port): Promise<void> {
    await port.close();
    this.#ports = this.#ports.filter((known) => known.port !== port);
    if (this.#last?.ports.includes(port)) this.#last = undefined;
  }

  /** `set burst`. */
  setBurst(packets: number): void {
    if (packets > MAX_BURST)
      this.print(`nb pkt per burst: ${packets} > ${MAX_BURST} (maximum packet per burst)  ignored`);
    else if (packets < 1) this.print('nb pkt per burst: 0 < 1 (minimum packet per burst)  ignored');
    else {
      this.config.burst = packets;
      this.print(`Number of packets per burst set to ${packets}`);
    }
  }

  // ---- forwarding ------------------------------------------------------------------------------------------------------

  /** `start`, `start tx_first N`. Prints what it says of the configuration. */
  async startForwarding(txFirstBursts = 0): Promise<void> {
    if (this.#running !== undefined) {
      this.print('Packet forwarding already started');
      return;
    }
    const ports = this.forwardingPorts;
    if (ports.length === 0) {
      this.print('There is no port to forward on: start testpmd with --vdev');
      return;
    }
    const onLcoreFailed = (error: unknown): void =>
      this.print(inTestpmdsWords(error instanceof Error ? error.message : String(error)));
    if (ports.some(({ state }) => state !== 'started')) {
      this.print('Not all ports were started');
      return;
    }
    const setups = ports.map((port) => this.setup(port));
    const plan = { ports, setups, lcores: this.forwardingLcoreIds, config: this.config, onLcoreFailed };
    this.print(`${this.forwardingConfig()}\n\n${this.rxtxConfig()}`);
    this.#running = await startForwarding(this.eal, plan, txFirstBursts);
    this.#last = this.#running;
    this.#cleared = { ports: [], streams: [] };
  }

  /** `stop`: prints the statistics of the run. */
  async stopForwarding(): Promise<void> {
    if (this.#running === undefined) {
      this.print('Packet forwarding not started');
      return;
    }
    this.print('Telling cores to stop...\nWaiting for lcores to finish...');
    await this.#running.stop();
    this.#running = undefined;
    this.print(`${this.forwardStats()}\n\nDone.`);
  }

  /** `show fwd stats all`: of the running forwarding, or of the last run. */
  forwardStats(): string {
    const { ports, streams } = this.#forwardCounts();
    return format.forwardStats(ports, streams, this.#last?.mode === 'csum');
  }

  /** `clear fwd stats all`. */
  clearForwardStats(): void {
    this.#cleared = this.#last?.counts() ?? { ports: [], streams: [] };
  }

  #forwardCounts(): Counts {
    if (this.#last !== undefined) return sinceAll(this.#last.counts(), this.#cleared);
    const none = { rxPackets: 0, rxDropped: 0, txPackets: 0, txDropped: 0 };
    return { ports: this.forwardingPorts.map(({ id }) => ({ portId: id, ...none })), streams: [] };
  }

  /** `show config fwd`: which lcore polls which queue, as the next start arranges it. */
  forwardingConfig(): string {
    const { config } = this;
    const ports = this.forwardingPorts;
    const lcoreIds = this.forwardingLcoreIds;
    const planned = ports.map((port) => {
      const { rxQueueCount, txQueueCount } = port.info();
      return { id: port.id, rxQueueCount, txQueueCount };
    });
    // icmpecho answers through the port that asked
    const topology = config.forwardMode === 'icmpecho' ? 'loop' : config.portTopology;
    const streams = planStreams(planned, lcoreIds.length, topology);
    const peer = (portId: number): string => config.ethPeers.get(portId) ?? defaultPeer(portId);
    return format.forwardingConfig({
      mode: config.forwardMode,
      portCount: ports.length,
      lcores: [...new Set(streams.map((stream) => stream.lcoreIndex))].map((index) => ({
        id: lcoreIds[index]!,
        streams: streams
          .filter((stream) => stream.lcoreIndex === index)
          .map((stream) => ({ ...stream, peer: peer(stream.txPort) })),
      })),
    });
  }

  /** `show config rxtx`. */
  rxtxConfig(): string {
    const { config } = this;
    const queues = (n: number, descriptorCount: number, offloads: (queue: number) => number): format.QueuePlan[] =>
      Array.from({ length: n }, (_, queue) => ({ descriptorCount, offloads: offloads(queue) }));
    return format.rxtxConfig({
      mode: config.forwardMode,
      burst: config.burst,
      lcoreCount: this.forwardingLcoreIds.length,
      txPackets: config.txPackets,
      ports: this.forwardingPorts.map((port) => {
        const info = port.info();
        const setup = this.setup(port);
        return {
          portId: port.id,
          rxOffloads: offloadMask(RX_OFFLOADS, port.rxOffloads),
          txOffloads: offloadMask(TX_OFFLOADS, port.txOffloads),
          rxQueues: queues(info.rxQueueCount, config.rxDescriptorCount ?? info.rxDescriptors.default, (queue) =>
            offloadMask(RX_OFFLOADS, setup.rxQueueOffloads(queue)),
          ),
          txQueues: queues(info.txQueueCount, config.txDescriptorCount ?? info.txDescriptors.default, (queue) =>
            offloadMask(TX_OFFLOADS, setup.txQueueOffloads(queue)),
          ),
        };
      }),
    });
  }

  /** `sleep`: lets a script wait; Ctrl-C ends it. */
  async sleep(seconds: number): Promise<void> {
    if (seconds > 0) await this.#interrupt.wait(Math.min(seconds, MAX_SLEEP_SECONDS) * 1000);
  }

  // ---- the end -----------------------------------------------------------------------------------------------------------

  /** Stops forwarding (with its statistics), stops and closes the ports, with testpmd's words. */
  async end(): Promise<void> {
    if (this.#running !== undefined) await this.stopForwarding();
    // That links go down now is our own doing.
    for (const { port } of this.#ports) port.removeAllListeners();
    for (const { port } of this.#ports) {
      this.print(`\nStopping port ${port.id}...\nStopping ports...`);
      if (port.state === 'started') await port.stop();
      this.print('Done');
    }
    for (const { port } of this.#ports) {
      this.print(`\nShutting down port ${port.id}...\nClosing ports...`);
      await port.close();
      this.print(`Port ${port.id} is closed\nDone`);
    }
    this.#ports = [];
    this.print('\nBye...');
  }
}

const MAX_SLEEP_SECONDS = 86400;

/** testpmd's warning, to the word. */
export const ODD_PORTS =
  '\nWarning! port-topology=paired and odd forward ports number, the last port will pair with itself.\n';

/** The MAC address that testpmd takes for the machine behind a port until it is told another. */
function defaultPeer(portId: number): string {
  return `02:00:00:00:00:${portId.toString(16).padStart(2, '0')}`;
}
