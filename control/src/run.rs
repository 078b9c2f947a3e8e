//! From the command line to a plan, and from an error to one sentence and an exit code.
//!
//! In: the arguments of the process. Out: a [`Plan`] with everything the appliance needs to start;
//! or the end of the program, for `--check`, `--help` and errors. Never: DPDK.

use std::error::Error as StdError;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use dataplane::pipeline::frame_budget::FrameBudget;

use crate::args::{Args, ArgsError, CommandLine};
use crate::config::{Config, ConfigErrors, ConfigWarnings, Limits};
use crate::eal_args::eal_args;
use crate::keys::{self, KeyError, KeyErrors, Keys};
use crate::machine::Machine;

/// Ports of an appliance in inline mode.
const PORTS: u32 = 2;

/// Everything the appliance needs to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Options of the command line.
    pub args: Args,
    /// The configuration and its file; `None`: forward between ports pairwise, as testpmd does.
    pub config: Option<(PathBuf, Config)>,
    /// What the machine has; found before DPDK narrows it.
    pub machine: Machine,
    /// What is odd in the configuration.
    pub warnings: ConfigWarnings,
    /// Arguments that start the EAL, without the program's name.
    pub eal_args: Vec<String>,
}

/// Why tpo ends without success. The sentence says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The command line.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The queues need more frames than there are.
    #[error(
        "the queues of {PORTS} ports hold {needed} frames and the pool has {frames}: \
         raise limits.frames, or lower --rxq, --txq, --rxd or --txd"
    )]
    Frames {
        /// Frames that fill all queues, and a burst for each.
        needed: u32,
        /// Frames in the pool.
        frames: u32,
    },
    /// What an appliance holds while the WAN stands still leaves too little for the queues.
    #[error(
        "while the WAN stands still, {stalled} of {frames} frames may be held for hosts, and the \
         receive queues take {queues}: raise limits.frames to {least} or more, or lower --rxq or \
         --rxd"
    )]
    StalledFrames {
        /// Frames that wait for the WAN.
        stalled: usize,
        /// Frames that fill the receive queues, and a burst for each.
        queues: usize,
        /// Frames in the pool.
        frames: usize,
        /// Frames that are enough.
        least: usize,
    },
    /// The appliance did not start, or ended with an error.
    #[error("{0}")]
    Appliance(Box<dyn StdError>),
}

/// What a command line comes to.
#[derive(Debug)]
enum Prepared {
    /// Something to say, and success.
    Said(String),
    /// An appliance to start.
    Plan(Box<Plan>),
}

/// Runs `tpo`: prepares, starts `appliance`, and turns what comes of it into an exit code. An
/// error is written to standard error.
pub fn main(
    argv: impl IntoIterator<Item = OsString>,
    appliance: impl FnOnce(Plan) -> Result<(), Box<dyn StdError>>,
) -> ExitCode {
    let result = prepare(argv, Machine::detect()).and_then(|prepared| match prepared {
        Prepared::Said(text) => {
            // Nothing is left to be done if the terminal is gone.
            let _ = io::stdout().write_all(text.as_bytes());
            Ok(())
        }
        Prepared::Plan(plan) => {
            for warning in plan.warnings.lines() {
                let _ = writeln!(io::stderr(), "{warning}");
            }
            appliance(*plan).map_err(RunError::Appliance)
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The errors of a configuration each begin with their file and line.
            let program = if matches!(error, RunError::Config(_)) { "" } else { "tpo: " };
            let _ = writeln!(io::stderr(), "{program}{error}");
            ExitCode::FAILURE
        }
    }
}

fn prepare(
    argv: impl IntoIterator<Item = OsString>,
    machine: Machine,
) -> Result<Prepared, RunError> {
    let CommandLine { eal, args } = match CommandLine::parse(argv) {
        Err(ArgsError::Help(text)) => return Ok(Prepared::Said(text)),
        other => other?,
    };
    if let Some(command) = &args.keys {
        return Ok(Prepared::Said(keys::run(command)?));
    }
    let (config, warnings) = match &args.config {
        Some(path) => {
            let (config, warnings) = Config::load(path, &machine)?;
            (Some((path.clone(), config)), warnings)
        }
        None => (None, ConfigWarnings::default()),
    };
    let limits = config.as_ref().map_or_else(Limits::default, |(_, config)| config.limits);
    check_frames(&args, limits.frames)?;
    if let Some((path, config)) = &config {
        check_stalled_frames(&args, limits.frames, config.cores.edge.cores().len())?;
        // Now, so that --check says it and no device is touched; they are read again at the start.
        Keys::load(config).map_err(|KeyErrors(errors)| {
            let found = errors.into_iter().map(|(key, error)| (key, error.to_string()));
            Config::errors_at(path, &machine, found)
        })?;
    }
    if let Some((path, config)) = config.as_ref().filter(|_| args.check) {
        let (peers, rules) = (config.peers.len(), config.rules.len());
        let odd: String = warnings.lines().map(|line| line + "\n").collect();
        let text = format!("{odd}{}: valid, {peers} peers, {rules} rules\n", path.display());
        return Ok(Prepared::Said(text));
    }
    let eal_args = eal_args(&eal, config.as_ref().map(|(_, config)| config), &machine);
    Ok(Prepared::Plan(Box::new(Plan { args, config, machine, warnings, eal_args })))
}

/// A pool that the queues can empty would leave nothing to receive into.
fn check_frames(args: &Args, frames: u32) -> Result<(), RunError> {
    let side = |queues: u16, descriptors: u16| {
        let per_queue = u32::from(descriptors) + u32::from(args.burst);
        u32::from(queues).saturating_mul(per_queue)
    };
    let port = side(args.rxq, args.rxd).saturating_add(side(args.txq, args.txd));
    let needed = port.saturating_mul(PORTS);
    if needed > frames { Err(RunError::Frames { needed, frames }) } else { Ok(()) }
}

/// While the WAN stands still, hosts' segments wait for it; there must still be frames to receive
/// acknowledgements into and to send from.
fn check_stalled_frames(args: &Args, frames: u32, edges: usize) -> Result<(), RunError> {
    let queues = u32::from(args.rxq) * (u32::from(args.rxd) + u32::from(args.burst)) * PORTS;
    let [queues, frames] =
        [queues, frames].map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    let needed = |frames| FrameBudget::stalled_max(frames, edges) + queues + FrameBudget::SENDING;
    if needed(frames) <= frames {
        return Ok(());
    }
    let least = (frames..).step_by(1024).find(|frames| needed(*frames) <= *frames);
    let stalled = FrameBudget::stalled_max(frames, edges);
    Err(RunError::StalledFrames { stalled, queues, frames, least: least.unwrap_or(frames) })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Size;

    fn prepared(line: &str) -> Result<Prepared, RunError> {
        let machine = Machine { cores: vec![0, 1], memory: Size(8 << 30), hugepages_free: Size(0) };
        prepare(line.split_whitespace().map(OsString::from), machine)
    }

    struct File(PathBuf);

    impl File {
        fn new(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("tpo-{}-{name}.toml", std::process::id()));
            fs::write(&path, text).unwrap();
            File(path)
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    const MINIMAL: &str = include_str!("config/tests/minimal.toml");

    #[test]
    fn a_configuration_becomes_a_plan() {
        let file = File::new("plan", MINIMAL);
        let line = format!("tpo --config {} --rxd 512", file.0.display());
        let Ok(Prepared::Plan(plan)) = prepared(&line) else { panic!("a plan") };
        assert_eq!(plan.args.rxd, 512);
        assert_eq!(plan.config.unwrap().1.name, "small");
        assert!(plan.eal_args.contains(&"--no-huge".to_owned()));
        let Ok(Prepared::Plan(plan)) = prepared("tpo --vdev net_null0 -- -i") else { panic!() };
        assert_eq!(plan.config, None);
        assert_eq!(plan.eal_args[..2], ["--vdev", "net_null0"]);
    }

    #[test]
    fn check_says_valid_or_every_error() {
        let valid = File::new("valid", MINIMAL);
        let line = format!("tpo --check --config {}", valid.0.display());
        let Ok(Prepared::Said(text)) = prepared(&line) else { panic!("valid") };
        assert!(text.ends_with(": valid, 1 peers, 1 rules\n"), "{text}");
        let broken = File::new("broken", include_str!("config/tests/broken.toml"));
        let error = prepared(&format!("tpo --check --config {}", broken.0.display())).unwrap_err();
        assert!(error.to_string().lines().count() > 30, "{error}");
        let error = prepared("tpo --check --config /nonexistent.toml").unwrap_err().to_string();
        assert!(error.starts_with("/nonexistent.toml: cannot be read: "), "{error}");
    }

    #[test]
    fn check_names_the_line_of_a_key_file_and_says_what_is_odd() {
        let encrypted = "encryption = \"on\"\npsk_file = \"/nonexistent/psk\"\n\
                         public_key = \"9zDW2SYZ9IuFfGXSG3GZC8lpNEpSXpdIN1tZ2nFLVGk=\"";
        let text = MINIMAL.replace("encryption = \"none\"", encrypted);
        let text = format!("key_file = \"/nonexistent/key\"\n{text}");
        let file = File::new("keys", &text);
        let line = format!("tpo --check --config {}", file.0.display());
        let error = prepared(&line).unwrap_err().to_string();
        let psk = 1 + text.lines().position(|line| line.starts_with("psk_file")).unwrap();
        let path = file.0.display();
        let lines: Vec<_> = error.lines().collect();
        assert!(lines[0].starts_with(&format!("{path}:1: key_file: /nonexistent/key does not")));
        assert!(lines[1].starts_with(&format!("{path}:{psk}: peer[0].psk_file: /nonexistent/psk")));
        assert_eq!(lines.len(), 2, "{error}");

        let odd = format!("{MINIMAL}[[rule]]\naction = \"pass\"\n");
        let file = File::new("odd", &odd);
        let line = format!("tpo --config {}", file.0.display());
        let Ok(Prepared::Said(text)) = prepared(&format!("{line} --check")) else { panic!() };
        assert!(text.contains(": warning: rule[1]: no flow comes to it"), "{text}");
        assert!(text.ends_with(": valid, 1 peers, 2 rules\n"), "{text}");
        let Ok(Prepared::Plan(plan)) = prepared(&line) else { panic!() };
        assert_eq!(plan.warnings.lines().count(), 1);
    }

    #[test]
    fn too_few_frames_beside_what_waits_for_the_wan_are_refused() {
        let minimal = include_str!("config/tests/minimal.toml");
        let file = File::new("few", &format!("{minimal}[limits]\nframes = 4096\n"));
        let line = format!("tpo --check --config {}", file.0.display());
        let error = prepared(&format!("{line} --txd 256")).unwrap_err().to_string();
        assert!(
            error.contains("3392 of 4096") && error.contains("limits.frames to 7168"),
            "{error}"
        );
        assert!(prepared(&format!("{line} --txd 256 --rxd 256")).is_ok());
        let file = File::new("fewer", &format!("{minimal}[limits]\nframes = 1024\n"));
        let error = prepared(&format!("tpo --check --config {}", file.0.display())).unwrap_err();
        assert!(error.to_string().contains("4096"), "{error}");
    }

    #[test]
    fn queues_that_hold_every_frame_are_refused() {
        let error = prepared("tpo -- -i --rxq 8 --rxd 1024").unwrap_err();
        assert!(error.to_string().contains("hold 19008 frames and the pool has 16384"), "{error}");
    }
}
