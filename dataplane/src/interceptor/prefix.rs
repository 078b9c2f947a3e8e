//! Address prefixes, sets of them, and addresses with the prefix of their link.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

use crate::frame::FlowKey;

/// A text that is not a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ParsePrefixError {
    /// The part before the slash is no address.
    #[error("not an address: write 10.77.1.0/24 or fd77::/64")]
    Address,
    /// The part behind the slash is no length of this family.
    #[error("not a prefix length: at most 32 for IPv4, 128 for IPv6")]
    Length,
    /// Bits behind the prefix are set.
    #[error("bits behind the prefix are set: did you mean {0}?")]
    HostBits(Prefix),
    /// IPv4 written as a mapped IPv6 address.
    #[error("an IPv4-mapped IPv6 address: write the IPv4 address")]
    Mapped,
}

/// An address prefix of either family.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// First address, IPv4 in the mapped range; all bits behind the prefix are 0.
    bits: u128,
    /// Ones where the prefix decides.
    mask: u128,
    ipv4: bool,
}

impl Prefix {
    /// The prefix of this length that holds `address`; `None` when the length is beyond the
    /// family's.
    #[must_use]
    pub fn of(address: IpAddr, len: u8) -> Option<Self> {
        let (ipv4, width) = if address.is_ipv4() { (true, 32) } else { (false, 128) };
        if len > width {
            return None;
        }
        let host_bits = u32::from(width - len);
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        Some(Prefix { bits: FlowKey::address_bits(address) & mask, mask, ipv4 })
    }

    /// Whether it holds an address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.contains_bits(FlowKey::address_bits(address), address.is_ipv4())
    }

    /// Whether it holds an address given as bits (IPv4 in the mapped range).
    #[must_use]
    pub fn contains_bits(&self, bits: u128, ipv4: bool) -> bool {
        ipv4 == self.ipv4 && bits & self.mask == self.bits
    }

    /// Length in bits of its family.
    #[must_use]
    pub fn len(&self) -> u8 {
        let host_bits = u8::try_from(self.mask.count_zeros()).unwrap_or(128);
        (if self.ipv4 { 32 } else { 128 }) - host_bits
    }

    /// Whether it holds every address of its family.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is of IPv4.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.ipv4
    }

    /// The first address.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        FlowKey::bits_address(self.bits)
    }

    /// Whether `address` is the broadcast address of this prefix: IPv4, the last of at least four.
    #[must_use]
    pub fn is_broadcast(&self, address: IpAddr) -> bool {
        self.ipv4 && self.len() <= 30 && FlowKey::address_bits(address) == self.bits | !self.mask
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first(), self.len())
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An address and the length behind the slash; without a slash, that of the whole address.
fn parse(text: &str) -> Result<(IpAddr, u8), ParsePrefixError> {
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (address, Some(len)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| ParsePrefixError::Address)?;
    if let IpAddr::V6(v6) = address
        && v6.to_ipv4_mapped().is_some()
    {
        return Err(ParsePrefixError::Mapped);
    }
    let width = if address.is_ipv4() { 32 } else { 128 };
    let len = match len {
        None => width,
        Some(len) if len.bytes().all(|digit| digit.is_ascii_digit()) => {
            len.parse().map_err(|_| ParsePrefixError::Length)?
        }
        Some(_) => return Err(ParsePrefixError::Length),
    };
    if len > width { Err(ParsePrefixError::Length) } else { Ok((address, len)) }
}

impl FromStr for Prefix {
    type Err = ParsePrefixError;

    /// `10.0.0.0/8`, `fd77::/64`, or one address.
    fn from_str(text: &str) -> Result<Self, ParsePrefixError> {
        let (address, len) = parse(text)?;
        let prefix = Prefix::of(address, len).ok_or(ParsePrefixError::Length)?;
        if prefix.first() == address { Ok(prefix) } else { Err(ParsePrefixError::HostBits(prefix)) }
    }
}

/// An address of the TPO's own and the prefix of the link it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// Addresses within it are on the same link.
    pub prefix: Prefix,
}

impl FromStr for InterfaceAddress {
    type Err = ParsePrefixError;

    /// `10.77.1.1/16` or `fd77::1:1/64`; without a length the link holds this address only.
    fn from_str(text: &str) -> Result<Self, ParsePrefixError> {
        let (address, len) = parse(text)?;
        let prefix = Prefix::of(address, len).ok_or(ParsePrefixError::Length)?;
        Ok(InterfaceAddress { address, prefix })
    }
}

/// A set of prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixSet(Vec<Prefix>);

impl PrefixSet {
    /// A set of these prefixes.
    #[must_use]
    pub fn new(prefixes: Vec<Prefix>) -> Self {
        PrefixSet(prefixes)
    }

    /// The prefixes.
    #[must_use]
    pub fn as_slice(&self) -> &[Prefix] {
        &self.0
    }

    /// Whether there is no prefix in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a prefix holds the address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.contains_bits(FlowKey::address_bits(address), address.is_ipv4())
    }

    /// Whether a prefix holds the address given as bits.
    #[must_use]
    pub fn contains_bits(&self, bits: u128, ipv4: bool) -> bool {
        self.0.iter().any(|prefix| prefix.contains_bits(bits, ipv4))
    }

    /// Length of the longest prefix that holds the address.
    #[must_use]
    pub fn longest(&self, bits: u128, ipv4: bool) -> Option<u8> {
        self.0.iter().filter(|prefix| prefix.contains_bits(bits, ipv4)).map(Prefix::len).max()
    }
}

impl FromIterator<Prefix> for PrefixSet {
    fn from_iter<I: IntoIterator<Item = Prefix>>(prefixes: I) -> Self {
        PrefixSet(prefixes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn text() {
        for text in ["0.0.0.0/0", "10.77.0.0/16", "10.1.2.3/32", "::/0", "fd77::/64", "fd77::1/128"]
        {
            assert_eq!(prefix(text).to_string(), text);
        }
        assert_eq!(prefix("10.1.2.3"), prefix("10.1.2.3/32"));
        let wrong = |text: &str| text.parse::<Prefix>().unwrap_err();
        assert_eq!(wrong("10.0.0.0/33"), ParsePrefixError::Length);
        assert_eq!(wrong("10.0.0.0/+8"), ParsePrefixError::Length);
        assert_eq!(wrong("10.0.0.0/"), ParsePrefixError::Length);
        assert_eq!(wrong("10.0.0/8"), ParsePrefixError::Address);
        assert_eq!(wrong("::ffff:10.0.0.0/104"), ParsePrefixError::Mapped);
        assert_eq!(wrong("10.77.1.5/24"), ParsePrefixError::HostBits(prefix("10.77.1.0/24")));
        assert!(wrong("10.77.1.5/24").to_string().ends_with("10.77.1.0/24?"));
    }

    #[test]
    fn families_are_apart() {
        assert!(!prefix("::/0").contains("10.0.0.1".parse().unwrap()));
        assert!(!prefix("0.0.0.0/0").contains("::1".parse().unwrap()));
    }

    #[test]
    fn interface_address_keeps_its_host_part() {
        let own: InterfaceAddress = "10.77.1.1/16".parse().unwrap();
        assert_eq!(own.address, "10.77.1.1".parse::<IpAddr>().unwrap());
        assert_eq!(own.prefix, prefix("10.77.0.0/16"));
        assert!(own.prefix.is_broadcast("10.77.255.255".parse().unwrap()));
        assert!(!own.prefix.is_broadcast("10.77.1.255".parse().unwrap()));
        assert!(!prefix("10.1.2.2/31").is_broadcast("10.1.2.3".parse().unwrap()));
    }

    #[test]
    fn longest_of_a_set() {
        let set: PrefixSet = [prefix("10.0.0.0/8"), prefix("10.1.0.0/16")].into_iter().collect();
        let longest = |text: &str| set.longest(FlowKey::address_bits(text.parse().unwrap()), true);
        assert_eq!(longest("10.1.2.3"), Some(16));
        assert_eq!(longest("10.2.2.3"), Some(8));
        assert_eq!(longest("11.2.2.3"), None);
    }

    proptest! {
        #[test]
        fn holds_exactly_the_addresses_with_its_bits(a in any::<u32>(), b in any::<u32>(), len in 0..=32u8) {
            let prefix = Prefix::of(std::net::Ipv4Addr::from(a).into(), len).unwrap();
            let same = len == 0 || a >> (32 - len) == b >> (32 - len);
            prop_assert_eq!(prefix.contains(std::net::Ipv4Addr::from(b).into()), same);
            prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
        }
    }
}
