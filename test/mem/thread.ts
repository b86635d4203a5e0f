/**
 * The other threads of the tests in this folder: each joins a start line, does its job on the shared memory and posts
 * what it found.
 */
import { once } from 'node:events';
import { parentPort, Worker, workerData } from 'node:worker_threads';
import { Burst } from '../../src/burst.js';
import { MbufView } from '../../src/mbuf.js';
import { Mempool } from '../../src/mempool.js';
import { Ring } from '../../src/ring.js';
import { attachContext, type SharedContext } from './context.js';

interface Common {
  readonly shared: SharedContext;
  readonly lcoreId: number;
  /** u32 in the shared memory: threads that have arrived at the start line. */
  readonly line: number;
  readonly threads: number;
  /** Room for 64 handles. */
  readonly scratch: number;
}

/** Produces the objects [first, last) while it consumes, until `total` objects have been seen by all consumers. */
export interface RingJob extends Common {
  readonly kind: 'ring';
  readonly ring: number;
  readonly first: number;
  readonly last: number;
  readonly consume: boolean;
  readonly total: number;
  /** u32 in the shared memory: objects consumed by all. */
  readonly consumed: number;
}

/** Allocates and frees packets, stamped so that a packet that two threads hold shows. */
export interface PoolJob extends Common {
  readonly kind: 'pool';
  readonly pool: number;
  readonly rounds: number;
}

/** Frees every packet of an array once. */
export interface FreeJob extends Common {
  readonly kind: 'free';
  readonly handles: number;
  readonly count: number;
}

export type Job = RingJob | PoolJob | FreeJob;

/** Runs the jobs at the same time; what each found. */
export async function runThreads(jobs: readonly Job[]): Promise<unknown[]> {
  return Promise.all(
    jobs.map(async (workerData) => {
      const worker = new Worker(new URL(import.meta.url), { workerData });
      const [found] = await once(worker, 'message');
      await worker.terminate();
      return found as unknown;
    }),
  );
}

if (workerData !== null) {
  const job = workerData as Job;
  const context = attachContext(job.shared, job.lcoreId);
  const burst = new Burst(context, job.scratch, 64);
  const { i32, u32 } = context.memory;
  Atomics.add(i32, job.line >>> 2, 1);
  while (Atomics.load(i32, job.line >>> 2) < job.threads);
  // sizes that differ between the threads and from turn to turn
  let seed = job.lcoreId * 7919 + 1;
  const random = (most: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return 1 + ((seed >>> 16) % most);
  };

  if (job.kind === 'ring') {
    const ring = Ring.attach(context, job.ring);
    const seen = new Uint32Array(job.consume ? job.total : 0);
    let length = 0;
    let next = job.first;
    while (next < job.last || (job.consume && Atomics.load(i32, job.consumed >>> 2) < job.total)) {
      if (next < job.last) {
        const count = Math.min(random(64), job.last - next);
        for (let i = 0; i < count; i++) burst.handles[i] = next + i;
        next += random(2) === 1 ? ring.enqueueBurst(burst, count) : ring.enqueueBulk(burst, count);
      }
      if (job.consume) {
        const count = random(2) === 1 ? ring.dequeueBurst(burst, random(64)) : ring.dequeueBulk(burst, random(64));
        for (let i = 0; i < count; i++) seen[length++] = burst.handles[i]!;
        Atomics.add(i32, job.consumed >>> 2, count);
      }
    }
    parentPort!.postMessage(seen.subarray(0, length));
  } else if (job.kind === 'pool') {
    const pool = Mempool.attach(context, job.pool);
    const m = new MbufView(context);
    let faults = 0;
    let got = 0;
    for (let round = 0; round < job.rounds; round++) {
      const count = random(64);
      if (!pool.allocBulk(burst, count)) continue;
      got += count;
      for (let i = 0; i < count; i++) {
        m.at(burst.handles[i]!);
        if (m.refcnt !== 1 || m.next !== 0 || m.nbSegs !== 1 || m.pktLen !== 0) faults++;
        m.append(4);
        m.setU32(0, job.lcoreId + 1);
      }
      for (let i = 0; i < count; i++) if (m.at(burst.handles[i]!).u32(0) !== job.lcoreId + 1) faults++;
      burst.free(0, count);
    }
    pool.flushCache();
    parentPort!.postMessage({ faults, got });
  } else {
    const m = new MbufView(context);
    for (let i = 0; i < job.count; i++) {
      // side by side again and again, or the first thread is through before the second has begun
      if (i % 100 === 0) {
        Atomics.add(i32, job.line >>> 2, 1);
        while (Atomics.load(i32, job.line >>> 2) < job.threads * (2 + i / 100));
      }
      m.at(u32[(job.handles >>> 2) + i]!).free();
    }
    parentPort!.postMessage('done');
  }
}
