/**
 * A lcore's poll loop: round after round over its streams, each round one burst a stream, all of it inside Wasm. Every call is
 * bounded (`maxPolls`), so that the thread comes back to JavaScript for messages and the engine may move the code to the
 * optimising compiler.
 */
import {
  ENGINE_5TSWAP,
  ENGINE_CSUM,
  ENGINE_FLOWGEN,
  ENGINE_ICMPECHO,
  ENGINE_IO,
  ENGINE_L2,
  ENGINE_MAC,
  ENGINE_MACSWAP,
  ENGINE_RXONLY,
  ENGINE_TXONLY,
  LCORE_BASE,
  LCORE_BUSY_POLLS,
  LCORE_NOW_US,
  LCORE_OWED_COUNT,
  LCORE_POLLS,
  LCORE_SCRATCH,
  LCORE_SIZE,
  LCORE_STOP,
  LCORE_STREAM_COUNT,
  LCORE_STREAMS,
  RUN_BUSY,
  RUN_IDLE,
  RUN_STOPPED,
  STREAM_ENGINE,
  STREAM_SIZE,
} from '../layout';
import { pollCsum } from './csum';
import { pollFiveTupleSwap } from './five-tuple-swap';
import { pollFlowgen } from './flowgen';
import { pollIcmpecho } from './icmpecho';
import { lcoreFlush } from '../port';
import { pollIo } from './io';
import { pollL2 } from './l2';
import { pollMac } from './mac';
import { pollMacswap } from './macswap';
import { pollRxonly } from './rxonly';
import { pollTxonly } from './txonly';

/** Rounds between two looks at the clock while a notification is put off: some ten microseconds under load. */
const OWING_ROUNDS: u32 = 16;

/**
 * Polls the lcore's streams: at most `maxPolls` rounds (RUN_BUSY), until `idlePolls` rounds in a row moved nothing (RUN_IDLE;
 * 0 = go on regardless), or until LCORE_STOP is set (RUN_STOPPED). Without a stream it is idle at once. `nowMs` is a
 * monotonic clock that may wrap; all lcores that share a switch table count from the same zero. `nowUs` is one in microseconds,
 * for notifications that are put off: while one is, the call ends after OWING_ROUNDS rounds (RUN_BUSY).
 */
export function lcoreRun(lcoreId: u32, maxPolls: u32, idlePolls: u32, nowMs: u32, nowUs: u32): u32 {
  const lcore: usize = LCORE_BASE + lcoreId * LCORE_SIZE;
  lcoreFlush(lcoreId, nowUs, 0);
  const first: usize = load<u32>(lcore, LCORE_STREAMS);
  const end = first + load<u32>(lcore, LCORE_STREAM_COUNT) * STREAM_SIZE;
  const burst: usize = load<u32>(lcore, LCORE_SCRATCH);
  let answer = first == end ? RUN_IDLE : RUN_BUSY;
  let polls: u32 = 0;
  let busy: u32 = 0;
  let idle: u32 = 0;
  let owing: u32 = 0;
  while (polls < maxPolls) {
    // An atomic load is a plain load on x86-64 and arm64 gives it an acquire: nothing to save here.
    if (atomic.load<u32>(lcore, LCORE_STOP)) {
      answer = RUN_STOPPED;
      break;
    }
    if (first == end) break;
    let moved: u32 = 0;
    for (let stream = first; stream < end; stream += STREAM_SIZE) moved += pollStream(lcoreId, stream, burst, nowMs);
    if (load<u32>(lcore, LCORE_OWED_COUNT) != 0) lcoreFlush(lcoreId, load<u32>(lcore, LCORE_NOW_US), 0);
    polls++;
    if (moved != 0) {
      busy++;
      idle = 0;
    } else if (++idle == idlePolls) {
      answer = RUN_IDLE;
      break;
    }
    // A notification waits: back to the clock soon, for it has a deadline.
    if (load<u32>(lcore, LCORE_OWED_COUNT) != 0 && ++owing == OWING_ROUNDS) break;
  }
  store<u64>(lcore, load<u64>(lcore, LCORE_POLLS) + polls, LCORE_POLLS);
  store<u64>(lcore, load<u64>(lcore, LCORE_BUSY_POLLS) + busy, LCORE_BUSY_POLLS);
  return answer;
}

/** One burst through the stream's engine: packets handled. */
// @ts-ignore: decorator
@inline
function pollStream(lcoreId: u32, stream: usize, burst: usize, nowMs: u32): u32 {
  const engine = load<u32>(stream, STREAM_ENGINE);
  if (engine == ENGINE_IO) return pollIo(lcoreId, stream, burst);
  if (engine == ENGINE_L2) return pollL2(lcoreId, stream, burst, nowMs);
  if (engine == ENGINE_MACSWAP) return pollMacswap(lcoreId, stream, burst);
  if (engine == ENGINE_MAC) return pollMac(lcoreId, stream, burst);
  if (engine == ENGINE_RXONLY) return pollRxonly(lcoreId, stream, burst);
  if (engine == ENGINE_TXONLY) return pollTxonly(lcoreId, stream, burst);
  if (engine == ENGINE_CSUM) return pollCsum(lcoreId, stream, burst);
  if (engine == ENGINE_FLOWGEN) return pollFlowgen(lcoreId, stream, burst);
  if (engine == ENGINE_ICMPECHO) return pollIcmpecho(lcoreId, stream, burst);
  if (engine == ENGINE_5TSWAP) return pollFiveTupleSwap(lcoreId, stream, burst);
  return 0;
}
