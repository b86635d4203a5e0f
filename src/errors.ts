/** What went wrong, for programs; the message says it for people, with the remedy. */
export type ErrorCode =
  | 'ERR_KOFFI_MISSING'
  | 'ERR_NOT_LINUX'
  | 'ERR_SYSCALL'
  | 'ERR_NO_MEMORY'
  | 'ERR_MEMORY_FULL'
  | 'ERR_WINDOW_FULL'
  | 'ERR_INVALID_ARGUMENT'
  | 'ERR_INVALID_STATE'
  | 'ERR_NO_SUCH_PORT'
  | 'ERR_NO_SUCH_LCORE'
  | 'ERR_PORT_LIMIT'
  | 'ERR_UNKNOWN_DRIVER'
  | 'ERR_DEVARGS'
  | 'ERR_OFFLOAD'
  | 'ERR_SOCKET_IN_USE'
  | 'ERR_VHOST_PROTOCOL'
  | 'ERR_LCORE_FAILED'
  | 'ERR_CLEANED_UP';

/** Every error that Viaduct throws on purpose: `code` names the class of fault, `message` what to do about it. */
export class ViaductError extends Error {
  override readonly name = 'ViaductError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
