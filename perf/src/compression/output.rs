//! What was found, as a table and as JSON.

use std::fmt::Write;

use dataplane::compression::Level;
use serde::Serialize;
use serde_json::json;

use super::{BAR, Cost, GROWTH_MAX, Lap, Laps, Plan, Row};
use crate::program::Machine;

/// Where and how it was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    /// On what.
    #[serde(flatten)]
    pub machine: Machine,
    /// What perf/run compression was given.
    pub options: String,
    /// What time is.
    pub rules: String,
}

/// How time is measured, in words.
#[must_use]
pub fn rules(plan: &Plan) -> String {
    format!(
        "the compress stage on a core of its own before a modelled link; time is the processor's on \
         this thread plus what the model waits; the first {} buffers left out, then {} laps of {} \
         buffers of each mode by turns; medians",
        plan.first, plan.laps, plan.lap
    )
}

#[derive(Serialize)]
struct Goodput {
    mbps: f64,
    range_mbps: [f64; 2],
}

/// As the other programs of this package write their rows, and what only this one says.
#[derive(Serialize)]
struct Compared {
    name: String,
    baseline: &'static str,
    item: &'static str,
    ratio: f64,
    quartiles: [f64; 2],
    ours_ns: f64,
    baseline_ns: f64,
    bar: f64,
    verdict: &'static str,
    rounds: usize,
    off: Goodput,
    lz4: Goodput,
    auto: Goodput,
    growth: f64,
    levels: Vec<(String, f64)>,
}

/// Three digits behind the point.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// Six of them.
fn in_millionths(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

impl From<&Laps> for Goodput {
    fn from(laps: &Laps) -> Self {
        let (low, high) = laps.range_mbps();
        Goodput { mbps: rounded(laps.median().mbps()), range_mbps: [rounded(low), rounded(high)] }
    }
}

/// Shares of the buffers by level, of those levels that more than a hundredth left at.
fn shares(lap: &Lap) -> Vec<(Level, f64)> {
    let all: u64 = lap.levels.iter().sum();
    let share = |count: u64| count as f64 / all.max(1) as f64;
    let each = Level::ALL.into_iter().zip(lap.levels.map(share));
    each.filter(|(_, share)| *share > 0.01).collect()
}

impl From<&Row> for Compared {
    fn from(row: &Row) -> Self {
        let [off, lz4, auto] = row.laps.each_ref().map(Goodput::from);
        let used = shares(&row.auto().median());
        let (baseline, laps) = row.baseline();
        let (ratio, growth) = (row.ratio(), in_millionths(row.growth()));
        Compared {
            name: format!("{}, {} Mb/s", row.content, row.rate_mbps),
            baseline,
            item: "byte",
            ratio: rounded(ratio.median),
            quartiles: [rounded(ratio.low), rounded(ratio.high)],
            ours_ns: rounded(8_000.0 / auto.mbps),
            baseline_ns: rounded(8_000.0 / laps.median().mbps()),
            bar: BAR,
            verdict: if row.is_fast() { "ok" } else { "missed" },
            rounds: row.auto().count(),
            off,
            lz4,
            auto,
            growth,
            levels: used
                .iter()
                .map(|(level, share)| (format!("{level:?}"), rounded(*share)))
                .collect(),
        }
    }
}

/// Everything as JSON.
///
/// # Errors
/// Those of the serialiser.
pub fn json(
    commit: &str,
    environment: &Environment,
    rows: &[Row],
    costs: &[Cost],
) -> Result<String, serde_json::Error> {
    let mut results = Vec::new();
    for row in rows {
        results.push(serde_json::to_value(Compared::from(row))?);
        if row.incompressible {
            results.push(json!({
                "name": format!("{}, {} Mb/s: growth", row.content, row.rate_mbps),
                "unit": "",
                "value": in_millionths(row.growth()),
                "bar": { "at_most": GROWTH_MAX },
            }));
        }
    }
    let document = json!({
        "scenario": "compression",
        "commit": commit,
        "environment": environment,
        "results": results,
        "costs": costs,
    });
    serde_json::to_string_pretty(&document).map(|text| text + "\n")
}

/// The head of the table.
#[must_use]
pub fn head() -> String {
    format!(
        "{:<9} {:>10} {:>10} {:>10} {:>10} {:>6} {:>8}  {:<7} {}",
        "content", "link Mb/s", "off", "lz4", "auto", "ratio", "growth", "", "auto's levels"
    )
}

/// A line of it.
#[must_use]
pub fn line(row: &Row) -> String {
    let [off, lz4, auto] = row.laps.each_ref().map(|laps| laps.median().mbps());
    let verdict = if row.passes() { "ok" } else { "MISSED" };
    let mut line = format!(
        "{:<9} {:>10} {off:>10.1} {lz4:>10.1} {auto:>10.1} {:>6.3} {:>7.2}%  {verdict:<7}",
        row.content,
        row.rate_mbps,
        row.ratio().median,
        100.0 * row.growth()
    );
    for (level, share) in shares(&row.auto().median()) {
        // Writing to a string does not fail.
        let _ = write!(line, " {level:?} {:.0}%", 100.0 * share);
    }
    line
}

/// What a level costs and leaves, as a line.
#[must_use]
pub fn cost_line(cost: &Cost) -> String {
    format!(
        "{:<9} {:>6} {:<9} {:>7.2} ns/B, leaves {:.3}, back {:.2} ns/B",
        cost.content, cost.block, cost.level, cost.ns, cost.left, cost.back_ns
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::row;
    use super::*;

    #[test]
    fn rows_are_written_as_the_report_reads_them() {
        let environment = Environment {
            machine: Machine { cpu: "a processor".into(), cpus: 2, kernel: "6".into() },
            options: String::new(),
            rules: rules(&Plan::QUICK),
        };
        let rows = [row([100, 200, 195], 500_000, false), row([200, 100, 190], 1_001_100, true)];
        let text = json("abc", &environment, &rows, &[]).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let [quick, slow, growth] = [0, 1, 2].map(|row| &value["results"][row]);
        assert_eq!(quick["name"], "any, 10 Mb/s");
        assert_eq!((&quick["baseline"], &quick["ratio"]), (&json!("LZ4"), &json!(0.975)));
        assert_eq!((&quick["quartiles"], &quick["rounds"]), (&json!([0.975, 0.975]), &json!(1)));
        assert_eq!((&quick["verdict"], &slow["verdict"]), (&json!("ok"), &json!("missed")));
        assert_eq!(slow["baseline"], "off");
        assert_eq!((&growth["value"], &growth["bar"]["at_most"]), (&json!(0.0011), &json!(0.001)));
        assert_eq!((&value["environment"]["cpus"], &value["commit"]), (&json!(2), &json!("abc")));
    }
}
