/**
 * The data plane's clocks: milliseconds and microseconds, monotonic, as u32 that wrap after 49 days and 71 minutes. Only
 * differences of two readings mean anything, taken modulo 2^32. Every thread reads the same clock.
 */

/** performance.now() counts from each thread's own start; hrtime is the machine's monotonic clock, but four times as dear. */
const startUs = Number(process.hrtime.bigint()) / 1000 - performance.now() * 1000;

export function nowMs(): number {
  return Math.trunc((startUs + performance.now() * 1000) / 1000) >>> 0;
}

export function nowUs(): number {
  return Math.trunc(startUs + performance.now() * 1000) >>> 0;
}
