import { fileURLToPath } from 'node:url';
import { Testpmd } from './dpdk.js';
import type { Lab } from './lab.js';
import type { Peer } from './peer.js';

/** The command as npm would install it, from the build that this file belongs to. */
const VIADUCT = fileURLToPath(new URL('../../src/bin/viaduct.js', import.meta.url));
const START_TIMEOUT_MS = 30_000;

export function startViaduct(lab: Lab, name: string, args: readonly string[]): Peer {
  return lab.start(name, process.execPath, [VIADUCT, ...args]);
}

/** `viaduct testpmd` with DPDK's option syntax that takes commands. */
export async function startViaductTestpmd(
  lab: Lab,
  name: string,
  options: {
    readonly vdev: readonly string[];
    readonly lcores?: string;
    readonly memoryMiB?: number;
    readonly args?: readonly string[];
  },
): Promise<Testpmd> {
  const eal = ['--lcores', options.lcores ?? '0@0,1@1', '-m', String(options.memoryMiB ?? 512), '--no-pci'];
  for (const vdev of options.vdev) eal.push('--vdev', vdev);
  const peer = startViaduct(lab, name, ['testpmd', ...eal, '--', '-i', '--nb-cores=1', ...(options.args ?? [])]);
  const testpmd = new Testpmd(peer);
  await testpmd.run('', START_TIMEOUT_MS);
  return testpmd;
}
