//! How the frames of the pool are divided.
//!
//! In: how many frames there are. Out: limits of what may hold them for long. Never: so many that
//! a WAN that stands still leaves none to receive into and to send from.

use super::links::{FRAMES, UPSTREAM};
use crate::edge::packet_mode::WAITING_MAX;
use crate::edge::stage::{BURST, UPSTREAM_BUSY};
use crate::interceptor::reassembly::{FRAGMENTS_MAX, PACKETS_MAX};

/// Fewest frames that an appliance works with.
pub const FRAMES_MIN: usize = 4096;

/// Part for messages that wait to be aggregated: `1 / MESSAGES_SHARE`.
const MESSAGES_SHARE: usize = 4;
/// Part for frames behind gaps: `1 / HELD_SHARE`.
const HELD_SHARE: usize = 8;
/// Frames that wait for one port: they leave by themselves, at the port's rate.
const OUTPUT_SHARE: usize = 8;
/// Frames that large segments to hosts, of many frames each, leave for others.
const SPARE_SHARE: usize = 2;
/// Messages without data (they hold no frame) that find a place beside those with data.
const CONTROL_SHARE: usize = 16;

/// What else holds frames at each edge while the WAN stands still, by limits that do not grow with the
/// pool: links towards the packet driver, the queue before them, packets and fragments that wait for
/// something.
const FIXED: usize =
    FRAMES + UPSTREAM + UPSTREAM_BUSY + BURST + WAITING_MAX + PACKETS_MAX * FRAGMENTS_MAX;

const _: () = assert!(
    FrameBudget::stalled_max(FRAMES_MIN, 1) + 2 * (256 + 32) + FrameBudget::SENDING <= FRAMES_MIN,
    "with the fewest frames, two ports with queues of 256 still receive, and the data mover sends"
);

/// Limits that follow from the number of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameBudget {
    /// Messages that wait to be aggregated, with data or without.
    pub messages: usize,
    /// Of these, only for those without.
    pub control_reserve: usize,
    /// Frames behind gaps, of all connections.
    pub held: usize,
    /// Frames that wait for one port.
    pub output: usize,
    /// Frames that are free while large segments to hosts are made.
    pub spare: usize,
}

impl FrameBudget {
    /// Frames that the data mover needs to go on sending.
    pub const SENDING: usize = BURST;

    /// The limits for a pool of `frames`.
    #[must_use]
    pub const fn of(frames: usize) -> Self {
        let control_reserve = frames / CONTROL_SHARE;
        FrameBudget {
            messages: frames / MESSAGES_SHARE + control_reserve,
            control_reserve,
            held: frames / HELD_SHARE,
            output: frames / OUTPUT_SHARE,
            spare: frames / SPARE_SHARE,
        }
    }

    /// Frames of a pool of `frames` that may be held for as long as the WAN stands still, where there
    /// are so many edges. The rest is for the ports' queues and for what is on its way out.
    #[must_use]
    pub const fn stalled_max(frames: usize, edges: usize) -> usize {
        let budget = FrameBudget::of(frames);
        budget.messages - budget.control_reserve + budget.held + edges * FIXED
    }
}
