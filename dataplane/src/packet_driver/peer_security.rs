//! How a session is protected and where its peer is, for readers on other threads.
//!
//! In: what the transmit stage, the only writer, knows. Out: the same to any reader. Never: a
//! lock; half of an address.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence};

/// How the datagrams of a session are protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shield {
    /// There is no session.
    #[default]
    Unknown,
    /// Not at all.
    None,
    /// By AES-256-GCM.
    Aes256Gcm,
    /// By ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

/// Why the latest session ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LastEnd {
    /// None has.
    #[default]
    Never,
    /// The peer was silent for too long.
    Silent,
    /// The peer began anew.
    Replaced,
    /// The peer closed it.
    Closed,
    /// The peer broke the protocol: a malformed datagram under its own keys.
    Malformed,
    /// The peer broke the protocol: it acknowledged what it has not received.
    Acknowledgement,
    /// The peer broke the protocol: pieces of one buffer contradict each other.
    Contradiction,
    /// Its keys could not be renewed in time.
    Expired,
}

const SHIELDS: [Shield; 4] =
    [Shield::Unknown, Shield::None, Shield::Aes256Gcm, Shield::ChaCha20Poly1305];
const ENDS: [LastEnd; 8] = [
    LastEnd::Never,
    LastEnd::Silent,
    LastEnd::Replaced,
    LastEnd::Closed,
    LastEnd::Malformed,
    LastEnd::Acknowledgement,
    LastEnd::Contradiction,
    LastEnd::Expired,
];

/// Protection and place of one peer.
#[derive(Debug, Default)]
pub struct PeerSecurity {
    shield: AtomicU8,
    ended: AtomicU8,
    twin: AtomicBool,
    /// Odd while the address is being written.
    version: AtomicU64,
    address: [AtomicU64; 3],
}

impl PeerSecurity {
    /// How its datagrams are protected.
    pub fn shield(&self) -> Shield {
        SHIELDS.get(usize::from(self.shield.load(Ordering::Relaxed))).copied().unwrap_or_default()
    }

    /// Why the latest session ended.
    pub fn ended(&self) -> LastEnd {
        ENDS.get(usize::from(self.ended.load(Ordering::Relaxed))).copied().unwrap_or_default()
    }

    /// Whether another appliance with its key, started earlier, asks for a session too.
    pub fn has_twin(&self) -> bool {
        self.twin.load(Ordering::Relaxed)
    }

    /// Publishes that.
    pub fn set_twin(&self, twin: bool) {
        self.twin.store(twin, Ordering::Relaxed);
    }

    /// Publishes protection and end.
    pub fn set(&self, shield: Shield, ended: LastEnd) {
        self.shield.store(shield as u8, Ordering::Relaxed);
        self.ended.store(ended as u8, Ordering::Relaxed);
    }

    /// Where it was found, if not where it is configured.
    pub fn found(&self) -> Option<SocketAddr> {
        // A writer is done within nanoseconds; a reader that always meets one asks again later.
        for _ in 0..64 {
            let before = self.version.load(Ordering::Acquire);
            let [high, low, rest] = [0, 1, 2].map(|i| self.word(i));
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before {
                let address = Ipv6Addr::from(u128::from(high) << 64 | u128::from(low));
                let port = u16::try_from(rest & 0xffff).unwrap_or(0);
                let ip = match address.to_ipv4_mapped() {
                    Some(v4) => IpAddr::V4(v4),
                    None => IpAddr::V6(address),
                };
                return (port != 0).then_some(SocketAddr::new(ip, port));
            }
        }
        None
    }

    fn word(&self, index: usize) -> u64 {
        self.address.get(index).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Publishes where it was found; for the one writer.
    pub fn set_found(&self, found: Option<SocketAddr>) {
        let (address, port) = match found.map(|at| (at.ip(), at.port())) {
            Some((IpAddr::V4(v4), port)) => (v4.to_ipv6_mapped(), port),
            Some((IpAddr::V6(v6), port)) => (v6, port),
            None => (Ipv6Addr::UNSPECIFIED, 0),
        };
        let bytes = u128::from(address);
        let half = |value: u128| u64::try_from(value & u128::from(u64::MAX)).unwrap_or(0);
        let words = [half(bytes >> 64), half(bytes), u64::from(port)];
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        for (place, word) in self.address.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
        self.version.store(version + 2, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_read() {
        let security = PeerSecurity::default();
        assert_eq!((security.shield(), security.ended()), (Shield::Unknown, LastEnd::Never));
        for shield in SHIELDS {
            for ended in ENDS {
                security.set(shield, ended);
                assert_eq!((security.shield(), security.ended()), (shield, ended));
            }
        }
        assert_eq!(security.found(), None);
        for at in ["10.0.0.1:4980", "[fd77::1]:1"] {
            let at = at.parse().unwrap();
            security.set_found(Some(at));
            assert_eq!(security.found(), Some(at));
        }
        security.set_found(None);
        assert_eq!(security.found(), None);
    }
}
