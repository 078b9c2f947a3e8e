//! Congestion shown to a packet that can tell of it (RFC 3168).
//!
//! In: an IP packet of a host. Out: the same, marked. Never: a mark on a packet whose hosts do not
//! know what it means, or one taken off.

use super::{Frame, Network, Parsed, checksum};

/// Code point of a packet of hosts that do not know it.
const NOT_ECT: u8 = 0;
/// Code point of congestion experienced.
const CE: u8 = 3;
/// Where the header checksum of IPv4 is.
const IPV4_CHECKSUM: usize = 10;

/// Marks a packet as having met congestion if its hosts understand that; whether it is marked now.
pub fn mark<F: Frame>(frame: &mut F, parsed: &Parsed) -> bool {
    if parsed.ecn() == NOT_ECT {
        return false;
    }
    let offset = usize::try_from(parsed.l3_offset).unwrap_or(usize::MAX);
    let Some(header) = frame.head_mut().get_mut(offset..) else { return false };
    let Some([first, second]) = header.first_chunk().copied() else { return false };
    // The traffic class is all of the second byte of IPv4; of IPv6 it begins four bits earlier.
    let shift = match parsed.network {
        Network::Ipv4 => 0,
        Network::Ipv6 => 4,
        _ => return false,
    };
    let marked = second | CE << shift;
    if let Some(byte) = header.get_mut(1) {
        *byte = marked;
    }
    if parsed.network == Network::Ipv4
        && let Some(field) = header.get_mut(IPV4_CHECKSUM..IPV4_CHECKSUM + 2)
        && let Some(old) = field.first_chunk().copied()
    {
        let [from, to] = [[first, second], [first, marked]].map(u16::from_be_bytes);
        let new = checksum::update(u16::from_be_bytes(old), from, to).to_be_bytes();
        field.iter_mut().zip(new).for_each(|(byte, new)| *byte = new);
    }
    true
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::frame::build::{UdpChecksum, prepend_link, prepend_udp};
    use crate::frame::heap::HeapSource;
    use crate::frame::ip::{ethertype, protocol};
    use crate::frame::{IpHeader, LinkHeader, parse};

    #[test]
    fn only_the_code_point_changes_and_only_where_it_is_understood() {
        let v4: [IpAddr; 2] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        let v6: [IpAddr; 2] = ["fd00::1".parse().unwrap(), "fd00::2".parse().unwrap()];
        for [source, destination] in [v4, v6] {
            for traffic_class in 0..=u8::MAX {
                let mut frames = HeapSource::new(1);
                let mut frame = frames.frame_of(&[9; 40]).unwrap();
                let header = IpHeader {
                    source,
                    destination,
                    protocol: protocol::UDP,
                    traffic_class,
                    ttl: 64,
                };
                prepend_udp(&mut frame, &header, (1, 2), UdpChecksum::Computed).unwrap();
                let ethertype = if source.is_ipv4() { ethertype::IPV4 } else { ethertype::IPV6 };
                prepend_link(&mut frame, &LinkHeader::default(), ethertype).unwrap();
                let before = frame.head().to_vec();
                let parsed = parse(frame.head(), frame.frame_len()).unwrap();
                assert_eq!(mark(&mut frame, &parsed), traffic_class & 3 != NOT_ECT);
                let after = parse(frame.head(), frame.frame_len()).unwrap();
                assert!(checksum::frame_ok(&frame, &after));
                if traffic_class & 3 == NOT_ECT {
                    assert_eq!(frame.head(), before);
                } else {
                    assert_eq!(after.traffic_class, traffic_class | CE);
                }
                let rest = parsed.l3_offset as usize + 12;
                assert_eq!(frame.head()[rest..], before[rest..]);
            }
        }
    }
}
