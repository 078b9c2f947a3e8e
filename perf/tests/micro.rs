//! The program `micro`, as a user meets it.

mod program;

const PROGRAM: &str = env!("CARGO_BIN_EXE_micro");

#[test]
fn wrong_arguments_are_refused_with_what_to_do() {
    program::refused(PROGRAM, &["--onyl", "ring"], "--only");
    program::refused(PROGRAM, &["--only"], "WORDS");
    program::refused(
        PROGRAM,
        &["--only", "classify hash"],
        "no bench has \"hash\" in its name; there are: classify 10k",
    );
    program::refused(PROGRAM, &["--only", "classify ring"], "no bench has all of these words");
    program::refused(
        PROGRAM,
        &["--quick", "--output", "/nowhere/micro.json"],
        "/nowhere/micro.json cannot be written",
    );
}

#[test]
fn every_bench_is_listed_with_its_baseline_and_bar() {
    let output = program::run(PROGRAM, &["--list"]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.lines().any(|line| line.starts_with("classify 1M hit ") && line.ends_with("1.45"))
    );
    assert_eq!(said.lines().count(), perf::micro::BENCHES.len());
}
