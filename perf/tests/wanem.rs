//! The emulator as a program, on devices that need nothing of the system.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A folder for what DPDK keeps; goes away with this value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("wanem-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Scratch(folder)
    }

    /// Folders of processes.
    fn left(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.join("dpdk")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn wanem(scratch: &Scratch, port_b: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wanem"));
    command.args(["--port-a", "net_null0", "--port-b", port_b, "--packets-max", "64"]);
    command.env("RUNTIME_DIRECTORY", &scratch.0);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_signal_ends_it_and_nothing_of_dpdk_is_left() {
    for signal in ["-INT", "-TERM"] {
        let scratch = Scratch::new(signal);
        let mut child = wanem(&scratch, "net_null1");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        assert_eq!(scratch.left().len(), 1, "where DPDK keeps its files is no longer known");
        let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        assert!(lines.next().unwrap().unwrap().contains("a_to_b"), "its statistics");
        assert!(child.wait().unwrap().success());
        assert_eq!(scratch.left(), [""; 0].map(PathBuf::from));
    }
}

#[test]
fn nothing_is_left_where_a_device_does_not_exist() {
    let scratch = Scratch::new("missing");
    let mut child = wanem(&scratch, "net_missing0");
    assert!(!child.wait().unwrap().success());
    assert_eq!(scratch.left(), [""; 0].map(PathBuf::from));
}
