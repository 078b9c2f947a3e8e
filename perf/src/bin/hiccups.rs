//! How long each core is away from a thread that only looks at the clock, as JSON.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use perf::hiccups::{Core, watch};

/// Spins on every core that this process may use, and tells the gaps as JSON.
#[derive(Debug, Parser)]
#[command(name = "hiccups", version)]
struct Options {
    /// How long
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    milliseconds: u64,
}

#[derive(serde::Serialize)]
struct Document {
    cores: Vec<Core>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let text = watch(&cores, Duration::from_millis(options.milliseconds))
        .map_err(|error| error.to_string())
        .and_then(|cores| {
            serde_json::to_string(&Document { cores }).map_err(|error| error.to_string())
        });
    match text {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("hiccups: {error}");
            ExitCode::FAILURE
        }
    }
}
