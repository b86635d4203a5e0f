import { ViaductError } from '../errors.js';

/**
 * The peer broke the vhost-user protocol. Whoever owns the connection closes it; the message names the request and the
 * field, so that the person at the other end can find the fault.
 */
export class VhostProtocolError extends ViaductError {
  /** `SET_MEM_TABLE`, or `header` when the fault lies before the request could be told. */
  readonly request: string;
  /** The field at fault: `region 2 size`, `fds`, `index`. */
  readonly field: string;

  constructor(request: string, field: string, detail: string) {
    super('ERR_VHOST_PROTOCOL', `${request}: ${field} ${detail}`);
    this.request = request;
    this.field = field;
  }
}
