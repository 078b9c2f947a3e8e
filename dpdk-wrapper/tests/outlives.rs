//! An mbuf that outlives everything else, in a process of its own: DPDK is never cleaned up in it.

use dpdk_wrapper::log::{self, LogLevel, LogTarget};
use dpdk_wrapper::{Eal, Mempool, MempoolConfig};

#[test]
fn an_mbuf_keeps_its_memory_when_pool_and_eal_are_dropped() {
    log::set(LogTarget::Discard, LogLevel::Debug);
    let args = ["--no-huge", "-m", "64", "--no-pci", "--no-shconf", "--no-telemetry"];
    let eal = Eal::init(args).unwrap();
    let pool = Mempool::new(&eal, &MempoolConfig::new("outlived", 255)).unwrap();
    let mut mbuf = pool.alloc_copy(b"still ").unwrap();
    drop(pool);
    drop(eal);
    mbuf.append(4).unwrap().copy_from_slice(b"here");
    assert_eq!(mbuf.data(), b"still here");
    drop(mbuf);
}
