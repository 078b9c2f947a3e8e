//! What stages of different workers know of each other: single-writer atomics, no locks.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::{Lane, SessionNumber};

use super::peer_security::{LastEnd, PeerSecurity, Shield};

/// State of one peer. Written by the transmit stage, but for the next hop, which the edge stage
/// (the owner of the neighbour table) writes; read by all.
#[derive(Debug, Default)]
pub struct PeerStatus {
    session: AtomicU32,
    answer: AtomicU8,
    versions: AtomicU32,
    rtt_ns: AtomicU64,
    rate_bps: AtomicU64,
    arriving_bps: AtomicU64,
    phase: AtomicU8,
    random_loss_ppm: AtomicU64,
    path_mtu: AtomicU64,
    path_mtu_state: AtomicU8,
    queued_bytes: [AtomicU64; Lane::COUNT],
    buffers_taken: AtomicU64,
    next_hop: AtomicU64,
    takes_zstd: AtomicBool,
    /// How the session is protected, and where the peer is.
    pub security: PeerSecurity,
}

/// What a peer answers to our greetings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerAnswer {
    /// Nothing.
    #[default]
    Silence,
    /// That it speaks none of our wire versions.
    OtherVersion,
    /// That its configuration of the pair is another than ours; while there is a session, since it
    /// began.
    Disagrees,
    /// That it is ourselves, or a copy of us.
    Copy,
}

const NEXT_HOP_KNOWN: u64 = 1 << 63;

impl PeerStatus {
    /// Whether there is a session.
    pub fn is_up(&self) -> bool {
        self.session() != SessionNumber::NONE
    }

    /// The session that there is now.
    pub fn session(&self) -> SessionNumber {
        SessionNumber(self.session.load(Ordering::Acquire))
    }

    /// Says which session there is.
    pub fn set_session(&self, session: SessionNumber) {
        self.session.store(session.0, Ordering::Release);
    }

    /// Whether the peer takes, in this session, buffers that Zstandard made smaller.
    pub fn takes_zstd(&self) -> bool {
        self.takes_zstd.load(Ordering::Relaxed)
    }

    /// Says whether it does; before the session is told of, so that no buffer of a session is made
    /// by what another one takes.
    pub fn set_takes_zstd(&self, takes: bool) {
        self.takes_zstd.store(takes, Ordering::Relaxed);
    }

    /// What the peer answers.
    pub fn answer(&self) -> PeerAnswer {
        match self.answer.load(Ordering::Relaxed) {
            1 => PeerAnswer::OtherVersion,
            2 => PeerAnswer::Disagrees,
            3 => PeerAnswer::Copy,
            _ => PeerAnswer::Silence,
        }
    }

    /// Publishes what the peer answers.
    pub fn set_answer(&self, answer: PeerAnswer) {
        self.answer.store(answer as u8, Ordering::Relaxed);
    }

    /// Lowest and highest wire version that the peer speaks, where they are not ours. Without
    /// [`PeerAnswer::OtherVersion`] it is a guess: anybody can have sent it.
    pub fn versions(&self) -> Option<(u8, u8)> {
        let [_, _, min, max] = self.versions.load(Ordering::Relaxed).to_be_bytes();
        (max > 0).then_some((min, max))
    }

    /// Publishes them.
    pub fn set_versions(&self, versions: Option<(u8, u8)>) {
        let (min, max) = versions.unwrap_or_default();
        self.versions.store(u32::from_be_bytes([0, 0, min, max]), Ordering::Relaxed);
    }

    /// Smoothed round trip to the peer; 0 until measured.
    pub fn rtt_ns(&self) -> u64 {
        self.rtt_ns.load(Ordering::Relaxed)
    }

    /// Rate at which we send to the peer, in bits of IP packets per second.
    pub fn rate_bps(&self) -> u64 {
        self.rate_bps.load(Ordering::Relaxed)
    }

    /// Rate that the path from the peer may come to have, in bits per second. What we send tells
    /// of it only where both ends were given the same rate; what comes is limited by what was
    /// granted, so as much again is expected.
    pub fn rate_from_bps(&self) -> u64 {
        let arriving_bps = self.arriving_bps.load(Ordering::Relaxed);
        self.rate_bps().max(arriving_bps.saturating_mul(2))
    }

    /// Publishes the rate at which data come from the peer, in bits per second.
    pub fn set_arriving(&self, arriving_bps: u64) {
        self.arriving_bps.store(arriving_bps, Ordering::Relaxed);
    }

    /// Publishes round trip and rate.
    pub fn set_path(&self, rtt_ns: u64, rate_bps: u64) {
        self.rtt_ns.store(rtt_ns, Ordering::Relaxed);
        self.rate_bps.store(rate_bps, Ordering::Relaxed);
    }

    /// What the congestion controller is doing, as its number, and the share of a million that the
    /// path is taken to lose whatever the rate.
    pub fn control(&self) -> (u8, u64) {
        (self.phase.load(Ordering::Relaxed), self.random_loss_ppm.load(Ordering::Relaxed))
    }

    /// Publishes both.
    pub fn set_control(&self, phase: u8, random_loss_ppm: u64) {
        self.phase.store(phase, Ordering::Relaxed);
        self.random_loss_ppm.store(random_loss_ppm, Ordering::Relaxed);
    }

    /// IP bytes of a datagram to the peer, at most, and the state of the search for more, as its
    /// number.
    pub fn path_mtu(&self) -> (u64, u8) {
        (self.path_mtu.load(Ordering::Relaxed), self.path_mtu_state.load(Ordering::Relaxed))
    }

    /// Publishes both.
    pub fn set_path_mtu(&self, ip_bytes: u64, state: u8) {
        self.path_mtu.store(ip_bytes, Ordering::Relaxed);
        self.path_mtu_state.store(state, Ordering::Relaxed);
    }

    /// Bytes of buffers with data that the data mover has taken and not yet sent a first time, by
    /// lane.
    pub fn queued_bytes(&self) -> [u64; Lane::COUNT] {
        self.queued_bytes.each_ref().map(|bytes| bytes.load(Ordering::Relaxed))
    }

    /// Buffers that the data mover has taken so far.
    pub fn buffers_taken(&self) -> u64 {
        self.buffers_taken.load(Ordering::Acquire)
    }

    /// Publishes the data mover's queue.
    pub fn set_queue(&self, queued_bytes: [u64; Lane::COUNT], buffers_taken: u64) {
        for (gauge, bytes) in self.queued_bytes.iter().zip(queued_bytes) {
            gauge.store(bytes, Ordering::Relaxed);
        }
        self.buffers_taken.store(buffers_taken, Ordering::Release);
    }

    /// Nobody has this place any more: who has it next begins as at the start, but for the number
    /// of buffers taken, which goes on. For the transmit stage.
    pub fn vacate(&self, buffers_taken: u64) {
        self.set_session(SessionNumber::NONE);
        self.set_takes_zstd(false);
        self.set_answer(PeerAnswer::Silence);
        self.set_versions(None);
        self.set_path(0, 0);
        self.set_arriving(0);
        self.set_control(0, 0);
        self.set_path_mtu(0, 0);
        self.set_queue([0; Lane::COUNT], buffers_taken);
        self.security.set(Shield::Unknown, LastEnd::Never);
        self.security.set_twin(false);
        self.security.set_found(None);
    }

    /// The MAC address of the next hop to the peer, once resolved.
    pub fn next_hop(&self) -> Option<[u8; 6]> {
        let value = self.next_hop.load(Ordering::Relaxed);
        let [_, _, mac @ ..] = value.to_be_bytes();
        (value & NEXT_HOP_KNOWN != 0).then_some(mac)
    }

    /// Publishes the next hop's MAC address, or that there is none.
    pub fn set_next_hop(&self, mac: Option<[u8; 6]>) {
        let value = mac.map_or(0, |[a, b, c, d, e, f]| {
            u64::from_be_bytes([0, 0, a, b, c, d, e, f]) | NEXT_HOP_KNOWN
        });
        self.next_hop.store(value, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_faster_than_we_send_is_granted_more_than_comes() {
        let status = PeerStatus::default();
        status.set_path(80_000_000, 10_000_000);
        status.set_arriving(4_000_000);
        assert_eq!(status.rate_from_bps(), 10_000_000);
        status.set_arriving(100_000_000);
        assert_eq!(status.rate_from_bps(), 200_000_000);
    }

    #[test]
    fn an_answer_survives() {
        let status = PeerStatus::default();
        assert_eq!(status.answer(), PeerAnswer::Silence);
        use PeerAnswer::{Copy, Disagrees, OtherVersion, Silence};
        for answer in [Disagrees, OtherVersion, Copy, Silence] {
            status.set_answer(answer);
            assert_eq!(status.answer(), answer);
        }
        assert_eq!(status.versions(), None);
        status.set_versions(Some((2, 3)));
        assert_eq!(status.versions(), Some((2, 3)));
        status.set_versions(None);
        assert_eq!(status.versions(), None);
    }

    #[test]
    fn a_next_hop_survives_and_can_be_withdrawn() {
        let status = PeerStatus::default();
        assert_eq!(status.next_hop(), None);
        status.set_next_hop(Some([0, 1, 2, 3, 4, 255]));
        assert_eq!(status.next_hop(), Some([0, 1, 2, 3, 4, 255]));
        status.set_next_hop(None);
        assert_eq!(status.next_hop(), None);
    }
}
