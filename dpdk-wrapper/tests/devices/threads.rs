//! Threads that DPDK knows, and those that it does not.

use dpdk_wrapper::{RegisterError, ThreadRegistration, current_lcore};

use crate::bench::{Bench, eal, numbered, pool};

#[test]
fn only_a_registered_thread_has_an_lcore_and_a_cache() {
    let pool = pool();
    assert_eq!(current_lcore(), None);
    drop(numbered(&pool, 0));
    assert_eq!(pool.cached(), 0);

    let registration = ThreadRegistration::new(eal()).unwrap();
    assert_eq!(current_lcore(), Some(registration.lcore_id()));
    let again = ThreadRegistration::new(eal()).unwrap_err();
    assert!(matches!(again, RegisterError::AlreadyRegistered(_)), "{again}");
    drop(numbered(&pool, 0));
    assert!(pool.cached() > 0);
    assert_eq!(pool.in_use(), 0, "what is cached is available");

    drop(registration);
    assert_eq!((current_lcore(), pool.cached()), (None, 0));
}

#[test]
fn threads_have_lcores_of_their_own() {
    let mine = ThreadRegistration::new(eal()).unwrap();
    let theirs = std::thread::spawn(|| ThreadRegistration::new(eal()).unwrap().lcore_id());
    assert_ne!(theirs.join().unwrap(), mine.lcore_id());
}

#[test]
fn queues_and_mbufs_move_to_a_worker() {
    let Bench { pool, port, mut queues } = Bench::ring(&Default::default());
    let (mut rx, mut tx) = (queues.rx.remove(0), queues.tx.remove(0));
    let mbuf = numbered(&pool, 5);
    let worker = std::thread::spawn(move || {
        let _registration = ThreadRegistration::new(eal()).unwrap();
        let mut burst: dpdk_wrapper::Burst = dpdk_wrapper::Burst::new();
        burst.push(mbuf).unwrap();
        assert_eq!(tx.tx_burst(&mut burst), 1);
        assert_eq!(rx.rx_burst(&mut burst), 1);
        (rx, tx, burst)
    });
    let (rx, tx, burst) = worker.join().unwrap();
    assert_eq!(burst[0].data(), crate::bench::content(5));
    drop((burst, rx, tx));
    Bench { pool, port, queues }.finish();
}
