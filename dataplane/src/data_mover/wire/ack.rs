//! The transport acknowledgement subfield: what its sender has received, and how it fares.

use super::{Malformed, Reader, SUBFIELD_LEN, SubfieldKind, Writer};

/// Bit flags of consecutive numbers: bit `i` (from the lowest bit of the first byte) stands for
/// `base + i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bitmap<'a> {
    /// Number of the first bit.
    pub base: u64,
    /// The bits.
    pub bytes: &'a [u8],
}

impl<'a> Bitmap<'a> {
    /// Whether it covers `number` with a one.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        let bit = number.checked_sub(self.base);
        let byte = bit.and_then(|bit| self.bytes.get(usize::try_from(bit / 8).ok()?));
        bit.zip(byte).is_some_and(|(bit, byte)| byte >> (bit % 8) & 1 == 1)
    }

    /// The flags by eight, with the number of the first.
    pub fn bytes(&self) -> impl Iterator<Item = (u64, u8)> + use<'a> {
        let base = self.base;
        (0_u64..).zip(self.bytes).map(move |(i, byte)| (base.saturating_add(8 * i), *byte))
    }

    /// Every number it covers, with its flag.
    pub fn iter(&self) -> impl Iterator<Item = (u64, bool)> + use<'a> {
        let base = self.base;
        let bits = self.bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
        (0_u64..).zip(bits).map(move |(i, set)| (base.saturating_add(i), set))
    }
}

/// What has arrived, counted alike at both ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// Datagrams to be acknowledged; wraps.
    pub count: u32,
    /// Sum of the times at which they arrived, or were sent, in microseconds of the clock of who
    /// tells it; wraps.
    pub sum_us: u64,
}

impl Arrivals {
    /// Adds one.
    pub(crate) fn add(&mut self, at_us: u64) {
        self.count = self.count.wrapping_add(1);
        self.sum_us = self.sum_us.wrapping_add(at_us);
    }

    /// How many have come since, and the sum of their times.
    pub(crate) fn since(&self, before: &Self) -> (u32, u64) {
        (self.count.wrapping_sub(before.count), self.sum_us.wrapping_sub(before.sum_us))
    }
}

const BACKLOGGED: u8 = 1;

/// A transport acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledgement<'a> {
    /// Highest physical number that the sender of this subfield has used.
    pub highest_sent: u64,
    /// Highest physical number that it has received; 0 for none.
    pub highest_received: u64,
    /// Whether its packet driver takes delivered buffers more slowly than they come.
    pub backlogged: bool,
    /// Rate at which buffers are delivered to its packet driver, in units of 1,000 bytes a second.
    pub delivery_kbytes_per_s: u32,
    /// Bytes of buffers that reassembly could begin now.
    pub room_bytes: u32,
    /// Microseconds between the reception of the highest number and the sending of this.
    pub delay_us: u32,
    /// Its clock in microseconds, which wraps: what arrived when, whatever delays this on its way.
    pub clock_us: u32,
    /// All datagrams to be acknowledged that it has received in this session, and when they came.
    pub arrivals: Arrivals,
    /// Lowest logical number that is not complete.
    pub lowest_incomplete: u64,
    /// Which physical numbers it has received. A number counts as missing only where this covers
    /// it with a zero; it covers nothing above [`Acknowledgement::highest_received`].
    pub received: Bitmap<'a>,
    /// Which logical numbers are complete; its base is the lowest incomplete one.
    pub complete: Bitmap<'a>,
}

impl<'a> Acknowledgement<'a> {
    /// Length without bitmaps, in bytes, type and length included.
    pub const BASE_LEN: usize = SUBFIELD_LEN + 59;

    /// From the body of the subfield.
    ///
    /// # Errors
    /// [`Malformed`] when it is too short, or a bitmap begins above the highest number received.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(body);
        let highest_sent = reader.u64()?;
        let highest_received = reader.u64()?;
        let flags = reader.u8()?;
        let delivery_kbytes_per_s = reader.u32()?;
        let room_bytes = reader.u32()?;
        let delay_us = reader.u32()?;
        let clock_us = reader.u32()?;
        let arrivals = Arrivals { count: reader.u32()?, sum_us: reader.u64()? };
        let lowest_incomplete = reader.u64()?;
        let below = u64::from(reader.u32()?);
        let len = usize::from(reader.u16()?);
        let base = highest_received.checked_sub(below).ok_or(Malformed::Value)?;
        let received = Bitmap { base, bytes: reader.bytes(len)? };
        let complete = Bitmap { base: lowest_incomplete, bytes: reader.0 };
        Ok(Acknowledgement {
            highest_sent,
            highest_received,
            backlogged: flags & BACKLOGGED != 0,
            delivery_kbytes_per_s,
            room_bytes,
            delay_us,
            clock_us,
            arrivals,
            lowest_incomplete,
            received,
            complete,
        })
    }

    /// Writes the subfield; its length, or `None` when it does not fit, when the bitmap of received
    /// numbers does not begin within 2^32 below the highest, or that of complete numbers does not
    /// begin at the lowest incomplete one.
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        if self.complete.base != self.lowest_incomplete {
            return None;
        }
        let mut writer = Writer::new(out);
        let bitmaps = self.received.bytes.len() + self.complete.bytes.len();
        writer.subfield(SubfieldKind::Acknowledgement, Self::BASE_LEN - SUBFIELD_LEN + bitmaps)?;
        writer.put(&self.highest_sent.to_be_bytes())?;
        writer.put(&self.highest_received.to_be_bytes())?;
        writer.put(&[if self.backlogged { BACKLOGGED } else { 0 }])?;
        writer.put(&self.delivery_kbytes_per_s.to_be_bytes())?;
        writer.put(&self.room_bytes.to_be_bytes())?;
        writer.put(&self.delay_us.to_be_bytes())?;
        writer.put(&self.clock_us.to_be_bytes())?;
        writer.put(&self.arrivals.count.to_be_bytes())?;
        writer.put(&self.arrivals.sum_us.to_be_bytes())?;
        writer.put(&self.lowest_incomplete.to_be_bytes())?;
        let below = self.highest_received.checked_sub(self.received.base)?;
        writer.put(&u32::try_from(below).ok()?.to_be_bytes())?;
        writer.put(&u16::try_from(self.received.bytes.len()).ok()?.to_be_bytes())?;
        writer.put(self.received.bytes)?;
        writer.put(self.complete.bytes)?;
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
            numbers: (u64, u64, u32, u64),
            arrivals: (u32, u64),
            rest: (bool, u32, u32, u32, u32),
            received in proptest::collection::vec(any::<u8>(), 0..50),
            complete in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let (highest_sent, highest_received, below, lowest_incomplete) = numbers;
            let ack = Acknowledgement {
                highest_sent,
                highest_received,
                backlogged: rest.0,
                delivery_kbytes_per_s: rest.1,
                room_bytes: rest.2,
                delay_us: rest.3,
                clock_us: rest.4,
                arrivals: Arrivals { count: arrivals.0, sum_us: arrivals.1 },
                lowest_incomplete,
                received: Bitmap { base: highest_received.saturating_sub(u64::from(below)), bytes: &received },
                complete: Bitmap { base: lowest_incomplete, bytes: &complete },
            };
            let mut out = [0; 200];
            let len = ack.emit(&mut out).unwrap();
            prop_assert_eq!(len, Acknowledgement::BASE_LEN + received.len() + complete.len());
            prop_assert_eq!(Acknowledgement::parse(&out[SUBFIELD_LEN..len]), Ok(ack));
            for short in SUBFIELD_LEN..len - complete.len() {
                prop_assert!(Acknowledgement::parse(&out[SUBFIELD_LEN..short]).is_err());
            }
            prop_assert_eq!(ack.emit(&mut out[..len - 1]), None);
        }
    }

    #[test]
    fn bits_count_from_the_lowest() {
        let bitmap = Bitmap { base: 100, bytes: &[0b0000_0101, 0b1000_0000] };
        let set: Vec<u64> = bitmap.iter().filter(|(_, set)| *set).map(|(n, _)| n).collect();
        assert_eq!(set, [100, 102, 115]);
        assert_eq!(bitmap.iter().count(), 16);
        let contained: Vec<u64> = (90..130).filter(|n| bitmap.contains(*n)).collect();
        assert_eq!(contained, set);
    }
}
