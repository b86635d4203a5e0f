/** Copying frames. Inline v128 moves win up to about 256 bytes; beyond that `memory.copy` runs at memcpy speed. */

/** Copies `length` bytes; reads and writes nothing outside the two ranges. The ranges do not overlap. */
// @ts-ignore: decorator
@inline
export function copyFrame(to: usize, from: usize, length: u32): void {
  if (length <= 256) copyShort(to, from, length);
  else memory.copy(to, from, length);
}

/** 64 bytes at a time, then what is left by a move that ends at the end and may overlap what is already there. */
// @ts-ignore: decorator
@inline
function copyShort(to: usize, from: usize, length: u32): void {
  let left = length;
  while (left >= 64) {
    const a = v128.load(from);
    const b = v128.load(from, 16);
    const c = v128.load(from, 32);
    const d = v128.load(from, 48);
    v128.store(to, a);
    v128.store(to, b, 16);
    v128.store(to, c, 32);
    v128.store(to, d, 48);
    to += 64;
    from += 64;
    left -= 64;
  }
  if (left != 0) copyTail(to, from, left, length);
}

/** The last 1..63 bytes of a frame of `length` bytes. */
function copyTail(to: usize, from: usize, left: u32, length: u32): void {
  if (left >= 32) {
    const a = v128.load(from);
    const b = v128.load(from, 16);
    const c = v128.load(from + left - 32);
    const d = v128.load(from + left - 16);
    v128.store(to, a);
    v128.store(to, b, 16);
    v128.store(to + left - 32, c);
    v128.store(to + left - 16, d);
  } else if (left >= 16) {
    const a = v128.load(from);
    const b = v128.load(from + left - 16);
    v128.store(to, a);
    v128.store(to + left - 16, b);
  } else if (length >= 16) {
    v128.store(to + left - 16, v128.load(from + left - 16));
  } else if (left >= 8) {
    const a = load<u64>(from);
    const b = load<u64>(from + left - 8);
    store<u64>(to, a);
    store<u64>(to + left - 8, b);
  } else {
    for (let i: u32 = 0; i < left; i++) store<u8>(to + i, load<u8>(from + i));
  }
}
