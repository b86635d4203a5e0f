/**
 * A mistake on the command line, for the person who typed it: the message names the option, what was wrong and what would
 * be right. The command prints it as one line and exits with 2, where faults of the running program exit with 1.
 */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  readonly code = 'ERR_USAGE';
}
