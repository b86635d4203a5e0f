/** vlan set, tx_vlan: as a child process; net_vhost's packets come back to it through net_virtio_user. */
import t from 'tap';
import { table } from './script.js';

const PAIR = ['--vdev', 'net_vhost0,iface=inproc:a', '--vdev=net_virtio_user0,path=inproc:a'];
const RINGS = ['--vdev', 'net_ring0,wire=a', '--vdev=net_ring1,wire=a'];

t.test('vlan set strips while the port runs; tx_vlan wants a stopped one', async (t) => {
  await table(
    t,
    [...PAIR, '--', '-i', '--forward-mode=flowgen'],
    [
      ['show port info 0', /\nVLAN offload: \n {2}strip off, filter off, extend off, qinq strip off\n/],
      ['vlan set strip on 0', ''],
      ['vlan set qinq_strip on 0', ''],
      ['show port info 0', /\nVLAN offload: \n {2}strip on, filter off, extend off, qinq strip on\n/],
      ['vlan set qinq_strip off 0', ''],
      ['show port 0 rx_offload configuration', / {2}Port : VLAN_STRIP\n {2}Queue\[ 0\] : VLAN_STRIP\n/],
      ['vlan set filter on 0', /^Error: vlan filter is not supported by port 0\n$/],
      ['vlan set extend on 0', /^Error: vlan extend is not supported by port 0\n$/],
      ['vlan set filter off 0', ''],
      ['vlan set strip on 7', /^Invalid port 7\n/],
      ['vlan set strip maybe 0', /^Bad arguments\n/],
      ['tx_vlan set 0 5', /^Please stop port 0 first\n$/],
      ['tx_vlan reset 0', /^Please stop port 0 first\n$/],
      ['port stop 0', /Done\n$/],
      ['tx_vlan set 0 4096', /^Invalid vlan_id 4096 \(must be < 4096\)\n$/],
      ['tx_vlan set 0 5 4096', /^Invalid vlan_id 4096 /],
      ['tx_vlan set 0 5 6', ''],
      ['tx_vlan set 0 5', /^Error, as QinQ has been enabled\.\nSay tx_vlan reset 0 first\n$/],
      ['tx_vlan reset 0', ''],
      ['tx_vlan set 0 5', ''],
      ['port start 0', /^Configuring Port 0 /],
      ['show port 0 tx_offload configuration', / {2}Port : VLAN_INSERT\n/],
      ['show port 0 rx_offload configuration', / {2}Port : VLAN_STRIP\n/],
      ['start', /^flowgen /],
      ['sleep 1', ''],
      ['stop', /TX-packets: [1-9]/],
      // 64 bytes and a tag one way, without it the other
      ['show port xstats 1', /\nrx_q0_size_64_packets: 0\nrx_q0_size_65_127_packets: [1-9][\s\S]*\ntx_q0_size_64_packets: [1-9]\d*\ntx_q0_size_65_127_packets: 0\n/],
    ], // biome-ignore format: a table
  );
});

t.test('ports without the offload', async (t) => {
  await table(
    t,
    [...RINGS, '--', '-i'],
    [
      ['vlan set strip on 0', /^Error: vlan strip is not supported by port 0\n$/],
      ['vlan set strip off 0', ''],
      ['port stop 0', /Done\n$/],
      ['tx_vlan set 0 5', /^Error: vlan insert is not supported by port 0\n$/],
      ['tx_vlan set 0 5 6', /^Error: qinq insert is not supported by port 0\n$/],
      ['tx_vlan reset 0', ''],
    ], // biome-ignore format: a table
  );
});
