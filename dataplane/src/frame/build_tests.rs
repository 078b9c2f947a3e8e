//! What the builders write is what the parser reads.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::build::{
    BuildError, FRAME_LEN_MIN, IpHeader, LinkHeader, UdpChecksum, prepend_ip, prepend_link,
    prepend_udp,
};
use super::heap::{HEADROOM, HeapFrame, HeapSource};
use super::icmp::{self, Unreachable};
use super::ip::{ethertype, protocol};
use super::*;

fn frame_of(payload: &[u8]) -> HeapFrame {
    HeapSource::new(1).frame_of(payload).unwrap()
}

fn parsed(frame: &HeapFrame) -> Parsed {
    let parsed = parse(frame.head(), frame.frame_len()).unwrap();
    assert!(checksum::frame_ok(frame, &parsed));
    parsed
}

fn link(vlan: u16) -> LinkHeader {
    LinkHeader {
        destination: MacAddr([2, 0, 0, 0, 0, 2]),
        source: MacAddr([2, 0, 0, 0, 0, 1]),
        vlans: VlanList::of_id(vlan),
    }
}

fn addresses(v4: bool) -> (IpAddr, IpAddr) {
    if v4 {
        (Ipv4Addr::new(10, 0, 0, 1).into(), Ipv4Addr::new(10, 0, 0, 2).into())
    } else {
        (Ipv6Addr::from_bits(0xfd << 120 | 1).into(), Ipv6Addr::from_bits(0xfd << 120 | 2).into())
    }
}

fn header(v4: bool, protocol: u8) -> IpHeader {
    let (source, destination) = addresses(v4);
    IpHeader { source, destination, protocol, traffic_class: 0xb9, ttl: 61 }
}

proptest! {
    #[test]
    fn udp_reads_back(
        v4 in any::<bool>(),
        none in any::<bool>(),
        vlan in 0..4095u16,
        ports in any::<(u16, u16)>(),
        payload in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut frame = frame_of(&payload);
        let sum = if none { UdpChecksum::NoneOverIpv4 } else { UdpChecksum::Computed };
        prepend_udp(&mut frame, &header(v4, 0), ports, sum).unwrap();
        prepend_link(&mut frame, &link(vlan), header(v4, 0).ethertype()).unwrap();
        prop_assert!(frame.frame_len() >= FRAME_LEN_MIN);
        let parsed = parsed(&frame);
        let (source, destination) = addresses(v4);
        prop_assert_eq!(parsed.key, FlowKey::new(source, destination, ports.0, ports.1, protocol::UDP, vlan));
        prop_assert_eq!(&frame.head()[parsed.payload_offset as usize..parsed.payload_end as usize], &payload[..]);
        prop_assert_eq!((parsed.dscp(), parsed.ecn(), parsed.ttl), (46, 1, 61));
        prop_assert!(parsed.dont_fragment);
        prop_assert_eq!(LinkHeader::of(frame.head(), &parsed), Some(link(vlan)));
        let field = &parsed.l4(frame.head())[6..8];
        prop_assert_eq!(field == [0, 0], none && v4);
    }

    #[test]
    fn a_wrong_byte_is_noticed(v4 in any::<bool>(), at in 0..48usize, bit in 0..8u8) {
        let mut frame = frame_of(&[7; 40]);
        prepend_udp(&mut frame, &header(v4, 0), (1, 2), UdpChecksum::Computed).unwrap();
        let l4 = header(v4, 0).byte_len();
        prepend_link(&mut frame, &link(0), header(v4, 0).ethertype()).unwrap();
        let len = frame.frame_len();
        frame.head_mut()[14 + l4 + at] ^= 1 << bit;
        // A wrong length is malformed, anything else has a wrong sum; a zero checksum is refused
        // over IPv6 only, but one flipped bit never makes one here.
        if let Ok(parsed) = parse(frame.head(), len) {
            prop_assert!(!checksum::frame_ok(&frame, &parsed));
        }
    }
}

#[test]
fn identification_is_zero_in_atomic_packets() {
    let mut frame = frame_of(b"x");
    prepend_ip(&mut frame, &header(true, 89)).unwrap();
    assert_eq!(frame.head()[4..8], [0, 0, 0x40, 0]);
}

#[test]
fn mixed_families_and_missing_room_change_nothing() {
    let mut frame = frame_of(b"abc");
    let mixed = IpHeader { source: addresses(false).0, ..header(true, 89) };
    assert_eq!(prepend_ip(&mut frame, &mixed), Err(BuildError::Family));
    assert_eq!(
        prepend_udp(&mut frame, &mixed, (1, 2), UdpChecksum::NoneOverIpv4),
        Err(BuildError::Family)
    );
    assert_eq!(frame.head(), b"abc");
    frame.prepend(HEADROOM).unwrap();
    assert_eq!(prepend_ip(&mut frame, &header(true, 89)), Err(BuildError::Headroom));
    assert_eq!(prepend_link(&mut frame, &link(0), ethertype::IPV4), Err(BuildError::Headroom));
    assert_eq!(frame.frame_len(), HEADROOM + 3);
}

fn echo_request(v4: bool) -> HeapFrame {
    let mut frame = frame_of(&[if v4 { 8 } else { 128 }, 0, 0, 0, 0x12, 0x34, 0, 9, 1, 2, 3]);
    let protocol = if v4 { protocol::ICMP } else { protocol::ICMPV6 };
    let header = header(v4, protocol);
    checksum::fill_transport(frame.head_mut(), header.source, header.destination, protocol);
    prepend_ip(&mut frame, &header).unwrap();
    prepend_link(&mut frame, &link(5), header.ethertype()).unwrap();
    frame
}

#[test]
fn echo_is_answered_in_place() {
    for v4 in [true, false] {
        let mut frame = echo_request(v4);
        let request = parsed(&frame);
        let own = MacAddr([2, 9, 9, 9, 9, 9]);
        icmp::write_echo_reply(&mut frame, &request, own).unwrap();
        let reply = parsed(&frame);
        assert_eq!(reply.key, request.key.reversed());
        assert_eq!(reply.icmp_type, if v4 { 0 } else { 129 });
        assert_eq!(reply.l4(frame.head())[4..], [0x12, 0x34, 0, 9, 1, 2, 3]);
        let answer = LinkHeader::of(frame.head(), &reply).unwrap();
        assert_eq!(answer, link(5).answer(own));
        // A reply is not a request: it is not answered.
        assert!(icmp::write_echo_reply(&mut frame, &reply, own).is_err());
    }
}

#[test]
fn unreachable_quotes_the_original() {
    for v4 in [true, false] {
        let mut original = frame_of(&[7; 1400]);
        prepend_udp(&mut original, &header(v4, 0), (1000, 53), UdpChecksum::Computed).unwrap();
        let mut frame = frame_of(&[]);
        for reason in [
            Unreachable::Network,
            Unreachable::Host,
            Unreachable::Protocol,
            Unreachable::Port,
            Unreachable::Prohibited,
        ] {
            icmp::write_unreachable(&mut frame, &link(0), addresses(v4).1, reason, original.head())
                .unwrap();
            let error = parsed(&frame);
            assert!(icmp::is_error(&error));
            assert!(!icmp::may_cause_error(&error));
            assert_eq!(Unreachable::of_code(v4, error.icmp_type, error.icmp_code), Some(reason));
            assert_eq!(error.ip_end - error.l3_offset, if v4 { 576 } else { 1280 });
            assert_eq!(error.key.destination(), addresses(v4).0);
            let quoted = parse_quoted(&frame.head()[error.payload_offset as usize..], 0).unwrap();
            assert_eq!((quoted.source_port, quoted.destination_port), (1000, 53));
            frame = frame_of(&[]);
        }
        let other = addresses(!v4).1;
        assert_eq!(
            icmp::write_unreachable(
                &mut frame,
                &link(0),
                other,
                Unreachable::Host,
                original.head()
            ),
            Err(BuildError::Family)
        );
    }
}
