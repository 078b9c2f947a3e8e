//! TCP segments as scripts write and see them: numbers count from each side's SYN.

use std::net::{IpAddr, SocketAddr};

use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, IpRepr, Ipv4Packet,
    Ipv6Packet, TcpPacket,
};

/// TCP flag bits.
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 1 << 0;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 1 << 1;
    /// Reset the connection.
    pub const RST: u8 = 1 << 2;
    /// Push.
    pub const PSH: u8 = 1 << 3;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 1 << 4;
    /// The urgent pointer counts.
    pub const URG: u8 = 1 << 5;
}

const TCP_LEN: usize = 20;
const ETHERNET_LEN: usize = 14;
const HOP_LIMIT: u8 = 64;

/// A TCP segment to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number: 0 is the own SYN, 1 the first byte.
    pub seq: u32,
    /// Acknowledgement number: 0 is the peer's SYN, 1 its first byte.
    pub ack: u32,
    /// Bits of [`flag`].
    pub flags: u8,
    /// The window field, unscaled.
    pub window: u16,
    /// Options as on the wire; padded with zeros to a multiple of 4, at most 40 bytes.
    pub options: Vec<u8>,
    /// Data.
    pub payload: Vec<u8>,
    /// What is done to the finished frame.
    pub damage: Damage,
}

/// How a finished frame is made wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Damage {
    /// Not at all.
    #[default]
    None,
    /// Cut to this many bytes.
    Cut(usize),
    /// One byte is xored, the checksums stay as they were.
    Flip {
        /// Place in the frame.
        at: usize,
        /// What with.
        with: u8,
    },
}

impl Segment {
    /// A segment with these flags and no data.
    #[must_use]
    pub fn new(flags: u8, seq: u32, ack: u32) -> Self {
        Segment {
            seq,
            ack,
            flags,
            window: 65_000,
            options: Vec::new(),
            payload: Vec::new(),
            damage: Damage::None,
        }
    }

    /// A SYN that names an MSS.
    #[must_use]
    pub fn syn(mss: u16) -> Self {
        Segment::new(flag::SYN, 0, 0).with_mss(mss)
    }

    /// An acknowledgement.
    #[must_use]
    pub fn ack(seq: u32, ack: u32) -> Self {
        Segment::new(flag::ACK, seq, ack)
    }

    /// Data.
    #[must_use]
    pub fn data(seq: u32, ack: u32, payload: &[u8]) -> Self {
        Segment { payload: payload.to_vec(), ..Segment::new(flag::ACK | flag::PSH, seq, ack) }
    }

    /// The end of a stream.
    #[must_use]
    pub fn fin(seq: u32, ack: u32) -> Self {
        Segment::new(flag::FIN | flag::ACK, seq, ack)
    }

    /// A reset.
    #[must_use]
    pub fn rst(seq: u32) -> Self {
        Segment::new(flag::RST, seq, 0)
    }

    /// The same with another window.
    #[must_use]
    pub fn with_window(self, window: u16) -> Self {
        Segment { window, ..self }
    }

    /// The same, made wrong.
    #[must_use]
    pub fn with_damage(self, damage: Damage) -> Self {
        Segment { damage, ..self }
    }

    fn with_mss(mut self, mss: u16) -> Self {
        let [high, low] = mss.to_be_bytes();
        self.options.extend([2, 4, high, low]);
        self
    }
}

/// Both sides of a connection as a script's frames name them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addressing {
    pub(super) mac: [u8; 6],
    pub(super) peer_mac: [u8; 6],
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) isn: u32,
    pub(super) peer_isn: u32,
}

impl Segment {
    /// The whole frame.
    pub(super) fn frame(&self, addressing: &Addressing) -> Vec<u8> {
        let tcp = self.tcp_bytes(addressing);
        let ip = IpRepr::new(
            addressing.local.ip().into(),
            addressing.remote.ip().into(),
            IpProtocol::Tcp,
            tcp.len(),
            HOP_LIMIT,
        );
        let mut frame = vec![0; ETHERNET_LEN + ip.buffer_len()];
        let mut ethernet = EthernetFrame::new_unchecked(&mut frame);
        ethernet.set_src_addr(EthernetAddress(addressing.mac));
        ethernet.set_dst_addr(EthernetAddress(addressing.peer_mac));
        ethernet.set_ethertype(match addressing.local.ip() {
            IpAddr::V4(_) => EthernetProtocol::Ipv4,
            IpAddr::V6(_) => EthernetProtocol::Ipv6,
        });
        ip.emit(ethernet.payload_mut(), &smoltcp::phy::ChecksumCapabilities::default());
        frame.truncate(ETHERNET_LEN + ip.header_len());
        frame.extend(tcp);
        match self.damage {
            Damage::None => {}
            Damage::Cut(len) => frame.truncate(len),
            Damage::Flip { at, with } => {
                if let Some(byte) = frame.get_mut(at) {
                    *byte ^= with;
                }
            }
        }
        frame
    }

    fn tcp_bytes(&self, addressing: &Addressing) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4).min(40), 0);
        let offset = u8::try_from((TCP_LEN + options.len()) / 4).unwrap_or(15);
        let mut tcp = Vec::with_capacity(TCP_LEN + options.len() + self.payload.len());
        tcp.extend(addressing.local.port().to_be_bytes());
        tcp.extend(addressing.remote.port().to_be_bytes());
        tcp.extend(addressing.isn.wrapping_add(self.seq).to_be_bytes());
        let acknowledges = self.flags & flag::ACK != 0;
        let ack = if acknowledges { addressing.peer_isn.wrapping_add(self.ack) } else { 0 };
        tcp.extend(ack.to_be_bytes());
        tcp.extend([offset << 4, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(options);
        tcp.extend(&self.payload);
        let (source, destination) = (addressing.local.ip().into(), addressing.remote.ip().into());
        TcpPacket::new_unchecked(&mut tcp).fill_checksum(&source, &destination);
        tcp
    }
}

/// A TCP segment that came in, its numbers as on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    pub(super) options: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// The TCP segment in a frame, if it is one and its checksums hold.
pub(super) fn parse(frame: &[u8]) -> Option<Raw> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let (source, destination, tcp): (IpAddress, IpAddress, &[u8]) = match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let packet = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
            let ours = packet.next_header() == IpProtocol::Tcp && packet.verify_checksum();
            (packet.src_addr().into(), packet.dst_addr().into(), ours.then(|| packet.payload())?)
        }
        EthernetProtocol::Ipv6 => {
            let packet = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
            let ours = packet.next_header() == IpProtocol::Tcp;
            (packet.src_addr().into(), packet.dst_addr().into(), ours.then(|| packet.payload())?)
        }
        _ => return None,
    };
    let segment = TcpPacket::new_checked(tcp).ok()?;
    if !segment.verify_checksum(&source, &destination) {
        return None;
    }
    let ip = |address: IpAddress| match address {
        IpAddress::Ipv4(v4) => IpAddr::V4(v4),
        IpAddress::Ipv6(v6) => IpAddr::V6(v6),
    };
    let header_len = usize::from(segment.header_len());
    Some(Raw {
        source: SocketAddr::new(ip(source), segment.src_port()),
        destination: SocketAddr::new(ip(destination), segment.dst_port()),
        seq: u32::from_be_bytes(*tcp.get(4..)?.first_chunk()?),
        ack: u32::from_be_bytes(*tcp.get(8..)?.first_chunk()?),
        flags: *tcp.get(13)?,
        window: segment.window_len(),
        options: tcp.get(TCP_LEN..header_len)?.to_vec(),
        payload: tcp.get(header_len..)?.to_vec(),
    })
}
