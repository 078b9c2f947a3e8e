//! The data mover field: a list of subfields, each with its type and length.

use super::{Malformed, Reader, SUBFIELD_LEN, Writer};

/// Type code of a subfield.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SubfieldKind {
    /// Physical sequence number and pieces; first wherever it is present.
    Data = 1,
    /// What the sender of the datagram has received.
    Acknowledgement = 2,
    /// What the sender of the datagram no longer asks about.
    Floor = 3,
    /// Asks for an acknowledgement; has no body.
    Keepalive = 4,
    /// The session ends.
    Close = 5,
    /// Sets a session up.
    Hello = 6,
    /// The bytes of the datagram are parity over a range of a buffer.
    Parity = 8,
    /// Begins an exchange of keys; the only one in its datagram.
    Initiation = 16,
    /// Ends an exchange of keys; the only one in its datagram.
    Response = 17,
    /// Asks the sender of an initiation to show that its address is its own.
    Cookie = 18,
}

/// One subfield of a type this version knows, its body not yet parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subfield<'a> {
    /// Type.
    pub kind: SubfieldKind,
    /// Body.
    pub body: &'a [u8],
}

/// The subfields of a data mover field, in order; unknown types are skipped, and an error ends it.
#[derive(Clone, Debug)]
pub struct Subfields<'a>(Reader<'a>);

impl<'a> Subfields<'a> {
    /// Over the bytes of a data mover field.
    #[must_use]
    pub fn new(field: &'a [u8]) -> Self {
        Subfields(Reader(field))
    }

    fn read(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let code = self.0.u8()?;
        let len = self.0.u16()?;
        Ok((code, self.0.bytes(usize::from(len))?))
    }
}

impl<'a> Iterator for Subfields<'a> {
    type Item = Result<Subfield<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.0.is_empty() {
            let (code, body) = match self.read() {
                Ok(subfield) => subfield,
                Err(error) => {
                    self.0 = Reader(&[]);
                    return Some(Err(error));
                }
            };
            let kind = match code {
                1 => SubfieldKind::Data,
                2 => SubfieldKind::Acknowledgement,
                3 => SubfieldKind::Floor,
                4 => SubfieldKind::Keepalive,
                5 => SubfieldKind::Close,
                6 => SubfieldKind::Hello,
                8 => SubfieldKind::Parity,
                16 => SubfieldKind::Initiation,
                17 => SubfieldKind::Response,
                18 => SubfieldKind::Cookie,
                _ => continue,
            };
            return Some(Ok(Subfield { kind, body }));
        }
        None
    }
}

/// Writes a keepalive subfield; its length, or `None` when it does not fit.
pub fn emit_keepalive(out: &mut [u8]) -> Option<usize> {
    let mut writer = Writer::new(out);
    writer.subfield(SubfieldKind::Keepalive, 0)?;
    debug_assert_eq!(writer.len, SUBFIELD_LEN);
    Some(writer.len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn known_types_come_out_and_unknown_ones_are_skipped(list in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..20)), 0..10)) {
            let mut field = Vec::new();
            for (code, body) in &list {
                field.push(*code);
                field.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
                field.extend_from_slice(body);
            }
            let seen: Vec<(u8, Vec<u8>)> = Subfields::new(&field)
                .map(|subfield| subfield.map(|s| (s.kind as u8, s.body.to_vec())).unwrap())
                .collect();
            let known: Vec<_> = list.into_iter().filter(|(code, _)| matches!(code, 1..=6 | 8 | 16..=18)).collect();
            prop_assert_eq!(seen, known);
        }
    }

    #[test]
    fn a_length_beyond_the_field_is_one_error_and_the_end() {
        let mut subfields = Subfields::new(&[4, 0, 0, 2, 0, 9, 1]);
        assert!(matches!(subfields.next(), Some(Ok(Subfield { body: &[], .. }))));
        assert_eq!(subfields.next(), Some(Err(Malformed::Truncated)));
        assert_eq!(subfields.next(), None);
    }
}
