//! The Internet checksum (RFC 1071), its incremental form (RFC 1624), and where IP, TCP, UDP and
//! ICMP keep theirs.
//!
//! In: bytes. Out: a verdict, or the checksum field filled in, or begun for a device that completes
//! it. Never: a length taken on trust.

use std::net::IpAddr;

use super::build::{IPV4_LEN, pad};
use super::ip::protocol;
use super::{ChecksumStatus, Frame, IpHeader, LinkHeader, Network, Parsed, Transport};

/// A one's complement sum under way. Bytes are added as they lie in memory: the sum comes out the
/// same in either byte order, but for the order of the bytes of the result (RFC 1071, section 2).
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Sum of native-endian words; no packet is long enough to overflow it.
    words: u64,
    /// Whether the bytes so far are odd in number.
    odd: bool,
}

impl Sum {
    /// Adds bytes that follow those added before.
    pub fn add(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks();
        let (words, rest) = rest.as_chunks();
        let mut last = [0; 4];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        let mut sum = u64::from(u32::from_ne_bytes(last));
        sum += words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum::<u64>();
        if !blocks.is_empty() {
            sum += of_blocks(blocks);
        }
        let folded = fold(sum);
        self.words += u64::from(if self.odd { folded.swap_bytes() } else { folded });
        self.odd ^= bytes.len() % 2 == 1;
    }

    /// Adds one 16-bit field. Only at an even offset.
    pub fn add_u16(&mut self, value: u16) {
        self.words += u64::from(value.to_be());
    }

    /// Adds four bytes. Only at an even offset.
    #[inline]
    fn add_word(&mut self, bytes: [u8; 4]) {
        self.words += u64::from(u32::from_ne_bytes(bytes));
    }

    /// The checksum: the complement of the folded sum.
    #[must_use]
    pub fn finish(self) -> u16 {
        !u16::from_be(fold(self.words))
    }
}

/// Bytes that are added at a time.
const BLOCK: usize = 32;

/// The sum of whole blocks, in a few more than 32 bits. By itself: within [`Sum::add`] it would make
/// sums of a few bytes twice as long.
#[expect(clippy::cast_possible_truncation, reason = "taken apart into words")]
#[inline(never)]
fn of_blocks(blocks: &[[u8; BLOCK]]) -> u64 {
    // Each lane keeps its carries above its 64 bits, and none waits for another.
    let mut lanes = [0u128; BLOCK / 8];
    for block in blocks {
        let (words, _) = block.as_chunks();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += u128::from(u64::from_ne_bytes(*word));
        }
    }
    let of_lane = |lane: u128| {
        let [low, high] = [lane as u64, (lane >> 64) as u64];
        (low & 0xffff_ffff) + (low >> 32) + high
    };
    lanes.into_iter().map(of_lane).sum()
}

#[expect(clippy::cast_possible_truncation, reason = "the loop leaves 16 bits")]
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The checksum of some bytes; 0 if they contain their own right one.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = Sum::default();
    sum.add(bytes);
    sum.finish()
}

/// The new checksum after a 16-bit field has changed (RFC 1624, equation 3).
#[must_use]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(u64::from(!checksum) + u64::from(!old) + u64::from(new))
}

/// The sum over the pseudo header of TCP, UDP or ICMPv6; `len` is that of transport header and
/// payload. Both addresses are of one family.
#[must_use]
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, len: u32) -> Sum {
    let mut sum = Sum::default();
    for address in [source, destination] {
        match address {
            IpAddr::V4(v4) => sum.add_word(v4.octets()),
            IpAddr::V6(v6) => sum.add(&v6.octets()),
        }
    }
    sum.add_word(len.to_be_bytes());
    sum.add_u16(u16::from(protocol));
    sum
}

/// Whether the checksum of an IPv4 header (options included) is right.
#[must_use]
pub fn ipv4_header_ok(header: &[u8]) -> bool {
    match header.try_into() {
        Ok(plain) => of_plain_header(plain) == 0,
        Err(_) => checksum(header) == 0,
    }
}

/// The checksum of an IPv4 header without options: a loop over any number of bytes costs more.
#[inline]
fn of_plain_header(header: &[u8; IPV4_LEN]) -> u16 {
    let mut sum = Sum::default();
    let (words, _) = header.as_chunks();
    words.iter().for_each(|word| sum.add_word(*word));
    sum.finish()
}

/// Fills in the checksum of an IPv4 header (options included).
pub fn fill_ipv4_header(header: &mut [u8]) {
    let Ok(plain) = <&mut [u8; IPV4_LEN]>::try_from(&mut *header) else {
        return fill(header, IPV4_CHECKSUM_AT, Sum::default());
    };
    plain[IPV4_CHECKSUM_AT..IPV4_CHECKSUM_AT + 2].fill(0);
    let sum = of_plain_header(plain);
    plain[IPV4_CHECKSUM_AT..IPV4_CHECKSUM_AT + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Fills in the checksum of a TCP, UDP, ICMP or ICMPv6 packet: `l4` is its header and payload.
/// Other protocols have none.
pub fn fill_transport(l4: &mut [u8], source: IpAddr, destination: IpAddr, protocol: u8) {
    if let Some(at) = field_offset(protocol) {
        let sum = transport_sum(source, destination, protocol, l4.len());
        fill(l4, at, sum);
        // RFC 768: a sum of zero is sent as all ones, zero meaning that there is none.
        if protocol == protocol::UDP && l4.get(at..at + 2) == Some(&[0, 0]) {
            l4[at..at + 2].copy_from_slice(&[0xff, 0xff]);
        }
    }
}

/// A checksum of TCP or UDP whose field has the sum of the pseudo header: what is left is to add
/// the bytes from the transport header on, for which devices have offloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// TCP or UDP.
    pub protocol: u8,
    /// Whether over IPv4.
    pub is_ipv4: bool,
    /// Length of the link header in bytes, tags included.
    pub link_len: usize,
    /// Length of the IP header in bytes.
    pub ip_len: usize,
    /// Length of the transport header in bytes; needed where the packet is to be cut.
    pub l4_len: usize,
    /// Payload bytes of each packet that the device is to cut this one of TCP into; 0: none. The
    /// checksum of one to be cut was begun with length 0: each packet has its own.
    pub segment_size: u16,
}

impl Begun {
    /// The one behind these headers, of the protocol that the IP header names.
    #[must_use]
    pub fn behind(link: &LinkHeader, ip: &IpHeader) -> Self {
        Begun {
            protocol: ip.protocol,
            is_ipv4: ip.destination.is_ipv4(),
            link_len: link.byte_len(),
            ip_len: ip.byte_len(),
            l4_len: 0,
            segment_size: 0,
        }
    }

    /// The same of a packet with a transport header of this length, to be cut into packets with at
    /// most so many payload bytes each.
    #[must_use]
    pub fn cut(self, l4_len: usize, segment_size: u16) -> Self {
        Begun { l4_len, segment_size, ..self }
    }
}

/// Begins the checksum of a TCP or UDP packet of `len` bytes that begins with `l4`.
pub fn begin(l4: &mut [u8], len: usize, source: IpAddr, destination: IpAddr, protocol: u8) {
    if let Some(at) = field_offset(protocol)
        && let Some(field) = l4.get_mut(at..at + 2)
    {
        let sum = transport_sum(source, destination, protocol, len);
        field.copy_from_slice(&(!sum.finish()).to_be_bytes());
    }
}

/// Fills in the transport's checksum of a received frame that came without
/// ([`ChecksumStatus::Unfilled`]), or leaves that to the device that sends it on. Others than those
/// of TCP and UDP in one piece stay as they are.
pub fn fill_in<F: Frame>(frame: &mut F, parsed: &Parsed, by_device: bool) {
    let Parsed { key, l3_offset, l4_offset, ip_end, .. } = *parsed;
    let begun = Begun {
        protocol: key.protocol,
        is_ipv4: parsed.network == Network::Ipv4,
        link_len: l3_offset as usize,
        ip_len: l4_offset.saturating_sub(l3_offset) as usize,
        l4_len: 0,
        segment_size: 0,
    };
    if !matches!(parsed.transport, Transport::Tcp | Transport::Udp) {
        return;
    }
    // The padding may be anything; the sum is over all that is behind the IP header.
    frame.truncate(ip_end as usize);
    pad(frame);
    let len = ip_end.saturating_sub(l4_offset) as usize;
    if let Some(l4) = frame.head_mut().get_mut(l4_offset as usize..) {
        begin(l4, len, key.source(), key.destination(), key.protocol);
    }
    if by_device {
        frame.leave_checksum(&begun);
    } else {
        complete(frame, &begun);
    }
}

/// Completes a checksum that was begun, in a frame whose padding is zeros.
pub fn complete<F: Frame>(frame: &mut F, begun: &Begun) {
    let from = begun.link_len + begun.ip_len;
    let mut sum = Sum::default();
    sum.add(frame.head().get(from..).unwrap_or(&[]));
    for index in 0..frame.tail_count() {
        sum.add(frame.tail(index));
    }
    let sum = match (sum.finish(), begun.protocol) {
        // RFC 768: zero means none, and all ones is the same sum.
        (0, protocol::UDP) => 0xffff,
        (sum, _) => sum,
    };
    if let Some(at) = field_offset(begun.protocol)
        && let Some(field) = frame.head_mut().get_mut(from + at..from + at + 2)
    {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

/// Whether the IPv4 header checksum and the transport's checksum of a frame are right, by the
/// device's word if it gave it. Fragments and unknown protocols have only the first; UDP over
/// IPv4 may come without (RFC 768), over IPv6 may not (RFC 8200, section 8.1).
#[must_use]
pub fn frame_ok<F: Frame>(frame: &F, parsed: &Parsed) -> bool {
    let status = frame.checksum_status();
    match status {
        ChecksumStatus::Good => return true,
        ChecksumStatus::Bad => return false,
        ChecksumStatus::Unknown | ChecksumStatus::TransportGood | ChecksumStatus::Unfilled => {}
    }
    let head = frame.head();
    if parsed.network == Network::Ipv4 && !ipv4_header_ok(parsed.ip_header(head)) {
        return false;
    }
    if status != ChecksumStatus::Unknown
        || matches!(parsed.transport, Transport::Fragment | Transport::Other)
    {
        return true;
    }
    let l4 = parsed.l4(head);
    if parsed.transport == Transport::Udp && l4.get(6..8) == Some(&[0, 0]) {
        return parsed.network == Network::Ipv4;
    }
    let key = &parsed.key;
    let len = (parsed.payload_end - parsed.l4_offset) as usize;
    let mut sum = transport_sum(key.source(), key.destination(), key.protocol, len);
    sum.add(l4);
    let mut rest = len - l4.len();
    for index in 0..frame.tail_count() {
        let tail = frame.tail(index);
        let n = tail.len().min(rest);
        sum.add(tail.get(..n).unwrap_or(&[]));
        rest -= n;
    }
    rest == 0 && sum.finish() == 0
}

const IPV4_CHECKSUM_AT: usize = 10;

fn field_offset(protocol: u8) -> Option<usize> {
    match protocol {
        protocol::TCP => Some(16),
        protocol::UDP => Some(6),
        protocol::ICMP | protocol::ICMPV6 => Some(2),
        _ => None,
    }
}

/// The sum that the transport's own bytes are added to. ICMP has no pseudo header.
fn transport_sum(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> Sum {
    if protocol == protocol::ICMP {
        return Sum::default();
    }
    pseudo_header(source, destination, protocol, u32::try_from(len).unwrap_or(u32::MAX))
}

/// Writes the checksum of `bytes`, on top of `sum`, into its field; nothing when they are shorter.
fn fill(bytes: &mut [u8], at: usize, mut sum: Sum) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.fill(0);
        sum.add(bytes);
        bytes[at..at + 2].copy_from_slice(&sum.finish().to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::VlanList;
    use crate::frame::build::{UdpChecksum, prepend_ip, prepend_link, prepend_udp};
    use crate::frame::heap::HeapSource;

    /// The definition, byte by byte.
    fn slow(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for (at, byte) in bytes.iter().enumerate() {
            sum += u32::from(*byte) << if at % 2 == 0 { 8 } else { 0 };
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    #[test]
    fn example_of_rfc_1071() {
        assert_eq!(!checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    #[test]
    fn udp_never_sends_zero() {
        let address = IpAddr::from([0, 0, 0, 0]);
        // Pseudo header: 17 + 10; header: 10; the payload makes the sum all ones.
        let mut l4 = [0, 0, 0, 0, 0, 10, 0, 0, 0xff, 0xff - 37];
        fill_transport(&mut l4, address, address, protocol::UDP);
        assert_eq!(l4[6..8], [0xff, 0xff]);
    }

    /// A frame of TCP or UDP with this payload, padded, and the same with its checksum begun and left.
    fn whole_and_left(
        tcp: bool,
        addresses: (IpAddr, IpAddr),
        tags: u16,
        payload: &[u8],
    ) -> [Vec<u8>; 2] {
        let mut source = HeapSource::new(1);
        let header = IpHeader {
            source: addresses.0,
            destination: addresses.1,
            protocol: if tcp { protocol::TCP } else { protocol::UDP },
            traffic_class: 0,
            ttl: 64,
        };
        let link = LinkHeader { vlans: VlanList::of_id(tags), ..LinkHeader::default() };
        [false, true].map(|is_left| {
            let mut frame = source.frame_of(payload).unwrap();
            if tcp {
                frame.prepend(20).unwrap().fill(0x5a);
                let (l4, len) = (frame.head_mut(), 20 + payload.len());
                match is_left {
                    true => begin(l4, len, header.source, header.destination, protocol::TCP),
                    false => fill_transport(l4, header.source, header.destination, protocol::TCP),
                }
                prepend_ip(&mut frame, &header).unwrap();
            } else {
                let by = if is_left { UdpChecksum::Begun } else { UdpChecksum::Computed };
                prepend_udp(&mut frame, &header, (1, 2), by).unwrap();
            }
            prepend_link(&mut frame, &link, header.ethertype()).unwrap();
            if is_left {
                frame.leave_checksum(&Begun::behind(&link, &header));
            }
            frame.head().to_vec()
        })
    }

    #[test]
    fn udp_that_is_left_never_has_zero_either() {
        // As above, and ports 1 and 2.
        let addresses = (IpAddr::from([0, 0, 0, 0]), IpAddr::from([0, 0, 0, 0]));
        let [whole, left] = whole_and_left(false, addresses, 0, &(0xffff - 40_u16).to_be_bytes());
        assert_eq!(whole[40..42], [0xff, 0xff]);
        assert_eq!(left, whole);
    }

    proptest! {
        #[test]
        fn what_is_begun_and_completed_is_as_if_filled_in(
            tcp: bool,
            v4: bool,
            tags in 0..3_u16,
            bits in any::<[(u32, u128); 2]>(),
            payload in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let address = |(short, long): (u32, u128)| -> IpAddr {
                if v4 { short.to_be_bytes().into() } else { long.to_be_bytes().into() }
            };
            let addresses = (address(bits[0]), address(bits[1]));
            let [whole, left] = whole_and_left(tcp, addresses, tags, &payload);
            prop_assert_eq!(left, whole);
        }

        #[test]
        fn ipv4_headers_are_filled_in_with_and_without_options(
            mut header in prop::collection::vec(any::<u8>(), 5..16),
        ) {
            header.resize(header.len() * 4, 0x5a);
            fill_ipv4_header(&mut header);
            prop_assert_eq!(slow(&header), 0);
            prop_assert!(ipv4_header_ok(&header));
            header[0] ^= 1;
            prop_assert!(!ipv4_header_ok(&header));
        }

        #[test]
        fn agrees_with_the_definition(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(checksum(&bytes), slow(&bytes));
        }

        #[test]
        fn parts_add_up(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0..200usize, cut2 in 0..200usize) {
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            let (b, c) = b.split_at(cut2.min(b.len()));
            let mut sum = Sum::default();
            sum.add(a);
            sum.add(b);
            sum.add(c);
            prop_assert_eq!(sum.finish(), slow(&bytes));
        }

        #[test]
        fn incremental_equals_afresh(mut bytes in prop::collection::vec(any::<u8>(), 20), at in 0..9usize, new in any::<u16>()) {
            prop_assume!(bytes.iter().any(|byte| *byte != 0));
            let before = checksum(&bytes);
            let old = u16::from_be_bytes([bytes[at * 2], bytes[at * 2 + 1]]);
            bytes[at * 2..at * 2 + 2].copy_from_slice(&new.to_be_bytes());
            prop_assume!(bytes.iter().any(|byte| *byte != 0));
            prop_assert_eq!(update(before, old, new), checksum(&bytes));
        }
    }
}
