/**
 * The command grammar: a command is a row of typed tokens, a help text and a handler. Matching, the message for a wrong
 * argument, the help and the completion all come from this one table, as in DPDK's cmdline library.
 */

/** One word of a command. `T` is what the handler gets for it. */
export interface Token<N extends string = string, T = unknown> {
  /** Name of the argument, '' for a fixed word. */
  readonly name: N;
  /** How help and errors write it: `stop`, `(io|mac)`, `(port_id|all)`. */
  readonly shown: string;
  /** The value of a word, undefined when the word doesn't fit. */
  parse(word: string): T | undefined;
  /** Whole words that fit, for completion. */
  complete(context: CompletionContext): readonly string[];
}

/** What completion knows about the session. */
export interface CompletionContext {
  readonly portIds: readonly number[];
}

/** The named values of a row of tokens. */
export type Args<Ts extends readonly Token[]> = {
  readonly [K in Ts[number] as K['name'] extends '' ? never : K['name']]: K extends Token<string, infer T> ? T : never;
};

export type Section = 'control' | 'display' | 'config' | 'ports';

export interface Command<C> {
  readonly tokens: readonly Token[];
  readonly section: Section;
  readonly help: string;
  readonly run: (context: C, args: Readonly<Record<string, unknown>>) => void | Promise<void>;
}

/** A fixed word. */
export function word(text: string): Token<'', string> {
  return { name: '', shown: text, parse: (w) => (w === text ? text : undefined), complete: () => [text] };
}

/** One of a few words. */
export function choice<N extends string, W extends string>(name: N, words: readonly W[]): Token<N, W> {
  return {
    name,
    shown: `(${words.join('|')})`,
    parse: (w) => words.find((candidate) => candidate === w),
    complete: () => words,
  };
}

/** A port's number, or the word `all`. */
export function portOrAll<N extends string>(name: N): Token<N, number | 'all'> {
  return {
    name,
    shown: '(port_id|all)',
    parse: (w) => (w === 'all' ? 'all' : unsigned(w)),
    complete: ({ portIds }) => ['all', ...portIds.map(String)],
  };
}

/** A port's number. Whether there is such a port is the handler's question: DPDK answers it with another message. */
export function portId<N extends string>(name: N): Token<N, number> {
  return { name, shown: '(port_id)', parse: unsigned, complete: ({ portIds }) => portIds.map(String) };
}

/** A number from 0 on. */
export function count<N extends string>(name: N): Token<N, number> {
  return { name, shown: `(${name})`, parse: unsigned, complete: () => [] };
}

/** Text of a given form. */
export function text<N extends string>(name: N, shown: string, form: RegExp): Token<N, string> {
  return { name, shown, parse: (w) => (form.test(w) ? w : undefined), complete: () => [] };
}

function unsigned(w: string): number | undefined {
  return /^\d{1,10}$/.test(w) ? Number(w) : undefined;
}

/** A command whose handler's arguments have the tokens' types. */
export function command<C, const Ts extends readonly Token[]>(
  section: Section,
  tokens: Ts,
  help: string,
  run: (context: C, args: Args<Ts>) => void | Promise<void>,
): Command<C> {
  return { tokens, section, help, run: run as Command<C>['run'] };
}

/** `show port (info|stats) (port_id|all)`: a command as help writes it. */
export function synopsis(cmd: Command<never>): string {
  return cmd.tokens.map((token) => token.shown).join(' ');
}

export type Match<C> =
  | { readonly kind: 'empty' }
  | { readonly kind: 'command'; readonly command: Command<C>; readonly args: Record<string, unknown> }
  | { readonly kind: 'not-found'; readonly word: string }
  /** The line begins like some commands: `expected` are the tokens that could stand at word `at`. */
  | {
      readonly kind: 'bad-arguments';
      readonly at: number;
      readonly word: string | undefined;
      readonly expected: string[];
    };

/** Words of a line: separated by blanks, a `#` begins a comment. */
export function words(line: string): string[] {
  const found = line.replace(/(^|\s)#.*$/, '').trim();
  return found === '' ? [] : found.split(/\s+/);
}

/** Finds the command that a line means. The whole row must fit; where none does, the furthest that any came decides. */
export function match<C>(commands: readonly Command<C>[], line: string): Match<C> {
  const given = words(line);
  if (given.length === 0) return { kind: 'empty' };
  let furthest = 0;
  let expected = new Set<string>();
  for (const cmd of commands) {
    const args: Record<string, unknown> = {};
    const fitting = fit(cmd, given, args);
    if (fitting === cmd.tokens.length && given.length === fitting) return { kind: 'command', command: cmd, args };
    if (fitting > furthest) {
      furthest = fitting;
      expected = new Set();
    }
    if (fitting === furthest) expected.add(cmd.tokens[fitting]?.shown ?? 'end of line');
  }
  if (furthest === 0) return { kind: 'not-found', word: given[0]! };
  return { kind: 'bad-arguments', at: furthest, word: given[furthest], expected: [...expected] };
}

/** How many tokens from the left fit. */
function fit(cmd: Command<never>, given: readonly string[], args: Record<string, unknown>): number {
  let i = 0;
  for (; i < cmd.tokens.length && i < given.length; i++) {
    const token = cmd.tokens[i]!;
    const value = token.parse(given[i]!);
    if (value === undefined) break;
    if (token.name !== '') args[token.name] = value;
  }
  return i;
}

/** Whole words that may stand where the line ends: candidates for its last, perhaps empty, word. */
export function complete(commands: readonly Command<never>[], line: string, context: CompletionContext): string[] {
  const given = line.trimStart().split(/\s+/);
  const last = given.pop() ?? '';
  const candidates = new Set<string>();
  for (const cmd of commands) {
    if (given.length >= cmd.tokens.length || fit(cmd, given, {}) < given.length) continue;
    for (const candidate of cmd.tokens[given.length]!.complete(context)) {
      if (candidate.startsWith(last)) candidates.add(candidate);
    }
  }
  return [...candidates].sort();
}
