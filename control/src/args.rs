//! The command line of `tpo`: `tpo [EAL options] -- [options]`, as testpmd; without `--` all
//! arguments are tpo's.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Parser, ValueEnum};
use dataplane::pipeline::port::{BURST_MAX, BURST_MIN};

/// Most queues of a port in each direction.
pub const QUEUES_MAX: i64 = 64;
/// Fewest and most frames of a burst: vectorised drivers receive by groups of the least.
const BURST_RANGE: RangeInclusive<i64> = BURST_MIN as i64..=BURST_MAX as i64;
const RING_MAX: i64 = 32_768;

/// What tpo is asked to do.
#[derive(Clone, Debug, Parser, PartialEq, Eq)]
#[command(
    name = "tpo",
    version,
    about = "Carries the flows of two LANs over a long, lossy link.",
    override_usage = "tpo [options]\n       tpo [EAL options] -- [options]\n       tpo genkey [FILE]\n       tpo pubkey [FILE]",
    disable_help_subcommand = true
)]
pub struct Args {
    /// What to do about keys, and nothing else
    #[command(subcommand)]
    pub keys: Option<KeyCommand>,
    /// The configuration; without -i, forwarding starts at once
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check the configuration, say what is wrong with it, and end
    #[arg(long, requires = "config")]
    pub check: bool,
    /// Prompt for commands
    #[arg(short, long)]
    pub interactive: bool,
    /// Start forwarding before the first prompt
    #[arg(short, long)]
    pub auto_start: bool,
    /// Show port statistics every N seconds (0: never)
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "interactive",
        value_parser = clap::value_parser!(u32).range(..=86_400))]
    pub stats_period: u32,
    /// Carry out the commands of this file first; the first error ends tpo
    #[arg(long, value_name = "FILE")]
    pub cmdline_file: Option<PathBuf>,
    /// Receive queues of each port; with --config always 1
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=QUEUES_MAX))]
    pub rxq: u16,
    /// Transmit queues of each port; with --config always 1
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=QUEUES_MAX))]
    pub txq: u16,
    /// Descriptors of each receive queue
    #[arg(long, value_name = "N", default_value_t = 1024,
        value_parser = clap::value_parser!(u16).range(1..=RING_MAX))]
    pub rxd: u16,
    /// Descriptors of each transmit queue
    #[arg(long, value_name = "N", default_value_t = 1024,
        value_parser = clap::value_parser!(u16).range(1..=RING_MAX))]
    pub txd: u16,
    /// Frames taken from a queue at a time, 32 to 64
    #[arg(long, value_name = "N", default_value_t = 32,
        value_parser = clap::value_parser!(u16).range(BURST_RANGE))]
    pub burst: u16,
    /// What workers do when there is nothing to do
    #[arg(long, value_name = "HOW", default_value = "backoff")]
    pub idle: Idle,
}

/// What is to be done about keys.
#[derive(Clone, Debug, clap::Subcommand, PartialEq, Eq)]
pub enum KeyCommand {
    /// Make a private key: into FILE, which only its owner can read, with its public key printed;
    /// or print it
    Genkey {
        /// A file that does not exist yet
        file: Option<PathBuf>,
    },
    /// Print the public key that belongs to the private key in FILE, or on standard input
    Pubkey {
        /// A private key
        file: Option<PathBuf>,
    },
}

/// What workers do when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Idle {
    /// Poll on at full speed
    Spin,
    /// Spin, then sleep for ever longer, but short, times, at last wait for the devices
    Backoff,
}

/// A command line taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// What stands before `--`, the program's name left out.
    pub eal: Vec<String>,
    /// What is tpo's.
    pub args: Args,
}

/// Why there is nothing to run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// Help or version was asked for: this is it.
    #[error("{0}")]
    Help(String),
    /// An argument is wrong; one sentence.
    #[error("{0}")]
    Wrong(String),
}

impl CommandLine {
    /// Takes the arguments of the process apart, its name first.
    ///
    /// # Errors
    /// Help was asked for, or an argument is wrong.
    pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Self, ArgsError> {
        let mut own: Vec<OsString> = argv.into_iter().skip(1).collect();
        let mut eal = Vec::new();
        if let Some(separator) = own.iter().position(|argument| argument == "--") {
            let after = own.split_off(separator + 1);
            own.pop();
            for argument in std::mem::replace(&mut own, after) {
                let argument = argument.into_string().map_err(|argument| {
                    ArgsError::Wrong(format!("EAL option {argument:?} is not UTF-8"))
                })?;
                eal.push(argument);
            }
        }
        let own = std::iter::once(OsString::from("tpo")).chain(own);
        let args = Args::try_parse_from(own).map_err(|error| sentence(&error))?;
        if args.keys.is_none()
            && args.config.is_none()
            && !args.interactive
            && args.cmdline_file.is_none()
            && !args.auto_start
        {
            return Err(ArgsError::Wrong(
                "nothing to do: give --config FILE, or -i to forward between ports".to_owned(),
            ));
        }
        if args.config.is_some() && (args.rxq, args.txq) != (1, 1) {
            return Err(ArgsError::Wrong(
                "with --config, each port has one queue pair: leave --rxq and --txq out".to_owned(),
            ));
        }
        Ok(CommandLine { eal, args })
    }
}

/// The first sentence of clap's message: what is wrong, without its pages of usage.
pub(crate) fn sentence(error: &clap::Error) -> ArgsError {
    let text = error.render().to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return ArgsError::Help(text);
    }
    let first = text.split("\n\n").next().unwrap_or(&text);
    let words: Vec<&str> = first.trim_start_matches("error:").split_whitespace().collect();
    ArgsError::Wrong(format!("{}; tpo --help lists the options", words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<CommandLine, ArgsError> {
        CommandLine::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn what_stands_before_two_dashes_is_for_the_eal() {
        let line =
            parse("tpo -l 0,1 --vdev net_null0 -- -i --rxq 2 --txd=512 --idle=spin").unwrap();
        assert_eq!(line.eal, ["-l", "0,1", "--vdev", "net_null0"]);
        assert!(line.args.interactive && !line.args.auto_start);
        assert_eq!((line.args.rxq, line.args.txq, line.args.rxd, line.args.txd), (2, 1, 1024, 512));
        assert_eq!((line.args.burst, line.args.idle), (32, Idle::Spin));
    }

    #[test]
    fn without_two_dashes_everything_is_tpos() {
        let line = parse("tpo --config site-a.toml --stats-period 5").unwrap();
        assert!(line.eal.is_empty());
        assert_eq!(line.args.config, Some(PathBuf::from("site-a.toml")));
        assert_eq!(line.args.stats_period, 5);
        assert_eq!(line.args.idle, Idle::Backoff);
        let line = parse("tpo -- --config a.toml --check").unwrap();
        assert!(line.eal.is_empty() && line.args.check);
    }

    #[test]
    fn what_is_wrong_is_one_sentence() {
        for (line, expected) in [
            ("tpo", "nothing to do: give --config FILE"),
            ("tpo -l 0 --", "nothing to do: give --config FILE"),
            ("tpo --check", "--config <FILE>"),
            ("tpo -i --rxq 0", "'0' for '--rxq <N>'"),
            ("tpo -i --burst 65", "65 is not in 32..=64"),
            ("tpo -i --burst 31", "31 is not in 32..=64"),
            ("tpo --config a.toml --rxq 2", "leave --rxq and --txq out"),
            ("tpo --config a.toml --txq 2", "leave --rxq and --txq out"),
            ("tpo -i --idle=nap", "'nap' for '--idle <HOW>'"),
            ("tpo -i --frob", "'--frob'"),
            ("tpo -i extra", "'extra'"),
            ("tpo --vdev net_null0 -i", "'--vdev'"),
            ("tpo -i --stats-period 5", "--stats-period"),
        ] {
            let Err(ArgsError::Wrong(error)) = parse(line) else { panic!("{line} is wrong") };
            assert!(error.contains(expected) && !error.contains('\n'), "{line}: {error}");
        }
        assert!(
            matches!(parse("tpo --help"), Err(ArgsError::Help(text)) if text.contains("EAL options"))
        );
        assert!(matches!(parse("tpo --version"), Err(ArgsError::Help(_))));
    }
}
