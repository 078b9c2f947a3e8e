//! The ordered stop, step by step: what is admitted no more, ends or is reset; what was said about
//! it arrives; then the peers are told that we go.
//!
//! In: the time, a step. Out: whether a worker has done its part of it. Never: a step that waits
//! for what a later one does; whoever asks bounds the wait and goes on, whatever is left.

use super::links::Links;
use super::worker::Worker;
use crate::data_mover::CloseReason;
use crate::frame::Frame;
use crate::time::{MILLISECOND_NS, SECOND_NS, Time};

/// What the last words may take beside round trips, in nanoseconds.
const LAST_WORDS_NS: u64 = 300 * MILLISECOND_NS;
/// Round trips that they may take: one, and another two for each that is lost.
const LAST_WORDS_ROUND_TRIPS: u64 = 4;
/// The most they may take, however long the round trip.
const LAST_WORDS_NS_MAX: u64 = 5 * SECOND_NS;
/// What closing may take, in nanoseconds: it is told three times within 40 ms.
const CLOSE_NS: u64 = 300 * MILLISECOND_NS;

/// A step. The next one begins when all workers have done it, or its time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopStep {
    /// No new flows; those that there are may end by themselves.
    Drain,
    /// The others are reset on both sides; edges say so.
    Reset,
    /// Messages leave the packet driver.
    Aggregate,
    /// Buffers leave compression.
    Compress,
    /// The peers acknowledge them.
    Transmit,
    /// The peers are told that we go.
    Close,
    /// The last frames leave the ports.
    Leave,
}

/// For how long a stop may wait, from the start of each part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopLimits {
    /// Flows may take this long to end by themselves, in nanoseconds.
    pub drain_ns: u64,
    /// From the resets to their acknowledgement by the peers, in nanoseconds.
    pub last_words_ns: u64,
    /// From the close to its last frame, in nanoseconds.
    pub close_ns: u64,
}

impl StopLimits {
    /// Limits with this time to drain, and a longest round trip to a peer of `rtt_ns`.
    #[must_use]
    pub fn new(drain_ns: u64, rtt_ns: u64) -> Self {
        let round_trips_ns = rtt_ns.saturating_mul(LAST_WORDS_ROUND_TRIPS);
        let last_words_ns = round_trips_ns.saturating_add(LAST_WORDS_NS).min(LAST_WORDS_NS_MAX);
        StopLimits { drain_ns, last_words_ns, close_ns: CLOSE_NS }
    }
}

impl StopStep {
    /// All steps, in order, by the parts that share a limit.
    #[must_use]
    pub fn parts(limits: &StopLimits) -> [(u64, &'static [StopStep]); 3] {
        use StopStep::{Aggregate, Close, Compress, Drain, Leave, Reset, Transmit};
        [
            (limits.drain_ns, &[Drain]),
            (limits.last_words_ns, &[Reset, Aggregate, Compress, Transmit]),
            (limits.close_ns, &[Close, Leave]),
        ]
    }
}

impl<F: Frame> Worker<F> {
    /// Does what a step asks of the stages of this worker; says whether that is done. To be called
    /// again after some turns until it is.
    pub fn stop(&mut self, now: Time, step: StopStep) -> bool {
        let links = &mut self.links;
        match step {
            StopStep::Drain => self.edge.as_mut().is_none_or(|edge| {
                edge.stop_admitting();
                edge.is_empty()
            }),
            StopStep::Reset => self.edge.as_mut().is_none_or(|edge| {
                edge.reset_all(now);
                edge.has_said_all()
            }),
            StopStep::Aggregate => self.aggregate.as_ref().is_none_or(|aggregate| {
                aggregate.is_empty() && links.messages.iter().all(|link| link.waiting() == 0)
            }),
            StopStep::Compress => {
                links.of_compress().is_none_or(|(buffers, _)| buffers.waiting() == 0)
            }
            StopStep::Transmit => self
                .transmit
                .as_mut()
                .is_none_or(|transmit| links.packed.is_empty() && transmit.is_drained()),
            StopStep::Close => self.transmit.as_mut().is_none_or(|transmit| {
                transmit.close(now, CloseReason::Stopping);
                transmit.next_timeout() == Time::NEVER
            }),
            StopStep::Leave => {
                self.port.as_ref().is_none_or(|port| port.is_idle() && has_no_frames(links))
            }
        }
    }
}

/// Whether no frame waits for a port.
fn has_no_frames<F>(links: &Links<F>) -> bool {
    let of_edges = || links.edge_frames.iter().flatten();
    links.datagrams_out.waiting() == 0 && of_edges().all(|link| link.waiting() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_have_round_trips_and_a_limit() {
        let last_words_ns = |rtt_ns| StopLimits::new(0, rtt_ns).last_words_ns;
        assert_eq!(last_words_ns(0), 300 * MILLISECOND_NS);
        assert_eq!(last_words_ns(600 * MILLISECOND_NS), 2_700 * MILLISECOND_NS);
        assert_eq!(last_words_ns(u64::MAX), 5 * SECOND_NS);
    }

    #[test]
    fn the_steps_are_in_order() {
        let parts = StopStep::parts(&StopLimits::new(1, 1));
        let steps: Vec<StopStep> =
            parts.iter().flat_map(|(_, steps)| steps.iter().copied()).collect();
        assert!(steps.is_sorted() && steps.len() == 7);
    }
}
