//! The fast parser: one pass over the headers of a frame.
//!
//! In: the first part of a frame and the length of all parts. Out: [`Parsed`], offsets and facts
//! that later stages need, every length checked; or [`Malformed`], the first thing that is wrong.
//! Never: a panic, a checksum (see [`super::checksum`]), a copy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::FlowKey;
use super::ip::{ethertype, ipv6_extension, protocol, tcp_flag};
use super::vlan::{VlanList, VlanTag};

/// Length of an Ethernet header without tags.
pub const ETHERNET_LEN: usize = 14;
/// IPv6 extension headers that are walked before the packet counts as malformed.
pub const IPV6_EXTENSIONS_MAX: usize = 8;

/// What follows the Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// ARP.
    Arp,
    /// Anything else: never looked into.
    Other,
}

/// What follows the IP header and its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A whole TCP header.
    Tcp,
    /// A UDP header whose length field fits.
    Udp,
    /// An ICMP or ICMPv6 header.
    Icmp,
    /// A fragment: nothing behind the IP header was looked at.
    Fragment,
    /// Another protocol, or no IP at all.
    Other,
}

/// The place of a fragment in its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentInfo {
    /// Identification that all fragments of a packet share.
    pub identification: u32,
    /// Offset of the fragment's first byte, in bytes.
    pub offset: u16,
    /// Whether more fragments follow.
    pub more: bool,
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than its Ethernet header and tags.
    Ethernet,
    /// The IP version is not what the Ethernet type says.
    IpVersion,
    /// The IP header is cut short or its length field is below the minimum.
    IpHeader,
    /// The IP length field is beyond the end of the frame, or below the header's length.
    IpLength,
    /// An IPv6 extension header is cut short or out of place.
    Ipv6Extension,
    /// More IPv6 extension headers than [`IPV6_EXTENSIONS_MAX`].
    Ipv6ExtensionCount,
    /// An IPv4-mapped IPv6 address on the wire (RFC 4291, section 2.5.5.2 keeps it off it).
    MappedAddress,
    /// The fragment ends beyond the largest packet, or does not fill its unit of 8 bytes.
    FragmentRange,
    /// The TCP header is cut short or its data offset is below the minimum.
    TcpHeader,
    /// The UDP header is cut short or its length field is wrong.
    UdpHeader,
    /// The ICMP header is cut short.
    IcmpHeader,
}

/// Offsets and facts of one frame. All offsets count from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The 5-tuple and VLAN; meaningful when [`Parsed::is_ip`]. A fragment has no ports.
    pub key: FlowKey,
    /// VLAN tags, outermost first.
    pub vlans: VlanList,
    /// Ethernet type behind the tags.
    pub ethertype: u16,
    /// What follows the Ethernet header.
    pub network: Network,
    /// What follows the IP header.
    pub transport: Transport,
    /// First byte behind the Ethernet header and its tags.
    pub l3_offset: u32,
    /// First byte behind the IP header and its extensions.
    pub l4_offset: u32,
    /// First byte behind the transport header; `l4_offset` where that is not looked at.
    pub payload_offset: u32,
    /// First byte behind the payload of the transport.
    pub payload_end: u32,
    /// First byte behind the IP packet; what follows is padding.
    pub ip_end: u32,
    /// Traffic class: DSCP in the upper six bits, ECN in the lower two.
    pub traffic_class: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// TCP flags; see [`tcp_flag`].
    pub tcp_flags: u8,
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
    /// Whether routers may not fragment it: DF, and always for IPv6.
    pub dont_fragment: bool,
    /// The place in a larger packet, if it is a fragment.
    pub fragment: Option<FragmentInfo>,
}

impl Parsed {
    /// Whether the frame is IPv4 or IPv6.
    #[must_use]
    pub fn is_ip(&self) -> bool {
        matches!(self.network, Network::Ipv4 | Network::Ipv6)
    }

    /// Differentiated services code point.
    #[must_use]
    pub fn dscp(&self) -> u8 {
        self.traffic_class >> 2
    }

    /// Explicit congestion notification bits.
    #[must_use]
    pub fn ecn(&self) -> u8 {
        self.traffic_class & 3
    }

    /// Length of the transport's payload in bytes.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.payload_end.saturating_sub(self.payload_offset) as usize
    }

    /// Whether it opens a TCP connection: SYN without ACK, RST and FIN.
    #[must_use]
    pub fn is_syn(&self) -> bool {
        let decisive = tcp_flag::SYN | tcp_flag::ACK | tcp_flag::RST | tcp_flag::FIN;
        self.transport == Transport::Tcp && self.tcp_flags & decisive == tcp_flag::SYN
    }

    /// The IP packet within the frame's first part: header to the end, without padding.
    #[must_use]
    pub fn ip_packet<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        let end = (self.ip_end as usize).min(head.len());
        head.get(self.l3_offset as usize..end).unwrap_or(&[])
    }

    /// Length of the IP packet in bytes.
    #[must_use]
    pub fn ip_len(&self) -> u64 {
        u64::from(self.ip_end.saturating_sub(self.l3_offset))
    }

    /// The IP header and its extensions.
    #[must_use]
    pub fn ip_header<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        head.get(self.l3_offset as usize..self.l4_offset as usize).unwrap_or(&[])
    }

    /// Transport header and payload, as far as they are in the frame's first part.
    #[must_use]
    pub fn l4<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        let end = (self.payload_end as usize).min(head.len());
        head.get(self.l4_offset as usize..end).unwrap_or(&[])
    }

    /// The TCP options.
    #[must_use]
    pub fn tcp_options<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        if self.transport != Transport::Tcp {
            return &[];
        }
        head.get(self.l4_offset as usize + TCP_MIN..self.payload_offset as usize).unwrap_or(&[])
    }
}

const IPV4_MIN: usize = 20;
const IPV6_LEN: usize = 40;
const TCP_MIN: usize = 20;
const UDP_LEN: usize = 8;
const ICMP_LEN: usize = 8;
const VLAN_LEN: usize = 4;
/// Longest IP packet that fragments may make up.
const IP_PACKET_MAX: usize = 65_535;

/// Parses a frame: `head` is its first part, which holds all headers, `frame_len` the length of
/// all parts in bytes.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(head: &[u8], frame_len: usize) -> Result<Parsed, Malformed> {
    let frame_len = frame_len.max(head.len()).min(u32::MAX as usize);
    let (vlans, ethertype, l3) = parse_link(head)?;
    let mut parsed = Parsed {
        key: FlowKey::new(
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv4Addr::UNSPECIFIED.into(),
            0,
            0,
            0,
            vlans.outer_id(),
        ),
        vlans,
        ethertype,
        network: Network::Other,
        transport: Transport::Other,
        l3_offset: offset(l3),
        l4_offset: offset(l3),
        payload_offset: offset(l3),
        payload_end: offset(frame_len),
        ip_end: offset(frame_len),
        traffic_class: 0,
        ttl: 0,
        tcp_flags: 0,
        icmp_type: 0,
        icmp_code: 0,
        dont_fragment: false,
        fragment: None,
    };
    match ethertype {
        ethertype::IPV4 => parse_ipv4(&mut parsed, head, frame_len, l3)?,
        ethertype::IPV6 => parse_ipv6(&mut parsed, head, frame_len, l3)?,
        ethertype::ARP => parsed.network = Network::Arp,
        _ => {}
    }
    Ok(parsed)
}

/// Tags, the Ethernet type behind them, and where the network header begins. A third tag is left
/// where it is: such a frame is of no known network.
fn parse_link(head: &[u8]) -> Result<(VlanList, u16, usize), Malformed> {
    let header: &[u8; ETHERNET_LEN] = head.first_chunk().ok_or(Malformed::Ethernet)?;
    let mut ethertype = u16::from_be_bytes([header[12], header[13]]);
    let mut vlans = VlanList::default();
    let mut at = ETHERNET_LEN;
    while VlanTag::is_tpid(ethertype) && !vlans.is_full() {
        let tag: &[u8; VLAN_LEN] = chunk(head, at).ok_or(Malformed::Ethernet)?;
        vlans.push(VlanTag { tpid: ethertype, tci: u16::from_be_bytes([tag[0], tag[1]]) });
        ethertype = u16::from_be_bytes([tag[2], tag[3]]);
        at += VLAN_LEN;
    }
    Ok((vlans, ethertype, at))
}

fn parse_ipv4(
    parsed: &mut Parsed,
    head: &[u8],
    frame_len: usize,
    l3: usize,
) -> Result<(), Malformed> {
    let header: &[u8; IPV4_MIN] = chunk(head, l3).ok_or(Malformed::IpHeader)?;
    if header[0] >> 4 != 4 {
        return Err(Malformed::IpVersion);
    }
    let header_len = usize::from(header[0] & 0x0f) * 4;
    if header_len < IPV4_MIN || head.len() < l3 + header_len {
        return Err(Malformed::IpHeader);
    }
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if total_len < header_len || total_len > frame_len - l3 {
        return Err(Malformed::IpLength);
    }
    parsed.network = Network::Ipv4;
    parsed.traffic_class = header[1];
    parsed.ttl = header[8];
    parsed.l4_offset = offset(l3 + header_len);
    parsed.payload_offset = parsed.l4_offset;
    parsed.ip_end = offset(l3 + total_len);
    parsed.payload_end = parsed.ip_end;
    let flags = u16::from_be_bytes([header[6], header[7]]);
    parsed.dont_fragment = flags & 0x4000 != 0;
    let fragment_offset = (flags & 0x1fff) << 3;
    let more = flags & 0x2000 != 0;
    if more || fragment_offset != 0 {
        parsed.fragment = Some(FragmentInfo {
            identification: u32::from(u16::from_be_bytes([header[4], header[5]])),
            offset: fragment_offset,
            more,
        });
        check_fragment(fragment_offset, more, total_len - header_len)?;
    }
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let destination = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
    parse_transport(parsed, head, header[9], source.into(), destination.into())
}

fn parse_ipv6(
    parsed: &mut Parsed,
    head: &[u8],
    frame_len: usize,
    l3: usize,
) -> Result<(), Malformed> {
    let header: &[u8; IPV6_LEN] = chunk(head, l3).ok_or(Malformed::IpHeader)?;
    if header[0] >> 4 != 6 {
        return Err(Malformed::IpVersion);
    }
    let end = l3 + IPV6_LEN + usize::from(u16::from_be_bytes([header[4], header[5]]));
    if end > frame_len {
        return Err(Malformed::IpLength);
    }
    parsed.network = Network::Ipv6;
    parsed.traffic_class = (header[0] << 4) | (header[1] >> 4);
    parsed.ttl = header[7];
    parsed.dont_fragment = true;
    parsed.ip_end = offset(end);
    parsed.payload_end = parsed.ip_end;
    let (protocol, l4) = walk_extensions(parsed, head, header[6], l3 + IPV6_LEN, end)?;
    parsed.l4_offset = offset(l4);
    parsed.payload_offset = parsed.l4_offset;
    if let Some(fragment) = parsed.fragment {
        check_fragment(fragment.offset, fragment.more, end - l4)?;
    }
    let source = ipv6_address(header, 8);
    let destination = ipv6_address(header, 24);
    if is_mapped(source) || is_mapped(destination) {
        return Err(Malformed::MappedAddress);
    }
    parse_transport(parsed, head, protocol, source.into(), destination.into())
}

/// Follows the chain of extension headers to the transport; stops behind the header of a real
/// fragment, so that all fragments of a packet show the same protocol. Authentication and
/// encryption headers end the walk: such packets are never looked into.
fn walk_extensions(
    parsed: &mut Parsed,
    head: &[u8],
    first: u8,
    from: usize,
    end: usize,
) -> Result<(u8, usize), Malformed> {
    let mut next = first;
    let mut at = from;
    for place in 0..=IPV6_EXTENSIONS_MAX {
        let is_extension = match next {
            // RFC 8200, section 4.1: hop-by-hop options come first or not at all.
            ipv6_extension::HOP_BY_HOP if place > 0 => return Err(Malformed::Ipv6Extension),
            ipv6_extension::HOP_BY_HOP
            | ipv6_extension::ROUTING
            | ipv6_extension::DESTINATION_OPTIONS
            | ipv6_extension::FRAGMENT => true,
            _ => false,
        };
        if !is_extension {
            return Ok((next, at));
        }
        let header: &[u8; 8] = chunk(head, at).ok_or(Malformed::Ipv6Extension)?;
        let is_fragment = next == ipv6_extension::FRAGMENT;
        let len = if is_fragment { 8 } else { 8 + usize::from(header[1]) * 8 };
        if at + len > end || at + len > head.len() {
            return Err(Malformed::Ipv6Extension);
        }
        next = header[0];
        at += len;
        if is_fragment {
            let field = u16::from_be_bytes([header[2], header[3]]);
            let (fragment_offset, more) = (field & 0xfff8, field & 1 != 0);
            // RFC 6946: a fragment that is the whole packet is no fragment.
            if more || fragment_offset != 0 {
                let identification =
                    u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                parsed.fragment =
                    Some(FragmentInfo { identification, offset: fragment_offset, more });
                return Ok((next, at));
            }
        }
    }
    Err(Malformed::Ipv6ExtensionCount)
}

/// RFC 791 and RFC 8200, section 4.5: all but the last fragment fill units of 8 bytes, and none
/// ends beyond the largest packet.
fn check_fragment(offset: u16, more: bool, len: usize) -> Result<(), Malformed> {
    let ends_beyond = usize::from(offset) + len > IP_PACKET_MAX;
    if ends_beyond || (more && (len == 0 || !len.is_multiple_of(8))) {
        return Err(Malformed::FragmentRange);
    }
    Ok(())
}

fn parse_transport(
    parsed: &mut Parsed,
    head: &[u8],
    protocol: u8,
    source: IpAddr,
    destination: IpAddr,
) -> Result<(), Malformed> {
    let (mut source_port, mut destination_port) = (0, 0);
    let l4 = parsed.l4_offset as usize;
    let available = (parsed.ip_end - parsed.l4_offset) as usize;
    if parsed.fragment.is_some() {
        parsed.transport = Transport::Fragment;
    } else {
        match protocol {
            protocol::TCP => {
                let header: &[u8; TCP_MIN] = chunk(head, l4).ok_or(Malformed::TcpHeader)?;
                let header_len = usize::from(header[12] >> 4) * 4;
                if header_len < TCP_MIN || header_len > available || l4 + header_len > head.len() {
                    return Err(Malformed::TcpHeader);
                }
                parsed.transport = Transport::Tcp;
                parsed.tcp_flags = header[13];
                parsed.payload_offset = offset(l4 + header_len);
                (source_port, destination_port) = ports(header);
            }
            protocol::UDP => {
                let header: &[u8; UDP_LEN] = chunk(head, l4).ok_or(Malformed::UdpHeader)?;
                let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
                if len < UDP_LEN || len > available {
                    return Err(Malformed::UdpHeader);
                }
                parsed.transport = Transport::Udp;
                parsed.payload_offset = offset(l4 + UDP_LEN);
                parsed.payload_end = offset(l4 + len);
                (source_port, destination_port) = ports(header);
            }
            protocol::ICMP if parsed.network == Network::Ipv4 => {
                (source_port, destination_port) = parse_icmp(parsed, head, available, [8, 0])?;
            }
            protocol::ICMPV6 if parsed.network == Network::Ipv6 => {
                (source_port, destination_port) = parse_icmp(parsed, head, available, [128, 129])?;
            }
            _ => {}
        }
    }
    let vlan = parsed.vlans.outer_id();
    parsed.key = FlowKey::new(source, destination, source_port, destination_port, protocol, vlan);
    Ok(())
}

/// An ICMP header. Echo types have the identifier as both ports.
fn parse_icmp(
    parsed: &mut Parsed,
    head: &[u8],
    available: usize,
    echo_types: [u8; 2],
) -> Result<(u16, u16), Malformed> {
    let l4 = parsed.l4_offset as usize;
    let header: &[u8; ICMP_LEN] = chunk(head, l4).ok_or(Malformed::IcmpHeader)?;
    if available < ICMP_LEN {
        return Err(Malformed::IcmpHeader);
    }
    parsed.transport = Transport::Icmp;
    parsed.icmp_type = header[0];
    parsed.icmp_code = header[1];
    parsed.payload_offset = offset(l4 + ICMP_LEN);
    let identifier = if echo_types.contains(&header[0]) {
        u16::from_be_bytes([header[4], header[5]])
    } else {
        0
    };
    Ok((identifier, identifier))
}

/// The 5-tuple of a packet quoted in an ICMP error, which holds at least the IP header and 8
/// bytes of the transport (RFC 792, RFC 4443), but seldom all. `None` when it shows no ports of
/// TCP or UDP and no echo identifier where there should be some, or is a later fragment.
#[must_use]
pub fn parse_quoted(packet: &[u8], vlan: u16) -> Option<FlowKey> {
    let (protocol, l4, source, destination): (u8, usize, IpAddr, IpAddr) =
        match packet.first()? >> 4 {
            4 => {
                let header: &[u8; IPV4_MIN] = packet.first_chunk()?;
                if u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0 {
                    return None;
                }
                let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
                let destination = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
                let header_len = usize::from(header[0] & 0x0f) * 4;
                (header[9], header_len.max(IPV4_MIN), source.into(), destination.into())
            }
            6 => {
                let header: &[u8; IPV6_LEN] = packet.first_chunk()?;
                let (source, destination) = (ipv6_address(header, 8), ipv6_address(header, 24));
                if is_mapped(source) || is_mapped(destination) {
                    return None;
                }
                (header[6], IPV6_LEN, source.into(), destination.into())
            }
            _ => return None,
        };
    let (source_port, destination_port) = match protocol {
        protocol::TCP | protocol::UDP => ports(chunk::<4>(packet, l4)?),
        protocol::ICMP | protocol::ICMPV6 => {
            let header: &[u8; ICMP_LEN] = chunk(packet, l4)?;
            let identifier = u16::from_be_bytes([header[4], header[5]]);
            (identifier, identifier)
        }
        _ => (0, 0),
    };
    Some(FlowKey::new(source, destination, source_port, destination_port, protocol, vlan))
}

/// `N` bytes at `at`, if they are all there.
fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    bytes.get(at..)?.first_chunk()
}

fn ports(header: &[u8]) -> (u16, u16) {
    match header {
        [a, b, c, d, ..] => (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])),
        _ => (0, 0),
    }
}

fn ipv6_address(header: &[u8; IPV6_LEN], at: usize) -> Ipv6Addr {
    chunk::<16>(header, at).map_or(Ipv6Addr::UNSPECIFIED, |octets| Ipv6Addr::from(*octets))
}

fn is_mapped(address: Ipv6Addr) -> bool {
    address.to_bits() >> 32 == 0xffff
}

#[expect(clippy::cast_possible_truncation, reason = "frame lengths are capped at u32::MAX")]
const fn offset(value: usize) -> u32 {
    value as u32
}
