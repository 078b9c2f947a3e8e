//! The program `optimized`, as a user meets it.

use std::process::{Command, Output};

fn optimized(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_optimized")).args(arguments).output().unwrap()
}

fn refused(arguments: &[&str], with: &str) {
    let output = optimized(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(with), "{arguments:?}: {said}");
}

#[test]
fn wrong_arguments_are_refused_with_what_to_do() {
    refused(&["--onyl", "LZ4"], "--only");
    refused(&["--only", "clear LZ4"], "there are: encrypted, 1 flow;");
    refused(
        &["--quick", "--output", "/nowhere/optimized.json"],
        "/nowhere/optimized.json cannot be written",
    );
}

#[test]
fn every_row_is_listed_with_its_baseline_and_bar() {
    let output = optimized(&["--list"]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    let first = said.lines().next().unwrap_or_default();
    assert!(first.starts_with("encrypted, 1 flow ") && first.ends_with("0.40"), "{first}");
    assert_eq!(said.lines().count(), perf::optimized::specs().len());
}
