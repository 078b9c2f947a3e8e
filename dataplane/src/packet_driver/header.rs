//! The message header on the wire, in full and compact form.
//!
//! ```text
//!  0          1      2       3          4         6                8            16           24
//! +----------+------+-------+----------+---------+----------------+------------+------------+
//! | ver, len | type | flags | protocol | status  | length of data | flow id    | sequence   |
//! +----------+------+-------+----------+---------+----------------+------------+------------+
//!  24            26                 28     30         32                     48
//! +-------------+------------------+------+----------+----------------------+--------+------+
//! | source port | destination port | VLAN | reserved | destination TPO (16) | source | dest |
//! +-------------+------------------+------+----------+----------------------+--------+------+
//! ```
//!
//! The compact form ends after the sequence number; in the full form addresses take 4 bytes each,
//! or 16 when the IPv6 flag is set. The header length counts units of 8 bytes and may be larger
//! than what this version knows: the rest is skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::wire::{get, put};
use super::{BufferKind, FlowId, MessageHeader, MessageKind};
use crate::frame::FlowKey;

/// Version of the message header.
pub const MESSAGE_VERSION: u8 = 1;
/// Length of the compact form in bytes.
pub const COMPACT_LEN: usize = 24;
/// Length of the full form with IPv4 addresses in bytes.
pub const FULL_V4_LEN: usize = 56;
/// Length of the full form with IPv6 addresses in bytes.
pub const FULL_V6_LEN: usize = 80;
/// Most bytes of data in one message.
pub const MESSAGE_DATA_MAX: usize = u16::MAX as usize;

const LENGTH_UNIT: usize = 8;
const FLAG_FULL: u8 = 1 << 0;
const FLAG_IPV6: u8 = 1 << 1;
const VLAN_MAX: u16 = 0x0fff;

mod field {
    pub(super) const VERSION_LENGTH: usize = 0;
    pub(super) const KIND: usize = 1;
    pub(super) const FLAGS: usize = 2;
    pub(super) const PROTOCOL: usize = 3;
    pub(super) const STATUS: usize = 4;
    pub(super) const DATA_LEN: usize = 6;
    pub(super) const FLOW: usize = 8;
    pub(super) const SEQUENCE: usize = 16;
    pub(super) const SOURCE_PORT: usize = 24;
    pub(super) const DESTINATION_PORT: usize = 26;
    pub(super) const VLAN: usize = 28;
    pub(super) const RESERVED: usize = 30;
    pub(super) const DESTINATION_TPO: usize = 32;
    pub(super) const ADDRESSES: usize = 48;
}

const _: () = {
    assert!(COMPACT_LEN == field::SEQUENCE + 8, "the compact form ends with the sequence number");
    assert!(FULL_V4_LEN == field::ADDRESSES + 2 * 4 && FULL_V6_LEN == field::ADDRESSES + 2 * 16);
    assert!(COMPACT_LEN.is_multiple_of(LENGTH_UNIT) && FULL_V4_LEN.is_multiple_of(LENGTH_UNIT));
    assert!(FULL_V6_LEN.is_multiple_of(LENGTH_UNIT) && FULL_V6_LEN / LENGTH_UNIT < 16, "four bits");
};

impl MessageKind {
    /// The kind with this function type; `None` for types this version does not know.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => MessageKind::Open,
            2 => MessageKind::Accept,
            3 => MessageKind::Data,
            4 => MessageKind::Credit,
            5 => MessageKind::Fin,
            6 => MessageKind::FinAcked,
            7 => MessageKind::Reset,
            8 => MessageKind::Datagram,
            9 => MessageKind::Held,
            10 => MessageKind::HeldEnd,
            11 => MessageKind::FinHeld,
            12 => MessageKind::CreditReturn,
            13 => MessageKind::Ask,
            _ => return None,
        })
    }

    /// The kind of buffer that such messages travel in.
    #[must_use]
    pub fn buffer_kind(self) -> BufferKind {
        match self {
            MessageKind::Data => BufferKind::Stream,
            MessageKind::Datagram => BufferKind::Datagram,
            _ => BufferKind::Control,
        }
    }
}

/// Why bytes are no message, or none for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// The bytes end before the header or the data do.
    #[error("the buffer ends within a message")]
    Truncated,
    /// Another version: where the next message begins is not known.
    #[error("unknown message version {0}")]
    Version(u8),
    /// A header length too short for its form.
    #[error("a header length too short for its form")]
    HeaderLength,
    /// A function type that this version does not know.
    #[error("unknown function type {0}")]
    UnknownKind(u8),
    /// An address or VLAN id that no frame can have.
    #[error("an impossible address or VLAN id")]
    Address,
}

/// A message (header and data) at the start of some bytes, its lengths checked.
#[derive(Clone, Copy, Debug)]
pub struct MessageView<'a> {
    bytes: &'a [u8],
}

impl<'a> MessageView<'a> {
    /// Checks that `bytes` begin with a whole message; what follows it is left alone.
    ///
    /// # Errors
    /// [`MessageError::Truncated`], [`MessageError::Version`] or [`MessageError::HeaderLength`].
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, MessageError> {
        if bytes.len() < COMPACT_LEN {
            return Err(MessageError::Truncated);
        }
        let view = MessageView { bytes };
        if view.version() != MESSAGE_VERSION {
            return Err(MessageError::Version(view.version()));
        }
        if view.header_len() < view.known_len() {
            return Err(MessageError::HeaderLength);
        }
        let bytes = bytes.get(..view.len()).ok_or(MessageError::Truncated)?;
        Ok(MessageView { bytes })
    }

    /// Version.
    #[must_use]
    pub fn version(&self) -> u8 {
        u8::from_be_bytes(get(self.bytes, field::VERSION_LENGTH)) >> 4
    }

    /// Length of the header in bytes.
    #[must_use]
    pub fn header_len(&self) -> usize {
        usize::from(u8::from_be_bytes(get(self.bytes, field::VERSION_LENGTH)) & 0x0f) * LENGTH_UNIT
    }

    /// Function type.
    #[must_use]
    pub fn kind_code(&self) -> u8 {
        u8::from_be_bytes(get(self.bytes, field::KIND))
    }

    /// Length of the data in bytes.
    #[must_use]
    pub fn data_len(&self) -> u16 {
        u16::from_be_bytes(get(self.bytes, field::DATA_LEN))
    }

    /// Length of header and data in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a message always has a header")]
    pub fn len(&self) -> usize {
        self.header_len() + usize::from(self.data_len())
    }

    /// The data.
    #[must_use]
    pub fn data(&self) -> &'a [u8] {
        self.bytes.get(self.header_len()..).unwrap_or(&[])
    }

    fn flags(&self) -> u8 {
        u8::from_be_bytes(get(self.bytes, field::FLAGS))
    }

    // The shortest header that holds the fields its flags announce.
    fn known_len(&self) -> usize {
        match (self.flags() & FLAG_FULL != 0, self.flags() & FLAG_IPV6 != 0) {
            (false, _) => COMPACT_LEN,
            (true, false) => FULL_V4_LEN,
            (true, true) => FULL_V6_LEN,
        }
    }

    fn key(&self) -> Result<Option<FlowKey>, MessageError> {
        if self.flags() & FLAG_FULL == 0 {
            return Ok(None);
        }
        let at = field::ADDRESSES;
        let (source, destination) = if self.flags() & FLAG_IPV6 == 0 {
            (v4(get(self.bytes, at)), v4(get(self.bytes, at + 4)))
        } else {
            (v6(get(self.bytes, at))?, v6(get(self.bytes, at + 16))?)
        };
        let vlan = u16::from_be_bytes(get(self.bytes, field::VLAN));
        if vlan > VLAN_MAX {
            return Err(MessageError::Address);
        }
        Ok(Some(FlowKey::new(
            source,
            destination,
            u16::from_be_bytes(get(self.bytes, field::SOURCE_PORT)),
            u16::from_be_bytes(get(self.bytes, field::DESTINATION_PORT)),
            u8::from_be_bytes(get(self.bytes, field::PROTOCOL)),
            vlan,
        )))
    }

    fn destination_tpo(&self) -> Option<IpAddr> {
        if self.flags() & FLAG_FULL == 0 {
            return None;
        }
        let address = Ipv6Addr::from(get::<16>(self.bytes, field::DESTINATION_TPO));
        (!address.is_unspecified()).then(|| IpAddr::V6(address).to_canonical())
    }
}

fn v4(octets: [u8; 4]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(octets))
}

// A mapped address in an IPv6 header is a martian, and would turn into an IPv4 flow.
fn v6(octets: [u8; 16]) -> Result<IpAddr, MessageError> {
    let address = Ipv6Addr::from(octets);
    if address.to_ipv4_mapped().is_some() {
        return Err(MessageError::Address);
    }
    Ok(IpAddr::V6(address))
}

/// A message header with what exists on the wire only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRepr {
    /// The header as edges know it; full form when it has a key.
    pub header: MessageHeader,
    /// Length of the data in bytes.
    pub data_len: u16,
    /// Address of the TPO that the message is for; in the full form only, and `None` there when
    /// the sender does not know it.
    pub destination_tpo: Option<IpAddr>,
}

impl MessageRepr {
    /// The header of a checked message.
    ///
    /// # Errors
    /// [`MessageError::UnknownKind`] or [`MessageError::Address`]; the message can be skipped.
    pub fn parse(view: &MessageView<'_>) -> Result<Self, MessageError> {
        let kind = MessageKind::from_code(view.kind_code())
            .ok_or(MessageError::UnknownKind(view.kind_code()))?;
        let header = MessageHeader {
            kind,
            flow: FlowId(u64::from_be_bytes(get(view.bytes, field::FLOW))),
            key: view.key()?,
            sequence: u64::from_be_bytes(get(view.bytes, field::SEQUENCE)),
            status: u16::from_be_bytes(get(view.bytes, field::STATUS)),
        };
        let destination_tpo = view.destination_tpo();
        Ok(MessageRepr { header, data_len: view.data_len(), destination_tpo })
    }

    /// Length of the header on the wire in bytes.
    #[must_use]
    pub fn header_len(&self) -> usize {
        header_len(&self.header)
    }

    /// Writes the header to the first [`MessageRepr::header_len`] bytes of `out`.
    pub fn emit(&self, out: &mut [u8]) {
        let units = u8::try_from(self.header_len() / LENGTH_UNIT).unwrap_or(0);
        put(out, field::VERSION_LENGTH, [MESSAGE_VERSION << 4 | units]);
        put(out, field::KIND, [self.header.kind as u8]);
        put(out, field::FLAGS, [0]);
        put(out, field::PROTOCOL, [0]);
        put(out, field::STATUS, self.header.status.to_be_bytes());
        self.emit_data_len(out);
        put(out, field::FLOW, self.header.flow.0.to_be_bytes());
        put(out, field::SEQUENCE, self.header.sequence.to_be_bytes());
        if let Some(key) = &self.header.key {
            self.emit_key(key, out);
        }
    }

    /// Writes the length of data alone: for a message that grew in its buffer.
    pub fn emit_data_len(&self, out: &mut [u8]) {
        put(out, field::DATA_LEN, self.data_len.to_be_bytes());
    }

    fn emit_key(&self, key: &FlowKey, out: &mut [u8]) {
        let family = if key.is_ipv4() { 0 } else { FLAG_IPV6 };
        put(out, field::FLAGS, [FLAG_FULL | family]);
        put(out, field::PROTOCOL, [key.protocol]);
        put(out, field::SOURCE_PORT, key.source_port.to_be_bytes());
        put(out, field::DESTINATION_PORT, key.destination_port.to_be_bytes());
        put(out, field::VLAN, key.vlan.to_be_bytes());
        put(out, field::RESERVED, [0; 2]);
        let tpo = match self.destination_tpo {
            Some(IpAddr::V4(address)) => address.to_ipv6_mapped(),
            Some(IpAddr::V6(address)) => address,
            None => Ipv6Addr::UNSPECIFIED,
        };
        put(out, field::DESTINATION_TPO, tpo.octets());
        match (key.source(), key.destination()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                put(out, field::ADDRESSES, source.octets());
                put(out, field::ADDRESSES + 4, destination.octets());
            }
            (source, destination) => {
                put(out, field::ADDRESSES, octets_v6(source));
                put(out, field::ADDRESSES + 16, octets_v6(destination));
            }
        }
    }
}

fn octets_v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// Length of `header` on the wire in bytes.
#[must_use]
pub fn header_len(header: &MessageHeader) -> usize {
    match &header.key {
        None => COMPACT_LEN,
        Some(key) if key.is_ipv4() => FULL_V4_LEN,
        Some(_) => FULL_V6_LEN,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_v6() -> impl Strategy<Value = IpAddr> {
        any::<u128>()
            .prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
            .prop_filter("mapped addresses are martians", |a| a.to_canonical().is_ipv6())
    }

    fn any_v4() -> impl Strategy<Value = IpAddr> {
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
    }

    fn any_key() -> impl Strategy<Value = FlowKey> {
        let pair = prop_oneof![(any_v4(), any_v4()), (any_v6(), any_v6())];
        (pair, any::<u16>(), any::<u16>(), any::<u8>(), 0u16..=VLAN_MAX)
            .prop_map(|((a, b), c, d, e, f)| FlowKey::new(a, b, c, d, e, f))
    }

    fn any_repr() -> impl Strategy<Value = MessageRepr> {
        let tpo = proptest::option::of(prop_oneof![any_v4(), any_v6()])
            .prop_filter("unspecified means unknown", |a| {
                *a != Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
            });
        (
            (1u8..=10, any::<u64>(), proptest::option::of(any_key())),
            (any::<u64>(), any::<u16>(), 0u16..300, tpo),
        )
            .prop_map(|((kind, flow, key), (sequence, status, data_len, tpo))| {
                MessageRepr {
                    header: MessageHeader {
                        kind: MessageKind::from_code(kind).unwrap(),
                        flow: FlowId(flow),
                        key,
                        sequence,
                        status,
                    },
                    data_len,
                    destination_tpo: if key.is_some() { tpo } else { None },
                }
            })
    }

    fn message_of(repr: &MessageRepr) -> Vec<u8> {
        // 0xff: what emit leaves unwritten would show.
        let mut bytes = vec![0xff; repr.header_len() + usize::from(repr.data_len)];
        repr.emit(&mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn parse_is_the_inverse_of_emit(repr in any_repr(), rest in 0usize..40) {
            let mut bytes = message_of(&repr);
            let len = bytes.len();
            bytes.resize(len + rest, 0x77);
            let view = MessageView::new_checked(&bytes).unwrap();
            prop_assert_eq!(view.len(), len);
            prop_assert_eq!(view.header_len(), repr.header_len());
            prop_assert_eq!(view.data(), vec![0xff; usize::from(repr.data_len)]);
            prop_assert_eq!(MessageRepr::parse(&view), Ok(repr));
        }

        #[test]
        fn a_message_cut_anywhere_is_truncated(repr in any_repr(), cut in any::<usize>()) {
            let bytes = message_of(&repr);
            let cut = cut % bytes.len();
            prop_assert_eq!(
                MessageView::new_checked(&bytes[..cut]).err(),
                Some(MessageError::Truncated)
            );
        }

        #[test]
        fn a_longer_header_is_skipped(repr in any_repr(), extra in 1usize..5) {
            let mut bytes = message_of(&repr);
            let at = repr.header_len();
            bytes.splice(at..at, vec![0xee; extra * LENGTH_UNIT]);
            bytes[0] += u8::try_from(extra).unwrap();
            let view = MessageView::new_checked(&bytes).unwrap();
            prop_assert_eq!(view.data(), vec![0xff; usize::from(repr.data_len)]);
            prop_assert_eq!(MessageRepr::parse(&view), Ok(repr));
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..140),
            ours in any::<bool>(),
        ) {
            if let (true, Some(first)) = (ours, bytes.first_mut()) {
                *first = MESSAGE_VERSION << 4 | *first & 0x0f;
            }
            if let Ok(view) = MessageView::new_checked(&bytes) {
                prop_assert!(view.len() <= bytes.len());
                let _ = MessageRepr::parse(&view);
            }
        }
    }

    fn full_v6() -> Vec<u8> {
        let address = |last| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
        message_of(&MessageRepr {
            header: MessageHeader {
                kind: MessageKind::Open,
                flow: FlowId(1),
                key: Some(FlowKey::new(address(1), address(2), 1, 2, 6, 0)),
                sequence: 0,
                status: 0,
            },
            data_len: 0,
            destination_tpo: None,
        })
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |bytes: &[u8]| match MessageView::new_checked(bytes) {
            Ok(view) => MessageRepr::parse(&view).err(),
            Err(error) => Some(error),
        };
        assert_eq!(error(&full_v6()), None);

        let mut bytes = full_v6();
        bytes[field::VERSION_LENGTH] = 2 << 4 | 10;
        assert_eq!(error(&bytes), Some(MessageError::Version(2)));

        let mut bytes = full_v6();
        bytes[field::VERSION_LENGTH] -= 1;
        assert_eq!(error(&bytes), Some(MessageError::HeaderLength));

        let mut bytes = full_v6();
        bytes[field::KIND] = 200;
        assert_eq!(error(&bytes), Some(MessageError::UnknownKind(200)));

        let mut bytes = full_v6();
        bytes[field::VLAN] = 0x10;
        assert_eq!(error(&bytes), Some(MessageError::Address));

        let mut bytes = full_v6();
        bytes[field::ADDRESSES..field::ADDRESSES + 16]
            .copy_from_slice(&Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets());
        assert_eq!(error(&bytes), Some(MessageError::Address));
    }
}
