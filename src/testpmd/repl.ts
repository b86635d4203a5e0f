import { createInterface, type Interface } from 'node:readline';
import type { Interrupt } from '../cli/interrupt.js';
import { commands, Quit, runLine } from './commands.js';
import { complete } from './grammar.js';
import type { Session } from './session.js';

const PROMPT = 'testpmd> ';

/**
 * Reads commands from standard input until `quit`, the end of the input, or an interrupt. One command finishes before the next
 * begins. On a terminal: prompt, history, completion. From a pipe: the same transcript, a prompt whenever a command may come and
 * the command echoed, as DPDK's testpmd writes it, so that a script can wait for the prompt.
 */
export class Repl {
  readonly #session: Session;
  readonly #interrupt: Interrupt;
  readonly #terminal = process.stdin.isTTY === true && process.stdout.isTTY === true;
  #redraw: (() => void) | undefined;

  constructor(session: Session, interrupt: Interrupt) {
    this.#session = session;
    this.#interrupt = interrupt;
  }

  /** Resolves when there is nothing more to read or to run. */
  run(): Promise<void> {
    const session = this.#session;
    const rl = createInterface({
      input: process.stdin,
      ...(this.#terminal ? { output: process.stdout, prompt: PROMPT } : {}),
      terminal: this.#terminal,
      historySize: 500,
      removeHistoryDuplicates: true,
      completer: (line: string): [string[], string] => {
        const last = /\S*$/.exec(line)![0];
        const found = complete(commands, line, { portIds: session.portIds });
        return [found.map((candidate) => `${candidate} `), last];
      },
    });
    const lines: string[] = [];
    let busy = false;
    let ended = false;
    return new Promise((resolve) => {
      let inputEnded = false;
      const finish = (): void => {
        if (ended) return;
        ended = true;
        this.#redraw = undefined;
        this.#interrupt.signal.removeEventListener('abort', finish);
        rl.close();
        if (!this.#terminal && inputEnded) process.stdout.write('\n'); // behind the last prompt
        resolve();
      };
      const next = async (): Promise<void> => {
        if (busy) return;
        busy = true;
        while (lines.length > 0 && !ended) {
          const line = lines.shift()!;
          if (!this.#terminal) process.stdout.write(`${line}\n`);
          try {
            await runLine(session, line);
          } catch (error) {
            if (!(error instanceof Quit)) session.print(String(error));
            finish();
          }
          if (!ended) this.#prompt(rl);
        }
        busy = false;
        if (inputEnded) finish();
      };
      rl.on('line', (line) => {
        lines.push(line);
        void next();
      });
      rl.on('close', () => {
        inputEnded = true;
        if (!busy) finish();
      });
      // In raw mode Ctrl-C is a key, not a signal.
      rl.on('SIGINT', () => {
        process.stdout.write('\n');
        this.#interrupt.trigger('SIGINT');
      });
      this.#interrupt.signal.addEventListener('abort', finish);
      if (this.#interrupt.signal.aborted) finish();
      this.#redraw = () => {
        if (!busy) rl.prompt(true);
      };
      if (!ended) this.#prompt(rl);
    });
  }

  #prompt(rl: Interface): void {
    if (this.#terminal) rl.prompt();
    else process.stdout.write(PROMPT);
  }

  /** Writes text that no command asked for (a link event) without tearing the line that is being typed. */
  print(text: string): void {
    if (this.#terminal && this.#redraw !== undefined) process.stdout.write('\r\x1b[K');
    process.stdout.write(`${text}\n`);
    if (this.#terminal) this.#redraw?.();
  }
}
