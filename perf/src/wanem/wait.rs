//! How the loop waits: precise, without burning a core.
//!
//! In: whether there was work, and when the next packet is due. Out: a thread that slept for the
//! right time, or not at all.
//!
//! A port cannot wake the loop, so every sleep delays the frames that arrive meanwhile by up to its
//! length; that bounds it. A sleep always ends a little late, so close to a due packet the loop
//! spins instead.

use std::fs;
use std::io;
use std::time::Duration;

use dataplane::time::{MICROSECOND_NS, Time};

/// Longest sleep: the most by which an arrival may be noticed late.
const SLEEP_NS_MAX: u64 = 40 * MICROSECOND_NS;
/// What a sleep overruns on an idle machine, with the timer slack at its least.
const OVERRUN_NS: u64 = 12 * MICROSECOND_NS;
/// A sleep that is not worth its system call.
const SLEEP_NS_MIN: u64 = 4 * MICROSECOND_NS;
/// The main thread's timer slack: how late the kernel may end a sleep to save a wake-up.
const TIMER_SLACK_FILE: &str = "/proc/self/timerslack_ns";
const TIMER_SLACK_NS: &str = "1";

const _: () = assert!(SLEEP_NS_MIN < SLEEP_NS_MAX);

/// Makes the main thread's sleeps end on time (50 us of slack is the default).
///
/// # Errors
///
/// When the kernel does not let it.
pub fn precise_sleeps() -> io::Result<()> {
    fs::write(TIMER_SLACK_FILE, TIMER_SLACK_NS)
}

/// How long to sleep at `now` when the next packet is due at `next`; `None` is to spin.
#[must_use]
pub fn sleep_for(now: Time, next: Time) -> Option<Duration> {
    let left_ns = next.since_ns(now).saturating_sub(OVERRUN_NS).min(SLEEP_NS_MAX);
    (left_ns >= SLEEP_NS_MIN).then(|| Duration::from_nanos(left_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_are_short_and_none_reaches_into_a_due_packet() {
        let now = Time::from_ms(1);
        let sleep_ns = |left_ns: u64| sleep_for(now, now + left_ns).map(|sleep| sleep.as_nanos());
        assert_eq!(sleep_for(now, Time::NEVER), Some(Duration::from_nanos(SLEEP_NS_MAX)));
        assert_eq!(sleep_ns(30_000), Some(18_000));
        assert_eq!(sleep_ns(15_000), None);
        assert_eq!(sleep_for(now, Time::ZERO), None);
    }
}
