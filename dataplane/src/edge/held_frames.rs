//! Frames behind gaps, of all connections together.
//!
//! In: how many each connection holds. Out: which one gives some back when there are too many.
//! Never: more than the limit after a frame was dealt with, a walk over all connections.

use std::collections::VecDeque;

use super::EdgeCounter;
use super::stage::EdgeStage;
use crate::frame::Frame;

/// Connections looked at for one above its share, at most.
const LOOKED_AT_MAX: usize = 32;
/// Frames that a connection gives back at a time, at most: a host that believed them to be here
/// needs a timeout to send them again.
const GIVEN_BACK_MAX: usize = 16;

/// Who holds how many. Invariant: `sum` is that of `counted`, `order` has each holder once.
#[derive(Debug)]
pub(super) struct HeldFrames {
    most: usize,
    sum: usize,
    holders: usize,
    counted: Box<[u32]>,
    is_listed: Box<[bool]>,
    /// Places that hold any, and some that did of late.
    order: VecDeque<u32>,
}

impl HeldFrames {
    /// At most `most` frames for connections at `places` places.
    pub(super) fn new(most: usize, places: usize) -> Self {
        HeldFrames {
            most,
            sum: 0,
            holders: 0,
            counted: vec![0; places].into_boxed_slice(),
            is_listed: vec![false; places].into_boxed_slice(),
            order: VecDeque::with_capacity(places),
        }
    }

    fn of(&self, place: u32) -> usize {
        self.counted.get(place as usize).map_or(0, |held| *held as usize)
    }

    fn share(&self) -> usize {
        self.most / self.holders.max(1)
    }

    /// The connection at this place holds so many now; true when there are too many in all.
    fn update(&mut self, place: u32, held: usize) -> bool {
        let index = place as usize;
        let (Some(counted), Some(is_listed)) =
            (self.counted.get_mut(index), self.is_listed.get_mut(index))
        else {
            return false;
        };
        let before = *counted as usize;
        *counted = u32::try_from(held).unwrap_or(u32::MAX);
        self.sum = self.sum + held - before;
        self.holders += usize::from(held > 0);
        self.holders -= usize::from(before > 0);
        if held > 0 && !std::mem::replace(is_listed, true) {
            self.order.push_back(place);
        }
        self.sum > self.most
    }

    /// The connection that gives way for the latest frame at `place`: that one if it is above its
    /// share, else another that is, as far as one is found soon.
    fn giver(&mut self, place: u32) -> u32 {
        let share = self.share();
        if self.of(place) > share {
            return place;
        }
        for _ in 0..LOOKED_AT_MAX.min(self.order.len()) {
            let Some(other) = self.order.pop_front() else { break };
            let held = self.of(other);
            if held > 0 {
                self.order.push_back(other);
            } else if let Some(is_listed) = self.is_listed.get_mut(other as usize) {
                *is_listed = false;
            }
            if held > share {
                return other;
            }
        }
        place
    }
}

impl<F: Frame> EdgeStage<F> {
    /// Takes note of how many frames a connection holds behind gaps, and sees to it that all
    /// together stay within the limit.
    pub(super) fn note_held(&mut self, place: u32) {
        let held = self.table.get(place).map_or(0, |flow| flow.connection.held_frames());
        if !self.held.update(place, held) {
            return;
        }
        let giver = self.held.giver(place);
        let Some(flow) = self.table.get_mut(giver) else { return };
        let held = flow.connection.held_frames();
        // The latest frame is one too many: its own connection gives back one, another some more.
        let back = if giver == place {
            1
        } else {
            GIVEN_BACK_MAX.min(held.saturating_sub(self.held.share()))
        };
        let back = flow.connection.discard_held_frames(back);
        self.counters.add(EdgeCounter::SegmentsDiscarded, back as u64);
        self.held.update(giver, held - back);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever connections do, no one at or below its share gives way for one above.
        #[test]
        fn who_is_above_its_share_gives_way(places in prop::collection::vec(0u32..6, 1..400)) {
            let mut held = HeldFrames::new(24, 6);
            for place in places {
                let before = held.of(place);
                if held.update(place, before + 1) {
                    let giver = held.giver(place);
                    prop_assert!(held.of(giver) > held.share() || giver == place);
                    let largest = held.counted.iter().max().map_or(0, |held| *held as usize);
                    prop_assert!(held.of(giver) > held.share() || largest <= held.share());
                    prop_assert!(!held.update(giver, held.of(giver) - 1));
                }
                prop_assert_eq!(held.sum, held.counted.iter().sum::<u32>() as usize);
            }
        }
    }
}
