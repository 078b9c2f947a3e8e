//! Bursts through queues: contents, order, ownership.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dpdk_wrapper::{Burst, PortConfig, TxOffloads};

use crate::bench::{Bench, burst_of, bytes, content};

#[test]
fn null_gives_32_and_takes_32() {
    let mut bench = Bench::new("net_null", ",size=128", &PortConfig::default());
    let mut burst: Burst = Burst::new();
    assert_eq!(bench.queues.rx[0].rx_burst(&mut burst), 32);
    assert_eq!((burst.len(), bench.pool.in_use()), (32, 32));
    assert!(burst.iter().all(|mbuf| mbuf.pkt_len() == 128));
    assert_eq!(bench.queues.rx[0].rx_burst(&mut burst), 0, "no room, nothing received");
    assert_eq!(bench.queues.tx[0].tx_burst(&mut burst), 32);
    assert_eq!((burst.len(), bench.pool.in_use()), (0, 0));
    bench.finish();
}

#[test]
fn ring_returns_what_was_sent_in_order() {
    let mut bench = Bench::ring(&PortConfig::default());
    let mut burst = burst_of(&bench.pool, 0..32);
    assert_eq!(bench.queues.tx[0].tx_burst(&mut burst), 32);
    assert!(burst.is_empty());
    assert_eq!(bench.pool.in_use(), 32, "the device holds them");
    // Into a burst that holds something: behind it.
    let mut received: Burst<64> = Burst::new();
    received.push(crate::bench::numbered(&bench.pool, 99)).unwrap();
    assert_eq!(bench.queues.rx[0].rx_burst(&mut received), 32);
    assert_eq!(received[0].data(), content(99));
    for (number, mbuf) in received[1..].iter().enumerate() {
        assert_eq!(mbuf.data(), content(number));
    }
    drop(received);
    bench.finish();
}

#[test]
fn a_short_transmit_leaves_the_rest_with_us() {
    let mut bench = Bench::ring(&PortConfig::default());
    // The ring of a ring port holds 1023.
    let mut sent = 0;
    let mut rest = loop {
        let mut burst = burst_of(&bench.pool, sent..sent + 32);
        sent += bench.queues.tx[0].tx_burst(&mut burst);
        if !burst.is_empty() {
            break burst;
        }
    };
    assert_eq!((sent, rest.len()), (1023, 1));
    assert_eq!(rest[0].data(), content(1023), "the first that was not taken is first");
    assert_eq!(bench.queues.tx[0].tx_burst(&mut rest), 0);
    assert_eq!(bench.pool.in_use(), 1024);
    let mut number = 0;
    let mut received: Burst = Burst::new();
    while bench.queues.rx[0].rx_burst(&mut received) > 0 {
        for mbuf in received.drain() {
            assert_eq!(mbuf.data(), content(number));
            number += 1;
        }
    }
    assert_eq!((number, bench.pool.in_use()), (1023, 1));
    assert_eq!(bench.queues.tx[0].tx_burst(&mut rest), 1, "there is room again");
    assert_eq!(bench.queues.rx[0].rx_burst(&mut received), 1);
    assert_eq!(received[0].data(), content(1023));
    drop((rest, received));
    bench.finish();
}

#[test]
fn a_partly_taken_burst_keeps_its_order() {
    let mut bench = Bench::ring(&PortConfig::default());
    let mut sent = 0;
    while sent < 1000 {
        let mut burst = burst_of(&bench.pool, sent..sent + 25);
        sent += bench.queues.tx[0].tx_burst(&mut burst);
    }
    let mut burst = burst_of(&bench.pool, 1000..1032);
    assert_eq!(bench.queues.tx[0].tx_burst(&mut burst), 23);
    let left: Vec<_> = burst.iter().map(bytes).collect();
    assert_eq!(left, (1023..1032).map(content).collect::<Vec<_>>());
    let mut received: Burst<1024> = Burst::new();
    while bench.queues.rx[0].rx_burst(&mut received) > 0 {}
    assert_eq!(received.len(), 1023);
    drop((burst, received));
    bench.finish();
}

#[test]
fn chains_pass_where_the_device_sends_them() {
    let config = PortConfig { tx_offloads: TxOffloads::MULTI_SEGS, ..PortConfig::default() };
    let mut bench = Bench::ring(&config);
    assert_eq!(bench.queues.granted.tx_offloads, TxOffloads::MULTI_SEGS);
    let mut burst = burst_of(&bench.pool, 1..4);
    let tail = bench.pool.alloc_copy(b"tail").unwrap();
    burst[1].chain(tail).unwrap();
    assert_eq!(bench.queues.tx[0].tx_burst(&mut burst), 3);
    assert_eq!(bench.queues.rx[0].rx_burst(&mut burst), 3);
    assert_eq!(burst[1].segments().collect::<Vec<_>>(), [&content(2)[..], b"tail"]);
    drop(burst);
    bench.finish();
}

#[test]
fn chains_stay_with_us_where_it_does_not() {
    let mut bench = Bench::ring(&PortConfig::default());
    let mut burst = burst_of(&bench.pool, 1..4);
    let tail = bench.pool.alloc_copy(b"tail").unwrap();
    burst[1].chain(tail).unwrap();
    assert_eq!(bench.queues.tx[0].tx_burst(&mut burst), 1);
    assert_eq!(bench.queues.tx[0].tx_burst(&mut burst), 0);
    burst[0].linearize().unwrap();
    assert_eq!(bench.queues.tx[0].tx_burst(&mut burst), 2);
    assert_eq!(bench.queues.rx[0].rx_burst(&mut burst), 3);
    assert_eq!(burst[1].data(), [&content(2)[..], b"tail"].concat());
    drop(burst);
    bench.finish();
}

#[test]
fn each_queue_is_its_own() {
    let config = PortConfig { rx_queues: 2, tx_queues: 2, ..PortConfig::default() };
    let mut bench = Bench::ring(&config);
    let queues = &mut bench.queues;
    assert_eq!((queues.rx.len(), queues.tx.len()), (2, 2));
    assert_eq!((queues.rx[1].index(), queues.tx[1].port()), (1, bench.port.id()));
    let mut burst = burst_of(&bench.pool, 7..8);
    assert_eq!(queues.tx[1].tx_burst(&mut burst), 1);
    assert_eq!(queues.rx[0].rx_burst(&mut burst), 0);
    assert_eq!(queues.rx[1].rx_burst(&mut burst), 1);
    assert_eq!(burst[0].data(), content(7));
    queues.tx[0].tx_prepare(&mut burst).unwrap();
    drop(burst);
    bench.finish();
}

#[test]
fn a_stopped_port_gives_and_takes_nothing() {
    let mut bench = Bench::new("net_null", "", &PortConfig::default());
    let mut burst = burst_of(&bench.pool, 0..4);
    bench.port.stop().unwrap();
    assert!(!bench.port.is_started());
    assert_eq!(bench.queues.tx[0].tx_burst(&mut burst), 0);
    assert_eq!(bench.queues.rx[0].rx_burst(&mut burst), 0);
    assert_eq!(bench.queues.rx[0].waiting(), None);
    assert_eq!(burst.len(), 4);
    bench.port.stop().unwrap();
    bench.port.start().unwrap();
    assert_eq!(bench.queues.rx[0].rx_burst(&mut burst), 28);
    assert_eq!(bench.queues.tx[0].tx_burst(&mut burst), 32);
    drop(burst);
    bench.finish();
}

#[test]
fn stopping_is_safe_while_another_thread_polls() {
    let Bench { pool, port, mut queues } = Bench::new("net_null", "", &PortConfig::default());
    let (mut rx, mut tx) = (queues.rx.remove(0), queues.tx.remove(0));
    let forwarded = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let worker = {
        let (forwarded, done) = (Arc::clone(&forwarded), Arc::clone(&done));
        std::thread::spawn(move || {
            let mut burst: Burst = Burst::new();
            while !done.load(Ordering::SeqCst) {
                rx.rx_burst(&mut burst);
                forwarded.fetch_add(tx.tx_burst(&mut burst), Ordering::SeqCst);
                std::thread::yield_now();
            }
        })
    };
    for _ in 0..20 {
        let before = forwarded.load(Ordering::SeqCst);
        while forwarded.load(Ordering::SeqCst) == before {
            std::thread::yield_now();
        }
        port.stop().unwrap();
        // The worker may still have to count a burst that was sent before.
        let sent = port.stats().unwrap().tx_packets;
        for _ in 0..50 {
            std::thread::yield_now();
        }
        assert_eq!(port.stats().unwrap().tx_packets, sent, "sent after the stop");
        port.start().unwrap();
    }
    done.store(true, Ordering::SeqCst);
    worker.join().unwrap();
    Bench { pool, port, queues }.finish();
}
