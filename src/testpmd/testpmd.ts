import { readFileSync } from 'node:fs';
import { Interrupt } from '../cli/interrupt.js';
import { UsageError } from '../cli/usage-error.js';
import { Eal, ViaductError } from '../index.js';
import { type AppOptions, appHelp, parseAppOptions } from './app-options.js';
import { Quit, runLine } from './commands.js';
import { type EalCommandLine, ealHelp, parseEalOptions } from './eal-options.js';
import { inTestpmdsWords, testpmdLogger } from './remedies.js';
import { Repl } from './repl.js';
import { Session } from './session.js';

/** `viaduct testpmd [EAL options] -- [testpmd options]`. Resolves with the exit code. */
export async function testpmd(args: readonly string[]): Promise<number> {
  const split = args.indexOf('--');
  const line = parseEalOptions(split < 0 ? args : args.slice(0, split));
  const options = parseAppOptions(split < 0 ? [] : args.slice(split + 1));
  if (line.help || options.help) {
    process.stdout.write(`${help()}\n`);
    return 0;
  }
  if (line.version) {
    process.stdout.write("testpmd of Viaduct, after DPDK 22.11's\n");
    return 0;
  }
  if (line.vdevs.length === 0 && !options.interactive) {
    throw new UsageError('testpmd: no port to forward on: name one with --vdev, or take commands with -i (behind --)');
  }
  const script = options.commandFile === undefined ? [] : readScript(options.commandFile);
  const interrupt = new Interrupt();
  const eal = await initEal(line);
  let print = (text: string): void => void process.stdout.write(`${text}\n`);
  const session = new Session(eal, options, interrupt, (text) => print(text));
  try {
    checkLcores(session, options);
    if (options.interactive) print('Interactive-mode selected');
    await inWords(session.openPorts(line.vdevs));
    const repl = new Repl(session, interrupt);
    if (options.interactive) print = (text) => repl.print(text);
    let quit = await runScript(session, script);
    if (!quit && !options.interactive) {
      print('No commandline core given, start packet forwarding');
      await inWords(session.startForwarding(options.txFirst ? 1 : 0));
      await forwardUntilEnd(session, interrupt);
      quit = true;
    }
    if (!quit) {
      if (options.autoStart) {
        print('Start automatic packet forwarding');
        await inWords(session.startForwarding(options.txFirst ? 1 : 0));
      }
      await repl.run();
    }
    await session.end();
  } finally {
    await eal.cleanup();
    interrupt.release();
  }
  return 0;
}

function help(): string {
  return [
    'usage: viaduct testpmd [EAL options] -- [testpmd options]',
    '',
    "DPDK's testpmd over Viaduct's ports; commands are read from a terminal or a pipe (-i).",
    '  viaduct testpmd -l 0,1 --vdev net_vhost0,iface=/tmp/vh.sock -- -i --forward-mode=io',
    '',
    ealHelp(),
    '',
    appHelp(),
  ].join('\n');
}

/** Lcores as asked for; without -l one main and one forwarding lcore. `-l` pins, but does without where pinning can't be had. */
async function initEal(line: EalCommandLine): Promise<Eal> {
  const logger = testpmdLogger();
  const base = line.memoryMiB === undefined ? { logger } : { logger, memoryMiB: line.memoryMiB };
  const lcores = line.lcores.length > 0 ? line.lcores : [{ id: 0 }, { id: 1 }];
  try {
    return await Eal.init({ ...base, lcores });
  } catch (error) {
    const noPinning =
      error instanceof ViaductError && (error.code === 'ERR_KOFFI_MISSING' || error.code === 'ERR_NOT_LINUX');
    if (!noPinning || line.pinned) throw error;
    process.stderr.write(`EAL: lcores are not pinned to CPUs: ${error.message}\n`);
    return Eal.init({ ...base, lcores: lcores.map(({ id }) => ({ id })) });
  }
}

/** What the command line asks for; where it fails, it says so in testpmd's words. */
async function inWords(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof ViaductError)) throw error;
    throw new ViaductError(error.code, inTestpmdsWords(error.message), { cause: error });
  }
}

/** testpmd ends here too: the main lcore takes commands, so a second one must forward. */
function checkLcores(session: Session, options: AppOptions): void {
  const count = session.workerIds.length;
  if (count === 0) {
    throw new UsageError('testpmd: no lcore to forward on: the first one takes commands; say -l 0,1');
  }
  if (options.lcoreCount !== undefined && options.lcoreCount > count) {
    throw new UsageError(
      `testpmd: --nb-cores=${options.lcoreCount}, but ${count} can forward beside the main lcore: say -l 0-${options.lcoreCount}`,
    );
  }
}

function readScript(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n');
  } catch (error) {
    throw new UsageError(`testpmd: --cmdline-file=${file}: ${(error as Error).message}`);
  }
}

/** True: the script said `quit`. */
async function runScript(session: Session, script: readonly string[]): Promise<boolean> {
  try {
    for (const line of script) await runLine(session, line);
    return false;
  } catch (error) {
    if (error instanceof Quit) return true;
    throw error;
  }
}

/**
 * Without -i: forwards until Ctrl-C or Enter; the end of the input counts as Enter, as in testpmd, but not with
 * --stats-period, so that it can run without a terminal.
 */
async function forwardUntilEnd(session: Session, interrupt: Interrupt): Promise<void> {
  const period = session.config.statsPeriodSeconds;
  const onInput = (chunk: Buffer | string): void => {
    if (String(chunk).includes('\n')) interrupt.trigger('Enter');
  };
  const onEnd = (): void => interrupt.trigger('end of input');
  process.stdin.on('data', onInput);
  if (period === 0) {
    process.stdin.on('end', onEnd);
    session.print('Press enter to exit');
    await interrupt.wait();
  } else {
    while (!(await interrupt.wait(period * 1000))) {
      if (process.stdout.isTTY) process.stdout.write('\x1b[2J\x1b[1;1H');
      session.print('\nPort statistics ====================================');
      for (const port of session.select('all')) session.print(session.portStats(port).slice(1));
    }
  }
  process.stdin.off('data', onInput);
  process.stdin.off('end', onEnd);
  process.stdin.pause();
}
