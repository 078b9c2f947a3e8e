//! Why a packet was passed, refused or dropped: each reason has a name, which is also that of its
//! counter.

/// Declares an enum of reasons with their names.
macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($variant:ident, $text:literal, $help:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = $help] $variant),+
        }

        impl $name {
            /// All reasons.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// Name in snake case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $($name::$variant => $text),+
                }
            }

            /// The counter of this reason.
            #[must_use]
            pub(crate) const fn counter(self) -> super::counter::InterceptorCounter {
                match self {
                    $($name::$variant => super::counter::InterceptorCounter::$variant),+
                }
            }
        }
    };
}

reasons! {
    /// Why a frame from the LAN side was left alone and bridged.
    PassReason {
        NoRule, "no_rule", "No rule matched.";
        RulePass, "rule_pass", "The rule says so.";
        NoPeer, "no_peer", "The rule names no peer, and none has the destination in its networks.";
        NotIp, "not_ip", "Neither IPv4 nor IPv6.";
        NotUnicast, "not_unicast", "To or from a group, a broadcast or a link-local address.";
        MalformedPassed, "malformed_passed", "Headers are malformed; see the malformed counters.";
        SynNotSeen, "syn_not_seen", "TCP whose SYN was not seen: never taken, never reset.";
        TcpAuthentication, "tcp_authentication", "TCP with an MD5 or AO option.";
        Encapsulated, "encapsulated", "ESP or AH.";
        PeerDown, "peer_down", "The peer is down and its fallback is to pass.";
        Overloaded, "overloaded", "A table is full and the peer's fallback is to pass.";
        TcpFragment, "tcp_fragment", "A fragment of TCP of no split flow.";
    }
}

reasons! {
    /// Why a new flow was refused.
    RefuseReason {
        RefusedPeerDown, "refused_peer_down", "The peer is down and its fallback is to refuse.";
        RefusedOverloaded, "refused_overloaded", "A table is full and the peer's fallback is to refuse.";
    }
}

reasons! {
    /// Why a frame was dropped.
    DropReason {
        RuleDrop, "rule_drop", "The rule says so.";
        Runt, "runt", "Shorter than an Ethernet header.";
        Looped, "looped", "From one of our own stations: a loop between the two sides.";
        SplitFlowOnWan, "split_flow_on_wan", "From the WAN side, of a flow that is split here: it would corrupt the stream.";
        EarlyFragment, "early_fragment", "A later fragment of TCP that came before the first.";
        HeldAfterRestart, "held_after_restart", "TCP whose SYN was not seen, until the peer has listed the flows it held.";
        PeerDownDatagram, "peer_down_datagram", "A datagram for a peer that is down and whose fallback is to refuse.";
        BadChecksum, "bad_checksum", "To our own address with a wrong checksum.";
        OwnMalformed, "own_malformed", "To our own address, malformed or with what neighbour discovery forbids.";
        OwnFragment, "own_fragment", "A fragment to our own address.";
        OwnUnknown, "own_unknown", "To our own address, of a kind that nothing here takes.";
        NotForUs, "not_for_us", "To our own station, for an address that is not ours.";
        NoHeadroom, "no_headroom", "An answer did not fit into the frame.";
    }
}

/// Reasons that a flow table's entry keeps, as numbers.
macro_rules! kept_in_entries {
    ($($name:ident),+) => {
        $(impl $name {
            /// The number that stands for it in a flow table's entry.
            pub(crate) const fn code(self) -> u8 {
                self as u8
            }

            /// The reason of a number.
            pub(crate) fn of_code(code: u8) -> Option<Self> {
                Self::ALL.get(usize::from(code)).copied()
            }
        })+
    };
}

kept_in_entries!(PassReason, DropReason);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{Counter, Kind};
    use crate::interceptor::counter::InterceptorCounter;

    #[test]
    fn reasons_and_their_counters_have_one_name() {
        let name = |counter: InterceptorCounter| {
            let definition = InterceptorCounter::DEFINITIONS[counter.index()];
            (definition.name, definition.kind)
        };
        for reason in PassReason::ALL {
            assert_eq!(name(reason.counter()), (reason.name(), Kind::Info));
            assert_eq!(PassReason::of_code(reason.code()), Some(*reason));
        }
        for reason in RefuseReason::ALL {
            assert_eq!(name(reason.counter()), (reason.name(), Kind::Drop));
        }
        for reason in DropReason::ALL {
            assert_eq!(name(reason.counter()), (reason.name(), Kind::Drop));
            assert_eq!(DropReason::of_code(reason.code()), Some(*reason));
        }
        assert_eq!(PassReason::of_code(255), None);
    }
}
