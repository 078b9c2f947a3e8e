//! How the loop waits: precise, without burning a core.
//!
//! In: whether there was work, and when the next packet is due. Out: a thread that slept for the
//! right time, or not at all.
//!
//! A port cannot wake the loop, so the arrival of a frame is known only to within the latest sleep;
//! that bounds its length. A sleep always ends a little late, so close to a due packet the loop
//! spins instead. A link that nobody uses is looked at less often.

use std::fs;
use std::io;
use std::time::Duration;

use dataplane::time::{MICROSECOND_NS, MILLISECOND_NS, SECOND_NS, Time};

/// Longest sleep: what the time of an arrival may be wrong by.
const SLEEP_NS_MAX: u64 = 60 * MICROSECOND_NS;
/// Longest sleep on a link that is not in use: only the first frame after the silence notices.
const SLEEP_QUIET_NS_MAX: u64 = MILLISECOND_NS;
/// A link on which nothing moved for this long is not in use.
const QUIET_AFTER_NS: u64 = 3 * SECOND_NS;
/// What a sleep overruns, with the timer slack at its least.
const OVERRUN_NS: u64 = 20 * MICROSECOND_NS;
/// A sleep that is not worth its system call.
const SLEEP_NS_MIN: u64 = 4 * MICROSECOND_NS;
/// The main thread's timer slack: how late the kernel may end a sleep to save a wake-up.
const TIMER_SLACK_FILE: &str = "/proc/self/timerslack_ns";
const TIMER_SLACK_NS: &str = "1";

const _: () = assert!(SLEEP_NS_MIN < SLEEP_NS_MAX && SLEEP_NS_MAX < SLEEP_QUIET_NS_MAX);

/// Makes the main thread's sleeps end on time (50 us of slack is the default).
///
/// # Errors
///
/// When the kernel does not let it.
pub fn precise_sleeps() -> io::Result<()> {
    fs::write(TIMER_SLACK_FILE, TIMER_SLACK_NS)
}

/// How long to sleep at `now` when the next packet is due at `next` and something last moved at
/// `moved`; `None` is to spin.
#[must_use]
pub fn sleep_for(now: Time, next: Time, moved: Time) -> Option<Duration> {
    let quiet = now.since_ns(moved) > QUIET_AFTER_NS;
    let max_ns = if quiet { SLEEP_QUIET_NS_MAX } else { SLEEP_NS_MAX };
    let left_ns = next.since_ns(now).saturating_sub(OVERRUN_NS).min(max_ns);
    (left_ns >= SLEEP_NS_MIN).then(|| Duration::from_nanos(left_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_are_short_and_none_reaches_into_a_due_packet() {
        let now = Time::from_ms(5000);
        let sleep = |left_ns: u64| {
            sleep_for(now, now + left_ns, now).map(|sleep| u64::try_from(sleep.as_nanos()).unwrap())
        };
        assert_eq!(sleep(u64::MAX), Some(SLEEP_NS_MAX));
        assert_eq!(sleep(OVERRUN_NS + 18_000), Some(18_000));
        assert_eq!(sleep(OVERRUN_NS + SLEEP_NS_MIN - 1), None);
        assert_eq!(sleep_for(now, Time::ZERO, now), None);
    }

    #[test]
    fn only_a_link_that_was_silent_for_long_is_left_alone_for_longer() {
        let moved = Time::from_ms(1);
        let sleep = |now| sleep_for(now, Time::NEVER, moved);
        let (short, long) =
            (Duration::from_nanos(SLEEP_NS_MAX), Duration::from_nanos(SLEEP_QUIET_NS_MAX));
        assert_eq!(sleep(moved + QUIET_AFTER_NS), Some(short));
        assert_eq!(sleep(moved + QUIET_AFTER_NS + 1), Some(long));
    }
}
