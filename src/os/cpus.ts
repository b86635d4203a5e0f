import { ViaductError } from '../errors.js';
import { allocateScratch, type Libc, syscallError } from './libc.js';
import type { Os } from './types.js';

/** Bytes of a CPU mask: 8192 CPUs, the most that Linux is built for. */
const MASK_BYTES = 1024;
const MASK_CPUS = MASK_BYTES * 8;

/** The part of Os that says where the calling thread runs. */
export function cpuFunctions(libc: Libc): Pick<Os, 'pinThread' | 'threadCpus'> {
  const mask = allocateScratch(libc, MASK_BYTES);

  const threadCpus = (): number[] => {
    mask.bytes.fill(0);
    if (libc.sched_getaffinity(0, MASK_BYTES, mask.address) < 0) {
      throw syscallError(libc, 'sched_getaffinity', 'CPUs of this thread');
    }
    const cpus: number[] = [];
    for (let cpu = 0; cpu < MASK_CPUS; cpu++) {
      if ((mask.bytes[cpu >>> 3]! & (1 << (cpu & 7))) !== 0) cpus.push(cpu);
    }
    return cpus;
  };

  const setCpus = (cpus: readonly number[]): boolean => {
    mask.bytes.fill(0);
    for (const cpu of cpus) mask.bytes[cpu >>> 3]! |= 1 << (cpu & 7);
    return libc.sched_setaffinity(0, MASK_BYTES, mask.address) === 0;
  };

  return {
    threadCpus,
    pinThread(cpu) {
      const wanted = typeof cpu === 'number' ? [cpu] : cpu;
      const valid = wanted.length > 0 && wanted.every((c) => Number.isInteger(c) && c >= 0 && c < MASK_CPUS);
      // the kernel takes a set of which one CPU exists; a caller who names CPUs means all of them
      const before = threadCpus();
      if (valid && setCpus(wanted)) {
        if (threadCpus().length === new Set(wanted).size) return;
      }
      // asking for all CPUs gives those that the cpuset of this process allows
      mask.bytes.fill(0xff);
      libc.sched_setaffinity(0, MASK_BYTES, mask.address);
      const allowed = threadCpus();
      setCpus(before);
      throw new ViaductError(
        'ERR_INVALID_ARGUMENT',
        `cannot run on CPU ${wanted.join(',')}: this process may use CPUs ${allowed.join(',')}`,
      );
    },
  };
}
