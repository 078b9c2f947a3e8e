//! Ports: opening, configuring, statistics, closing.

use std::collections::HashSet;

use dpdk_wrapper::port::{
    AttachError, CloseError, ConfigureError, ControlError, DetachError, OpenError, StartError,
};
use dpdk_wrapper::{
    Burst, Mempool, MempoolConfig, Port, PortConfig, RxOffloads, TxOffloads, port, ports,
};

use crate::bench::{Bench, attach, burst_of, content, eal, pool};

#[test]
fn a_port_has_one_owner() {
    let (name, port) = attach("net_ring", "");
    assert!(ports(eal()).contains(&port.id()));
    let error = Port::open(eal(), name.as_str()).unwrap_err();
    assert!(matches!(error, OpenError::AlreadyOpen(_)), "{error}");
    drop(port);
    // Only looked at: it is still there.
    let port = Port::open(eal(), name.as_str()).unwrap();
    assert_eq!(port.device_info().unwrap().device_name, name);
    port.detach().unwrap();
    let error = Port::open(eal(), name.as_str()).unwrap_err();
    assert!(matches!(error, OpenError::NoSuchDevice { .. }), "{error}");
}

#[test]
fn a_wrong_name_is_one_clear_sentence() {
    let (name, port) = attach("net_ring", "");
    let error = Port::open(eal(), "net_rong0").unwrap_err().to_string();
    assert!(error.contains("\"net_rong0\"") && error.contains(&name), "{error}");
    let error = Port::open(eal(), 31).unwrap_err().to_string();
    assert!(error.starts_with("there is no port 31; DPDK has net_"), "{error}");
    for devargs in ["net_rong0", "0000:ff:1f.7"] {
        let error = port::attach(eal(), devargs).unwrap_err();
        assert!(matches!(error, AttachError::Failed { .. }), "{error}");
        assert!(error.to_string().contains(devargs), "{error}");
    }
    let error = port::attach(eal(), &name).unwrap_err();
    assert!(matches!(error, AttachError::Exists(_)), "{error}");
    port.detach().unwrap();
}

#[test]
fn a_device_tells_what_it_is() {
    let (name, port) = attach("net_null", ",size=64");
    let info = port.device_info().unwrap();
    assert_eq!((info.port, &info.device_name), (port.id(), &name));
    assert_eq!((info.driver_name.as_str(), info.bus_name.as_str()), ("net_null", "vdev"));
    assert_eq!(info.devargs, "size=64");
    assert_eq!(port.mac().unwrap(), info.mac);
    assert!(info.max_rx_queues >= 1 && info.max_mtu >= 1500);
    assert_eq!(info.mac.to_string().len(), 17);
    port.detach().unwrap();
}

#[test]
fn queues_are_handed_out_once() {
    let Bench { pool, port, queues } = Bench::ring(&PortConfig::default());
    let again = || port.configure(&PortConfig::default(), std::slice::from_ref(&pool));
    assert!(matches!(again().unwrap_err(), ConfigureError::Started(_)));
    port.stop().unwrap();
    let error = again().unwrap_err();
    assert!(matches!(error, ConfigureError::QueuesInUse { count: 2, .. }), "{error}");
    let dpdk_wrapper::Queues { rx, tx, .. } = queues;
    drop(rx);
    assert!(matches!(again().unwrap_err(), ConfigureError::QueuesInUse { count: 1, .. }));
    drop(tx);
    let queues = again().unwrap();
    port.start().unwrap();
    Bench { pool, port, queues }.finish();
}

#[test]
fn a_port_in_use_is_neither_closed_nor_detached() {
    let Bench { pool, port, queues } = Bench::ring(&PortConfig::default());
    let Err(CloseError::QueuesInUse { port, count: 2 }) = port.close() else {
        panic!("closed with two queues in use");
    };
    let Err(DetachError::QueuesInUse { port, count: 2 }) = port.detach() else {
        panic!("detached with two queues in use");
    };
    assert!(port.is_started(), "nothing has happened to it");
    Bench { pool, port, queues }.finish();
}

#[test]
fn queues_outlive_their_port_handle_and_keep_the_device_open() {
    let Bench { pool, port, mut queues } = Bench::ring(&PortConfig::default());
    let name = port.device_info().unwrap().device_name;
    drop(port);
    let mut burst = burst_of(&pool, 0..2);
    assert_eq!(queues.tx[0].tx_burst(&mut burst), 2);
    assert_eq!(queues.rx[0].rx_burst(&mut burst), 2);
    assert_eq!(burst[1].data(), content(1));
    let error = Port::open(eal(), name.as_str()).unwrap_err();
    assert!(matches!(error, OpenError::AlreadyOpen(_)), "{error}");
    drop((burst, queues));
    assert_eq!(pool.in_use(), 0);
    let error = Port::open(eal(), name.as_str()).unwrap_err();
    assert!(matches!(error, OpenError::NoSuchDevice { .. }), "closed with the last queue: {error}");
}

#[test]
fn a_closed_device_gives_its_mbufs_and_its_pool_back() {
    let Bench { pool, port, queues } = Bench::new("net_null", "", &PortConfig::default());
    drop(queues);
    port.close().unwrap();
    assert_eq!(pool.in_use(), 0);
    let same_name = MempoolConfig::new(pool.name(), 255);
    drop(pool);
    // Free again: nothing else held the pool.
    Mempool::new(eal(), &same_name).unwrap();
}

#[test]
fn wrong_settings_are_refused_with_a_reason() {
    let (_, port) = attach("net_ring", "");
    let pools = [pool()];
    let good = PortConfig::default();
    let error = port.start().unwrap_err();
    assert!(matches!(error, StartError::NotConfigured(_)), "{error}");
    let error = port.configure(&good, &[]).unwrap_err();
    assert!(matches!(error, ConfigureError::NoPool(_)), "{error}");
    let none = PortConfig { rx_queues: 0, tx_queues: 0, ..good.clone() };
    let error = port.configure(&none, &pools).unwrap_err();
    assert!(matches!(error, ConfigureError::NoQueues(_)), "{error}");
    let many = PortConfig { tx_queues: 1000, ..good.clone() };
    let error = port.configure(&many, &pools).unwrap_err();
    assert!(
        matches!(error, ConfigureError::TooManyQueues { direction: "transmit", wanted: 1000, .. }),
        "{error}"
    );
    let tiny = PortConfig { mtu: Some(1), ..good.clone() };
    let error = port.configure(&tiny, &pools).unwrap_err();
    assert!(matches!(error, ConfigureError::Mtu { wanted: 1, .. }), "{error}");

    let queues = port.configure(&good, &pools).unwrap();
    port.start().unwrap();
    assert!(matches!(port.start().unwrap_err(), StartError::Started(_)));
    drop(queues);
    port.detach().unwrap();
}

#[test]
fn offloads_that_the_device_lacks_are_left_out_and_reported() {
    let (_, port) = attach("net_ring", "");
    let info = port.device_info().unwrap();
    let config = PortConfig {
        rx_offloads: RxOffloads::TCP_LRO,
        tx_offloads: TxOffloads::MULTI_SEGS
            | TxOffloads::TCP_TSO
            | TxOffloads::MBUF_FAST_FREE
            | TxOffloads::MT_LOCKFREE,
        ..PortConfig::default()
    };
    let queues = port.configure(&config, &[pool()]).unwrap();
    assert!(!info.rx_offloads.contains(RxOffloads::TCP_LRO));
    assert_eq!(queues.granted.rx_offloads, RxOffloads::NONE);
    assert_eq!(queues.granted.tx_offloads, TxOffloads::MULTI_SEGS);
    drop(queues);
    port.detach().unwrap();
}

#[test]
fn statistics_count_packets_and_start_over() {
    let mut bench = Bench::ring(&PortConfig::default());
    let mut burst = burst_of(&bench.pool, 0..10);
    bench.queues.tx[0].tx_burst(&mut burst);
    bench.queues.rx[0].rx_burst(&mut burst);
    let stats = bench.port.stats().unwrap();
    assert_eq!((stats.rx_packets, stats.tx_packets, stats.rx_missed), (10, 10, 0));
    bench.port.reset_stats().unwrap();
    let stats = bench.port.stats().unwrap();
    assert_eq!((stats.rx_packets, stats.tx_packets), (0, 0));
    drop(burst);
    bench.finish();
}

#[test]
fn extended_statistics_follow_the_number_of_queues() {
    let Bench { pool, port, queues } = Bench::ring(&PortConfig::default());
    let one_queue = port.xstats().unwrap();
    drop(queues);
    port.stop().unwrap();
    let config = PortConfig { rx_queues: 2, tx_queues: 2, ..PortConfig::default() };
    let mut queues = port.configure(&config, std::slice::from_ref(&pool)).unwrap();
    port.start().unwrap();
    let mut burst = burst_of(&pool, 0..5);
    queues.tx[1].tx_burst(&mut burst);
    queues.rx[1].rx_burst(&mut burst);

    let two_queues = port.xstats().unwrap();
    assert!(two_queues.len() > one_queue.len());
    let names: HashSet<_> = two_queues.iter().map(|xstat| &xstat.name).collect();
    assert_eq!(names.len(), two_queues.len(), "names are unique");
    let value = |name: &str| two_queues.iter().find(|xstat| xstat.name == name).unwrap().value;
    assert_eq!((value("rx_q1_packets"), value("tx_q1_packets")), (5, 5));
    assert_eq!((value("rx_q0_packets"), value("rx_good_packets")), (0, 5));
    port.reset_xstats().unwrap();
    assert!(port.xstats().unwrap().iter().all(|xstat| xstat.value == 0));
    drop(burst);
    Bench { pool, port, queues }.finish();
}

#[test]
fn promiscuous_mode_is_set_and_read() {
    let bench = Bench::ring(&PortConfig { promiscuous: true, ..PortConfig::default() });
    assert!(bench.port.promiscuous().unwrap());
    bench.port.set_promiscuous(false).unwrap();
    assert!(!bench.port.promiscuous().unwrap());
    bench.port.stop().unwrap();
    bench.port.start().unwrap();
    assert!(!bench.port.promiscuous().unwrap(), "the last word counts after a restart");
    bench.port.set_all_multicast(true).unwrap();
    assert!(bench.port.all_multicast().unwrap());
    bench.finish();
}

#[test]
fn the_link_is_read_and_set() {
    let bench = Bench::ring(&PortConfig::default());
    let link = bench.port.link().unwrap();
    assert!(link.up && link.full_duplex);
    assert_eq!(link.speed_mbps, Some(10_000));
    bench.port.set_link(false).unwrap();
    assert!(!bench.port.link().unwrap().up);
    bench.finish();
}

#[test]
fn the_mtu_is_the_configured_one() {
    let (_, port) = attach("net_null", "");
    let config = PortConfig { mtu: Some(1400), ..PortConfig::default() };
    let queues = port.configure(&config, &[pool()]).unwrap();
    assert_eq!(port.mtu().unwrap(), 1400);
    port.set_mtu(1300).unwrap();
    assert_eq!(port.mtu().unwrap(), 1300);
    drop(queues);
    port.detach().unwrap();
}

#[test]
fn what_a_driver_cannot_do_is_said_so() {
    let bench = Bench::new("net_null", "", &PortConfig::default());
    let error = bench.port.set_link(false).unwrap_err();
    assert!(matches!(error, ControlError::Unsupported { .. }), "{error}");
    bench.finish();
}

#[test]
fn a_port_can_have_queues_in_one_direction_only() {
    let (_, port) = attach("net_null", "");
    let pool = pool();
    let config = PortConfig { tx_queues: 0, ..PortConfig::default() };
    let mut queues = port.configure(&config, std::slice::from_ref(&pool)).unwrap();
    assert!(queues.tx.is_empty());
    port.start().unwrap();
    let mut burst: Burst = Burst::new();
    assert_eq!(queues.rx[0].rx_burst(&mut burst), 32);
    drop((burst, queues));
    assert_eq!(pool.in_use(), 0);
    port.detach().unwrap();
}
