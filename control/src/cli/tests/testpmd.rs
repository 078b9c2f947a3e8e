//! Our output beside that of the dpdk-testpmd installed, on two net_null ports.
//!
//! Numbers are masked, their widths are not; the rest is compared byte for byte.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Executor, Fake};
use crate::config::{Config, Size};
use crate::eal_args::eal_args;
use crate::machine::Machine;

/// In this order: statistics of forwarding exist once it has started.
const COMMANDS: [&str; 9] = [
    "show port info all",
    "show port stats all",
    "show port summary all",
    "show port summary 1",
    "show port xstats 0",
    "clear port stats all",
    "start",
    "show fwd stats all",
    "stop",
];

#[test]
fn ports_and_forwarding_statistics_look_like_testpmds() {
    let theirs = testpmd();
    let mut executor = Executor::new(Fake::default());
    for command in COMMANDS {
        let ours = executor.line(command).unwrap().unwrap().to_string();
        let theirs = section(&theirs, command);
        let theirs = match command {
            // What testpmd says about its own cores and streams is not ours to say.
            "start" => continue,
            "stop" => theirs.split_once("finish...\n").unwrap().1,
            _ => theirs,
        };
        assert_eq!(
            masked(&ours),
            masked(theirs),
            "{command}\n--- ours\n{ours}--- theirs\n{theirs}"
        );
    }
}

/// What dpdk-testpmd answers to the commands, each after its prompt.
fn testpmd() -> String {
    // DPDK leaves its run-time folder behind: it gets one that can be removed.
    let folder = std::env::temp_dir().join(format!("tpo-testpmd-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // Unbuffered: testpmd echoes commands beside its buffered output.
    let mut child = Command::new("stdbuf")
        .args(["-o0", "dpdk-testpmd"])
        .args(eal_arguments())
        .args(["--", "-i", "--total-num-mbufs=4096"])
        .env("RUNTIME_DIRECTORY", &folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("stdbuf starts");
    let script = COMMANDS.join("\n") + "\nquit\n";
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let text = String::from_utf8(output.stdout).unwrap().replace('\r', "");
    assert!(
        text.contains("testpmd> quit"),
        "dpdk-testpmd must be installed and start:\n{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// The EAL's arguments as tpo derives them, but for a second EAL thread, which testpmd needs: that
/// testpmd starts shows that the EAL takes them.
fn eal_arguments() -> Vec<String> {
    let machine = Machine { cores: vec![0], memory: Size(8 << 30), hugepages_free: Size(0) };
    let text = include_str!("../../config/tests/minimal.toml")
        .replace("0000:03:00.0", "net_null0")
        .replace("0000:03:00.1", "net_null1");
    let config = Config::parse(Path::new("testpmd.toml"), &text, &machine).unwrap().0;
    eal_args(&["--lcores=0@0,1@0".to_owned()], Some(&config), &machine)
}

fn section<'a>(output: &'a str, command: &str) -> &'a str {
    let (_, after) = output
        .split_once(&format!("testpmd> {command}\n"))
        .unwrap_or_else(|| panic!("testpmd was asked {command}:\n{output}"));
    after.split("testpmd> ").next().unwrap()
}

/// Numbers become `#`, with blanks so that what follows stays in its column; MAC addresses
/// become `M`s.
fn masked(text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        let words: Vec<String> = line.split(' ').map(mask_mac).collect();
        let line = words.join(" ");
        let mut rest = line.as_str();
        while let Some(begin) = rest.find(|c: char| c.is_ascii_digit()) {
            let (before, number) = rest.split_at(begin);
            let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
            lines.push_str(before);
            lines.push('#');
            rest = &number[end..];
            if rest.starts_with(' ') {
                lines.push_str(&" ".repeat(end - 1));
            }
        }
        lines.push_str(rest);
        lines.push('\n');
    }
    lines
}

fn mask_mac(word: &str) -> String {
    let parts: Vec<&str> = word.split(':').collect();
    let is_mac = parts.len() == 6
        && parts.iter().all(|part| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit()));
    if is_mac { "M".repeat(word.len()) } else { word.to_owned() }
}
