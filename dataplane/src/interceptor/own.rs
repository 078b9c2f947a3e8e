//! The TPO's own addresses and stations, and what it answers for them: ARP, neighbour discovery,
//! echo. Everything else to its own addresses is for the data mover, or nobody.
//!
//! In: frames that are about or for an own address. Out: the same frame as the answer, or what
//! else is to be done with it. Never: an answer to what is malformed, a frame of others changed.

use std::net::{IpAddr, Ipv6Addr};

use super::Side;
use super::prefix::InterfaceAddress;
use super::reason::DropReason;
use crate::frame::arp::{ArpOperation, ArpPacket};
use crate::frame::ndp::{self, NdpPacket};
use crate::frame::{
    FlowKey, Frame, LinkHeader, MacAddr, Parsed, Transport, checksum, icmp, is_routable_unicast,
};

/// What one side is configured with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SideConfig {
    /// Station address of the port.
    pub mac: MacAddr,
    /// Own addresses.
    pub addresses: Vec<InterfaceAddress>,
    /// Next hops for addresses that are not on the link, in order of preference.
    pub gateways: Vec<IpAddr>,
}

impl SideConfig {
    /// The own address from which `to` is asked for or written to: one on the same link, else any
    /// of the family.
    #[must_use]
    pub fn source_for(&self, to: IpAddr) -> Option<IpAddr> {
        let family = || self.addresses.iter().filter(|own| own.address.is_ipv4() == to.is_ipv4());
        family()
            .find(|own| own.prefix.contains(to))
            .or_else(|| family().next())
            .map(|own| own.address)
    }

    /// Whether an address is on this side's link.
    #[must_use]
    pub fn is_on_link(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.prefix.contains(address))
    }
}

/// Who the TPO is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Towards the hosts.
    pub lan: SideConfig,
    /// Towards the peers.
    pub wan: SideConfig,
    /// The data mover's UDP port, on the WAN addresses.
    pub port: u16,
}

/// A station that a frame tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// Its address.
    pub address: IpAddr,
    /// Where it is.
    pub mac: MacAddr,
}

/// What is to be done with a frame that was looked at here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnVerdict {
    /// Not about us.
    Others,
    /// The frame is now the answer, to leave on the side it came from.
    Answer,
    /// It was for us, and all it had to say has been learned.
    Consumed,
    /// A datagram for the data mover.
    ToMover,
    /// Dropped.
    Drop(DropReason),
}

impl Own {
    /// What a side is configured with.
    #[must_use]
    pub fn side(&self, side: Side) -> &SideConfig {
        match side {
            Side::Lan => &self.lan,
            Side::Wan => &self.wan,
        }
    }

    /// The TPO's own addresses of both sides, as in [`FlowKey`](crate::frame::FlowKey).
    pub(super) fn address_bits(&self) -> impl Iterator<Item = u128> + '_ {
        let all = self.lan.addresses.iter().chain(&self.wan.addresses);
        all.map(|own| crate::frame::FlowKey::address_bits(own.address))
    }

    /// Whether an address is the TPO's own, on whichever side.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        self.lan.addresses.iter().chain(&self.wan.addresses).any(|own| own.address == address)
    }

    /// Whether a station address is the TPO's own, on whichever side.
    #[must_use]
    pub fn is_own_station(&self, mac: MacAddr) -> bool {
        mac == self.lan.mac || mac == self.wan.mac
    }

    /// Whether a frame that came from `side` is neither from one of our own stations nor to that of
    /// this side; not for one without both their addresses.
    #[inline]
    pub(super) fn is_between_others(&self, side: Side, head: &[u8]) -> bool {
        let Some([a, b, c, d, e, f, source @ ..]) = head.first_chunk::<12>() else { return false };
        MacAddr([*a, *b, *c, *d, *e, *f]) != self.side(side).mac
            && !self.is_own_station(MacAddr(*source))
    }

    /// Whether an address is the broadcast address of an own link.
    #[must_use]
    pub fn is_broadcast(&self, address: IpAddr) -> bool {
        let all = self.lan.addresses.iter().chain(&self.wan.addresses);
        address.is_ipv4() && all.into_iter().any(|own| own.prefix.is_broadcast(address))
    }

    /// An ARP frame: answered when it asks for an own address, consumed when it answers us. The
    /// second value is what it tells of its sender.
    pub(crate) fn arp<F: Frame>(
        &self,
        side: Side,
        frame: &mut F,
        parsed: &Parsed,
    ) -> (OwnVerdict, Option<Learned>) {
        let own_mac = self.side(side).mac;
        let body = frame.head().get(parsed.l3_offset as usize..).unwrap_or(&[]);
        let (Some(packet), Some(link)) =
            (ArpPacket::parse(body), LinkHeader::of(frame.head(), parsed))
        else {
            return (OwnVerdict::Others, None);
        };
        let sender = IpAddr::V4(packet.sender);
        let learned = Learned { address: sender, mac: packet.sender_mac };
        let learned = (is_host(sender) && learned.mac.is_station()).then_some(learned);
        let announced = packet.sender == packet.target;
        let verdict = if announced || !self.has(packet.target.into()) {
            if link.destination == own_mac { OwnVerdict::Consumed } else { OwnVerdict::Others }
        } else if packet.operation == ArpOperation::Reply {
            OwnVerdict::Consumed
        } else if packet.reply(own_mac).write(frame, &link.answer(own_mac)).is_ok() {
            OwnVerdict::Answer
        } else {
            OwnVerdict::Drop(DropReason::NoHeadroom)
        };
        (verdict, learned)
    }

    /// A neighbour solicitation or advertisement, as [`Own::arp`]. Others' are left to them, but
    /// what they say is learned when they are sound (RFC 4861, section 7.1).
    pub(crate) fn ndp<F: Frame>(
        &self,
        side: Side,
        frame: &mut F,
        parsed: &Parsed,
    ) -> (OwnVerdict, Option<Learned>) {
        let (IpAddr::V6(source), IpAddr::V6(destination)) =
            (parsed.key.source(), parsed.key.destination())
        else {
            return (OwnVerdict::Others, None);
        };
        let own_mac = self.side(side).mac;
        let sound = parsed.ttl == ndp::HOP_LIMIT && checksum::frame_ok(frame, parsed);
        let packet = NdpPacket::parse(parsed.l4(frame.head())).filter(|_| sound);
        let to_us = self.has(destination.into());
        let (Some(packet), Some(link)) = (packet, LinkHeader::of(frame.head(), parsed)) else {
            let verdict =
                if to_us { OwnVerdict::Drop(DropReason::OwnMalformed) } else { OwnVerdict::Others };
            return (verdict, None);
        };
        match packet {
            NdpPacket::Solicitation { target, source_mac } => {
                let mac = source_mac.filter(|mac| mac.is_station());
                let learned = mac.filter(|_| is_host(source.into()));
                let learned = learned.map(|mac| Learned { address: source.into(), mac });
                if !self.has(target.into()) {
                    let verdict = if to_us { OwnVerdict::Consumed } else { OwnVerdict::Others };
                    return (verdict, learned);
                }
                let answer =
                    LinkHeader { destination: mac.unwrap_or(link.source), ..link.answer(own_mac) };
                (advertise(frame, &answer, source, target), learned)
            }
            NdpPacket::Advertisement { target, target_mac, .. } => {
                let mac = target_mac.filter(|mac| mac.is_station() && is_host(target.into()));
                let learned = mac.map(|mac| Learned { address: target.into(), mac });
                (if to_us { OwnVerdict::Consumed } else { OwnVerdict::Others }, learned)
            }
        }
    }

    /// A packet to an own address.
    pub(crate) fn packet<F: Frame>(
        &self,
        side: Side,
        frame: &mut F,
        parsed: &Parsed,
    ) -> OwnVerdict {
        if parsed.fragment.is_some() {
            return OwnVerdict::Drop(DropReason::OwnFragment);
        }
        if !checksum::frame_ok(frame, parsed) {
            return OwnVerdict::Drop(DropReason::BadChecksum);
        }
        let destination = parsed.key.destination();
        let to_wan_address = self.wan.addresses.iter().any(|own| own.address == destination);
        if side == Side::Wan
            && to_wan_address
            && parsed.transport == Transport::Udp
            && parsed.key.destination_port == self.port
        {
            return OwnVerdict::ToMover;
        }
        if !icmp::is_echo_request(parsed) || !is_host(parsed.key.source()) {
            return OwnVerdict::Drop(DropReason::OwnUnknown);
        }
        match icmp::write_echo_reply(frame, parsed, self.side(side).mac) {
            Ok(()) => OwnVerdict::Answer,
            Err(_) => OwnVerdict::Drop(DropReason::NoHeadroom),
        }
    }
}

/// Whether a packet is a neighbour solicitation or advertisement.
pub(crate) fn is_ndp(parsed: &Parsed) -> bool {
    parsed.transport == Transport::Icmp
        && !parsed.key.is_ipv4()
        && matches!(parsed.icmp_type, ndp::NEIGHBOUR_SOLICITATION | ndp::NEIGHBOUR_ADVERTISEMENT)
}

/// Whether a station may have an address: routable, or link-local.
fn is_host(address: IpAddr) -> bool {
    is_routable_unicast(address)
        || match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        }
}

/// Makes the frame the advertisement of an own address to whoever asked; to all nodes if the
/// question came from the unspecified address, which looks for duplicates (RFC 4861, 7.2.4).
fn advertise<F: Frame>(
    frame: &mut F,
    link: &LinkHeader,
    asker: Ipv6Addr,
    target: Ipv6Addr,
) -> OwnVerdict {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let anonymous = asker.is_unspecified();
    let (to, link) = if anonymous {
        let destination = MacAddr::of_ipv6_multicast(ALL_NODES);
        (ALL_NODES, LinkHeader { destination, ..*link })
    } else {
        (asker, *link)
    };
    let packet = NdpPacket::Advertisement {
        target,
        target_mac: Some(link.source),
        solicited: !anonymous,
        overrides: true,
    };
    match packet.write(frame, &link, target, to) {
        Ok(()) => OwnVerdict::Answer,
        Err(_) => OwnVerdict::Drop(DropReason::NoHeadroom),
    }
}

/// Whether a frame that tells of a station claims an own address for another station.
pub(crate) fn is_conflict(own: &Own, learned: Learned) -> bool {
    own.has(learned.address) && !own.is_own_station(learned.mac)
}

/// Whether a key's addresses can be the ends of a flow that is taken.
pub(crate) fn is_takeable(own: &Own, key: &FlowKey) -> bool {
    let (source, destination) = (key.source(), key.destination());
    is_routable_unicast(source)
        && is_routable_unicast(destination)
        && !own.is_broadcast(destination)
}
