//! Datagrams that are late: given up, so that the link carries what is still of use.
//!
//! In: the time, and when what is sent now arrives. Out: how many were given up, and why. Never: a
//! buffer without a deadline.

use super::{ABANDONED_MAX, LANES, Outbound, Range};
use crate::time::Time;

/// Buffers given up because they are late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Late {
    /// Never sent.
    pub(in super::super) expired: u64,
    /// Sent, and lost in part.
    pub(in super::super) abandoned: u64,
}

impl Outbound {
    /// Gives up datagrams that are late: those whose deadline came before they were sent, and those
    /// lost whose deadline comes before they could be there (`arrives_at`) if they were sent again.
    pub(in super::super) fn give_up_late(&mut self, now: Time, arrives_at: Time) -> Late {
        let mut late = Late::default();
        if self.timed == 0 {
            return late;
        }
        for lane in 0..LANES {
            while let Some(Range { logical, .. }) = self.front_lost(lane)
                && self.is_late(logical, arrives_at)
            {
                self.abandon(logical);
                late.abandoned += 1;
            }
            while let Some(number) = self.fresh.front(lane) {
                if !self.is_done(number) {
                    let unsent = self.get(number).is_some_and(|buffer| buffer.sent == 0);
                    if !unsent || !self.is_late(number, now) {
                        break;
                    }
                    self.abandon(number);
                    late.expired += 1;
                }
                self.fresh.pop_front(lane);
            }
        }
        late
    }

    fn is_late(&self, number: u64, at: Time) -> bool {
        let deadline = self.get(number).and_then(|buffer| buffer.deadline);
        deadline.is_some_and(|deadline| deadline <= at)
    }

    /// Gives up a buffer, and notes that the peer is to be told.
    pub(super) fn abandon(&mut self, number: u64) {
        if self.abandoned.len() == ABANDONED_MAX {
            self.abandoned.pop_front();
        }
        self.abandoned.push_back(number);
        self.finish(number);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{OPEN, buffer, range};
    use super::super::{Lane, Lost};
    use super::*;
    use crate::packet_driver::{BufferKind, Class};

    #[test]
    fn a_lost_datagram_is_sent_again_only_while_it_comes_in_time() {
        let at = Time::from_ms;
        for (arrives_at, again) in [(at(99), true), (at(100), false)] {
            let mut out = Outbound::new(64, 64);
            out.push(BufferKind::Datagram, Lane::BULK, Some(at(100)), buffer(2_000));
            let piece = out.choose(1_400, true, &OPEN).unwrap().piece;
            out.choose(1_400, true, &OPEN).unwrap();
            assert_eq!(out.lost(range(&piece)), Lost::Queued);
            let late = out.give_up_late(at(50), arrives_at);
            assert_eq!(late, Late { expired: 0, abandoned: u64::from(!again) });
            let chosen = out.choose(1_400, true, &OPEN);
            assert_eq!(
                chosen.map(|chosen| (chosen.piece.len, chosen.again)),
                again.then_some((1_400, true))
            );
            assert_eq!(out.abandoned().count(), usize::from(!again));
            assert_eq!(out.is_empty(), !again);
        }
    }

    #[test]
    fn a_datagram_that_waited_beyond_its_deadline_is_not_sent() {
        let mut out = Outbound::new(64, 64);
        let first = Lane::new(Class(1), false);
        out.push(BufferKind::Datagram, first, Some(Time::from_ms(10)), buffer(2_000));
        out.push(BufferKind::Datagram, first, Some(Time::from_ms(10)), buffer(300));
        out.push(BufferKind::Datagram, first, None, buffer(100));
        out.choose(1_400, true, &OPEN).unwrap();
        let late =
            |out: &mut Outbound, ms| out.give_up_late(Time::from_ms(ms), Time::from_ms(ms + 5));
        // What was begun is sent whole: it will hardly come later than its first part.
        assert_eq!(late(&mut out, 20), Late::default());
        assert_eq!(out.choose(605, true, &OPEN).unwrap().piece.logical, 0);
        assert_eq!(late(&mut out, 20), Late { expired: 1, abandoned: 0 });
        assert_eq!(out.choose(1_400, true, &OPEN).unwrap().piece.logical, 2);
        assert_eq!((out.abandoned().collect::<Vec<_>>(), out.queued_bytes()), (vec![1], 0));
    }
}
