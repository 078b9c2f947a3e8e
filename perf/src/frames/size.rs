//! How long frames are.
//!
//! Lengths count as Ethernet does, 4 bytes of frame check sequence included; devices see these 4
//! bytes less.

use std::fmt;
use std::str::FromStr;

/// Bytes of the frame check sequence, which virtual devices leave out.
const FCS_LEN: usize = 4;
/// The shortest frame of Ethernet.
const SHORT: usize = 64;
/// The middle one of the mix: an IP packet of 576 bytes.
const MIDDLE: usize = 594;
/// The longest frame of Ethernet without tags.
const LONG: usize = 1518;
/// The "simple IMIX": of 12 frames 7 short, 4 in the middle, 1 long; here spread evenly.
const MIX: [usize; 12] =
    [SHORT, MIDDLE, SHORT, SHORT, MIDDLE, SHORT, LONG, SHORT, MIDDLE, SHORT, MIDDLE, SHORT];

/// What a frame is at most, without its check sequence.
pub const FRAME_LEN_MAX: usize = LONG - FCS_LEN;

/// The lengths of a stream of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// All frames alike, check sequence included.
    Fixed(usize),
    /// 7 of 64 bytes, 4 of 594, 1 of 1518.
    Mix,
}

/// Not a size of a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size: write bytes from {SHORT} to {LONG}, or imix")]
pub struct SizeError(String);

impl Sizes {
    /// Bytes of a frame as a device sees it.
    #[must_use]
    #[inline]
    pub fn of(self, number: u64) -> usize {
        let on_the_wire = match self {
            Sizes::Fixed(len) => len,
            #[expect(clippy::cast_possible_truncation, reason = "less than 12")]
            Sizes::Mix => MIX[(number % MIX.len() as u64) as usize],
        };
        on_the_wire - FCS_LEN
    }
}

impl FromStr for Sizes {
    type Err = SizeError;

    fn from_str(word: &str) -> Result<Self, SizeError> {
        if word == "imix" {
            return Ok(Sizes::Mix);
        }
        let len = word.parse().ok().filter(|len| (SHORT..=LONG).contains(len));
        len.map(Sizes::Fixed).ok_or_else(|| SizeError(word.to_owned()))
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sizes::Fixed(len) => write!(f, "{len}"),
            Sizes::Mix => write!(f, "imix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_the_mix() {
        assert_eq!("64".parse::<Sizes>().unwrap().of(7), 60);
        assert_eq!("1518".parse::<Sizes>().unwrap().of(7), FRAME_LEN_MAX);
        for wrong in ["63", "1519", "", "-64", "IMIX"] {
            assert!(wrong.parse::<Sizes>().is_err(), "{wrong}");
        }
        let mix: Sizes = "imix".parse().unwrap();
        assert_eq!(mix.to_string(), "imix");
        let count = |len| (0..12).filter(|number| mix.of(*number) == len).count();
        assert_eq!([count(60), count(590), count(FRAME_LEN_MAX)], [7, 4, 1]);
    }
}
