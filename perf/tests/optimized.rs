//! The program `optimized`, as a user meets it.

mod program;

const PROGRAM: &str = env!("CARGO_BIN_EXE_optimized");

#[test]
fn wrong_arguments_are_refused_with_what_to_do() {
    program::refused(PROGRAM, &["--onyl", "LZ4"], "--only");
    program::refused(PROGRAM, &["--only", "clear LZ4"], "there are: encrypted, 1 flow;");
    program::refused(
        PROGRAM,
        &["--quick", "--output", "/nowhere/optimized.json"],
        "/nowhere/optimized.json cannot be written",
    );
}

#[test]
fn every_row_is_listed_with_its_baseline_and_bar() {
    let output = program::run(PROGRAM, &["--list"]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    let first = said.lines().next().unwrap_or_default();
    assert!(first.starts_with("encrypted, 1 flow ") && first.ends_with("0.40"), "{first}");
    assert_eq!(said.lines().count(), perf::optimized::specs().len());
}
