//! Another appliance with the key of our peer, that was started earlier: a copied configuration.
//!
//! In: handshakes of earlier starts of the peer. Out: whether somebody goes on making them. Never:
//! a decision on sessions: the later start has the session, and keeps it while it lives.

/// Handshakes, each made after the one before, that nobody can have recorded and none who was
/// replaced would still make.
const HANDSHAKES: u32 = 3;

/// What was heard of earlier starts since the session began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Twin {
    /// Incarnation and stamp of the latest.
    latest: (u64, u64),
    handshakes: u32,
}

impl Twin {
    /// A handshake of an earlier start came; a repeated one counts once.
    pub(super) fn note(&mut self, incarnation: u64, stamp: u64) {
        if (incarnation, stamp) > self.latest {
            self.latest = (incarnation, stamp);
            self.handshakes = self.handshakes.saturating_add(1);
        }
    }

    /// Whether there is such an appliance.
    pub(super) fn is_there(&self) -> bool {
        self.handshakes >= HANDSHAKES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_counts_once() {
        let mut twin = Twin::default();
        (0..9).for_each(|_| twin.note(4, 100));
        assert!(!twin.is_there());
        twin.note(4, 200);
        twin.note(4, 100);
        assert!(!twin.is_there());
        twin.note(4, 300);
        assert!(twin.is_there());
    }
}
