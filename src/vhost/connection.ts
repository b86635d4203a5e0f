import { BackendSession } from './backend.js';
import type { ByteChannel } from './channel.js';
import { decodeHeader, decodePayload, encodeMessage, type Header } from './codec.js';
import type { BackendDevice } from './device.js';
import { VhostProtocolError } from './errors.js';
import {
  HEADER_LENGTH,
  MAX_PAYLOAD_LENGTH,
  type Message,
  type PayloadKind,
  requestInfo,
  requestName,
} from './messages.js';

/** More than any request takes, so that a surplus is seen as such and not as lost descriptors. */
const MAX_FDS = 16;

/**
 * Bytes of a channel → messages. It reads exactly the header and then exactly the payload, so the descriptors that a read
 * brings belong to the message being read (F3), and no more than one message is ever held. Any amount may arrive at a time: a
 * peer that stops half way leaves it waiting, without holding up its caller (F12).
 */
export class MessageReader {
  readonly #channel: ByteChannel;
  readonly #from: 'frontend' | 'backend';
  readonly #bytes = new Uint8Array(HEADER_LENGTH + MAX_PAYLOAD_LENGTH);
  #filled = 0;
  #header: Header | undefined;
  #fds: number[] = [];
  #closed = false;

  /** `from`: who sits at the other end. */
  constructor(channel: ByteChannel, from: 'frontend' | 'backend') {
    this.#channel = channel;
    this.#from = from;
  }

  /** The peer has closed its end, between two messages. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Part of a message has arrived. */
  get midMessage(): boolean {
    return this.#filled > 0;
  }

  /**
   * The next whole message, or undefined when it has not arrived yet or the peer has closed (`closed`). Its fds are the
   * caller's. Throws VhostProtocolError for bytes that are no message.
   */
  next(): Message | undefined {
    while (!this.#closed) {
      const end = HEADER_LENGTH + (this.#header?.length ?? 0);
      if (this.#filled < end) {
        if (!this.#read(end)) return undefined;
        continue;
      }
      if (this.#header === undefined) {
        this.#header = decodeHeader(this.#bytes.subarray(0, HEADER_LENGTH), this.#from);
        continue;
      }
      return this.#take(this.#header, end);
    }
    return undefined;
  }

  /** Closes descriptors of a message that never became whole. */
  release(): void {
    for (const fd of this.#fds.splice(0)) this.#channel.closeFd(fd);
  }

  #read(end: number): boolean {
    const { length, fds, truncated } = this.#channel.receive(this.#bytes.subarray(this.#filled, end), MAX_FDS);
    this.#fds.push(...fds);
    const name = this.#header === undefined ? 'header' : requestName(this.#header.request);
    if (truncated || this.#fds.length > MAX_FDS) {
      throw new VhostProtocolError(name, 'fds', `more than ${MAX_FDS} descriptors came with it`);
    }
    if (length < 0) return false;
    if (length === 0) {
      if (this.#filled > 0) {
        throw new VhostProtocolError(name, 'size', `the peer closed after ${this.#filled} of ${end} bytes`);
      }
      this.#closed = true;
      return false;
    }
    this.#filled += length;
    return true;
  }

  #take(header: Header, end: number): Message {
    const kind = payloadKind(header, this.#from);
    const payload = decodePayload(header.request, kind, this.#bytes.subarray(HEADER_LENGTH, end));
    const fds = this.#fds;
    this.#fds = [];
    this.#filled = 0;
    this.#header = undefined;
    return { request: header.request, flags: header.flags & ~3, payload, fds };
  }
}

/** A back end's answer has its own shape, or is the u64 of an acknowledgement. */
function payloadKind(header: Header, from: 'frontend' | 'backend'): PayloadKind {
  const info = requestInfo(header.request);
  if (from === 'backend') return info?.reply ?? 'u64';
  return info?.payload ?? 'bytes';
}

/** Sends a message; its fds stay the caller's. */
export function sendMessage(channel: ByteChannel, message: Message): void {
  channel.send(encodeMessage(message), message.fds);
}

/**
 * A back-end session on a channel. Whoever knows when there is something to read calls `pump`; when it throws, or says that
 * the peer has closed, call `close`.
 */
export class BackendConnection {
  readonly session: BackendSession;
  readonly #channel: ByteChannel;
  readonly #reader: MessageReader;
  #open = true;

  constructor(channel: ByteChannel, device: BackendDevice) {
    this.#channel = channel;
    this.#reader = new MessageReader(channel, 'frontend');
    this.session = new BackendSession(device);
  }

  /** A message has begun and not ended. */
  get midMessage(): boolean {
    return this.#reader.midMessage;
  }

  /**
   * Handles at most `maxMessages`, so that a peer that never stops cannot keep others waiting. Returns `more` when it stopped
   * because of that limit, `idle` when it waits for bytes, `closed` when the peer has gone. Throws what the session throws, and
   * what the channel throws when the reply cannot be sent.
   */
  pump(maxMessages: number): 'more' | 'idle' | 'closed' {
    for (let n = 0; n < maxMessages; n++) {
      const message = this.#reader.next();
      if (message === undefined) return this.#reader.closed ? 'closed' : 'idle';
      try {
        const answer = this.session.handle(message);
        if (answer !== undefined) sendMessage(this.#channel, answer);
      } finally {
        for (const fd of message.fds.splice(0)) this.#channel.closeFd(fd);
      }
    }
    return 'more';
  }

  /** Lets go of everything: vrings, regions, descriptors, the channel. A second call does nothing. */
  close(reason?: string): void {
    if (!this.#open) return;
    this.#open = false;
    this.#reader.release();
    this.session.close(reason);
    this.#channel.close();
  }
}
