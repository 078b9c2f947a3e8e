//! What a session is made from, and the sizes of its tables that follow.

use super::congestion::Congestion;
use super::path_mtu::PathMtu;
use super::wire::{
    BUFFER_LEN_LIMIT, Exchange, HEADER_LEN, Hello, Limits, OVERHEAD_LEN, SHORT_LENGTH_LEN, TAG_LEN,
};
use crate::packet_driver::PeerIndex;
use crate::time::{MILLISECOND_NS, SECOND_NS};

/// Physical numbers below the highest received that a receiver keeps track of: over two seconds of
/// full datagrams at 10 Gb/s.
pub(super) const NUMBERS_MAX: u32 = 1 << 21;

/// Bytes of buffers in one datagram, at least: a HELLO and an acknowledgement must fit too.
pub const SEGMENT_SIZE_MIN: u16 = 512;
/// Bytes of buffers in one datagram, at most.
pub const SEGMENT_SIZE_LIMIT: u16 = 9_000;

const _: () = assert!(HEADER_LEN + Hello::LEN <= SEGMENT_SIZE_MIN as usize + OVERHEAD_LEN);
const _: () = assert!(Exchange::LEN_MAX <= SEGMENT_SIZE_MIN as usize + OVERHEAD_LEN);

/// One peer, as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Our index of the peer.
    pub peer: PeerIndex,
    /// How the rate is found; rates count IP bytes, everything sent included.
    pub congestion: Congestion,
    /// Bytes of buffers in one datagram, at most: the ceiling of the search for the path's MTU.
    pub segment_size_max: u16,
    /// Nanoseconds after which a search that has not reached the ceiling is tried again.
    pub path_mtu_raise_ns: u64,
    /// IP and UDP headers of one datagram, in bytes: 28 over IPv4, 48 over IPv6.
    pub ip_overhead_bytes: u16,
    /// The longest round trip, in nanoseconds, over which the full rate must be kept.
    pub rtt_ns_max: u64,
    /// Silence in nanoseconds after which the peer is lost.
    pub dead_after_ns: u64,
    /// Nanoseconds without sending after which an answer is asked for.
    pub keepalive_ns: u64,
    /// Length of one buffer in bytes; below 2^22.
    pub buffer_len_max: u32,
    /// Buffers not known to be complete, per direction.
    pub buffers_max: u32,
    /// Bytes of incomplete buffers, by their full lengths, that we hold for the peer.
    pub reassembly_bytes_max: u32,
    /// Transmissions whose fate is not known yet, at most; more than the rate needs are not made
    /// room for.
    pub transmissions_max: u32,
    /// Bytes of a lane accepted and not yet sent, beyond which none more of it are.
    pub queued_bytes_max: usize,
    /// Digest of what both ends must agree on.
    pub digest: u64,
    /// Whether datagrams are sealed, and so end with a tag.
    pub sealed: bool,
    /// Whether parity is sent where something is lost, and used when it comes.
    pub fec: bool,
}

impl PeerConfig {
    /// A peer at this fixed rate, all else as by default.
    #[must_use]
    pub fn new(peer: PeerIndex, rate_bps: u64) -> Self {
        PeerConfig {
            peer,
            congestion: Congestion::Fixed { rate_bps },
            segment_size_max: 1_410,
            path_mtu_raise_ns: 600 * SECOND_NS,
            ip_overhead_bytes: 28,
            rtt_ns_max: SECOND_NS,
            dead_after_ns: 10 * SECOND_NS,
            keepalive_ns: SECOND_NS,
            buffer_len_max: 64 * 1024,
            buffers_max: 16_384,
            reassembly_bytes_max: 64 * 1024 * 1024,
            transmissions_max: NUMBERS_MAX / 2,
            queued_bytes_max: 256 * 1024,
            digest: 0,
            sealed: false,
            fec: true,
        }
    }

    /// The same with every value within what the code can work with.
    pub(super) fn clamped(mut self) -> Self {
        self.congestion = self.congestion.clamped();
        self.segment_size_max = self.segment_size_max.clamp(SEGMENT_SIZE_MIN, SEGMENT_SIZE_LIMIT);
        self.ip_overhead_bytes = self.ip_overhead_bytes.min(256);
        self.path_mtu_raise_ns = self.path_mtu_raise_ns.max(SECOND_NS);
        self.rtt_ns_max = self.rtt_ns_max.clamp(MILLISECOND_NS, 10 * SECOND_NS);
        self.dead_after_ns = self.dead_after_ns.max(MILLISECOND_NS);
        self.keepalive_ns = self.keepalive_ns.max(MILLISECOND_NS);
        self.buffer_len_max = self.buffer_len_max.clamp(1, BUFFER_LEN_LIMIT);
        self.buffers_max = self.buffers_max.clamp(64, 1 << 20).next_power_of_two();
        self.reassembly_bytes_max = self.reassembly_bytes_max.max(self.buffer_len_max);
        self
    }

    /// The path's MTU before anything is known of the path.
    pub(super) fn path_mtu(&self) -> PathMtu {
        let len_min = usize::from(SEGMENT_SIZE_MIN) + self.overhead_len();
        let (ceiling, raise_ns) = (self.datagram_len_max(), self.path_mtu_raise_ns);
        PathMtu::new(len_min, ceiling, self.ip_overhead_bytes, raise_ns)
    }

    /// UDP payload of a datagram in bytes, at most.
    pub(super) fn datagram_len_max(&self) -> usize {
        usize::from(self.segment_size_max) + self.overhead_len()
    }

    /// What is ours of a full datagram, in bytes.
    pub(super) fn overhead_len(&self) -> usize {
        OVERHEAD_LEN + if self.sealed { TAG_LEN } else { SHORT_LENGTH_LEN }
    }

    /// Bytes at the end of a datagram that the tag takes.
    pub(super) fn tag_len(&self) -> usize {
        if self.sealed { TAG_LEN } else { 0 }
    }

    /// Transmissions to remember: what the rate sends in the longest round trip and half of
    /// another, which is how long a loss takes to be noticed, in datagrams that nearly every path
    /// carries.
    pub(super) fn sent_slots(&self) -> usize {
        let ip_bytes = self.path_mtu().base_ip_bytes();
        let bytes = u128::from(self.congestion.rate_bps_max() / 8) * u128::from(self.rtt_ns_max)
            / u128::from(SECOND_NS);
        let datagrams = u64::try_from(bytes).unwrap_or(u64::MAX) / ip_bytes;
        let most = self.transmissions_max.clamp(1_024, NUMBERS_MAX / 2);
        let slots = (datagrams + datagrams / 2).clamp(1_024, u64::from(most));
        usize::try_from(slots.next_power_of_two()).unwrap_or(1_024)
    }

    /// Buffers of several datagrams that can be incomplete at once.
    pub(super) fn assemblies(&self) -> usize {
        let by_bytes = usize::try_from(self.reassembly_bytes_max / 8_192).unwrap_or(usize::MAX);
        let most = usize::try_from(self.buffers_max).unwrap_or(usize::MAX);
        by_bytes.clamp(64, 65_536).min(most)
    }

    /// Our limits, as told to the peer.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            buffer_len_max: self.buffer_len_max,
            buffers_max: self.buffers_max,
            reassembly_bytes_max: self.reassembly_bytes_max,
            numbers_max: NUMBERS_MAX,
        }
    }
}
