//! The frame generator: frames of many flows into one port, back out of another.
//!
//! Prints `ready` when both ports listen, `measuring` when all flows are learned, and its report
//! as one line of JSON at the end.

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use dpdk_wrapper::{
    Eal, Mempool, MempoolConfig, Port, PortConfig, RuntimeFolder, RxQueue, TxQueue,
};
use perf::frames::content::{Content, FLOWS_MAX, filler};
use perf::frames::flood::{Flood, Ports, Report};
use perf::frames::size::{FRAME_LEN_MAX, Sizes};

/// Frames of either pool.
const POOL: u32 = 8191;
/// Memory of DPDK: two pools, and what drivers need.
const MEGABYTES: &str = "256";
/// How long the device under test may take to come up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Floods a device under test with UDP frames of many flows, both ways, and checks what comes
/// back.
///
/// What goes into one port is to come out of the other as it was, station addresses aside. At most
/// --window frames are in flight each way, so that a device that keeps up loses nothing. The
/// process should be pinned to a core of its own.
#[derive(Debug, Parser)]
#[command(name = "frames", version)]
struct Options {
    /// DPDK device towards the first port: net_vhost0,iface=/run/first, or 0000:03:00.0
    #[arg(long, value_name = "DEVICE")]
    port_a: String,
    /// DPDK device towards the second port
    #[arg(long, value_name = "DEVICE")]
    port_b: String,
    /// Flows (5-tuples)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=FLOWS_MAX))]
    flows: u64,
    /// Bytes of a frame, check sequence included: 64 to 1518, or imix (7 x 64, 4 x 594, 1 x 1518)
    #[arg(long, default_value = "64")]
    size: Sizes,
    /// The same seed makes the same frames
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Frames in flight each way
    #[arg(long, default_value_t = 768, value_parser = clap::value_parser!(u64).range(64..=4096))]
    window: u64,
    /// Seconds without counting, once all flows are learned
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Measure trials instead, as they are asked for on the standard input: RATE SECONDS [FILE], the
    /// rate in frames a second, both ways together; a line of JSON for each. FILE is
    /// /proc/PID/task/TID/schedstat of the thread that polls in the device under test: then frames
    /// that it did not take are told apart by whether it had its core
    #[arg(long)]
    trials: bool,
    /// Seconds that are measured
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Core that this runs on
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Core of the device under test; how far it is from this one is asked every 25 ms
    #[arg(long)]
    beside: Option<usize>,
}

/// Virtual devices need no hugepages and no bus; NICs need both.
fn eal_arguments(options: &Options) -> Vec<String> {
    let is_virtual = |device: &str| device.starts_with("net_");
    let devices = [options.port_a.as_str(), options.port_b.as_str()];
    let prefix = format!("frames-{}", std::process::id());
    let lcores = format!("0@({})", options.core);
    let mut words = vec!["--no-telemetry", "--file-prefix", &prefix, "--lcores", &lcores];
    if devices.into_iter().all(is_virtual) {
        words.extend(["--no-huge", "--no-shconf", "--no-pci", "-m", MEGABYTES]);
    }
    for device in devices {
        words.extend([if is_virtual(device) { "--vdev" } else { "--allow" }, device]);
    }
    words.into_iter().map(str::to_owned).collect()
}

/// Frames that hold what follows the headers, whatever is written over their fronts.
fn filled_pool(eal: &Eal) -> Result<Mempool, Box<dyn std::error::Error>> {
    let pool = Mempool::new(eal, &MempoolConfig::new("sent", POOL))?;
    let mut all: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    for mbuf in &mut all {
        for (at, byte) in mbuf.append(FRAME_LEN_MAX)?.iter_mut().enumerate() {
            *byte = filler(at);
        }
    }
    Ok(pool)
}

fn open(eal: &Eal, device: &str, pool: &Mempool) -> Result<OpenPort, Box<dyn std::error::Error>> {
    let name = device.split(',').next().unwrap_or(device);
    let port = Port::open(eal, name)?;
    let queues = port.configure(&PortConfig::default(), std::slice::from_ref(pool))?;
    port.start()?;
    let (mut rx, mut tx) = (queues.rx, queues.tx);
    let pair = rx.pop().zip(tx.pop()).ok_or("the device has no queues")?;
    Ok((port, pair))
}

type OpenPort = (Port, (RxQueue, TxQueue));

/// Trials, until there is no more to read.
fn trials(flood: &mut Flood) -> Result<(), Box<dyn std::error::Error>> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let wrong = || format!("{line:?} is no trial: RATE SECONDS [FILE]");
        let mut words = line.split_ascii_whitespace();
        let (rate, seconds) = words.next().zip(words.next()).ok_or_else(wrong)?;
        let rate: u64 = rate.parse().map_err(|_| wrong())?;
        let time = Duration::try_from_secs_f64(seconds.parse().map_err(|_| wrong())?)?;
        let trial = flood.trial(rate, time, words.next().map(Path::new))?;
        say(&serde_json::to_string(&trial)?)?;
    }
    Ok(())
}

fn run(options: &Options) -> Result<Option<Report>, Box<dyn std::error::Error>> {
    if options.beside == Some(options.core) {
        return Err("--beside is the core of the device under test, not that of --core".into());
    }
    let arguments = eal_arguments(options);
    // Declared first, so that it goes last.
    let _folder = RuntimeFolder::of(&arguments, []);
    let eal = Eal::init(arguments)?;
    let received = Mempool::new(&eal, &MempoolConfig::new("received", POOL))?;
    let pool = filled_pool(&eal)?;
    let (_port_a, queues_a) = open(&eal, &options.port_a, &received)?;
    let (_port_b, queues_b) = open(&eal, &options.port_b, &received)?;
    let ports = Ports { queues: [queues_a, queues_b], pool, hz: eal.tsc_hz() };
    let content = Content::new(options.seed, options.flows, options.size);
    let mut flood = Flood::new(ports, content, options.window);
    say("ready")?;
    flood.learn(options.flows, PATIENCE)?;
    flood.warm_up(Duration::try_from_secs_f64(options.warm_up)?);
    say("measuring")?;
    if options.trials {
        trials(&mut flood)?;
        return Ok(None);
    }
    Ok(Some(flood.measure(Duration::try_from_secs_f64(options.seconds)?, options.beside)?))
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{line}")?;
    out.flush()
}

fn main() -> ExitCode {
    let report = match run(&Options::parse()) {
        Ok(Some(report)) => report,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("frames: {error}");
            return ExitCode::FAILURE;
        }
    };
    match serde_json::to_string(&report).map_err(io::Error::from).and_then(|line| say(&line)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("frames: {error}");
            ExitCode::FAILURE
        }
    }
}
