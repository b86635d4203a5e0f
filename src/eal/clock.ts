/**
 * The data plane's clock: milliseconds, monotonic, as a u32 that wraps after 49 days. Only differences of two readings
 * mean anything, taken modulo 2^32. Every thread reads the same clock.
 */
export function nowMs(): number {
  // performance.now() counts from each thread's own start; hrtime is the machine's monotonic clock
  return Math.trunc(Number(process.hrtime.bigint() / 1_000_000n)) >>> 0;
}
