/** What the main thread and the control worker say to each other. Everything here is structured-cloneable. */
import type { ErrorCode } from '../../errors.js';

/** workerData of the control worker. */
export interface ControlWorkerData {
  readonly sharedMemory: WebAssembly.Memory;
  readonly module: WebAssembly.Module;
  /** HostMemory.endAddress. */
  readonly endAddress: number;
  /** eventfd that the main thread signals after it posted a command. */
  readonly wakeFd: number;
  /** CPUs to run on: the main thread may be pinned, and a new thread inherits that. */
  readonly cpus: readonly number[] | undefined;
  /** One word: 1 once the worker has let go of everything. */
  readonly done: Int32Array;
}

/** A vhost port to serve. */
export interface OpenPort {
  readonly op: 'open';
  /** Chosen by the main thread, unique for ever. */
  readonly id: number;
  /** Path of the UNIX socket. */
  readonly path: string;
  /** Connects, again and again, instead of listening. */
  readonly client: boolean;
  /** Address of the DEVICE_ record. */
  readonly device: number;
  /** QUEUE_ records by vring. */
  readonly vrings: readonly number[];
  readonly features: bigint;
  readonly protocolFeatures: bigint;
}

export type ControlCommand =
  | OpenPort
  | { readonly op: 'close'; readonly id: number }
  /** Says `readable` once when the descriptor is: front ends of this process wait for replies so. */
  | { readonly op: 'watch'; readonly id: number; readonly fd: number }
  | { readonly op: 'unwatch'; readonly id: number }
  | { readonly op: 'stop' };

export type ControlEvent =
  /** The worker runs. */
  | { readonly event: 'ready' }
  /** Answers `open`. A client is open once it tries. */
  | { readonly event: 'opened'; readonly id: number }
  | { readonly event: 'failed'; readonly id: number; readonly code: ErrorCode; readonly message: string }
  /** Answers `close`. */
  | { readonly event: 'closed'; readonly id: number }
  /** A front end is there; it has not said anything yet. */
  | { readonly event: 'connected'; readonly id: number }
  | { readonly event: 'disconnected'; readonly id: number; readonly reason: string }
  | { readonly event: 'linkUp'; readonly id: number; readonly features: bigint }
  | { readonly event: 'linkDown'; readonly id: number; readonly reason: string }
  | { readonly event: 'vringState'; readonly id: number; readonly vring: number; readonly enabled: boolean }
  | { readonly event: 'memory'; readonly id: number; readonly regionCount: number; readonly bytes: number }
  | { readonly event: 'rarp'; readonly id: number; readonly mac: Uint8Array }
  | { readonly event: 'warning'; readonly id: number; readonly message: string }
  | { readonly event: 'readable'; readonly id: number }
  /** Answers `unwatch`: the worker no longer looks at the descriptor, which may be closed now. */
  | { readonly event: 'unwatched'; readonly id: number };
