#define _GNU_SOURCE
#include "shim.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <rte_bus.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_devargs.h>
#include <rte_errno.h>
#include <rte_hash_crc.h>
#include <rte_ip.h>
#include <rte_log.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_memzone.h>
#include <rte_version.h>

/* Rust reads these fields by offset and width (shim.h); a DPDK that moves one shows up here. */
#define WIDTH(field) sizeof(((struct rte_mbuf *)0)->field)
_Static_assert(WIDTH(data_off) == 2 && WIDTH(data_len) == 2 && WIDTH(buf_len) == 2, "mbuf widths");
_Static_assert(WIDTH(nb_segs) == 2 && WIDTH(port) == 2, "mbuf widths");
_Static_assert(WIDTH(pkt_len) == 4 && WIDTH(hash.rss) == 4, "mbuf widths");
_Static_assert(WIDTH(ol_flags) == 8 && WIDTH(tx_offload) == 8, "mbuf widths");
_Static_assert(sizeof(struct rte_mbuf) == 128, "mbuf size");
#if RTE_VERSION < RTE_VERSION_NUM(23, 0, 0, 0)
_Static_assert(offsetof(struct rte_mbuf, data_off) == 16, "22.11 mbuf layout");
_Static_assert(offsetof(struct rte_mbuf, ol_flags) == 24, "22.11 mbuf layout");
_Static_assert(offsetof(struct rte_mbuf, pkt_len) == 36, "22.11 mbuf layout");
_Static_assert(offsetof(struct rte_mbuf, data_len) == 40, "22.11 mbuf layout");
_Static_assert(offsetof(struct rte_mbuf, hash) == 44, "22.11 mbuf layout");
_Static_assert(offsetof(struct rte_mbuf, pool) == 56, "22.11 mbuf layout");
_Static_assert(offsetof(struct rte_mbuf, next) == 64, "22.11 mbuf layout");
_Static_assert(offsetof(struct rte_mbuf, tx_offload) == 72, "22.11 mbuf layout");
#endif

/* ---- EAL ---- */

static shim_log_sink log_sink;

static ssize_t log_write(void *cookie, const char *text, size_t len)
{
	(void)cookie;
	log_sink((uint32_t)rte_log_cur_msg_loglevel(), text, len);
	return (ssize_t)len;
}

int shim_log_redirect(shim_log_sink sink)
{
	cookie_io_functions_t functions = {.write = log_write};
	FILE *stream;

	log_sink = sink;
	stream = fopencookie(NULL, "w", functions);
	if (stream == NULL)
		return -errno;
	return rte_openlog_stream(stream);
}

int shim_eal_init(int argc, char **argv, int *error)
{
	cpu_set_t before;
	int known = pthread_getaffinity_np(pthread_self(), sizeof(before), &before) == 0;
	int ret = rte_eal_init(argc, argv);

	*error = rte_errno;
	/* The EAL has pinned this thread, and threads that it spawns later would inherit that. */
	if (known)
		pthread_setaffinity_np(pthread_self(), sizeof(before), &before);
	return ret;
}

uint32_t shim_lcore_id(void)
{
	return rte_lcore_id();
}

int shim_errno(void)
{
	return rte_errno;
}

uint64_t shim_tsc(void)
{
	return rte_rdtsc();
}

/* ---- mempool and mbuf ---- */

static void free_zone(struct rte_mempool_memhdr *chunk, void *zone)
{
	RTE_SET_USED(chunk);
	rte_memzone_free(zone);
}

/* All objects of the pool back to back in one piece of memory. */
static int populate_packed(struct rte_mempool *pool)
{
	size_t len = (size_t)pool->size * rte_mempool_calc_obj_size(pool->elt_size, pool->flags, NULL);
	char name[RTE_MEMZONE_NAMESIZE];
	const struct rte_memzone *zone;
	int ret;

	snprintf(name, sizeof(name), "PK_%s", pool->name);
	zone = rte_memzone_reserve_aligned(name, len, pool->socket_id, 0, sysconf(_SC_PAGESIZE));
	if (zone == NULL)
		return -rte_errno;
	ret = rte_mempool_populate_iova(pool, zone->addr, zone->iova, len, free_zone,
					(void *)(uintptr_t)zone);
	if (ret <= 0)
		rte_memzone_free(zone);
	return ret == (int)pool->size ? 0 : ret < 0 ? ret : -ENOMEM;
}

struct rte_mempool *shim_pktmbuf_pool_create(const char *name, uint32_t count, uint32_t cache,
					     uint16_t data_room, int socket)
{
	struct rte_pktmbuf_pool_private private = { .mbuf_data_room_size = data_room };
	struct rte_mempool *pool;
	int ret;

	if (rte_eal_iova_mode() != RTE_IOVA_VA)
		return rte_pktmbuf_pool_create(name, count, cache, 0, data_room, socket);
	/* DPDK keeps every object within a page, and without hugepages that leaves gaps. net_af_xdp
	 * registers count times the size of an object with the kernel, which then refuses to send or
	 * fill what lies behind. Where IOVA are virtual addresses, objects may cross pages. */
	pool = rte_mempool_create_empty(name, count, sizeof(struct rte_mbuf) + data_room, cache,
					sizeof(private), socket, RTE_MEMPOOL_F_NO_IOVA_CONTIG);
	if (pool == NULL)
		return NULL;
	ret = rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), NULL);
	if (ret == 0) {
		rte_pktmbuf_pool_init(pool, &private);
		ret = populate_packed(pool);
	}
	if (ret != 0) {
		rte_mempool_free(pool);
		rte_errno = -ret;
		return NULL;
	}
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
}

struct rte_mbuf *shim_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

int shim_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, uint32_t count)
{
	return rte_pktmbuf_alloc_bulk(pool, mbufs, count);
}

void shim_mbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

void *shim_mbuf_append(struct rte_mbuf *mbuf, uint16_t len)
{
	return rte_pktmbuf_append(mbuf, len);
}

void *shim_mbuf_prepend(struct rte_mbuf *mbuf, uint16_t len)
{
	return rte_pktmbuf_prepend(mbuf, len);
}

int shim_mbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail)
{
	return rte_pktmbuf_chain(head, tail);
}

int shim_mbuf_linearize(struct rte_mbuf *mbuf)
{
	return rte_pktmbuf_linearize(mbuf);
}

uint32_t shim_mempool_size(const struct rte_mempool *pool)
{
	return pool->size;
}

uint32_t shim_mempool_uncached(const struct rte_mempool *pool)
{
	return rte_mempool_get_ops(pool->ops_index)->get_count(pool);
}

uint32_t shim_mempool_cache_len(struct rte_mempool *pool)
{
	struct rte_mempool_cache *cache = rte_mempool_default_cache(pool, rte_lcore_id());

	return cache == NULL ? 0 : cache->len;
}

/* ---- the baselines of perf ---- */

struct rte_hash *shim_hash_create(const char *name, uint32_t entries, uint32_t key_len)
{
	struct rte_hash_parameters parameters = {
		.name = name,
		.entries = entries,
		.key_len = key_len,
		.hash_func = rte_hash_crc,
		.socket_id = SOCKET_ID_ANY,
	};

	return rte_hash_create(&parameters);
}

struct rte_ring *shim_ring_create(const char *name, uint32_t count)
{
	return rte_ring_create(name, count, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
}

uint32_t shim_ring_enqueue_burst(struct rte_ring *ring, const uintptr_t *items, uint32_t count)
{
	return rte_ring_sp_enqueue_burst(ring, (void *const *)items, count, NULL);
}

uint32_t shim_ring_dequeue_burst(struct rte_ring *ring, uintptr_t *items, uint32_t count)
{
	return rte_ring_sc_dequeue_burst(ring, (void **)items, count, NULL);
}

uint16_t shim_raw_cksum(const void *bytes, size_t len)
{
	return rte_raw_cksum(bytes, len);
}

/* ---- queues ---- */

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, mbufs, count);
}

uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, mbufs, count);
}

uint16_t shim_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_prepare(port, queue, mbufs, count);
}

int shim_rx_queue_count(uint16_t port, uint16_t queue)
{
	return rte_eth_rx_queue_count(port, queue);
}

/* ---- ports ---- */

static void copy_name(char *to, size_t room, const char *from)
{
	snprintf(to, room, "%s", from == NULL ? "" : from);
}

static void copy_limits(struct shim_desc_limits *to, const struct rte_eth_desc_lim *from)
{
	to->min = from->nb_min;
	to->max = from->nb_max;
	to->align = from->nb_align;
}

int shim_port_info(uint16_t port, struct shim_port_info *info)
{
	struct rte_eth_dev_info dev;
	struct rte_ether_addr mac;
	int ret;

	memset(info, 0, sizeof(*info));
	memset(&dev, 0, sizeof(dev));
	ret = rte_eth_dev_info_get(port, &dev);
	if (ret != 0)
		return ret;
	ret = rte_eth_macaddr_get(port, &mac);
	if (ret != 0)
		return ret;
	memcpy(info->mac, mac.addr_bytes, sizeof(info->mac));
	rte_eth_dev_get_name_by_port(port, info->device_name);
	copy_name(info->driver_name, sizeof(info->driver_name), dev.driver_name);
	if (dev.device != NULL) {
		const struct rte_devargs *args = rte_dev_devargs(dev.device);

		copy_name(info->bus_name, sizeof(info->bus_name),
			  rte_bus_name(rte_dev_bus(dev.device)));
		copy_name(info->devargs, sizeof(info->devargs), args == NULL ? NULL : args->args);
	}
	info->socket_id = rte_eth_dev_socket_id(port);
	info->if_index = dev.if_index;
	info->dev_flags = dev.dev_flags == NULL ? 0 : *dev.dev_flags;
	info->min_rx_bufsize = dev.min_rx_bufsize;
	info->max_rx_pktlen = dev.max_rx_pktlen;
	info->max_lro_pkt_size = dev.max_lro_pkt_size;
	info->max_mac_addrs = dev.max_mac_addrs;
	info->max_hash_mac_addrs = dev.max_hash_mac_addrs;
	info->speed_capa = dev.speed_capa;
	info->min_mtu = dev.min_mtu;
	info->max_mtu = dev.max_mtu;
	info->max_rx_queues = dev.max_rx_queues;
	info->max_tx_queues = dev.max_tx_queues;
	info->rx_queues = dev.nb_rx_queues;
	info->tx_queues = dev.nb_tx_queues;
	info->max_vfs = dev.max_vfs;
	info->max_vmdq_pools = dev.max_vmdq_pools;
	info->reta_size = dev.reta_size;
	info->max_segs_per_packet = dev.tx_desc_lim.nb_seg_max;
	info->max_segs_per_mtu = dev.tx_desc_lim.nb_mtu_seg_max;
	info->hash_key_size = dev.hash_key_size;
	info->error_handling = dev.err_handle_mode;
	copy_limits(&info->rxd, &dev.rx_desc_lim);
	copy_limits(&info->txd, &dev.tx_desc_lim);
	info->rx_offloads = dev.rx_offload_capa;
	info->tx_offloads = dev.tx_offload_capa;
	info->rss_types = dev.flow_type_rss_offloads;
	info->dev_capa = dev.dev_capa;
	return 0;
}

int shim_port_link(uint16_t port, struct shim_link *link)
{
	struct rte_eth_link now;
	int ret;

	memset(&now, 0, sizeof(now));
	ret = rte_eth_link_get_nowait(port, &now);
	if (ret != 0)
		return ret;
	link->speed_mbps = now.link_speed;
	link->up = now.link_status;
	link->full_duplex = now.link_duplex;
	link->autoneg = now.link_autoneg;
	return 0;
}

int shim_port_set_link(uint16_t port, int up)
{
	return up ? rte_eth_dev_set_link_up(port) : rte_eth_dev_set_link_down(port);
}

/* The repeated 16-bit pattern makes the Toeplitz hash of both directions of a flow equal. */
static uint8_t symmetric_key[UINT8_MAX + 1];

static void ask_for_symmetric_rss(struct rte_eth_conf *conf, const struct rte_eth_dev_info *dev)
{
	uint8_t len = dev->hash_key_size == 0 ? 40 : dev->hash_key_size;
	uint64_t types = (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP) &
			 dev->flow_type_rss_offloads;

	if (types == 0)
		return;
	for (size_t i = 0; i < sizeof(symmetric_key); i++)
		symmetric_key[i] = i % 2 == 0 ? 0x6d : 0x5a;
	conf->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
	conf->rx_adv_conf.rss_conf.rss_key = symmetric_key;
	conf->rx_adv_conf.rss_conf.rss_key_len = len;
	conf->rx_adv_conf.rss_conf.rss_hf = types;
}

int shim_port_configure(uint16_t port, struct shim_port_config *config)
{
	struct rte_eth_dev_info dev;
	struct rte_eth_conf conf;
	uint16_t rxd, txd;
	int ret;

	memset(&dev, 0, sizeof(dev));
	ret = rte_eth_dev_info_get(port, &dev);
	if (ret != 0)
		return ret;
	memset(&conf, 0, sizeof(conf));
	conf.rxmode.mtu = config->mtu;
	conf.rxmode.offloads = config->rx_offloads;
	conf.txmode.offloads = config->tx_offloads;
	if (config->symmetric_rss && config->rx_queues > 1)
		ask_for_symmetric_rss(&conf, &dev);
	ret = rte_eth_dev_configure(port, config->rx_queues, config->tx_queues, &conf);
	if (ret != 0)
		return ret;
	/* 0 asks the queue set-up for the driver's own choice. */
	rxd = config->rxd;
	txd = config->txd;
	ret = rte_eth_dev_adjust_nb_rx_tx_desc(port, &rxd, &txd);
	if (ret != 0)
		return ret;
	config->rxd = config->rxd == 0 ? 0 : rxd;
	config->txd = config->txd == 0 ? 0 : txd;
	return 0;
}

static int socket_of(uint16_t port)
{
	int socket = rte_eth_dev_socket_id(port);

	return socket < 0 ? SOCKET_ID_ANY : socket;
}

int shim_rx_queue_setup(uint16_t port, uint16_t queue, uint16_t rxd, struct rte_mempool *pool,
			uint64_t offloads)
{
	struct rte_eth_dev_info dev;
	int ret;

	memset(&dev, 0, sizeof(dev));
	ret = rte_eth_dev_info_get(port, &dev);
	if (ret != 0)
		return ret;
	dev.default_rxconf.offloads = offloads;
	return rte_eth_rx_queue_setup(port, queue, rxd, (unsigned int)socket_of(port),
				      &dev.default_rxconf, pool);
}

int shim_tx_queue_setup(uint16_t port, uint16_t queue, uint16_t txd, uint64_t offloads)
{
	struct rte_eth_dev_info dev;
	int ret;

	memset(&dev, 0, sizeof(dev));
	ret = rte_eth_dev_info_get(port, &dev);
	if (ret != 0)
		return ret;
	dev.default_txconf.offloads = offloads;
	return rte_eth_tx_queue_setup(port, queue, txd, (unsigned int)socket_of(port),
				      &dev.default_txconf);
}

uint16_t shim_ports(uint16_t *ports, uint16_t room)
{
	uint16_t count = 0;
	uint16_t port;

	RTE_ETH_FOREACH_DEV(port) {
		if (count < room)
			ports[count++] = port;
	}
	return count;
}

uint16_t shim_ports_of_device(const char *devargs, uint16_t *ports, uint16_t room)
{
	struct rte_dev_iterator iterator;
	uint16_t count = 0;
	uint16_t port;

	memset(&iterator, 0, sizeof(iterator));
	RTE_ETH_FOREACH_MATCHING_DEV(port, devargs, &iterator) {
		if (count < room)
			ports[count++] = port;
	}
	return count;
}

int shim_attach(const char *devargs)
{
	return rte_dev_probe(devargs);
}

void *shim_port_device(uint16_t port)
{
	struct rte_eth_dev_info dev;

	memset(&dev, 0, sizeof(dev));
	if (rte_eth_dev_info_get(port, &dev) != 0)
		return NULL;
	return dev.device;
}

uint16_t shim_device_port_count(const void *device)
{
	uint16_t count = 0;
	uint16_t port;

	RTE_ETH_FOREACH_DEV_OF(port, (const struct rte_device *)device)
		count++;
	return count;
}

int shim_detach(void *device)
{
	return rte_dev_remove(device);
}

int
shim_socket_domain(int fd)
{
	int domain = -1;
	socklen_t len = sizeof(domain);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 ? domain : -1;
}
