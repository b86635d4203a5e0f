import { ViaductError } from '../errors.js';
import { allocateScratch, type Libc, syscallError } from './libc.js';
import type { Os } from './types.js';

/** Bytes of a CPU mask: 8192 CPUs, the most that Linux is built for. */
const MASK_BYTES = 1024;
const MASK_CPUS = MASK_BYTES * 8;

/** System calls by architecture: sched_setattr, sched_getattr. */
const SCHED_CALLS: Readonly<Record<string, readonly [set: number, get: number]>> = {
  x64: [314, 315],
  arm64: [274, 275],
};
/** struct sched_attr: u32 size, u32 policy, u64 flags, i32 nice, u32 priority, u64 runtime, u64 deadline, u64 period. */
const SCHED_ATTR_SIZE = 48;
const SCHED_RUNTIME = 24;
/** The shortest slice that the kernel gives, nanoseconds. */
const SHORT_SLICE_NS = 100_000n;

/** The part of Os that says where and how the calling thread runs. */
export function cpuFunctions(libc: Libc): Pick<Os, 'pinThread' | 'threadCpus' | 'useShortSlices'> {
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
    useShortSlices() {
      const calls = SCHED_CALLS[process.arch];
      if (calls === undefined) return false;
      const [set, get] = calls;
      const attributes = allocateScratch(libc, SCHED_ATTR_SIZE);
      if (libc.syscall(get, 0, attributes.address, SCHED_ATTR_SIZE, 0) !== 0) return false;
      // before Linux 6.12 the field means nothing for an ordinary thread
      attributes.view.setBigUint64(SCHED_RUNTIME, SHORT_SLICE_NS, true);
      return libc.syscall(set, 0, attributes.address, 0, 0) === 0;
    },
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
