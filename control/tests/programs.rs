//! The programs as a user starts them: exit codes and what they say.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

const VALID: &str = include_str!("../src/config/tests/minimal.toml");

/// A file that goes away with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tpo-programs-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn tpo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tpo")).args(arguments).output().unwrap()
}

fn tpoctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tpoctl")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn check_ends_with_0_for_a_valid_configuration() {
    let file = File::new("valid.toml", VALID);
    let output = tpo(&["--config", file.path(), "--check"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), format!("{}: valid, 1 peers, 1 rules\n", file.path()));
    assert!(output.stderr.is_empty());
}

#[test]
fn check_ends_with_1_and_every_error_with_its_line() {
    let file = File::new("broken.toml", &VALID.replace("200mbit", "200").replace("inline", "tap"));
    let output = tpo(&["--check", "--config", file.path()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let errors: Vec<&str> = text(&output.stderr).lines().collect();
    let [mode, rate] = errors[..] else { panic!("two errors, not {errors:?}") };
    assert!(mode.starts_with(&format!("{}:2: mode: ", file.path())), "{mode}");
    assert!(rate.starts_with(&format!("{}:17: peer[0].rate: ", file.path())), "{rate}");
}

#[test]
fn wrong_arguments_are_one_sentence_and_1() {
    for arguments in [&["--frob"][..], &[], &["--config", "/nonexistent.toml"]] {
        let output = tpo(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert_eq!(text(&output.stderr).lines().count(), 1, "{}", text(&output.stderr));
    }
    assert_eq!(tpo(&["--help"]).status.code(), Some(0));
}

#[test]
fn tpoctl_without_a_tpo_is_1_and_wrong_options_are_2() {
    let output = tpoctl(&["--socket", "/nonexistent/tpo.sock", "show", "peer"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no tpo answers here"));
    assert_eq!(tpoctl(&["--frob"]).status.code(), Some(2));
    assert_eq!(tpoctl(&["--help"]).status.code(), Some(0));
}
