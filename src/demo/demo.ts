import { Interrupt } from '../cli/interrupt.js';
import { grouped, si } from '../cli/numbers.js';
import { columns, Screen } from '../cli/screen.js';
import { Eal } from '../index.js';
import { account, type Direction, faults, type Side } from './account.js';
import type { GuestCounters } from './counters.js';
import { GUEST_LCORES, Lab, SWITCH_LCORE } from './lab.js';
import { demoHelp, parseDemoOptions } from './options.js';

/** Rates count frames as guests see them; there is no wire, so no preamble and no gap. */
const BITS_BYTE = 8;

/** `viaduct demo [--seconds N]`. Resolves with 0 when every frame is verified and accounted for, else 1. */
export async function demo(args: readonly string[]): Promise<number> {
  const options = parseDemoOptions(args);
  if (options.help) {
    process.stdout.write(`${demoHelp()}\n`);
    return 0;
  }
  const screen = new Screen();
  const interrupt = new Interrupt();
  const eal = await Eal.init({ memoryMiB: 64, lcores: [0, SWITCH_LCORE, ...GUEST_LCORES] });
  try {
    let failure: unknown;
    const lab = await Lab.open(eal, options.windowFrames, (error) => {
      failure ??= error;
      interrupt.trigger('a lcore failed');
    });
    introduce(screen, eal.os !== undefined, options.windowFrames);
    const seconds = await showRates(screen, lab, options.seconds, interrupt);
    if (failure !== undefined) throw failure;
    await lab.drain();
    await lab.stop();
    return summarise(screen, lab, seconds);
  } finally {
    await eal.cleanup();
    interrupt.release();
  }
}

function introduce(screen: Screen, withOs: boolean, windowFrames: number): void {
  const { bold, dim, cyan } = painters(screen);
  const wire = ' <─ virtqueues ─> ';
  const machines = ['guest A', 'switch', 'guest B'];
  const lcores = [GUEST_LCORES[0], SWITCH_LCORE, GUEST_LCORES[1]].map((id) => `lcore ${id}`);
  // Each lcore stands under its machine.
  const under = lcores.map((text, i) => text.padEnd(machines[i]!.length + wire.length)).join('');
  screen.print();
  screen.print(`${bold('Viaduct')}: two guests, one learning switch, every frame verified`);
  screen.print();
  screen.print(`   ${machines.map((name, i) => (i === 1 ? bold(name) : cyan(name))).join(dim(wire))}`);
  screen.print(`   ${dim(under.trimEnd())}`);
  screen.print();
  const flow = windowFrames === 0 ? 'without flow control' : `at most ${windowFrames} on their way`;
  screen.print(dim(`Frames of 64 to 1516 bytes with sequence number and checksum, ${flow}.`));
  if (!withOs) screen.print(dim('(Without koffi: fine here; sockets to real VMs need it.)'));
  screen.print();
}

function painters(screen: Screen) {
  return {
    bold: (text: string) => screen.bold(text),
    dim: (text: string) => screen.dim(text),
    cyan: (text: string) => screen.cyan(text),
    green: (text: string) => screen.green(text),
    red: (text: string) => screen.red(text),
  };
}

/** One line a second until the time is over or somebody ends it. Returns how long it was. */
async function showRates(screen: Screen, lab: Lab, seconds: number, interrupt: Interrupt): Promise<number> {
  screen.print(screen.dim(`  time   ${'A → B'.padEnd(26)}${'B → A'.padEnd(26)}verified`));
  const startMs = performance.now();
  let before = lab.guests.map(({ record }) => record.read());
  let beforeMs = startMs;
  for (let second = 1; second <= seconds; second++) {
    const interrupted = await interrupt.wait(Math.max(1, startMs + second * 1000 - performance.now()));
    const now = lab.guests.map(({ record }) => record.read());
    const nowMs = performance.now();
    const elapsed = (nowMs - beforeMs) / 1000;
    // What B received is what A → B carried.
    const cells = [1, 0].map((to) => rate(now[to]!, before[to]!, elapsed).padEnd(26));
    const verified = now[0]!.verified + now[1]!.verified;
    screen.print(`${String(second).padStart(4)} s   ${cells.join('')}${grouped(verified)}`);
    before = now;
    beforeMs = nowMs;
    if (interrupted) break;
  }
  return (beforeMs - startMs) / 1000;
}

function rate(now: GuestCounters, before: GuestCounters, seconds: number): string {
  const mpps = (now.received - before.received) / seconds / 1e6;
  const bits = ((now.receivedBytes - before.receivedBytes) * BITS_BYTE) / seconds;
  return `${mpps.toFixed(2)} Mpps ${si(bits, 'bit/s')}`;
}

/** Prints the accounts. Returns the exit code. */
function summarise(screen: Screen, lab: Lab, seconds: number): number {
  const { bold, dim, green, red } = painters(screen);
  const sides = lab.guests.map(
    ({ name, front, back, record }): Side => ({
      name,
      guest: record.read(),
      card: { front: front.xstats(), back: back.xstats(), backStats: back.stats() },
    }),
  );
  const [a, b] = [sides[0]!, sides[1]!];
  const directions = [account(a, b), account(b, a)];
  const total = (field: 'sent' | 'received' | 'verified' | 'lost' | 'dropped'): number =>
    directions.reduce((sum, direction) => sum + direction[field], 0);
  const row = (
    name: string,
    d: Pick<Direction, 'sent' | 'received' | 'verified' | 'lost' | 'dropped'>,
    bytes: number,
  ) => [
    name,
    ...[d.sent, d.received, d.verified, d.lost, d.dropped].map(grouped),
    (d.received / seconds / 1e6).toFixed(2),
    ((bytes * BITS_BYTE) / seconds / 1e9).toFixed(2),
  ];
  const rows = [
    ['', 'sent', 'received', 'verified', 'lost', 'dropped', 'Mpps', 'Gbit/s'].map(dim),
    row(directions[0]!.name, directions[0]!, b.guest.receivedBytes),
    row(directions[1]!.name, directions[1]!, a.guest.receivedBytes),
    row(
      'both',
      {
        sent: total('sent'),
        received: total('received'),
        verified: total('verified'),
        lost: total('lost'),
        dropped: total('dropped'),
      },
      a.guest.receivedBytes + b.guest.receivedBytes,
    ).map(bold),
  ];
  screen.print();
  screen.print(`${bold('Summary')} ${dim(`of ${seconds.toFixed(1)} s`)}`);
  for (const line of columns(rows)) screen.print(`  ${line}`);
  for (const { name, losses } of directions) {
    for (const { where, cause, frames } of losses)
      screen.print(`  ${name}: ${grouped(frames)} dropped: ${where}: ${cause}`);
  }
  screen.print();
  const found = directions.flatMap(faults);
  for (const fault of found) screen.print(red(`✗ ${fault}`));
  if (found.length > 0) return 1;
  const lost = total('lost');
  screen.print(
    green(
      `✓ ${grouped(total('verified'))} frames arrived unaltered and in order; ${lost === 0 ? 'none was lost' : `${grouped(lost)} were lost, each in a drop counter`}.`,
    ),
  );
  screen.print();
  screen.print(
    dim(
      'Next: viaduct switch --port vhost:/tmp/vm0.sock --port vhost:/tmp/vm1.sock, for real VMs (viaduct help switch).',
    ),
  );
  return 0;
}
