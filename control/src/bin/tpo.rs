//! The appliance.

use std::process::ExitCode;

use dpdk_wrapper::memory::LargePages;

/// Flow tables are looked at all over, once per frame.
#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

fn main() -> ExitCode {
    control::run::main(std::env::args_os(), control::appliance::run)
}
