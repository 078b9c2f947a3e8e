//! What two appliances must agree on, as a number that their set-up compares.
//!
//! In: a configuration and one of its peers. Out: the same digest at both ends exactly when each
//! end's picture of the pair is the other's. Never: what may differ (rates, rules, limits).

use std::fmt::Write;

use super::{Config, Peer, Prefix};

impl Config {
    /// Digest of what we and `peer` must agree on: how datagrams are protected, and the networks
    /// behind the two of us. Equal at both ends if they agree; not a secret and no protection.
    #[must_use]
    pub fn digest(&self, peer: &Peer) -> u64 {
        let mut sides = [listed(&self.lan.networks), listed(&peer.networks)];
        // Each end has itself first: sorting makes the two texts one.
        sides.sort();
        let [first, second] = sides;
        fnv1a(
            format!(
                "encryption {} {}\nnetworks {first}\nnetworks {second}\n",
                peer.encryption,
                if peer.psk_file.is_some() { "with a pre-shared key" } else { "" },
            )
            .as_bytes(),
        )
    }
}

fn listed(networks: &[Prefix]) -> String {
    let mut sorted = networks.to_vec();
    sorted.sort();
    let mut text = String::new();
    for network in sorted {
        // Writing to a String cannot fail.
        let _ = write!(text, "{network} ");
    }
    text
}

/// FNV-1a, 64 bits (RFC 9923): the same on every machine and version.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::fnv1a;

    #[test]
    fn published_values_of_fnv1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
