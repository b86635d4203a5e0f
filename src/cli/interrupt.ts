/**
 * Ctrl-C and `kill`: the first asks the command to end cleanly, the second ends the process at once with the shell's
 * code for a signal, for the case that the clean end does not come.
 */
export class Interrupt {
  /** Aborted by the first SIGINT or SIGTERM, or by trigger(); the reason is the signal's name. */
  readonly signal: AbortSignal;
  readonly #controller = new AbortController();
  readonly #onSignal = (name: NodeJS.Signals): void => {
    if (this.#controller.signal.aborted) process.exit(name === 'SIGTERM' ? 143 : 130);
    this.#controller.abort(name);
  };

  constructor() {
    this.signal = this.#controller.signal;
    process.on('SIGINT', this.#onSignal);
    process.on('SIGTERM', this.#onSignal);
  }

  /** As if a signal had come. */
  trigger(reason: string): void {
    this.#controller.abort(reason);
  }

  /** Resolves at once when interrupted, else after the time; true = interrupted. */
  wait(milliseconds = 0): Promise<boolean> {
    if (this.signal.aborted) return Promise.resolve(true);
    return new Promise((resolve) => {
      const end = (interrupted: boolean): void => {
        clearTimeout(timer);
        this.signal.removeEventListener('abort', onAbort);
        resolve(interrupted);
      };
      const onAbort = (): void => end(true);
      // Without a time it waits for the signal alone; an interval keeps the process alive meanwhile.
      const timer = milliseconds > 0 ? setTimeout(end, milliseconds, false) : setInterval(() => {}, 1 << 30);
      this.signal.addEventListener('abort', onAbort);
    });
  }

  /** Signals end the process again as they would by themselves. */
  release(): void {
    process.off('SIGINT', this.#onSignal);
    process.off('SIGTERM', this.#onSignal);
  }
}
