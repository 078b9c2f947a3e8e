//! Neighbour discovery (RFC 4861): solicitations and advertisements.

use std::net::{IpAddr, Ipv6Addr};

use super::build::{IpHeader, LinkHeader, prepend_ip, prepend_link, put};
use super::ip::{ethertype, protocol};
use super::{BuildError, Frame, MacAddr, checksum, solicited_node};

/// ICMPv6 type of a neighbour solicitation.
pub const NEIGHBOUR_SOLICITATION: u8 = 135;
/// ICMPv6 type of a neighbour advertisement.
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Hop limit of every such packet: it was not forwarded by a router (RFC 4861, section 7.1).
pub const HOP_LIMIT: u8 = 255;

const BODY_LEN: usize = 24;
const OPTION_LEN: usize = 8;
/// Options that are walked; no honest packet has more.
const OPTIONS_MAX: usize = 16;
const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;

/// A neighbour solicitation or advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NdpPacket {
    /// Who has the target address?
    Solicitation {
        /// The address asked for.
        target: Ipv6Addr,
        /// Station of the sender, if it says so; never from the unspecified address.
        source_mac: Option<MacAddr>,
    },
    /// The sender has it.
    Advertisement {
        /// The address told of.
        target: Ipv6Addr,
        /// Station that has it, if it says so.
        target_mac: Option<MacAddr>,
        /// Whether it answers a solicitation.
        solicited: bool,
        /// Whether it replaces what was known.
        overrides: bool,
    },
}

impl NdpPacket {
    /// Parses an ICMPv6 message (checksum and hop limit are the caller's to verify); `None` for
    /// other types and whatever RFC 4861, section 7.1, has a receiver discard.
    #[must_use]
    pub fn parse(icmp: &[u8]) -> Option<Self> {
        let body: &[u8; BODY_LEN] = icmp.first_chunk()?;
        let target = Ipv6Addr::from(*body.last_chunk::<16>()?);
        if body[1] != 0 || target.is_multicast() {
            return None;
        }
        let options = icmp.get(BODY_LEN..)?;
        match body[0] {
            NEIGHBOUR_SOLICITATION => {
                let source_mac = link_layer_option(options, SOURCE_LINK_LAYER)?;
                Some(NdpPacket::Solicitation { target, source_mac })
            }
            NEIGHBOUR_ADVERTISEMENT => Some(NdpPacket::Advertisement {
                target,
                target_mac: link_layer_option(options, TARGET_LINK_LAYER)?,
                solicited: body[4] & FLAG_SOLICITED != 0,
                overrides: body[4] & FLAG_OVERRIDE != 0,
            }),
            _ => None,
        }
    }

    /// The ICMPv6 message and its length; its checksum is not filled in.
    fn emit(&self) -> ([u8; BODY_LEN + OPTION_LEN], usize) {
        let (kind, flags, target, option, mac) = match *self {
            NdpPacket::Solicitation { target, source_mac } => {
                (NEIGHBOUR_SOLICITATION, 0, target, SOURCE_LINK_LAYER, source_mac)
            }
            NdpPacket::Advertisement { target, target_mac, solicited, overrides } => {
                let flags = (if solicited { FLAG_SOLICITED } else { 0 })
                    | (if overrides { FLAG_OVERRIDE } else { 0 });
                (NEIGHBOUR_ADVERTISEMENT, flags, target, TARGET_LINK_LAYER, target_mac)
            }
        };
        let mut bytes = [0; BODY_LEN + OPTION_LEN];
        let mut at = 0;
        put(&mut bytes, &mut at, &[kind, 0, 0, 0, flags, 0, 0, 0]);
        put(&mut bytes, &mut at, &target.octets());
        if let Some(mac) = mac {
            put(&mut bytes, &mut at, &[option, 1]);
            put(&mut bytes, &mut at, &mac.0);
        }
        (bytes, at)
    }

    /// Makes a frame of the packet; `frame` is replaced.
    ///
    /// # Errors
    /// No room; the frame's content is undefined then.
    pub fn write<F: Frame>(
        &self,
        frame: &mut F,
        link: &LinkHeader,
        source: Ipv6Addr,
        destination: Ipv6Addr,
    ) -> Result<(), BuildError> {
        let (bytes, len) = self.emit();
        frame.truncate(0);
        let room = frame.append(len).ok_or(BuildError::Headroom)?;
        room.copy_from_slice(bytes.get(..len).unwrap_or(&[]));
        let (source, destination) = (IpAddr::V6(source), IpAddr::V6(destination));
        checksum::fill_transport(room, source, destination, protocol::ICMPV6);
        let header = IpHeader {
            source,
            destination,
            protocol: protocol::ICMPV6,
            traffic_class: 0,
            ttl: HOP_LIMIT,
        };
        prepend_ip(frame, &header)?;
        prepend_link(frame, link, ethertype::IPV6)
    }

    /// Makes a frame of a solicitation for `target`, to its solicited-node group; `link` gives
    /// source and tags. `frame` is replaced.
    ///
    /// # Errors
    /// No room; the frame's content is undefined then.
    pub fn write_solicitation<F: Frame>(
        frame: &mut F,
        link: &LinkHeader,
        source: Ipv6Addr,
        target: Ipv6Addr,
    ) -> Result<(), BuildError> {
        let group = solicited_node(target);
        let link = LinkHeader { destination: MacAddr::of_ipv6_multicast(group), ..*link };
        NdpPacket::Solicitation { target, source_mac: Some(link.source) }
            .write(frame, &link, source, group)
    }
}

/// The link-layer address in an option of the given type: `Some(None)` when there is none, `None`
/// when the options are malformed.
fn link_layer_option(mut options: &[u8], wanted: u8) -> Option<Option<MacAddr>> {
    for _ in 0..OPTIONS_MAX {
        let [kind, units, ..] = *options else { return Some(None) };
        let len = usize::from(units) * OPTION_LEN;
        // RFC 4861, section 4.6: a length of zero has the packet discarded.
        if len == 0 {
            return None;
        }
        let option = options.get(..len)?;
        if kind == wanted {
            return option.get(2..)?.first_chunk().map(|mac| Some(MacAddr(*mac)));
        }
        options = options.get(len..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::heap::HeapSource;
    use super::super::{FrameSource, Network, parse};
    use super::*;

    fn any_packet() -> impl Strategy<Value = NdpPacket> {
        let target = any::<u128>().prop_map(|bits| Ipv6Addr::from(bits >> 1));
        let mac = any::<Option<[u8; 6]>>().prop_map(|mac| mac.map(MacAddr));
        (target, mac, any::<Option<(bool, bool)>>()).prop_map(|(target, mac, flags)| match flags {
            None => NdpPacket::Solicitation { target, source_mac: mac },
            Some((solicited, overrides)) => {
                NdpPacket::Advertisement { target, target_mac: mac, solicited, overrides }
            }
        })
    }

    proptest! {
        #[test]
        fn parse_and_emit_are_inverse(packet in any_packet()) {
            let (bytes, len) = packet.emit();
            prop_assert_eq!(NdpPacket::parse(&bytes[..len]), Some(packet));
            for cut in 0..BODY_LEN {
                prop_assert_eq!(NdpPacket::parse(&bytes[..cut]), None);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), kind in 135..137u8) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() { *first = kind; }
            let _ = NdpPacket::parse(&bytes);
        }
    }

    #[test]
    fn option_of_length_zero_discards_the_packet() {
        let mut bytes = [0; BODY_LEN + OPTION_LEN];
        bytes[0] = NEIGHBOUR_SOLICITATION;
        assert_eq!(NdpPacket::parse(&bytes), None);
    }

    #[test]
    fn solicitation_goes_to_the_group_with_a_right_checksum() {
        let mut source = HeapSource::new(1);
        let mut frame = source.alloc().unwrap();
        let own = MacAddr([2, 0, 0, 0, 0, 1]);
        let link = LinkHeader { source: own, ..LinkHeader::default() };
        let (from, target) = ("fd77::1".parse().unwrap(), "fd77::2:3".parse().unwrap());
        NdpPacket::write_solicitation(&mut frame, &link, from, target).unwrap();
        let parsed = parse(frame.head(), frame.head().len()).unwrap();
        assert_eq!(parsed.network, Network::Ipv6);
        assert_eq!(parsed.ttl, HOP_LIMIT);
        assert!(checksum::frame_ok(&frame, &parsed));
        assert_eq!(frame.head()[..6], [0x33, 0x33, 0xff, 2, 0, 3]);
        assert_eq!(
            NdpPacket::parse(parsed.l4(frame.head())),
            Some(NdpPacket::Solicitation { target, source_mac: Some(own) })
        );
    }
}
