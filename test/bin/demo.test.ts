import t, { type Test } from 'tap';
import { account, faults, type Side } from '../../src/demo/account.js';
import { FRAME_BYTES, verifyFrame, writeFrame } from '../../src/demo/frame.js';
import { once, viaduct } from './command.js';

/** Reads the summary's row: sent, received, verified, lost, dropped. */
function summary(stdout: string, name: string): number[] {
  const line = stdout.split('\n').find((candidate) => candidate.trim().startsWith(name) && /\d$/.test(candidate));
  return (line ?? '')
    .slice(line!.indexOf(name) + name.length)
    .trim()
    .split(/\s+/)
    .slice(0, 5)
    .map((cell) => Number(cell.replaceAll(',', '')));
}

function checkDemo(t: Test, stdout: string): void {
  for (const name of ['A → B', 'B → A', 'both']) {
    const [sent, received, verified, lost, dropped] = summary(stdout, name) as [number, number, number, number, number];
    t.ok(verified > 0, `${name}: ${verified} frames verified`);
    t.equal(verified, received, 'all that arrived');
    t.equal(sent - received, lost);
    t.equal(lost, dropped, 'every lost frame is in a drop counter');
  }
  t.match(stdout, /✓ [\d,]+ frames arrived unaltered and in order/);
  t.notMatch(stdout, '\x1b', 'no escape sequences where there is no terminal');
}

t.test('the demo verifies and accounts for every frame', async (t) => {
  const { code, stdout, stderr } = await viaduct(['demo', '--seconds', '1']);
  t.equal(stderr, '');
  t.equal(code, 0);
  checkDemo(t, stdout);
});

t.test('and without koffi, and without flow control', async (t) => {
  const { code, stdout } = await viaduct(['demo', '--seconds', '1', '--flood'], { env: { VIADUCT_NO_KOFFI: '1' } });
  t.equal(code, 0);
  checkDemo(t, stdout);
});

t.test('Ctrl-C ends it with the summary', async (t) => {
  const onOutput = once('1 s ', (child) => child.kill('SIGINT'));
  const { code, stdout } = await viaduct(['demo', '--seconds', '600'], { onOutput });
  t.equal(code, 0);
  checkDemo(t, stdout);
});

t.test('a frame that was altered anywhere is seen', async (t) => {
  for (const bytes of new Set(FRAME_BYTES)) {
    const u32 = new Uint32Array(400).fill(0xdead_beef);
    writeFrame(u32, 4, 12345, 678, bytes);
    t.ok(verifyFrame(u32, 4, bytes), `${bytes} bytes`);
    t.equal(u32[4 + bytes / 4], 0xdead_beef, 'nothing behind the frame was touched');
    t.notOk(verifyFrame(u32, 4, bytes - 4), 'cut short');
    t.notOk(verifyFrame(u32, 4, bytes - 1), 'no whole word');
    for (let word = 3; word < bytes / 4; word++) {
      for (const bit of [0, 31]) {
        u32[4 + word]! ^= 1 << bit;
        if (verifyFrame(u32, 4, bytes)) t.fail(`bit ${bit} of word ${word} of ${bytes} bytes`);
        u32[4 + word]! ^= 1 << bit;
      }
    }
  }
});

t.test('the book-keeping sees what does not add up', async (t) => {
  const stats = (ipackets: number, opackets: number) => ({ ipackets, opackets }) as Side['card']['backStats'];
  const side = (name: string, sent: number, received: number, card: Partial<Side['card']>): Side => ({
    name,
    guest: {
      sent,
      sentBytes: 0,
      received,
      receivedBytes: 0,
      verified: received,
      altered: 0,
      missing: 0,
      disordered: 0,
    },
    card: { front: [], back: [], backStats: stats(0, 0), ...card },
  });
  const from = side('A', 100, 0, {
    back: [{ name: 'rx_q0_drop_runt', value: 3 }],
    backStats: stats(97, 0),
  });
  const to = (received: number, opackets: number) =>
    side('B', 0, received, {
      back: [
        { name: 'tx_q0_full', value: 10 },
        { name: 'tx_q0_drop_no_room', value: 2 },
      ],
      front: [{ name: 'rx_q0_drop_no_mbuf', value: 1 }],
      backStats: stats(0, opackets),
    });
  const good = account(from, to(84, 85));
  t.strictSame([good.lost, good.dropped], [16, 16]);
  t.strictSame(good.losses, [
    { where: 'switch, receiving from guest A', cause: 'runt', frames: 3 },
    { where: 'switch, sending to guest B', cause: 'ring full', frames: 10 },
    { where: 'switch, sending to guest B', cause: 'no room', frames: 2 },
    { where: 'guest B', cause: 'no mbuf', frames: 1 },
  ]);
  t.strictSame(faults(good), []);
  t.match(faults(account(from, to(83, 85))).join(), /17 frames were lost, but 16 are in drop counters/);
  t.match(faults({ ...good, altered: 1 }).join(), /1 frames arrived altered/);
  t.match(faults({ ...good, disordered: 2 }).join(), /out of order/);
  t.match(faults({ ...good, missing: 17 }).join(), /gaps of 17 frames, but 16 were lost/);
  t.match(faults({ ...good, verified: 0 }).join(), /no frame got through/);
});
