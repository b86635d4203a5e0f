import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import type { Lab } from './lab.js';

const NR_HUGEPAGES = '/proc/sys/vm/nr_hugepages';
const PAGE_MIB = 2;

/**
 * Reserves 2 MiB pages on top of those in use and mounts a hugetlbfs for them in the lab's folder; both are given back
 * when the lab closes. Needs root. Returns the mount's path, for DPDK's `--huge-dir`.
 */
export function reserveHugepages(lab: Lab, memoryMiB: number): string {
  const wanted = Math.ceil(memoryMiB / PAGE_MIB);
  const before = Number(readFileSync(NR_HUGEPAGES, 'utf8'));
  writeFileSync(NR_HUGEPAGES, String(before + wanted));
  const after = Number(readFileSync(NR_HUGEPAGES, 'utf8'));
  const giveBack = () => {
    const now = Number(readFileSync(NR_HUGEPAGES, 'utf8'));
    writeFileSync(NR_HUGEPAGES, String(Math.max(0, now - (after - before))));
  };
  if (after < before + wanted) {
    giveBack();
    throw new Error(`wanted ${wanted} hugepages of 2 MiB, the kernel gave ${after - before}: free some memory`);
  }
  const folder = lab.path('huge');
  mkdirSync(folder);
  execFileSync('mount', ['-t', 'hugetlbfs', '-o', 'pagesize=2M', 'viaduct', folder]);
  lab.onClose(() => {
    execFileSync('umount', [folder]);
    rmdirSync(folder);
    giveBack();
  });
  return folder;
}
