//! Names for flows that this TPO opens.
//!
//! They count from a secret number that is another after each start, so that a message of a flow
//! of before a restart finds no flow of after it.

use super::tcp::siphash;
use crate::packet_driver::FlowId;

/// What the first number is made of, beside the secret.
const LABEL: &[u8] = b"flow ids";

/// Gives flow ids, each once.
#[derive(Debug)]
pub(super) struct FlowIds {
    /// The latest, without the opener bit.
    last: u64,
}

impl FlowIds {
    /// Ids of this start of the TPO: `secret` is random.
    pub(super) fn new(secret: &[u8; 16]) -> Self {
        FlowIds { last: siphash(secret, LABEL) }
    }

    /// The next id; `opener` says which of the two TPOs we are in its session.
    pub(super) fn next(&mut self, opener: bool) -> FlowId {
        // 0 is no flow's.
        self.last = (self.last.wrapping_add(1) & !FlowId::OPENER_BIT).max(1);
        FlowId(self.last | if opener { FlowId::OPENER_BIT } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_two_starts_are_far_from_each_other() {
        let first = |secret| FlowIds::new(&secret).next(false).0;
        assert!(first([1; 16]).abs_diff(first([2; 16])) > 1 << 40);
        assert_eq!(first([1; 16]), first([1; 16]));
    }

    #[test]
    fn the_opener_bit_is_the_peers_to_tell_us_by() {
        let mut ids = FlowIds { last: FlowId::OPENER_BIT - 2 };
        assert_eq!(ids.next(true), FlowId(u64::MAX));
        // Around the end: never 0, and never into the other side's ids.
        assert_eq!(ids.next(false), FlowId(1));
        assert_eq!(ids.next(true), FlowId(FlowId::OPENER_BIT | 2));
    }
}
