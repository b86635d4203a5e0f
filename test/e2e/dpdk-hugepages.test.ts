/** DPDK over hugepages, whose files cannot be sealed and whose windows need 2 MiB: the set-up of the comparison benchmark. */
import t from 'tap';
import { Testpmd } from '../support/dpdk.js';
import { reserveHugepages } from '../support/hugepages.js';
import { Lab } from '../support/lab.js';
import { startViaductTestpmd } from '../support/viaduct.js';

const MEMORY_MIB = 256;
const FRAMES = 100_000;

t.test("DPDK's client on hugepages, frames go round", { timeout: 60_000 }, async (t) => {
  const lab = Lab.forTest(t, 'dpdk-hugepages');
  const hugeDir = reserveHugepages(lab, MEMORY_MIB + 64);
  const socket = lab.path('vh.sock');
  const viaduct = await startViaductTestpmd(lab, 'viaduct', {
    vdev: [`net_vhost0,iface=${socket},queues=1`],
    args: ['--forward-mode=io', '-a'],
  });
  const dpdk = await Testpmd.start(lab, 'dpdk', {
    vdev: [`net_virtio_user0,mac=00:11:22:33:44:10,path=${socket},queue_size=256,packed_vq=0`],
    lcores: '0@1,1@0',
    hugeDir,
    memoryMiB: MEMORY_MIB,
  });
  await dpdk.linkUp();
  for (const size of [64, 1518]) {
    await dpdk.run(`set txpkts ${size}`);
    await dpdk.run('clear port stats all');
    await dpdk.run('start tx_first 32');
    const stats = await dpdk.statsUntil(({ rxPackets }) => rxPackets > FRAMES, 20_000);
    await dpdk.run('stop');
    t.ok(stats.rxPackets > FRAMES, `${size} B: ${stats.rxPackets} frames came back`);
    t.equal(stats.rxErrors + stats.rxNombuf, 0, 'no errors');
  }
  t.equal(await dpdk.quit(), 0);
  t.equal(await viaduct.quit(), 0);
});
