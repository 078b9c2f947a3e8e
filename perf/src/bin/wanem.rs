//! The WAN emulator: forwards frames between two ports as a WAN would.
//!
//! Prints `ready` when it forwards, and its statistics as one line of JSON at the end.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{ArgAction, Parser};
use perf::wanem::control::ControlSocket;
use perf::wanem::emulator::Emulator;
use perf::wanem::forward::Forwarder;
use perf::wanem::settings::{SettingError, Settings};
use perf::wanem::{Direction, SEED_DEFAULT, port, wait};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Forwards frames between two ports as a WAN would: rate, delay, loss and the rest.
///
/// Rates and queues count IP bytes. Every setting applies to both directions; --a-to-b and
/// --b-to-a override it for one. The control socket takes lines (stats, down, up, blackhole on,
/// set a-to-b loss 2%) and answers each with a line of JSON.
#[derive(Debug, Parser)]
#[command(name = "wanem", version)]
struct Options {
    /// DPDK device of side A: a vdev such as net_af_xdp0,iface=wan-a, or a PCI address
    #[arg(long, value_name = "DEVICE")]
    port_a: String,
    /// DPDK device of side B
    #[arg(long, value_name = "DEVICE")]
    port_b: String,
    /// Rate at which IP bytes are serialised: 200mbit; no limit if not given
    #[arg(long, value_name = "RATE")]
    rate: Option<String>,
    /// One-way delay: 40ms
    #[arg(long, value_name = "TIME")]
    delay: Option<String>,
    /// Additional delay, uniform from 0 to this, without reordering
    #[arg(long, value_name = "TIME")]
    jitter: Option<String>,
    /// Whether jitter lets packets overtake each other
    #[arg(long, value_name = "on|off")]
    jitter_reorder: Option<String>,
    /// Share of packets lost after the queue: 0.5%
    #[arg(long, value_name = "SHARE")]
    loss: Option<String>,
    /// Mean number of packets lost in a row; 0 for independent loss
    #[arg(long, value_name = "PACKETS")]
    loss_burst: Option<String>,
    /// Loss in two states: good to bad, bad to good, loss in the good, loss in the bad: 0.1%/10%/0/50%
    #[arg(long, value_name = "SHARES")]
    loss_states: Option<String>,
    /// Share of packets that arrive twice
    #[arg(long, visible_alias = "dup", value_name = "SHARE")]
    duplicate: Option<String>,
    /// Share of packets that arrive with a bit flipped
    #[arg(long, value_name = "SHARE")]
    corrupt: Option<String>,
    /// Share of packets that are held back by --reorder-delay
    #[arg(long, value_name = "SHARE")]
    reorder: Option<String>,
    /// By how much packets that are to be overtaken are held back
    #[arg(long, value_name = "TIME")]
    reorder_delay: Option<String>,
    /// IP bytes that may wait: 256KiB, or a multiple of rate times round trip: 1bdp (default)
    #[arg(long, value_name = "BYTES|BDP")]
    queue: Option<String>,
    /// Longest IP packet; no limit if not given
    #[arg(long, value_name = "BYTES")]
    mtu: Option<String>,
    /// Swallows everything for so long, again and again: 5s/60s
    #[arg(long, value_name = "LENGTH/EVERY")]
    black_hole: Option<String>,
    /// A setting from A to B only: loss=2%; may be repeated
    #[arg(long, value_name = "KEY=VALUE", action = ArgAction::Append)]
    a_to_b: Vec<String>,
    /// A setting from B to A only
    #[arg(long, value_name = "KEY=VALUE", action = ArgAction::Append)]
    b_to_a: Vec<String>,
    /// The same seed gives the same faults to the same packets
    #[arg(long, default_value_t = SEED_DEFAULT)]
    seed: u64,
    /// Most packets held in each direction
    #[arg(long, default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(64..=1_000_000))]
    packets_max: u32,
    /// UNIX socket to listen on for commands
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Use hugepages (needed by most NICs)
    #[arg(long)]
    hugepages: bool,
}

impl Options {
    /// The options that are settings of the link, with their keys.
    fn common(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("rate", &self.rate),
            ("delay", &self.delay),
            ("jitter", &self.jitter),
            ("jitter-reorder", &self.jitter_reorder),
            ("loss", &self.loss),
            ("loss-burst", &self.loss_burst),
            ("loss-states", &self.loss_states),
            ("duplicate", &self.duplicate),
            ("corrupt", &self.corrupt),
            ("reorder", &self.reorder),
            ("reorder-delay", &self.reorder_delay),
            ("queue", &self.queue),
            ("mtu", &self.mtu),
            ("black-hole", &self.black_hole),
        ]
        .into_iter()
        .filter_map(|(key, value)| value.as_deref().map(|value| (key, value)))
    }

    fn settings(&self) -> Result<[Settings; 2], SettingError> {
        let mut both = [Settings::default(), Settings::default()];
        for direction in Direction::BOTH {
            let own = match direction {
                Direction::AToB => &self.a_to_b,
                Direction::BToA => &self.b_to_a,
            };
            let own = own.iter().map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            let settings = &mut both[direction.index()];
            self.common().try_for_each(|(key, value)| settings.set(key, value))?;
            for (key, value) in own {
                settings.set(key, value)?;
            }
        }
        Ok(both)
    }
}

fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let settings = options.settings()?;
    let packets_max = usize::try_from(options.packets_max)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    if let Err(error) = wait::precise_sleeps() {
        eprintln!("wanem: delays will be less precise: the timer slack cannot be set: {error}");
    }
    let devices = [options.port_a.as_str(), options.port_b.as_str()];
    let ports = port::start(devices, options.packets_max, options.hugepages)?;
    let control = match &options.control {
        Some(path) => Some(
            ControlSocket::listen(path)
                .map_err(|error| format!("control socket {}: {error}", path.display()))?,
        ),
        None => None,
    };
    let mut forwarder = Forwarder::new(ports, Emulator::new(settings, packets_max, options.seed));
    let mut out = io::stdout();
    writeln!(out, "ready")?;
    out.flush()?;
    forwarder.run(&stop, control.as_ref());
    writeln!(out, "{}", forwarder.stats())?;
    Ok(())
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wanem: {error}");
            ExitCode::FAILURE
        }
    }
}
