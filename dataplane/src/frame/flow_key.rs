//! The 5-tuple (and VLAN) that names a flow.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const V4_MAPPED: u128 = 0xffff_0000_0000;

/// The 5-tuple of a packet and its VLAN, packed so that comparing and hashing are cheap.
///
/// IPv4 addresses are kept in the v4-mapped range; a packet with a mapped address on the wire is
/// a martian and never becomes a key. Ports are 0 for protocols that have none; ICMP echo has the
/// identifier in both, so that both directions are one flow.
///
/// Aligned to words, not to pairs of them: each table of flows would have eight bytes more for each.
#[repr(Rust, packed(8))]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    source: u128,
    destination: u128,
    /// Source port in host order.
    pub source_port: u16,
    /// Destination port in host order.
    pub destination_port: u16,
    /// Outermost VLAN id; 0 when untagged.
    pub vlan: u16,
    /// IP protocol number (the transport behind IPv6 extension headers).
    pub protocol: u8,
}

const _: () = assert!(size_of::<FlowKey>() == 40, "kept in every table of flows");

impl FlowKey {
    /// A key from its parts. Both addresses are of one family.
    #[must_use]
    pub fn new(
        source: IpAddr,
        destination: IpAddr,
        source_port: u16,
        destination_port: u16,
        protocol: u8,
        vlan: u16,
    ) -> Self {
        FlowKey {
            source: pack(source),
            destination: pack(destination),
            source_port,
            destination_port,
            vlan,
            protocol,
        }
    }

    /// The source address.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        unpack(self.source)
    }

    /// The destination address.
    #[must_use]
    pub fn destination(&self) -> IpAddr {
        unpack(self.destination)
    }

    /// The source address as bits, IPv4 in the mapped range.
    #[must_use]
    pub fn source_bits(&self) -> u128 {
        self.source
    }

    /// The destination address as bits, IPv4 in the mapped range.
    #[must_use]
    pub fn destination_bits(&self) -> u128 {
        self.destination
    }

    /// A key from its parts, addresses as bits, IPv4 in the mapped range.
    #[must_use]
    pub fn from_bits(addresses: (u128, u128), ports: (u16, u16), protocol: u8, vlan: u16) -> Self {
        FlowKey {
            source: addresses.0,
            destination: addresses.1,
            source_port: ports.0,
            destination_port: ports.1,
            vlan,
            protocol,
        }
    }

    /// An address as bits, IPv4 in the mapped range.
    #[must_use]
    pub fn address_bits(address: IpAddr) -> u128 {
        pack(address)
    }

    /// The address of these bits.
    #[must_use]
    pub fn bits_address(bits: u128) -> IpAddr {
        unpack(bits)
    }

    /// Whether the addresses are IPv4.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.destination >> 32 == V4_MAPPED >> 32
    }

    /// The same key in another VLAN.
    #[must_use]
    pub fn in_vlan(&self, vlan: u16) -> Self {
        FlowKey { vlan, ..*self }
    }

    /// The key of the opposite direction.
    #[must_use]
    pub fn reversed(&self) -> Self {
        FlowKey {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..*self
        }
    }
}

fn pack(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => V4_MAPPED | u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are the IPv4 address")]
fn unpack(bits: u128) -> IpAddr {
    if bits >> 32 == V4_MAPPED >> 32 {
        IpAddr::V4(Ipv4Addr::from_bits(bits as u32))
    } else {
        IpAddr::V6(Ipv6Addr::from_bits(bits))
    }
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "proto {} {}:{} > {}:{} vlan {}",
            self.protocol,
            self.source(),
            self.source_port,
            self.destination(),
            self.destination_port,
            self.vlan
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_packing() {
        let v4 = FlowKey::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 1, 2, 6, 0);
        assert_eq!(v4.source(), IpAddr::from([10, 0, 0, 1]));
        assert!(v4.is_ipv4());
        assert_eq!(v4.reversed().reversed(), v4);
        let v6 = FlowKey::new(
            IpAddr::V6(Ipv6Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            1,
            2,
            17,
            5,
        );
        assert!(!v6.is_ipv4());
        assert_eq!(v6.source(), IpAddr::V6(Ipv6Addr::LOCALHOST));
    }
}
