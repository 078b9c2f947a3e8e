//! What a queue that stays when little is sent is: others', our own, or none.
//!
//! In: how round trips answered to dips, rounds of so little that a queue of ours is gone. Out:
//! whether the round trip that was seen is one without a queue. Never: a rate.

use super::super::share::{PERCENT, WHOLE, scaled};

/// A queue that answers with more than this part of what is due when it is all ours is ours; one that
/// answers with less than that is none, the path itself is long.
const ALONE_PPM: u64 = 7 * WHOLE / 10;
const LONGER_PPM: u64 = WHOLE / 12;
/// More than this lost beyond random loss is lost by a queue.
const FULL_PPM: u64 = 5 * PERCENT;
/// Times in a row that a queue stays before it is taken for the path itself: one of others, and our
/// own.
const SHARED_DIPS: u32 = 32;
const ALONE_DIPS: u32 = 6;
/// The same of a short queue.
const SOME_DIPS: u32 = 2;

/// How round trips answered, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answer {
    /// By how much they were longer than without a queue all the same.
    pub(super) left_ns: u64,
    /// By how much they had become shorter.
    pub(super) shorter_ns: u64,
    /// By how much, where nobody else sends.
    pub(super) alone_ns: u64,
    /// The same, where others send as much as is known of them.
    pub(super) beside_ns: u64,
    /// A queue that is no longer than this is as it should be.
    pub(super) target_ns: u64,
    /// One that is no longer than this is none.
    pub(super) none_ns: u64,
    /// One that is longer than this is long.
    pub(super) long_ns: u64,
    /// What was lost beyond random loss, in millionths.
    pub(super) excess_ppm: u64,
    /// It was the end of start-up.
    pub(super) started: bool,
}

/// What a dip has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A queue: the round trip without one is what it was.
    Queue,
    /// The path without a queue.
    Path,
    /// The same, and it is longer than it was.
    LongerPath,
}

/// The latest dips.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dips {
    /// A queue stayed in so many in a row.
    stayed: u32,
    /// The same with the same answer, and how often that is believed.
    same: u32,
    same_max: u32,
    shared: bool,
}

impl Dips {
    /// Learns from a dip.
    pub(super) fn judge(&mut self, answer: &Answer) -> Seen {
        let alone = answer.shorter_ns > scaled(answer.alone_ns, ALONE_PPM, WHOLE);
        let due_ns = if self.shared { answer.beside_ns } else { answer.alone_ns };
        // A queue that overflows all the time does not become shorter either.
        let longer = answer.left_ns > answer.target_ns
            && answer.shorter_ns < scaled(due_ns, LONGER_PPM, WHOLE)
            && answer.excess_ppm < FULL_PPM;
        let long = answer.left_ns > answer.long_ns;
        let believed = match (long, alone) {
            (true, false) => SHARED_DIPS,
            (true, true) => ALONE_DIPS,
            (false, false) if answer.left_ns > answer.none_ns && !answer.started => SOME_DIPS,
            (false, _) => 0,
        };
        self.same = if self.same_max == believed { self.same + 1 } else { 1 };
        self.same_max = believed;
        self.stayed += 1;
        if !longer && self.same <= believed && self.stayed <= SHARED_DIPS {
            // Others keep their queue, or it was too long for one round.
            self.shared = long && !alone;
            return Seen::Queue;
        }
        *self = Dips::default();
        if longer { Seen::LongerPath } else { Seen::Path }
    }

    /// Whether a queue stayed the last time.
    pub(super) fn stayed(&self) -> bool {
        self.stayed > 0
    }

    /// Whether a long one stayed that is not ours.
    pub(super) fn is_shared(&self) -> bool {
        self.shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::MILLISECOND_NS;

    /// 20 ms less are due of a queue that is all ours; one of 10 ms is long, one of 2 ms is none.
    const ANSWER: Answer = Answer {
        left_ns: 0,
        shorter_ns: 0,
        alone_ns: 20 * MILLISECOND_NS,
        beside_ns: 5 * MILLISECOND_NS,
        target_ns: 4 * MILLISECOND_NS,
        none_ns: 2 * MILLISECOND_NS,
        long_ns: 10 * MILLISECOND_NS,
        excess_ppm: 0,
        started: false,
    };

    /// Dips with the same answer until one shows the path; their number and what that shows.
    fn dips_until_path(dips: &mut Dips, answer: &Answer) -> (u32, Seen) {
        (1..=100)
            .map(|number| (number, dips.judge(answer)))
            .find(|(_, seen)| *seen != Seen::Queue)
            .expect("it is believed some time")
    }

    fn answer(left_ms: u64, shorter_ms: u64) -> Answer {
        Answer {
            left_ns: left_ms * MILLISECOND_NS,
            shorter_ns: shorter_ms * MILLISECOND_NS,
            ..ANSWER
        }
    }

    #[test]
    fn no_queue_is_the_path() {
        for shorter_ms in [0, 5, 20] {
            assert_eq!(Dips::default().judge(&answer(1, shorter_ms)), Seen::Path);
        }
    }

    #[test]
    fn a_queue_that_answers_in_part_is_of_others_for_long() {
        let mut dips = Dips::default();
        assert_eq!(dips.judge(&answer(30, 8)), Seen::Queue);
        assert!(dips.is_shared() && dips.stayed());
        assert_eq!(dips_until_path(&mut dips, &answer(30, 8)), (SHARED_DIPS, Seen::Path));
        assert!(!dips.is_shared() && !dips.stayed());
    }

    #[test]
    fn a_queue_that_answers_wholly_is_ours_and_soon_gone() {
        let mut dips = Dips::default();
        assert_eq!(dips.judge(&answer(30, 18)), Seen::Queue);
        assert!(!dips.is_shared() && dips.stayed());
        assert_eq!(dips_until_path(&mut dips, &answer(30, 18)), (ALONE_DIPS, Seen::Path));
    }

    #[test]
    fn a_queue_that_does_not_answer_at_all_is_a_longer_path_unless_it_overflows() {
        assert_eq!(Dips::default().judge(&answer(30, 1)), Seen::LongerPath);
        let full = Answer { excess_ppm: FULL_PPM, ..answer(30, 1) };
        assert_eq!(Dips::default().judge(&full), Seen::Queue);
    }

    #[test]
    fn beside_others_no_more_is_due_than_our_share() {
        let mut dips = Dips::default();
        assert_eq!(dips.judge(&answer(30, 8)), Seen::Queue);
        // A twentieth of what were due if all were ours, a fifth of what is.
        assert_eq!(dips.judge(&answer(30, 1)), Seen::Queue);
        assert!(dips.is_shared());
        assert_eq!(dips.judge(&answer(30, 0)), Seen::LongerPath);
    }

    #[test]
    fn a_short_queue_that_stays_is_believed_after_some_dips_and_at_once_after_start_up() {
        let mut dips = Dips::default();
        assert_eq!(dips_until_path(&mut dips, &answer(3, 5)), (SOME_DIPS + 1, Seen::Path));
        let started = Answer { started: true, ..answer(3, 5) };
        assert_eq!(Dips::default().judge(&started), Seen::Path);
    }

    #[test]
    fn other_answers_begin_anew() {
        let mut dips = Dips::default();
        for _ in 0..3 {
            assert_eq!(dips.judge(&answer(3, 5)), Seen::Queue);
            assert_eq!(dips.judge(&answer(30, 18)), Seen::Queue);
        }
        assert_eq!(dips_until_path(&mut dips, &answer(30, 8)).0, SHARED_DIPS - 5);
    }
}
