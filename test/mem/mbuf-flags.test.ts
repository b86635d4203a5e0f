/** Names of mbuf flags and packet types, and that DPDK's numbers are DPDK's. */
import t from 'tap';
import { MbufFlags, mbufFlagNames, PacketType, packetTypeName } from '../../src/mbuf-flags.js';

t.test('flags by name', async (t) => {
  t.same(mbufFlagNames(0), []);
  for (const [name, flag] of Object.entries(MbufFlags)) {
    if (name !== 'RX_L4_CKSUM_MASK') t.same(mbufFlagNames(flag), [name]);
  }
  const { RX_VLAN, RX_L4_CKSUM_GOOD, TX_TCP_SEG, TX_IPV4 } = MbufFlags;
  t.same(mbufFlagNames(RX_VLAN | RX_L4_CKSUM_GOOD | TX_TCP_SEG | TX_IPV4), [
    'RX_VLAN',
    'TX_TCP_SEG',
    'TX_IPV4',
    'RX_L4_CKSUM_GOOD',
  ]);
  t.same(mbufFlagNames(0xc000_0000), [], 'whose buffer it is is not among them');
});

t.test('no two flags share a bit, but for the L4 checksum', async (t) => {
  const single = Object.entries(MbufFlags).filter(([name]) => !name.startsWith('RX_L4_CKSUM'));
  let all = MbufFlags.RX_L4_CKSUM_MASK as number;
  for (const [name, flag] of single) {
    t.equal(flag & (flag - 1), 0, `${name} is one bit`);
    t.equal(all & flag, 0, `${name} is nobody else's`);
    all |= flag;
  }
});

t.test('packet types by name, as rte_get_ptype_name has them', async (t) => {
  const { L2_ETHER, L3_IPV4, L4_TCP, L2_ETHER_QINQ, L3_IPV6_EXT, L4_FRAG, L2_ETHER_VLAN, L4_UDP } = PacketType;
  t.equal(packetTypeName(0), 'UNKNOWN');
  t.equal(packetTypeName(L2_ETHER), 'L2_ETHER');
  t.equal(packetTypeName(L2_ETHER | L3_IPV4 | L4_TCP), 'L2_ETHER L3_IPV4 L4_TCP');
  t.equal(packetTypeName(L2_ETHER_QINQ | L3_IPV6_EXT | L4_FRAG), 'L2_ETHER_QINQ L3_IPV6_EXT L4_FRAG');
  t.equal(packetTypeName(L2_ETHER_VLAN | 0x20 | L4_UDP), 'L2_ETHER_VLAN L3_UNKNOWN L4_UDP');
  t.equal(packetTypeName(0x111), 'L2_ETHER L3_IPV4 L4_TCP', "DPDK's numbers");
  t.equal(packetTypeName(0x246), 'L2_ETHER_VLAN L3_IPV6 L4_UDP');
});
