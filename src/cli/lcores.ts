import { MAX_LCORES } from '../../assembly/layout.js';
import { parseWhole } from './numbers.js';
import { UsageError } from './usage-error.js';

/** One lcore as an option names it; without `cpu` the operating system places it. */
export interface LcoreSpec {
  readonly id: number;
  readonly cpu?: number;
}

/** DPDK's `-l 0,2-4`: each lcore on the CPU of its own number. */
export function parseCorelist(text: string, option = '-l'): LcoreSpec[] {
  return checked(
    numberSet(text, option, text).map((id) => ({ id, cpu: id })),
    option,
    text,
  );
}

/** DPDK's `-c 0x5`: a hexadecimal mask, bit n is lcore n on CPU n. */
export function parseCoremask(text: string, option = '-c'): LcoreSpec[] {
  if (!/^(0[xX])?[0-9a-fA-F]{1,16}$/.test(text))
    throw new UsageError(`${option} takes a hexadecimal mask of cores, got '${text}'`);
  const mask = BigInt(`0x${text.replace(/^0[xX]/, '')}`);
  const specs: LcoreSpec[] = [];
  for (let id = 0; id < MAX_LCORES; id++) if ((mask >> BigInt(id)) & 1n) specs.push({ id, cpu: id });
  return checked(specs, option, text);
}

/**
 * DPDK's `--lcores`: `0@0,1@1`, `0-1` (each on the CPU of its number), `(0-1)@0` (both on CPU 0), `(0-1)` (a group without a
 * CPU floats: the operating system places it). One CPU for each lcore: a set of CPUs is refused, because a thread that
 * moves between CPUs is what the person who wrote it did not want. Without `ownCpu`, an lcore without a CPU always floats.
 */
export function parseLcoreMap(text: string, option = '--lcores', ownCpu = true): LcoreSpec[] {
  const specs: LcoreSpec[] = [];
  for (const part of splitOutsideParentheses(text)) {
    const at = part.indexOf('@');
    const left = at < 0 ? part : part.slice(0, at);
    const ids = numberSet(left, option, text);
    if (at < 0) {
      for (const id of ids) specs.push(ownCpu && !left.startsWith('(') ? { id, cpu: id } : { id });
      continue;
    }
    const cpus = numberSet(part.slice(at + 1), option, text);
    if (cpus.length > 1)
      throw new UsageError(`${option}: '${part}' names ${cpus.length} CPUs; name one for each lcore, as in 0@0,1@1`);
    for (const id of ids) specs.push({ id, cpu: cpus[0]! });
  }
  return checked(specs, option, text);
}

/** `1`, `1-3`, `(1,4-6)` or, where no parentheses are needed, `1,4-6`. */
function numberSet(text: string, option: string, whole: string): number[] {
  const inner = /^\(.*\)$/.test(text) ? text.slice(1, -1) : text;
  const numbers: number[] = [];
  for (const range of inner.split(',')) {
    const [first, last, ...rest] = range.split('-').map((word) => parseWhole(word.trim()));
    const end = range.includes('-') ? last : first;
    if (first === undefined || end === undefined || rest.length > 0 || end < first || end > 1023) {
      throw new UsageError(`${option}: '${range}' in '${whole}' is no core or range of cores`);
    }
    for (let n = first; n <= end; n++) numbers.push(n);
  }
  return numbers;
}

function splitOutsideParentheses(text: string): string[] {
  const parts = [''];
  let depth = 0;
  for (const char of text) {
    if (char === '(') depth++;
    if (char === ')') depth--;
    if (char === ',' && depth === 0) parts.push('');
    else parts[parts.length - 1] += char;
  }
  return parts;
}

function checked(specs: LcoreSpec[], option: string, text: string): LcoreSpec[] {
  if (specs.length === 0) throw new UsageError(`${option}: '${text}' names no lcore`);
  const seen = new Set<number>();
  for (const { id } of specs) {
    if (id >= MAX_LCORES)
      throw new UsageError(`${option}: lcore ${id} is too high, lcores go from 0 to ${MAX_LCORES - 1}`);
    if (seen.has(id)) throw new UsageError(`${option}: lcore ${id} is named twice in '${text}'`);
    seen.add(id);
  }
  return specs;
}
