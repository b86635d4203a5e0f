/** The packet function of custom-switch.ts. */
import type { LcoreMain } from 'viaduct';

export interface CustomSwitchArgs {
  readonly portIds: readonly number[];
  /** Address of the mempool that clones come from. */
  readonly mempool: number;
  /** Pairs of ports that may not talk to each other. */
  readonly isolated: readonly (readonly [number, number])[];
}

const ETHER_HDR_LEN = 14;
/** A guest that makes up addresses must not fill the memory. */
const MAX_STATIONS = 4096;

const main: LcoreMain<CustomSwitchArgs> = (lcore) => {
  const { portIds, mempool, isolated } = lcore.arg;
  const ports = new Map(portIds.map((id) => [id, lcore.port(id)]));
  const pool = lcore.mempool(mempool);
  const burst = lcore.burst(32);
  const one = lcore.burst(1);
  const m = lcore.mbuf();
  const stations = new Map<number, number>();

  const allowed = (from: number, to: number): boolean =>
    from !== to && !isolated.some(([a, b]) => (a === from && b === to) || (a === to && b === from));
  const address = (offset: number): number => m.u32(offset) * 0x1_0000 + m.u16(offset + 4);
  const send = (handle: number, to: number): void => {
    one.handles[0] = handle;
    if (ports.get(to)!.txBurst(0, one, 1) === 0) one.free(0, 1);
  };

  const forward = (handle: number, from: number): void => {
    m.at(handle);
    if (m.dataLen < ETHER_HDR_LEN) {
      m.free();
      return;
    }
    const source = address(6);
    if (stations.has(source) || stations.size < MAX_STATIONS) stations.set(source, from);
    const to = (m.u8(0) & 1) === 1 ? undefined : stations.get(address(0));
    if (to !== undefined) {
      if (allowed(from, to)) send(handle, to);
      else m.free();
      return;
    }
    for (const id of portIds) {
      if (!allowed(from, id)) continue;
      const clone = m.at(handle).clone(pool);
      if (clone !== 0) send(clone, id);
    }
    m.at(handle).free();
  };

  return () => {
    let handled = 0;
    for (const [id, port] of ports) {
      const n = port.rxBurst(0, burst);
      for (let i = 0; i < n; i++) forward(burst.handles[i]!, id);
      handled += n;
    }
    return handled;
  };
};

export default main;
