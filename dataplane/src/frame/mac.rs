//! Ethernet addresses.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// A MAC address.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

/// A text that is not a MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a MAC address: write six hexadecimal bytes, as in 02:00:5e:10:00:01")]
pub struct ParseMacError;

impl MacAddr {
    /// All stations.
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);
    /// No station: the target of an ARP request.
    pub const ZERO: MacAddr = MacAddr([0; 6]);

    /// Whether this is a group address (multicast or broadcast).
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether a station may use this as its own address.
    #[must_use]
    pub fn is_station(self) -> bool {
        !self.is_group() && self != MacAddr::ZERO
    }

    /// The group address that carries an IPv6 multicast address (RFC 2464, section 7).
    #[must_use]
    pub const fn of_ipv6_multicast(address: Ipv6Addr) -> Self {
        let [.., a, b, c, d] = address.octets();
        MacAddr([0x33, 0x33, a, b, c, d])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(ParseMacError)?;
            if !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(ParseMacError);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| ParseMacError)?;
        }
        if parts.next().is_some() { Err(ParseMacError) } else { Ok(MacAddr(bytes)) }
    }
}

/// The solicited-node multicast address of an IPv6 address (RFC 4291, section 2.7.1).
#[must_use]
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from_bits(
        0xff02_0000_0000_0000_0000_0001_ff00_0000
            | ((a as u128) << 16)
            | ((b as u128) << 8)
            | c as u128,
    )
}

/// Whether an address names one host beyond its own link: neither multicast, broadcast,
/// unspecified, loopback nor link-local. Only such addresses can be the ends of a flow that is
/// taken.
#[must_use]
pub fn is_routable_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_link_local()
                || v4.is_loopback()
                || v4.octets()[0] == 0
                || v4.octets()[0] >= 240)
        }
        IpAddr::V6(v6) => {
            !(v6.is_multicast()
                || v6.is_unspecified()
                || v6.is_loopback()
                || v6.is_unicast_link_local())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_are_inverse() {
        let mac = MacAddr([2, 0, 0x5e, 0x10, 0, 0xfe]);
        assert_eq!(mac.to_string(), "02:00:5e:10:00:fe");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        for wrong in
            ["", "02:00:5e:10:00", "02:00:5e:10:00:fe:01", "+2:00:5e:10:00:fe", "2:0:0:0:0:1"]
        {
            assert_eq!(wrong.parse::<MacAddr>(), Err(ParseMacError), "{wrong}");
        }
    }

    #[test]
    fn groups_are_not_stations() {
        assert!(MacAddr::BROADCAST.is_group());
        assert!(!MacAddr::ZERO.is_station());
        assert!(!MacAddr([1, 0, 0x5e, 0, 0, 1]).is_station());
        assert!(MacAddr([2, 0, 0, 0, 0, 1]).is_station());
    }

    #[test]
    fn solicited_node_and_its_group() {
        let address: Ipv6Addr = "fd77::1:12:3456".parse().unwrap();
        let group = solicited_node(address);
        assert_eq!(group, "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap());
        assert_eq!(
            MacAddr::of_ipv6_multicast(group),
            MacAddr([0x33, 0x33, 0xff, 0x12, 0x34, 0x56])
        );
    }

    #[test]
    fn only_hosts_beyond_the_link_are_routable() {
        for yes in ["10.0.0.1", "192.0.2.255", "fd00::1", "2001:db8::1"] {
            assert!(is_routable_unicast(yes.parse().unwrap()), "{yes}");
        }
        for no in [
            "224.0.0.1",
            "255.255.255.255",
            "169.254.1.1",
            "127.0.0.1",
            "0.0.0.0",
            "240.0.0.1",
            "ff02::1",
            "fe80::1",
            "::",
            "::1",
        ] {
            assert!(!is_routable_unicast(no.parse().unwrap()), "{no}");
        }
    }
}
