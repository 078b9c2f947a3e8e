//! Prefixes and interface addresses, as the configuration writes them.
//!
//! In: `"10.77.1.0/24"`, `"10.77.1.1/16"`. Out: values whose length fits their family; a prefix
//! has no host bits. Never: names, scopes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network: an address whose bits past `length` are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// An address on an interface and how much of it names the network it is on-link with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceAddress {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// The network of `length` bits that `address` is in; a length past the family's is cut to it.
    #[must_use]
    pub fn containing(address: IpAddr, length: u8) -> Self {
        let length = length.min(width(address));
        Prefix { address: masked(address, length), length }
    }

    /// Reads `"10.0.0.0/8"`, or `"10.0.0.1"` for one host.
    ///
    /// # Errors
    /// A sentence that says what a prefix looks like, or which one was meant.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(host) = text.parse() {
            return Ok(Prefix::containing(host, u8::MAX));
        }
        let (address, length) = parse_with_length(text).ok_or_else(|| {
            format!("\"{text}\" is not a prefix; write one as in \"10.77.1.0/24\"")
        })?;
        let prefix = Prefix::containing(address, length);
        if prefix.address == address {
            Ok(prefix)
        } else {
            Err(format!("\"{text}\" has bits set past its length; write \"{prefix}\""))
        }
    }

    /// The network address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Number of leading bits that name the network.
    #[must_use]
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether `address` is in this network; never true across families.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.length) == self.address
    }

    /// Whether an address can be in both.
    #[must_use]
    pub fn overlaps(&self, other: &Prefix) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }
}

impl InterfaceAddress {
    /// Reads `"10.77.1.1/16"`.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (address, length) = parse_with_length(text).ok_or_else(|| {
            format!("\"{text}\" is not an address with its prefix length; write one as in \"10.77.1.1/16\"")
        })?;
        check_host(address)?;
        Ok(InterfaceAddress { address, length })
    }

    /// The address itself.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Number of leading bits that name the network.
    #[must_use]
    pub fn length(&self) -> u8 {
        self.length
    }

    /// What is on-link.
    #[must_use]
    pub fn network(&self) -> Prefix {
        Prefix::containing(self.address, self.length)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.address, self.length))
    }
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.address, self.length))
    }
}

/// Whether `address` can be that of one host.
///
/// # Errors
/// A sentence that says why not.
pub fn check_host(address: IpAddr) -> Result<(), String> {
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast {
        return Err(format!("{address} cannot be a host's address; write a unicast address"));
    }
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        return Err(format!("{address} is an IPv4 address in IPv6 clothes; write {v4}"));
    }
    Ok(())
}

fn parse_with_length(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let digits = length.bytes().all(|byte| byte.is_ascii_digit());
    let length = length.parse().ok().filter(|&length| digits && length <= width(address))?;
    Some((address, length))
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, length: u8) -> IpAddr {
    let length = u32::from(length);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(length)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(length)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prefixes_have_no_host_bits() {
        assert_eq!(Prefix::parse("10.77.1.0/24").unwrap().to_string(), "10.77.1.0/24");
        let error = Prefix::parse("10.77.1.7/24").unwrap_err();
        assert!(error.contains("write \"10.77.1.0/24\""), "{error}");
        assert_eq!(Prefix::parse("10.77.1.7").unwrap().to_string(), "10.77.1.7/32");
        assert_eq!(Prefix::parse("fd77::7").unwrap().to_string(), "fd77::7/128");
        for text in ["10.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "lan/8"] {
            assert!(Prefix::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_contain_and_overlap_within_their_family() {
        let ten = Prefix::parse("10.0.0.0/8").unwrap();
        let all_v6 = Prefix::parse("::/0").unwrap();
        assert!(ten.contains([10, 255, 0, 1].into()));
        assert!(!ten.contains([11, 0, 0, 1].into()));
        assert!(all_v6.contains(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        assert!(!all_v6.contains([10, 0, 0, 1].into()));
        assert!(ten.overlaps(&Prefix::parse("10.1.0.0/16").unwrap()));
        assert!(Prefix::parse("10.1.0.0/16").unwrap().overlaps(&ten));
        assert!(!ten.overlaps(&Prefix::parse("11.0.0.0/8").unwrap()));
        assert!(!ten.overlaps(&all_v6));
    }

    #[test]
    fn an_interface_has_a_unicast_address() {
        let address = InterfaceAddress::parse("10.77.1.1/16").unwrap();
        assert_eq!(address.network().to_string(), "10.77.0.0/16");
        for text in [
            "0.0.0.0/0",
            "224.0.0.1/4",
            "127.0.0.1/8",
            "255.255.255.255/32",
            "ff02::1/64",
            "::ffff:10.0.0.1/128",
            "10.0.0.1",
        ] {
            assert!(InterfaceAddress::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn written_prefixes_read_back(v4: u32, v6: u128, length in 0_u8..=128) {
            for address in [IpAddr::V4(v4.into()), IpAddr::V6(v6.into())] {
                let prefix = Prefix::containing(address, length);
                prop_assert!(prefix.contains(address));
                prop_assert_eq!(Prefix::parse(&prefix.to_string()), Ok(prefix));
            }
        }
    }
}
