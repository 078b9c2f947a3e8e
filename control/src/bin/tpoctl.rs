//! Commands to a running tpo.

use std::process::ExitCode;

fn main() -> ExitCode {
    control::ctl::main(std::env::args_os())
}
