/** Ports on real sockets for one test file, and the question whether everything was given back. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Burst, Eal, type Logger, Mempool, Port } from '../../src/index.js';
import { loadOs } from '../../src/os/index.js';
import type { Os } from '../../src/os/types.js';
import { type PlainPeer, until } from './plain-peer.js';

export const os = loadOs().os;

/** Why these tests cannot run here; false when they can. */
export const cannotRun: string | false = os === undefined && 'needs Linux and koffi (npm install koffi)';

export interface Rig {
  readonly os: Os;
  readonly eal: Eal;
  /** A directory of the test's own. */
  readonly directory: string;
  /** Warnings that came since the last look. */
  warnings(): string[];
  path(name: string): string;
  /** A started port with one queue pair, that listens at `path(name)`; `args` are appended. */
  port(number: number, args?: string): Promise<RigPort>;
}

export interface RigPort {
  readonly port: Port;
  readonly path: string;
  /** `up`, or the reason of the last link down. */
  link(): string;
  /** Frames that wait on rx queue 0, by their first byte; takes them. */
  receive(): number[];
}

export async function openRig(t: Test): Promise<Rig> {
  const directory = mkdtempSync(join(tmpdir(), 'viaduct-vhost-'));
  const heard: string[] = [];
  const logger: Logger = { log: (_level, component, message) => heard.push(`${component}: ${message}`) };
  const eal = await Eal.init({ memoryMiB: 32, logger });
  t.teardown(async () => {
    await eal.cleanup();
    rmSync(directory, { recursive: true, force: true });
  });
  const mempool = Mempool.createPktmbuf(eal, { name: 'packets', count: 1023, cacheSize: 0 });
  const burst = Burst.create(eal);
  const path = (name: string): string => join(directory, name);

  async function port(number: number, args = ''): Promise<RigPort> {
    const at = path(`${number}.sock`);
    const one = await Port.probe(eal, `net_vhost${number},iface=${at}${args}`);
    let link = 'never up';
    one.on('linkUp', () => {
      link = 'up';
    });
    one.on('linkDown', (reason) => {
      link = reason;
    });
    one.configure({ rxQueueCount: 1, txQueueCount: 1 });
    one.rxQueueSetup(0, { mempool });
    one.txQueueSetup(0);
    await one.start();
    const receive = (): number[] => {
      const count = one.rxBurst(0, burst);
      const { u8, u32 } = eal.memory;
      // An mbuf begins with its buffer's address and the offset of its data.
      const bytes = [...burst.handles.subarray(0, count)].map((m) => u8[u32[m >>> 2]! + u32[(m >>> 2) + 1]!]!);
      burst.free(0, count);
      return bytes;
    };
    return { port: one, path: at, link: () => link, receive };
  }
  return { os: os!, eal, directory, warnings: () => heard.splice(0), path, port };
}

/** What a test holds at its beginning, to be compared at its end. */
export function holdings(rig: Rig): () => Promise<void> {
  const fds = rig.os.openDescriptorCount();
  const windows = rig.eal.windows.count;
  return () =>
    until(
      `as many descriptors and windows as before: ${fds}, ${windows}`,
      () => rig.os.openDescriptorCount() === fds && rig.eal.windows.count === windows,
    );
}

/** Asserts that a port with a live peer still moves packets. */
export async function stillForwards(t: Test, port: RigPort, peer: PlainPeer): Promise<void> {
  const fill = 1 + Math.floor(Math.random() * 250);
  peer.transmit(fill);
  const got: number[] = [];
  await until('a frame on the other port', () => got.push(...port.receive()) > 0);
  t.strictSame(got, [fill], 'the other port goes on');
}
