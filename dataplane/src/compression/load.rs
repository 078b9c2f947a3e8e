//! What this core has time for: how much of it is left for compressing the buffers of one peer.
//!
//! In: when turns and compressions begin. Out: how long each compression took, and the share of the
//! core's time that nothing else takes. Never: a clock.

use super::choice::WHOLE_PPM;
use crate::packet_driver::PeerIndex;
use crate::time::{MILLISECOND_NS, Time};

/// Time over which shares are taken, in nanoseconds.
const WINDOW_NS: u64 = 10 * MILLISECOND_NS;
/// The least that is taken to be left, in millionths: what else there is to do gives way a little.
const FREE_PPM_MIN: u64 = 100_000;

/// How a core's time is spent.
#[derive(Debug)]
pub(crate) struct Load {
    window_began: Time,
    turn_began: Time,
    /// The compression of this turn: when it began, and for whom.
    compression: Option<(Time, PeerIndex)>,
    /// Whether anything else was done in this turn.
    was_busy: bool,
    /// Time of this window that went to other stages.
    others_ns: u64,
    /// Time of this window that went to compressing for each peer.
    peers_ns: Box<[u64]>,
    /// What the last whole window left for each peer, in millionths.
    free_ppm: Box<[u64]>,
}

impl Load {
    pub(crate) fn new(peers: usize) -> Self {
        Load {
            window_began: Time::ZERO,
            turn_began: Time::ZERO,
            compression: None,
            was_busy: false,
            others_ns: 0,
            peers_ns: vec![0; peers].into_boxed_slice(),
            free_ppm: vec![WHOLE_PPM; peers].into_boxed_slice(),
        }
    }

    /// A turn begins; how long the compression of the last one took, if there was one.
    pub(crate) fn turn_begins(&mut self, now: Time) -> Option<u64> {
        let compression = self.compression.take();
        let others_until = compression.map_or(now, |(began, _)| began);
        if self.was_busy {
            self.others_ns += others_until.since_ns(self.turn_began);
        }
        (self.was_busy, self.turn_began) = (false, now);
        let took_ns = compression.map(|(began, peer)| {
            let took_ns = now.since_ns(began);
            if let Some(peer_ns) = self.peers_ns.get_mut(usize::from(peer.0)) {
                *peer_ns += took_ns;
            }
            took_ns
        });
        if now.since_ns(self.window_began) >= WINDOW_NS {
            self.roll(now);
        }
        took_ns
    }

    /// A compression for `peer` begins.
    pub(crate) fn compression_begins(&mut self, now: Time, peer: PeerIndex) {
        self.compression = Some((now, peer));
    }

    /// The turn's other stages are done.
    pub(crate) fn others_end(&mut self, was_busy: bool) {
        self.was_busy = was_busy;
    }

    /// Share of the core's time that nothing else takes, in millionths.
    pub(crate) fn free_ppm(&self, peer: PeerIndex) -> u64 {
        self.free_ppm.get(usize::from(peer.0)).copied().unwrap_or(WHOLE_PPM)
    }

    fn roll(&mut self, now: Time) {
        let whole_ns = now.since_ns(self.window_began).max(1);
        let compressing_ns: u64 = self.peers_ns.iter().sum();
        for (free_ppm, own_ns) in self.free_ppm.iter_mut().zip(&mut self.peers_ns) {
            let taken_ns = (self.others_ns + compressing_ns).saturating_sub(*own_ns);
            let left_ns = whole_ns.saturating_sub(taken_ns);
            *free_ppm = (left_ns.saturating_mul(WHOLE_PPM) / whole_ns).max(FREE_PPM_MIN);
            *own_ns = 0;
        }
        self.others_ns = 0;
        self.window_began = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerIndex = PeerIndex(0);
    const B: PeerIndex = PeerIndex(1);

    #[test]
    fn what_other_stages_and_other_peers_take_is_not_left() {
        let mut load = Load::new(2);
        let mut now = Time::ZERO;
        assert_eq!(load.turn_begins(now), None);
        // Turns of 100 us: 20 for other stages, 50 for A, then 30 asleep; every fifth is B's.
        for turn in 0..200 {
            let peer = if turn % 5 == 0 { B } else { A };
            load.others_end(true);
            load.compression_begins(now + 20_000, peer);
            assert_eq!(load.turn_begins(now + 70_000), Some(50_000));
            assert_eq!(load.turn_begins(now + 100_000), None);
            now = now + 100_000;
        }
        assert_eq!((load.free_ppm(A), load.free_ppm(B)), (700_000, 400_000));
    }

    #[test]
    fn a_core_with_nothing_else_to_do_is_free_and_a_full_one_gives_way_a_little() {
        let mut load = Load::new(1);
        for ms in 0..30 {
            load.turn_begins(Time::from_ms(ms));
            load.compression_begins(Time::from_ms(ms), A);
        }
        assert_eq!(load.free_ppm(A), WHOLE_PPM);
        for ms in 30..60 {
            load.turn_begins(Time::from_ms(ms));
            load.others_end(true);
        }
        assert_eq!(load.free_ppm(A), FREE_PPM_MIN);
        assert_eq!(load.free_ppm(PeerIndex(7)), WHOLE_PPM);
    }
}
