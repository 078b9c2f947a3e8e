//! The load generator: hosts with a TCP stack on two LANs, whatever is between them.
//!
//! Prints `ready` when both ports listen, `measuring` when it counts, `measured` when it no longer
//! does, and its report as one line of JSON at the end.

use std::error::Error;
use std::io::{self, Write};
use std::num::NonZeroU16;
use std::process::{self, ExitCode};
use std::thread;
use std::time::Duration;

use clap::Parser;
use dpdk_wrapper::eal::tsc;
use dpdk_wrapper::log::{self, LogLevel, LogTarget};
use dpdk_wrapper::{Eal, Mempool, MempoolConfig, RuntimeFolder};
use perf::load::device::Device;
use perf::load::generator::{Generator, Plan};
use perf::load::{Kind, Limits, Work};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Frames of the pool of both ports; of large ones fewer are on their way.
const FRAMES: u32 = 8_191;
const LARGE_FRAMES: u32 = 3_071;
/// Memory of DPDK beside the frames, in MiB.
const MEGABYTES: u64 = 96;
/// Bytes of headers around a packet.
const LINK_LEN: u16 = 22;

/// Carries TCP between hosts of two ports, clients at the first, servers at the second, and compares
/// every byte.
///
/// Clients are 10.1.0.1 and following, the server is 10.2.0.1, port 80, all on one network: 10.0.0.0/8.
/// The process should be pinned to a core of its own. Exits 1 if anything arrived that was not sent, or
/// did not arrive.
#[derive(Debug, Parser)]
#[command(name = "load", version, args_override_self = true)]
struct Options {
    /// DPDK device towards the clients' LAN: net_vhost0,iface=/run/first
    #[arg(long, value_name = "DEVICE")]
    clients: String,
    /// DPDK device towards the servers' LAN
    #[arg(long, value_name = "DEVICE")]
    servers: String,
    /// What connections do
    #[arg(long, value_enum)]
    kind: Kind,
    /// Connections; of those that come and go, how many are under way at a time, at most
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
    /// Requests, or new connections, a second, all together; 0: each as soon as one before has ended
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Bytes of a request
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    request: u64,
    /// Bytes of its answer
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    answer: u64,
    /// Content that compresses to about half; without it, random bytes
    #[arg(long)]
    text: bool,
    /// KiB of each buffer of a connection, send and receive
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(4..=65_536))]
    buffer: u32,
    /// Bytes of the longest IP packet
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u16).range(576..=9000))]
    mtu: u16,
    /// Bytes of IP packets that hosts hand over all the same where there is more to send, up to 61440
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(576..=61_440))]
    large: Option<u16>,
    /// Leave checksums of TCP to the ports
    #[arg(long)]
    checksums: bool,
    /// Seconds of work that does not count
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Core that this runs on
    #[arg(long, default_value_t = 0)]
    core: usize,
}

impl Options {
    fn work(&self) -> Work {
        Work {
            kind: self.kind,
            connections: self.connections as usize,
            rate: self.rate,
            request_bytes: self.request,
            answer_bytes: self.answer,
            text: self.text,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            mtu: self.mtu,
            large: self.large.and_then(NonZeroU16::new),
            buffer_bytes: (self.buffer as usize) << 10,
        }
    }

    /// The frames of both ports: each holds the longest packet that either end may send.
    fn pool(&self) -> MempoolConfig {
        let longest =
            self.large.map_or(self.mtu, |_| u16::MAX - LINK_LEN - MempoolConfig::HEADROOM);
        let count = if self.large.is_some() { LARGE_FRAMES } else { FRAMES };
        let data_room =
            (longest + LINK_LEN + MempoolConfig::HEADROOM).max(MempoolConfig::DATA_ROOM_DEFAULT);
        MempoolConfig { data_room, ..MempoolConfig::new("load", count) }
    }

    fn eal_arguments(&self) -> Vec<String> {
        let pool = self.pool();
        let frames = (u64::from(pool.count) * (u64::from(pool.data_room) + 512)) >> 20;
        let prefix = format!("load-{}", std::process::id());
        let lcores = format!("0@({})", self.core);
        let megabytes = (MEGABYTES + frames * 9 / 8).to_string();
        let words = ["--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-m", &megabytes];
        let pairs = [
            ["--file-prefix", &prefix],
            ["--lcores", &lcores],
            ["--vdev", &self.clients],
            ["--vdev", &self.servers],
        ];
        words.into_iter().chain(pairs.into_iter().flatten()).map(str::to_owned).collect()
    }
}

fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    log::set(LogTarget::Stderr, LogLevel::Error);
    let arguments = options.eal_arguments();
    // Declared first, so that it goes last.
    let _folder = RuntimeFolder::of(&arguments, []);
    end_on_signal(&arguments)?;
    let eal = Eal::init(arguments)?;
    let pool = Mempool::new(&eal, &options.pool())?;
    let first = Device::open(&eal, &options.clients, &pool, options.checksums)?;
    let second = Device::open(&eal, &options.servers, &pool, options.checksums)?;
    let mut generator = Generator::new([first, second], options.work(), options.limits())?;
    say("ready")?;
    let plan = Plan { warm_up_ns: ns(options.warm_up)?, measured_ns: ns(options.seconds)? };
    let (began, hz) = (tsc(), u128::from(eal.tsc_hz()));
    let mut clock = || {
        let ticks = u128::from(tsc().saturating_sub(began));
        // From 1 on, and for centuries.
        1 + u64::try_from(ticks * 1_000_000_000 / hz).unwrap_or(u64::MAX)
    };
    let report = generator.run(plan, &mut clock, &mut |word| {
        // Who listens may have gone.
        let _ = say(word);
    })?;
    if let Some((connection, offset)) = generator.first_wrong() {
        eprintln!("load: byte {offset} of connection {connection} is not as it was sent");
    }
    say(&serde_json::to_string(&report)?)?;
    let found = report.connections;
    Ok(found.wrong == 0 && found.missing_bytes == 0)
}

/// Ends the process when it is told to, with nothing left of it in files.
fn end_on_signal(arguments: &[String]) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let folder = RuntimeFolder::of(arguments, []);
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            drop(folder);
            eprintln!("load: told to end");
            process::exit(1);
        }
    });
    Ok(())
}

fn ns(seconds: f64) -> Result<u64, Box<dyn Error>> {
    Ok(u64::try_from(Duration::try_from_secs_f64(seconds)?.as_nanos())?)
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{line}")?;
    out.flush()
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}
