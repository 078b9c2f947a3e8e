//! Time as the stages see it: nanoseconds since an arbitrary start, passed in, never read.

use std::ops::{Add, Sub};

/// One microsecond, in nanoseconds.
pub const MICROSECOND_NS: u64 = 1_000;
/// One millisecond, in nanoseconds.
pub const MILLISECOND_NS: u64 = 1_000_000;
/// One second, in nanoseconds.
pub const SECOND_NS: u64 = 1_000_000_000;

/// A point in time: nanoseconds since the start of the process (or of the simulation).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The start.
    pub const ZERO: Time = Time(0);
    /// Later than every other time: a timer that is not armed.
    pub const NEVER: Time = Time(u64::MAX);

    /// The time `ns` nanoseconds after the start.
    #[must_use]
    pub const fn from_ns(ns: u64) -> Self {
        Time(ns)
    }

    /// The time `ms` milliseconds after the start.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Time(ms * MILLISECOND_NS)
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// Nanoseconds from `earlier` to `self`; 0 if `earlier` is later.
    #[must_use]
    pub const fn since_ns(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Time {
    type Output = Time;

    /// `ns` nanoseconds later; stays at [`Time::NEVER`].
    fn add(self, ns: u64) -> Time {
        Time(self.0.saturating_add(ns))
    }
}

impl Sub<u64> for Time {
    type Output = Time;

    /// `ns` nanoseconds earlier, not before the start.
    fn sub(self, ns: u64) -> Time {
        Time(self.0.saturating_sub(ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Time::NEVER + 1, Time::NEVER);
        assert_eq!(Time::ZERO - 1, Time::ZERO);
        assert_eq!(Time::from_ms(1).since_ns(Time::from_ms(2)), 0);
        assert_eq!(Time::from_ms(2).since_ns(Time::from_ms(1)), MILLISECOND_NS);
    }
}
