//! The appliance.

use std::process::ExitCode;

fn main() -> ExitCode {
    control::run::main(std::env::args_os(), control::appliance::run)
}
