/* What Rust cannot call or see of DPDK: inline functions, macros, 64-bit constants, field offsets.
 *
 * Differences between DPDK versions are settled here and in shim.c, nowhere else. */
#ifndef SHIM_H
#define SHIM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_hash.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <rte_version.h>

#define SHIM_CONST static const __attribute__((unused))

/* ---- mbuf: where the fields that Rust reads and writes lie ---- */

SHIM_CONST size_t SHIM_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr);     /* void * */
SHIM_CONST size_t SHIM_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off);     /* u16 */
SHIM_CONST size_t SHIM_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs);       /* u16 */
SHIM_CONST size_t SHIM_MBUF_PORT = offsetof(struct rte_mbuf, port);             /* u16 */
SHIM_CONST size_t SHIM_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags);     /* u64 */
SHIM_CONST size_t SHIM_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len);       /* u32 */
SHIM_CONST size_t SHIM_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len);     /* u16 */
SHIM_CONST size_t SHIM_MBUF_RSS_HASH = offsetof(struct rte_mbuf, hash.rss);     /* u32 */
SHIM_CONST size_t SHIM_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len);       /* u16 */
SHIM_CONST size_t SHIM_MBUF_NEXT = offsetof(struct rte_mbuf, next);             /* rte_mbuf * */
SHIM_CONST size_t SHIM_MBUF_TX_OFFLOAD = offsetof(struct rte_mbuf, tx_offload); /* u64 */

SHIM_CONST uint32_t SHIM_L2_LEN_OFS = RTE_MBUF_L2_LEN_OFS;
SHIM_CONST uint32_t SHIM_L2_LEN_BITS = RTE_MBUF_L2_LEN_BITS;
SHIM_CONST uint32_t SHIM_L3_LEN_OFS = RTE_MBUF_L3_LEN_OFS;
SHIM_CONST uint32_t SHIM_L3_LEN_BITS = RTE_MBUF_L3_LEN_BITS;
SHIM_CONST uint32_t SHIM_L4_LEN_OFS = RTE_MBUF_L4_LEN_OFS;
SHIM_CONST uint32_t SHIM_L4_LEN_BITS = RTE_MBUF_L4_LEN_BITS;
SHIM_CONST uint32_t SHIM_TSO_SEGSZ_OFS = RTE_MBUF_TSO_SEGSZ_OFS;
SHIM_CONST uint32_t SHIM_TSO_SEGSZ_BITS = RTE_MBUF_TSO_SEGSZ_BITS;

/* ---- flags and limits, 64-bit: bindgen does not see through RTE_BIT64 and casts ---- */

#define SHIM_FLAG(name) SHIM_CONST uint64_t SHIM_##name = RTE_##name
#define SHIM_LIMIT(name) SHIM_CONST uint32_t SHIM_##name = RTE_##name

SHIM_FLAG(MBUF_F_RX_VLAN);
SHIM_FLAG(MBUF_F_RX_VLAN_STRIPPED);
SHIM_FLAG(MBUF_F_RX_RSS_HASH);
SHIM_FLAG(MBUF_F_RX_LRO);
SHIM_FLAG(MBUF_F_RX_IP_CKSUM_MASK);
SHIM_FLAG(MBUF_F_RX_IP_CKSUM_BAD);
SHIM_FLAG(MBUF_F_RX_IP_CKSUM_GOOD);
SHIM_FLAG(MBUF_F_RX_IP_CKSUM_NONE);
SHIM_FLAG(MBUF_F_RX_L4_CKSUM_MASK);
SHIM_FLAG(MBUF_F_RX_L4_CKSUM_BAD);
SHIM_FLAG(MBUF_F_RX_L4_CKSUM_GOOD);
SHIM_FLAG(MBUF_F_RX_L4_CKSUM_NONE);
SHIM_FLAG(MBUF_F_TX_IP_CKSUM);
SHIM_FLAG(MBUF_F_TX_IPV4);
SHIM_FLAG(MBUF_F_TX_IPV6);
SHIM_FLAG(MBUF_F_TX_TCP_CKSUM);
SHIM_FLAG(MBUF_F_TX_UDP_CKSUM);
SHIM_FLAG(MBUF_F_TX_L4_MASK);
SHIM_FLAG(MBUF_F_TX_TCP_SEG);
SHIM_FLAG(MBUF_F_TX_UDP_SEG);
SHIM_FLAG(MBUF_F_TX_OFFLOAD_MASK);

SHIM_FLAG(ETH_RX_OFFLOAD_VLAN_STRIP);
SHIM_FLAG(ETH_RX_OFFLOAD_IPV4_CKSUM);
SHIM_FLAG(ETH_RX_OFFLOAD_UDP_CKSUM);
SHIM_FLAG(ETH_RX_OFFLOAD_TCP_CKSUM);
SHIM_FLAG(ETH_RX_OFFLOAD_TCP_LRO);
SHIM_FLAG(ETH_RX_OFFLOAD_SCATTER);
SHIM_FLAG(ETH_RX_OFFLOAD_TIMESTAMP);
SHIM_FLAG(ETH_RX_OFFLOAD_KEEP_CRC);
SHIM_FLAG(ETH_RX_OFFLOAD_RSS_HASH);
SHIM_FLAG(ETH_TX_OFFLOAD_VLAN_INSERT);
SHIM_FLAG(ETH_TX_OFFLOAD_IPV4_CKSUM);
SHIM_FLAG(ETH_TX_OFFLOAD_UDP_CKSUM);
SHIM_FLAG(ETH_TX_OFFLOAD_TCP_CKSUM);
SHIM_FLAG(ETH_TX_OFFLOAD_TCP_TSO);
SHIM_FLAG(ETH_TX_OFFLOAD_UDP_TSO);
SHIM_FLAG(ETH_TX_OFFLOAD_MT_LOCKFREE);
SHIM_FLAG(ETH_TX_OFFLOAD_MULTI_SEGS);
SHIM_FLAG(ETH_TX_OFFLOAD_MBUF_FAST_FREE);

SHIM_LIMIT(MAX_ETHPORTS);
SHIM_LIMIT(ETH_NAME_MAX_LEN);
SHIM_LIMIT(PKTMBUF_HEADROOM);
SHIM_LIMIT(MEMPOOL_CACHE_MAX_SIZE);
SHIM_CONST uint32_t SHIM_LCORE_ID_ANY = LCORE_ID_ANY;
SHIM_CONST int32_t SHIM_SOCKET_ID_ANY = SOCKET_ID_ANY;

/* ---- EAL ---- */

/* Receives one log message; `level` is that of RTE_LOG_*, `text` is not terminated. */
typedef void (*shim_log_sink)(uint32_t level, const char *text, size_t len);

/* Sends all log output of DPDK to `sink`, from now on. Returns 0 or -errno. */
int shim_log_redirect(shim_log_sink sink);

/* rte_eal_init, with the caller's affinity restored behind it. Returns what it returns; on
 * failure the reason (errno) is in *error. */
int shim_eal_init(int argc, char **argv, int *error);

uint32_t shim_lcore_id(void);
int shim_errno(void);
uint64_t shim_tsc(void);

/* ---- mempool and mbuf ---- */

/* As rte_pktmbuf_pool_create, its objects back to back where the addressing allows it. */
struct rte_mempool *shim_pktmbuf_pool_create(const char *name, uint32_t count, uint32_t cache,
					     uint16_t data_room, int socket);
struct rte_mbuf *shim_mbuf_alloc(struct rte_mempool *pool);
int shim_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, uint32_t count);
void shim_mbuf_free(struct rte_mbuf *mbuf);
void *shim_mbuf_append(struct rte_mbuf *mbuf, uint16_t len);
void *shim_mbuf_prepend(struct rte_mbuf *mbuf, uint16_t len);
int shim_mbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail);
int shim_mbuf_linearize(struct rte_mbuf *mbuf);
uint32_t shim_mempool_size(const struct rte_mempool *pool);
uint32_t shim_mempool_cache_len(struct rte_mempool *pool);
uint32_t shim_mempool_uncached(const struct rte_mempool *pool);

/* ---- the baselines of perf: hash tables, rings of one producer and one consumer, checksums ---- */

SHIM_CONST uint32_t SHIM_HASH_NAMESIZE = RTE_HASH_NAMESIZE;
SHIM_CONST uint32_t SHIM_HASH_LOOKUP_BULK_MAX = RTE_HASH_LOOKUP_BULK_MAX;
SHIM_CONST uint32_t SHIM_RING_NAMESIZE = RTE_RING_NAMESIZE;

/* A table for one writer, hashed by CRC32 where the CPU has it. */
struct rte_hash *shim_hash_create(const char *name, uint32_t entries, uint32_t key_len);
/* `count` is a power of two; one fewer fit. */
struct rte_ring *shim_ring_create(const char *name, uint32_t count);
uint32_t shim_ring_enqueue_burst(struct rte_ring *ring, const uintptr_t *items, uint32_t count);
uint32_t shim_ring_dequeue_burst(struct rte_ring *ring, uintptr_t *items, uint32_t count);
uint16_t shim_raw_cksum(const void *bytes, size_t len);

/* ---- queues ---- */

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t shim_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
int shim_rx_queue_count(uint16_t port, uint16_t queue);

/* ---- ports ---- */

struct shim_desc_limits {
	uint16_t min;
	uint16_t max;
	uint16_t align;
};

struct shim_port_info {
	char device_name[RTE_ETH_NAME_MAX_LEN];
	char driver_name[RTE_ETH_NAME_MAX_LEN];
	char bus_name[RTE_ETH_NAME_MAX_LEN];
	char devargs[256];
	uint8_t mac[6];
	int32_t socket_id;
	uint32_t if_index;
	uint32_t dev_flags;
	uint32_t min_rx_bufsize;
	uint32_t max_rx_pktlen;
	uint32_t max_lro_pkt_size;
	uint32_t max_mac_addrs;
	uint32_t max_hash_mac_addrs;
	uint32_t speed_capa;
	uint16_t min_mtu;
	uint16_t max_mtu;
	uint16_t max_rx_queues;
	uint16_t max_tx_queues;
	uint16_t rx_queues;
	uint16_t tx_queues;
	uint16_t max_vfs;
	uint16_t max_vmdq_pools;
	uint16_t reta_size;
	uint16_t max_segs_per_packet;
	uint16_t max_segs_per_mtu;
	uint8_t hash_key_size;
	uint8_t error_handling; /* enum rte_eth_err_handle_mode */
	struct shim_desc_limits rxd;
	struct shim_desc_limits txd;
	uint64_t rx_offloads;
	uint64_t tx_offloads;
	uint64_t rss_types;
	uint64_t dev_capa;
};

struct shim_link {
	uint32_t speed_mbps; /* UINT32_MAX: not known */
	uint8_t up;
	uint8_t full_duplex;
	uint8_t autoneg;
};

struct shim_port_config {
	uint16_t rx_queues;
	uint16_t tx_queues;
	uint16_t rxd; /* in: 0 = the driver's choice; out: what the device got */
	uint16_t txd;
	uint16_t mtu; /* 0 = the driver's choice */
	uint8_t symmetric_rss;
	uint64_t rx_offloads;
	uint64_t tx_offloads;
};

int shim_port_info(uint16_t port, struct shim_port_info *info);
int shim_port_link(uint16_t port, struct shim_link *link);
int shim_port_set_link(uint16_t port, int up);
int shim_port_configure(uint16_t port, struct shim_port_config *config);
int shim_rx_queue_setup(uint16_t port, uint16_t queue, uint16_t rxd, struct rte_mempool *pool,
			uint64_t offloads);
int shim_tx_queue_setup(uint16_t port, uint16_t queue, uint16_t txd, uint64_t offloads);

/* Port ids in use, at most `room` of them; returns how many. */
uint16_t shim_ports(uint16_t *ports, uint16_t room);
/* Ports of the device that `devargs` names, likewise. */
uint16_t shim_ports_of_device(const char *devargs, uint16_t *ports, uint16_t room);
int shim_attach(const char *devargs);
/* The device behind a port, to be removed once the port is closed; NULL if there is none. */
void *shim_port_device(uint16_t port);
/* How many ports the device has. */
uint16_t shim_device_port_count(const void *device);
int shim_detach(void *device);

/* ---- the kernel's side of software drivers ---- */

/* The domain of a socket (AF_...), or -1 if fd is none. */
int shim_socket_domain(int fd);

SHIM_CONST int SHIM_AF_PACKET = AF_PACKET;
SHIM_CONST int SHIM_AF_XDP = AF_XDP;

#endif
