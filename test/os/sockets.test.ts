import { fstatSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ViaductError } from '../../src/errors.js';
import { loadOs, type Os } from '../../src/os/index.js';

const { os, missing } = loadOs();
const skip = os ? false : `no operating system services (${missing}): npm install koffi, on Linux`;

/** A connected pair of UNIX sockets, closed when the test ends. */
function connectedPair(t: Test, os: Os): { client: number; server: number } {
  const directory = mkdtempSync(join(tmpdir(), 'viaduct-'));
  const path = join(directory, 's');
  const listener = os.unixListen(path);
  const client = os.unixConnect(path);
  const server = os.accept(listener);
  t.teardown(() => {
    for (const fd of [listener, client, server]) os.close(fd);
    rmSync(directory, { recursive: true });
  });
  return { client, server };
}

const isCloexec = (fd: number) => {
  const flags = /^flags:\s+(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]!;
  return (Number.parseInt(flags, 8) & 0o2000000) !== 0;
};

t.test('connections are non-blocking and close-on-exec', { skip }, async (t) => {
  const { client, server } = connectedPair(t, os!);
  for (const fd of [client, server]) t.ok(isCloexec(fd));
  t.same(os!.receiveMessage(server, new Uint8Array(8), 8), { length: -1, fds: [], truncated: false });
});

t.test('bytes arrive; a closed peer reads as 0', { skip }, async (t) => {
  const { client, server } = connectedPair(t, os!);
  t.equal(os!.sendMessage(client, Buffer.from('hello'), []), 5);
  const into = new Uint8Array(3);
  t.equal(os!.receiveMessage(server, into, 0).length, 3);
  t.equal(Buffer.from(into).toString(), 'hel');
  t.equal(os!.receiveMessage(server, into, 0).length, 2);
  t.equal(Buffer.from(into.subarray(0, 2)).toString(), 'lo');
  const copy = os!.dup(client);
  os!.close(copy);
  t.equal(os!.receiveMessage(server, into, 0).length, -1, 'the other descriptor keeps the connection');
});

t.test('a full socket buffer gives -1, and loses nothing', { skip }, async (t) => {
  const { client, server } = connectedPair(t, os!);
  const block = new Uint8Array(65536);
  let sent = 0;
  for (let n = os!.sendMessage(client, block, []); n >= 0; n = os!.sendMessage(client, block, [])) sent += n;
  let received = 0;
  for (let n = os!.receiveMessage(server, block, 0).length; n > 0; n = os!.receiveMessage(server, block, 0).length) {
    received += n;
  }
  t.equal(received, sent);
});

t.test('descriptors travel, and are the same files', { skip }, async (t) => {
  const { client, server } = connectedPair(t, os!);
  const before = os!.openDescriptorCount();
  const sent = [os!.memfdCreate('a', 4096), os!.memfdCreate('b', 8192), os!.eventfd()];
  t.equal(os!.sendMessage(client, Buffer.from('x'), sent), 1);
  const { length, fds, truncated } = os!.receiveMessage(server, new Uint8Array(64), 8);
  t.equal(length, 1);
  t.equal(truncated, false);
  t.equal(fds.length, 3);
  for (const [i, fd] of fds.entries()) {
    t.ok(isCloexec(fd));
    t.equal(fstatSync(fd).ino, fstatSync(sent[i]!).ino);
  }
  t.same(
    fds.map((fd) => os!.isEventfd(fd)),
    [false, false, true],
  );
  for (const fd of [...sent, ...fds]) os!.close(fd);
  t.equal(os!.openDescriptorCount(), before);
});

for (const [count, limit] of [
  [3, 0],
  [3, 1],
  [4, 3],
  [9, 8],
] as const) {
  t.test(`${count} descriptors where ${limit} are allowed: truncated, none leaked (F3)`, { skip }, async (t) => {
    const { client, server } = connectedPair(t, os!);
    const before = os!.openDescriptorCount();
    const fd = os!.eventfd();
    os!.sendMessage(client, Buffer.from('x'), Array(count).fill(fd));
    const { fds, truncated } = os!.receiveMessage(server, new Uint8Array(64), limit);
    t.equal(truncated, true);
    t.equal(fds.length, limit, 'those that fitted are given to the caller, who closes them');
    for (const each of [fd, ...fds]) os!.close(each);
    t.equal(os!.openDescriptorCount(), before);
  });
}

t.test('two messages with descriptors are not mixed', { skip }, async (t) => {
  const { client, server } = connectedPair(t, os!);
  const fd = os!.eventfd();
  os!.sendMessage(client, Buffer.from('ab'), [fd]);
  os!.sendMessage(client, Buffer.from('cd'), [fd, fd]);
  const first = os!.receiveMessage(server, new Uint8Array(64), 8);
  const second = os!.receiveMessage(server, new Uint8Array(64), 8);
  t.same([first.length, first.fds.length, second.length, second.fds.length], [2, 1, 2, 2]);
  for (const each of [fd, ...first.fds, ...second.fds]) os!.close(each);
});

t.test('errors name the call, the file and the errno, and leak nothing', { skip }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'viaduct-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const before = os!.openDescriptorCount();
  const path = join(directory, 's');
  t.throws(() => os!.unixConnect(path), { code: 'ERR_SYSCALL', cause: 'ENOENT', message: /connect.*ENOENT.*\/s/ });
  const listener = os!.unixListen(path);
  t.throws(() => os!.unixListen(path), { code: 'ERR_SYSCALL', cause: 'EADDRINUSE' });
  t.equal(os!.accept(listener), -1, 'nobody waits');
  os!.close(listener);
  t.throws(() => os!.unixConnect(path), { cause: 'ECONNREFUSED' }, 'a stale file');
  t.throws(() => os!.unixListen('x'.repeat(200)), { code: 'ERR_INVALID_ARGUMENT', message: /200 bytes.*107/ });
  t.throws(() => os!.unixListen(''), { code: 'ERR_INVALID_ARGUMENT' });
  t.throws(() => os!.unixListen('a\0b'), { code: 'ERR_INVALID_ARGUMENT' });
  t.throws(() => os!.sendMessage(9999, new Uint8Array(1), []), { cause: 'EBADF' });
  t.throws(() => os!.sendMessage(9999, new Uint8Array(1), Array(300).fill(0)), { code: 'ERR_INVALID_ARGUMENT' });
  t.throws(() => os!.receiveMessage(9999, new Uint8Array(1), 1), ViaductError);
  t.equal(os!.openDescriptorCount(), before);
});

t.test('a Node server understands us', { skip }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'viaduct-'));
  const path = join(directory, 's');
  const server = createServer((socket) => socket.pipe(socket));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const fd = os!.unixConnect(path);
  t.equal(os!.sendMessage(fd, Buffer.from('ping'), []), 4);
  const into = new Uint8Array(16);
  let length = -1;
  for (let i = 0; i < 200 && length < 0; i++) {
    length = os!.receiveMessage(fd, into, 0).length;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  t.equal(Buffer.from(into.subarray(0, length)).toString(), 'ping');
  os!.close(fd);
  await new Promise((resolve) => server.close(resolve));
  rmSync(directory, { recursive: true });
});
