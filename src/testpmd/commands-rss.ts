import { type Command, command, count, portId, text, word } from './grammar.js';
import type { Session } from './session.js';

const [show, port, config] = [word('show'), word('port'), word('config')];
const [rss, reta] = [word('rss'), word('reta')];
/** Entries that one mask of `show port rss reta` speaks of. */
const GROUP = 64;

/** The redirection table of flow steering. */
export const rssCommands: readonly Command<Session>[] = [
  command(
    'display',
    [show, port, portId('port'), rss, reta],
    "Display the RSS redirection table of a port: by a flow's hash, the tx queue that it is steered to.",
    (s: Session, { port: id }) => {
      for (const p of s.select(id)) s.print(entries(p.reta));
    },
  ),
  command(
    'display',
    [
      show,
      port,
      portId('port'),
      rss,
      reta,
      count('size'),
      text('masks', '(mask0,mask1...)', /^\(?0x[0-9a-f]+(,0x[0-9a-f]+)*\)?$/i),
    ],
    'Display the entries of the RSS redirection table whose bits are set, 64 to a mask.',
    (s: Session, { port: id, size, masks }) => {
      const [p] = s.select(id);
      if (p === undefined) return;
      const table = p.reta;
      if (size < 1 || size > table.length) {
        s.print(`Invalid redirection table size: ${size} (1-${table.length})`);
        return;
      }
      const words = masks.replace(/[()]/g, '').split(',').map(BigInt);
      const wanted = (i: number): boolean => (((words[Math.floor(i / GROUP)] ?? 0n) >> BigInt(i % GROUP)) & 1n) === 1n;
      s.print(entries(table.slice(0, size), wanted));
    },
  ),
  command(
    'ports',
    [
      port,
      config,
      portId('port'),
      rss,
      reta,
      text('entries', '(hash,queue)[,(hash,queue)]', /^\(\d+,\d+\)(,\(\d+,\d+\))*$/),
    ],
    'Set entries of the RSS redirection table of a port. Where queues come in pairs it is used from the next start on.',
    (s: Session, { port: id, entries: list }) => {
      const pairs = [...list.matchAll(/\((\d+),(\d+)\)/g)].map(([, i, queue]): [number, number] => [
        Number(i),
        Number(queue),
      ]);
      for (const p of s.select(id)) p.setReta(pairs);
    },
  ),
];

function entries(table: readonly number[], wanted: (index: number) => boolean = () => true): string {
  return table
    .flatMap((queue, i) => (wanted(i) ? [`RSS RETA configuration: hash index=${i}, queue=${queue}`] : []))
    .join('\n');
}
