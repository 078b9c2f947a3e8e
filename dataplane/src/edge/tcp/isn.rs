//! Initial sequence numbers and timestamp offsets that strangers cannot guess (RFC 6528,
//! RFC 7323 5.4).

use super::siphash::siphash;
use crate::frame::FlowKey;
use crate::time::{MICROSECOND_NS, Time};

/// The clock of RFC 6528 ticks every 4 microseconds.
const TICK_NS: u64 = 4 * MICROSECOND_NS;

/// The numbers a connection starts with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InitialNumbers {
    /// Initial sequence number.
    pub sequence: u32,
    /// Added to the timestamp clock; the same for all connections of a 5-tuple, so that their
    /// timestamps never go backwards.
    pub timestamp_offset: u32,
}

/// Makes initial numbers from a secret that is drawn once at start.
#[derive(Clone)]
pub struct InitialNumberSource {
    secret: [u8; 16],
}

impl std::fmt::Debug for InitialNumberSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InitialNumberSource(secret)")
    }
}

impl InitialNumberSource {
    /// A source with this secret, which must be random.
    #[must_use]
    pub fn new(secret: [u8; 16]) -> Self {
        InitialNumberSource { secret }
    }

    /// The numbers of a connection of this 5-tuple (as seen from us) that begins now.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "numbers modulo 2^32")]
    pub fn numbers(&self, now: Time, key: &FlowKey) -> InitialNumbers {
        let mut bytes = [0_u8; 39];
        let (addresses, ports) = bytes.split_at_mut(32);
        let (source, destination) = addresses.split_at_mut(16);
        source.copy_from_slice(&address_bits(key.source()));
        destination.copy_from_slice(&address_bits(key.destination()));
        ports[0..2].copy_from_slice(&key.source_port.to_be_bytes());
        ports[2..4].copy_from_slice(&key.destination_port.to_be_bytes());
        ports[4..6].copy_from_slice(&key.vlan.to_be_bytes());
        ports[6] = key.protocol;
        let hash = siphash(&self.secret, &bytes);
        let clock = (now.as_ns() / TICK_NS) as u32;
        InitialNumbers {
            sequence: clock.wrapping_add(hash as u32),
            timestamp_offset: (hash >> 32) as u32,
        }
    }
}

fn address_bits(address: std::net::IpAddr) -> [u8; 16] {
    match address {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SECOND_NS;

    fn key(port: u16) -> FlowKey {
        FlowKey::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), port, 80, 6, 0)
    }

    #[test]
    fn grows_with_time_and_differs_by_flow_and_secret() {
        let source = InitialNumberSource::new([7; 16]);
        let first = source.numbers(Time::ZERO, &key(1000));
        let later = source.numbers(Time::from_ns(SECOND_NS), &key(1000));
        assert_eq!(later.sequence.wrapping_sub(first.sequence), 250_000);
        assert_eq!(later.timestamp_offset, first.timestamp_offset);
        assert_ne!(source.numbers(Time::ZERO, &key(1001)), first);
        assert_ne!(InitialNumberSource::new([8; 16]).numbers(Time::ZERO, &key(1000)), first);
    }
}
