import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';

t.test('the example that runs anywhere', async (t) => {
  const file = fileURLToPath(new URL('../../examples/rings.js', import.meta.url));
  const env = { ...process.env, VIADUCT_NO_KOFFI: '1' };
  const { stdout } = await promisify(execFile)(process.execPath, [file], { env, timeout: 20_000 });
  t.equal(stdout, '10000 frames came back with their addresses swapped, 0 were wrong\n');
});
