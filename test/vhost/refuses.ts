import type { Test } from 'tap';

/** What a VhostProtocolError shall say. */
export interface Refusal {
  readonly field?: string;
  readonly request?: string;
  readonly message?: RegExp;
  readonly code?: string;
}

/** Asserts that `call` throws an error with these properties: a VhostProtocolError, unless `code` says another. */
export function refuses(t: Test, call: () => unknown, refusal: Refusal, name = ''): void {
  try {
    call();
  } catch (error) {
    t.match(error, { code: 'ERR_VHOST_PROTOCOL', ...refusal }, name || (error as Error).message);
    return;
  }
  t.fail(`${name} was accepted`);
}
