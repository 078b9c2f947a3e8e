//! Subfields of the data mover field: a list, each with its type and length.

use super::{Malformed, Reader, SUBFIELD_LEN, Writer};

/// Type code of a subfield.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SubfieldKind {
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
    /// Digest of what both ends must agree on.
    Digest = 8,
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

/// Subfields, in order; unknown types are skipped, and an error ends it.
#[derive(Clone, Debug)]
pub struct Subfields<'a>(Reader<'a>);

impl<'a> Subfields<'a> {
    /// Over the bytes of a data mover field, behind transport data where there is any.
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

/// Type code of padding, which every receiver skips.
const PADDING: u8 = 7;

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
                2 => SubfieldKind::Acknowledgement,
                3 => SubfieldKind::Floor,
                4 => SubfieldKind::Keepalive,
                5 => SubfieldKind::Close,
                6 => SubfieldKind::Hello,
                8 => SubfieldKind::Digest,
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

/// Length of a digest subfield in bytes, type and length included.
pub const DIGEST_LEN: usize = SUBFIELD_LEN + 8;

/// Writes a digest subfield; its length, or `None` when it does not fit.
pub fn emit_digest(digest: u64, out: &mut [u8]) -> Option<usize> {
    let mut writer = Writer::new(out);
    writer.subfield(SubfieldKind::Digest, DIGEST_LEN - SUBFIELD_LEN)?;
    writer.put(&digest.to_be_bytes())?;
    Some(writer.len)
}

/// The digest in the body of its subfield.
///
/// # Errors
/// [`Malformed`] when it is too short; what follows belongs to later versions.
pub fn parse_digest(body: &[u8]) -> Result<u64, Malformed> {
    Reader(body).u64()
}

/// Writes a subfield that means nothing, `len` bytes with its type and length, as a path probe
/// needs it; its length, or `None` when it does not fit.
pub fn emit_padding(len: usize, out: &mut [u8]) -> Option<usize> {
    let body_len = u16::try_from(len.checked_sub(SUBFIELD_LEN)?).ok()?;
    let (head, body) = out.get_mut(..len)?.split_at_mut_checked(SUBFIELD_LEN)?;
    let mut writer = Writer::new(head);
    writer.put(&[PADDING])?;
    writer.put(&body_len.to_be_bytes())?;
    body.fill(0);
    Some(len)
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
            let known: Vec<_> = list.into_iter().filter(|(code, _)| matches!(code, 2..=6 | 8 | 16..=18)).collect();
            prop_assert_eq!(seen, known);
        }
    }

    #[test]
    fn a_digest_survives() {
        let mut field = [0; DIGEST_LEN];
        assert_eq!(emit_digest(0x0102_0304_0506_0708, &mut field), Some(DIGEST_LEN));
        let body = Subfields::new(&field).next().unwrap().unwrap().body;
        assert_eq!(parse_digest(body), Ok(0x0102_0304_0506_0708));
        assert_eq!(parse_digest(&body[1..]), Err(Malformed::Truncated));
        assert_eq!(emit_digest(1, &mut field[1..]), None);
    }

    #[test]
    fn padding_is_skipped_and_holds_nothing_of_before() {
        let mut field = [9; 40];
        assert_eq!(emit_padding(2, &mut field), None);
        assert_eq!(emit_padding(41, &mut field), None);
        assert_eq!(emit_padding(33, &mut field), Some(33));
        assert!(field[3..33].iter().all(|byte| *byte == 0));
        assert_eq!(emit_keepalive(&mut field[33..]), Some(3));
        let kinds: Vec<_> = Subfields::new(&field[..36]).map(|s| s.map(|s| s.kind)).collect();
        assert_eq!(kinds, [Ok(SubfieldKind::Keepalive)]);
    }

    #[test]
    fn a_length_beyond_the_field_is_one_error_and_the_end() {
        let mut subfields = Subfields::new(&[4, 0, 0, 2, 0, 9, 1]);
        assert!(matches!(subfields.next(), Some(Ok(Subfield { body: &[], .. }))));
        assert_eq!(subfields.next(), Some(Err(Malformed::Truncated)));
        assert_eq!(subfields.next(), None);
    }
}
