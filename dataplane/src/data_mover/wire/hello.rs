//! The HELLO subfield: who its sender is, what it can take, and what both ends must agree on.

use super::{Malformed, Reader, SUBFIELD_LEN, SessionId, SubfieldKind, Writer};

/// What a receiver can take; the sender stays within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Length of one buffer in bytes.
    pub buffer_len_max: u32,
    /// Logical numbers above the lowest incomplete one that are kept track of.
    pub buffers_max: u32,
    /// Bytes of incomplete buffers held, by their full lengths.
    pub reassembly_bytes_max: u32,
    /// Physical numbers below the highest received that are kept track of.
    pub numbers_max: u32,
}

/// A HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The session id to be used in datagrams to the sender of this.
    pub session: SessionId,
    /// Larger for a later start of the sender's process.
    pub incarnation: u64,
    /// Larger for a later session of the same incarnation.
    pub attempt: u32,
    /// The session id that the sender of this was given in the peer's HELLO; 0 for none yet.
    pub echo_session: SessionId,
    /// The incarnation in that HELLO.
    pub echo_incarnation: u64,
    /// Whether the sender waits for a HELLO that echoes this one.
    pub reply_wanted: bool,
    /// Whether the sender's processor has instructions for AES.
    pub aes: bool,
    /// Whether it is about new keys for the session that it names, and no other.
    pub renewal: bool,
    /// Whether the sender takes buffers that Zstandard made smaller.
    pub zstd: bool,
    /// Lowest wire version spoken.
    pub version_min: u8,
    /// Highest wire version spoken.
    pub version_max: u8,
    /// What the sender can take.
    pub limits: Limits,
    /// Digest of what both ends must agree on.
    pub digest: u64,
    /// The sender's clock, opaque to the receiver.
    pub stamp: u64,
    /// The stamp of the HELLO that this one answers at once; 0 when it does not.
    pub echo_stamp: u64,
}

const REPLY_WANTED: u8 = 1;
const AES: u8 = 2;
const RENEWAL: u8 = 4;
const ZSTD: u8 = 8;

impl Hello {
    /// Length in bytes, type and length included.
    pub const LEN: usize = SUBFIELD_LEN + 71;

    /// From the body of the subfield.
    ///
    /// # Errors
    /// [`Malformed`] when it is too short, has no session id, or its versions are not a range.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(body);
        let session = SessionId(reader.u32()?);
        let incarnation = reader.u64()?;
        let attempt = reader.u32()?;
        let echo_session = SessionId(reader.u32()?);
        let echo_incarnation = reader.u64()?;
        let flags = reader.u8()?;
        let version_min = reader.u8()?;
        let version_max = reader.u8()?;
        let limits = Limits {
            buffer_len_max: reader.u32()?,
            buffers_max: reader.u32()?,
            reassembly_bytes_max: reader.u32()?,
            numbers_max: reader.u32()?,
        };
        let digest = reader.u64()?;
        let stamp = reader.u64()?;
        let echo_stamp = reader.u64()?;
        // What follows belongs to later versions.
        if session.0 == 0 || version_min > version_max {
            return Err(Malformed::Value);
        }
        Ok(Hello {
            session,
            incarnation,
            attempt,
            echo_session,
            echo_incarnation,
            reply_wanted: flags & REPLY_WANTED != 0,
            aes: flags & AES != 0,
            renewal: flags & RENEWAL != 0,
            zstd: flags & ZSTD != 0,
            version_min,
            version_max,
            limits,
            digest,
            stamp,
            echo_stamp,
        })
    }

    /// Writes the subfield; its length, or `None` when it does not fit.
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::new(out);
        writer.subfield(SubfieldKind::Hello, Self::LEN - SUBFIELD_LEN)?;
        writer.put(&self.session.0.to_be_bytes())?;
        writer.put(&self.incarnation.to_be_bytes())?;
        writer.put(&self.attempt.to_be_bytes())?;
        writer.put(&self.echo_session.0.to_be_bytes())?;
        writer.put(&self.echo_incarnation.to_be_bytes())?;
        let flag = |set, bit| if set { bit } else { 0 };
        let flags = flag(self.reply_wanted, REPLY_WANTED)
            | flag(self.aes, AES)
            | flag(self.renewal, RENEWAL)
            | flag(self.zstd, ZSTD);
        writer.put(&[flags, self.version_min, self.version_max])?;
        writer.put(&self.limits.buffer_len_max.to_be_bytes())?;
        writer.put(&self.limits.buffers_max.to_be_bytes())?;
        writer.put(&self.limits.reassembly_bytes_max.to_be_bytes())?;
        writer.put(&self.limits.numbers_max.to_be_bytes())?;
        writer.put(&self.digest.to_be_bytes())?;
        writer.put(&self.stamp.to_be_bytes())?;
        writer.put(&self.echo_stamp.to_be_bytes())?;
        Some(writer.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parse_inverts_emit(
            ids in (1_u32.., any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>()),
            limits: (u32, u32, u32, u32),
            rest: (bool, u8, u8, u64, u64, u64),
            flags: (bool, bool, bool),
            later in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let hello = Hello {
                session: SessionId(ids.0),
                incarnation: ids.3,
                attempt: ids.2,
                echo_session: SessionId(ids.1),
                echo_incarnation: ids.4,
                reply_wanted: rest.0,
                aes: flags.0,
                renewal: flags.1,
                zstd: flags.2,
                version_min: rest.1.min(rest.2),
                version_max: rest.1.max(rest.2),
                limits: Limits {
                    buffer_len_max: limits.0,
                    buffers_max: limits.1,
                    reassembly_bytes_max: limits.2,
                    numbers_max: limits.3,
                },
                digest: rest.3,
                stamp: rest.4,
                echo_stamp: rest.5,
            };
            let mut out = vec![0; Hello::LEN];
            prop_assert_eq!(hello.emit(&mut out), Some(Hello::LEN));
            out.extend(&later);
            prop_assert_eq!(Hello::parse(&out[SUBFIELD_LEN..]), Ok(hello));
            for short in SUBFIELD_LEN..Hello::LEN {
                prop_assert_eq!(Hello::parse(&out[SUBFIELD_LEN..short]), Err(Malformed::Truncated));
            }
        }
    }
}
