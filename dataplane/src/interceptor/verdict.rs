//! What has been decided about a flow, and its form in a flow table's entry.

use super::reason::{DropReason, PassReason};
use super::table::RuleId;
use crate::packet_driver::{Class, PeerIndex};

/// What is done with the packets of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Bridged, untouched.
    Pass(PassReason),
    /// Split: the edge is the other end of the host's connection.
    Optimize,
    /// Packet mode: each packet is a message.
    Datagram,
    /// Dropped.
    Drop(DropReason),
}

/// All that is decided about a flow by its first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is done with its packets.
    pub verdict: Verdict,
    /// The rule that said so, in the table of that time.
    pub rule: RuleId,
    /// The peer it goes to; of no meaning for flows that are passed or dropped.
    pub peer: PeerIndex,
    /// Traffic class.
    pub class: Class,
    /// Whether its data may be compressed.
    pub compress: bool,
    /// Split flows: the place in the edge's table, [`Decision::NO_SLOT`] until it has one. Passed
    /// TCP: the sequence number of the SYN.
    pub slot: u32,
}

impl Decision {
    /// A split flow that the edge has not taken yet.
    pub const NO_SLOT: u32 = u32::MAX;

    /// A decision to pass, by no rule.
    #[must_use]
    pub const fn pass(reason: PassReason) -> Self {
        Decision {
            verdict: Verdict::Pass(reason),
            rule: RuleId::NONE,
            peer: PeerIndex(0),
            class: Class(0),
            compress: false,
            slot: Self::NO_SLOT,
        }
    }

    /// The decision but for its slot, in the lower 57 bits of a word.
    pub(crate) fn to_word(self) -> u64 {
        let (kind, reason) = match self.verdict {
            Verdict::Pass(reason) => (0, reason.code()),
            Verdict::Optimize => (1, 0),
            Verdict::Datagram => (2, 0),
            Verdict::Drop(reason) => (3, reason.code()),
        };
        kind | u64::from(reason) << 8
            | u64::from(self.rule.0) << 16
            | u64::from(self.peer.0) << 32
            | u64::from(self.class.0) << 48
            | u64::from(self.compress) << 56
    }

    /// Why a flow passes whose decision is this word; `None` for any other decision, and for a
    /// reason that no writer makes.
    #[expect(clippy::cast_possible_truncation, reason = "fields are taken out of a word")]
    pub(crate) fn pass_reason(word: u64) -> Option<PassReason> {
        if word as u8 == 0 { PassReason::of_code((word >> 8) as u8) } else { None }
    }

    /// The decision in a word; what no writer makes reads as "no rule".
    #[expect(clippy::cast_possible_truncation, reason = "fields are taken out of a word")]
    pub(crate) fn of_word(word: u64, slot: u32) -> Self {
        let reason = (word >> 8) as u8;
        let verdict = match word & 0xff {
            1 => Verdict::Optimize,
            2 => Verdict::Datagram,
            3 => Verdict::Drop(DropReason::of_code(reason).unwrap_or(DropReason::RuleDrop)),
            _ => Verdict::Pass(PassReason::of_code(reason).unwrap_or(PassReason::NoRule)),
        };
        Decision {
            verdict,
            rule: RuleId((word >> 16) as u16),
            peer: PeerIndex((word >> 32) as u16),
            class: Class((word >> 48) as u8),
            compress: word >> 56 & 1 == 1,
            slot,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn survives_its_word(
            kind in 0..4u8,
            reason in any::<prop::sample::Index>(),
            numbers in any::<(u16, u16, u8, bool, u32)>(),
        ) {
            let verdict = match kind {
                0 => Verdict::Pass(*reason.get(PassReason::ALL)),
                1 => Verdict::Optimize,
                2 => Verdict::Datagram,
                _ => Verdict::Drop(*reason.get(DropReason::ALL)),
            };
            let (rule, peer, class, compress, slot) = numbers;
            let decision = Decision {
                verdict, rule: RuleId(rule), peer: PeerIndex(peer), class: Class(class), compress, slot,
            };
            prop_assert_eq!(Decision::of_word(decision.to_word(), slot), decision);
            prop_assert_eq!(decision.to_word() >> 57, 0);
            let passes = if let Verdict::Pass(reason) = verdict { Some(reason) } else { None };
            prop_assert_eq!(Decision::pass_reason(decision.to_word()), passes);
        }
    }
}
