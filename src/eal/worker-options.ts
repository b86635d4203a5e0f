/**
 * Node options for a worker_thread whose entry is a file: those of this process, without the ones that are about the
 * program given on the command line (`node --input-type=module -e ...`), which a worker would refuse.
 */
export function workerExecArgv(): string[] {
  return process.execArgv.filter((argument) => !argument.startsWith('--input-type'));
}
