/**
 * The switch's MAC table: 4-way set-associative, one bucket a cache line, bounded by its size.
 *
 *   entry:  | MAC, 48 bits | port, 15 bits | valid | lastSeenMs, 32 bits | spare |
 *            `------------- one u64 -------------'
 *
 * A lookup reads that u64 in one piece and takes no lock; an entry changes only under SWITCH_LOCK, by one store of the u64.
 * lastSeenMs is refreshed without the lock: a refresh that meets a replacement makes a young entry a little younger.
 * The data plane tries the lock for a short while and else leaves the learning to the station's next packet.
 *
 * Nobody harms another port by making up MACs:
 *   - a port owns at most SWITCH_QUOTA entries, and at most WAYS_OF_A_PORT of the four in one bucket;
 *   - it takes a way that is free or aged, then the one of its own that was silent longest; never a live one of another port;
 *   - the hash has a secret multiplier (multiply-shift, universal), so that no guest can aim at one bucket.
 * What is not learned is flooded: forwarding goes on.
 */
import {
  LOCK_CONTROL,
  MAX_PORTS,
  SWITCH_AGEING_MS,
  SWITCH_BUCKET_COUNT,
  SWITCH_ENTRY_SIZE,
  SWITCH_EVICTED,
  SWITCH_HASH,
  SWITCH_LEARNED,
  SWITCH_LOCK,
  SWITCH_MOVED,
  SWITCH_OWNED,
  SWITCH_QUOTA,
  SWITCH_REFUSED,
  SWITCH_TABLE,
  SWITCH_WAYS,
} from '../layout';

export const MAC_MASK: u64 = 0x0000_ffff_ffff_ffff;
const VALID: u64 = 1 << 63;
const KEY_MASK: u64 = VALID | MAC_MASK;
const PORT_SHIFT: u64 = 48;
const PORT_MASK: u32 = 0x7fff;
const LAST_SEEN: usize = 8;
const BUCKET_SIZE: u32 = SWITCH_ENTRY_SIZE * SWITCH_WAYS;
/** One way of each bucket stays for the others. */
const WAYS_OF_A_PORT: u32 = SWITCH_WAYS - 1;
/** Any odd number does until the control plane writes a secret one. */
const DEFAULT_HASH: u64 = 0x9e37_79b9_7f4a_7c15;

/** Looks at the lock before the data plane gives up learning this packet's source. */
const LEARN_SPINS: u32 = 64;
/** Looks at the lock before the control plane takes it over from a lcore that died with it: tens of milliseconds. */
const CONTROL_SPINS: u32 = 20_000_000;

/** No port: lookup's answer for a MAC that is unknown or aged out. */
export const NO_PORT: u32 = 0xffff_ffff;

/** Makes a table empty. Its memory is SWITCH_TABLE + bucketCount * SWITCH_WAYS * SWITCH_ENTRY_SIZE bytes, a line aligned. */
export function switchInit(table: usize, bucketCount: u32, ageingMs: u32, quota: u32): void {
  memory.fill(table, 0, SWITCH_TABLE + bucketCount * BUCKET_SIZE);
  store<u32>(table, bucketCount, SWITCH_BUCKET_COUNT);
  store<u32>(table, ageingMs, SWITCH_AGEING_MS);
  store<u32>(table, quota, SWITCH_QUOTA);
  store<u64>(table, DEFAULT_HASH, SWITCH_HASH);
}

/** Six bytes as the u64 that the table works with: the first byte lowest. */
// @ts-ignore: decorator
@inline
export function loadMac(address: usize): u64 {
  return <u64>load<u32>(address) | (<u64>load<u16>(address, 4) << 32);
}

/** Group addresses, broadcast among them, have the first byte's lowest bit set. */
// @ts-ignore: decorator
@inline
export function isGroup(mac: u64): bool {
  return (mac & 1) != 0;
}

// @ts-ignore: decorator
@inline
function bucketOf(table: usize, mac: u64): usize {
  const hash = (mac * load<u64>(table, SWITCH_HASH)) >> 32;
  const index = <usize>((hash * <u64>load<u32>(table, SWITCH_BUCKET_COUNT)) >> 32); // the top bits of a multiply-shift hash
  return table + SWITCH_TABLE + index * BUCKET_SIZE;
}

/** Address of the MAC's entry in its bucket, aged or not; 0 for none. */
// @ts-ignore: decorator
@inline
function findEntry(bucket: usize, mac: u64): usize {
  const key = VALID | mac;
  const end = bucket + BUCKET_SIZE;
  for (let entry = bucket; entry < end; entry += SWITCH_ENTRY_SIZE) {
    if ((atomic.load<u64>(entry) & KEY_MASK) == key) return entry;
  }
  return 0;
}

/** Wraps with the clock: an idle time of up to 2^32 - 1 - ageing ms is told right, and switchSweep comes before that. */
// @ts-ignore: decorator
@inline
function isAged(table: usize, entry: usize, nowMs: u32): bool {
  const idleMs = nowMs - load<u32>(entry, LAST_SEEN);
  // Another lcore's clock may be a little ahead of ours: "seen in the future" is young.
  return idleMs > load<u32>(table, SWITCH_AGEING_MS) && idleMs < 0xffff_0000;
}

// @ts-ignore: decorator
@inline
function portOf(value: u64): u32 {
  return <u32>(value >> PORT_SHIFT) & PORT_MASK;
}

/** Port that the MAC was last seen on, NO_PORT if it is unknown or has aged out. Lock-free. */
// @ts-ignore: decorator
@inline
export function lookupMac(table: usize, mac: u64, nowMs: u32): u32 {
  const key = VALID | mac;
  const bucket = bucketOf(table, mac);
  const end = bucket + BUCKET_SIZE;
  for (let entry = bucket; entry < end; entry += SWITCH_ENTRY_SIZE) {
    const value = atomic.load<u64>(entry);
    if ((value & KEY_MASK) == key) return isAged(table, entry, nowMs) ? NO_PORT : portOf(value);
  }
  return NO_PORT;
}

/**
 * The MAC is the source of a frame from `port`. True if a lookup may now answer otherwise than before. Group and zero addresses
 * are no stations and are passed over.
 */
// @ts-ignore: decorator
@inline
export function learnMac(table: usize, mac: u64, port: u32, nowMs: u32, owner: u32): bool {
  if (isGroup(mac) || mac == 0) return false;
  const entry = findEntry(bucketOf(table, mac), mac);
  if (entry != 0 && portOf(atomic.load<u64>(entry)) == port) {
    if (load<u32>(entry, LAST_SEEN) == nowMs) return false;
    const wasAged = isAged(table, entry, nowMs);
    store<u32>(entry, nowMs, LAST_SEEN);
    return wasAged;
  }
  return learnChange(table, mac, port, nowMs, owner);
}

/** A station that is new or has moved. */
function learnChange(table: usize, mac: u64, port: u32, nowMs: u32, owner: u32): bool {
  if (port >= MAX_PORTS || !lock(table, owner, LEARN_SPINS)) return false;
  const bucket = bucketOf(table, mac);
  const known = findEntry(bucket, mac); // once more: another lcore may have been here
  const changed = known != 0 ? move(table, known, mac, port, nowMs) : insert(table, bucket, mac, port, nowMs);
  unlock(table);
  return changed;
}

/** Lock held. Without quota left the entry goes: frames to the station are flooded, and find it. */
function move(table: usize, entry: usize, mac: u64, port: u32, nowMs: u32): bool {
  if (portOf(load<u64>(entry)) == port) return false;
  if (ownedBy(table, port) >= load<u32>(table, SWITCH_QUOTA)) {
    clear(table, entry);
    count(table, SWITCH_REFUSED);
    return true;
  }
  disown(table, entry);
  write(table, entry, mac, port, nowMs);
  count(table, SWITCH_MOVED);
  return true;
}

/** Lock held. */
function insert(table: usize, bucket: usize, mac: u64, port: u32, nowMs: u32): bool {
  let free: usize = 0; // a way that is empty
  let aged: usize = 0; // one whose station has gone silent
  let own: usize = 0; // the port's own that was silent longest
  let ownIdleMs: u32 = 0;
  let ownCount: u32 = 0;
  const end = bucket + BUCKET_SIZE;
  for (let entry = bucket; entry < end; entry += SWITCH_ENTRY_SIZE) {
    const value = load<u64>(entry);
    if ((value & VALID) == 0) {
      free = entry;
      continue;
    }
    if (isAged(table, entry, nowMs)) aged = entry;
    if (portOf(value) != port) continue;
    const idleMs = nowMs - load<u32>(entry, LAST_SEEN);
    if (ownCount == 0 || idleMs > ownIdleMs) {
      own = entry;
      ownIdleMs = idleMs;
    }
    ownCount++;
  }
  const mayGrow = ownCount < WAYS_OF_A_PORT && ownedBy(table, port) < load<u32>(table, SWITCH_QUOTA);
  let entry = mayGrow ? (free != 0 ? free : aged) : 0;
  if (entry == 0) entry = own;
  if (entry == 0) {
    count(table, SWITCH_REFUSED);
    return false;
  }
  if (load<u64>(entry) & VALID) {
    if (!isAged(table, entry, nowMs)) count(table, SWITCH_EVICTED);
    disown(table, entry);
  }
  write(table, entry, mac, port, nowMs);
  count(table, SWITCH_LEARNED);
  return true;
}

/** Lock held. lastSeenMs first: a reader that sees the new u64 sees a young entry. */
function write(table: usize, entry: usize, mac: u64, port: u32, nowMs: u32): void {
  store<u32>(entry, nowMs, LAST_SEEN);
  atomic.store<u64>(entry, VALID | (<u64>port << PORT_SHIFT) | mac);
  const owned = ownedAt(table, port);
  store<u32>(owned, load<u32>(owned) + 1);
}

/** Lock held. */
function clear(table: usize, entry: usize): void {
  disown(table, entry);
  atomic.store<u64>(entry, 0);
}

/** Lock held. Never below 0: a count that a dead lcore left behind wrong is put right by the next sweep. */
function disown(table: usize, entry: usize): void {
  const owned = ownedAt(table, portOf(load<u64>(entry)));
  const before = load<u32>(owned);
  if (before != 0) store<u32>(owned, before - 1);
}

// @ts-ignore: decorator
@inline
function ownedAt(table: usize, port: u32): usize {
  return table + SWITCH_OWNED + ((port & (MAX_PORTS - 1)) << 2);
}

// @ts-ignore: decorator
@inline
function ownedBy(table: usize, port: u32): u32 {
  return load<u32>(ownedAt(table, port));
}

// @ts-ignore: decorator
@inline
function count(table: usize, counter: usize): void {
  store<u64>(table + counter, load<u64>(table + counter) + 1);
}

function lock(table: usize, owner: u32, spins: u32): bool {
  while (spins-- != 0) {
    if (atomic.load<u32>(table, SWITCH_LOCK) == 0 && atomic.cmpxchg<u32>(table, 0, owner, SWITCH_LOCK) == 0) return true;
  }
  return false;
}

function unlock(table: usize): void {
  atomic.store<u32>(table, 0, SWITCH_LOCK);
}

/** The control plane's lock: if nobody lets go of it, its holder is dead, and the lock is taken over. */
function lockControl(table: usize): void {
  if (!lock(table, LOCK_CONTROL, CONTROL_SPINS)) atomic.store<u32>(table, LOCK_CONTROL, SWITCH_LOCK);
}

/** `lookupMac` for the control plane: port of the 6 bytes at `mac`, -1 if unknown. */
export function switchLookup(table: usize, mac: usize, nowMs: u32): i32 {
  return <i32>lookupMac(table, loadMac(mac), nowMs);
}

/** `learnMac` for the control plane. */
export function switchLearn(table: usize, mac: usize, port: u32, nowMs: u32): void {
  learnMac(table, loadMac(mac), port, nowMs, LOCK_CONTROL);
}

/** Forgets every station of a port, as for a link that went down: how many. */
export function switchFlushPort(table: usize, port: u32): u32 {
  return forget(table, port, 0);
}

/**
 * Forgets what has aged out, so that it is never taken for young when the clock has wrapped, and counts anew what each port
 * owns. Call it some times per ageing time. Returns how many it forgot. The data plane learns nothing meanwhile: 1 ns an entry.
 */
export function switchSweep(table: usize, nowMs: u32): u32 {
  return forget(table, NO_PORT, nowMs);
}

/** Clears the entries of `port`, or with NO_PORT the aged ones, and recounts. */
function forget(table: usize, port: u32, nowMs: u32): u32 {
  lockControl(table);
  memory.fill(table + SWITCH_OWNED, 0, MAX_PORTS << 2);
  let forgotten: u32 = 0;
  const first = table + SWITCH_TABLE;
  const end = first + load<u32>(table, SWITCH_BUCKET_COUNT) * BUCKET_SIZE;
  for (let entry = first; entry < end; entry += SWITCH_ENTRY_SIZE) {
    const value = load<u64>(entry);
    if ((value & VALID) == 0) continue;
    if (port == NO_PORT ? isAged(table, entry, nowMs) : portOf(value) == port) {
      atomic.store<u64>(entry, 0);
      forgotten++;
    } else {
      const owned = ownedAt(table, portOf(value));
      store<u32>(owned, load<u32>(owned) + 1);
    }
  }
  unlock(table);
  return forgotten;
}
