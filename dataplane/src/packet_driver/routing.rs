//! The routing header: first in every buffer, in the clear in front of what is compressed.
//!
//! ```text
//!  0      1      2             4                    8                    12
//! +------+------+-------------+--------------------+--------------------+
//! | type | pack | messages    | length of data     | plain length       |
//! +------+------+-------------+--------------------+--------------------+
//! ```

use thiserror::Error;

use super::BufferKind;
use super::wire::{get, put};

/// Length of a routing header in bytes.
pub const ROUTING_HEADER_LEN: usize = 12;

mod field {
    pub(super) const KIND: usize = 0;
    pub(super) const PACKING: usize = 1;
    pub(super) const MESSAGES: usize = 2;
    pub(super) const DATA_LEN: usize = 4;
    pub(super) const PLAIN_LEN: usize = 8;
}

const _: () = assert!(field::PLAIN_LEN + 4 == ROUTING_HEADER_LEN, "the last field ends the header");

/// How the data of a buffer are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Packing {
    /// As they are.
    Stored = 0,
    /// One LZ4 block.
    Lz4 = 1,
    /// One Zstandard frame (RFC 8878) without a dictionary.
    Zstd = 2,
}

impl BufferKind {
    /// The function type of a routing header.
    #[must_use]
    pub fn to_code(self) -> u8 {
        match self {
            BufferKind::Control => 1,
            BufferKind::Stream => 2,
            BufferKind::Datagram => 3,
        }
    }

    /// The kind with this function type; `None` for types this version does not know.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(BufferKind::Control),
            2 => Some(BufferKind::Stream),
            3 => Some(BufferKind::Datagram),
            _ => None,
        }
    }
}

/// Why bytes are no buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RoutingError {
    /// Shorter than a routing header.
    #[error("shorter than a routing header")]
    Truncated,
    /// The length of data is not that of the bytes behind the header.
    #[error("the length of data disagrees with the buffer")]
    DataLength,
    /// Stored, but the plain length differs from the length of data.
    #[error("a stored buffer with two different lengths")]
    PlainLength,
    /// A function type that this version does not know.
    #[error("unknown function type {0}")]
    UnknownKind(u8),
    /// A packing that this version does not know.
    #[error("unknown packing {0}")]
    UnknownPacking(u8),
}

/// A whole buffer whose lengths have been checked.
#[derive(Clone, Copy, Debug)]
pub struct RoutingView<'a> {
    bytes: &'a [u8],
}

impl<'a> RoutingView<'a> {
    /// Checks that `bytes` are a routing header and exactly the data it announces.
    ///
    /// # Errors
    /// [`RoutingError::Truncated`] or [`RoutingError::DataLength`].
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, RoutingError> {
        let Some(data) = bytes.get(ROUTING_HEADER_LEN..) else {
            return Err(RoutingError::Truncated);
        };
        let view = RoutingView { bytes };
        if usize::try_from(view.data_len()) != Ok(data.len()) {
            return Err(RoutingError::DataLength);
        }
        Ok(view)
    }

    /// Function type.
    #[must_use]
    pub fn kind_code(&self) -> u8 {
        u8::from_be_bytes(get(self.bytes, field::KIND))
    }

    /// Packing.
    #[must_use]
    pub fn packing_code(&self) -> u8 {
        u8::from_be_bytes(get(self.bytes, field::PACKING))
    }

    /// Number of messages.
    #[must_use]
    pub fn messages(&self) -> u16 {
        u16::from_be_bytes(get(self.bytes, field::MESSAGES))
    }

    /// Bytes behind the header.
    #[must_use]
    pub fn data_len(&self) -> u32 {
        u32::from_be_bytes(get(self.bytes, field::DATA_LEN))
    }

    /// Bytes behind the header once they are decompressed.
    #[must_use]
    pub fn plain_len(&self) -> u32 {
        u32::from_be_bytes(get(self.bytes, field::PLAIN_LEN))
    }

    /// The bytes behind the header.
    #[must_use]
    pub fn data(&self) -> &'a [u8] {
        self.bytes.get(ROUTING_HEADER_LEN..).unwrap_or(&[])
    }
}

/// A routing header, in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutingHeader {
    /// Kind of all messages.
    pub kind: BufferKind,
    /// How the data are compressed.
    pub packing: Packing,
    /// Number of messages.
    pub messages: u16,
    /// Bytes behind the header.
    pub data_len: u32,
    /// Bytes behind the header once they are decompressed; equal to `data_len` when stored.
    pub plain_len: u32,
}

impl RoutingHeader {
    /// Of a buffer that is not compressed, with so many messages in `len` bytes behind the header.
    #[must_use]
    pub fn stored(kind: BufferKind, messages: u16, len: u32) -> Self {
        RoutingHeader { kind, packing: Packing::Stored, messages, data_len: len, plain_len: len }
    }

    /// The header of a checked buffer.
    ///
    /// # Errors
    /// What this version does not know, and a stored buffer with two lengths.
    pub fn parse(view: &RoutingView<'_>) -> Result<Self, RoutingError> {
        let kind = BufferKind::from_code(view.kind_code())
            .ok_or(RoutingError::UnknownKind(view.kind_code()))?;
        let packing = match view.packing_code() {
            0 => Packing::Stored,
            1 => Packing::Lz4,
            2 => Packing::Zstd,
            other => return Err(RoutingError::UnknownPacking(other)),
        };
        if packing == Packing::Stored && view.plain_len() != view.data_len() {
            return Err(RoutingError::PlainLength);
        }
        Ok(RoutingHeader {
            kind,
            packing,
            messages: view.messages(),
            data_len: view.data_len(),
            plain_len: view.plain_len(),
        })
    }

    /// Writes the header to the first [`ROUTING_HEADER_LEN`] bytes of `out`.
    pub fn emit(&self, out: &mut [u8]) {
        put(out, field::KIND, [self.kind.to_code()]);
        put(out, field::PACKING, [self.packing as u8]);
        put(out, field::MESSAGES, self.messages.to_be_bytes());
        put(out, field::DATA_LEN, self.data_len.to_be_bytes());
        put(out, field::PLAIN_LEN, self.plain_len.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_header() -> impl Strategy<Value = RoutingHeader> {
        let packing = prop_oneof![Just(Packing::Stored), Just(Packing::Lz4), Just(Packing::Zstd)];
        (1u8..=3, packing, any::<u16>(), 0u32..200, any::<u32>()).prop_map(
            |(kind, packing, messages, data_len, plain_len)| RoutingHeader {
                kind: BufferKind::from_code(kind).unwrap(),
                packing,
                messages,
                data_len,
                plain_len: if packing == Packing::Stored { data_len } else { plain_len },
            },
        )
    }

    fn buffer_of(header: &RoutingHeader) -> Vec<u8> {
        let mut bytes = vec![0x5a; ROUTING_HEADER_LEN + header.data_len as usize];
        header.emit(&mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn parse_is_the_inverse_of_emit(header in any_header()) {
            let bytes = buffer_of(&header);
            let view = RoutingView::new_checked(&bytes).unwrap();
            prop_assert_eq!(RoutingHeader::parse(&view), Ok(header));
            prop_assert!(view.data().iter().all(|byte| *byte == 0x5a));
        }

        #[test]
        fn any_other_length_is_refused(header in any_header(), cut in 1usize..250) {
            let mut bytes = buffer_of(&header);
            let longer = [&bytes[..], &vec![0; cut]].concat();
            prop_assert_eq!(
                RoutingView::new_checked(&longer).err(),
                Some(RoutingError::DataLength)
            );
            let left = bytes.len().saturating_sub(cut);
            bytes.truncate(left);
            prop_assert!(RoutingView::new_checked(&bytes).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(view) = RoutingView::new_checked(&bytes) {
                let _ = RoutingHeader::parse(&view);
            }
        }
    }

    #[test]
    fn unknown_codes_are_named() {
        let header = RoutingHeader::stored(BufferKind::Stream, 1, 4);
        let parse = |bytes: &[u8]| RoutingHeader::parse(&RoutingView::new_checked(bytes).unwrap());
        let mut bytes = buffer_of(&header);
        bytes[field::KIND] = 9;
        assert_eq!(parse(&bytes), Err(RoutingError::UnknownKind(9)));
        let mut bytes = buffer_of(&header);
        bytes[field::PACKING] = 7;
        assert_eq!(parse(&bytes), Err(RoutingError::UnknownPacking(7)));
        let mut bytes = buffer_of(&header);
        bytes[ROUTING_HEADER_LEN - 1] = 5;
        assert_eq!(parse(&bytes), Err(RoutingError::PlainLength));
    }
}
