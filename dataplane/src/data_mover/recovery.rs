//! Loss detection: when a transmission that is missing is lost, and when silence is a question.
//!
//! As RACK-TLP (RFC 8985) has it: what was sent long enough before something that has arrived is
//! lost. "Long enough" is the reordering window, which grows with the reordering that is seen, so
//! that jitter is not loss. Every transmission has a number of its own, so one that is lost twice
//! is found as quickly as one that is lost once.

use std::collections::VecDeque;

use super::rtt::Rtt;
use crate::time::{MILLISECOND_NS, Time};

/// Longest time in nanoseconds for which a receiver delays an acknowledgement.
pub(super) const ACK_DELAY_NS_MAX: u64 = 25 * MILLISECOND_NS;
/// Shortest such time in nanoseconds.
pub(super) const ACK_DELAY_NS_MIN: u64 = MILLISECOND_NS;
/// Time without acknowledgements in nanoseconds after which the next one is not delayed beyond the
/// shortest time.
pub(super) const ACK_QUIET_NS: u64 = 100 * MILLISECOND_NS;
/// The shortest reordering window is this part of the round trip: where none was seen, and where
/// some was.
const UNSEEN_PART: u64 = 16;
const SEEN_PART: u64 = 8;
/// Shortest reordering window in nanoseconds.
const REORDERING_NS_MIN: u64 = MILLISECOND_NS;
/// Round trips without reordering after which the window shrinks.
const REORDERING_MEMORY_RTTS: u64 = 64;
/// Longest time between probes in nanoseconds, unless the round trip is longer.
const PROBE_NS_MAX: u64 = 500 * MILLISECOND_NS;
/// Doublings of the time between probes, and probes between two of them: bursts of loss can be
/// longer than a few datagrams.
const PROBE_DOUBLINGS_MAX: u32 = 8;
const PROBES_PER_DOUBLING: u32 = 4;

/// How long an answer takes, at most, in nanoseconds.
pub(super) fn answer_ns(rtt: &Rtt) -> u64 {
    round_ns(rtt) + ACK_DELAY_NS_MAX
}

/// A round trip and what it varies by, in nanoseconds.
fn round_ns(rtt: &Rtt) -> u64 {
    let smoothed_ns = rtt.smoothed_ns();
    smoothed_ns + (4 * rtt.variation_ns()).min(smoothed_ns).max(MILLISECOND_NS)
}

/// What is known of reordering, and since when there is silence.
#[derive(Debug)]
pub(super) struct Recovery {
    /// Numbers seen missing, in the order in which they were; some have arrived since.
    missing: VecDeque<u64>,
    missing_max: usize,
    /// When the latest transmission that has arrived was sent.
    arrived_sent_at: Time,
    /// Greatest time by which one was overtaken, in nanoseconds, fading.
    overtaken_ns: u64,
    overtaken_at: Time,
    /// The latest sign of life, or the latest probe.
    progress_at: Time,
    probes: u32,
    /// The latest acknowledgement, with news or without.
    heard_at: Time,
    /// Whether what is in flight was sent after so long a quiet that the peer answers it at once.
    answered_at_once: bool,
}

impl Recovery {
    /// Keeps track of at most `missing_max` missing transmissions.
    pub(super) fn new(missing_max: usize) -> Self {
        Recovery {
            missing: VecDeque::with_capacity(missing_max),
            missing_max,
            arrived_sent_at: Time::ZERO,
            overtaken_ns: 0,
            overtaken_at: Time::ZERO,
            progress_at: Time::ZERO,
            probes: 0,
            heard_at: Time::ZERO,
            answered_at_once: false,
        }
    }

    /// Forgets everything.
    pub(super) fn reset(&mut self, now: Time) {
        self.missing.clear();
        self.arrived_sent_at = Time::ZERO;
        self.overtaken_ns = 0;
        (self.progress_at, self.heard_at) = (now, now);
        self.probes = 0;
        self.answered_at_once = false;
    }

    /// How much later something may have been sent and arrive earlier, in nanoseconds.
    pub(super) fn reordering_ns(&self, rtt: &Rtt) -> u64 {
        let part = if self.overtaken_ns == 0 { UNSEEN_PART } else { SEEN_PART };
        let base_ns = (rtt.min_ns() / part).max(REORDERING_NS_MIN);
        let seen_ns = self.overtaken_ns + self.overtaken_ns / 4;
        seen_ns.min(rtt.smoothed_ns()).max(base_ns)
    }

    /// A number was covered by a zero for the first time; false when there is no room to note it.
    pub(super) fn missing(&mut self, number: u64) -> bool {
        if self.missing.len() >= self.missing_max {
            return false;
        }
        self.missing.push_back(number);
        true
    }

    /// The number that has been missing for longest.
    pub(super) fn first_missing(&self) -> Option<u64> {
        self.missing.front().copied()
    }

    /// It is not missing any more.
    pub(super) fn pop_missing(&mut self) {
        self.missing.pop_front();
    }

    /// Something arrived that was sent at `sent_at`; `overtaken` when it had been missing.
    pub(super) fn arrived(&mut self, now: Time, sent_at: Time, overtaken: bool) {
        if overtaken {
            let by_ns = self.arrived_sent_at.since_ns(sent_at);
            if by_ns >= self.overtaken_ns {
                (self.overtaken_ns, self.overtaken_at) = (by_ns, now);
            }
        }
        self.arrived_sent_at = self.arrived_sent_at.max(sent_at);
    }

    /// An acknowledgement came, with news or without.
    pub(super) fn heard(&mut self, now: Time) {
        self.heard_at = now;
    }

    /// An acknowledgement brought news: the path is alive.
    pub(super) fn progress(&mut self, now: Time, rtt: &Rtt) {
        self.progress_at = now;
        self.probes = 0;
        self.answered_at_once = false;
        if now.since_ns(self.overtaken_at) > REORDERING_MEMORY_RTTS * rtt.smoothed_ns() {
            self.overtaken_ns -= self.overtaken_ns / 4;
            self.overtaken_at = now;
        }
    }

    /// Something that is answered was sent.
    pub(super) fn sent(&mut self, now: Time) {
        self.progress_at = self.progress_at.max(now);
    }

    /// Something that is answered is sent, with nothing before it on its way.
    pub(super) fn begin(&mut self, now: Time) {
        self.answered_at_once = now.since_ns(self.heard_at) >= ACK_QUIET_NS;
    }

    /// Whether something sent at `sent_at` was overtaken by more than the reordering window.
    pub(super) fn is_overdue(&self, sent_at: Time, rtt: &Rtt) -> bool {
        self.arrived_sent_at.since_ns(sent_at) >= self.reordering_ns(rtt)
    }

    /// When something missing, sent at `sent_at`, is lost even if nothing more is heard, where
    /// acknowledgements are `spacing_ns` apart on average.
    pub(super) fn lost_at(&self, sent_at: Time, rtt: &Rtt, spacing_ns: u64) -> Time {
        let rtt_ns = rtt.latest_ns().max(rtt.smoothed_ns());
        // Had it come late, that would be acknowledged as soon as acknowledgements follow each
        // other: the one that covered it with a zero was not the last.
        // Where some overtake others, the window may still be too short, and an acknowledgement may
        // be lost.
        let ack_ns = match self.overtaken_ns {
            0 => (rtt.smoothed_ns() / 16 + MILLISECOND_NS).min(ACK_DELAY_NS_MAX),
            _ => ACK_DELAY_NS_MAX.max(3 * spacing_ns),
        };
        sent_at + rtt_ns + self.reordering_ns(rtt) + ack_ns
    }

    /// When silence calls for a probe, given that something is in flight (RFC 9002 section 6.2;
    /// two round trips at most, RFC 8985 section 7.2).
    pub(super) fn probe_at(&self, rtt: &Rtt) -> Time {
        if self.answered_at_once && self.probes == 0 {
            return self.progress_at + round_ns(rtt) + 2 * ACK_DELAY_NS_MIN;
        }
        let once_ns = answer_ns(rtt);
        let doubled_ns = once_ns << (self.probes / PROBES_PER_DOUBLING).min(PROBE_DOUBLINGS_MAX);
        self.progress_at + doubled_ns.min(PROBE_NS_MAX.max(once_ns))
    }

    /// A probe is sent.
    pub(super) fn probed(&mut self, now: Time) {
        self.progress_at = now;
        self.probes += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = MILLISECOND_NS;

    fn rtt_80() -> Rtt {
        let mut rtt = Rtt::new();
        rtt.sample(Time::from_ms(80), 80 * MS, 0);
        rtt
    }

    #[test]
    fn the_window_grows_with_reordering_and_shrinks_again() {
        let rtt = rtt_80();
        let mut recovery = Recovery::new(8);
        assert_eq!(recovery.reordering_ns(&rtt), 5 * MS);
        recovery.arrived(Time::from_ms(200), Time::from_ms(140), false);
        recovery.arrived(Time::from_ms(201), Time::from_ms(100), true);
        assert_eq!(recovery.reordering_ns(&rtt), 50 * MS);
        recovery.arrived(Time::from_ms(201), Time::from_ms(20), true);
        assert_eq!(recovery.reordering_ns(&rtt), 80 * MS, "never more than a round trip");
        for i in 1..40 {
            recovery.progress(Time::from_ms(201 + i * 65 * 80), &rtt);
        }
        assert_eq!(recovery.reordering_ns(&rtt), 10 * MS);
    }

    #[test]
    fn what_was_overtaken_by_the_window_is_overdue() {
        let rtt = rtt_80();
        let mut recovery = Recovery::new(8);
        recovery.arrived(Time::from_ms(200), Time::from_ms(110), false);
        assert!(recovery.is_overdue(Time::from_ms(105), &rtt));
        assert!(!recovery.is_overdue(Time::from_ms(106), &rtt));
        // A little reordering makes it twice as long at once.
        recovery.arrived(Time::from_ms(201), Time::from_ms(109), true);
        assert!(recovery.is_overdue(Time::from_ms(100), &rtt));
        assert!(!recovery.is_overdue(Time::from_ms(101), &rtt));
    }

    #[test]
    fn after_a_quiet_the_first_probe_waits_for_no_delayed_acknowledgement() {
        let rtt = rtt_80();
        let mut recovery = Recovery::new(8);
        recovery.heard(Time::from_ms(1_000));
        recovery.begin(Time::from_ms(1_099));
        recovery.sent(Time::from_ms(1_099));
        assert_eq!(recovery.probe_at(&rtt), Time::from_ms(1_099 + 80 + 80 + 25));
        recovery.begin(Time::from_ms(1_100));
        recovery.sent(Time::from_ms(1_100));
        assert_eq!(recovery.probe_at(&rtt), Time::from_ms(1_100 + 80 + 80 + 2));
        // The next may be delayed: by then the peer has answered.
        recovery.probed(Time::from_ms(1_262));
        assert_eq!(recovery.probe_at(&rtt), Time::from_ms(1_262 + 80 + 80 + 25));
        recovery.progress(Time::from_ms(1_350), &rtt);
        assert_eq!(recovery.probe_at(&rtt), Time::from_ms(1_350 + 80 + 80 + 25));
    }

    #[test]
    fn probes_back_off_up_to_half_a_second() {
        let rtt = rtt_80();
        let mut recovery = Recovery::new(8);
        recovery.sent(Time::from_ms(100));
        let first = recovery.probe_at(&rtt);
        assert_eq!(first, Time::from_ms(100 + 80 + 80 + 25));
        (1..4).for_each(|_| recovery.probed(first));
        assert_eq!(recovery.probe_at(&rtt), first + 185 * MS);
        recovery.probed(first);
        assert_eq!(recovery.probe_at(&rtt), first + 2 * 185 * MS);
        (4..8).for_each(|_| recovery.probed(first));
        assert_eq!(recovery.probe_at(&rtt), first + 500 * MS);
        recovery.progress(Time::from_ms(1_000), &rtt);
        assert_eq!(recovery.probe_at(&rtt), Time::from_ms(1_000 + 185));
    }
}
