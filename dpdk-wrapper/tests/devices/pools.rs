//! Pools: their limits, and their end.

use dpdk_wrapper::{Burst, Mempool, MempoolConfig, MempoolError};

use crate::bench::{POOL_SIZE, eal, pool};

#[test]
fn an_exhausted_pool_says_so_and_recovers() {
    let pool = pool();
    assert_eq!((pool.count(), pool.available(), pool.in_use()), (POOL_SIZE, POOL_SIZE, 0));
    let mut held: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!((held.len(), pool.available()), (POOL_SIZE as usize, 0));
    held.truncate(POOL_SIZE as usize - 5);
    let mut burst: Burst = Burst::new();
    assert!(!pool.alloc_bulk(&mut burst, 6), "all or none");
    assert_eq!((burst.len(), pool.available()), (0, 5));
    assert!(pool.alloc_bulk(&mut burst, 5));
    assert_eq!((burst.len(), pool.available()), (5, 0));
    drop((held, burst));
    assert_eq!(pool.available(), POOL_SIZE);
}

#[test]
fn bulk_allocation_respects_the_room_of_the_burst() {
    let pool = pool();
    let mut burst: Burst<8> = Burst::new();
    assert!(pool.alloc_bulk(&mut burst, 3));
    assert!(!pool.alloc_bulk(&mut burst, 6));
    assert!(pool.alloc_bulk(&mut burst, 5));
    assert_eq!((burst.len(), pool.in_use()), (8, 8));
    assert!(burst.iter().all(|mbuf| mbuf.pkt_len() == 0 && mbuf.is_contiguous()));
}

/// net_af_xdp registers count x distance bytes from the first mbuf on: a gap anywhere would put the
/// last ones outside.
#[test]
fn mbufs_lie_back_to_back() {
    let pool = Mempool::new(eal(), &MempoolConfig::new("packed", 4095)).unwrap();
    let held: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    let mut places: Vec<_> = held.iter().map(|mbuf| mbuf.data().as_ptr().addr()).collect();
    places.sort_unstable();
    let distances: Vec<_> = places.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(distances.len(), 4094);
    assert!(distances.iter().all(|distance| *distance == distances[0]), "there are gaps");
}

#[test]
fn a_name_is_free_again_when_its_pool_is_gone() {
    let config = MempoolConfig::new("once", 255);
    let first = Mempool::new(eal(), &config).unwrap();
    let error = Mempool::new(eal(), &config).unwrap_err();
    assert!(matches!(error, MempoolError::NameTaken(_)), "{error}");
    drop(first);
    Mempool::new(eal(), &config).unwrap();
}

#[test]
fn a_pool_with_mbufs_out_is_kept() {
    let pool = Mempool::new(eal(), &MempoolConfig::new("kept", 255)).unwrap();
    let mut mbuf = pool.alloc_copy(b"still here").unwrap();
    drop(pool);
    mbuf.append(1).unwrap()[0] = b'!';
    assert_eq!(mbuf.data(), b"still here!");
    drop(mbuf);
}

#[test]
fn wrong_settings_are_refused_with_a_reason() {
    let refused = |config: &MempoolConfig| Mempool::new(eal(), config).unwrap_err();
    let good = MempoolConfig::new("refused", 255);
    for name in ["", "a name of more than 25 bytes", "nul\0"] {
        let error = refused(&MempoolConfig { name: name.to_owned(), ..good.clone() });
        assert!(matches!(error, MempoolError::BadName(_)), "{error}");
    }
    let longest = MempoolConfig { name: "x".repeat(MempoolConfig::NAME_MAX), ..good.clone() };
    Mempool::new(eal(), &longest).unwrap();
    for (cache, count) in [(513, 8191), (200, 255)] {
        let error = refused(&MempoolConfig { cache, count, ..good.clone() });
        assert!(matches!(error, MempoolError::BadCache { .. }), "{error}");
    }
    let error = refused(&MempoolConfig { data_room: 128, ..good });
    assert!(matches!(error, MempoolError::BadDataRoom { .. }), "{error}");
}
