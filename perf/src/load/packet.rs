//! Frames around the stack's packets: Ethernet, ARP, checksums.
//!
//! In: bytes of a frame. Out: whose it is; headers and checksums written. Never: a length taken on
//! trust.

use std::net::{IpAddr, Ipv4Addr};

use dataplane::frame::checksum::{
    begin, fill_ipv4_header, fill_transport, ipv4_header_ok, pseudo_header,
};
use dataplane::frame::ip::protocol;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol,
    Ipv4Packet, TcpPacket,
};

/// Bytes of an Ethernet header.
pub(super) const ETHERNET: usize = 14;
/// Bytes of a frame with ARP, padded as Ethernet wants it.
pub(super) const ARP_FRAME: usize = 60;
/// Bytes of an IPv4 header without options: the stack writes none.
pub(super) const IPV4: usize = 20;

pub(super) type Mac = [u8; 6];

/// What a frame is to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    /// A question who has an address.
    Question { mac: Mac, ip: Ipv4Addr, target: Ipv4Addr },
    /// An answer to one.
    Answer { mac: Mac, ip: Ipv4Addr },
    /// A segment, with its IP packet.
    Segment(Segment<'a>),
}

/// A TCP segment between two of our hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) source: (Ipv4Addr, u16),
    pub(super) destination: (Ipv4Addr, u16),
    /// Whether it opens a connection.
    pub(super) is_first: bool,
    /// The IP packet, without what Ethernet pads.
    pub(super) packet: &'a [u8],
}

/// Reads a frame; `None` for what no host of ours is meant by.
pub(super) fn read(frame: &[u8], own: Mac) -> Option<Seen<'_>> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let to = ethernet.dst_addr();
    if to.is_unicast() && to.0 != own {
        return None;
    }
    let bytes = frame.get(ETHERNET..)?;
    match ethernet.ethertype() {
        EthernetProtocol::Arp => read_arp(bytes),
        EthernetProtocol::Ipv4 => read_segment(bytes),
        _ => None,
    }
}

fn read_arp(bytes: &[u8]) -> Option<Seen<'_>> {
    let packet = ArpPacket::new_checked(bytes).ok()?;
    let ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(mac),
        source_protocol_addr: ip,
        target_protocol_addr: target,
        ..
    } = ArpRepr::parse(&packet).ok()?
    else {
        return None;
    };
    match operation {
        ArpOperation::Request => Some(Seen::Question { mac, ip, target }),
        ArpOperation::Reply => Some(Seen::Answer { mac, ip }),
        ArpOperation::Unknown(_) => None,
    }
}

fn read_segment(bytes: &[u8]) -> Option<Seen<'_>> {
    let ip = Ipv4Packet::new_checked(bytes).ok()?;
    if ip.next_header() != IpProtocol::Tcp || ip.more_frags() || ip.frag_offset() != 0 {
        return None;
    }
    let tcp = TcpPacket::new_checked(ip.payload()).ok()?;
    Some(Seen::Segment(Segment {
        source: (ip.src_addr(), tcp.src_port()),
        destination: (ip.dst_addr(), tcp.dst_port()),
        is_first: tcp.syn() && !tcp.ack(),
        packet: bytes.get(..usize::from(ip.total_len()))?,
    }))
}

/// Whether both checksums of a frame with TCP are right; anything else has none that matters here.
pub(super) fn is_sound(frame: &[u8]) -> bool {
    let Some((source, destination)) = addresses(frame) else { return true };
    let Some(end) = Ipv4Packet::new_checked(&frame[ETHERNET..]).ok().map(|ip| ip.total_len())
    else {
        return false;
    };
    let l4 = &frame[ETHERNET + IPV4..ETHERNET + usize::from(end)];
    let len = u32::try_from(l4.len()).unwrap_or(u32::MAX);
    let mut sum = pseudo_header(source, destination, protocol::TCP, len);
    sum.add(l4);
    ipv4_header_ok(&frame[ETHERNET..ETHERNET + IPV4]) && sum.finish() == 0
}

/// Fills in the checksums of a frame as the stack has written it.
pub(super) fn fill_checksums(frame: &mut [u8]) {
    let Some((source, destination)) = addresses(frame) else { return };
    fill_ipv4_header(&mut frame[ETHERNET..ETHERNET + IPV4]);
    fill_transport(&mut frame[ETHERNET + IPV4..], source, destination, protocol::TCP);
}

/// The same for a port that completes the transport's: it gets the sum of the pseudo header.
pub(super) fn begin_checksums(frame: &mut [u8]) -> bool {
    let Some((source, destination)) = addresses(frame) else { return false };
    fill_ipv4_header(&mut frame[ETHERNET..ETHERNET + IPV4]);
    let l4 = &mut frame[ETHERNET + IPV4..];
    let len = l4.len();
    begin(l4, len, source, destination, protocol::TCP);
    true
}

/// The addresses of a frame with TCP over IPv4.
fn addresses(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let ip = frame.get(ETHERNET..).filter(|ip| ip.len() >= IPV4)?;
    let is_tcp = frame[12..ETHERNET] == [0x08, 0] && ip[0] == 0x45 && ip[9] == protocol::TCP;
    let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]).into();
    is_tcp.then(|| (address(12), address(16)))
}

/// The Ethernet header of a packet.
pub(super) fn head(from: Mac, to: Mac) -> [u8; ETHERNET] {
    let mut bytes = [0; ETHERNET];
    bytes[..6].copy_from_slice(&to);
    bytes[6..12].copy_from_slice(&from);
    bytes[12..].copy_from_slice(&[0x08, 0]);
    bytes
}

/// Writes ARP of a host: an answer to `to`, or a question to all.
pub(super) fn write_arp(
    frame: &mut [u8],
    from: (Mac, Ipv4Addr),
    to: Option<Mac>,
    target: Ipv4Addr,
) {
    frame.fill(0);
    let mut ethernet = EthernetFrame::new_unchecked(frame);
    ethernet.set_src_addr(EthernetAddress(from.0));
    ethernet.set_dst_addr(to.map_or(EthernetAddress::BROADCAST, EthernetAddress));
    ethernet.set_ethertype(EthernetProtocol::Arp);
    let arp = ArpRepr::EthernetIpv4 {
        operation: if to.is_some() { ArpOperation::Reply } else { ArpOperation::Request },
        source_hardware_addr: EthernetAddress(from.0),
        source_protocol_addr: from.1,
        target_hardware_addr: EthernetAddress(to.unwrap_or_default()),
        target_protocol_addr: target,
    };
    arp.emit(&mut ArpPacket::new_unchecked(ethernet.payload_mut()));
}
