//! Who has which MAC address: the questions and answers of a scripted host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags,
    NdiscRepr, RawHardwareAddress,
};

/// Hop limit of neighbour discovery (RFC 4861, 7.1).
const NDISC_HOP_LIMIT: u8 = 255;

/// The answer to `frame`, if it asks for `own`.
pub(super) fn answer(frame: &[u8], mac: [u8; 6], own: IpAddr) -> Option<Vec<u8>> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    match (ethernet.ethertype(), own) {
        (EthernetProtocol::Arp, IpAddr::V4(own)) => arp(ethernet.payload(), mac, own),
        (EthernetProtocol::Ipv6, IpAddr::V6(own)) => ndisc(&ethernet, mac, own),
        _ => None,
    }
}

/// A question for the MAC address of `peer`, known as it is: those who hear it learn where `own`
/// is.
pub(super) fn question(mac: [u8; 6], peer_mac: [u8; 6], own: IpAddr, peer: IpAddr) -> Vec<u8> {
    match (own, peer) {
        (IpAddr::V6(own), IpAddr::V6(peer)) => {
            let solicit = Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit {
                target_addr: peer,
                lladdr: Some(RawHardwareAddress::from(EthernetAddress(mac))),
            });
            neighbour_message(mac, EthernetAddress(peer_mac), own, peer, &solicit)
        }
        (IpAddr::V4(own), IpAddr::V4(peer)) => arp_message(
            mac,
            EthernetAddress::BROADCAST,
            &ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Request,
                source_hardware_addr: EthernetAddress(mac),
                source_protocol_addr: own,
                target_hardware_addr: EthernetAddress([0; 6]),
                target_protocol_addr: peer,
            },
        ),
        _ => Vec::new(),
    }
}

fn arp(payload: &[u8], mac: [u8; 6], own: Ipv4Addr) -> Option<Vec<u8>> {
    let packet = ArpPacket::new_checked(payload).ok()?;
    let ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    } = ArpRepr::parse(&packet).ok()?
    else {
        return None;
    };
    if target_protocol_addr != own {
        return None;
    }
    let reply = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: EthernetAddress(mac),
        source_protocol_addr: own,
        target_hardware_addr: source_hardware_addr,
        target_protocol_addr: source_protocol_addr,
    };
    Some(arp_message(mac, source_hardware_addr, &reply))
}

fn arp_message(mac: [u8; 6], to: EthernetAddress, message: &ArpRepr) -> Vec<u8> {
    let (mut frame, at) = ethernet(mac, to, EthernetProtocol::Arp, message.buffer_len());
    message.emit(&mut ArpPacket::new_unchecked(&mut frame[at..]));
    frame
}

fn ndisc(frame: &EthernetFrame<&[u8]>, mac: [u8; 6], own: Ipv6Addr) -> Option<Vec<u8>> {
    let checksum = ChecksumCapabilities::default();
    let ip = Ipv6Packet::new_checked(frame.payload()).ok()?;
    if ip.next_header() != IpProtocol::Icmpv6 {
        return None;
    }
    let icmp = Icmpv6Packet::new_checked(ip.payload()).ok()?;
    let parsed = Icmpv6Repr::parse(&ip.src_addr(), &ip.dst_addr(), &icmp, &checksum).ok()?;
    let Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr, .. }) = parsed else {
        return None;
    };
    if target_addr != own {
        return None;
    }
    let advert = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE,
        target_addr: own,
        lladdr: Some(RawHardwareAddress::from(EthernetAddress(mac))),
    });
    Some(neighbour_message(mac, frame.src_addr(), own, ip.src_addr(), &advert))
}

fn neighbour_message(
    mac: [u8; 6],
    to: EthernetAddress,
    own: Ipv6Addr,
    peer: Ipv6Addr,
    message: &Icmpv6Repr<'_>,
) -> Vec<u8> {
    let header = Ipv6Repr {
        src_addr: own,
        dst_addr: peer,
        next_header: IpProtocol::Icmpv6,
        payload_len: message.buffer_len(),
        hop_limit: NDISC_HOP_LIMIT,
    };
    let len = header.buffer_len() + message.buffer_len();
    let (mut frame, at) = ethernet(mac, to, EthernetProtocol::Ipv6, len);
    header.emit(&mut Ipv6Packet::new_unchecked(&mut frame[at..]));
    let mut body = Icmpv6Packet::new_unchecked(&mut frame[at + header.buffer_len()..]);
    message.emit(&own, &peer, &mut body, &ChecksumCapabilities::default());
    frame
}

// A frame with its Ethernet header written, and where its payload begins.
fn ethernet(
    mac: [u8; 6],
    to: EthernetAddress,
    ethertype: EthernetProtocol,
    payload_len: usize,
) -> (Vec<u8>, usize) {
    let header = EthernetRepr { src_addr: EthernetAddress(mac), dst_addr: to, ethertype };
    let mut frame = vec![0; header.buffer_len() + payload_len];
    header.emit(&mut EthernetFrame::new_unchecked(&mut frame));
    (frame, header.buffer_len())
}
