//! Values with a unit: rates, sizes and times, read from text and written back.
//!
//! In: `"200mbit"`, `"64KiB"`, `"80ms"`. Out: bits per second, bytes, durations, exactly; what
//! cannot be exact is an error. What is written reads back as the same value. Never: rounding.

use std::fmt;
use std::time::Duration;

/// A rate in bits per second. On links, the bits of IP packets, headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Units of one quantity, largest first, each with its multiple of the smallest.
type Units = &'static [(&'static str, u64)];

const RATES: Units = &[("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)];
const SIZES: Units = &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const TIMES: Units = &[("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];

impl Rate {
    /// Reads `"200mbit"`.
    ///
    /// # Errors
    /// A sentence that says which values are possible.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse(text, RATES).map(Rate).ok_or_else(|| {
            format!("\"{text}\" is not a rate; write a number with kbit, mbit or gbit, as in \"200mbit\"")
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_unit(f, self.0, RATES)
    }
}

impl Size {
    /// Reads `"64KiB"`, or `"1500"` for plain bytes.
    ///
    /// # Errors
    /// A sentence that says which values are possible.
    pub fn parse(text: &str) -> Result<Self, String> {
        let plain = text.parse().ok().filter(|_| text.starts_with(|c: char| c.is_ascii_digit()));
        plain.or_else(|| parse(text, SIZES)).map(Size).ok_or_else(|| {
            format!("\"{text}\" is not a size; write bytes, or a number with KiB, MiB or GiB, as in \"64KiB\"")
        })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_unit(f, self.0, SIZES)
    }
}

/// Reads `"80ms"`.
///
/// # Errors
/// A sentence that says which values are possible.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    parse(text, TIMES).map(Duration::from_nanos).ok_or_else(|| {
        format!("\"{text}\" is not a time; write a number with us, ms or s, as in \"80ms\"")
    })
}

/// Writes a duration so that [`parse_duration`] reads it back, up to 584 years.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    struct Written(u64);
    impl fmt::Display for Written {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write_with_unit(f, self.0, TIMES)
        }
    }
    Written(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)).to_string()
}

/// `number unit` in multiples of the smallest unit; `None` unless it is exact and fits.
fn parse(text: &str, units: Units) -> Option<u64> {
    let number_length = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(number_length);
    let &(_, multiple) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let tenths = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction = fraction.parse::<u128>().ok()?.checked_mul(u128::from(multiple))?;
    if fraction % tenths != 0 {
        return None;
    }
    whole.checked_mul(multiple)?.checked_add(u64::try_from(fraction / tenths).ok()?)
}

/// In the largest unit that leaves no fraction.
fn write_with_unit(f: &mut fmt::Formatter<'_>, value: u64, units: Units) -> fmt::Result {
    let exact = units.iter().find(|(_, multiple)| value != 0 && value.is_multiple_of(*multiple));
    let smallest = units.last();
    match exact.or(smallest) {
        Some((name, multiple)) => f.pad(&format!("{}{name}", value / multiple)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_with_units() {
        assert_eq!(Rate::parse("200mbit"), Ok(Rate(200_000_000)));
        assert_eq!(Rate::parse("1.5gbit"), Ok(Rate(1_500_000_000)));
        assert_eq!(Rate::parse("64 kbit"), Ok(Rate(64_000)));
        assert_eq!(Size::parse("64KiB"), Ok(Size(65_536)));
        assert_eq!(Size::parse("1.5KiB"), Ok(Size(1_536)));
        assert_eq!(Size::parse("1500"), Ok(Size(1_500)));
        assert_eq!(parse_duration("500us"), Ok(Duration::from_micros(500)));
        assert_eq!(parse_duration("1.5ms"), Ok(Duration::from_micros(1_500)));
        assert_eq!(Rate(1_500_000_000).to_string(), "1500mbit");
        assert_eq!(Size(1_500).to_string(), "1500B");
        assert_eq!(format_duration(Duration::ZERO), "0ns");
    }

    #[test]
    fn what_is_not_exact_is_refused() {
        for text in [
            "",
            "mbit",
            "200",
            "200Mbit",
            "200mbps",
            ".5mbit",
            "1.mbit",
            "1.0001bit",
            "-1mbit",
            "1..5mbit",
            "99999999999999999999gbit",
            "20000000000gbit",
            "1e3mbit",
            "१mbit",
        ] {
            assert!(Rate::parse(text).is_err(), "{text}");
        }
        for text in ["", "64KB", "64kib", "+1", "1.5", "-3KiB"] {
            assert!(Size::parse(text).is_err(), "{text}");
        }
        for text in ["", "80", "80m", "80 min", "0.1ns"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        let error = Rate::parse("200mbps").unwrap_err();
        assert!(error.contains("200mbps") && error.contains("mbit"), "{error}");
    }

    proptest! {
        #[test]
        fn written_values_read_back(value: u64) {
            prop_assert_eq!(Rate::parse(&Rate(value).to_string()), Ok(Rate(value)));
            prop_assert_eq!(Size::parse(&Size(value).to_string()), Ok(Size(value)));
            let duration = Duration::from_nanos(value);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,24}") {
            let _ = Rate::parse(&text);
            let _ = Size::parse(&text);
            let _ = parse_duration(&text);
        }
    }
}
