//! What all connections of one LAN and IP version share.

use super::segment::WINDOW_SCALE_MAX;
use crate::time::{MILLISECOND_NS, SECOND_NS};

/// The largest segment that a host takes which does not say (RFC 9293 3.7.1), IPv4.
pub const MSS_DEFAULT_V4: u16 = 536;
/// The same for IPv6.
pub const MSS_DEFAULT_V6: u16 = 1220;
/// A host that asks for less gets this: a byte per packet would be an attack on us.
pub const MSS_MIN: u16 = 64;

/// Settings shared by all connections of one LAN and IP version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpConfig {
    /// What our SYNs announce: the LAN's MTU less IP and TCP header, in bytes.
    pub mss: u16,
    /// What is assumed of a host whose SYN has no MSS option, in bytes.
    pub mss_default: u16,
    /// Largest window offered to a host, in bytes; it decides our window scale.
    pub receive_window_max: u32,
    /// Frames that may wait for a gap before them, per connection.
    pub held_frames_max: usize,
    /// Slices that may wait to be sent or acknowledged, per connection.
    pub send_pieces_max: usize,
    /// Largest number of bytes in flight to a host.
    pub send_window_max: u32,
    /// Initial congestion window, in segments (RFC 6928).
    pub initial_window_segments: u32,
    /// Whether SYNs offer timestamps (RFC 7323).
    pub timestamps: bool,
    /// Whether SYNs offer SACK (RFC 2018).
    pub sack: bool,
    /// Lower bound of the retransmission timeout.
    pub rto_min_ns: u64,
    /// Upper bound of the retransmission timeout and of the time between probes.
    pub rto_max_ns: u64,
    /// Retransmission timeout before the first sample (RFC 6298 2.1).
    pub rto_initial_ns: u64,
    /// How long a host may sit on an acknowledgement of less than two full segments.
    pub host_ack_delay_ns: u64,
    /// Lower bound of the tail loss probe's timeout.
    pub probe_timeout_min_ns: u64,
    /// How long we sit on an acknowledgement of a lone segment.
    pub delayed_ack_ns: u64,
    /// Retransmissions of a SYN before the host counts as silent.
    pub syn_retries: u8,
    /// How long sent bytes may stay unacknowledged, or probes unanswered, before the host counts
    /// as gone (RFC 9293 3.8.3, R2).
    pub user_timeout_ns: u64,
    /// Silence before the first keepalive; `None`: never.
    pub keepalive_idle_ns: Option<u64>,
    /// Time between unanswered keepalives.
    pub keepalive_interval_ns: u64,
    /// Unanswered keepalives before the host counts as gone.
    pub keepalive_probes: u8,
    /// How long a host's FIN waits for the far host's acknowledgement before it is enough that
    /// the far edge holds every byte.
    pub fin_timeout_ns: u64,
    /// Acknowledgements per second that only answer unacceptable segments (RFC 5961 section 7).
    pub challenge_acks_per_second: u16,
    /// Idle time after which the queues give their memory back.
    pub idle_release_ns: u64,
}

impl TcpConfig {
    /// Defaults for a LAN with this MTU (bytes of an IP packet).
    #[must_use]
    pub fn for_mtu(mtu: u16, ipv4: bool) -> Self {
        let (headers, mss_default) = if ipv4 { (40, MSS_DEFAULT_V4) } else { (60, MSS_DEFAULT_V6) };
        TcpConfig {
            mss: mtu.saturating_sub(headers).max(MSS_MIN),
            mss_default,
            receive_window_max: 8 << 20,
            held_frames_max: 1024,
            send_pieces_max: 1 << 16,
            send_window_max: 8 << 20,
            initial_window_segments: 10,
            timestamps: true,
            sack: true,
            rto_min_ns: 10 * MILLISECOND_NS,
            rto_max_ns: 60 * SECOND_NS,
            rto_initial_ns: SECOND_NS,
            host_ack_delay_ns: 40 * MILLISECOND_NS,
            probe_timeout_min_ns: 2 * MILLISECOND_NS,
            delayed_ack_ns: 2 * MILLISECOND_NS,
            syn_retries: 5,
            user_timeout_ns: 100 * SECOND_NS,
            keepalive_idle_ns: Some(7200 * SECOND_NS),
            keepalive_interval_ns: 75 * SECOND_NS,
            keepalive_probes: 9,
            fin_timeout_ns: 30 * SECOND_NS,
            challenge_acks_per_second: 100,
            idle_release_ns: SECOND_NS,
        }
    }

    /// The window scale we offer: the smallest with which the largest window can be said.
    #[must_use]
    pub fn window_scale(&self) -> u8 {
        (0..WINDOW_SCALE_MAX)
            .find(|&shift| self.receive_window_max >> shift <= u32::from(u16::MAX))
            .unwrap_or(WINDOW_SCALE_MAX)
    }
}
