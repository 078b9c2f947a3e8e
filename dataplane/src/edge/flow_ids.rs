//! Names for flows that this TPO opens.
//!
//! They count from a secret number that is another after each start, so that a message of a flow
//! of before a restart finds no flow of after it. The low bits are the flow's shard: with them both
//! sides find the edge that owns it, and no two edges, whose shards differ, give the same id.

use super::tcp::siphash;
use crate::frame::{FlowKey, Shard};
use crate::packet_driver::FlowId;

/// What the first number is made of, beside the secret.
const LABEL: &[u8] = b"flow ids";
/// Bits of the number: those that shard and opener bit leave.
const NUMBER_BITS: u32 = u64::BITS - 1 - u16::BITS;

/// Gives flow ids, each once.
#[derive(Debug)]
pub(super) struct FlowIds {
    /// The latest number.
    last: u64,
}

impl FlowIds {
    /// Ids of this start of the TPO: `secret` is random.
    pub(super) fn new(secret: &[u8; 16]) -> Self {
        FlowIds { last: siphash(secret, LABEL) >> (u64::BITS - NUMBER_BITS) }
    }

    /// The id of the next flow; `opener` says which of the two TPOs we are in its session.
    pub(super) fn next(&mut self, opener: bool, key: &FlowKey) -> FlowId {
        // 0 is no flow's.
        self.last = ((self.last + 1) & ((1 << NUMBER_BITS) - 1)).max(1);
        let Shard(shard) = Shard::of(key);
        let opener = if opener { FlowId::OPENER_BIT } else { 0 };
        FlowId(opener | self.last << u16::BITS | u64::from(shard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> FlowKey {
        FlowKey::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 1, 2, 6, 0)
    }

    #[test]
    fn ids_of_two_starts_are_far_from_each_other() {
        let first = |secret| FlowIds::new(&secret).next(false, &key()).0;
        assert!(first([1; 16]).abs_diff(first([2; 16])) > 1 << 40);
        assert_eq!(first([1; 16]), first([1; 16]));
    }

    #[test]
    fn the_opener_bit_is_the_peers_to_tell_us_by_and_the_low_bits_are_the_shard() {
        let Shard(shard) = Shard::of(&key());
        let id = |number: u64, opener: u64| FlowId(opener << 63 | number << 16 | u64::from(shard));
        let most = (1 << NUMBER_BITS) - 1;
        let mut ids = FlowIds { last: most - 1 };
        assert_eq!(ids.next(true, &key()), id(most, 1));
        // Around the end: never 0, and never into the other side's ids.
        assert_eq!(ids.next(false, &key()), id(1, 0));
        assert_eq!(ids.next(true, &key()), id(2, 1));
        assert_eq!(ids.next(true, &key()).shard(), Shard(shard));
    }
}
