import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import {
  type CpioEntry,
  MODE_CHAR_DEVICE,
  MODE_DIRECTORY,
  MODE_FILE,
  MODE_LINK,
  MODE_PROGRAM,
  packCpio,
} from './cpio.js';

/** A kernel of this machine that a guest can boot, with its modules. */
export interface GuestKernel {
  readonly version: string;
  readonly image: string;
  readonly moduleFolder: string;
}

const BUSYBOX = '/bin/busybox';
const GUEST_MODULES = ['virtio_pci', 'virtio_net'];
const GUEST_PROGRAMS = ['/usr/bin/iperf3'];

/** Programs that only some tests want in their guests. */
export const ETHTOOL = '/usr/sbin/ethtool';
export const TCPDUMP = '/usr/bin/tcpdump';
/** tcpdump asks it for the user that `-Z root` names. */
const PASSWD = 'root:x:0:0:root:/:/bin/sh\n';

/**
 * The guest's first process: loads the modules, then runs the lines that come in on its second serial port, one after
 * another, and answers each with its output and a line `@@<exit status>`. A line begins with its length: under TCG the serial
 * port has lost the beginning of one, and such a line is asked for again (`@@again`), not run.
 */
const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
for module in $(cat /modules/order); do insmod /modules/$module; done
ip link set lo up
stty -F /dev/ttyS1 raw -echo
exec </dev/ttyS1 >/dev/ttyS1 2>&1
echo '@@ready'
while read -r length line; do
  if [ "\${#line}" != "$length" ]; then printf '\\n@@again\\n'; continue; fi
  eval "$line" </dev/null
  printf '\\n@@%d\\n' $?
done
`;

/** Newest installed kernel whose modules are there too, the cloud flavour first (it boots fastest). */
export function findGuestKernel(): GuestKernel | undefined {
  if (!existsSync('/boot')) return undefined;
  const versions = readdirSync('/boot')
    .filter((name) => name.startsWith('vmlinuz-'))
    .map((name) => name.slice('vmlinuz-'.length))
    .filter((version) => existsSync(`/lib/modules/${version}/modules.dep`))
    .sort(
      (a, b) =>
        Number(b.includes('cloud')) - Number(a.includes('cloud')) || b.localeCompare(a, undefined, { numeric: true }),
    );
  const version = versions[0];
  if (version === undefined) return undefined;
  return { version, image: `/boot/vmlinuz-${version}`, moduleFolder: `/lib/modules/${version}` };
}

/** Whether a busybox is installed that needs no library. */
export function haveStaticBusybox(): boolean {
  return existsSync(BUSYBOX) && libraries(BUSYBOX).length === 0;
}

/**
 * Path of an initramfs for the kernel, with busybox, iperf3 and more programs of this machine: built once, then taken from
 * a cache in the temporary folder.
 */
export function buildInitramfs(kernel: GuestKernel, more: readonly string[] = []): string {
  const programs = [...GUEST_PROGRAMS, ...more];
  const sources = [BUSYBOX, ...programs, kernel.image];
  const key = createHash('sha256').update(INIT).update(PASSWD);
  for (const source of sources) key.update(`${source} ${statSync(source).size} ${statSync(source).mtimeMs}\n`);
  const folder = join(tmpdir(), `viaduct-guest-${process.getuid?.() ?? 0}`);
  const file = join(folder, `initramfs-${kernel.version}-${key.digest('hex').slice(0, 12)}`);
  if (existsSync(file)) return file;

  const entries: CpioEntry[] = ['bin', 'dev', 'etc', 'proc', 'sys', 'tmp', 'modules'].map(directory);
  entries.push({ path: 'dev/console', mode: MODE_CHAR_DEVICE, device: { major: 5, minor: 1 } });
  entries.push({ path: 'init', mode: MODE_PROGRAM, data: Buffer.from(INIT) });
  entries.push({ path: 'bin/busybox', mode: MODE_PROGRAM, data: readFileSync(BUSYBOX) });
  entries.push({ path: 'bin/sh', mode: MODE_LINK, data: Buffer.from('busybox') });
  entries.push({ path: 'etc/passwd', mode: MODE_FILE, data: Buffer.from(PASSWD) });
  addModules(entries, kernel);
  addPrograms(entries, programs);

  mkdirSync(folder, { recursive: true, mode: 0o700 });
  // Two tests may build it at once: the last rename wins, and both files are the same.
  const unfinished = `${file}.${process.pid}`;
  writeFileSync(unfinished, packCpio(entries));
  renameSync(unfinished, file);
  return file;
}

function directory(path: string): CpioEntry {
  return { path, mode: MODE_DIRECTORY };
}

/** Modules in an order in which each finds the ones that it needs, from the kernel's own modules.dep. */
function addModules(entries: CpioEntry[], kernel: GuestKernel): void {
  const needs = new Map<string, string[]>();
  for (const line of readFileSync(join(kernel.moduleFolder, 'modules.dep'), 'utf8').split('\n')) {
    const [file, list = ''] = line.split(':');
    if (file !== undefined && file !== '') needs.set(file, list.trim().split(' ').filter(Boolean));
  }
  const order: string[] = [];
  const visit = (file: string) => {
    for (const need of needs.get(file) ?? []) visit(need);
    if (!order.includes(file)) order.push(file);
  };
  for (const name of GUEST_MODULES) {
    const file = [...needs.keys()].find((path) => basename(path).replace(/\.ko(\..*)?$/, '') === name);
    // Not there as a module: built into the kernel.
    if (file !== undefined) visit(file);
  }
  const names = order.map((file) => basename(file).replace(/\.xz$|\.gz$|\.zst$/, ''));
  entries.push({ path: 'modules/order', mode: MODE_FILE, data: Buffer.from(names.join('\n')) });
  order.forEach((file, index) => {
    entries.push({
      path: `modules/${names[index]}`,
      mode: MODE_FILE,
      data: readModule(join(kernel.moduleFolder, file)),
    });
  });
}

function readModule(path: string): Buffer {
  const tool = path.endsWith('.xz') ? 'xz' : path.endsWith('.zst') ? 'zstd' : path.endsWith('.gz') ? 'gzip' : undefined;
  return tool === undefined ? readFileSync(path) : execFileSync(tool, ['-dc', path], { maxBuffer: 1 << 28 });
}

/** Programs with the shared libraries that they need, each library at the path where this machine has it. */
function addPrograms(entries: CpioEntry[], programs: readonly string[]): void {
  const folders = new Set<string>(['bin']);
  const addFolder = (folder: string) => {
    if (folder === '.' || folders.has(folder)) return;
    addFolder(dirname(folder));
    folders.add(folder);
    entries.push(directory(folder));
  };
  const added = new Set<string>();
  for (const program of programs) {
    entries.push({ path: `bin/${basename(program)}`, mode: MODE_PROGRAM, data: readFileSync(program) });
    for (const library of libraries(program)) {
      if (added.has(library)) continue;
      added.add(library);
      addFolder(dirname(library).slice(1));
      entries.push({ path: library.slice(1), mode: MODE_PROGRAM, data: readFileSync(library) });
    }
  }
}

function libraries(program: string): string[] {
  let output: string;
  try {
    output = execFileSync('ldd', [program], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return []; // "not a dynamic executable"
  }
  return [...output.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map((match) => match[1]!);
}
