import { loadLibc } from './libc.js';
import { linuxOs } from './linux.js';
import type { Os } from './types.js';

export type { Os } from './types.js';

/** What loadOs found: an `Os`, or the reason why there is none. */
export interface LoadedOs {
  readonly os?: Os;
  /** 'platform': not Linux on x86-64 or arm64. 'koffi': the optional dependency is not installed or cannot be loaded. */
  readonly missing?: 'koffi' | 'platform';
}

/**
 * The operating system's services for the calling thread; call it once in each thread that needs them. Never throws:
 * without koffi, or off Linux, everything that needs no OS still works.
 *
 * VIADUCT_NO_KOFFI=1 in the environment makes it behave as if koffi were not installed: an aid for tests.
 */
export function loadOs(): LoadedOs {
  if (process.platform !== 'linux' || (process.arch !== 'x64' && process.arch !== 'arm64')) {
    return { missing: 'platform' };
  }
  if (process.env.VIADUCT_NO_KOFFI === '1') return { missing: 'koffi' };
  const libc = loadLibc();
  return libc ? { os: linuxOs(libc) } : { missing: 'koffi' };
}
