//! Values with their units, as people write them: `200mbit`, `64KiB`, `40ms`, `0.5%`.
//!
//! In: text. Out: bit/s, bytes, nanoseconds, a share of 1. Never: a bare number where a unit is
//! needed to know what is meant.

/// Why a value cannot be read; says what would do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct UnitError {
    text: String,
    expected: &'static str,
}

const RATES: &[(&str, f64)] = &[("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9), ("bit", 1.0)];
const SIZES: &[(&str, f64)] =
    &[("KiB", 1024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0), ("", 1.0)];
const DURATIONS: &[(&str, f64)] = &[("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];
const SHARES: &[(&str, f64)] = &[("%", 0.01), ("", 1.0)];

/// A rate, in bit/s.
///
/// # Errors
///
/// When the text is not a number with `bit`, `kbit`, `mbit` or `gbit`.
pub fn rate_bps(text: &str) -> Result<u64, UnitError> {
    whole(text, RATES, "a rate such as 200mbit, 1.5gbit or 64kbit")
}

/// A size, in bytes.
///
/// # Errors
///
/// When the text is not a number, plain or with `KiB`, `MiB` or `GiB`.
pub fn bytes(text: &str) -> Result<u64, UnitError> {
    whole(text, SIZES, "a size such as 1500, 64KiB or 2MiB")
}

/// A duration, in nanoseconds.
///
/// # Errors
///
/// When the text is not a number with `ns`, `us`, `ms` or `s`, or 0.
pub fn duration_ns(text: &str) -> Result<u64, UnitError> {
    if text == "0" {
        return Ok(0);
    }
    whole(text, DURATIONS, "a time such as 500us, 40ms or 1.5s")
}

/// A probability, 0 to 1.
///
/// # Errors
///
/// When the text is not a number from 0 to 1 or a percentage.
pub fn probability(text: &str) -> Result<f64, UnitError> {
    let expected = "a share such as 0.5% or 0.005, at most 100%";
    let value = scaled(text, SHARES, expected)?;
    if value <= 1.0 { Ok(value) } else { Err(error(text, expected)) }
}

/// A number that is not negative, with the first unit that fits, in units of 1.
pub(crate) fn scaled(
    text: &str,
    units: &[(&str, f64)],
    expected: &'static str,
) -> Result<f64, UnitError> {
    units
        .iter()
        .find_map(|(unit, factor)| {
            // Digits only before the unit: no signs, exponents, infinities.
            let number = text.strip_suffix(unit)?;
            let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            let value: f64 = number.parse().ok().filter(|_| plain)?;
            Some(value * factor)
        })
        .ok_or_else(|| error(text, expected))
}

fn whole(text: &str, units: &[(&str, f64)], expected: &'static str) -> Result<u64, UnitError> {
    /// Up to here, f64 has every whole number.
    const EXACT_MAX: f64 = (1_u64 << 53) as f64;
    let value = scaled(text, units, expected)?.round();
    if value > EXACT_MAX {
        return Err(error(text, expected));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Ok(value as u64)
}

pub(crate) fn error(text: &str, expected: &'static str) -> UnitError {
    UnitError { text: text.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_their_units() {
        assert_eq!(rate_bps("200mbit"), Ok(200_000_000));
        assert_eq!(rate_bps("1.5gbit"), Ok(1_500_000_000));
        assert_eq!(rate_bps("9600bit"), Ok(9600));
        assert_eq!(bytes("64KiB"), Ok(65_536));
        assert_eq!(bytes("1500"), Ok(1500));
        assert_eq!(duration_ns("40ms"), Ok(40_000_000));
        assert_eq!(duration_ns("0.5us"), Ok(500));
        assert_eq!(duration_ns("2s"), Ok(2_000_000_000));
        assert_eq!(duration_ns("0"), Ok(0));
        assert_eq!(probability("0.5%"), Ok(0.005));
        assert_eq!(probability("1"), Ok(1.0));
    }

    #[test]
    fn what_is_not_clear_is_refused() {
        for text in ["", "mbit", "200", "-1mbit", "1e9bit", "200 mbit", "infgbit", "200Mbit"] {
            assert!(rate_bps(text).is_err(), "{text}");
        }
        for text in ["64kb", "1,5KiB", "99999999999999999GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert!(duration_ns("40").is_err());
        for text in ["101%", "1.1", "NaN", "-0.1"] {
            assert!(probability(text).is_err(), "{text}");
        }
        assert!(rate_bps("200").unwrap_err().to_string().contains("such as 200mbit"));
    }
}
