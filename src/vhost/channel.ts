/** What one read gave. */
export interface Received {
  /** Bytes read; 0 = the peer has closed; -1 = nothing there now. */
  readonly length: number;
  /** Descriptors that rode with these bytes. They are the reader's. */
  readonly fds: number[];
  /** More descriptors came than there was room for; the others are lost. */
  readonly truncated: boolean;
}

/**
 * A stream of bytes with descriptors riding on it, as a UNIX socket is. Never blocks. Implemented over Os for sockets, in
 * memory by `channelPair` for a peer in the same process.
 */
export interface ByteChannel {
  /** Sends all of it, the fds with the first byte; they stay the caller's. Throws when the peer is gone or does not read. */
  send(bytes: Uint8Array, fds: readonly number[]): void;
  /** Reads at most `into.length` bytes. Never returns bytes of two messages that carry fds as one. */
  receive(into: Uint8Array, maxFds: number): Received;
  /** Closes a descriptor that `receive` gave. Never throws. */
  closeFd(fd: number): void;
  /** Closes the channel itself. Never throws; a second call does nothing. */
  close(): void;
}

interface Chunk {
  readonly bytes: Uint8Array;
  at: number;
  fds: number[];
}

/** Bytes that one side of a channelPair may have waiting: more means that its reader has stalled. */
const CHANNEL_CAPACITY_BYTES = 1 << 20;

/**
 * Two ends of a channel in this process. `closeFd` is what an end does with descriptors that its reader does not keep; without
 * it they are only numbers (the in-process transport passes numbers that are no descriptors). `notify` runs after each send to
 * that end, and after the other end has closed: read then.
 */
export function channelPair(
  closeFd: (fd: number) => void = () => {},
): [ByteChannel & Notified, ByteChannel & Notified] {
  const queues: [Chunk[], Chunk[]] = [[], []];
  const closed = [false, false];
  const ends = [0, 1].map((side): ByteChannel & Notified => {
    const other = 1 - side;
    const inbox = queues[side]!;
    return {
      notify: undefined,
      send(bytes, fds) {
        if (closed[side] || closed[other]) throw new Error('the peer has closed the channel');
        const waiting = queues[other]!.reduce((sum, chunk) => sum + chunk.bytes.length - chunk.at, 0);
        if (waiting + bytes.length > CHANNEL_CAPACITY_BYTES) throw new Error('the peer does not read');
        queues[other]!.push({ bytes: bytes.slice(), at: 0, fds: [...fds] });
        ends[other]!.notify?.();
      },
      receive(into, maxFds) {
        const chunk = inbox[0];
        if (chunk === undefined) return { length: closed[other] || closed[side] ? 0 : -1, fds: [], truncated: false };
        const length = Math.min(into.length, chunk.bytes.length - chunk.at);
        into.set(chunk.bytes.subarray(chunk.at, chunk.at + length));
        chunk.at += length;
        const fds = chunk.fds.splice(0);
        const surplus = fds.splice(maxFds);
        for (const fd of surplus) closeFd(fd);
        if (chunk.at === chunk.bytes.length) inbox.shift();
        return { length, fds, truncated: surplus.length > 0 };
      },
      closeFd,
      close() {
        if (closed[side]) return;
        closed[side] = true;
        for (const chunk of inbox.splice(0)) for (const fd of chunk.fds) closeFd(fd);
        ends[other]!.notify?.();
      },
    };
  });
  return [ends[0]!, ends[1]!];
}

/** An end of a channelPair tells its owner when there is something to read. */
export interface Notified {
  notify: (() => void) | undefined;
}
