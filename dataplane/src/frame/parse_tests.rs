//! The fast parser against etherparse, and against headers made by hand.

use etherparse::{LinkExtSlice, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::ip::{ethertype, protocol};
use super::*;

fn parse_whole(bytes: &[u8]) -> Result<Parsed, Malformed> {
    parse(bytes, bytes.len())
}

/// Pointer difference: where `part` begins within `whole`.
fn place(whole: &[u8], part: &[u8]) -> u32 {
    u32::try_from(part.as_ptr() as usize - whole.as_ptr() as usize).unwrap()
}

/// Compares all facts of a frame that both parsers accept; returns whether they were compared.
fn compare(bytes: &[u8], ours: &Parsed, theirs: &SlicedPacket) -> Result<bool, TestCaseError> {
    // MACsec and a third tag are not looked into here.
    let mut vlans = VlanList::default();
    for extension in &theirs.link_exts {
        let LinkExtSlice::Vlan(vlan) = extension else { return Ok(false) };
        if vlans.is_full() {
            return Ok(false);
        }
        let tci = u16::from_be_bytes([vlan.slice()[0], vlan.slice()[1]]);
        let tpid = u16::from_be_bytes([
            bytes[place(bytes, vlan.slice()) as usize - 2],
            bytes[place(bytes, vlan.slice()) as usize - 1],
        ]);
        vlans.push(VlanTag { tpid, tci });
    }
    prop_assert_eq!(ours.vlans, vlans);
    match &theirs.net {
        Some(NetSlice::Ipv4(v4)) => {
            let header = v4.header();
            prop_assert_eq!(ours.network, Network::Ipv4);
            prop_assert_eq!(ours.l3_offset, place(bytes, header.slice()));
            prop_assert_eq!(ours.key.source(), std::net::IpAddr::V4(header.source_addr()));
            prop_assert_eq!(
                ours.key.destination(),
                std::net::IpAddr::V4(header.destination_addr())
            );
            prop_assert_eq!(ours.key.protocol, header.protocol().0);
            prop_assert_eq!(ours.ttl, header.ttl());
            prop_assert_eq!(ours.dscp(), header.dcp().value());
            prop_assert_eq!(ours.ecn(), header.ecn().value());
            prop_assert_eq!(ours.dont_fragment, header.dont_fragment());
            prop_assert_eq!(ours.ip_end - ours.l3_offset, u32::from(header.total_len()));
            prop_assert_eq!(ours.fragment.is_some(), v4.is_payload_fragmented());
            if let Some(fragment) = ours.fragment {
                prop_assert_eq!(fragment.offset >> 3, header.fragments_offset().value());
                prop_assert_eq!(fragment.more, header.more_fragments());
                prop_assert_eq!(fragment.identification, u32::from(header.identification()));
            }
            if header.protocol().0 != protocol::AH {
                prop_assert_eq!(ours.l4_offset, place(bytes, v4.payload().payload));
            }
        }
        Some(NetSlice::Ipv6(v6)) => {
            let header = v6.header();
            prop_assert_eq!(ours.network, Network::Ipv6);
            prop_assert_eq!(ours.key.source(), std::net::IpAddr::V6(header.source_addr()));
            prop_assert_eq!(
                ours.key.destination(),
                std::net::IpAddr::V6(header.destination_addr())
            );
            prop_assert_eq!(ours.traffic_class, header.traffic_class());
            prop_assert_eq!(ours.ttl, header.hop_limit());
            prop_assert_eq!(ours.fragment.is_some(), v6.is_payload_fragmented());
            // Authentication headers end the walk here, and fragments do.
            let stops = ours.fragment.is_some() || ours.key.protocol == protocol::AH;
            if !stops {
                prop_assert_eq!(ours.key.protocol, v6.payload().ip_number.0);
                prop_assert_eq!(ours.l4_offset, place(bytes, v6.payload().payload));
            }
        }
        Some(NetSlice::Arp(_)) => prop_assert_eq!(ours.network, Network::Arp),
        None => prop_assert!(!ours.is_ip()),
    }
    match &theirs.transport {
        Some(TransportSlice::Tcp(tcp)) if ours.transport != Transport::Other => {
            prop_assert_eq!(ours.transport, Transport::Tcp);
            prop_assert_eq!(ours.key.source_port, tcp.source_port());
            prop_assert_eq!(ours.key.destination_port, tcp.destination_port());
            prop_assert_eq!(ours.payload_offset, place(bytes, tcp.payload()));
            prop_assert_eq!(ours.payload_len(), tcp.payload().len());
            prop_assert_eq!(ours.tcp_flags, tcp.slice()[13]);
            prop_assert_eq!(ours.tcp_options(bytes), tcp.options());
        }
        Some(TransportSlice::Udp(udp)) if ours.transport != Transport::Other => {
            prop_assert_eq!(ours.transport, Transport::Udp);
            prop_assert_eq!(ours.key.source_port, udp.source_port());
            prop_assert_eq!(ours.key.destination_port, udp.destination_port());
            prop_assert_eq!(ours.payload_offset, place(bytes, udp.payload()));
            prop_assert_eq!(ours.payload_len(), udp.payload().len());
        }
        Some(TransportSlice::Icmpv4(icmp))
            if ours.network == Network::Ipv4 && ours.transport != Transport::Other =>
        {
            prop_assert_eq!(ours.transport, Transport::Icmp);
            prop_assert_eq!(ours.icmp_type, icmp.type_u8());
            prop_assert_eq!(ours.icmp_code, icmp.code_u8());
        }
        Some(TransportSlice::Icmpv6(icmp))
            if ours.network == Network::Ipv6 && ours.transport != Transport::Other =>
        {
            prop_assert_eq!(ours.transport, Transport::Icmp);
            prop_assert_eq!(ours.icmp_type, icmp.type_u8());
            prop_assert_eq!(ours.icmp_code, icmp.code_u8());
        }
        _ => {}
    }
    Ok(true)
}

/// Frames the strict parser takes and this one does not: the reasons for which that is right.
fn stricter_on_purpose(reason: Malformed) -> bool {
    matches!(
        reason,
        Malformed::MappedAddress
            | Malformed::FragmentRange
            // It takes a length of zero for "to the end of the slice".
            | Malformed::UdpHeader
            | Malformed::TcpHeader
            | Malformed::IcmpHeader
            | Malformed::Ipv6Extension
            | Malformed::Ipv6ExtensionCount
    )
}

/// Frames this parser takes and the strict one does not: those it does not look into as deeply.
fn laxer_on_purpose(parsed: &Parsed) -> bool {
    const IGMP: u8 = 2;
    match parsed.network {
        Network::Arp | Network::Other => true,
        _ => {
            parsed.transport == Transport::Icmp
                || parsed.fragment.is_some()
                || matches!(parsed.key.protocol, protocol::AH | IGMP)
        }
    }
}

fn check(bytes: &[u8]) -> Result<bool, TestCaseError> {
    let ours = parse_whole(bytes);
    if let Ok(parsed) = &ours {
        prop_assert!(parsed.l3_offset <= parsed.l4_offset);
        prop_assert!(parsed.l4_offset <= parsed.payload_offset);
        prop_assert!(parsed.payload_offset <= parsed.payload_end);
        prop_assert!(parsed.payload_end <= parsed.ip_end);
        prop_assert!(parsed.ip_end as usize <= bytes.len());
    }
    match (ours, SlicedPacket::from_ethernet(bytes)) {
        (Ok(ours), Ok(theirs)) => compare(bytes, &ours, &theirs),
        (Err(reason), Ok(_)) => {
            prop_assert!(stricter_on_purpose(reason), "only we refuse: {:?}", reason);
            Ok(false)
        }
        (Ok(ours), Err(error)) => {
            prop_assert!(laxer_on_purpose(&ours), "only we accept: {:?}, {:?}", ours, error);
            Ok(false)
        }
        (Err(_), Err(_)) => Ok(false),
    }
}

/// A frame of well-formed headers, by etherparse's builder.
fn well_formed() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..64);
    (any::<bool>(), 0..4u8, 0..3u8, any::<(u16, u16, u8)>(), payload).prop_map(
        |(v6, transport, tags, (a, b, ttl), payload)| {
            let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
            let vlan = |id: u16| etherparse::VlanId::try_new(id & 0xfff).unwrap();
            let source6 = [0xfd, 7, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
            let destination6 = [0xfd, 7, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
            let ip = match (tags, v6) {
                (0, false) => link.ipv4([10, 0, 0, 1], [10, 0, 0, 2], ttl),
                (0, true) => link.ipv6(source6, destination6, ttl),
                (1, false) => link.single_vlan(vlan(a)).ipv4([10, 0, 0, 1], [10, 0, 0, 2], ttl),
                (1, true) => link.single_vlan(vlan(a)).ipv6(source6, destination6, ttl),
                (_, false) => {
                    link.double_vlan(vlan(a), vlan(b)).ipv4([10, 0, 0, 1], [10, 0, 0, 2], ttl)
                }
                (_, true) => link.double_vlan(vlan(a), vlan(b)).ipv6(source6, destination6, ttl),
            };
            let mut bytes = Vec::new();
            match transport {
                0 => ip
                    .tcp(a, b, 7, 512)
                    .syn()
                    .options_raw(&[1; 8])
                    .unwrap()
                    .write(&mut bytes, &payload),
                1 => ip.udp(a, b).write(&mut bytes, &payload),
                2 if v6 => ip.icmpv6_echo_request(a, b).write(&mut bytes, &payload),
                2 => ip.icmpv4_echo_request(a, b).write(&mut bytes, &payload),
                _ => ip.write(&mut bytes, etherparse::IpNumber(89), &payload),
            }
            .unwrap();
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn well_formed_frames_agree_and_every_cut_is_refused(bytes in well_formed(), padding in 0..20usize) {
        prop_assert!(check(&bytes)?);
        for len in 0..bytes.len() {
            prop_assert!(parse_whole(&bytes[..len]).is_err(), "cut at {}", len);
        }
        let mut padded = bytes.clone();
        padded.resize(bytes.len() + padding, 0);
        prop_assert!(check(&padded)?);
        prop_assert_eq!(parse_whole(&padded).unwrap(), parse_whole(&bytes).unwrap());
        prop_assert_eq!(parse_whole(&padded).unwrap().ip_end as usize, bytes.len());
    }

    #[test]
    fn damaged_frames_agree(bytes in well_formed(), damage in prop::collection::vec((0..80usize, any::<u8>()), 1..5)) {
        let mut bytes = bytes;
        for (at, value) in damage {
            if let Some(byte) = bytes.get_mut(at) { *byte = value; }
        }
        check(&bytes)?;
    }

    #[test]
    fn arbitrary_bytes_agree(mut bytes in prop::collection::vec(any::<u8>(), 0..128), kind in 0..6usize) {
        let types = [ethertype::IPV4, ethertype::IPV6, ethertype::ARP, ethertype::VLAN, ethertype::SERVICE_VLAN, 0x1234];
        if bytes.len() > 14 {
            bytes[12..14].copy_from_slice(&types[kind].to_be_bytes());
            // Likely headers, so that the walk gets further than the version.
            if kind == 0 { bytes[14] = 0x45 | (bytes[14] & 3); }
            if kind == 1 { bytes[14] = 0x60 | (bytes[14] & 15); }
        }
        check(&bytes)?;
        let _ = parse_quoted(bytes.get(14..).unwrap_or(&[]), 0);
    }

    #[test]
    fn ipv6_extension_chains_agree(
        chain in prop::collection::vec((prop::sample::select(vec![0u8, 43, 44, 60, 6, 17, 58, 51, 59]), 0..3u8, any::<[u8; 6]>()), 0..12),
        last in prop::sample::select(vec![6u8, 17, 58, 59, 89]),
        atomic in any::<bool>(),
    ) {
        let mut bytes = vec![2; 12];
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0]);
        bytes.push(chain.first().map_or(last, |extension| extension.0));
        bytes.push(64);
        bytes.extend([0xfd; 32]);
        for (at, (kind, units, fill)) in chain.iter().enumerate() {
            let next = chain.get(at + 1).map_or(last, |extension| extension.0);
            let mut fill = *fill;
            if *kind == 44 && atomic { fill[0] = 0; fill[1] = 0; fill[2] = 0; }
            bytes.extend([next, *units]);
            bytes.extend(fill);
            if *kind != 44 { bytes.extend(vec![0; usize::from(*units) * 8]); }
        }
        bytes.extend([0, 1, 0, 2, 0, 20, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
        let payload_len = u16::try_from(bytes.len() - 54).unwrap();
        bytes[18..20].copy_from_slice(&payload_len.to_be_bytes());
        check(&bytes)?;
    }
}

fn tcp_v4() -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(1000, 80, 1, 512)
        .syn()
        .write(&mut bytes, &[1, 2, 3, 4])
        .unwrap();
    bytes
}

#[test]
fn facts_of_a_syn() {
    let bytes = tcp_v4();
    let parsed = parse_whole(&bytes).unwrap();
    assert!(parsed.is_syn());
    assert_eq!(parsed.payload_len(), 4);
    assert_eq!((parsed.l3_offset, parsed.l4_offset, parsed.payload_offset), (14, 34, 54));
    assert_eq!(format!("{:?}", parsed.key), "proto 6 10.0.0.1:1000 > 10.0.0.2:80 vlan 0");
}

#[test]
fn headers_in_the_first_part_payload_behind_it() {
    let bytes = tcp_v4();
    let parsed = parse(&bytes[..54], bytes.len()).unwrap();
    assert_eq!(parsed.payload_len(), 4);
    assert_eq!(parse(&bytes[..53], bytes.len()), Err(Malformed::TcpHeader));
}

#[test]
fn all_fragments_of_a_packet_have_one_key() {
    let mut first = tcp_v4();
    first.extend([0; 4]);
    first[16..18].copy_from_slice(&48u16.to_be_bytes()); // 20 + 28: not a multiple of 8
    first[20] = 0x20;
    assert_eq!(parse_whole(&first), Err(Malformed::FragmentRange));
    first[16..18].copy_from_slice(&44u16.to_be_bytes());
    let mut later = first.clone();
    later[20..22].copy_from_slice(&[0, 3]);
    let (first, later) = (parse_whole(&first).unwrap(), parse_whole(&later).unwrap());
    assert_eq!(first.key, later.key);
    assert_eq!((first.key.source_port, first.key.protocol), (0, protocol::TCP));
    assert_eq!(first.transport, Transport::Fragment);
    assert_eq!(later.fragment.unwrap().offset, 24);
    assert!(!first.is_syn());
}

#[test]
fn fragment_beyond_the_largest_packet() {
    let mut bytes = tcp_v4();
    bytes[20..22].copy_from_slice(&[0x1f, 0xff]);
    assert_eq!(parse_whole(&bytes), Err(Malformed::FragmentRange));
}

#[test]
fn mapped_address_is_a_martian() {
    let mut bytes = vec![0; 12];
    bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 59, 64]);
    bytes.extend(std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets());
    bytes.extend([0xfd; 16]);
    assert_eq!(parse_whole(&bytes), Err(Malformed::MappedAddress));
    assert_eq!(parse_quoted(&bytes[14..], 0), None);
}

#[test]
fn echo_identifier_is_both_ports() {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .icmpv4_echo_request(777, 5)
        .write(&mut bytes, &[])
        .unwrap();
    let request = parse_whole(&bytes).unwrap();
    bytes.clear();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1])
        .ipv4([10, 0, 0, 2], [10, 0, 0, 1], 64)
        .icmpv4_echo_reply(777, 5)
        .write(&mut bytes, &[])
        .unwrap();
    let reply = parse_whole(&bytes).unwrap();
    assert_eq!(request.key.source_port, 777);
    assert_eq!(request.key, reply.key.reversed());
}

#[test]
fn quoted_packet_may_be_cut_behind_its_ports() {
    let bytes = tcp_v4();
    let whole = parse_whole(&bytes).unwrap();
    assert_eq!(parse_quoted(&bytes[14..14 + 28], 0), Some(whole.key));
    assert_eq!(parse_quoted(&bytes[14..14 + 23], 0), None);
}

/// An IPv6 packet of these extension headers, 8 bytes each, with no next header behind them.
fn chain(kinds: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2; 12];
    let len = u8::try_from(kinds.len() * 8).unwrap();
    bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, len, *kinds.first().unwrap_or(&59), 64]);
    bytes.extend([0xfd; 32]);
    for at in 0..kinds.len() {
        bytes.extend([*kinds.get(at + 1).unwrap_or(&59), 0, 0, 0, 0, 0, 0, 0]);
    }
    bytes
}

#[test]
fn extension_headers_are_bounded_and_in_place() {
    assert_eq!(parse_whole(&chain(&[60; IPV6_EXTENSIONS_MAX])).unwrap().key.protocol, 59);
    let too_many = [60; IPV6_EXTENSIONS_MAX + 1];
    assert_eq!(parse_whole(&chain(&too_many)), Err(Malformed::Ipv6ExtensionCount));
    assert!(parse_whole(&chain(&[0, 43, 60])).is_ok());
    assert_eq!(parse_whole(&chain(&[60, 0])), Err(Malformed::Ipv6Extension));
    // An atomic fragment is no fragment.
    assert_eq!(parse_whole(&chain(&[44])).unwrap().fragment, None);
}

#[test]
fn third_tag_hides_the_network() {
    let mut bytes = vec![0; 12];
    for _ in 0..3 {
        bytes.extend([0x81, 0, 0, 5]);
    }
    bytes.extend([0x08, 0x00]);
    let parsed = parse_whole(&bytes).unwrap();
    assert_eq!(parsed.network, Network::Other);
    assert_eq!(parsed.ethertype, ethertype::VLAN);
    assert_eq!(parsed.vlans.as_slice().len(), 2);
}
