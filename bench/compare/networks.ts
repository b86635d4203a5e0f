/** The networks that `npm run bench:qemu` puts between the same two guests. */
import { execFileSync, spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { haveTestpmd, Testpmd } from '../../test/support/dpdk.js';
import { reserveHugepages } from '../../test/support/hugepages.js';
import type { Lab } from '../../test/support/lab.js';
import type { QemuNic } from '../../test/support/qemu.js';
import { startViaduct } from '../../test/support/viaduct.js';

export const NETWORK_NAMES = ['viaduct', 'testpmd', 'bridge'] as const;
export type NetworkName = (typeof NETWORK_NAMES)[number];

/** What a guest needs to plug into it. */
export interface Plug {
  readonly nic: Omit<QemuNic, 'mac'>;
  readonly namespace?: string;
}

export interface Network {
  readonly name: NetworkName;
  /** For people. */
  readonly title: string;
  /** What this machine lacks for it, or undefined. */
  missing(): string | undefined;
  /** Starts it and says how each of the two guests plugs in. The lab ends everything. */
  start(lab: Lab): Promise<readonly [Plug, Plug]>;
}

const START_MS = 30_000;
const TESTPMD_MIB = 512;

const isRoot = (): boolean => process.getuid?.() === 0;

function sockets(lab: Lab): readonly [string, string] {
  return [lab.path('a.sock'), lab.path('b.sock')];
}

const viaduct: Network = {
  name: 'viaduct',
  title: 'viaduct switch',
  missing: () => undefined,
  async start(lab) {
    const [a, b] = sockets(lab);
    const network = startViaduct(lab, 'viaduct', ['switch', '--port', `vhost:${a}`, '--port', `vhost:${b}`]);
    await network.waitFor(/2 ports/, START_MS);
    return [{ nic: { path: a } }, { nic: { path: b } }];
  },
};

const testpmd: Network = {
  name: 'testpmd',
  title: "DPDK's testpmd, two net_vhost (tso=1,legacy-ol-flags=1), io",
  missing() {
    if (!haveTestpmd()) return 'dpdk-testpmd: apt-get install dpdk-dev';
    return isRoot() ? undefined : 'root, for hugepages';
  },
  async start(lab) {
    const [a, b] = sockets(lab);
    const hugeDir = reserveHugepages(lab, TESTPMD_MIB + 64);
    await Testpmd.start(lab, 'testpmd', {
      vdev: [a, b].map((path, n) => `net_vhost${n},iface=${path},queues=1,tso=1,legacy-ol-flags=1`),
      lcores: '0@0,1@1',
      hugeDir,
      memoryMiB: TESTPMD_MIB,
      args: ['--forward-mode=io', '-a'],
    });
    return [{ nic: { path: a } }, { nic: { path: b } }];
  },
};

const TUN = '/dev/net/tun';

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** Serial number of namespaces of this process. */
let namespaces = 0;

/** A network namespace with a bridge, so that nothing of the machine's own network changes. */
function openBridge(): string {
  const namespace = `viaduct-bench-${process.pid}-${++namespaces}`;
  ip('netns', 'add', namespace);
  try {
    ip('-n', namespace, 'link', 'add', 'br0', 'type', 'bridge');
    ip('-n', namespace, 'link', 'set', 'br0', 'up');
    for (const tap of ['tap0', 'tap1']) {
      // vnet_hdr: with it the guests' offloads cross the bridge as they are
      ip('-n', namespace, 'tuntap', 'add', tap, 'mode', 'tap', 'vnet_hdr');
      ip('-n', namespace, 'link', 'set', tap, 'master', 'br0', 'up');
    }
  } catch (error) {
    closeBridge(namespace);
    throw error;
  }
  return namespace;
}

function closeBridge(namespace: string): void {
  ip('netns', 'del', namespace);
}

const bridge: Network = {
  name: 'bridge',
  title: 'Linux bridge, TAPs, in a network namespace',
  missing() {
    if (spawnSync('ip', ['-V'], { stdio: 'ignore' }).error !== undefined) return 'ip: apt-get install iproute2';
    if (!isRoot()) return 'root, for a network namespace';
    try {
      accessSync(TUN, constants.R_OK | constants.W_OK);
    } catch {
      return `${TUN}, which the kernel's module tun makes`;
    }
    try {
      closeBridge(openBridge());
    } catch (error) {
      const { stderr, message } = error as Error & { stderr?: Buffer };
      return `network namespaces, bridges and TAPs in this kernel: ${String(stderr ?? message).trim()}`;
    }
    return undefined;
  },
  async start(lab) {
    const namespace = openBridge();
    lab.onClose(() => closeBridge(namespace));
    return [
      { nic: { tap: 'tap0' }, namespace },
      { nic: { tap: 'tap1' }, namespace },
    ];
  },
};

export const NETWORKS: Readonly<Record<NetworkName, Network>> = { viaduct, testpmd, bridge };
