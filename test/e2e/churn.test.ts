/** A guest is killed with -9 in full traffic and comes back, again and again; the other ports never stop. */
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { Flow, type FlowEnd, turn } from '../support/flow.js';
import { Lab } from '../support/lab.js';
import { type Holdings, SwitchRig } from '../support/switch-rig.js';

const TIMES = 10;
const VICTIM = 0;
const FLOOD_GUEST = fileURLToPath(new URL('../support/flood-guest.js', import.meta.url));
/** What counts as full traffic before the kill. */
const FULL_TRAFFIC_FRAMES = 200_000;
const PATIENCE_MS = 30_000;
const SETTLE_MS = 2_000;
/** The others' counters are looked at this often: they must advance each time ... */
const WATCH_MS = 200;
/** ... that this thread had so many turns to make the friends talk. */
const WATCH_TURNS = 50;

/** Two friends exchange frames, and their ports' counters are watched. */
class Watch {
  readonly #rig: SwitchRig;
  readonly #flows: readonly Flow[];
  #lastLook = Date.now();
  #turns = 0;
  #lastCounts: number[];
  looks = 0;
  /** Looks at which a port had not moved a frame since the last one. */
  standstills = 0;

  constructor(rig: SwitchRig, one: FlowEnd, two: FlowEnd) {
    this.#rig = rig;
    this.#flows = [new Flow(one, two, () => 200), new Flow(two, one, () => 200)];
    this.#lastCounts = this.#counts();
  }

  /** Frames that the friends have received. */
  get received(): number {
    return this.#flows.reduce((sum, flow) => sum + flow.received, 0);
  }

  /** Keeps the friends talking until the condition holds. */
  async until(what: string, condition: () => boolean): Promise<void> {
    const deadline = Date.now() + PATIENCE_MS;
    while (!condition()) {
      await this.#step();
      if (Date.now() > deadline) throw new Error(`${what}: not within ${PATIENCE_MS} ms`);
    }
  }

  /** Lets everything arrive that is under way. */
  async quiet(): Promise<void> {
    const deadline = Date.now() + PATIENCE_MS;
    while (this.#flows.some((flow) => flow.inFlight > 0) || this.#rig.mempool.inUseCount > 0) {
      for (const flow of this.#flows) flow.receive();
      await turn();
      if (Date.now() > deadline) throw new Error(`${this.#rig.mempool.inUseCount} mbufs are not given back`);
    }
    for (const flow of this.#flows) flow.receive();
  }

  /** Waits until the condition holds, for some time and without the friends. Whether it then does is for the caller to check. */
  async settle(condition: () => boolean): Promise<void> {
    const deadline = Date.now() + SETTLE_MS;
    while (!condition() && Date.now() < deadline) await turn();
    this.#lastLook = Date.now();
  }

  check(t: Test): void {
    t.ok(this.looks > TIMES, `looked ${this.looks} times`);
    t.equal(this.standstills, 0, 'the other ports moved frames between any two looks');
    for (const flow of this.#flows) {
      t.equal(flow.altered + flow.misordered, 0, 'nothing odd came');
      t.ok(flow.received > 0, `${flow.received} of ${flow.sent} frames came`);
    }
  }

  async #step(): Promise<void> {
    for (const flow of this.#flows) {
      // Frames that were lost to a full ring count as missing: look at what the ring holds, not at them.
      if (flow.inFlight < 128) flow.send();
      flow.receive();
    }
    await turn();
    if (++this.#turns < WATCH_TURNS || Date.now() - this.#lastLook < WATCH_MS) return;
    const counts = this.#counts();
    this.looks++;
    if (counts.some((count, index) => count <= this.#lastCounts[index]!)) this.standstills++;
    this.#lastCounts = counts;
    this.#turns = 0;
    this.#lastLook = Date.now();
  }

  #counts(): number[] {
    return [1, 2].flatMap((port) => {
      const { ipackets, opackets } = this.#rig.ports[port]!.stats();
      return [ipackets, opackets];
    });
  }
}

function sameHoldings(one: Holdings, two: Holdings): boolean {
  return one.descriptors === two.descriptors && one.windows === two.windows && one.mbufsInUse === two.mbufsInUse;
}

async function churn(t: Test, role: 'connect' | 'listen'): Promise<void> {
  const lab = Lab.forTest(t, `churn-${role}`);
  const rig = await SwitchRig.open(lab, { ports: 3, clients: role === 'listen' ? [VICTIM] : [] });
  const one = await rig.connect(1, { ringSize: 1024 });
  const two = await rig.connect(2, { ringSize: 1024 });
  const watch = new Watch(rig, one, two);
  const port = rig.ports[VICTIM]!;
  const events: string[] = [];
  port.on('linkUp', () => events.push('up'));
  port.on('linkDown', () => events.push('down'));
  await watch.quiet();
  const before = rig.holdings();

  for (let time = 1; time <= TIMES; time++) {
    // Who was killed has left its socket behind.
    if (role === 'listen') rmSync(rig.socket(VICTIM), { force: true });
    const args = [FLOOD_GUEST, role, rig.socket(VICTIM), '02:00:00:00:00:10', one.mac];
    const peer = lab.start(`victim-${time}`, process.execPath, args);
    const from = port.stats().ipackets;
    await watch.until(`victim ${time} in full traffic`, () => {
      if (peer.exit !== undefined) throw new Error(`victim ${time} ended by itself:\n${peer.tail()}`);
      return port.stats().ipackets > from + FULL_TRAFFIC_FRAMES;
    });
    peer.signal('SIGKILL');
    await watch.until(`link down after kill ${time}`, () => peer.exit !== undefined && !port.link().up);
    const received = watch.received;
    await watch.until(`the others go on after kill ${time}`, () => watch.received > received + 1_000);
    await watch.quiet();
    // The pipes to the victim are ours too, and close in their own time.
    await watch.settle(() => sameHoldings(rig.holdings(), before));
    t.same(rig.holdings(), before, `after kill ${time}: descriptors, windows and mbufs as before`);
  }
  t.same(events, Array.from({ length: TIMES }, () => ['up', 'down']).flat(), 'the link went up and down each time');
  watch.check(t);

  // And it can still come back for good.
  if (role === 'connect') {
    const end = await rig.connect(VICTIM);
    const flow = new Flow(end, one, () => 100);
    await watch.quiet();
    await watch.until('the guest that came back is heard', () => {
      if (flow.sent < 100) flow.send(100);
      return port.stats().ipackets >= TIMES * FULL_TRAFFIC_FRAMES + 100 && flow.inFlight === 0;
    });
    t.equal(rig.ports.length, 3, 'ports as before');
    t.ok(
      rig.ports.every((each) => each.state === 'started'),
      'all of them started',
    );
    await rig.disconnect(end, VICTIM);
  }
  t.ok(rig.l2.isRunning, 'the switch runs');
}

// The file's time, also when it runs without tap's runner.
t.setTimeout(300_000);

t.test(`killed -9 ${TIMES} times, Viaduct listening`, { timeout: 120_000 }, (t) => churn(t, 'connect'));
t.test(`killed -9 ${TIMES} times, Viaduct connecting`, { timeout: 120_000 }, (t) => churn(t, 'listen'));
