//! What a host's wrapper looks at in a TCP segment before the stack gets it.
//!
//! In: a frame. Out: the fields that tell faults of the stack. Never: a segment whose checksum is
//! wrong.

use std::net::{IpAddr, SocketAddr};

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket, TcpSeqNumber,
};

use super::{ETHERNET_LEN, NEVER_SENT};

/// What of a TCP segment tells the host which connection it touches.
pub(super) struct TcpSegment {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) syn: bool,
    pub(super) rst: bool,
    pub(super) ack: Option<i32>,
    pub(super) window: u16,
    /// The sequence number behind it.
    pub(super) end: i32,
    /// It carries no data and no flag but ACK.
    pub(super) is_bare: bool,
}

impl TcpSegment {
    pub(super) fn parse(frame: &[u8]) -> Option<Self> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        let (source, destination, segment): (IpAddr, IpAddr, &[u8]) = match ethernet.ethertype() {
            EthernetProtocol::Ipv4 => {
                let packet = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
                let tcp = packet.next_header() == IpProtocol::Tcp;
                let segment = tcp.then(|| packet.payload())?;
                (packet.src_addr().into(), packet.dst_addr().into(), segment)
            }
            EthernetProtocol::Ipv6 => {
                let packet = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
                let tcp = packet.next_header() == IpProtocol::Tcp;
                let segment = tcp.then(|| packet.payload())?;
                (packet.src_addr().into(), packet.dst_addr().into(), segment)
            }
            _ => return None,
        };
        let segment = TcpPacket::new_checked(segment).ok()?;
        if !segment.verify_checksum(&source.into(), &destination.into()) {
            return None;
        }
        Some(TcpSegment {
            local: SocketAddr::new(destination, segment.dst_port()),
            remote: SocketAddr::new(source, segment.src_port()),
            syn: segment.syn(),
            rst: segment.rst(),
            window: segment.window_len(),
            end: (segment.seq_number() + segment.segment_len()).0,
            ack: segment.ack().then(|| segment.ack_number().0),
            is_bare: segment.segment_len() == 0 && !segment.rst(),
        })
    }

    pub(super) fn is_first(&self) -> bool {
        self.syn && self.ack.is_none()
    }
}

/// Tells a window of one unit instead of none.
pub(super) fn with_open_window(frame: &mut [u8]) {
    fn open(segment: &mut [u8], source: IpAddr, destination: IpAddr) {
        let mut packet = TcpPacket::new_unchecked(segment);
        packet.set_window_len(1);
        packet.fill_checksum(&source.into(), &destination.into());
    }
    let mut ethernet = EthernetFrame::new_unchecked(frame);
    match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let mut packet = Ipv4Packet::new_unchecked(ethernet.payload_mut());
            let (source, destination) = (packet.src_addr(), packet.dst_addr());
            open(packet.payload_mut(), source.into(), destination.into());
        }
        EthernetProtocol::Ipv6 => {
            let mut packet = Ipv6Packet::new_unchecked(ethernet.payload_mut());
            let (source, destination) = (packet.src_addr(), packet.dst_addr());
            open(packet.payload_mut(), source.into(), destination.into());
        }
        _ => {}
    }
}

/// Makes of a SYN for an established connection, which the stack would give to a socket that
/// listens, a segment that the connection has to answer in the same way: with a challenge ACK
/// (RFC 9293 3.10.7.4, RFC 5961 4).
pub(super) fn as_unacceptable_ack(frame: &mut [u8], segment: &TcpSegment, ack: i32) {
    let at = ETHERNET_LEN + if segment.local.is_ipv4() { 20 } else { 40 };
    // The header alone: behind it is padding of the frame.
    let Some(len) = frame.get(at + 12).map(|field| usize::from(field >> 4) * 4) else { return };
    let Some(tcp) = frame.get_mut(at..at + len) else { return };
    let mut packet = TcpPacket::new_unchecked(tcp);
    packet.set_syn(false);
    packet.set_ack(true);
    packet.set_ack_number(TcpSeqNumber(ack.wrapping_add(NEVER_SENT)));
    packet.fill_checksum(&segment.remote.ip().into(), &segment.local.ip().into());
}
