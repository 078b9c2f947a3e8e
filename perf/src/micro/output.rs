//! What was found, as a table and as JSON.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use super::measure::{Figures, Plan};
use super::{GAP_US, Row, Verdict};
use crate::apart;

/// Where and how it was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    /// Model of the processor.
    pub cpu: String,
    /// Processors of the machine.
    pub cpus: usize,
    /// Version of the kernel.
    pub kernel: String,
    /// Version of DPDK.
    pub dpdk: String,
    /// Ticks of the time stamp counter per microsecond.
    pub tsc_mhz: u64,
    /// Pages of the tables that are measured.
    pub pages: &'static str,
    /// What perf/run micro was given.
    pub options: String,
    /// Which rounds are left out.
    pub rules: String,
}

/// The rules by which rounds are left out, in words.
#[must_use]
pub fn rules(plan: &Plan) -> String {
    format!(
        "a round is ours, baseline, baseline, ours, of {} us each; left out when the kernel took a \
         processor from a thread (getrusage), the hypervisor took time (steal), a lap took a \
         quarter and {GAP_US} us longer than the shortest of its sample, or, where two threads are \
         measured, their cores were not {} to {} ns apart before and after it (a cache line there \
         and back: less is one core, more no cache in common); at least {} rounds",
        plan.sample_us,
        apart::NS_MIN,
        apart::NS_MAX,
        plan.rounds_min
    )
}

#[derive(Serialize)]
struct Discarded {
    switched: usize,
    stolen: usize,
    gaps: usize,
    moved: usize,
}

#[derive(Serialize)]
struct Result {
    name: &'static str,
    baseline: &'static str,
    item: &'static str,
    ratio: Option<f64>,
    quartiles: Option<[f64; 2]>,
    ours_ns: Option<f64>,
    baseline_ns: Option<f64>,
    bar: Option<f64>,
    verdict: &'static str,
    reason: Option<&'static str>,
    rounds: Option<usize>,
    discarded: Option<Discarded>,
    /// What only some programs say.
    #[serde(flatten)]
    more: Option<Value>,
}

#[derive(Serialize)]
struct Document<'a> {
    scenario: &'static str,
    commit: &'a str,
    environment: &'a Environment,
    results: Vec<Result>,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Reported => "reported",
            Verdict::Ok => "ok",
            Verdict::Stated => "stated",
            Verdict::Missed => "missed",
            Verdict::Disturbed => "disturbed",
        }
    }
}

/// As many digits as say something.
fn digits(ns: f64) -> String {
    if ns < 1.0 { format!("{ns:.3}") } else { format!("{ns:.2}") }
}

/// Three digits behind the point.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

impl From<&Row> for Result {
    fn from(row: &Row) -> Self {
        let figures = row.figures.as_ref();
        let figure = |of: fn(&Figures) -> f64| figures.map(|figures| rounded(of(figures)));
        Result {
            name: row.spec.name,
            baseline: row.spec.baseline,
            item: row.spec.item,
            ratio: figure(|f| f.ratio.median),
            quartiles: figures.map(|f| [rounded(f.ratio.low), rounded(f.ratio.high)]),
            ours_ns: figure(|f| f.ours_ns),
            baseline_ns: figure(|f| f.baseline_ns),
            bar: row.spec.bar.map(rounded),
            verdict: row.verdict().word(),
            reason: row.spec.reason.filter(|_| row.verdict() == Verdict::Stated),
            rounds: figures.map(|f| f.rounds),
            discarded: figures.map(|f| Discarded {
                switched: f.switched,
                stolen: f.stolen,
                gaps: f.gaps,
                moved: f.moved,
            }),
            more: None,
        }
    }
}

/// Everything as JSON; `more` says what else there is to know of a row, an object.
///
/// # Errors
/// Those of the serialiser.
pub fn json(
    scenario: &'static str,
    commit: &str,
    environment: &Environment,
    rows: &[Row],
    more: impl Fn(usize) -> Option<Value>,
) -> std::result::Result<String, serde_json::Error> {
    let results = rows.iter().enumerate();
    let results =
        results.map(|(index, row)| Result { more: more(index), ..Result::from(row) }).collect();
    let document = Document { scenario, commit, environment, results };
    serde_json::to_string_pretty(&document).map(|text| text + "\n")
}

/// The head of the table.
#[must_use]
pub fn head() -> String {
    format!(
        "{:<32} {:<24} {:>6} {:>13} {:>18} {:>5}  {:<9} {}",
        "what", "baseline", "ratio", "middle half", "ns per item", "bar", "", "rounds (left out)"
    )
}

/// A line of it.
#[must_use]
pub fn line(row: &Row) -> String {
    let spec = &row.spec;
    let mut line = format!("{:<32} {:<24} ", spec.name, spec.baseline);
    let bar = spec.bar.map_or_else(|| "-".to_owned(), |bar| format!("{bar:.2}"));
    // Writing to a string does not fail.
    let _ = match &row.figures {
        Some(f) => write!(
            line,
            "{:>6.2} {:>13} {:>18} {bar:>5}  {:<9} {} ({} switched, {} stolen, {} gaps, {} moved)",
            f.ratio.median,
            format!("{:.2} - {:.2}", f.ratio.low, f.ratio.high),
            format!("{} / {}", digits(f.ours_ns), digits(f.baseline_ns)),
            row.verdict().word(),
            f.rounds,
            f.switched,
            f.stolen,
            f.gaps,
            f.moved,
        ),
        None => write!(
            line,
            "{:>39} {bar:>5}  disturbed: too few rounds in which nobody else had the processor",
            ""
        ),
    };
    if let (Verdict::Stated, Some(reason)) = (row.verdict(), spec.reason) {
        let _ = write!(line, "\n    {reason}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::BENCHES;
    use super::super::measure::Quartiles;
    use super::*;

    fn row(median: f64) -> Row {
        let ratio = Quartiles { low: median - 0.1, median, high: median + 0.1 };
        let figures =
            Figures { ratio, ours_ns: 2.0, baseline_ns: 3.5, rounds: 7, ..Figures::default() };
        let mut spec = BENCHES[0];
        (spec.bar, spec.reason) = (Some(1.45), Some("it is known why"));
        Row { spec, figures: Some(figures) }
    }

    #[test]
    fn a_line_says_what_was_found_and_why_a_bar_was_missed() {
        let ok = line(&row(1.75));
        assert!(ok.contains("1.75   1.65 - 1.85        2.00 / 3.50  1.45  ok"), "{ok}");
        assert!(!ok.contains("why"), "{ok}");
        let stated = line(&row(1.2));
        assert!(stated.contains("stated") && stated.contains("it is known why"), "{stated}");
        let disturbed = line(&Row { figures: None, ..row(1.0) });
        assert!(disturbed.contains("disturbed"), "{disturbed}");
    }

    #[test]
    fn json_has_every_row_with_its_verdict() {
        let environment = Environment {
            cpu: "a processor".into(),
            cpus: 2,
            kernel: "6".into(),
            dpdk: "DPDK 22.11".into(),
            tsc_mhz: 2600,
            pages: "4 KiB",
            options: String::new(),
            rules: rules(&Plan::QUICK),
        };
        let rows = [row(1.2345), Row { figures: None, ..row(1.0) }];
        let text = json("micro", "abc", &environment, &rows, |row| {
            (row == 0).then(|| serde_json::json!({ "also": 1 }))
        })
        .unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["commit"], "abc");
        assert_eq!(value["results"][0]["ratio"], 1.235);
        assert_eq!(value["results"][0]["also"], 1);
        assert_eq!(value["results"][0]["verdict"], "stated");
        assert_eq!(value["results"][0]["discarded"]["gaps"], 0);
        assert_eq!(value["results"][1]["verdict"], "disturbed");
        assert!(value["results"][1]["ratio"].is_null());
        assert_eq!(value["environment"]["dpdk"], "DPDK 22.11");
    }
}
