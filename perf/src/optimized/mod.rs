//! The speed of optimized TCP: the work of both appliances for one direction of streams, on one
//! core, beside the floor under it.
//!
//! In: which rows, how long. Out: for each its speed, as a part of the floor's and in Gb/s, with
//! its spread and its ticks by stage; and what a second core that compresses adds. Never: a device, a
//! network; what hosts cost is not in it, but where there are two cores.

mod floor;
pub(crate) mod frame;
mod host;
pub(crate) mod pair;
mod second_core;
pub(crate) mod segment;
mod streams;

use dataplane::pipeline::placement::StageKind;
use dpdk_wrapper::{Eal, Mempool, MempoolConfig};

use crate::micro::{
    Measure, MicroError, Plan, Random, Row, Spec, Work, random_bytes, set_up_error,
};
use floor::Floor;
pub(crate) use host::{PATTERN_MARGIN, Pattern};
use pair::{Kind, Spread};
use streams::{Streams, Totals};

/// Bytes of one lap, about.
const LAP: usize = 1 << 20;
/// Bytes that are carried before anything is measured: windows have grown then.
const WARM: u64 = 64 << 20;
/// Slices of a lap's length in a profile.
const SLICES: usize = 400;
/// The content repeats after so many bytes: a prime, and more than LZ4 looks back.
const PERIOD: usize = 65_537;

const BASE: Kind = Kind {
    connections: 1,
    encrypted: true,
    compress: false,
    verifies: true,
    cuts: false,
    spread: Spread::Together,
    buffer_bytes: 256 << 20,
};
/// Payload of a full segment, with timestamps, and of a large one.
const PAYLOAD: usize = 1_448;
const LARGE: usize = 32_000;

/// One row: what is measured.
#[derive(Clone, Copy)]
struct Case {
    spec: Spec,
    kind: Kind,
    /// Payload of a host's frame.
    payload: usize,
    /// Whether the content can be compressed, to about half.
    text: bool,
    /// What it has to carry besides, in gigabits per second.
    gbps_min: Option<f64>,
}

const fn case(name: &'static str, bar: Option<f64>, kind: Kind) -> Case {
    let baseline = if kind.encrypted { "seal, open, 4 memcpy" } else { "4 memcpy" };
    let spec = Spec { name, baseline, item: "byte", bar, reason: None };
    Case { spec, kind, payload: PAYLOAD, text: false, gbps_min: None }
}

/// The same case, with the reason why it misses its bar where it does.
const fn because(reason: &'static str, case: Case) -> Case {
    Case { spec: Spec { reason: Some(reason), ..case.spec }, ..case }
}

/// As measured: 0.39 with 64 flows where one has 0.43.
const MANY_FLOWS: &str = "the two edge stages take 267 ticks more for a frame than with one flow, \
                          of 4,743: their flows and connections are 79 KB at each end, and the \
                          first-level cache has 32 KB";

const CASES: &[Case] = &[
    case("encrypted, 1 flow", Some(0.4), BASE),
    because(MANY_FLOWS, case("encrypted, 64 flows", Some(0.4), Kind { connections: 64, ..BASE })),
    case("encrypted, 1000 flows", None, Kind { connections: 1_000, ..BASE }),
    case("encrypted, no checksum offload", None, Kind { verifies: false, ..BASE }),
    Case { payload: LARGE, ..case("encrypted, frames of 32 KB", None, BASE) },
    Case { payload: LARGE, ..case("encrypted, large segments", None, Kind { cuts: true, ..BASE }) },
    case("clear, 1 flow", None, Kind { encrypted: false, ..BASE }),
    Case {
        payload: LARGE,
        ..case("clear, frames of 32 KB", None, Kind { encrypted: false, ..BASE })
    },
    Case {
        payload: LARGE,
        gbps_min: Some(15.0),
        ..case("clear, large segments", None, Kind { encrypted: false, cuts: true, ..BASE })
    },
    Case { text: true, ..case("encrypted, LZ4", None, LZ4) },
];

const LZ4: Kind = Kind { compress: true, ..BASE };

/// Compression on a core of its own; measured behind all others.
const SECOND_CORE: Case = Case {
    spec: Spec {
        name: "encrypted, LZ4, second core",
        baseline: "what its stages predict",
        item: "byte",
        bar: Some(0.9),
        reason: None,
    },
    kind: LZ4,
    payload: PAYLOAD,
    text: true,
    gbps_min: None,
};

fn cases() -> impl Iterator<Item = &'static Case> {
    CASES.iter().chain([&SECOND_CORE])
}

/// All rows, in order.
#[must_use]
pub fn specs() -> Vec<Spec> {
    cases().map(|case| case.spec).collect()
}

/// Where the ticks of a row go, by byte: medians of many slices, so that a slice in which somebody
/// else had the processor does not matter.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Of the near and the far appliance, by stage.
    pub ticks: [[f64; StageKind::ALL.len()]; 2],
    /// Of hosts and cables: not in any figure.
    pub hosts: f64,
    /// Bytes of a frame of the near host.
    pub frame_bytes: f64,
    /// Times that the near host had to send again.
    pub again: u64,
}

/// One row, measured.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Beside its floor.
    pub row: Row,
    /// Its stages, each as a worker of its own.
    pub profile: Profile,
    /// What it has to carry, in gigabits per second, if that is a bar too.
    pub gbps_min: Option<f64>,
    /// How much faster than one core two are predicted to be, where there are two.
    pub gain: Option<f64>,
}

/// A pair as work to be measured: laps are of the appliances' ticks alone.
struct Carried {
    streams: Streams,
    carries: bool,
}

impl Work for Carried {
    fn run(&mut self) {
        self.carries &= self.streams.carry(LAP as u64);
    }

    fn lap(&mut self) -> u64 {
        let before = self.streams.totals();
        self.run();
        let since = self.streams.totals().since(&before);
        of_lap(since.product_ticks(), since.bytes)
    }
}

/// Ticks of a lap, of those that it took for so many bytes: the last turn may have brought some more.
fn of_lap(ticks: u64, bytes: u64) -> u64 {
    let scaled = u128::from(ticks) * LAP as u128 / u128::from(bytes.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// What streams carry: random bytes, or words that compress to about half.
pub(crate) fn pattern(text: bool) -> Pattern {
    let mut bytes = random_bytes(PERIOD);
    if text {
        // Words of a small vocabulary, some bytes of noise between them.
        let words: Vec<Vec<u8>> = bytes.chunks(8).take(64).map(<[u8]>::to_vec).collect();
        let mut random = Random::default();
        let mut at = 0;
        while at < bytes.len() {
            let draw = usize::try_from(random.next() >> 32).unwrap_or(0);
            let word = &words[draw % words.len()];
            let len = word.len().min(bytes.len() - at);
            bytes[at..at + len].copy_from_slice(&word[..len]);
            at += len + draw / 64 % 8;
        }
    }
    bytes.extend_from_within(..PATTERN_MARGIN);
    Pattern(bytes)
}

fn carried(eal: &Eal, pool: &Mempool, case: &Case, kind: Kind) -> Result<Carried, MicroError> {
    let failed = |reason: String| set_up_error(case.spec.name, reason);
    let content = pattern(case.text);
    let mut streams = Streams::new(eal, pool, kind, case.payload, content).map_err(failed)?;
    if !streams.carry(WARM) {
        return Err(failed(format!("the streams stand still\n{}", streams.pair.counters())));
    }
    Ok(Carried { streams, carries: true })
}

fn check(case: &Case, carried: &mut Carried) -> Result<(), MicroError> {
    let totals = carried.streams.totals();
    if totals.wrong > 0 || !carried.carries {
        let reason = format!(
            "{} segments arrived that were not as sent\n{}",
            totals.wrong,
            carried.streams.pair.counters()
        );
        return Err(set_up_error(case.spec.name, reason));
    }
    Ok(())
}

fn profile(eal: &Eal, pool: &Mempool, case: &Case) -> Result<Profile, MicroError> {
    let mut carried = carried(eal, pool, case, Kind { spread: Spread::Apart, ..case.kind })?;
    let before = carried.streams.totals();
    let mut slices = Vec::new();
    for _ in 0..SLICES {
        let before = carried.streams.totals();
        carried.carries &= carried.streams.carry(LAP as u64);
        slices.push(carried.streams.totals().since(&before));
    }
    check(case, &mut carried)?;
    let totals = carried.streams.totals();
    let Totals { bytes, frames, again, .. } = totals.since(&before);
    let per_byte = |of: &dyn Fn(&Totals) -> u64| {
        let mut each: Vec<f64> =
            slices.iter().map(|slice| of(slice) as f64 / slice.bytes.max(1) as f64).collect();
        each.sort_unstable_by(f64::total_cmp);
        each.get(each.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let ticks = [0, 1].map(|site| {
        std::array::from_fn(|stage| per_byte(&|slice: &Totals| slice.ticks[site][stage]))
    });
    let frame_bytes = bytes as f64 / frames.max(1) as f64;
    Ok(Profile { ticks, hosts: per_byte(&|slice: &Totals| slice.hosts_ticks), frame_bytes, again })
}

/// Checks the words of `--only`: there has to be a row with all of them in its name.
///
/// # Errors
/// [`MicroError::NoBench`].
pub fn check_words(words: &[String]) -> Result<(), MicroError> {
    if cases().any(|case| case.is_meant(words)) {
        return Ok(());
    }
    let names = cases().map(|case| case.spec.name).collect::<Vec<_>>().join("; ");
    Err(MicroError::NoBench { names })
}

impl Case {
    fn is_meant(&self, words: &[String]) -> bool {
        let own = || self.spec.name.split([' ', ',']);
        words.iter().all(|word| own().any(|own| own == word))
    }
}

/// Measures the rows whose names have all these words; all without any.
///
/// # Errors
/// [`MicroError`]: nothing could be measured, or something arrived that was not sent.
pub fn run(
    eal: &Eal,
    plan: Plan,
    words: &[String],
    told: &mut dyn FnMut(&Found),
) -> Result<Vec<Found>, MicroError> {
    let mut measure = Measure::new(plan, eal.tsc_hz())?;
    let pool = Mempool::new(eal, &MempoolConfig::new("optimized", pair::FRAMES))
        .map_err(|error| set_up_error("frames", error))?;
    let mut found = Vec::new();
    for case in CASES.iter().filter(|case| case.is_meant(words)) {
        let mut ours = carried(eal, &pool, case, case.kind)?;
        let mut floor = Floor::new(LAP, case.kind.encrypted)
            .ok_or_else(|| set_up_error(case.spec.name, "no key"))?;
        let figures = measure.alternate(LAP, &mut ours, &mut floor)?;
        check(case, &mut ours)?;
        if !floor.whole {
            return Err(set_up_error(case.spec.name, "the floor does not open what it sealed"));
        }
        drop(ours);
        let row = Row { spec: case.spec, figures };
        let profile = profile(eal, &pool, case)?;
        found.push(Found { row, profile, gbps_min: case.gbps_min, gain: None });
        found.iter().last().into_iter().for_each(&mut *told);
    }
    if SECOND_CORE.is_meant(words) {
        found.push(second_core::row(eal, &pool, &SECOND_CORE, &mut measure)?);
        found.iter().last().into_iter().for_each(&mut *told);
    }
    Ok(found)
}

impl Found {
    /// Gigabits per second; `None` where it was disturbed.
    fn gbps(&self) -> Option<f64> {
        self.row.figures.map(|figures| 8.0 / figures.ours_ns)
    }

    /// How much faster than one core two are, and are predicted to be.
    fn gains(&self) -> Option<(f64, f64)> {
        let (predicted, figures) = self.gain.zip(self.row.figures)?;
        Some((predicted * figures.ratio.median, predicted))
    }

    /// Whether it lets the run succeed.
    #[must_use]
    pub fn passes(&self) -> bool {
        let carries = |least| self.gbps().is_some_and(|gbps| gbps >= least);
        self.row.passes() && self.gbps_min.is_none_or(carries)
    }

    /// Its speed, and where its ticks go, per byte and per frame of the near host.
    #[must_use]
    pub fn text(&self) -> String {
        let Found { profile: Profile { ticks, hosts, frame_bytes, again }, gbps_min, .. } = self;
        let per_frame = |ticks: f64| format!("{ticks:.3} ({:.0})", ticks * frame_bytes);
        let mut text = String::from("    ");
        if let Some(gbps) = self.gbps() {
            text += &format!("{gbps:.2} Gb/s");
            if let Some(least) = gbps_min {
                let word = if gbps >= *least { "ok" } else { "missed" };
                text += &format!(" (bar {least:.0}: {word})");
            }
            text += "; ";
        }
        if let Some((found, predicted)) = self.gains() {
            text += &format!("{found:.2} times one core, predicted {predicted:.2}; ");
        }
        let all = per_frame(ticks.iter().flatten().sum());
        text +=
            &format!("ticks per byte (per frame) {all}, of hosts beside it {}", per_frame(*hosts));
        if *again > 0 {
            text += &format!("; hosts sent again {again} times");
        }
        for (site, ticks) in ["near", "far"].into_iter().zip(ticks) {
            text += &format!("\n    {site:<5}");
            for (stage, ticks) in StageKind::ALL.iter().zip(ticks) {
                text += &format!(" {stage} {}", per_frame(*ticks));
            }
        }
        text
    }

    /// The same as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let Profile { ticks, hosts, frame_bytes, again } = &self.profile;
        let stages = |site: usize| -> serde_json::Map<String, serde_json::Value> {
            let stages = StageKind::ALL.iter().zip(&ticks[site]);
            stages.map(|(stage, ticks)| (stage.name().to_owned(), (*ticks).into())).collect()
        };
        serde_json::json!({
            "gbps": self.gbps(),
            "gbps_bar": self.gbps_min,
            "ticks_per_byte": { "near": stages(0), "far": stages(1), "hosts": hosts },
            "frame_bytes": frame_bytes,
            "gain": self.gains().map(|(found, _)| found),
            "gain_predicted": self.gains().map(|(_, predicted)| predicted),
            "hosts_sent_again": again,
        })
    }
}
