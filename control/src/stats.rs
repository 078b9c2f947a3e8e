//! Statistics for people and for machines.
//!
//! In: counters and their definitions. Out: text. Never: a counter that is described twice: names,
//! units and help come from the one list each stage declares.

use std::fmt::Write;

use dataplane::counters::{Counter, Counters, Definition, Kind};

use crate::cli::{CounterView, DropView};

/// What counts neither what came in nor what went out or was dropped.
const INFO: &str = "info";

/// Counters of one stage at one time.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The stage.
    pub stage: &'static str,
    /// What the counter is.
    pub definition: &'static Definition,
    /// Its value.
    pub value: u64,
}

/// The present values of a stage's counters.
pub fn samples<C: Counter>(counters: &Counters<C>) -> impl Iterator<Item = Sample> + '_ {
    counters.iter().map(|(definition, value)| Sample { stage: C::STAGE, definition, value })
}

/// The reasons for not forwarding among `samples`. Those of one stage and name (of several
/// workers) are one, with the sum of their counts, in the order of their first appearance.
pub fn drops(samples: impl IntoIterator<Item = Sample>) -> Vec<DropView> {
    let mut drops: Vec<DropView> = Vec::new();
    for Sample { stage, definition, value } in samples {
        if definition.kind != Kind::Drop {
            continue;
        }
        let known =
            drops.iter_mut().find(|drop| drop.stage == stage && drop.name == definition.name);
        if let Some(drop) = known {
            drop.count = drop.count.wrapping_add(value);
            continue;
        }
        drops.push(DropView {
            stage,
            name: definition.name,
            unit: definition.unit,
            count: value,
            help: definition.help,
        });
    }
    drops
}

/// All of `samples`. Those of one stage and name (of several workers) are one, with their sum, in
/// the order of their first appearance.
pub fn counters(samples: impl IntoIterator<Item = Sample>) -> Vec<CounterView> {
    let mut sums: Vec<CounterView> = Vec::new();
    for Sample { stage, definition, value } in samples {
        let Definition { name, unit, kind, help } = *definition;
        if let Some(sum) = sums.iter_mut().find(|sum| sum.stage == stage && sum.name == name) {
            sum.value = sum.value.wrapping_add(value);
            continue;
        }
        let kind = match kind {
            Kind::In => "in",
            Kind::Out => "out",
            Kind::Drop => "drop",
            Kind::Info => INFO,
        };
        sums.push(CounterView { stage, name, unit, kind, value, help });
    }
    sums
}

/// `counters` in Prometheus' text format (version 0.0.4): `tpo_<stage>_<counter>`.
pub fn prometheus(counters: &[CounterView]) -> String {
    let mut text = String::new();
    for CounterView { stage, name, unit, kind, value, help } in counters {
        let name = format!("tpo_{}_{}", word(stage), word(name));
        // What is neither in, out nor dropped may be a gauge.
        let kind = if *kind == INFO { "untyped" } else { "counter" };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help} Unit: {unit}.");
        let _ = writeln!(text, "# TYPE {name} {kind}");
        let _ = writeln!(text, "{name} {value}");
    }
    text
}

/// Prometheus' names have letters, digits and `_`.
fn word(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// A time for people: `8s`, `3m12s`, `5h03m`, `4d07h`.
#[must_use]
pub fn seconds(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    dataplane::counters! {
        /// For these tests.
        enum ExampleCounter, "packet-driver" {
            FramesIn: In, "frames_in", "frames", "Frames given to the stage.";
            TooShort: Drop, "too_short", "frames", "Shorter than a \\ header.";
            Level: Info, "level", "buffers", "Buffers in use.";
        }
    }

    fn two_workers() -> Vec<Sample> {
        let (first, second) = (Counters::<ExampleCounter>::default(), Counters::default());
        first.add(ExampleCounter::FramesIn, 10);
        second.add(ExampleCounter::FramesIn, 5);
        second.increment(ExampleCounter::TooShort);
        first.set(ExampleCounter::Level, 3);
        samples(&first).chain(samples(&second)).collect()
    }

    #[test]
    fn prometheus_text_has_help_type_and_sum() {
        assert_eq!(
            prometheus(&counters(two_workers())),
            "# HELP tpo_packet_driver_frames_in Frames given to the stage. Unit: frames.\n\
             # TYPE tpo_packet_driver_frames_in counter\n\
             tpo_packet_driver_frames_in 15\n\
             # HELP tpo_packet_driver_too_short Shorter than a \\\\ header. Unit: frames.\n\
             # TYPE tpo_packet_driver_too_short counter\n\
             tpo_packet_driver_too_short 1\n\
             # HELP tpo_packet_driver_level Buffers in use. Unit: buffers.\n\
             # TYPE tpo_packet_driver_level untyped\n\
             tpo_packet_driver_level 3\n"
        );
    }

    #[test]
    fn drops_are_the_counters_that_say_so() {
        let drops = drops(two_workers());
        let [drop] = &drops[..] else { panic!("one reason, not {drops:?}") };
        assert_eq!((drop.stage, drop.name, drop.count), ("packet-driver", "too_short", 1));
    }

    #[test]
    fn times_for_people() {
        for (value, text) in
            [(0, "0s"), (59, "59s"), (192, "3m12s"), (18_180, "5h03m"), (370_800, "4d07h")]
        {
            assert_eq!(seconds(value), text);
        }
    }
}
