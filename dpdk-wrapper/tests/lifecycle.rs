//! The EAL from start to end, in a process of its own; one test, because it starts only once.

use std::sync::{Arc, Mutex};

use dpdk_wrapper::eal::{self, CleanupError};
use dpdk_wrapper::log::{self, LogLevel, LogTarget};
use dpdk_wrapper::{
    Eal, EalError, Mempool, MempoolConfig, MempoolError, RegisterError, ThreadRegistration,
    current_lcore,
};

fn allowed_cpus() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    list.trim().to_owned()
}

#[test]
fn starts_once_logs_to_a_callback_and_ends_with_its_last_user() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let callback = {
        let lines = Arc::clone(&lines);
        Arc::new(move |level: LogLevel, text: &str| {
            lines.lock().unwrap().push((level, text.to_owned()));
        })
    };
    log::set(LogTarget::Callback(callback), LogLevel::Info);
    let cpus = allowed_cpus();
    let nul = Eal::init(["--no-huge", "a\0b"]).unwrap_err();
    assert!(matches!(nul, EalError::NulByte(_)), "refused before DPDK sees it: {nul}");

    let args = ["--no-huge", "-m", "64", "--no-pci", "--no-shconf", "--no-telemetry", "-l"];
    let first_cpu = cpus.split(['-', ',']).next().unwrap();
    let eal = Eal::init(args.into_iter().chain([first_cpu])).unwrap();
    assert_eq!(allowed_cpus(), cpus, "the affinity of the caller is what it was");
    assert!(current_lcore().is_some());
    let registered = ThreadRegistration::new(&eal).unwrap_err();
    assert!(matches!(registered, RegisterError::AlreadyRegistered(_)), "{registered}");
    let again = Eal::init(args).unwrap_err();
    assert!(matches!(again, EalError::AlreadyInitialised), "{again}");

    let (hz, before) = (eal.tsc_hz(), eal::tsc());
    assert!(hz > 1_000_000);
    eal::pause();
    assert!(eal::tsc() > before);

    // Beside other tests this would starve them.
    let error = Mempool::new(&eal, &MempoolConfig::new("huge", 1 << 20)).unwrap_err();
    assert!(matches!(error, MempoolError::NoMemory { .. }), "{error}");
    assert!(error.to_string().contains("-m"), "{error}");

    let pool = Mempool::new(&eal, &MempoolConfig::new("pool", 255)).unwrap();
    let early = eal.clone().cleanup().unwrap_err();
    assert!(matches!(early, CleanupError::StillInUse), "{early}");
    drop(pool.alloc().unwrap());
    drop(pool);
    eal.cleanup().unwrap();

    let lines = lines.lock().unwrap();
    let started = |(level, text): &(LogLevel, String)| {
        *level == LogLevel::Info && text.starts_with("EAL: Detected CPU lcores")
    };
    assert!(lines.iter().any(started), "{lines:?}");
    assert!(lines.iter().all(|(_, text)| !text.ends_with('\n')));
}
