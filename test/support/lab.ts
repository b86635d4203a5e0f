import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Peer, type PeerOptions } from './peer.js';

/** The parts of tap's test object that a lab needs. */
interface TestLike {
  readonly counts?: unknown;
  passing(): boolean;
  teardown(fn: () => Promise<void> | void): void;
  comment(...args: unknown[]): void;
}

/**
 * A temporary folder and everything that a test starts in it. Closing it ends the processes in reverse order, runs the
 * closers, and removes the folder unless the test failed: then the logs stay, and their place is told.
 */
export class Lab {
  readonly folder: string;
  readonly #peers: Peer[] = [];
  readonly #closers: (() => Promise<void> | void)[] = [];
  #serial = 0;

  constructor(name: string) {
    this.folder = mkdtempSync(join(tmpdir(), `viaduct-${name}-`));
  }

  /** A lab that closes with the test. */
  static forTest(t: TestLike, name: string): Lab {
    const lab = new Lab(name);
    t.teardown(async () => {
      const keep = !t.passing();
      await lab.close(keep);
      if (keep) t.comment(`logs kept in ${lab.folder}`);
    });
    return lab;
  }

  path(...names: string[]): string {
    return join(this.folder, ...names);
  }

  start(name: string, command: string, args: readonly string[], options: PeerOptions = {}): Peer {
    const logFile = this.path(`${++this.#serial}-${name}.txt`);
    const peer = new Peer(name, command, args, { logFile, ...options });
    this.#peers.push(peer);
    return peer;
  }

  /** Registers something to undo, after the processes have ended. */
  onClose(closer: () => Promise<void> | void): void {
    this.#closers.push(closer);
  }

  async close(keepLogs = false): Promise<void> {
    for (const peer of this.#peers.reverse()) await peer.stop('SIGTERM', 2_000);
    for (const closer of this.#closers.reverse()) await closer();
    if (!keepLogs) rmSync(this.folder, { recursive: true, force: true });
  }
}
