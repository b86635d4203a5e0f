/** Finds the driver of a vdev. Drivers load when they are first asked for: a program without OS drivers never loads FFI. */
import { ViaductError } from '../errors.js';
import { Devargs, parseVdev } from './devargs.js';
import type { Driver } from './types.js';

const loaders: Readonly<Record<string, () => Promise<Driver>>> = {
  net_null: async () => (await import('./net_null.js')).netNull,
  net_ring: async () => (await import('./net_ring.js')).netRing,
  net_vhost: async () => (await import('./net_vhost.js')).netVhost,
  net_virtio_user: async () => (await import('./net_virtio_user.js')).netVirtioUser,
};

/** Names of all drivers. */
export const driverNames: readonly string[] = Object.keys(loaders);

/** Earlier spellings, which DPDK also takes (RTE_PMD_REGISTER_ALIAS). */
const aliases: Readonly<Record<string, string>> = {
  eth_null: 'net_null',
  eth_ring: 'net_ring',
  eth_vhost: 'net_vhost',
  virtio_user: 'net_virtio_user',
};

/** The driver's name of a device: the longest known name before the instance number. ERR_UNKNOWN_DRIVER names them all. */
export function driverNameOf(device: string): string {
  let found = '';
  for (const name of [...driverNames, ...Object.keys(aliases)]) {
    if (name.length > found.length && device.startsWith(name) && /^\d*$/.test(device.slice(name.length))) found = name;
  }
  if (found === '') {
    throw new ViaductError(
      'ERR_UNKNOWN_DRIVER',
      `no driver for '${device}': a device is a driver's name and a number, and the drivers are ${driverNames.join(', ')}`,
    );
  }
  return aliases[found] ?? found;
}

/** Parses a vdev string and loads its driver, unless the caller has brought one. Nothing is probed yet. */
export async function findDriver(vdev: string, own?: Driver): Promise<{ driver: Driver; args: Devargs }> {
  const parsed = parseVdev(vdev);
  const driver = own ?? (await loaders[driverNameOf(parsed.name)]!());
  return { driver, args: new Devargs(parsed, driver.devargs) };
}

/** Loads every driver, for help texts. */
export function allDrivers(): Promise<Driver[]> {
  return Promise.all(Object.values(loaders).map((load) => load()));
}
