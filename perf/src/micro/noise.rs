//! What disturbs a measurement, as the kernel tells it.
//!
//! In: `/proc/stat`, `getrusage`. Out: what happened between two looks. Never: a judgement on
//! figures: these rules were fixed before any was taken.

use nix::sys::resource::{UsageWho, getrusage};

/// A lap that is longer than the shortest of its sample by a quarter and by this, in microseconds,
/// was interrupted.
pub const GAP_US: u64 = 25;

/// Why the noise cannot be observed.
#[derive(Debug, thiserror::Error)]
pub enum NoiseError {
    /// The kernel does not say how often it took the processor away.
    #[error("getrusage says nothing of context switches: {0}")]
    Usage(nix::Error),
    /// Nor how much the hypervisor took.
    #[error("/proc/stat cannot be read: {0}")]
    Stat(std::io::Error),
    /// Its first line is another.
    #[error("/proc/stat does not tell stolen time in its first line")]
    Format,
}

/// The counters that show disturbances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Noise {
    /// Times that the kernel took the processor from a thread of this process.
    switched: i64,
    /// Time that the hypervisor took from all processors, in ticks of the kernel.
    stolen: u64,
}

/// What disturbed a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disturbance {
    /// The kernel gave the processor to somebody else.
    Switched,
    /// The hypervisor did.
    Stolen,
    /// A lap took far longer than another of the same work.
    Gap,
}

impl Noise {
    pub(super) fn look() -> Result<Self, NoiseError> {
        let usage = getrusage(UsageWho::RUSAGE_SELF).map_err(NoiseError::Usage)?;
        let stat = std::fs::read_to_string("/proc/stat").map_err(NoiseError::Stat)?;
        let stolen = stolen(&stat).ok_or(NoiseError::Format)?;
        Ok(Noise { switched: usage.involuntary_context_switches(), stolen })
    }

    /// What happened since `before`.
    pub(super) fn since(self, before: Self) -> Option<Disturbance> {
        if self.switched != before.switched {
            Some(Disturbance::Switched)
        } else if self.stolen != before.stolen {
            Some(Disturbance::Stolen)
        } else {
            None
        }
    }
}

/// `cpu user nice system idle iowait irq softirq steal ...`
fn stolen(stat: &str) -> Option<u64> {
    let mut words = stat.lines().next()?.split_whitespace();
    if words.next()? != "cpu" {
        return None;
    }
    words.nth(7)?.parse().ok()
}

/// Whether one of these laps of the same work was interrupted.
pub(super) fn has_gap(laps: &[u64], ticks_per_us: u64) -> bool {
    let (Some(shortest), Some(longest)) = (laps.iter().min(), laps.iter().max()) else {
        return false;
    };
    *longest > shortest + shortest / 4 + GAP_US * ticks_per_us
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_the_eighth_figure() {
        let stat = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(stolen(stat), Some(8));
        for wrong in ["", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8"] {
            assert_eq!(stolen(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_happened_is_told_apart() {
        let before = Noise { switched: 3, stolen: 5 };
        assert_eq!(before.since(before), None);
        let switched = Noise { switched: 4, stolen: 6 };
        assert_eq!(switched.since(before), Some(Disturbance::Switched));
        let stolen = Noise { switched: 3, stolen: 6 };
        assert_eq!(stolen.since(before), Some(Disturbance::Stolen));
        Noise::look().unwrap();
    }

    #[test]
    fn a_lap_far_longer_than_another_is_a_gap() {
        let us = |laps: &[u64]| laps.iter().map(|lap| lap * 1000).collect::<Vec<_>>();
        assert!(!has_gap(&us(&[10, 12, 35]), 1000));
        assert!(has_gap(&us(&[10, 12, 38]), 1000));
        assert!(!has_gap(&us(&[1000, 1275]), 1000), "long laps may differ by a quarter");
        assert!(has_gap(&us(&[1000, 1276]), 1000));
        assert!(!has_gap(&[], 1000));
    }
}
