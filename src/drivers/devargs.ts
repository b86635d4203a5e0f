/**
 * DPDK's vdev strings: `net_vhost0,iface=/run/vm0.sock,queues=2`. The name is the driver's name and an instance number;
 * what follows are `key=value` pairs (rte_kvargs). A key without `=` reads as 1, as DPDK's flags do. A value may stand in
 * square brackets or double quotes, so that a path can hold a comma.
 */
import { ViaductError } from '../errors.js';

/** A key that a driver knows, with the line that help texts show. */
export interface Devarg {
  readonly key: string;
  readonly help: string;
}

/** A vdev string, split but not yet read by a driver. */
export interface Vdev {
  /** `net_vhost0` */
  readonly name: string;
  readonly pairs: readonly (readonly [key: string, value: string])[];
}

/** Splits a vdev string. Throws ERR_DEVARGS when there is no name, a key is empty, or a bracket or quote stays open. */
export function parseVdev(text: string): Vdev {
  const [name, ...rest] = splitAtCommas(text);
  if (name === undefined || !/^[A-Za-z][A-Za-z0-9_]*$/.test(name)) {
    throw new ViaductError(
      'ERR_DEVARGS',
      `vdev '${text}': a device name such as net_vhost0 must come first, letters, digits and _ only`,
    );
  }
  const pairs = rest.map((part): [string, string] => {
    const equals = part.indexOf('=');
    const key = (equals < 0 ? part : part.slice(0, equals)).trim();
    if (key === '') throw new ViaductError('ERR_DEVARGS', `vdev '${text}': '${part}' is not key=value`);
    return [key, equals < 0 ? '1' : unquote(part.slice(equals + 1).trim())];
  });
  return { name, pairs };
}

function splitAtCommas(text: string): string[] {
  const parts: string[] = [];
  let start = 0;
  let close = '';
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (close !== '') {
      if (c === close) close = '';
    } else if (text[i - 1] === '=' && (c === '[' || c === '"')) {
      close = c === '[' ? ']' : '"';
    } else if (c === ',') {
      parts.push(text.slice(start, i).trim());
      start = i + 1;
    }
  }
  if (close !== '') throw new ViaductError('ERR_DEVARGS', `vdev '${text}': no closing ${close}`);
  parts.push(text.slice(start).trim());
  return parts;
}

function unquote(value: string): string {
  const bracketed = (value.startsWith('[') && value.endsWith(']')) || (value.startsWith('"') && value.endsWith('"'));
  return bracketed && value.length >= 2 ? value.slice(1, -1) : value;
}

/** One device's arguments with typed getters. Every error names the device, the key and what is allowed. */
export class Devargs {
  /** `net_vhost0` */
  readonly name: string;
  readonly #values = new Map<string, string>();

  /** Throws ERR_DEVARGS for a key that is not among `known` and for a key that comes twice. */
  constructor(vdev: Vdev, known: readonly Devarg[]) {
    this.name = vdev.name;
    for (const [key, value] of vdev.pairs) {
      if (!known.some((arg) => arg.key === key)) {
        const list = known.length === 0 ? 'it takes none' : `it knows ${known.map((arg) => arg.key).join(', ')}`;
        throw this.#error(`unknown argument '${key}'; ${list}`);
      }
      if (this.#values.has(key)) throw this.#error(`argument '${key}' is given twice`);
      this.#values.set(key, value);
    }
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  /** The text, or undefined when the key is absent. An empty value is refused. */
  string(key: string): string | undefined {
    const value = this.#values.get(key);
    if (value === '') throw this.#error(`argument '${key}' is empty`);
    return value;
  }

  requiredString(key: string, example: string): string {
    const value = this.string(key);
    if (value === undefined) throw this.#error(`argument '${key}' is missing: say ${this.name},${key}=${example}`);
    return value;
  }

  /** A decimal or 0x integer in [min, max]. */
  integer(key: string, byDefault: number, min: number, max: number): number {
    const text = this.#values.get(key);
    if (text === undefined) return byDefault;
    const value = /^(\d+|0[xX][0-9a-fA-F]+)$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max)) {
      throw this.#error(`argument '${key}=${text}' must be an integer from ${min} to ${max}`);
    }
    return value;
  }

  /** 0 or 1. */
  flag(key: string, byDefault = false): boolean {
    return this.integer(key, byDefault ? 1 : 0, 0, 1) === 1;
  }

  /** One of a few words. */
  choice<T extends string>(key: string, byDefault: T, words: readonly T[]): T {
    const text = this.#values.get(key);
    if (text === undefined) return byDefault;
    const word = words.find((candidate) => candidate === text);
    if (word === undefined) throw this.#error(`argument '${key}=${text}' must be one of ${words.join(', ')}`);
    return word;
  }

  /** A unicast MAC address, `02:00:00:00:00:01`. */
  mac(key: string): Uint8Array | undefined {
    const text = this.#values.get(key);
    if (text === undefined) return undefined;
    try {
      return parseMac(text);
    } catch (cause) {
      throw this.#error(`argument '${key}': ${(cause as Error).message}`, { cause });
    }
  }

  #error(what: string, options?: ErrorOptions): ViaductError {
    return new ViaductError('ERR_DEVARGS', `${this.name}: ${what}`, options);
  }
}

/** `02:00:00:00:00:01` (or with `-`) → 6 bytes. Throws ERR_INVALID_ARGUMENT for anything else, a group or a zero address. */
export function parseMac(text: string): Uint8Array {
  const groups = text.split(/[:-]/);
  if (groups.length !== 6 || !groups.every((group) => /^[0-9a-fA-F]{1,2}$/.test(group))) {
    throw new ViaductError('ERR_INVALID_ARGUMENT', `'${text}' is not a MAC address such as 02:00:00:00:00:01`);
  }
  const mac = Uint8Array.from(groups, (group) => Number.parseInt(group, 16));
  if ((mac[0]! & 1) === 1) {
    throw new ViaductError('ERR_INVALID_ARGUMENT', `'${text}' is a group address: a port needs a unicast one`);
  }
  if (mac.every((byte) => byte === 0)) {
    throw new ViaductError('ERR_INVALID_ARGUMENT', `'${text}' is all zero: a port needs an address of its own`);
  }
  return mac;
}

/** 6 bytes → `02:00:00:00:00:01`. */
export function formatMac(mac: Uint8Array): string {
  return Array.from(mac.subarray(0, 6), (byte) => byte.toString(16).padStart(2, '0')).join(':');
}
