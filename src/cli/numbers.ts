import { UsageError } from './usage-error.js';

/** A whole number written in decimal (or 0x hexadecimal, as DPDK takes it) between min and max; names `what` if it isn't. */
export function wholeNumber(text: string, what: string, min: number, max: number): number {
  const value = parseWhole(text);
  if (value === undefined) throw new UsageError(`${what} takes a whole number, got '${text}'`);
  if (value < min || value > max) throw new UsageError(`${what} must be between ${min} and ${max}, got ${text}`);
  return value;
}

/** Decimal or 0x hexadecimal digits and nothing else; undefined for any other text. */
export function parseWhole(text: string): number | undefined {
  if (!/^(\d{1,15}|0[xX][0-9a-fA-F]{1,12})$/.test(text)) return undefined;
  return Number(text);
}

/** `1.24 Mpps`, `830 kbit/s`, `12 pps`: a quantity with three significant digits and its SI letter. */
export function si(value: number, unit: string): string {
  for (const [limit, letter] of SI_LETTERS) {
    if (Math.abs(value) >= limit) return `${significant(value / limit)} ${letter}${unit}`;
  }
  return `${Number.isInteger(value) ? value : significant(value)} ${unit}`;
}

const SI_LETTERS = [
  [1e12, 'T'],
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
] as const;

function significant(value: number): string {
  const digits = Math.abs(value) >= 99.95 ? 0 : Math.abs(value) >= 9.995 ? 1 : 2;
  return value.toFixed(digits);
}

/** `12,345,678`: a count for people, every digit there. */
export function grouped(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ',');
}
