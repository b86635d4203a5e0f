import t from 'tap';
import { Flow, turn } from '../support/flow.js';
import { Lab } from '../support/lab.js';
import { SwitchRig } from '../support/switch-rig.js';
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_VERSION_1,
  VIRTIO_NET_F_MRG_RXBUF,
} from '../support/test-guest.js';

/** Frames of the long run, both directions together. VIADUCT_INTEGRITY_FRAMES changes it. */
const FRAMES = Number(process.env.VIADUCT_INTEGRITY_FRAMES ?? 10_000_000);
const STALL_MS = 10_000;

/** Every length from 60 to 1514, short and long ones mixed. */
function mixedSize(sequence: number): number {
  return 60 + ((Math.imul(sequence, 0x9e3779b1) >>> 8) % 1455);
}

/** Runs the flows until each has sent `frames` and nothing is under way any more. */
async function run(rig: SwitchRig, flows: readonly Flow[], frames: number): Promise<void> {
  let progress = Date.now();
  for (let round = 0; ; round++) {
    let moved = 0;
    for (const flow of flows) moved += flow.send(frames);
    for (const flow of flows) moved += flow.receive();
    if (moved > 0) progress = Date.now();
    else {
      const missing = flows.reduce((sum, flow) => sum + flow.missing, 0);
      const allSent = flows.every((flow) => flow.sent === frames && flow.inFlight === 0);
      if (allSent && (missing === 0 || missing === rig.dropCount())) return;
      if (Date.now() - progress > STALL_MS) {
        const state = flows.map(({ sent, received, inFlight }) => ({ sent, received, inFlight }));
        throw new Error(`nothing moves: ${JSON.stringify({ state, drops: rig.dropCount(), stats: rig.l2.stats() })}`);
      }
    }
    if (round % 64 === 0 || moved === 0) await turn();
  }
}

t.test('10 million frames of mixed sizes: none altered, none lost but counted', { timeout: 240_000 }, async (t) => {
  const lab = Lab.forTest(t, 'integrity');
  const rig = await SwitchRig.open(lab, { ports: 2 });
  const before = rig.holdings();
  const ringSize = 1024;
  const a = await rig.connect(0, {
    ringSize,
    wants: VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MRG_RXBUF | VIRTIO_F_EVENT_IDX,
    txLayout: 'single',
  });
  const b = await rig.connect(1, {
    ringSize,
    wants: VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MRG_RXBUF | VIRTIO_F_INDIRECT_DESC,
    txLayout: 'header-apart',
  });
  const flows = [new Flow(a, b, mixedSize), new Flow(b, a, mixedSize)];
  // Both ends have been learned before a frame counts: a flooded frame would still come only once, with two ports.
  await run(rig, flows, FRAMES / 2);
  for (const flow of flows) {
    t.equal(flow.sent, FRAMES / 2, 'sent');
    t.equal(flow.altered, 0, 'none altered');
    t.equal(flow.misordered, 0, 'none twice, none late');
  }
  const missing = flows.reduce((sum, flow) => sum + flow.missing, 0);
  t.equal(missing, rig.dropCount(), 'every frame that is missing was counted as dropped');
  const delivered = flows.reduce((sum, flow) => sum + flow.received, 0);
  t.ok(delivered >= FRAMES * 0.9, `${delivered} of ${FRAMES} frames delivered`);
  t.equal(rig.xstat(0, 'rx_good_packets') + rig.xstat(1, 'rx_good_packets'), FRAMES, 'the ports counted what was sent');
  t.equal(rig.xstat(0, 'tx_good_packets'), flows[1]!.received);
  t.equal(rig.xstat(1, 'tx_good_packets'), flows[0]!.received);
  await rig.disconnect(a, 0);
  await rig.disconnect(b, 1);
  t.same(rig.holdings(), before, 'descriptors, windows and mbufs as before');
});
