/**
 * l2: a learning switch over all member ports. One stream a rx queue; all streams of a switch share its table.
 *
 *   burst in → learn each source → find each destination's port → one list of handles a port → one txBurst a list
 *
 * A list for a port with several tx queues is steered by flow (./steer), so that each flow keeps its order. A group address, or a station that is not known, goes to every member whose
 * link is up but the one that it came from. A frame whose destination lives on its own ingress port is thrown away (FILTERED),
 * and so are runts, frames to 01:80:c2:00:00:0x, which no bridge forwards (IEEE 802.1D 7.12.6), and frames for nobody.
 *
 * A flooded packet is one mbuf with a reference a port: tx pmds of guests and net_null only read it and then drop their
 * reference. A net_ring port hands the mbuf itself to an owner who may write: it gets a copy of its own.
 */
import {
  ETHER_HDR_LEN,
  MBUF_BUF,
  MBUF_DATA_LEN,
  MBUF_DATA_OFF,
  MBUF_NEXT,
  MBUF_POOL,
  MBUF_REFCNT,
  PMD_RING,
  PORT_BASE,
  PORT_LINK_UP,
  PORT_PMD,
  PORT_SIZE,
  PORT_TXQ_COUNT,
  STREAM_FILTERED,
  STREAM_FLOODED,
  STREAM_RX_PORT,
  STREAM_SCRATCH,
  STREAM_STATE,
  STREAM_STEER_TABLE,
  STREAM_TX_DROPPED,
  SWITCH_PORTS,
  SWITCH_SCRATCH_LISTS,
  MAX_BURST,
} from '../layout';
import { mbufCopy, mbufFree } from '../mem/mbuf';
import { isGroup, learnMac, lookupMac, MAC_MASK, NO_PORT } from './l2-table';
import { sendSteered } from './steer';
import { addCounter, receiveBurst, sendTo } from './stream';

const LIST_SIZE: u32 = MAX_BURST * 4;
const LINK_LOCAL_MASK: u64 = 0xf0ff_ffff_ffff;
const LINK_LOCAL: u64 = 0x0000_00c2_8001;
/** Destinations that are no port. */
const FLOOD: u32 = NO_PORT;
const FILTER: u32 = 0xffff_fffe;

export function pollL2(lcoreId: u32, stream: usize, burst: usize, nowMs: u32): u32 {
  const n = receiveBurst(lcoreId, stream, burst);
  if (n == 0) return 0;
  const table: usize = load<u32>(stream, STREAM_STATE);
  const scratch: usize = load<u32>(stream, STREAM_SCRATCH);
  const ingress = load<u32>(stream, STREAM_RX_PORT);
  const members = memberMask(table);
  // Neighbours in a burst mostly belong to one flow: what held for the last packet is not looked up again.
  let lastSource: u64 = 0;
  let lastDestination: u64 = 0;
  let out: u32 = FILTER;
  let flooded: u64 = ~0; // targets of a flood, ~0: not found out yet
  let touched: u64 = 0; // ports that have a list
  for (let i: u32 = 0; i < n; i++) {
    const mbuf = load<u32>(burst + (i << 2));
    if (load<u32>(mbuf, MBUF_DATA_LEN) < ETHER_HDR_LEN) {
      filter(lcoreId, stream, mbuf);
      continue;
    }
    const frame: usize = load<u32>(mbuf, MBUF_BUF) + load<u32>(mbuf, MBUF_DATA_OFF);
    const destination = load<u64>(frame) & MAC_MASK;
    const source = load<u64>(frame, 6) & MAC_MASK;
    if (source != lastSource) {
      lastSource = source;
      if (learnMac(table, source, ingress, nowMs, lcoreId + 1)) lastDestination = 0;
    }
    if (destination != lastDestination || destination == 0) {
      lastDestination = destination;
      out = outputOf(table, destination, ingress, members, nowMs);
    }
    if (out == FILTER) {
      filter(lcoreId, stream, mbuf);
    } else if (out != FLOOD) {
      touched = push(scratch, touched, out, mbuf);
    } else {
      if (flooded == ~0) flooded = floodTargets(members, ingress);
      touched = flood(lcoreId, stream, scratch, touched, flooded, mbuf);
    }
  }
  sendLists(lcoreId, stream, scratch, touched);
  return n;
}

/** The u8[MAX_PORTS] of members as bits. */
// @ts-ignore: decorator
@inline
function memberMask(table: usize): u64 {
  const zero = i8x16.splat(0);
  const p = table + SWITCH_PORTS;
  return (
    <u64>(<u32>i8x16.bitmask(i8x16.ne(v128.load(p), zero))) |
    (<u64>(<u32>i8x16.bitmask(i8x16.ne(v128.load(p, 16), zero))) << 16) |
    (<u64>(<u32>i8x16.bitmask(i8x16.ne(v128.load(p, 32), zero))) << 32) |
    (<u64>(<u32>i8x16.bitmask(i8x16.ne(v128.load(p, 48), zero))) << 48)
  );
}

/** Port for a destination, FLOOD or FILTER. A station on a port that is no member any more is unknown. */
// @ts-ignore: decorator
@inline
function outputOf(table: usize, destination: u64, ingress: u32, members: u64, nowMs: u32): u32 {
  if (isGroup(destination)) return (destination & LINK_LOCAL_MASK) == LINK_LOCAL ? FILTER : FLOOD;
  const port = lookupMac(table, destination, nowMs);
  if (port == ingress) return FILTER;
  return port != NO_PORT && ((members >> port) & 1) != 0 ? port : FLOOD;
}

function filter(lcoreId: u32, stream: usize, mbuf: u32): void {
  mbufFree(mbuf, lcoreId);
  addCounter(stream, 1, STREAM_FILTERED);
}

/** Appends to a port's list, which is empty unless the port was touched before. Returns the ports touched. */
// @ts-ignore: decorator
@inline
function push(scratch: usize, touched: u64, port: u32, mbuf: u32): u64 {
  const bit = <u64>1 << port;
  const counter = scratch + (port << 2);
  const length = touched & bit ? load<u32>(counter) : 0;
  store<u32>(scratch + port * LIST_SIZE + (length << 2), mbuf, SWITCH_SCRATCH_LISTS);
  store<u32>(counter, length + 1);
  return touched | bit;
}

/** One txBurst for each port that has a list. */
// @ts-ignore: decorator
@inline
function sendLists(lcoreId: u32, stream: usize, scratch: usize, touched: u64): void {
  const steers = load<u32>(stream, STREAM_STEER_TABLE) != 0;
  while (touched != 0) {
    const port = <u32>ctz(touched);
    touched &= touched - 1;
    const queues = load<u32>(PORT_BASE + port * PORT_SIZE, PORT_TXQ_COUNT);
    const list = scratch + SWITCH_SCRATCH_LISTS + port * LIST_SIZE;
    const length = load<u32>(scratch + (port << 2));
    if (queues > 1 && steers) sendSteered(lcoreId, stream, port, list, length);
    else sendTo(lcoreId, stream, port, 0, list, length);
  }
}

/** Members that a flood reaches: up, and not where it came from. */
function floodTargets(members: u64, ingress: u32): u64 {
  let targets: u64 = 0;
  let rest = members & ~(<u64>1 << ingress);
  while (rest != 0) {
    const port = <u32>ctz(rest);
    if (load<u32>(PORT_BASE + port * PORT_SIZE, PORT_LINK_UP) != 0) targets |= <u64>1 << port;
    rest &= rest - 1;
  }
  return targets;
}

/** Puts the packet on the list of every target. Returns the ports touched. */
function flood(lcoreId: u32, stream: usize, scratch: usize, touched: u64, targets: u64, mbuf: u32): u64 {
  if (targets == 0) {
    filter(lcoreId, stream, mbuf);
    return touched;
  }
  addCounter(stream, 1, STREAM_FLOODED);
  let readers: u32 = 0; // ports that share the mbuf itself
  while (targets != 0) {
    const port = <u32>ctz(targets);
    targets &= targets - 1;
    let packet = mbuf;
    if (load<u32>(PORT_BASE + port * PORT_SIZE, PORT_PMD) != PMD_RING) {
      readers++;
    } else if (targets != 0 || readers != 0) {
      packet = mbufCopy(mbuf, load<u32>(mbuf, MBUF_POOL), 0, 0xffff_ffff, lcoreId);
      if (packet == 0) {
        addCounter(stream, 1, STREAM_TX_DROPPED);
        continue;
      }
    } else {
      readers = 1; // the last, and nobody else has it: it gets the mbuf itself
    }
    touched = push(scratch, touched, port, packet);
  }
  if (readers == 0) mbufFree(mbuf, lcoreId);
  else if (readers > 1) share(mbuf, readers - 1);
  return touched;
}

/** More references to every segment of a packet (rte_pktmbuf_refcnt_update). */
function share(mbuf: u32, more: u32): void {
  for (let segment = mbuf; segment != 0; segment = load<u32>(segment, MBUF_NEXT)) {
    atomic.add<u32>(segment, more, MBUF_REFCNT);
  }
}
