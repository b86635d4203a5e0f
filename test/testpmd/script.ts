/** Scripted testpmd sessions as a child process, without koffi. */
import type { Test } from 'tap';
import { viaduct } from '../bin/command.js';

const env = { VIADUCT_NO_KOFFI: '1' };

/** Runs commands; what each answered, in order. */
export async function session(args: readonly string[], lines: readonly string[]) {
  const result = await viaduct(['testpmd', '-l', '0,1', ...args], { env, input: lines.join('\n') });
  // events come when they come: also between a prompt and its command
  const outputs = result.stdout
    .replaceAll(/Port \d+: (link state change|queue state) event.*\n/g, '')
    .split('testpmd> ')
    .slice(1)
    .map((part) => part.slice(part.indexOf('\n') + 1));
  return { ...result, outputs };
}

/** A line and what its answer looks like; '' for silence. */
export type Row = readonly [line: string, answer: RegExp | ''];

/** Runs the lines of a table and holds each answer against its pattern. */
export async function table(t: Test, args: readonly string[], rows: readonly Row[]): Promise<void> {
  const { code, outputs } = await session(
    args,
    rows.map(([line]) => line),
  );
  t.equal(code, 0);
  rows.forEach(([line, answer], i) => {
    const output = outputs[i]!;
    if (answer === '') t.equal(output, '', line);
    else t.match(output, answer, line);
  });
}
