/**
 * The linear-memory map and every structure in it. This is the only file in which an address or an offset is born: the
 * AssemblyScript module and the TypeScript control plane compile this same text (asc and tsc), so there is no second list.
 *
 *   0x0000_0000  null guard      never handed out, so 0 is "no mbuf", "no queue"
 *   0x0001_0000  EAL header      one page
 *   0x0001_1000  lcore table     MAX_LCORES × LCORE_SIZE
 *   0x0002_0000  port table      MAX_PORTS × PORT_SIZE
 *   0x0004_0000  memzones        mempools, rings, queues, tables: handed out by src/eal/memzone.ts up to the host end
 *   host end     guest windows   2 MiB-aligned host addresses, handed out by src/eal/windows.ts; PROT_NONE when free
 *   0xffff_0000  end guard       never handed out, so that address + length of a valid range never wraps
 *
 * "Host memory" is everything below the host end: JavaScript may read it. A window holds a guest's pages: only Wasm reads
 * it, because an access after an unmap traps in Wasm and kills the process from JavaScript.
 *
 * Plain `export const` numbers only: no import, no function, no enum, so that both compilers read it alike. Names end in
 * their unit or meaning: _OFFSET is left out for fields (STRUCT_FIELD is a byte offset inside STRUCT).
 */

// ---- limits ---------------------------------------------------------------------------------------------------------
export const PAGE_COUNT: u32 = 65536;
export const MAX_LCORES: u32 = 64;
export const MAX_PORTS: u32 = 64;
export const MAX_QUEUE_PAIRS: u32 = 128;
/** Memory regions of one guest (vhost-user memory slots). */
export const MAX_REGIONS: u32 = 64;
/** Largest virtqueue, virtio 1.2 section 2.7. */
export const MAX_VRING_SIZE: u32 = 32768;
/** Largest burst that a forwarding engine takes at once. */
export const MAX_BURST: u32 = 512;
/** Ethernet header without VLAN tag: a shorter frame is a runt. */
export const ETHER_HDR_LEN: u32 = 14;
/** Largest frame taken from or given to a guest: 64 KiB of IP payload with all headers. */
export const MAX_FRAME_LEN: u32 = 65562;
/** Memory segments one mbuf chain may have. */
export const MAX_SEGMENTS: u32 = 128;

// ---- the map --------------------------------------------------------------------------------------------------------
export const EAL_BASE: u32 = 0x0001_0000;
export const LCORE_BASE: u32 = 0x0001_1000;
export const PORT_BASE: u32 = 0x0002_0000;
export const MEMZONE_BASE: u32 = 0x0004_0000;
export const END_GUARD: u32 = 0xffff_0000;
export const CACHE_LINE: u32 = 64;
export const WINDOW_ALIGN: u32 = 0x0020_0000;

// ---- EAL header ------------------------------------------------------------------------------------------------------
/** u32: EAL_MAGIC once the memory is initialised. */
export const EAL_MAGIC_FIELD: u32 = 0;
export const EAL_MAGIC: u32 = 0x76696164;
/** u32: bytes of host memory, the address where windows begin. */
export const EAL_HOST_END: u32 = 4;
/** u32: lock of the window table, 0 free; u32: windows that are mapped now. */
export const EAL_WINDOW_LOCK: u32 = 64;
export const EAL_WINDOW_COUNT: u32 = 68;
/** u8[EAL_WINDOW_SLOT_MAX]: 1 = the WINDOW_ALIGN bytes at host end + index × WINDOW_ALIGN are taken. */
export const EAL_WINDOW_SLOTS: u32 = 256;
export const EAL_WINDOW_SLOT_MAX: u32 = 2048;

// ---- lcore: one polling thread ---------------------------------------------------------------------------------------
export const LCORE_SIZE: u32 = 256;
/** u32: LCORE_STATE_*. */
export const LCORE_STATE: u32 = 0;
/** u32: 1 asks the running loop to end at its next call. */
export const LCORE_STOP: u32 = 4;
/** i32: eventfd that wakes the lcore while it sleeps in poll(2); -1 without OS support. */
export const LCORE_WAKE_FD: u32 = 8;
/** u32: futex word, advanced by every wake-up. */
export const LCORE_WAKE_WORD: u32 = 12;
/** u32: LCORE_SLEEP_*: how the lcore sleeps right now, so that a waker knows what to do. */
export const LCORE_SLEEPING: u32 = 16;
/** u32: index in the lcore table. */
export const LCORE_ID: u32 = 20;
/** i32: CPU that the thread is pinned to, -1 for none. */
export const LCORE_CPU: u32 = 24;
/** u32, u32: the streams that lcoreRun polls: address of STREAM_SIZE records, and their count. */
export const LCORE_STREAMS: u32 = 28;
export const LCORE_STREAM_COUNT: u32 = 32;
/** u32: 1 = never sleep (`--poll`). */
export const LCORE_POLL_MODE: u32 = 36;
/** u32: address of this lcore's scratch burst, MAX_BURST handles. */
export const LCORE_SCRATCH: u32 = 40;
/** u32, u32: the rx queues whose notifications wake this lcore: address of an array of queue addresses, and their count. */
export const LCORE_RXQS: u32 = 44;
export const LCORE_RXQ_COUNT: u32 = 48;
/** u32, u32: memory for the packet function that runs on this lcore (its bursts): address, bytes. */
export const LCORE_ARENA: u32 = 52;
export const LCORE_ARENA_BYTES: u32 = 56;
/** u32: PREPARE_*: why the lcore's last txPrepare stopped, 0 when it took every packet. DPDK's rte_errno. */
export const LCORE_PREPARE_FAULT: u32 = 60;
/** Room of the LCORE_RXQS array that src/eal makes for each lcore. */
export const MAX_LCORE_RXQS: u32 = 1024;
/** u64 counters, written by the lcore itself. */
export const LCORE_POLLS: u32 = 64;
export const LCORE_BUSY_POLLS: u32 = 72;
export const LCORE_SLEEPS: u32 = 80;
export const LCORE_WAKEUPS: u32 = 88;
/** u32: 1 while the lcore's loop promises to send what is put off (lcoreFlush) before it sleeps or does anything else. */
export const LCORE_MODERATED: u32 = 96;
/** u32: microseconds of a monotonic clock that wraps, as of the loop's last look at it. */
export const LCORE_NOW_US: u32 = 100;
/** u32, u32[MAX_OWED]: queues of which this lcore owes the peer a notification. */
export const LCORE_OWED_COUNT: u32 = 104;
export const LCORE_OWED: u32 = 128;
export const MAX_OWED: u32 = 32;

/** Lcore id of a caller that is no lcore (control plane): mempool caches are passed over. */
export const LCORE_ANY: u32 = 0xffff_ffff;

export const LCORE_STATE_OFF: u32 = 0;
export const LCORE_STATE_WAIT: u32 = 1;
export const LCORE_STATE_RUNNING: u32 = 2;
export const LCORE_STATE_DEAD: u32 = 3;

export const LCORE_SLEEP_NONE: u32 = 0;
export const LCORE_SLEEP_FUTEX: u32 = 1;
export const LCORE_SLEEP_POLL: u32 = 2;

/** lcoreRun's answers. */
export const RUN_BUSY: u32 = 0;
export const RUN_IDLE: u32 = 1;
export const RUN_STOPPED: u32 = 2;

// ---- port ------------------------------------------------------------------------------------------------------------
export const PORT_SIZE: u32 = 512;
/** u32: PORT_STATE_*. */
export const PORT_STATE: u32 = 0;
/** u32: 1 when the peer is there and its queues can move packets. */
export const PORT_LINK_UP: u32 = 4;
/** u32 counts of the configured queues. */
export const PORT_RXQ_COUNT: u32 = 8;
export const PORT_TXQ_COUNT: u32 = 12;
/** u32: addresses of arrays of queue addresses (u32 each), MAX of the driver long. */
export const PORT_RXQS: u32 = 16;
export const PORT_TXQS: u32 = 20;
/** u32: largest payload of a frame, bytes without Ethernet header. */
export const PORT_MTU: u32 = 24;
/** u32 flag. */
export const PORT_PROMISC: u32 = 28;
/** 6 bytes. */
export const PORT_MAC: u32 = 32;
/** u32: address of the VHOST device record, or 0. */
export const PORT_DEVICE: u32 = 40;
/** u32: advanced each time that the peer comes (back). */
export const PORT_GENERATION: u32 = 44;
/** u32: PMD_* of its queues. */
export const PORT_PMD: u32 = 48;

export const PORT_STATE_UNUSED: u32 = 0;
export const PORT_STATE_PROBED: u32 = 1;
export const PORT_STATE_CONFIGURED: u32 = 2;
export const PORT_STATE_STARTED: u32 = 3;
export const PORT_STATE_REMOVED: u32 = 4;

// ---- queue: one direction of a queue pair; for vhost and virtio it is the virtqueue ----------------------------------------
export const QUEUE_SIZE: u32 = 53248;
// line 0: configuration, written by the control plane
/** u32: PMD_*: which poll-mode driver moves its packets. */
export const QUEUE_PMD: u32 = 0;
export const QUEUE_PORT: u32 = 4;
export const QUEUE_ID: u32 = 8;
/** u32: mempool that an rx queue takes mbufs from. */
export const QUEUE_POOL: u32 = 12;
/** i32: descriptor (fd) that the peer signals and an idle lcore sleeps on; -1 for none. */
export const QUEUE_KICK_FD: u32 = 16;
/** i32: descriptor (fd) that signals the peer; -1 for none (it polls, or it is in this process). */
export const QUEUE_CALL_FD: u32 = 20;
/** u32: address of the lcore that sleeps until somebody in this process signals this queue, 0 for nobody. */
export const QUEUE_WAITER: u32 = 24;
/** u32: queue of the other side, in this process, whose waiter is woken instead of a call fd; 0 for none. */
export const QUEUE_PEER: u32 = 28;
/** u32: VHOST device record (regions, features). */
export const QUEUE_DEVICE: u32 = 32;
/** u32: descriptors asked for at queue setup. */
export const QUEUE_NB_DESC: u32 = 36;
/** u32: null and ring pmds: frame length to make up; address of the mem/ring. */
export const QUEUE_RING: u32 = 40;
export const QUEUE_FRAME_LEN: u32 = 44;
/** u32: ETH_RX_OFFLOAD_* or ETH_TX_OFFLOAD_* that are enabled on this queue, ETH_RX_PTYPES besides. */
export const QUEUE_ETH_OFFLOADS: u32 = 48;
/** u32: address of the port's Toeplitz table (toeplitzInit) where RSS_HASH is enabled. */
export const QUEUE_RSS_TABLE: u32 = 52;
// line 1: the virtqueue, written by the control plane under the lock
/** u32: entries in the ring. */
export const QUEUE_VQ_SIZE: u32 = 64;
/** u32: linear addresses of the descriptor table, the driver (avail) area and the device (used) area. */
export const QUEUE_DESC: u32 = 68;
export const QUEUE_AVAIL: u32 = 72;
export const QUEUE_USED: u32 = 76;
/** u32: bytes of the virtio-net header, 10 or 12. */
export const QUEUE_HDR_LEN: u32 = 80;
/** u32: VQ_* flags of what is asked once a burst. */
export const QUEUE_VQ_FLAGS: u32 = 84;
/** u32: VQ_PATH_* bits: what the driver negotiated of the ring's shape, and with it the burst function, chosen at queue start. */
export const QUEUE_PATH: u32 = 88;
/** u32, driver side: address of the array of cookies, one a descriptor: u32 mbuf handle, u16 chain length, u16 next free id. */
export const QUEUE_COOKIES: u32 = 92;
export const COOKIE_SIZE: u32 = 8;
/**
 * u32, driver side, transmit: address of the area for what a packet needs beside its own bytes, TX_SLOT_SIZE a descriptor: the
 * virtio-net header that finds no room in the headroom, TX_SLOT_TABLE bytes, and behind it an indirect table.
 */
export const QUEUE_TX_SLOTS: u32 = 96;
export const TX_SLOT_TABLE: u32 = 16;
export const TX_SLOT_SIZE: u32 = 576;
/** Entries of that table: a 64 KiB packet in mbufs of 2 KiB, its header apart, and some to spare. */
export const TX_TABLE_MAX: u32 = 35;
/**
 * u32: OFFLOAD_*, from the negotiated features: what the peer may ask of us (its packets come in on this queue), or what it
 * takes from us as it is (packets go out to it); whatever is not here is done in software before.
 */
export const QUEUE_OFFLOADS: u32 = 100;
/** u32: chains that one received packet may fill: 1, or MAX_CHAINS with mergeable buffers. */
export const QUEUE_MAX_CHAINS: u32 = 104;
/** u32: entries that an indirect table may have; 0 where the peer did not negotiate such tables. */
export const QUEUE_MAX_TABLE: u32 = 108;
// line 2: hot state, written by the lcore under the lock
/** u32: 0 free, else 1 + the lcore id that holds it (LOCK_CONTROL: the control plane). */
export const QUEUE_LOCK: u32 = 128;
/**
 * u32: RUN_ON only while started, ready, enabled and not stopped by a fault; RUN_DISCARD for a guest's transmit ring that is
 * started and ready but disabled: its packets are taken and thrown away, as vhost-user has it.
 */
export const QUEUE_RUN: u32 = 132;
/**
 * u32, 16-bit values: next available entry to take, next used entry to write. Packed: index in bits 0-14, wrap counter in
 * bit 15, as in VHOST_USER_SET_VRING_BASE; the device side keeps both equal between bursts.
 */
export const QUEUE_LAST_AVAIL: u32 = 136;
export const QUEUE_LAST_USED: u32 = 140;
/**
 * u32: used index at the last notification (virtio 1.2 section 2.7.7.2), and RING_FRESH (0) as the control plane leaves it,
 * RING_STARTED once the data plane has looked at the ring, RING_SIGNALLED when the index means something.
 */
export const QUEUE_SIGNALLED: u32 = 144;
export const QUEUE_SIGNALLED_VALID: u32 = 148;
/** u32: STOP_*: why the queue stopped itself, 0 while it is healthy. */
export const QUEUE_STOP_CAUSE: u32 = 152;
/** u32: 1 while notifications from the peer are wanted (the lcore is about to sleep). */
export const QUEUE_ARMED: u32 = 156;
/** u32, driver side: first free descriptor, count of free ones. */
export const QUEUE_FREE_HEAD: u32 = 160;
export const QUEUE_FREE_COUNT: u32 = 164;
/** u32: QUEUE_GATE_* bits that the control plane joins into QUEUE_RUN. */
export const QUEUE_GATES: u32 = 168;
// line 3: scratch
/** u32[16], driver side: handles on their way from the mempool into the ring. */
export const QUEUE_SCRATCH: u32 = 192;
/** u32: what was seen of lines that were only looked at (virtio/packed-plain.ts); nobody reads it. */
export const QUEUE_TOUCHED: u32 = 176;
// from 256: counters, u64 each, written by the lcore that polls the queue
export const QUEUE_STATS: u32 = 256;
export const QUEUE_PACKETS: u32 = 256;
export const QUEUE_BYTES: u32 = 264;
/** Notifications sent to the peer, left out because it did not want one. */
export const QUEUE_NOTIFIED: u32 = 272;
export const QUEUE_SUPPRESSED: u32 = 280;
/** Bursts that moved at least one packet. */
export const QUEUE_BURSTS: u32 = 288;
/** Packets that txBurst did not take because the ring was full. */
export const QUEUE_FULL: u32 = 296;
/** Times that rxBurst found the mempool empty; the packets stay in the ring. */
export const QUEUE_NO_MBUF: u32 = 304;
/** u64[DROP_COUNT]: drops by cause. */
export const QUEUE_DROPS: u32 = 320;
/** u64[SIZE_BIN_COUNT], vhost and virtio pmds: frames by length, DPDK's bins: below 64, 64, 65-127, ... 1024-1518, 1519 on. */
export const QUEUE_SIZE_BINS: u32 = 512;
export const SIZE_BIN_COUNT: u32 = 8;
/** u64, vhost and virtio pmds: frames to a group, broadcast not among them; broadcast frames. */
export const QUEUE_MULTICAST: u32 = 576;
export const QUEUE_BROADCAST: u32 = 584;
/** u64[BURST_BIN_COUNT]: bursts by packets: bin n holds those of 2^n to 2^(n+1) - 1. */
export const QUEUE_BURST_BINS: u32 = 592;
export const BURST_BIN_COUNT: u32 = 10;
/** u64: notifications that could not be sent (its descriptor took none); those put off by coalescing. */
export const QUEUE_NOTIFY_ERRORS: u32 = 672;
export const QUEUE_POSTPONED: u32 = 680;
/** u64, rx: times that its lcore went to sleep, and that packets waited here when it came back. */
export const QUEUE_SLEEPS: u32 = 688;
export const QUEUE_WAKEUPS: u32 = 696;
// from 704: notification coalescing, vhost pmd (assembly/virtio/coalesce.ts)
/** u32, written by the control plane: COALESCE_*, then microseconds and used entries after which it is sent at the latest. */
export const QUEUE_COALESCE: u32 = 704;
export const QUEUE_COALESCE_US: u32 = 708;
export const QUEUE_COALESCE_FRAMES: u32 = 712;
/** u32: used entries that no notification told of yet while one is put off; 0 = none is. When it must be sent (LCORE_NOW_US). */
export const QUEUE_OWED: u32 = 716;
export const QUEUE_OWED_DEADLINE: u32 = 720;
/** u32: address of the lcore whose LCORE_OWED lists the queue, 0 for none. */
export const QUEUE_OWER: u32 = 724;
/** u32, adaptive: when this measurement of the load began, QUEUE_PACKETS (low word) then; 1 = the last one found load. */
export const QUEUE_LOAD_SINCE: u32 = 728;
export const QUEUE_LOAD_PACKETS: u32 = 732;
export const QUEUE_LOADED: u32 = 736;
/** u32: frame length that the next burst is expected to be of (assembly/stats.ts). */
export const QUEUE_EXPECTED_LEN: u32 = 740;

export const COALESCE_OFF: u32 = 0;
export const COALESCE_ON: u32 = 1;
/** Only under load: see assembly/virtio/coalesce.ts. */
export const COALESCE_ADAPTIVE: u32 = 2;

export const RING_FRESH: u32 = 0;
export const RING_STARTED: u32 = 1;
export const RING_SIGNALLED: u32 = 2;

// from 896: the packet under way, for shapes that take more than one descriptor. Meaningless between bursts.
/** 12 bytes: the packet's virtio-net header, as it was read. */
export const QUEUE_NET_HDR: u32 = 896;
/** u32: bytes of that header so far; bytes of frame so far (gather) or still to go (scatter). */
export const QUEUE_HDR_DONE: u32 = 912;
export const QUEUE_FRAME_DONE: u32 = 916;
export const QUEUE_FRAME_LEFT: u32 = 920;
/** u32: mbuf segment under way; bytes of it that are done; segments so far. */
export const QUEUE_SEGMENT: u32 = 924;
export const QUEUE_SEGMENT_DONE: u32 = 928;
export const QUEUE_SEGMENTS: u32 = 932;
/** u32: where num_buffers of the packet's header stands, 0 while no header is written. */
export const QUEUE_NUM_BUFFERS: u32 = 936;
/** u32: descriptors of chains and tables that this burst has walked. */
export const QUEUE_WALKED: u32 = 940;
/** A burst ends once it has walked as many for each packet asked for, and one lap of the ring besides (G14). */
export const WALKS_PER_PACKET: u32 = 64;

/** Receive chains that one packet may fill, as many as in DPDK. */
export const MAX_CHAINS: u32 = 256;

export const RUN_OFF: u32 = 0;
export const RUN_ON: u32 = 1;
export const RUN_DISCARD: u32 = 2;

// from 4096: NOTE_SIZE bytes each, device side: notes of the burst under way (assembly/virtio/note.ts)
export const QUEUE_NOTES: u32 = 4096;
export const NOTE_SIZE: u32 = 24;
/** Chains that one burst takes or gives back at the most: enough for 32 packets of 64 KB in mergeable buffers. */
export const MAX_NOTES: u32 = 2048;

// from 2048: u32[MAX_GSO_SEGMENTS], segments of a packet that the peer cannot take whole
export const QUEUE_GSO: u32 = 2048;
/** Segments that software makes of one packet. */
export const MAX_GSO_SEGMENTS: u32 = 512;

export const LOCK_CONTROL: u32 = 0x8000_0000;

export const QUEUE_GATE_STARTED: u32 = 1;
export const QUEUE_GATE_READY: u32 = 2;
export const QUEUE_GATE_ENABLED: u32 = 4;
export const QUEUE_GATE_ALL: u32 = 7;

export const PMD_NONE: u32 = 0;
export const PMD_NULL: u32 = 1;
export const PMD_RING: u32 = 2;
export const PMD_VHOST: u32 = 3;
export const PMD_VIRTIO: u32 = 4;

export const VQ_EVENT_IDX: u32 = 1;

export const OFFLOAD_CSUM: u32 = 1;
export const OFFLOAD_TSO4: u32 = 2;
export const OFFLOAD_TSO6: u32 = 4;
export const OFFLOAD_ECN: u32 = 8;
export const OFFLOAD_UFO: u32 = 16;
export const OFFLOAD_USO4: u32 = 32;
export const OFFLOAD_USO6: u32 = 64;

// What a port's user enables, with DPDK's bits (rte_ethdev.h).
export const ETH_RX_OFFLOAD_VLAN_STRIP: u32 = 0x0000_0001;
export const ETH_RX_OFFLOAD_IPV4_CKSUM: u32 = 0x0000_0002;
export const ETH_RX_OFFLOAD_UDP_CKSUM: u32 = 0x0000_0004;
export const ETH_RX_OFFLOAD_TCP_CKSUM: u32 = 0x0000_0008;
export const ETH_RX_OFFLOAD_TCP_LRO: u32 = 0x0000_0010;
export const ETH_RX_OFFLOAD_QINQ_STRIP: u32 = 0x0000_0020;
export const ETH_RX_OFFLOAD_SCATTER: u32 = 0x0000_2000;
export const ETH_RX_OFFLOAD_RSS_HASH: u32 = 0x0008_0000;
/** Not DPDK's: packet types are wanted (rte_eth_dev_set_ptypes). */
export const ETH_RX_PTYPES: u32 = 0x8000_0000;
/** Those that software does to each received packet: all but TCP_LRO and SCATTER. */
export const ETH_RX_WORK_MASK: u32 = 0x8008_002f;
export const ETH_TX_OFFLOAD_VLAN_INSERT: u32 = 0x0000_0001;
export const ETH_TX_OFFLOAD_IPV4_CKSUM: u32 = 0x0000_0002;
export const ETH_TX_OFFLOAD_UDP_CKSUM: u32 = 0x0000_0004;
export const ETH_TX_OFFLOAD_TCP_CKSUM: u32 = 0x0000_0008;
export const ETH_TX_OFFLOAD_TCP_TSO: u32 = 0x0000_0020;
export const ETH_TX_OFFLOAD_UDP_TSO: u32 = 0x0000_0040;
export const ETH_TX_OFFLOAD_QINQ_INSERT: u32 = 0x0000_0100;
export const ETH_TX_OFFLOAD_MT_LOCKFREE: u32 = 0x0000_4000;
export const ETH_TX_OFFLOAD_MULTI_SEGS: u32 = 0x0000_8000;
export const ETH_TX_OFFLOAD_MBUF_FAST_FREE: u32 = 0x0001_0000;

/** Why txPrepare refuses a packet. */
export const PREPARE_OK: u32 = 0;
export const PREPARE_QUEUE: u32 = 1; // no such port, or no such queue
export const PREPARE_LENGTH: u32 = 2; // shorter than an Ethernet header, longer than MAX_FRAME_LEN
export const PREPARE_CHAIN: u32 = 3; // pktLen, nbSegs and the segments contradict each other, or too many segments
export const PREPARE_FLAGS: u32 = 4; // flags that exclude each other, or without TX_IPV4 or TX_IPV6
export const PREPARE_HEADERS: u32 = 5; // l2Len, l3Len, l4Len or the flags contradict the packet's headers
export const PREPARE_SPLIT_HEADERS: u32 = 6; // headers not all in the first segment
export const PREPARE_SEGSZ: u32 = 7; // tsoSegsz of 0, or so small that there would be too many segments
export const PREPARE_SHARED: u32 = 8; // the checksum field must be written, but others refer to the bytes

export const VQ_PATH_PACKED: u32 = 1; // else split
export const VQ_PATH_IN_ORDER: u32 = 2;
export const VQ_PATH_MERGEABLE: u32 = 4;

// ---- why a packet was dropped, why a queue stopped. The names are in src/ethdev/causes.ts, in this order -------------------
export const DROP_ADDRESS: u32 = 0; // descriptor range not inside one region (G1)
export const DROP_INDIRECT: u32 = 1; // bad indirect table: range, length, nested (G2)
export const DROP_CHAIN: u32 = 2; // chain longer than the ring, or that links to itself (G5)
export const DROP_INDEX: u32 = 3; // next index beyond the table (G7)
export const DROP_HEADER: u32 = 4; // chain too short for the virtio-net header (G8)
export const DROP_RUNT: u32 = 5; // frame shorter than an Ethernet header, or its VLAN tag cut short (G13)
export const DROP_DIRECTION: u32 = 6; // descriptor writable where it must be readable, or the reverse (G17)
export const DROP_TOO_LONG: u32 = 7; // frame longer than MAX_FRAME_LEN
export const DROP_NO_MBUF: u32 = 8; // mempool exhausted (G21)
export const DROP_FEATURE: u32 = 9; // feature used that was not negotiated (G20)
export const DROP_OFFLOAD: u32 = 10; // offload fields that contradict the packet (G11, G12)
export const DROP_NO_ROOM: u32 = 11; // the guest's receive buffers cannot hold the packet
export const DROP_RX_BUFFER: u32 = 12; // receive descriptor unusable: shorter than the header, bad address (G9)
export const DROP_MTU: u32 = 13; // frame longer than the port's MTU allows
export const DROP_LINK_DOWN: u32 = 14; // on its way when the link went down; the peer may have taken it or not
export const DROP_DISABLED: u32 = 15; // sent by the guest on a ring that its VMM has disabled (F19)
export const DROP_COUNT: u32 = 16;

export const STOP_NONE: u32 = 0;
export const STOP_AVAIL_AHEAD: u32 = 1; // avail.idx ahead by more than the ring's size (G6)
export const STOP_HEAD: u32 = 2; // head index beyond the ring (G7)
export const STOP_USED: u32 = 3; // driver side: device returned an id that was not lent, or too many
export const STOP_TRAP: u32 = 4; // the window vanished under the queue
export const STOP_CHAIN: u32 = 5; // packed: a chain without an end (G5, G19)

// ---- vhost device: what the queues of one guest share ---------------------------------------------------------------------
/** u64: negotiated virtio features. */
export const DEVICE_FEATURES: u32 = 0;
/** u32: memory regions in use, REGION_SIZE records from DEVICE_REGIONS on, in no order. */
export const DEVICE_REGION_COUNT: u32 = 8;
export const DEVICE_REGIONS: u32 = 64;
export const REGION_SIZE: u32 = 32;
/** u64: first guest physical address. */
export const REGION_GUEST: u32 = 0;
/** u64: bytes. */
export const REGION_LENGTH: u32 = 8;
/** u32: linear address of its first byte. */
export const REGION_LINEAR: u32 = 16;
export const DEVICE_SIZE: u32 = 2112; // DEVICE_REGIONS + MAX_REGIONS * REGION_SIZE

// ---- stream: one rx queue → engine → tx port, what an lcore polls -----------------------------------------------------------
export const STREAM_SIZE: u32 = 192;
/** u32: ENGINE_*. */
export const STREAM_ENGINE: u32 = 0;
/** u32: port and queue to receive from. */
export const STREAM_RX_PORT: u32 = 4;
export const STREAM_RX_QUEUE: u32 = 8;
/** u32: port and queue to send to (io, mac, macswap, txonly). */
export const STREAM_TX_PORT: u32 = 12;
export const STREAM_TX_QUEUE: u32 = 16;
/** u32: packets a burst at the most. */
export const STREAM_BURST: u32 = 20;
/** u32: engine's own state: the switch table (l2), the txonly template. */
export const STREAM_STATE: u32 = 24;
/** u32: working area of the engine, the lcore's own: SWITCH_SCRATCH_SIZE bytes (l2). */
export const STREAM_SCRATCH: u32 = 28;
/** 6 bytes: destination MAC that the mac engine writes. */
export const STREAM_PEER_MAC: u32 = 32;
/** u32: mempool for packets that the engine makes (txonly). */
export const STREAM_POOL: u32 = 40;
/** u32: stop after that many more packets, txonly; 0xffffffff = for ever. */
export const STREAM_LIMIT: u32 = 44;
/** u32: ENGINE_* that the stream goes on with once STREAM_LIMIT is used up (`start tx_first`). */
export const STREAM_NEXT_ENGINE: u32 = 48;
/** u32, csum: CSUM_*: what the tx port does itself. */
export const STREAM_CSUM: u32 = 52;
/** u32, csum: payload bytes of the segments that TCP packets shall be cut into; 0 = they stay as they are. */
export const STREAM_TSO_SEGSZ: u32 = 56;
/** u32, flowgen: how many flows it goes through. */
export const STREAM_FLOW_COUNT: u32 = 60;
/** u64 counters: testpmd's forward statistics. */
export const STREAM_RX_PACKETS: u32 = 64;
export const STREAM_TX_PACKETS: u32 = 72;
export const STREAM_TX_DROPPED: u32 = 80;
/** u64: packets that the engine itself threw away (looped frame, no such port). */
export const STREAM_FILTERED: u32 = 88;
/** u64: packets that the switch flooded (copies are in STREAM_TX_PACKETS). */
export const STREAM_FLOODED: u32 = 96;
/** u64, csum: packets whose port found a bad checksum: IP, L4. */
export const STREAM_BAD_IP_CKSUM: u32 = 104;
export const STREAM_BAD_L4_CKSUM: u32 = 112;
/** u32, flowgen: number of the next packet's flow. */
export const STREAM_FLOW_NEXT: u32 = 120;
/** u32: Toeplitz table when the stream steers packets by their flow, else 0. */
export const STREAM_STEER_TABLE: u32 = 128;
/** u32: lcore's working area for that, STEER_SCRATCH_SIZE bytes. */
export const STREAM_STEER_SCRATCH: u32 = 132;
/** u32: 1 = STREAM_TX_QUEUE takes all as long as it runs, the others only instead of it. */
export const STREAM_STEER_OWN_FIRST: u32 = 136;
/** u32: MBUF_F_TX_VLAN, MBUF_F_TX_QINQ that every packet gets which the stream sends, 0 = none (`tx_vlan set`). */
export const STREAM_TX_TAGS: u32 = 140;
/** u32: MBUF_VLAN_TCI and, in the high half, MBUF_VLAN_TCI_OUTER of those packets. */
export const STREAM_TX_TCIS: u32 = 144;

export const ENGINE_IO: u32 = 0;
export const ENGINE_MAC: u32 = 1;
export const ENGINE_MACSWAP: u32 = 2;
export const ENGINE_RXONLY: u32 = 3;
export const ENGINE_TXONLY: u32 = 4;
export const ENGINE_L2: u32 = 5;
export const ENGINE_CSUM: u32 = 6;
export const ENGINE_FLOWGEN: u32 = 7;
export const ENGINE_ICMPECHO: u32 = 8;
export const ENGINE_5TSWAP: u32 = 9;

/** STREAM_CSUM: checksums that are left to the tx port, and whether the MAC addresses are written as the mac engine does. */
export const CSUM_IP_HW: u32 = 1;
export const CSUM_UDP_HW: u32 = 2;
export const CSUM_TCP_HW: u32 = 4;
export const CSUM_WRITE_MACS: u32 = 8;

/** Entries of a redirection table (RETA). */
export const RETA_SIZE: u32 = 128;
/**
 * Working area for flow steering: u32[MAX_BURST] packets of one tx queue, picked out of a burst; then for each port a u16[RETA_SIZE]:
 * tx queue of a flow by its hash, among this lcore's that run; kept by src/forward/steering.ts.
 */
export const STEER_RETAS: u32 = 2048;
export const STEER_RETA_BYTES: u32 = 256; // RETA_SIZE * 2
export const STEER_SCRATCH_SIZE: u32 = 18432; // STEER_RETAS + MAX_PORTS * STEER_RETA_BYTES

/** txonly template at STREAM_STATE: u32 segment count, u32 lengths of the segments, then the header bytes. */
export const TXONLY_SEGMENT_COUNT: u32 = 0;
export const TXONLY_SEGMENT_LENGTHS: u32 = 4; // u32[8]
export const TXONLY_MAX_SEGMENTS: u32 = 8;
/** 42 bytes: Ethernet, IPv4, UDP headers as txonly sends them. */
export const TXONLY_HEADERS: u32 = 64;
export const TXONLY_HEADERS_LEN: u32 = 42;
export const TXONLY_SIZE: u32 = 128;

// ---- l2 switch ---------------------------------------------------------------------------------------------------------
/** Header, then bucket records. The table is 4-way set-associative. */
export const SWITCH_BUCKET_COUNT: u32 = 0; // u32, a power of two
export const SWITCH_AGEING_MS: u32 = 4; // u32
export const SWITCH_PORT_COUNT: u32 = 8; // u32: ports in the flood list
export const SWITCH_QUOTA: u32 = 12; // u32: entries that one port may own
export const SWITCH_LOCK: u32 = 16; // u32: held while a lcore changes the table
export const SWITCH_LEARNED: u32 = 24; // u64
export const SWITCH_MOVED: u32 = 32; // u64
export const SWITCH_REFUSED: u32 = 40; // u64: not learned, quota or bucket full
export const SWITCH_EVICTED: u32 = 48; // u64
export const SWITCH_HASH: u32 = 56; // u64: odd multiplier of the hash, secret, so that no guest can aim at one bucket
export const SWITCH_PORTS: u32 = 64; // u8[MAX_PORTS]: 1 = member
export const SWITCH_OWNED: u32 = 128; // u32[MAX_PORTS]: entries owned by each port
export const SWITCH_TABLE: u32 = 384;
/** u64 MAC (48 bits, as loaded little-endian) | port << 48 | valid << 63; u32 lastSeenMs; u32 spare. */
export const SWITCH_ENTRY_SIZE: u32 = 16;
export const SWITCH_WAYS: u32 = 4;
/** A lcore's working area: u32[MAX_PORTS] packet counts by output port, then MAX_BURST handles a port. */
export const SWITCH_SCRATCH_LISTS: u32 = 256;
export const SWITCH_SCRATCH_SIZE: u32 = 131328; // SWITCH_SCRATCH_LISTS + MAX_PORTS * MAX_BURST * 4

// ---- mbuf: 64 bytes, one cache line; its handle is its address -----------------------------------------------------------------
//   0 buffer   4 dataOff   8 next    12 refcnt  16 pktLen  20 dataLen  24 bufLen   28 nbSegs|port
//  32 olFlags 36 ptype    40 hash    44 vlan    48 l2,l3   52 l4,tso   56 pool     60 shared/owner
export const MBUF_SIZE: u32 = 64;
/** u32: address of the buffer (its headroom first). */
export const MBUF_BUF: u32 = 0;
/** u32: bytes from the buffer's start to the first byte of data. */
export const MBUF_DATA_OFF: u32 = 4;
/** u32: next segment, 0 at the last. */
export const MBUF_NEXT: u32 = 8;
/** u32, atomic when shared: references to this header. */
export const MBUF_REFCNT: u32 = 12;
/** u32: bytes in all segments (first segment only). */
export const MBUF_PKT_LEN: u32 = 16;
/** u32: bytes in this segment. */
export const MBUF_DATA_LEN: u32 = 20;
/** u32: bytes in the buffer. */
export const MBUF_BUF_LEN: u32 = 24;
/** u16: segments in the chain (first segment only). */
export const MBUF_NB_SEGS: u32 = 28;
/** u16: port it came in on. */
export const MBUF_PORT: u32 = 30;
/** u32: MBUF_F_*. */
export const MBUF_OL_FLAGS: u32 = 32;
/** u32: packet type (RTE_PTYPE_*). */
export const MBUF_PACKET_TYPE: u32 = 36;
/** u32: flow hash. */
export const MBUF_HASH: u32 = 40;
/** u16, u16: VLAN tag, outer VLAN tag. */
export const MBUF_VLAN_TCI: u32 = 44;
export const MBUF_VLAN_TCI_OUTER: u32 = 46;
/** u8 L2 header bytes (offset 48), u8 L4 header bytes (49), u16 L3 header bytes (50). */
export const MBUF_L2_LEN: u32 = 48;
export const MBUF_L4_LEN: u32 = 49;
export const MBUF_L3_LEN: u32 = 50;
/** u16: payload bytes of a TSO segment. */
export const MBUF_TSO_SEGSZ: u32 = 52;
/** u16: user's own field. */
export const MBUF_UDATA: u32 = 54;
/** u32: mempool that the header goes back to. */
export const MBUF_POOL: u32 = 56;
/** u32: attached buffer: the mbuf that owns it (MBUF_F_INDIRECT) or its EXT record (MBUF_F_EXTERNAL). */
export const MBUF_OWNER: u32 = 60;

// olFlags, RTE_MBUF_F_*. Receive, with DPDK's bits: what is known of the packet.
/** MBUF_VLAN_TCI holds the frame's tag; it is no longer in the data; MBUF_HASH holds the flow hash. */
export const MBUF_F_RX_VLAN: u32 = 0x0000_0001;
export const MBUF_F_RX_RSS_HASH: u32 = 0x0000_0002;
export const MBUF_F_RX_L4_CKSUM_BAD: u32 = 0x0000_0008;
export const MBUF_F_RX_IP_CKSUM_BAD: u32 = 0x0000_0010;
export const MBUF_F_RX_VLAN_STRIPPED: u32 = 0x0000_0040;
export const MBUF_F_RX_IP_CKSUM_GOOD: u32 = 0x0000_0080;
export const MBUF_F_RX_L4_CKSUM_GOOD: u32 = 0x0000_0100;
/** Both bits: the data is whole, its checksum is not there yet. */
export const MBUF_F_RX_L4_CKSUM_NONE: u32 = 0x0000_0108;
export const MBUF_F_RX_QINQ_STRIPPED: u32 = 0x0000_8000;
/** MBUF_VLAN_TCI_OUTER holds the outer of two tags. */
export const MBUF_F_RX_QINQ: u32 = 0x0000_4000;
/** One packet made of several: tsoSegsz tells their payload. */
export const MBUF_F_RX_LRO: u32 = 0x0001_0000;
// Send: what is still to be done to the packet. l2Len, l3Len, l4Len, tsoSegsz tell where.
export const MBUF_F_TX_TCP_SEG: u32 = 0x0002_0000;
export const MBUF_F_TX_UDP_SEG: u32 = 0x0004_0000; // L4 segmentation (USO)
export const MBUF_F_TX_UFO: u32 = 0x0008_0000; // IP fragmentation of a datagram
export const MBUF_F_TX_TCP_CKSUM: u32 = 0x0010_0000;
export const MBUF_F_TX_UDP_CKSUM: u32 = 0x0020_0000;
export const MBUF_F_TX_IP_CKSUM: u32 = 0x0040_0000;
export const MBUF_F_TX_IPV4: u32 = 0x0080_0000;
export const MBUF_F_TX_IPV6: u32 = 0x0100_0000;
export const MBUF_F_TX_ECN: u32 = 0x0200_0000; // a TCP segment with CWR
export const MBUF_F_TX_VLAN: u32 = 0x0400_0000;
export const MBUF_F_TX_QINQ: u32 = 0x0800_0000;
/** All that asks for segmentation; for an L4 checksum, by itself or with segmentation; for any work at all. */
export const MBUF_F_TX_SEG_MASK: u32 = 0x000e_0000;
export const MBUF_F_TX_L4_MASK: u32 = 0x003e_0000;
export const MBUF_F_TX_WORK_MASK: u32 = 0x0c7e_0000;
/** All that may come out as a virtio-net header that is not all zero, or hold the packet back before. */
export const MBUF_F_HDR_MASK: u32 = 0x0c7e_0108;

export const MBUF_HEADROOM: u32 = 128;
export const MBUF_DEFAULT_DATAROOM: u32 = 2048;
/** olFlags of a header whose buffer belongs to another mbuf, to nobody here. */
export const MBUF_F_INDIRECT: u32 = 0x4000_0000;
export const MBUF_F_EXTERNAL: u32 = 0x8000_0000;

/** External buffer record: u32 reference count; u32 free word, advanced when the count reaches 0, so that its owner sees it. */
export const EXT_REFCNT: u32 = 0;
export const EXT_FREED: u32 = 4;
export const EXT_SIZE: u32 = 64;

// ---- mempool: header, one cache a lcore, a ring of free handles, the elements ---------------------------------------------------
export const MEMPOOL_RING: u32 = 0; // u32: address of the mem/ring with the free elements
export const MEMPOOL_COUNT: u32 = 4; // u32: elements
export const MEMPOOL_ELT_SIZE: u32 = 8; // u32: bytes from one element to the next
export const MEMPOOL_ELTS: u32 = 12; // u32: address of the first element
export const MEMPOOL_CACHE_LIMIT: u32 = 16; // u32: handles that a lcore's cache keeps, 0 = no cache
export const MEMPOOL_BUF_LEN: u32 = 20; // u32: buffer bytes of an mbuf, headroom included; 0 for a plain pool
export const MEMPOOL_CACHES: u32 = 64; // MAX_LCORES × MEMPOOL_CACHE_SIZE
/** Cache: u32 length, pad to a line, then MEMPOOL_CACHE_SLOTS handles. */
export const MEMPOOL_CACHE_LEN: u32 = 0;
export const MEMPOOL_CACHE_HANDLES: u32 = 64;
export const MEMPOOL_CACHE_MAX: u32 = 512;
/** Slots: flush happens at 1.5 × limit, and a burst may land on top. */
export const MEMPOOL_CACHE_SLOTS: u32 = 1536;
export const MEMPOOL_CACHE_SIZE: u32 = 6208; // MEMPOOL_CACHE_HANDLES + MEMPOOL_CACHE_SLOTS * 4
export const MEMPOOL_HDR_SIZE: u32 = 397376; // MEMPOOL_CACHES + MAX_LCORES * MEMPOOL_CACHE_SIZE

// ---- ring (rte_ring): u32 objects; producer and consumer each on lines of their own ---------------------------------------------
export const RING_SIZE: u32 = 0; // u32: slots, a power of two
export const RING_MASK: u32 = 4; // u32
export const RING_CAPACITY: u32 = 8; // u32: slots − 1
export const RING_FLAGS: u32 = 12; // u32: RING_F_*
export const RING_PROD_HEAD: u32 = 64; // u32
export const RING_PROD_TAIL: u32 = 68; // u32
export const RING_CONS_HEAD: u32 = 128; // u32
export const RING_CONS_TAIL: u32 = 132; // u32
export const RING_SLOTS: u32 = 192; // u32[size]
export const RING_F_SP_ENQ: u32 = 1;
export const RING_F_SC_DEQ: u32 = 2;

// ---- net: packet types, flags, segmentation, flow hash ---------------------------------------------------------------------------
/** MBUF_PACKET_TYPE, DPDK's numbers (rte_mbuf_ptype.h): L2 in bits 0-3, L3 in bits 4-7, L4 in bits 8-11, 0 = not known. */
export const RTE_PTYPE_L2_ETHER: u32 = 0x1;
export const RTE_PTYPE_L2_ETHER_VLAN: u32 = 0x6;
export const RTE_PTYPE_L2_ETHER_QINQ: u32 = 0x7;
export const RTE_PTYPE_L2_MASK: u32 = 0xf;
export const RTE_PTYPE_L3_IPV4: u32 = 0x10;
export const RTE_PTYPE_L3_IPV4_EXT: u32 = 0x30;
export const RTE_PTYPE_L3_IPV6: u32 = 0x40;
export const RTE_PTYPE_L3_IPV6_EXT: u32 = 0xc0;
export const RTE_PTYPE_L3_MASK: u32 = 0xf0;
export const RTE_PTYPE_L4_TCP: u32 = 0x100;
export const RTE_PTYPE_L4_UDP: u32 = 0x200;
export const RTE_PTYPE_L4_FRAG: u32 = 0x300;
export const RTE_PTYPE_L4_SCTP: u32 = 0x400;
export const RTE_PTYPE_L4_ICMP: u32 = 0x500;
export const RTE_PTYPE_L4_MASK: u32 = 0xf00;

/** gso_type of a virtio-net header, virtio 1.2 section 5.1.6. */
export const VIRTIO_NET_HDR_GSO_NONE: u32 = 0;
export const VIRTIO_NET_HDR_GSO_TCPV4: u32 = 1;
export const VIRTIO_NET_HDR_GSO_UDP: u32 = 3;
export const VIRTIO_NET_HDR_GSO_TCPV6: u32 = 4;
export const VIRTIO_NET_HDR_GSO_UDP_L4: u32 = 5;
export const VIRTIO_NET_HDR_GSO_ECN: u32 = 0x80;
/** gsoSegment only, beside the type: leave the pseudo header's sum in each segment's checksum field (NEEDS_CSUM). */
export const GSO_PARTIAL_CHECKSUM: u32 = 0x100;

/** Answers of the functions that write a checksum: nothing changed; written; nothing changed, for others share the bytes. */
export const CHECKSUM_REFUSED: u32 = 0;
export const CHECKSUM_WRITTEN: u32 = 1;
export const CHECKSUM_SHARED: u32 = 2;
/** Answers of the functions that verify one: nothing to verify, or not whole; right; wrong. */
export const CHECKSUM_UNKNOWN: u32 = 0;
export const CHECKSUM_GOOD: u32 = 1;
export const CHECKSUM_BAD: u32 = 2;
/** rawChecksumMbuf: the range is not inside the packet. */
export const CHECKSUM_OUTSIDE: u32 = 0xffff_ffff;

/** Toeplitz key of toeplitzInit: 36 bytes of IPv6 4-tuple and the last window's 4. */
export const TOEPLITZ_KEY_BYTES: u32 = 40;
/** Its table: u32[16] for each nibble of the longest input. */
export const TOEPLITZ_TABLE_SIZE: u32 = 4608;
