import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createWriteStream, type WriteStream } from 'node:fs';

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface PeerOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** File that keeps everything the process prints. */
  readonly logFile?: string;
}

/** Output kept in memory for matching; the log file has all of it. */
const KEPT_CHARS = 1 << 20;

/** util-linux's, part of every Debian; busybox's lacks the option. */
const haveSetpriv = spawnSync('setpriv', ['--pdeathsig', 'KILL', 'true'], { stdio: 'ignore' }).status === 0;

const living = new Set<Peer>();
process.on('exit', () => {
  for (const peer of living) peer.killNow();
});
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  // A runner that loses patience sends one of these: without a handler the peers would outlive the test.
  process.once(signal, () => process.exit(signal === 'SIGINT' ? 130 : 143));
}

/**
 * A process that a test started: its output can be waited for, and it is ended by its own pid, at the latest when the
 * test's process ends.
 */
export class Peer {
  readonly name: string;
  readonly exited: Promise<Exit>;
  /** Set once the process has ended. */
  exit: Exit | undefined;
  readonly #child: ChildProcess;
  readonly #log: WriteStream | undefined;
  readonly #watchers = new Set<() => void>();
  #output = '';
  /** Characters that were dropped from the front of #output. */
  #dropped = 0;

  constructor(name: string, command: string, args: readonly string[], options: PeerOptions = {}) {
    this.name = name;
    this.#log = options.logFile === undefined ? undefined : createWriteStream(options.logFile);
    this.#log?.write(`# ${command} ${args.join(' ')}\n`);
    // The kernel ends the peer if this process is killed itself, as a test runner does with a test that hangs.
    const [program, ...rest] = haveSetpriv ? ['setpriv', '--pdeathsig', 'KILL', command, ...args] : [command, ...args];
    this.#child = spawn(program!, rest, { cwd: options.cwd, env: options.env ?? process.env, stdio: 'pipe' });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#append(text));
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => this.#append(text));
    // A peer that dies while it is being written to is seen through `exited`.
    this.#child.stdin?.on('error', () => {});
    living.add(this);
    this.exited = new Promise((resolve) => {
      const ended = (exit: Exit) => {
        if (this.exit !== undefined) return;
        this.exit = exit;
        living.delete(this);
        this.#log?.end();
        this.#wake();
        resolve(exit);
      };
      this.#child.once('error', (error) => {
        this.#append(`${error.message}\n`);
        ended({ code: 127, signal: null });
      });
      this.#child.once('close', (code, signal) => ended({ code, signal }));
    });
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  /** Length of all output so far: a position for `waitFor` and `outputSince`. */
  get position(): number {
    return this.#dropped + this.#output.length;
  }

  outputSince(position: number): string {
    return this.#output.slice(Math.max(0, position - this.#dropped));
  }

  write(text: string): void {
    this.#child.stdin?.write(text);
  }

  endInput(): void {
    this.#child.stdin?.end();
  }

  /**
   * Waits until the output after `from` (default: from the beginning) matches, and returns the match. Rejects with the
   * last lines of output when the process ends or the time is over.
   */
  async waitFor(pattern: RegExp, timeoutMs: number, from = 0): Promise<RegExpExecArray> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const match = pattern.exec(this.outputSince(from));
      if (match !== null) return match;
      if (this.exit !== undefined) {
        throw new Error(`${this.name} ended (${describe(this.exit)}) before it printed ${pattern}\n${this.tail()}`);
      }
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`${this.name} did not print ${pattern} within ${timeoutMs} ms\n${this.tail()}`);
      await this.#change(left);
    }
  }

  /** Last lines of output, for error messages. */
  tail(lines = 25): string {
    return this.#output.trimEnd().split('\n').slice(-lines).join('\n');
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Sends the signal and waits for the end; SIGKILL follows if the peer has not gone after `patienceMs`. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', patienceMs = 5_000): Promise<Exit> {
    if (this.exit !== undefined) return this.exit;
    this.#child.kill(signal);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), patienceMs);
    const exit = await this.exited;
    clearTimeout(timer);
    return exit;
  }

  kill(): Promise<Exit> {
    return this.stop('SIGKILL');
  }

  /** For the exit handler, which cannot wait. */
  killNow(): void {
    this.#child.kill('SIGKILL');
  }

  #append(text: string): void {
    this.#log?.write(text);
    this.#output += text;
    if (this.#output.length > 2 * KEPT_CHARS) {
      const cut = this.#output.length - KEPT_CHARS;
      this.#dropped += cut;
      this.#output = this.#output.slice(cut);
    }
    this.#wake();
  }

  #wake(): void {
    for (const watcher of this.#watchers) watcher();
  }

  #change(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#watchers.delete(done);
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      this.#watchers.add(done);
    });
  }
}

function describe(exit: Exit): string {
  return exit.signal === null ? `exit status ${exit.code}` : exit.signal;
}
