//! The appliance.

use std::process::ExitCode;

fn main() -> ExitCode {
    control::run::main(std::env::args_os(), |plan| {
        Err(format!("no appliance is built in that starts with {}", plan.eal_args.join(" ")).into())
    })
}
