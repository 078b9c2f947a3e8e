//! The program `micro`, as a user meets it.

use std::process::{Command, Output};

fn micro(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_micro")).args(arguments).output().unwrap()
}

fn refused(arguments: &[&str], with: &str) {
    let output = micro(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(with), "{arguments:?}: {said}");
}

#[test]
fn wrong_arguments_are_refused_with_what_to_do() {
    refused(&["--onyl", "ring"], "--only");
    refused(&["--only"], "WORDS");
    refused(
        &["--only", "classify hash"],
        "no bench has \"hash\" in its name; there are: classify 10k",
    );
    refused(&["--only", "classify ring"], "no bench has all of these words");
    refused(
        &["--quick", "--output", "/nowhere/micro.json"],
        "/nowhere/micro.json cannot be written",
    );
}

#[test]
fn every_bench_is_listed_with_its_baseline_and_bar() {
    let output = micro(&["--list"]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.lines().any(|line| line.starts_with("classify 1M hit ") && line.ends_with("1.45"))
    );
    assert_eq!(said.lines().count(), perf::micro::BENCHES.len());
}
