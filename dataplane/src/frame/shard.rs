//! Which part of all flows a flow belongs to: a pure function of its 5-tuple, the same for both
//! directions and for every TPO.
//!
//! In: a 5-tuple. Out: its shard, and of so many edges the one that owns it. Never: a secret (both
//! ends of a flow come to the same shard, and the flow's id carries it), a look at the VLAN.
//!
//! The function is written down in docs/wire-format.md ("Flows and their ids").

use super::FlowKey;

/// A number that flows are spread over evenly; what an edge owns is a range of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard(pub u16);

/// Constants of SplitMix64 and of the golden ratio: any would do that are odd and look random.
const K: [u64; 4] =
    [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb, 0xd6e8_feb8_6659_fd93];

impl Shard {
    /// The shard of a flow.
    #[must_use]
    pub fn of(key: &FlowKey) -> Self {
        let source = end(key.source_bits(), key.source_port);
        let destination = end(key.destination_bits(), key.destination_port);
        let both = source.wrapping_add(destination) ^ u64::from(key.protocol);
        let hash = fold(both ^ K[2], (source ^ destination) ^ K[3]);
        let [high, low, ..] = hash.to_be_bytes();
        Shard(u16::from_be_bytes([high, low]))
    }

    /// Which of `edges` owns the flows of this shard; 0 for a count of 0.
    #[must_use]
    pub fn owner(self, edges: usize) -> usize {
        (usize::from(self.0) * edges) >> u16::BITS
    }
}

/// One end of a flow.
#[expect(clippy::cast_possible_truncation, reason = "an address is taken apart into halves")]
fn end(address: u128, port: u16) -> u64 {
    fold(address as u64 ^ K[0], (address >> 64) as u64 ^ u64::from(port) ^ K[1])
}

/// Both halves of the product, combined.
#[expect(clippy::cast_possible_truncation, reason = "a product is taken apart into halves")]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_directions_and_all_vlans_have_one_owner(
            addresses in any::<(u128, u128)>(),
            ports in any::<(u16, u16)>(),
            vlan in 0..4096_u16,
            protocol in any::<u8>(),
            edges in 1..9_usize,
        ) {
            let key = FlowKey::from_bits(addresses, ports, protocol, vlan);
            let shard = Shard::of(&key);
            prop_assert_eq!(Shard::of(&key.reversed()), shard);
            prop_assert_eq!(Shard::of(&key.in_vlan(0)), shard);
            prop_assert!(shard.owner(edges) < edges);
            prop_assert_eq!(shard.owner(1), 0);
        }
    }

    /// As docs/wire-format.md has it: what a peer of another make has to come to.
    #[test]
    fn the_function_is_the_one_that_is_written_down() {
        let v4 = FlowKey::new([10, 77, 1, 10].into(), [10, 77, 2, 10].into(), 40_000, 80, 6, 0);
        let v6 = FlowKey::from_bits((1 << 127 | 1, 1 << 127 | 2), (40_000, 443), 17, 5);
        assert_eq!([Shard::of(&v4), Shard::of(&v6)].map(|shard| shard.0), [0x0791, 0xe4ff]);
    }

    #[test]
    fn flows_between_two_hosts_spread_evenly() {
        for edges in [2, 3, 8] {
            let mut counts = vec![0_u32; edges];
            for n in 0..16_384_u32 {
                let source = Ipv4Addr::from(0x0a00_0000 | (n >> 12));
                let port = 32_768 + u16::try_from(n & 4_095).unwrap();
                let key = FlowKey::new(source.into(), [10, 9, 9, 9].into(), port, 80, 6, 0);
                counts[Shard::of(&key).owner(edges)] += 1;
            }
            let mean = 16_384 / u32::try_from(edges).unwrap();
            let even = |count: &u32| count.abs_diff(mean) < mean / 10;
            assert!(counts.iter().all(even), "{counts:?}");
        }
    }
}
