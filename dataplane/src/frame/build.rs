//! Headers in front of a payload: Ethernet with tags, IPv4, IPv6, UDP.
//!
//! In: a frame that holds the payload (for IP: transport header included), and plain structs.
//! Out: the same frame with one more header in front. Never: fragmentation, a copy of the payload.

use std::net::IpAddr;

use super::ip::{ethertype, protocol};
use super::vlan::VlanList;
use super::{Frame, MacAddr, Parsed, checksum};

/// Length of an IPv4 header without options.
pub const IPV4_LEN: usize = 20;
/// Length of an IPv6 header without extensions.
pub const IPV6_LEN: usize = 40;
/// Length of a UDP header.
pub const UDP_LEN: usize = 8;
/// Shortest Ethernet frame without its check sequence (IEEE 802.3); shorter ones are padded.
pub const FRAME_LEN_MIN: usize = 60;
/// Time to live of packets that begin here.
pub const TTL_DEFAULT: u8 = 64;

/// Why a header could not be written. The frame is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// The frame has no more headroom.
    Headroom,
    /// The payload is longer than the header's length field can say.
    Length,
    /// Source and destination are not of one family.
    Family,
}

/// An Ethernet header and its tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkHeader {
    /// To which station.
    pub destination: MacAddr,
    /// From which station.
    pub source: MacAddr,
    /// Tags, outermost first.
    pub vlans: VlanList,
}

impl LinkHeader {
    /// The link header of a received frame; `None` when it is too short for one.
    #[must_use]
    pub fn of(head: &[u8], parsed: &Parsed) -> Option<Self> {
        let addresses: &[u8; 12] = head.first_chunk()?;
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *addresses;
        Some(LinkHeader {
            destination: MacAddr([a, b, c, d, e, f]),
            source: MacAddr([g, h, i, j, k, l]),
            vlans: parsed.vlans,
        })
    }

    /// The header of an answer that leaves from `own`.
    #[must_use]
    pub fn answer(&self, own: MacAddr) -> Self {
        LinkHeader { destination: self.source, source: own, vlans: self.vlans }
    }

    /// The header of frames the other way, between the same stations.
    #[must_use]
    pub fn mirrored(&self) -> Self {
        self.answer(self.destination)
    }

    /// Length in bytes, tags and Ethernet type included.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        14 + self.vlans.byte_len()
    }

    /// Writes the header into `into`, which is exactly [`LinkHeader::byte_len`] long.
    fn emit(&self, into: &mut [u8], ethertype: u16) {
        let mut at = 0;
        put(into, &mut at, &self.destination.0);
        put(into, &mut at, &self.source.0);
        for tag in self.vlans.as_slice() {
            put(into, &mut at, &tag.tpid.to_be_bytes());
            put(into, &mut at, &tag.tci.to_be_bytes());
        }
        put(into, &mut at, &ethertype.to_be_bytes());
    }
}

/// An IP header without options or extensions. The family is that of the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpHeader {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Traffic class: DSCP in the upper six bits, ECN in the lower two.
    pub traffic_class: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
}

impl IpHeader {
    /// Length in bytes.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        if self.destination.is_ipv4() { IPV4_LEN } else { IPV6_LEN }
    }

    /// Ethernet type of its family.
    #[must_use]
    pub fn ethertype(&self) -> u16 {
        if self.destination.is_ipv4() { ethertype::IPV4 } else { ethertype::IPV6 }
    }

    /// Writes the header into `into`, which is exactly [`IpHeader::byte_len`] long. IPv4 packets
    /// are atomic: DF is set, the identification is 0 (RFC 6864, section 4.1).
    fn emit(&self, into: &mut [u8], payload_len: u16) {
        let mut at = 0;
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let total_len = payload_len.saturating_add(20);
                put(into, &mut at, &[0x45, self.traffic_class]);
                put(into, &mut at, &total_len.to_be_bytes());
                put(into, &mut at, &[0, 0, 0x40, 0, self.ttl, self.protocol, 0, 0]);
                put(into, &mut at, &source.octets());
                put(into, &mut at, &destination.octets());
                checksum::fill_ipv4_header(into);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let first = (6 << 28) | (u32::from(self.traffic_class) << 20);
                put(into, &mut at, &first.to_be_bytes());
                put(into, &mut at, &payload_len.to_be_bytes());
                put(into, &mut at, &[self.protocol, self.ttl]);
                put(into, &mut at, &source.octets());
                put(into, &mut at, &destination.octets());
            }
            _ => {}
        }
    }
}

/// Writes an IP header in front of a frame that holds the IP payload.
///
/// # Errors
/// No headroom, a payload of more than 64 KiB, mixed families; the frame is unchanged.
pub fn prepend_ip<F: Frame>(frame: &mut F, header: &IpHeader) -> Result<(), BuildError> {
    if header.source.is_ipv4() != header.destination.is_ipv4() {
        return Err(BuildError::Family);
    }
    let len = frame.frame_len();
    let in_field = if header.destination.is_ipv4() { len + IPV4_LEN } else { len };
    if in_field > usize::from(u16::MAX) {
        return Err(BuildError::Length);
    }
    let payload_len = u16::try_from(len).map_err(|_| BuildError::Length)?;
    let into = frame.prepend(header.byte_len()).ok_or(BuildError::Headroom)?;
    header.emit(into, payload_len);
    Ok(())
}

/// Whether a UDP datagram carries a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpChecksum {
    /// Computed over header and payload.
    Computed,
    /// Begun: see [`checksum::Begun`].
    Begun,
    /// None over IPv4 (for payloads that authenticate themselves); computed over IPv6, where it
    /// may not be left out (RFC 8200, section 8.1).
    NoneOverIpv4,
}

/// Writes UDP and IP headers in front of a frame that holds the payload; `ports` are source and
/// destination. `header.protocol` is UDP whatever it says.
///
/// # Errors
/// No headroom, a payload too long, mixed families; the frame is unchanged.
pub fn prepend_udp<F: Frame>(
    frame: &mut F,
    header: &IpHeader,
    ports: (u16, u16),
    checksum: UdpChecksum,
) -> Result<(), BuildError> {
    let header = IpHeader { protocol: protocol::UDP, ..*header };
    let length = u16::try_from(frame.frame_len() + UDP_LEN).map_err(|_| BuildError::Length)?;
    let into = frame.prepend(UDP_LEN).ok_or(BuildError::Headroom)?;
    let mut at = 0;
    put(into, &mut at, &ports.0.to_be_bytes());
    put(into, &mut at, &ports.1.to_be_bytes());
    put(into, &mut at, &length.to_be_bytes());
    put(into, &mut at, &[0, 0]);
    if checksum == UdpChecksum::Begun {
        let (head, len) = (frame.head_mut(), usize::from(length));
        checksum::begin(head, len, header.source, header.destination, protocol::UDP);
    } else if checksum == UdpChecksum::Computed || header.destination.is_ipv6() {
        let value = frame_sum(frame, &header);
        if let Some(field) = frame.head_mut().get_mut(6..8) {
            // RFC 768: zero means none, and all ones is the same sum.
            field.copy_from_slice(&(if value == 0 { 0xffff } else { value }).to_be_bytes());
        }
    }
    let result = prepend_ip(frame, &header);
    if result.is_err() {
        frame.trim_front(UDP_LEN);
    }
    result
}

/// The checksum over pseudo header and all parts of a frame that begins with a transport header,
/// whose checksum field is 0.
fn frame_sum<F: Frame>(frame: &F, header: &IpHeader) -> u16 {
    let len = u32::try_from(frame.frame_len()).unwrap_or(u32::MAX);
    let mut sum = checksum::pseudo_header(header.source, header.destination, header.protocol, len);
    sum.add(frame.head());
    for index in 0..frame.tail_count() {
        sum.add(frame.tail(index));
    }
    sum.finish()
}

/// Writes an Ethernet header and its tags in front of a frame, and pads a short frame with zeros.
///
/// # Errors
/// No headroom; the frame is unchanged.
pub fn prepend_link<F: Frame>(
    frame: &mut F,
    header: &LinkHeader,
    ethertype: u16,
) -> Result<(), BuildError> {
    let into = frame.prepend(header.byte_len()).ok_or(BuildError::Headroom)?;
    header.emit(into, ethertype);
    pad(frame);
    Ok(())
}

/// Pads a frame to [`FRAME_LEN_MIN`] with zeros, if there is room.
pub fn pad<F: Frame>(frame: &mut F) {
    let missing = FRAME_LEN_MIN.saturating_sub(frame.frame_len());
    if missing > 0
        && let Some(padding) = frame.append(missing)
    {
        padding.fill(0);
    }
}

/// Appends bytes to a frame; false, and nothing changed, when they do not fit.
pub(crate) fn append<F: Frame>(frame: &mut F, bytes: &[u8]) -> bool {
    frame.append(bytes.len()).is_some_and(|room| {
        room.copy_from_slice(bytes);
        true
    })
}

/// Copies `bytes` to `into[*at..]` and moves on; leaves out what does not fit.
pub(crate) fn put(into: &mut [u8], at: &mut usize, bytes: &[u8]) {
    if let Some(room) = into.get_mut(*at..*at + bytes.len()) {
        room.copy_from_slice(bytes);
    }
    *at += bytes.len();
}
