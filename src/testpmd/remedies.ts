/** What to do, as testpmd's commands: the API's errors name the API's calls, which nobody can type here. */

import { createLogger, type Logger } from '../index.js';

type Remedy = readonly [api: RegExp, testpmd: string];

/** `N` stands for the port that the message names. */
const REMEDIES: readonly Remedy[] = [
  [/call configure\(.*?\) first/, "say 'port start N' first"],
  [/call [rt]xQueueSetup\(.*?\) first/, "say 'port reset N' first"],
  [/(await port\.start\(\)|call start\(\)) first(, ports before forwarding)?/, "say 'port start N' first"],
  [/call stop\(\) first/, "say 'port stop N' first"],
  [/only close\(\) is left/, "only 'port close N' is left"],
  [/stop\(\) it first/, "say 'stop' first"],
  [/configure: rxQueueCount (\d+)/, "$1 rx queues (--rxq, 'port config all rxq')"],
  [/configure: txQueueCount (\d+)/, "$1 tx queues (--txq, 'port config all txq')"],
  [/rx queue \d+: descriptorCount (\d+)/, "$1 rx descriptors (--rxd, 'port config all rxd')"],
  [/tx queue \d+: descriptorCount (\d+)/, "$1 tx descriptors (--txd, 'port config all txd')"],
  [/ask for as many of the one as of the other/, "make --rxq and --txq the same, or 'port config all rxq' and txq"],
  [
    /configure it with (\d+), or give the back end (\d+) /,
    "take $1 (--rxq and --txq, or 'port config all rxq' and txq), or give the back end $2 ",
  ],
  [
    /make that segment longer with setTxPackets, or take txonly/,
    "make that segment longer ('set txpkts', --txpkts), or 'set fwd txonly'",
  ],
  [
    /split it with setTxPackets, or make a pool with larger buffers/,
    "split it with 'set txpkts', or start with a larger --mbuf-size",
  ],
  [/give a pool with dataRoomBytes of \d+ or more/, 'start with a larger --mbuf-size'],
  [/\(memoryMiB, or -m on the command line\)/, '(-m)'],
  [/memoryMiB \(-m\)/, '-m'],
];

/** A message of the API with its remedy in testpmd's words. */
export function inTestpmdsWords(message: string): string {
  const offload = /enable it with configure\(\{ ([rt]x)Offloads: \['(\w+)'\] \}\)/.exec(message);
  let text = message;
  if (offload !== null) {
    text = text.replace(offload[0], `say 'port config N ${offload[1]}_offload ${offload[2]!.toLowerCase()} on'`);
  }
  const count = /configure: [rt]xQueueCount (\d+)/.exec(message);
  if (count !== null && /\(net_(vhost|virtio_user)\d+\)/.test(message)) {
    text += `: say queues=${count[1]} in its --vdev`;
  }
  for (const [api, testpmd] of REMEDIES) text = text.replace(api, testpmd);
  const port = /\bport (\d+) \(/.exec(message)?.[1];
  return text.replace(/'port (config |start |stop |reset |close )N\b/g, `'port $1${port ?? '(port_id)'}`);
}

/** testpmd's log, on standard error unless `write` takes its lines. */
export function testpmdLogger(write = (line: string): void => void process.stderr.write(`${line}\n`)): Logger {
  return createLogger('notice', (line) => write(inTestpmdsWords(line)));
}
