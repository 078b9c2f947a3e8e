//! The everyday packet, looked at in a few instructions: no tag, IPv4 without options, no
//! fragment, TCP or UDP.
//!
//! In: the first part of a frame and the length of all parts. Out: what names its flow, and where
//! its payload is; `None` for
//! any other frame, sound or not: [`super::parse`] says what that one is. Never: an answer that
//! differs from that of the whole parser.

use super::FlowKey;
use super::ip::protocol;

/// What names the flow of an everyday packet, and whether it opens one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// The 5-tuple; VLAN 0.
    pub key: FlowKey,
    /// TCP flags; 0 for UDP.
    pub tcp_flags: u8,
    /// First byte behind the transport header.
    pub payload_offset: u32,
    /// First byte behind the payload.
    pub payload_end: u32,
}

const ETHERNET_LEN: usize = 14;
const IPV4_LEN: usize = 20;
const L4: usize = ETHERNET_LEN + IPV4_LEN;
const UDP_LEN: usize = 8;
const TCP_MIN: usize = 20;
/// Version 4, five words of header.
const VERSION_AND_LENGTH: u8 = 0x45;
/// "More fragments" and the offset.
const FRAGMENT: u16 = 0x3fff;
const V4_MAPPED: u128 = 0xffff_0000_0000;

/// Looks at a frame; `None` when it is no everyday packet.
#[must_use]
#[inline]
pub fn parse_plain(head: &[u8], frame_len: usize) -> Option<Plain> {
    let front: &[u8; L4 + UDP_LEN] = head.first_chunk()?;
    let word = |at: usize| u16::from_be_bytes([front[at], front[at + 1]]);
    let address =
        |at: usize| u32::from_be_bytes([front[at], front[at + 1], front[at + 2], front[at + 3]]);
    let total_len = usize::from(word(16));
    let frame_len = frame_len.max(head.len());
    if word(12) != super::ip::ethertype::IPV4
        || front[14] != VERSION_AND_LENGTH
        || word(20) & FRAGMENT != 0
        || total_len > frame_len - ETHERNET_LEN
    {
        return None;
    }
    let available = total_len.checked_sub(IPV4_LEN)?;
    let protocol = front[23];
    let (tcp_flags, header_len, len) = match protocol {
        protocol::UDP => {
            let len = usize::from(word(38));
            if len < UDP_LEN || len > available {
                return None;
            }
            (0, UDP_LEN, len)
        }
        protocol::TCP => {
            let header: &[u8; TCP_MIN] = head.get(L4..)?.first_chunk()?;
            let len = usize::from(header[12] >> 4) * 4;
            if len < TCP_MIN || len > available || L4 + len > head.len() {
                return None;
            }
            (header[13], len, available)
        }
        _ => return None,
    };
    let mapped = |at| V4_MAPPED | u128::from(address(at));
    let key = FlowKey::from_bits((mapped(26), mapped(30)), (word(34), word(36)), protocol, 0);
    // Both are less than an IP packet and a frame's headers.
    let [payload_offset, payload_end] =
        [header_len, len].map(|len| u32::try_from(L4 + len).unwrap_or(u32::MAX));
    Some(Plain { key, tcp_flags, payload_offset, payload_end })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{Transport, parse};

    /// An everyday packet of this protocol with room for options and payload.
    fn everyday(protocol: u8) -> Vec<u8> {
        let mut frame = vec![0_u8; 90];
        frame[12..16].copy_from_slice(&[0x08, 0x00, VERSION_AND_LENGTH, 0]);
        frame[17] = 70;
        frame[22..24].copy_from_slice(&[64, protocol]);
        frame[26..38].copy_from_slice(&[10, 1, 0, 1, 10, 2, 0, 2, 0x12, 0x34, 0, 80]);
        match protocol {
            protocol::TCP => frame[46..48].copy_from_slice(&[0x60, 0x12]),
            _ => frame[39] = 50,
        }
        frame
    }

    fn agree(frame: &[u8], frame_len: usize) {
        let parsed = parse(frame, frame_len);
        match parse_plain(frame, frame_len) {
            Some(plain) => {
                let parsed = parsed.unwrap();
                assert!(matches!(parsed.transport, Transport::Tcp | Transport::Udp));
                assert_eq!(plain.key, parsed.key);
                assert_eq!(plain.tcp_flags, parsed.tcp_flags);
                let payload = |offset, end| offset..end;
                assert_eq!(
                    payload(plain.payload_offset, plain.payload_end),
                    payload(parsed.payload_offset, parsed.payload_end)
                );
                assert!(parsed.vlans.as_slice().is_empty() && parsed.fragment.is_none());
            }
            // Nothing everyday is left to the whole parser.
            None => assert!(parsed.is_err() || !is_everyday(&parsed.unwrap())),
        }
    }

    fn is_everyday(parsed: &crate::frame::Parsed) -> bool {
        matches!(parsed.transport, Transport::Tcp | Transport::Udp)
            && parsed.key.is_ipv4()
            && (parsed.l3_offset, parsed.l4_offset) == (14, 34)
    }

    proptest! {
        #[test]
        fn agrees_with_the_whole_parser(
            tcp: bool,
            changes in prop::collection::vec((12..60usize, any::<u8>()), 0..4),
            len in 0..=90usize,
            more in 0..40usize,
        ) {
            let mut frame = everyday(if tcp { protocol::TCP } else { protocol::UDP });
            agree(&frame, frame.len());
            for (at, byte) in changes {
                frame[at] = byte;
            }
            agree(&frame, frame.len());
            frame.truncate(len);
            agree(&frame, frame.len());
            // Some of it is in further parts.
            agree(&frame, frame.len() + more);
        }
    }
}
