import { ftruncateSync, readFileSync, readSync, writeSync } from 'node:fs';
import { release } from 'node:os';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { loadOs } from '../../src/os/index.js';
import { loadLibc } from '../../src/os/libc.js';

const { os, missing } = loadOs();
const skip = os ? false : `no operating system services (${missing}): npm install koffi, on Linux`;

t.test('VIADUCT_NO_KOFFI=1 behaves as if koffi were not installed', async (t) => {
  process.env.VIADUCT_NO_KOFFI = '1';
  t.teardown(() => delete process.env.VIADUCT_NO_KOFFI);
  const loaded = loadOs();
  t.equal(loaded.os, undefined);
  t.equal(loaded.missing, missing ?? 'koffi');
});

t.test('a memory file cannot be shrunk once it is sealed (F14)', { skip }, async (t) => {
  const fd = os!.memfdCreate('sealed', 65536);
  t.equal(os!.fileInfo(fd).sizeBytes, 65536);
  t.equal(os!.sealShrink(fd), true);
  t.throws(() => ftruncateSync(fd, 4096), { code: 'EPERM' });
  t.equal(os!.sealShrink(fd), true, 'again');
  os!.close(fd);
});

t.test('what is no memory file has no seals, and no size if it is no file', { skip }, async (t) => {
  const event = os!.eventfd();
  t.equal(os!.sealShrink(event), false);
  t.equal(os!.fileInfo(event).sizeBytes, 0);
  os!.close(event);
  t.throws(() => os!.fileInfo(event), { code: 'ERR_SYSCALL', cause: 'EBADF' });
  t.throws(() => os!.close(event), { cause: 'EBADF' });
  t.throws(() => os!.dup(event), { cause: 'EBADF' });
  t.throws(() => os!.setNonBlocking(event), { cause: 'EBADF' });
  t.equal(os!.isEventfd(event), false);
});

t.test('a memory file that cannot be made leaves no descriptor', { skip }, async (t) => {
  const before = os!.openDescriptorCount();
  t.throws(() => os!.memfdCreate('huge', -4096), { code: 'ERR_SYSCALL', message: /ftruncate/ });
  t.throws(() => os!.memfdCreate('x'.repeat(500), 1), { code: 'ERR_SYSCALL', message: /memfd_create.*EINVAL/ });
  t.equal(os!.openDescriptorCount(), before);
});

t.test('eventfds: signal, poll, drain', { skip }, async (t) => {
  const [a, b] = [os!.eventfd(), os!.eventfd()];
  const fds = Int32Array.of(a, -1, b);
  const ready = new Uint8Array(3).fill(9);
  t.equal(os!.poll(fds, 3, ready, 0), 0);
  t.same([...ready], [0, 0, 0]);
  os!.signal(b);
  os!.signal(b);
  t.equal(os!.poll(fds, 3, ready, 1000), 1);
  t.same([...ready], [0, 0, 1]);
  os!.drain(b);
  t.equal(os!.poll(fds, 3, ready, 0), 0);
  os!.drain(b);
  const counter = Buffer.alloc(8);
  os!.signal(a);
  os!.signal(a);
  t.equal(readSync(a, counter, 0, 8, null), 8);
  t.equal(counter.readBigUInt64LE(), 2n);
  os!.close(a);
  os!.close(b);
});

t.test('draining never blocks, even if the peer shares a blocking eventfd with us', { skip }, async (t) => {
  const fd = loadLibc()!.eventfd(0, 0);
  const isNonBlocking = () => {
    const flags = /^flags:\s+(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]!;
    return (Number.parseInt(flags, 8) & 0o4000) !== 0;
  };
  t.equal(isNonBlocking(), false);
  os!.drain(fd);
  os!.setNonBlocking(fd);
  t.equal(isNonBlocking(), true);
  os!.close(fd);
});

t.test('signalling a descriptor that a peer chose badly is ignored', { skip }, async (t) => {
  const full = os!.eventfd();
  const most = Buffer.alloc(8, 0xff);
  most[0] = 0xfe;
  writeSync(full, most);
  os!.signal(full);
  os!.signal(9999);
  os!.signal(-1);
  os!.drain(9999);
  os!.close(full);
  t.pass();
});

t.test('poll grows, and tells errors from data', { skip }, async (t) => {
  const count = 200;
  const fds = new Int32Array(count).fill(-1);
  const ready = new Uint8Array(count);
  const fd = os!.eventfd();
  fds[count - 1] = fd;
  fds[7] = 9999;
  os!.signal(fd);
  t.equal(os!.poll(fds, count, ready, 0), 2);
  t.equal(ready[count - 1], 1);
  t.equal(ready[7], 2, 'a closed descriptor');
  os!.close(fd);
});

t.test('threads are pinned; a CPU that is not there is refused with those that are', { skip }, async (t) => {
  const before = os!.threadCpus();
  t.ok(before.length > 0);
  os!.pinThread(before[0]!);
  t.same(os!.threadCpus(), [before[0]]);
  t.throws(() => os!.pinThread(8000), {
    code: 'ERR_INVALID_ARGUMENT',
    message: new RegExp(`CPU 8000.*may use CPUs.*${before.at(-1)}`),
  });
  t.same(os!.threadCpus(), [before[0]], 'as before the refused call');
  t.throws(() => os!.pinThread(100000), { code: 'ERR_INVALID_ARGUMENT' });
  t.throws(() => os!.pinThread([]), { code: 'ERR_INVALID_ARGUMENT' });
  t.throws(() => os!.pinThread([before[0]!, 8000]), { code: 'ERR_INVALID_ARGUMENT' });
  os!.pinThread(before);
  t.same(os!.threadCpus(), before);
});

t.test('short slices, where the kernel knows them; nothing else of the thread changes', { skip }, async (t) => {
  const policy = () => /policy\s*:\s*(\d+)/.exec(readFileSync('/proc/self/sched', 'utf8'))?.[1];
  const before = policy();
  const taken = os!.useShortSlices();
  t.equal(policy(), before);
  const slice = /se\.slice\s*:\s*(\d+)/.exec(readFileSync('/proc/self/sched', 'utf8'))?.[1];
  const [major = 0, minor = 0] = release().split('.').map(Number);
  if (slice === undefined || major < 6 || (major === 6 && minor < 12))
    t.comment('this kernel knows no slices of threads');
  else t.same([taken, slice], [true, '100000'], '100 us');
});

t.test('a worker thread has services of its own', { skip }, async (t) => {
  const fd = os!.eventfd();
  const url = new URL('../../src/os/index.js', import.meta.url).href;
  const worker = new Worker(
    `import(${JSON.stringify(url)}).then(({ loadOs }) => {
      const { os } = loadOs();
      const ready = new Uint8Array(1);
      os.poll(Int32Array.of(${fd}), 1, ready, 10000);
      os.drain(${fd});
      require('node:worker_threads').parentPort.postMessage(ready[0]);
    });`,
    { eval: true },
  );
  const answer = new Promise((resolve) => worker.once('message', resolve));
  os!.signal(fd);
  t.equal(await answer, 1);
  t.equal(os!.poll(Int32Array.of(fd), 1, new Uint8Array(1), 0), 0, 'the worker drained it');
  await worker.terminate();
  os!.close(fd);
});
