import { Interrupt } from '../cli/interrupt.js';
import { tellQueueStates } from '../cli/queue-states.js';
import { Screen } from '../cli/screen.js';
import { createLogger, Eal, L2Switch, Mempool, Port } from '../index.js';
import { parseSwitchOptions, type SwitchOptions, switchHelp } from './options.js';
import { offloadLines, type PortView, rateTable, totals } from './report.js';

/** mbufs that one queue pair may hold: a front end's rings, and bursts under way. */
const MBUFS_QUEUE_PAIR = 2048;
const MBUFS_LCORE = 512;
const STATUS_INTERVAL_MS = 1000;

/** `viaduct switch --port ... [options]`. Runs until SIGINT or SIGTERM. Resolves with the exit code. */
export async function switchCommand(args: readonly string[]): Promise<number> {
  const options = parseSwitchOptions(args);
  if (options.help) {
    process.stdout.write(`${switchHelp()}\n`);
    return 0;
  }
  const screen = new Screen();
  const interrupt = new Interrupt();
  const eal = await Eal.init({
    lcores: [0, ...(options.lcores.length > 0 ? options.lcores : [{ id: 1 }])],
    poll: options.poll,
    ...(options.memoryMiB === undefined ? {} : { memoryMiB: options.memoryMiB }),
    logger: createLogger('notice', (line) => screen.print(stamped(line))),
  });
  try {
    await run(eal, options, screen, interrupt);
  } finally {
    await eal.cleanup();
    interrupt.release();
  }
  return 0;
}

async function run(eal: Eal, options: SwitchOptions, screen: Screen, interrupt: Interrupt): Promise<void> {
  const opened: { port: Port; vdev: string }[] = [];
  for (const vdev of options.ports) opened.push({ port: await Port.probe(eal, vdev), vdev });
  const queuePairs = opened.map(({ vdev }) => queuePairsOf(vdev));
  const lcoreCount = eal.lcores.length - 1;
  const count =
    options.mbufCount ?? queuePairs.reduce((a, b) => a + b, 0) * MBUFS_QUEUE_PAIR + (lcoreCount + 1) * MBUFS_LCORE;
  const mempool = Mempool.createPktmbuf(eal, { name: 'switch', count });
  for (const [i, { port }] of opened.entries()) {
    const queues = queuePairs[i]!;
    port.configure({ rxQueueCount: queues, txQueueCount: queues });
    for (let queue = 0; queue < queues; queue++) {
      port.rxQueueSetup(queue, { mempool });
      port.txQueueSetup(queue);
    }
    logEvents(port, screen);
  }
  const ports = opened.map(({ port }) => port);
  for (const port of ports) await port.start();
  let failure: unknown;
  const l2 = L2Switch.create(eal, {
    ports,
    burst: options.burst,
    ageingSeconds: options.ageingSeconds,
    onLcoreFailed: (error) => {
      failure ??= error;
      interrupt.trigger('a lcore failed');
    },
  });
  await l2.start();

  const ids = eal.lcores
    .filter((lcore) => !lcore.isMain)
    .map(({ id, cpu }) => (cpu === undefined ? `${id}` : `${id} on CPU ${cpu}`));
  screen.print(
    `${screen.bold('viaduct switch')}: ${ports.length} ${ports.length === 1 ? 'port' : 'ports'}, lcore ${ids.join(', ')}${options.poll ? ', polling' : ''}. Ctrl-C ends it.`,
  );
  for (const port of ports) screen.print(`  port ${port.id} ${port.name}: ${situation(port)}`);

  const views = (): PortView[] => {
    const stations = l2.entries();
    return ports.map((port) => ({
      id: port.id,
      name: port.name,
      target: target(port),
      link: port.link(),
      ...queuesOf(port),
      stats: port.stats(),
      xstats: port.xstats(),
      stations: stations.filter((station) => station.port === port).length,
    }));
  };
  await watch(views, options, screen, interrupt);

  await l2.stop();
  const { flooded, filtered, learned, refused } = l2.stats();
  screen.status([]);
  screen.print();
  for (const line of totals(screen, views(), { flooded, filtered, learned, refused })) screen.print(line);
  await l2.close();
  // Links that go down now are our own doing.
  for (const port of ports) port.removeAllListeners();
  for (const port of ports) await port.close();
  if (failure !== undefined) throw failure;
}

/** Shows rates until the interrupt: a table each --stats period, else the status lines of a terminal, else nothing. */
async function watch(
  views: () => PortView[],
  options: SwitchOptions,
  screen: Screen,
  interrupt: Interrupt,
): Promise<void> {
  const period = options.statsSeconds > 0 ? options.statsSeconds * 1000 : STATUS_INTERVAL_MS;
  if (options.statsSeconds === 0 && !screen.terminal) {
    await interrupt.wait();
    return;
  }
  let before = views();
  let beforeMs = performance.now();
  while (!(await interrupt.wait(period))) {
    const now = views();
    const nowMs = performance.now();
    const lines = rateTable(screen, now, before, (nowMs - beforeMs) / 1000);
    if (options.statsSeconds === 0) screen.status(lines);
    else screen.print([stamped(''), ...lines, ...offloadLines(now)].join('\n'));
    before = now;
    beforeMs = nowMs;
  }
}

function logEvents(port: Port, screen: Screen): void {
  const say = (text: string): void => screen.print(stamped(`port ${port.id} (${port.name}): ${text}`));
  port.on('linkUp', () => say(screen.green('link up')));
  port.on('linkDown', (reason) => say(`${screen.red('link down')}: ${reason}`));
  tellQueueStates(port, (what, stopped) => say(stopped ? screen.red(what) : what));
  port.on('removed', () => say(screen.red('removed')));
}

function stamped(text: string): string {
  return `${new Date().toTimeString().slice(0, 8)} ${text}`.trimEnd();
}

/** What tells people which port it is: its socket, its wire, else its name. */
function target(port: Port): string {
  const { iface, path, wire } = port.info().driverInfo;
  return String(iface ?? path ?? (wire === undefined ? port.name : `ring ${wire}`));
}

function situation(port: Port): string {
  const { mode, server } = port.info().driverInfo;
  const what = target(port);
  if (what.startsWith('inproc:')) return `meets ${what} in this process`;
  if (port.driver === 'net_vhost') return mode === 'client' ? `connects to ${what}` : `listens on ${what}`;
  if (port.driver === 'net_virtio_user')
    return server === true ? `front end, listens on ${what}` : `front end of ${what}`;
  return port.driver === 'net_ring' ? what : 'ready';
}

/** Queue pairs of a port, and those whose guest takes packets on them (`ethtool -L`); all where there is no guest to ask. */
function queuesOf(port: Port): { queuePairs: number; activePairs: number } {
  const queuePairs = port.info().txQueueCount;
  const running = Array.from({ length: queuePairs }, (_, queue) => port.virtqueueInfo('tx', queue));
  const known = running.filter((queue) => queue !== undefined);
  return { queuePairs, activePairs: known.length === 0 ? queuePairs : known.filter((queue) => queue.running).length };
}

/** `queues=N` of a vdev string, 1 without it: as many queue pairs are set up. */
export function queuePairsOf(vdev: string): number {
  const found = /,queues=(\d+)(,|$)/.exec(vdev);
  return found === null ? 1 : Math.max(1, Number(found[1]));
}
