//! The compress stage: whole buffers, at most one per turn, so that a turn stays short.
//!
//! In: buffers of the packet driver, when turns and compressions begin, what the data mover says of
//! the WAN. Out: the same buffers, packed where it pays. Never: a level that is expected to take
//! longer than [`crate::compression::choice::BUFFER_NS_MAX`], unless the configuration names it.

use std::sync::Arc;

use crate::compression::load::Load;
use crate::compression::{Compressor, Level, Mode, Surroundings};
use crate::link::Link;
use crate::packet_driver::{OutboundBuffer, PeerIndex, PeerStatus};
use crate::time::Time;

/// What a WAN is taken to carry that nothing is known of yet, in bits per second.
const RATE_UNKNOWN_BPS: u64 = 1_000_000_000;
/// Picoseconds of a byte at one bit per second.
const BYTE_PS: u64 = 8_000_000_000_000;

/// State of the compress stage.
#[derive(Debug)]
pub struct CompressStage {
    compressor: Compressor,
    peers: Arc<[PeerStatus]>,
    /// Stages that share the buffers of each peer.
    replicas: u64,
    load: Load,
}

impl CompressStage {
    /// A stage around a compressor; `peers` as many as it knows. It is one of `replicas` that each
    /// get their part of the buffers.
    #[must_use]
    pub fn new(compressor: Compressor, peers: Arc<[PeerStatus]>, replicas: usize) -> Self {
        let load = Load::new(compressor.peers());
        CompressStage { compressor, peers, replicas: replicas.max(1) as u64, load }
    }

    /// The peers' modes have been configured anew.
    pub fn reconfigure(&mut self, modes: impl IntoIterator<Item = (PeerIndex, Mode)>) {
        self.compressor.set_modes(modes);
    }

    /// A peer comes to a place where nobody is.
    pub fn welcome(&mut self, peer: PeerIndex) {
        self.compressor.forget(peer);
    }

    /// A turn of this core begins: what was compressed in the last one is done.
    pub fn turn_begins(&mut self, now: Time) {
        if let Some(took_ns) = self.load.turn_begins(now) {
            self.compressor.took(took_ns);
        }
    }

    /// The other stages of this turn are done; `busy`: with anything.
    pub fn others_end(&mut self, busy: bool) {
        self.load.others_end(busy);
    }

    /// At which level the last buffer was compressed and its length, until it is known how long
    /// that took.
    #[must_use]
    pub fn under_way(&self) -> Option<(Level, usize)> {
        self.compressor.last()
    }

    /// Passes on at most one buffer; says whether there was one. `now` is asked for once, when
    /// there is.
    pub fn turn(
        &mut self,
        now: impl FnOnce() -> Time,
        buffers: &mut Link<OutboundBuffer>,
        packed: &mut Link<OutboundBuffer>,
    ) -> bool {
        if packed.room() == 0 {
            return false;
        }
        let Some(buffer) = buffers.pop() else { return false };
        self.load.compression_begins(now(), buffer.peer);
        let surroundings = self.surroundings(buffer.peer);
        // There was room, and this is the link's only producer.
        let _ = packed.push(self.compressor.compress(buffer, &surroundings));
        true
    }

    /// Share of this core's time that is left for a peer's buffers, in millionths.
    #[cfg(test)]
    pub(super) fn free_ppm(&self, peer: PeerIndex) -> u64 {
        self.load.free_ppm(peer)
    }

    fn surroundings(&self, peer: PeerIndex) -> Surroundings {
        let status = self.peers.get(usize::from(peer.0));
        let rate_bps = status.map(PeerStatus::rate_bps).filter(|rate_bps| *rate_bps > 0);
        Surroundings {
            wan_ps: BYTE_PS / rate_bps.unwrap_or(RATE_UNKNOWN_BPS),
            free_ppm: self.load.free_ppm(peer),
            replicas: self.replicas,
            zstd: status.is_some_and(PeerStatus::takes_zstd),
        }
    }
}
