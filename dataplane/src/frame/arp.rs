//! ARP for IPv4 over Ethernet (RFC 826): view and plain struct.

use std::net::Ipv4Addr;

use super::build::{LinkHeader, prepend_link, put};
use super::ip::ethertype;
use super::{BuildError, Frame, MacAddr};

/// Length of an ARP packet for IPv4 over Ethernet.
pub const ARP_LEN: usize = 28;

/// Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses.
const PREAMBLE: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];

/// What an ARP packet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArpOperation {
    /// Who has the target address?
    Request,
    /// The sender has it.
    Reply,
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpPacket {
    /// Request or reply.
    pub operation: ArpOperation,
    /// Station of the sender.
    pub sender_mac: MacAddr,
    /// Address of the sender; unspecified in a probe (RFC 5227).
    pub sender: Ipv4Addr,
    /// Station of the target; zero in a request.
    pub target_mac: MacAddr,
    /// Address of the target.
    pub target: Ipv4Addr,
}

impl ArpPacket {
    /// Parses the packet behind an Ethernet header; `None` for other hardware, protocols and
    /// operations, and for a packet cut short.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ARP_LEN] = bytes.first_chunk()?;
        if bytes.first_chunk() != Some(&PREAMBLE) {
            return None;
        }
        let operation = match u16::from_be_bytes([bytes[6], bytes[7]]) {
            1 => ArpOperation::Request,
            2 => ArpOperation::Reply,
            _ => return None,
        };
        let mac = |at: usize| bytes.get(at..)?.first_chunk().map(|mac| MacAddr(*mac));
        let address = |at: usize| bytes.get(at..)?.first_chunk::<4>().map(|v4| Ipv4Addr::from(*v4));
        Some(ArpPacket {
            operation,
            sender_mac: mac(8)?,
            sender: address(14)?,
            target_mac: mac(18)?,
            target: address(24)?,
        })
    }

    /// The packet as bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; ARP_LEN] {
        let mut bytes = [0; ARP_LEN];
        let mut at = 0;
        let operation = match self.operation {
            ArpOperation::Request => 1,
            ArpOperation::Reply => 2,
        };
        put(&mut bytes, &mut at, &PREAMBLE);
        put(&mut bytes, &mut at, &[0, operation]);
        put(&mut bytes, &mut at, &self.sender_mac.0);
        put(&mut bytes, &mut at, &self.sender.octets());
        put(&mut bytes, &mut at, &self.target_mac.0);
        put(&mut bytes, &mut at, &self.target.octets());
        bytes
    }

    /// The reply that says `own` has the target address of this request.
    #[must_use]
    pub fn reply(&self, own: MacAddr) -> Self {
        ArpPacket {
            operation: ArpOperation::Reply,
            sender_mac: own,
            sender: self.target,
            target_mac: self.sender_mac,
            target: self.sender,
        }
    }

    /// Makes a frame of the packet; `frame` is replaced.
    ///
    /// # Errors
    /// No room; the frame is empty then.
    pub fn write<F: Frame>(&self, frame: &mut F, link: &LinkHeader) -> Result<(), BuildError> {
        frame.truncate(0);
        frame.append(ARP_LEN).ok_or(BuildError::Headroom)?.copy_from_slice(&self.emit());
        prepend_link(frame, link, ethertype::ARP)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parse_and_emit_are_inverse(
            request in any::<bool>(),
            macs in any::<([u8; 6], [u8; 6])>(),
            addresses in any::<(u32, u32)>(),
        ) {
            let packet = ArpPacket {
                operation: if request { ArpOperation::Request } else { ArpOperation::Reply },
                sender_mac: MacAddr(macs.0),
                sender: addresses.0.into(),
                target_mac: MacAddr(macs.1),
                target: addresses.1.into(),
            };
            let bytes = packet.emit();
            prop_assert_eq!(ArpPacket::parse(&bytes), Some(packet));
            for len in 0..ARP_LEN {
                prop_assert_eq!(ArpPacket::parse(&bytes[..len]), None);
            }
        }

        #[test]
        fn what_parses_is_emitted_alike(mut bytes in prop::collection::vec(any::<u8>(), ARP_LEN)) {
            bytes[..6].copy_from_slice(&PREAMBLE);
            bytes[6] = 0;
            bytes[7] &= 3;
            if let Some(packet) = ArpPacket::parse(&bytes) {
                prop_assert_eq!(packet.emit().to_vec(), bytes);
            }
        }
    }
}
