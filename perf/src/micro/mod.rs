//! Micro benches: one job of the dataplane at a time, beside another way to do it.
//!
//! In: which benches, how long. Out: for each, how many times as fast as its baseline ours is, with
//! its spread, and whether that reaches its bar. Never: a figure without a baseline of the same run.

pub(crate) mod aggregate;
mod checksum;
pub(crate) mod classify;
pub(crate) mod compress;
pub(crate) mod measure;
mod noise;
pub mod output;
pub(crate) mod parse;
mod pass;
mod ring;
pub(crate) mod seal;

use core_affinity::CoreId;
use dpdk_wrapper::Eal;
use dpdk_wrapper::eal::EalError;

pub use measure::{Figures, Plan, Quartiles};
pub(crate) use measure::{Measure, Work};
pub use noise::{GAP_US, NoiseError};

/// One bench.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its name: a family, then what is different within it.
    pub name: &'static str,
    /// What it is compared with.
    pub baseline: &'static str,
    /// What one item is.
    pub item: &'static str,
    /// Least speed, as a multiple of the baseline's; `None` where it is only reported.
    pub bar: Option<f64>,
    /// Why a bar that is missed is missed, if that was found out.
    pub reason: Option<&'static str>,
}

const fn spec(
    name: &'static str,
    baseline: &'static str,
    item: &'static str,
    bar: Option<f64>,
) -> Spec {
    Spec { name, baseline, item, bar, reason: None }
}

/// All benches, by family.
pub const BENCHES: &[Spec] = &[
    spec("classify 10k hit", "rte_hash_lookup_bulk", "key", None),
    spec("classify 10k miss", "rte_hash_lookup_bulk", "key", None),
    spec("classify 10k miss/hit", "our hits", "key", Some(1.0 / 1.5)),
    spec("classify 10k noted", "the same, and notes", "key", None),
    Spec {
        reason: Some(
            "both wait for memory: for a bucket and an entry, 72 MB in all. Where a cache line takes \
             160 ns, 32 of them asked for together take 9 each (8 in large pages), so 18 of what either \
             takes; with 10k flows, which are near, ours is 1.1 times as fast",
        ),
        ..spec("classify 1M hit", "rte_hash_lookup_bulk", "key", Some(1.45))
    },
    spec("classify 1M miss", "rte_hash_lookup_bulk", "key", None),
    spec("classify 1M miss/hit", "our hits", "key", Some(1.0 / 1.5)),
    spec("classify 1M noted", "the same, and notes", "key", None),
    Spec {
        reason: Some(
            "a link moves its items one by one, where rte_ring copies them: the same ring is as fast \
             where items may be copied, in the row below",
        ),
        ..spec("ring same core", "rte_ring SP/SC", "item", Some(1.0))
    },
    spec("ring same core, copied", "rte_ring SP/SC", "item", None),
    Spec {
        reason: Some(
            "most of the time cache lines go from core to core; items that are copied, in the row \
             below, gain a part of what is missing",
        ),
        ..spec("ring two cores", "rte_ring SP/SC", "item", Some(1.0))
    },
    spec("ring two cores, copied", "rte_ring SP/SC", "item", None),
    spec("aggregate", "memcpy", "byte", None),
    spec("aggregate: incompressible", "compression off", "byte", Some(0.97)),
    spec("compress", "LZ4", "byte", Some(0.97)),
    spec("compress: decompress", "LZ4", "byte", Some(0.97)),
    spec("seal", "AES-256-GCM of ring", "datagram", Some(0.95)),
    spec("seal: open", "AES-256-GCM of ring", "datagram", Some(0.95)),
    spec("checksum 1448 B", "rte_raw_cksum", "byte", Some(1.0)),
    spec("checksum 20 B", "rte_raw_cksum", "byte", None),
    spec("parse", "etherparse SlicedPacket", "frame", Some(1.0)),
    spec("pass 1 flow", "station addresses written", "frame", None),
    spec("pass 10k flows", "station addresses written", "frame", None),
    spec("pass 1M flows", "station addresses written", "frame", None),
];

/// What belongs together, and is set up together.
type Family = (&'static str, fn(&mut Bench) -> Result<(), MicroError>);

const FAMILIES: &[Family] = &[
    ("classify", classify::run),
    ("ring", ring::run),
    ("aggregate", aggregate::run),
    ("compress", compress::run),
    ("seal", seal::run),
    ("checksum", checksum::run),
    ("parse", parse::run),
    ("pass", pass::run),
];

/// Why nothing is measured.
#[derive(Debug, thiserror::Error)]
pub enum MicroError {
    /// DPDK did not start.
    #[error(transparent)]
    Eal(#[from] EalError),
    /// The noise cannot be observed.
    #[error(transparent)]
    Noise(#[from] NoiseError),
    /// A word that no bench's name contains.
    #[error("--only: no bench has {word:?} in its name; there are: {names}")]
    UnknownWord {
        /// The word.
        word: String,
        /// What there is.
        names: String,
    },
    /// Each word is in a name, but no name has all.
    #[error("--only: no bench has all of these words in its name; there are: {names}")]
    NoBench {
        /// What there is.
        names: String,
    },
    /// What a bench is made of cannot be made.
    #[error("{bench}: {reason}")]
    SetUp {
        /// The bench's name or family.
        bench: &'static str,
        /// What went wrong.
        reason: String,
    },
}

impl MicroError {
    fn set_up(bench: &'static str, reason: impl ToString) -> Self {
        MicroError::SetUp { bench, reason: reason.to_string() }
    }
}

/// That something cannot be measured, and why.
pub(crate) fn set_up_error(bench: &'static str, reason: impl ToString) -> MicroError {
    MicroError::set_up(bench, reason)
}

/// One bench, measured.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which.
    pub spec: Spec,
    /// What was found; `None` when too few rounds were undisturbed.
    pub figures: Option<Figures>,
}

/// What came of a bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has no bar.
    Reported,
    /// The bar is reached.
    Ok,
    /// It is not, for a reason that is known.
    Stated,
    /// It is not.
    Missed,
    /// Too few rounds were undisturbed.
    Disturbed,
}

impl Row {
    /// What came of it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (self.figures, self.spec.bar, self.spec.reason) {
            (None, _, _) => Verdict::Disturbed,
            (_, None, _) => Verdict::Reported,
            (Some(figures), Some(bar), _) if figures.ratio.median >= bar => Verdict::Ok,
            (_, _, Some(_)) => Verdict::Stated,
            _ => Verdict::Missed,
        }
    }

    /// Whether it lets the run succeed.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self.verdict(), Verdict::Reported | Verdict::Ok | Verdict::Stated)
    }
}

/// Checks the words of `--only`: there has to be a bench with all of them in its name.
///
/// # Errors
/// [`MicroError::UnknownWord`], [`MicroError::NoBench`].
pub fn check_words(words: &[String]) -> Result<(), MicroError> {
    let names = || BENCHES.iter().map(|spec| spec.name).collect::<Vec<_>>().join(", ");
    let is_known = |word: &String| BENCHES.iter().any(|spec| spec.name.contains(word.as_str()));
    if let Some(word) = words.iter().find(|word| !is_known(word)) {
        return Err(MicroError::UnknownWord { word: word.clone(), names: names() });
    }
    if !BENCHES.iter().any(|spec| has_all(spec.name, words)) {
        return Err(MicroError::NoBench { names: names() });
    }
    Ok(())
}

fn has_all(name: &str, words: &[String]) -> bool {
    words.iter().all(|word| name.contains(word.as_str()))
}

/// Numbers without a pattern, the same every time (xorshift by Marsaglia).
pub(crate) struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Random(0x9e37_79b9_7f4a_7c15)
    }
}

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Bytes that LZ4 finds nothing in.
pub(crate) fn random_bytes(len: usize) -> Vec<u8> {
    let mut random = Random::default();
    std::iter::repeat_with(|| random.next().to_le_bytes()[3]).take(len).collect()
}

/// A run under way.
pub struct Bench<'a> {
    eal: &'a Eal,
    measure: Measure,
    words: &'a [String],
    /// Those of this process; the benches run on the first.
    cores: Vec<CoreId>,
    rows: Vec<Row>,
    /// Told each row as it is finished.
    told: &'a mut dyn FnMut(&Row),
}

impl Bench<'_> {
    fn wants(&self, name: &str) -> bool {
        has_all(name, self.words)
    }

    /// Compares ours with the baseline of the bench of this name, if it is wanted; each lap of
    /// either does `items` items.
    fn compare(
        &mut self,
        name: &'static str,
        items: usize,
        ours: &mut dyn Work,
        baseline: &mut dyn Work,
    ) -> Result<(), MicroError> {
        let spec = BENCHES.iter().find(|spec| spec.name == name);
        let spec = *spec.ok_or_else(|| MicroError::set_up(name, "is not in the list"))?;
        if !self.wants(name) {
            return Ok(());
        }
        let figures = self.measure.alternate(items, ours, baseline)?;
        let row = Row { spec, figures };
        (self.told)(&row);
        self.rows.push(row);
        Ok(())
    }
}

/// Runs the benches whose names have all these words; all without any.
///
/// # Errors
/// [`MicroError`]: nothing could be measured.
pub fn run(
    eal: &Eal,
    plan: Plan,
    words: &[String],
    told: &mut dyn FnMut(&Row),
) -> Result<Vec<Row>, MicroError> {
    check_words(words)?;
    let measure = Measure::new(plan, eal.tsc_hz())?;
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if let Some(core) = cores.first() {
        core_affinity::set_for_current(*core);
    }
    let mut bench = Bench { eal, measure, words, cores, rows: Vec::new(), told };
    for (family, run) in FAMILIES {
        let wanted = |spec: &Spec| spec.name.starts_with(family) && bench.wants(spec.name);
        if BENCHES.iter().any(wanted) {
            run(&mut bench)?;
        }
    }
    Ok(bench.rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use measure::Quartiles;

    fn row(ratio: Option<f64>, bar: Option<f64>, reason: Option<&'static str>) -> Row {
        let figures = ratio.map(|median| Figures {
            ratio: Quartiles { low: median, median, high: median },
            ..Figures::default()
        });
        Row { spec: Spec { bar, reason, ..BENCHES[0] }, figures }
    }

    #[test]
    fn a_missed_bar_fails_unless_its_reason_is_stated() {
        for (ratio, bar, reason, verdict, passes) in [
            (Some(0.5), None, None, Verdict::Reported, true),
            (Some(1.0), Some(1.0), None, Verdict::Ok, true),
            (Some(0.99), Some(1.0), None, Verdict::Missed, false),
            (Some(0.99), Some(1.0), Some("why"), Verdict::Stated, true),
            (Some(1.0), Some(1.0), Some("why"), Verdict::Ok, true),
            (None, Some(1.0), Some("why"), Verdict::Disturbed, false),
            (None, None, None, Verdict::Disturbed, false),
        ] {
            let row = row(ratio, bar, reason);
            assert_eq!((row.verdict(), row.passes()), (verdict, passes), "{row:?}");
        }
    }

    #[test]
    fn every_bench_has_a_name_of_its_own_and_a_family() {
        for (n, spec) in BENCHES.iter().enumerate() {
            assert!(BENCHES[..n].iter().all(|other| other.name != spec.name), "{}", spec.name);
            assert!(FAMILIES.iter().any(|(family, _)| spec.name.starts_with(family)));
        }
    }

    #[test]
    fn a_word_of_no_bench_is_refused_with_what_there_is() {
        check_words(&["classify".into(), "1M".into()]).unwrap();
        let error = check_words(&["clasify".into()]).unwrap_err().to_string();
        assert!(error.contains("\"clasify\"") && error.contains("classify 1M hit"), "{error}");
    }
}
