//! ICMP and ICMPv6: echo replies and destination unreachable.
//!
//! In: a received packet. Out: the same frame as its answer, or a new frame that quotes it.
//! Never: an answer to an answer (the caller asks [`may_cause_error`] first).

use std::net::IpAddr;

use super::build::{
    IPV4_LEN, IPV6_LEN, IpHeader, LinkHeader, TTL_DEFAULT, append, prepend_ip, prepend_link,
};
use super::ip::{ethertype, protocol};
use super::{BuildError, Frame, MacAddr, Network, Parsed, Transport, checksum};

/// ICMP echo request.
pub const ECHO_REQUEST_V4: u8 = 8;
/// ICMP echo reply.
pub const ECHO_REPLY_V4: u8 = 0;
/// ICMPv6 echo request.
pub const ECHO_REQUEST_V6: u8 = 128;
/// ICMPv6 echo reply.
pub const ECHO_REPLY_V6: u8 = 129;
/// ICMP destination unreachable.
pub const UNREACHABLE_V4: u8 = 3;
/// ICMPv6 destination unreachable.
pub const UNREACHABLE_V6: u8 = 1;
/// ICMPv6 packet too big.
pub const TOO_BIG_V6: u8 = 2;

/// Longest quotation in an IPv4 error: the whole packet stays within 576 bytes (RFC 1812, 4.3.2.3).
const QUOTE_V4_MAX: usize = 576 - IPV4_LEN - ICMP_LEN;
/// Longest quotation in an IPv6 error: the whole packet stays within 1280 bytes (RFC 4443, 3.1).
const QUOTE_V6_MAX: usize = 1280 - IPV6_LEN - ICMP_LEN;
const ICMP_LEN: usize = 8;

/// Why a destination is unreachable. The numbers differ by family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// No route to the network.
    Network,
    /// The host does not answer on its link.
    Host,
    /// The host does not speak the protocol.
    Protocol,
    /// Nothing listens on the port.
    Port,
    /// Forbidden by an administrator.
    Prohibited,
}

impl Unreachable {
    /// ICMP type and code.
    #[must_use]
    pub const fn code(self, ipv4: bool) -> (u8, u8) {
        if ipv4 {
            match self {
                Unreachable::Network => (UNREACHABLE_V4, 0),
                Unreachable::Host => (UNREACHABLE_V4, 1),
                Unreachable::Protocol => (UNREACHABLE_V4, 2),
                Unreachable::Port => (UNREACHABLE_V4, 3),
                Unreachable::Prohibited => (UNREACHABLE_V4, 13),
            }
        } else {
            match self {
                Unreachable::Network => (UNREACHABLE_V6, 0),
                Unreachable::Host => (UNREACHABLE_V6, 3),
                // RFC 4443, section 3.4: parameter problem, unrecognised next header.
                Unreachable::Protocol => (4, 1),
                Unreachable::Port => (UNREACHABLE_V6, 4),
                Unreachable::Prohibited => (UNREACHABLE_V6, 1),
            }
        }
    }

    /// The reason in a received error; `None` when it is of another kind (too big, time exceeded).
    #[must_use]
    pub const fn of_code(ipv4: bool, icmp_type: u8, icmp_code: u8) -> Option<Self> {
        match (ipv4, icmp_type, icmp_code) {
            (true, UNREACHABLE_V4, 0 | 6 | 11) | (false, UNREACHABLE_V6, 0) => {
                Some(Unreachable::Network)
            }
            (true, UNREACHABLE_V4, 1 | 5 | 7 | 8 | 12) | (false, UNREACHABLE_V6, 2 | 3) => {
                Some(Unreachable::Host)
            }
            (true, UNREACHABLE_V4, 2) | (false, 4, 1) => Some(Unreachable::Protocol),
            (true, UNREACHABLE_V4, 3) | (false, UNREACHABLE_V6, 4) => Some(Unreachable::Port),
            (true, UNREACHABLE_V4, 9 | 10 | 13 | 14 | 15) | (false, UNREACHABLE_V6, 1 | 5 | 6) => {
                Some(Unreachable::Prohibited)
            }
            _ => None,
        }
    }
}

/// Whether a parsed packet is an ICMP or ICMPv6 error: a message that quotes another packet.
#[must_use]
pub fn is_error(parsed: &Parsed) -> bool {
    parsed.transport == Transport::Icmp
        && match parsed.network {
            // Unreachable, source quench, redirect, time exceeded, parameter problem.
            Network::Ipv4 => matches!(parsed.icmp_type, 3 | 4 | 5 | 11 | 12),
            _ => parsed.icmp_type < 128,
        }
}

/// The MTU in a "fragmentation needed" (RFC 1191) or "packet too big" (RFC 4443, section 3.2);
/// `None` for other messages, and for an MTU below what the family allows, which nobody needs.
#[must_use]
pub fn too_big_mtu(parsed: &Parsed, head: &[u8]) -> Option<u16> {
    let word = parsed.l4(head).get(4..8)?.first_chunk::<4>()?;
    let (mtu, least) = match parsed.network {
        Network::Ipv4 if (parsed.icmp_type, parsed.icmp_code) == (UNREACHABLE_V4, 4) => {
            (u32::from(u16::from_be_bytes([word[2], word[3]])), 576)
        }
        Network::Ipv6 if parsed.icmp_type == TOO_BIG_V6 => (u32::from_be_bytes(*word), 1280),
        _ => return None,
    };
    u16::try_from(mtu).ok().filter(|mtu| *mtu >= least)
}

/// Whether a packet may be answered with an ICMP error (RFC 1122, 3.2.2; RFC 4443, 2.4): not an
/// error itself, not a later fragment, not to or from a group.
#[must_use]
pub fn may_cause_error(parsed: &Parsed) -> bool {
    parsed.is_ip()
        && !is_error(parsed)
        && parsed.fragment.is_none_or(|fragment| fragment.offset == 0)
        && super::is_routable_unicast(parsed.key.source())
        && super::is_routable_unicast(parsed.key.destination())
}

/// Whether a packet is an echo request.
#[must_use]
pub fn is_echo_request(parsed: &Parsed) -> bool {
    parsed.transport == Transport::Icmp
        && parsed.icmp_code == 0
        && match parsed.network {
            Network::Ipv4 => parsed.icmp_type == ECHO_REQUEST_V4,
            _ => parsed.icmp_type == ECHO_REQUEST_V6,
        }
}

/// Turns an echo request into its reply, in place: same identifier, sequence number and data;
/// stations and addresses exchanged, IP options gone. The answer leaves from `own`. The frame's
/// checksums must have been verified, and its padding is dropped.
///
/// # Errors
/// The packet is no echo request, or there is no headroom; the frame's content is undefined then.
pub fn write_echo_reply<F: Frame>(
    frame: &mut F,
    parsed: &Parsed,
    own: MacAddr,
) -> Result<(), BuildError> {
    if !is_echo_request(parsed) {
        return Err(BuildError::Family);
    }
    let link = LinkHeader::of(frame.head(), parsed).ok_or(BuildError::Length)?;
    let ipv4 = parsed.network == Network::Ipv4;
    frame.truncate(parsed.ip_end as usize);
    frame.trim_front(parsed.l4_offset as usize);
    let field = frame.head_mut().first_chunk_mut::<4>().ok_or(BuildError::Length)?;
    let old = u16::from_be_bytes([field[0], field[1]]);
    field[0] = if ipv4 { ECHO_REPLY_V4 } else { ECHO_REPLY_V6 };
    let new = u16::from_be_bytes([field[0], field[1]]);
    let sum = checksum::update(u16::from_be_bytes([field[2], field[3]]), old, new);
    field[2..4].copy_from_slice(&sum.to_be_bytes());
    let header = IpHeader {
        source: parsed.key.destination(),
        destination: parsed.key.source(),
        protocol: parsed.key.protocol,
        traffic_class: parsed.traffic_class & !3,
        ttl: TTL_DEFAULT,
    };
    prepend_ip(frame, &header)?;
    prepend_link(frame, &link.answer(own), header.ethertype())
}

/// Makes an ICMP or ICMPv6 destination unreachable out of an empty frame.
///
/// `original` is the IP packet that is answered, from its header on (the first 1,232 bytes are
/// enough); `source` the address that says so; the answer goes to the original's source.
/// `link` is the header of the answer.
///
/// # Errors
/// No room, or `original` is no packet of `source`'s family; the frame's content is undefined then.
pub fn write_unreachable<F: Frame>(
    frame: &mut F,
    link: &LinkHeader,
    source: IpAddr,
    reason: Unreachable,
    original: &[u8],
) -> Result<(), BuildError> {
    let ipv4 = source.is_ipv4();
    let destination = original_source(original).ok_or(BuildError::Length)?;
    if destination.is_ipv4() != ipv4 {
        return Err(BuildError::Family);
    }
    let (kind, code) = reason.code(ipv4);
    let quote_max = if ipv4 { QUOTE_V4_MAX } else { QUOTE_V6_MAX };
    let quote = original.get(..quote_max).unwrap_or(original);
    frame.truncate(0);
    // RFC 4443, section 3.4: the pointer of "unrecognised next header" is the place of that field.
    let pointer = if kind == 4 { 6 } else { 0 };
    if !append(frame, &[kind, code, 0, 0, 0, 0, 0, pointer]) || !append(frame, quote) {
        return Err(BuildError::Headroom);
    }
    let protocol = if ipv4 { protocol::ICMP } else { protocol::ICMPV6 };
    checksum::fill_transport(frame.head_mut(), source, destination, protocol);
    let header = IpHeader { source, destination, protocol, traffic_class: 0, ttl: TTL_DEFAULT };
    prepend_ip(frame, &header)?;
    prepend_link(frame, link, if ipv4 { ethertype::IPV4 } else { ethertype::IPV6 })
}

/// The source address of an IP packet.
fn original_source(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => packet.get(12..16)?.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        6 => packet.get(8..24)?.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        _ => None,
    }
}
