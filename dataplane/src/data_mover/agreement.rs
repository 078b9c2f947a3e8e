//! What both ends must agree on, while a session is up: a digest of it is told when it changes.
//!
//! In: digests of both ends, the time. Out: whether they agree, and when ours is to be told. Never:
//! an end of the session: what is agreed on counts again when the next one is set up.

use super::session::Session;
use crate::time::{MILLISECOND_NS, SECOND_NS, Time};

/// Time between two times that ours is told while the ends disagree, in nanoseconds.
const REPEAT_NS: u64 = SECOND_NS;
/// Shortest time between two times that it is told, in nanoseconds.
const APART_NS: u64 = 200 * MILLISECOND_NS;
const _: () = assert!(APART_NS < REPEAT_NS, "an answer would come later than the question again");

/// What the peer has said, and when ours is to be told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreement {
    theirs: u64,
    due: Time,
    told_at: Time,
}

impl Agreement {
    /// A session begins, with ends that agree on this.
    pub(super) fn new(theirs: u64) -> Self {
        Agreement { theirs, due: Time::NEVER, told_at: Time::ZERO }
    }

    /// When ours is to be told.
    pub(super) fn due(&self) -> Time {
        self.due
    }

    /// Whether the ends agree.
    pub(super) fn is_with(&self, ours: u64) -> bool {
        self.theirs == ours
    }

    /// Ours was told.
    pub(super) fn told(&mut self, now: Time, ours: u64) {
        self.told_at = now;
        self.due = if self.is_with(ours) { Time::NEVER } else { now + REPEAT_NS };
    }

    /// The peer tells its own. It does so while it thinks that we disagree: if we do not, it has
    /// missed our last word.
    pub(super) fn heard(&mut self, now: Time, theirs: u64, ours: u64) {
        let agreed = self.is_with(ours);
        self.theirs = theirs;
        let answer = match (self.is_with(ours), agreed) {
            (true, true) => self.told_at + APART_NS,
            (true, false) => Time::NEVER,
            (false, _) => (self.told_at + REPEAT_NS).max(now),
        };
        self.due = self.due.min(answer);
    }
}

impl Session {
    /// What both ends must agree on has changed. It is told at once; a session that is up stays,
    /// and says in its report that the ends disagree.
    pub fn set_digest(&mut self, digest: u64) {
        if digest != self.us.digest
            && let Some(established) = &mut self.established
        {
            established.agreement.due = Time::ZERO;
        }
        self.config.digest = digest;
        self.us.digest = digest;
    }

    /// Whether both ends agree; `None` before a session is up.
    pub(super) fn agrees(&self) -> Option<bool> {
        self.established.map(|established| established.agreement.is_with(self.us.digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_repeated_while_the_ends_disagree_and_asked_back_once_when_they_do_not() {
        let mut agreement = Agreement::new(1);
        assert!(agreement.is_with(1));
        agreement.heard(Time::from_ms(1_000), 2, 1);
        assert_eq!(agreement.due(), Time::from_ms(1_000));
        agreement.told(Time::from_ms(1_000), 1);
        assert_eq!(agreement.due(), Time::from_ms(2_000));
        agreement.told(Time::from_ms(2_000), 1);
        // We are reconfigured alike, and say so; that is lost, so it tells its own again.
        agreement.told(Time::from_ms(2_500), 2);
        assert_eq!(agreement.due(), Time::NEVER);
        agreement.heard(Time::from_ms(3_000), 2, 2);
        assert_eq!(agreement.due(), Time::from_ms(2_700), "at once");
        agreement.told(Time::from_ms(3_000), 2);
        agreement.heard(Time::from_ms(3_001), 2, 2);
        assert_eq!(agreement.due(), Time::from_ms(3_200), "but not as often as it likes");
    }
}
