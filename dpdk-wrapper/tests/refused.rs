//! A start that DPDK refuses, in a process of its own.

use dpdk_wrapper::log::{self, LogLevel, LogTarget};
use dpdk_wrapper::{Eal, EalError};

#[test]
fn a_refused_start_says_why_and_cannot_be_repeated() {
    log::set(LogTarget::Discard, LogLevel::Debug);
    let args = [
        "--no-huge",
        "-m",
        "64",
        "--no-pci",
        "--no-shconf",
        "--no-telemetry",
        "--vdev",
        "net_rong0",
    ];
    let error = Eal::init(args).unwrap_err();
    let EalError::Init { messages, .. } = &error else { panic!("{error}") };
    assert!(messages.iter().any(|message| message.contains("net_rong0")), "{messages:?}");
    let text = error.to_string();
    assert!(text.contains("net_rong0") && text.contains("check the device names"), "{text}");
    assert!(matches!(Eal::init(args).unwrap_err(), EalError::AlreadyInitialised));
}
