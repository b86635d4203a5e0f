import { spawnSync } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { buildInitramfs, findGuestKernel } from './initramfs.js';
import type { Lab } from './lab.js';
import type { Exit, Peer } from './peer.js';

const BOOT_TIMEOUT_MS = 90_000;
const RUN_TIMEOUT_MS = 20_000;

export interface QemuNic {
  readonly mac: string;
  /** vhost-user socket. */
  readonly path?: string;
  /** QEMU listens and the back end connects; else the other way round. */
  readonly server?: boolean;
  /** In place of a socket: name of a TAP device that exists already. */
  readonly tap?: string;
  /** Queue pairs that the device has, default 1. */
  readonly queues?: number;
  /** More options of the virtio-net-pci device. */
  readonly device?: string;
}

export interface QemuOptions {
  readonly nics: readonly QemuNic[];
  readonly memoryMiB?: number;
  /** Address with prefix length that the first NIC gets, `10.9.0.1/24`. */
  readonly address?: string;
  /** Programs of this machine that the guest has in /bin, besides busybox and iperf3. */
  readonly programs?: readonly string[];
  /** Virtual CPUs, default 1. */
  readonly cpus?: number;
  /** Network namespace that QEMU runs in, by the name that `ip netns` gave it. */
  readonly namespace?: string;
}

export interface GuestResult {
  readonly status: number;
  readonly output: string;
}

export function haveQemu(): boolean {
  return spawnSync('qemu-system-x86_64', ['--version'], { stdio: 'ignore' }).error === undefined;
}

/**
 * A QEMU guest with an unmodified Debian kernel, under TCG, whose NICs are vhost-user ports. Commands go in on its second
 * serial port. `restart` boots it again with the same options, as a machine does that was switched off.
 */
export class QemuGuest {
  readonly name: string;
  readonly #lab: Lab;
  readonly #options: QemuOptions;
  #peer: Peer | undefined;
  #serial: Socket | undefined;
  #output = '';
  #wake: (() => void) | undefined;
  #starts = 0;

  private constructor(lab: Lab, name: string, options: QemuOptions) {
    this.#lab = lab;
    this.name = name;
    this.#options = options;
  }

  /** Starts the guest and waits until it runs commands. */
  static async boot(lab: Lab, name: string, options: QemuOptions): Promise<QemuGuest> {
    const guest = new QemuGuest(lab, name, options);
    await guest.start();
    return guest;
  }

  get peer(): Peer {
    if (this.#peer === undefined) throw new Error(`${this.name} was not started`);
    return this.#peer;
  }

  async start(): Promise<void> {
    const kernel = findGuestKernel();
    if (kernel === undefined) throw new Error('no guest kernel: install linux-image-cloud-amd64');
    const memory = `${this.#options.memoryMiB ?? 256}M`;
    const console_ = this.#lab.path(`${this.name}-${++this.#starts}-serial.sock`);
    const args = ['-machine', 'q35,hpet=off,memory-backend=mem', '-m', memory, '-accel', 'tcg,thread=multi'];
    args.push('-object', `memory-backend-memfd,id=mem,size=${memory},share=on`, '-cpu', 'Nehalem', '-nodefaults');
    args.push('-display', 'none', '-no-reboot', '-kernel', kernel.image, '-initrd');
    args.push(buildInitramfs(kernel, this.#options.programs), '-smp', String(this.#options.cpus ?? 1));
    args.push('-append', 'console=ttyS0 quiet panic=-1 mitigations=off nokaslr');
    args.push('-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console');
    args.push('-chardev', `socket,id=shell,path=${console_},server=on,wait=off`, '-serial', 'chardev:shell');
    this.#options.nics.forEach((nic, index) => {
      args.push(...nicArguments(nic, index));
    });
    const qemu = ['qemu-system-x86_64', ...args];
    const { namespace } = this.#options;
    const [command = '', ...rest] = namespace === undefined ? qemu : ['ip', 'netns', 'exec', namespace, ...qemu];
    this.#peer = this.#lab.start(this.name, command, rest);
    this.#output = '';
    this.#serial = await this.#connect(console_);
    await this.#waitFor(/@@ready\r?\n/, BOOT_TIMEOUT_MS, 'its shell');
    if (this.#options.address !== undefined) {
      await this.must(`ip addr add ${this.#options.address} dev eth0 && ip link set eth0 up`);
    }
  }

  /** Runs a line of shell in the guest. Waits for its end: put long-running programs in the background. */
  async run(line: string, options: { readonly timeoutMs?: number } = {}): Promise<GuestResult> {
    const text = line.trim();
    let match: RegExpExecArray;
    do {
      this.#output = '';
      this.#serial?.write(`${text.length} ${text}\n`);
      match = await this.#waitFor(/\n@@(\d+|again)\r?\n/, options.timeoutMs ?? RUN_TIMEOUT_MS, `the end of "${text}"`);
    } while (match[1] === 'again');
    return { status: Number(match[1]), output: match.input.slice(0, match.index).trim() };
  }

  /** As `run`, but a status other than 0 is an error. Returns the output. */
  async must(line: string, options: { readonly timeoutMs?: number } = {}): Promise<string> {
    const result = await this.run(line, options);
    if (result.status !== 0) throw new Error(`${this.name}: "${line}" ended with ${result.status}:\n${result.output}`);
    return result.output;
  }

  /** Waits until the guest reaches an address: `ping` until one answer comes. */
  async reaches(address: string, timeoutMs = 15_000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const { status, output } = await this.run(`ping -c 1 -W 1 ${address}`);
      if (status === 0) return;
      if (Date.now() > deadline) throw new Error(`${this.name} does not reach ${address}:\n${output}`);
    }
  }

  /** kill -9. */
  async kill(): Promise<Exit> {
    this.#serial?.destroy();
    return this.peer.kill();
  }

  async #connect(path: string): Promise<Socket> {
    const deadline = Date.now() + BOOT_TIMEOUT_MS;
    for (;;) {
      const socket = connect(path);
      const connected = await new Promise<boolean>((resolve) => {
        socket.once('connect', () => resolve(true));
        socket.once('error', () => resolve(false));
      });
      if (connected) {
        socket.setEncoding('latin1');
        socket.on('error', () => {});
        socket.on('data', (text: string) => {
          this.#output += text;
          this.#wake?.();
        });
        return socket;
      }
      if (this.peer.exit !== undefined) throw new Error(`${this.name} ended:\n${this.peer.tail()}`);
      if (Date.now() > deadline) throw new Error(`${this.name} opened no serial port:\n${this.peer.tail()}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async #waitFor(pattern: RegExp, timeoutMs: number, what: string): Promise<RegExpExecArray> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const match = pattern.exec(this.#output);
      if (match !== null) return match;
      if (this.peer.exit !== undefined) throw new Error(`${this.name} ended before ${what}:\n${this.peer.tail()}`);
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`${this.name}: no ${what} within ${timeoutMs} ms:\n${this.#output.slice(-2000)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(left, 500));
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}

function nicArguments(nic: QemuNic, index: number): string[] {
  const args: string[] = [];
  const queues = nic.queues ?? 1;
  if (nic.tap !== undefined) {
    args.push('-netdev', `tap,id=n${index},ifname=${nic.tap},script=no,downscript=no,vhost=off`);
  } else {
    const role = nic.server === true ? 'server=on' : 'reconnect=1';
    args.push('-chardev', `socket,id=vu${index},path=${nic.path},${role}`);
    args.push('-netdev', `vhost-user,id=n${index},chardev=vu${index},queues=${queues}`);
  }
  // vectors=0: QEMU 7.2 crashes with vhost-user, TCG and MSI-X. romfile=: no boot from the network.
  const device = [`virtio-net-pci,netdev=n${index},mac=${nic.mac},rx_queue_size=1024,tx_queue_size=1024`];
  device.push('vectors=0', 'romfile=');
  if (queues > 1) device.push('mq=on');
  if (nic.device !== undefined) device.push(nic.device);
  args.push('-device', device.join(','));
  return args;
}
