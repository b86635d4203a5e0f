/** Runs the built command as a child process. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const VIADUCT = fileURLToPath(new URL('../../src/bin/viaduct.js', import.meta.url));
/** A command that hangs must not hang the tests; far beyond what any of them takes. */
const LIMIT_MS = 25_000;

export interface Result {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Options {
  /** Standard input; it ends behind it. Left open when absent. */
  readonly input?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Called with everything printed so far, at each chunk of standard output. */
  readonly onOutput?: (child: ChildProcessWithoutNullStreams, stdout: string) => void;
}

export function viaduct(args: readonly string[], options: Options = {}): Promise<Result> {
  const env = { ...process.env, ...options.env };
  const child = spawn(process.execPath, [VIADUCT, ...args], { env, stdio: 'pipe' });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
    options.onOutput?.(child, stdout);
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
  });
  child.stdin.on('error', () => {});
  if (options.input !== undefined) child.stdin.end(options.input);
  const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
  const onExit = (): void => void child.kill('SIGKILL');
  process.once('exit', onExit);
  return new Promise((resolve) => {
    child.on('close', (code) => {
      clearTimeout(timer);
      process.off('exit', onExit);
      resolve({ code, stdout, stderr });
    });
  });
}

/** Does something once the output contains a text. */
export function once(
  text: string,
  then: (child: ChildProcessWithoutNullStreams) => void,
): NonNullable<Options['onOutput']> {
  let done = false;
  return (child, stdout) => {
    if (done || !stdout.includes(text)) return;
    done = true;
    then(child);
  };
}
