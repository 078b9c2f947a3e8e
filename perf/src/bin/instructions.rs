//! Does the work of each stage, so that its instructions can be counted, and says as JSON what was
//! done, in the order in which counts are settled.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut works = Vec::new();
    if let Err(error) = perf::instructions::run(&mut |work| works.push(work)) {
        eprintln!("instructions: {error}");
        return ExitCode::FAILURE;
    }
    match serde_json::to_string(&works) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}
