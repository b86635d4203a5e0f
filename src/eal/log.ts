/** Severities, most severe first. */
export type LogLevel = 'error' | 'warning' | 'notice' | 'info' | 'debug';

const LEVELS: readonly LogLevel[] = ['error', 'warning', 'notice', 'info', 'debug'];

/** Where Viaduct's messages go. `component` is the part that speaks: `eal`, `vhost`, a port's name. Never throws. */
export interface Logger {
  log(level: LogLevel, component: string, message: string): void;
}

/**
 * A logger that writes `[component] message` lines, most usefully to standard error.
 *
 * @param threshold least severe level that is written; DPDK's `--log-level`
 * @param write takes a line without its line feed
 */
export function createLogger(
  threshold: LogLevel = 'notice',
  write: (line: string) => void = (line) => process.stderr.write(`${line}\n`),
): Logger {
  const limit = LEVELS.indexOf(threshold);
  return {
    log(level, component, message) {
      if (LEVELS.indexOf(level) > limit) return;
      const mark = level === 'error' || level === 'warning' ? `${level}: ` : '';
      write(`[${component}] ${mark}${message}`);
    },
  };
}

/** Says nothing. */
export const silentLogger: Logger = { log() {} };
