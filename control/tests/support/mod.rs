//! Real programs for tests: folders, configurations, a running tpo and its tpoctl.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// Few descriptors: the pool of frames is small.
const OPTIONS: [&str; 2] = ["--rxd=256", "--txd=256"];
/// No hugepages, no PCI: what any machine has.
const EAL: [&str; 2] = ["--no-huge", "--no-pci"];
/// Who has no privileges.
const NOBODY: u32 = 65_534;

/// An appliance on two rings: each port receives what it has sent.
pub(crate) const CONFIG: &str = r#"
mode = "inline"

[lan]
device = "net_ring0"
addresses = ["10.77.1.1/16"]
networks = ["10.77.1.0/24"]

[wan]
device = "net_ring1"
addresses = ["10.77.1.2/16"]

[[peer]]
name = "site-b"
endpoint = "10.77.2.2:4980"
networks = ["10.77.2.0/24"]
rate = "200mbit"
encryption = "none"

[[rule]]
name = "web"
protocol = "tcp"
action = "optimize"

[limits]
flows = 1024
connections = 256
half_open = 64
frames = 4096
buffer_memory = "64MiB"
stop_timeout = "1s"
"#;

/// A folder that goes away with the test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tpo-app-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join("run")).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A configuration in a folder of its own.
pub(crate) struct Configuration {
    pub(crate) folder: Folder,
    pub(crate) path: PathBuf,
    pub(crate) socket: PathBuf,
}

/// `text` with a name and a control socket of its own.
pub(crate) fn config(name: &str, text: &str) -> Configuration {
    let folder = Folder::new(name);
    let (path, socket) = (folder.0.join("tpo.toml"), folder.0.join("tpo.sock"));
    let head = format!("name = \"t-{name}\"\ncontrol_socket = \"{}\"", socket.display());
    fs::write(&path, format!("{head}{text}")).unwrap();
    Configuration { folder, path, socket }
}

/// Asks again and again until `is_so`.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "{what} did not come");
        thread::sleep(Duration::from_millis(20));
    }
}

fn tpo(run: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tpo"));
    command.env("RUNTIME_DIRECTORY", run).args(EAL);
    command
}

/// A running tpo; killed with the test if it has not ended.
pub(crate) struct Tpo {
    child: Child,
    socket: PathBuf,
    errors: PathBuf,
    /// Where DPDK has its folder.
    pub(crate) runtime: PathBuf,
}

impl Tpo {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(config: &Configuration) -> Self {
        let mut tpo = Tpo::begin(config);
        let mut line = String::new();
        BufReader::new(tpo.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said = fs::read_to_string(&tpo.errors).unwrap();
        assert_eq!(line, "ready\n", "{said}");
        tpo
    }

    /// Starts it.
    pub(crate) fn begin(config: &Configuration) -> Self {
        let folder = &config.folder.0;
        let (errors, runtime) = (folder.join("stderr"), folder.join("run"));
        let child = tpo(&runtime)
            .args(["--", "--config"])
            .arg(&config.path)
            .args(OPTIONS)
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        Tpo { child, socket: config.socket.clone(), errors, runtime }
    }

    fn ctl(&self, command: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tpoctl"))
            .arg("--socket")
            .arg(&self.socket)
            .arg("--json")
            .args(command.split(' '))
            .output()
            .unwrap()
    }

    /// What a command replies.
    pub(crate) fn ask(&self, command: &str) -> Value {
        let output = self.ctl(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{command}: {said}");
        let reply: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(reply.is_object(), "{command}: {reply}");
        reply
    }

    /// Why a command is refused.
    pub(crate) fn refuse(&self, command: &str) -> String {
        let output = self.ctl(command);
        let reply = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{command}: {reply}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Its exit code after a command.
    pub(crate) fn end_by(mut self, command: &str) -> Option<i32> {
        self.ask(command);
        self.child.wait().unwrap().code()
    }

    /// Its exit code and what it has said on standard error.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        (code, fs::read_to_string(&self.errors).unwrap())
    }
}

impl Drop for Tpo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends it the signal of this name.
pub(crate) fn signal(tpo: &Tpo, name: &str) {
    let pid = tpo.child.id().to_string();
    assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
}

/// Sends it the signal of this name twice at a time.
pub(crate) fn signal_twice(tpo: &Tpo, name: &str) {
    let pid = tpo.child.id().to_string();
    assert!(Command::new("kill").args(["-s", name, &pid, &pid]).status().unwrap().success());
}

/// The sentence with which a tpo ends that cannot start.
pub(crate) fn fails(path: &Path) -> String {
    let run = path.with_file_name("run");
    let output = tpo(&run).args(["--", "--config"]).arg(path).args(OPTIONS).output().unwrap();
    sentence(&output)
}

/// The same, without privileges.
pub(crate) fn fails_as_nobody(config: &Configuration) -> String {
    // The folder of the build may be closed to others.
    let program = config.folder.0.join("tpo");
    fs::copy(env!("CARGO_BIN_EXE_tpo"), &program).unwrap();
    let mut command = Command::new(program);
    command.args(["--config"]).arg(&config.path).args(OPTIONS);
    if nix::unistd::getuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    sentence(&command.output().unwrap())
}

fn sentence(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(output.stdout.is_empty());
    said
}

fn pairwise_of(folder: &Folder, devices: &[&str]) -> Command {
    let mut command = tpo(&folder.0.join("run"));
    for device in devices {
        command.args(["--vdev", device]);
    }
    command.arg("--").args(OPTIONS);
    command
}

/// A tpo without a configuration that carries out a file: exit code, output, errors.
pub(crate) fn pairwise(
    folder: &Folder,
    devices: &[&str],
    file: &Path,
) -> (Option<i32>, String, String) {
    let mut command = pairwise_of(folder, devices);
    let output = command.arg("--cmdline-file").arg(file).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A tpo without a configuration that forwards, by hand, until some frames have gone through: what
/// the first port received and the second sent by the time it was stopped.
pub(crate) fn pairwise_count(folder: &Folder, devices: &[&str]) -> (u64, u64) {
    let mut command = pairwise_of(folder, devices);
    let mut child = command.arg("-i").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut prompt = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // Statistics by port, then of all ports.
    let mut count = |command: &[u8]| -> (u64, u64) {
        prompt.write_all(command).unwrap();
        let said: Vec<String> = lines
            .by_ref()
            .map(Result::unwrap)
            .take_while(|line| !line.contains("Accumulated forward statistics"))
            .collect();
        let said = said.join("\n");
        let figure = |port: usize, name: &str| -> u64 {
            let section = said.split("Forward statistics for port").nth(port + 1).unwrap();
            section.split(name).nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap()
        };
        (figure(0, "RX-packets:"), figure(1, "TX-packets:"))
    };
    count(b"start\nshow fwd stats all\n");
    wait_for("a frame", || count(b"show fwd stats all\n").1 > 0);
    let counted = count(b"stop\n");
    prompt.write_all(b"quit\n").unwrap();
    // What else it says has to go somewhere.
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    counted
}
