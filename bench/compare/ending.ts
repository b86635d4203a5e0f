/**
 * The lab that a comparison works in, one at a time. It is closed whatever happens, also when a signal comes in the middle of a
 * measurement: a lab may hold hugepages, mounts and network namespaces, which outlive the process.
 */
import { Lab } from '../../test/support/lab.js';

const SIGNALS = [
  ['SIGHUP', 129],
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const;

let current: Lab | undefined;
let closing: Promise<void> | undefined;
let ending = false;

export function openLab(name: string): Lab {
  closing = undefined;
  current = new Lab(name);
  return current;
}

/** Ends what was started in the lab, and undoes the rest. After a signal it does not return: the process is about to end. */
export async function closeLab(keepLogs: boolean): Promise<void> {
  await closeOnce(keepLogs);
  if (ending) await new Promise<never>(() => {});
}

function closeOnce(keepLogs: boolean): Promise<void> {
  closing ??= current?.close(keepLogs) ?? Promise.resolve();
  return closing;
}

/** From here on a signal closes the lab before it ends the process. */
export function endOnSignals(): void {
  for (const [signal, status] of SIGNALS) {
    // The test support ends at once.
    process.removeAllListeners(signal);
    // Not `once`: npm may pass a Ctrl-C on that the terminal has sent already, and the second one must not cut this short.
    process.on(signal, () => {
      if (ending) return;
      ending = true;
      void closeOnce(false).finally(() => process.exit(status));
    });
  }
}
