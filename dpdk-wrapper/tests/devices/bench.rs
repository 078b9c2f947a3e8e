//! The EAL of this process, and a device with a pool for one test.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use dpdk_wrapper::log::{self, LogLevel, LogTarget};
use dpdk_wrapper::{Burst, Eal, Mbuf, Mempool, MempoolConfig, Port, PortConfig, Queues, port};

pub(crate) const POOL_SIZE: u32 = 2047;

pub(crate) fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| {
        log::set(LogTarget::Stderr, LogLevel::Error);
        let lcores = format!("0@({})", allowed_cpus());
        let args =
            format!("--no-huge -m 512 --no-pci --no-shconf --no-telemetry --lcores {lcores}");
        // A thread of its own becomes the main lcore: no test thread has an lcore id by chance.
        std::thread::spawn(move || Eal::init(args.split(' '))).join().unwrap().unwrap()
    })
}

/// The CPUs of this process as a list for `--lcores`, e.g. `0-3,8`.
fn allowed_cpus() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    list.trim().to_owned()
}

fn unique() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn pool() -> Mempool {
    let config = MempoolConfig::new(&format!("pool{}", unique()), POOL_SIZE);
    Mempool::new(eal(), &config).unwrap()
}

/// A device of the kind `net_ring` or `net_null`, whose name no other test has; with its port.
pub(crate) fn attach(kind: &str, args: &str) -> (String, Port) {
    let name = format!("{kind}{}", unique());
    let ids = port::attach(eal(), &format!("{name}{args}")).unwrap();
    assert_eq!(ids.len(), 1);
    (name, Port::open(eal(), ids[0]).unwrap())
}

/// A started port with its queues, and the pool it receives from.
pub(crate) struct Bench {
    pub(crate) pool: Mempool,
    pub(crate) port: Port,
    pub(crate) queues: Queues,
}

impl Bench {
    pub(crate) fn new(kind: &str, args: &str, config: &PortConfig) -> Self {
        let pool = pool();
        let (_, port) = attach(kind, args);
        let queues = port.configure(config, std::slice::from_ref(&pool)).unwrap();
        port.start().unwrap();
        Bench { pool, port, queues }
    }

    /// A ring port: what is sent on queue i is received on queue i.
    pub(crate) fn ring(config: &PortConfig) -> Self {
        Bench::new("net_ring", "", config)
    }

    /// Ends the test: the device goes, and every mbuf is back.
    pub(crate) fn finish(self) {
        let Bench { pool, port, queues } = self;
        drop(queues);
        port.detach().unwrap();
        assert_eq!(pool.in_use(), 0, "mbufs leaked");
    }
}

/// An mbuf whose content tells its number.
pub(crate) fn numbered(pool: &Mempool, number: usize) -> Mbuf {
    pool.alloc_copy(&content(number)).unwrap()
}

pub(crate) fn content(number: usize) -> Vec<u8> {
    (0..60 + number % 1000).map(|i| u8::try_from((i * 7 + number) % 251).unwrap()).collect()
}

/// A burst of mbufs with these numbers.
pub(crate) fn burst_of(pool: &Mempool, numbers: std::ops::Range<usize>) -> Burst {
    let mut burst = Burst::new();
    for number in numbers {
        burst.push(numbered(pool, number)).unwrap();
    }
    burst
}

pub(crate) fn bytes(mbuf: &Mbuf) -> Vec<u8> {
    mbuf.segments().flatten().copied().collect()
}
