import { displayCommands } from './commands-display.js';
import { forwardingCommands } from './commands-forwarding.js';
import { offloadCommands } from './commands-offloads.js';
import { portCommands } from './commands-ports.js';
import { rssCommands } from './commands-rss.js';
import { vlanCommands } from './commands-vlan.js';
import { type Command, choice, command, count, match, type Section, synopsis, word } from './grammar.js';
import { inTestpmdsWords } from './remedies.js';
import type { Session } from './session.js';

/** Sections of the help, in its order, with testpmd's words. */
const SECTIONS: Readonly<Record<Section, { readonly summary: string; readonly title: string }>> = {
  control: { summary: 'Start and stop forwarding.', title: 'Control forwarding:' },
  display: { summary: 'Displaying port, stats and config information.', title: 'Display:' },
  config: { summary: 'Configuration information.', title: 'Configuration:' },
  ports: { summary: 'Configuring ports.', title: 'Port Operations:' },
};
const SECTION_NAMES = Object.keys(SECTIONS) as Section[];

/** Thrown by `quit`, caught by whoever reads commands. */
export class Quit extends Error {}

const helpCommands: readonly Command<Session>[] = [
  command('control', [word('help')], 'List the sections of the help.', (s: Session) => s.print(helpIndex())),
  command(
    'control',
    [word('help'), choice('section', [...SECTION_NAMES, 'all'] as const)],
    'Describe commands.',
    (s: Session, { section }) => {
      for (const name of section === 'all' ? SECTION_NAMES : [section]) s.print(helpSection(name));
    },
  ),
  command(
    'control',
    [word('sleep'), count('seconds')],
    "Wait, for scripts (Viaduct's own; testpmd has no such command).",
    (s: Session, { seconds }) => s.sleep(seconds),
  ),
  command('control', [word('quit')], 'Stop forwarding, close the ports, and leave.', () => {
    throw new Quit();
  }),
];

/** Every command: matching, help and completion read this table. */
export const commands: readonly Command<Session>[] = [
  ...helpCommands,
  ...forwardingCommands,
  ...displayCommands,
  ...portCommands,
  ...offloadCommands,
  ...vlanCommands,
  ...rssCommands,
];

/** Runs one line. What goes wrong is printed, and the session goes on; only `quit` throws (Quit). */
export async function runLine(session: Session, line: string): Promise<void> {
  const found = match(commands, line);
  switch (found.kind) {
    case 'empty':
      return;
    case 'not-found':
      session.print(`Command not found: ${found.word} ('help' lists what there is)`);
      return;
    case 'bad-arguments': {
      const at = found.word === undefined ? 'after the last word' : `at '${found.word}'`;
      session.print(`Bad arguments\n${at}, expected: ${found.expected.join(', ')}`);
      return;
    }
    case 'command':
      try {
        await found.command.run(session, found.args);
      } catch (error) {
        if (error instanceof Quit) throw error;
        session.print(inTestpmdsWords(error instanceof Error ? error.message : String(error)));
      }
  }
}

function helpIndex(): string {
  const rows = SECTION_NAMES.map((name) => `    ${`help ${name}`.padEnd(32)}: ${SECTIONS[name].summary}`);
  const all = `    ${'help all'.padEnd(32)}: All of the above sections.`;
  return ['', 'Help is available for the following sections:', '', ...rows, all, ''].join('\n');
}

function helpSection(section: Section): string {
  const { title } = SECTIONS[section];
  const entries = commands.filter((cmd) => cmd.section === section).map((cmd) => `${synopsis(cmd)}\n    ${cmd.help}\n`);
  return ['', title, '-'.repeat(title.length), ...entries].join('\n');
}
