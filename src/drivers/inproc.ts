/**
 * The meeting point of net_vhost (`iface=inproc:NAME`) and net_virtio_user (`path=inproc:NAME`) in one Eal: no socket, no
 * FFI, any platform. The two vhost-user sessions negotiate for real, over a pair of byte channels in memory; only what a
 * socket alone can carry is replaced:
 *
 *   guest memory   is host memory itself: guest address = user address = linear address, one region. INPROC_MEMORY_FD rides
 *                  where its descriptor would; the back end maps nothing and never closes it.
 *   kick, call     no descriptors (NOFD). Each side writes QUEUE_PEER of its queues: rx queue n ↔ the other's tx queue n.
 *
 * Either side may come first, leave and come back. Everything here runs on the main thread.
 */
import type { Eal } from '../eal/eal.js';
import { ViaductError } from '../errors.js';
import { type ByteChannel, channelPair, type Notified } from '../vhost/channel.js';
import type { PortSlot } from './types.js';

/** Stands for the descriptor of host memory. No real descriptor has this number. */
export const INPROC_MEMORY_FD = 0x7fff_ffff;

const PREFIX = 'inproc:';

export type InprocRole = 'backend' | 'frontend';

/** One connection, as one side sees it. */
export interface InprocLink {
  /** Set `notify` in connected(). It runs inside the other side's send(): defer what must not nest. */
  readonly channel: ByteChannel & Notified;
  /** The port at the other end. */
  readonly peer: PortSlot;
}

export interface InprocParty {
  readonly slot: PortSlot;
  /** Both are there: the back end is told first, the front end then begins to talk. Called again after a reconnection. */
  connected(link: InprocLink): void;
}

interface Meeting {
  readonly parties: Map<InprocRole, InprocParty>;
  channels: readonly ByteChannel[];
}

const meetings = new WeakMap<Eal, Map<string, Meeting>>();

/** `inproc:NAME` → NAME; undefined for the path of a socket. ERR_DEVARGS for an empty name. */
export function inprocName(path: string): string | undefined {
  if (!path.startsWith(PREFIX)) return undefined;
  const name = path.slice(PREFIX.length);
  if (name === '')
    throw new ViaductError('ERR_DEVARGS', `'${path}': a name must follow ${PREFIX}, such as ${PREFIX}vm0`);
  return name;
}

/**
 * Comes to the meeting point; connects at once if the other side waits there. Returns the function that leaves it again and
 * closes the connection (the other side reads the end of its channel). ERR_SOCKET_IN_USE if the place is taken.
 */
export function joinInproc(eal: Eal, name: string, role: InprocRole, party: InprocParty): () => void {
  const names = meetings.get(eal) ?? new Map<string, Meeting>();
  meetings.set(eal, names);
  const meeting: Meeting = names.get(name) ?? { parties: new Map(), channels: [] };
  const before = meeting.parties.get(role);
  if (before !== undefined) {
    throw new ViaductError(
      'ERR_SOCKET_IN_USE',
      `${party.slot.name}: ${PREFIX}${name} has a ${role} already, ${before.slot.name}: choose another name`,
    );
  }
  names.set(name, meeting);
  meeting.parties.set(role, party);
  connect(meeting);

  return () => {
    if (meeting.parties.get(role) !== party) return;
    meeting.parties.delete(role);
    if (meeting.parties.size === 0) names.delete(name);
    for (const channel of meeting.channels) channel.close();
    meeting.channels = [];
  };
}

function connect(meeting: Meeting): void {
  const backend = meeting.parties.get('backend');
  const frontend = meeting.parties.get('frontend');
  if (backend === undefined || frontend === undefined) return;
  const [backendEnd, frontendEnd] = channelPair();
  meeting.channels = [backendEnd, frontendEnd];
  backend.connected({ channel: backendEnd, peer: frontend.slot });
  frontend.connected({ channel: frontendEnd, peer: backend.slot });
}
