//! A program of this package, as a user meets it.

use std::process::{Command, Output};

/// Runs it to its end.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

/// It must not do this, and say why.
pub(crate) fn refused(program: &str, arguments: &[&str], with: &str) {
    let output = run(program, arguments);
    assert!(!output.status.success(), "{arguments:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(with), "{arguments:?}: {said}");
}
