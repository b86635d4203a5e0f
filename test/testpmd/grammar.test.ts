import t from 'tap';
import {
  type Command,
  choice,
  command,
  complete,
  count,
  match,
  portOrAll,
  synopsis,
  text,
  word,
  words,
} from '../../src/testpmd/grammar.js';

const seen: unknown[] = [];
const run = (_: null, args: object): void => {
  seen.push({ ...args });
};
const commands: Command<null>[] = [
  command('control', [word('start')], '', run),
  command('control', [word('start'), word('tx_first')], '', run),
  command('control', [word('start'), word('tx_first'), count('bursts')], '', run),
  command('config', [word('set'), word('fwd'), choice('mode', ['io', 'mac', 'macswap'])], '', run),
  command('config', [word('set'), word('txpkts'), text('lengths', '(x[,y]*)', /^\d+(,\d+)*$/)], '', run),
  command('display', [word('show'), word('port'), choice('what', ['info', 'stats']), portOrAll('port')], '', run),
];

t.test('a line becomes a command with typed arguments', async (t) => {
  const cases: [string, string, object][] = [
    ['start', 'start', {}],
    ['  start   tx_first ', 'start tx_first', {}],
    ['start tx_first 12', 'start tx_first (bursts)', { bursts: 12 }],
    ['set fwd macswap', 'set fwd (io|mac|macswap)', { mode: 'macswap' }],
    ['set txpkts 64,128', 'set txpkts (x[,y]*)', { lengths: '64,128' }],
    ['show port stats all', 'show port (info|stats) (port_id|all)', { what: 'stats', port: 'all' }],
    ['show port info 3 # the third', 'show port (info|stats) (port_id|all)', { what: 'info', port: 3 }],
  ];
  for (const [line, shown, args] of cases) {
    const found = match(commands, line);
    if (found.kind !== 'command') {
      t.fail(`${line}: ${found.kind}`);
      continue;
    }
    t.equal(synopsis(found.command), shown, line);
    t.strictSame(found.args, args, line);
  }
});

t.test('what does not fit is told apart as DPDK does, with what was expected', async (t) => {
  const cases: [string, object][] = [
    ['', { kind: 'empty' }],
    ['# only a comment', { kind: 'empty' }],
    ['foo', { kind: 'not-found', word: 'foo' }],
    ['foo bar', { kind: 'not-found', word: 'foo' }],
    ['set', { kind: 'bad-arguments', at: 1, word: undefined, expected: ['fwd', 'txpkts'] }],
    ['set fwd', { kind: 'bad-arguments', at: 2, word: undefined, expected: ['(io|mac|macswap)'] }],
    ['set fwd flood', { kind: 'bad-arguments', at: 2, word: 'flood', expected: ['(io|mac|macswap)'] }],
    ['set txpkts 64,', { kind: 'bad-arguments', at: 2, word: '64,', expected: ['(x[,y]*)'] }],
    ['start now', { kind: 'bad-arguments', at: 1, word: 'now', expected: ['end of line', 'tx_first'] }],
    ['start tx_first -1', { kind: 'bad-arguments', at: 2, word: '-1', expected: ['end of line', '(bursts)'] }],
    ['show port stats 1 2', { kind: 'bad-arguments', at: 4, word: '2', expected: ['end of line'] }],
    ['show port stats first', { kind: 'bad-arguments', at: 3, word: 'first', expected: ['(port_id|all)'] }],
  ];
  for (const [line, expected] of cases) t.strictSame(match(commands, line), expected, `'${line}'`);
});

t.test('completion comes from the same table', async (t) => {
  const cases: [string, string[]][] = [
    ['', ['set', 'show', 'start']],
    ['s', ['set', 'show', 'start']],
    ['sh', ['show']],
    ['show ', ['port']],
    ['show port ', ['info', 'stats']],
    ['show port st', ['stats']],
    ['show port stats ', ['0', '2', 'all']],
    ['show port stats a', ['all']],
    ['start ', ['tx_first']],
    ['start tx_first ', []],
    ['set fwd mac', ['mac', 'macswap']],
    ['bogus ', []],
    ['start tx_first 1 ', []],
  ];
  for (const [line, expected] of cases)
    t.strictSame(complete(commands, line, { portIds: [0, 2] }), expected, `'${line}'`);
});

t.test('words', async (t) => {
  t.strictSame(words('  a\tb  c#d '), ['a', 'b', 'c#d'], 'a # inside a word is no comment');
  t.strictSame(words('a # b'), ['a']);
});
