//! Why a flow ended by a reset, as carried across.

/// Cause of a RESET message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResetCause {
    /// A host sent a RST.
    Host,
    /// The far host refused the connection (RST to our SYN).
    Refused,
    /// No answer from the far host: the opener stays silent too.
    Silence,
    /// ICMP or ICMPv6 unreachable, with its type and code; answered likewise to the near host.
    Unreachable {
        /// ICMP code of an IPv4 or IPv6 destination-unreachable.
        code: u8,
    },
    /// The far host stopped answering (user timeout, retransmissions exhausted).
    HostGone,
    /// The peer is lost for good.
    PeerLost,
    /// The TPO is stopping.
    Stopping,
    /// A table or the memory is full at the far side.
    Overload,
    /// The far side does not accept this flow from this peer.
    NotAllowed,
    /// The peer broke the protocol on this flow.
    Protocol,
    /// The flow is over at the far side, or was never opened there.
    Unknown,
}

impl ResetCause {
    /// The status field of the message: the cause in the high byte, its detail in the low one.
    #[must_use]
    pub fn to_status(self) -> u16 {
        let (cause, detail) = match self {
            ResetCause::Host => (1, 0),
            ResetCause::Refused => (2, 0),
            ResetCause::Silence => (3, 0),
            ResetCause::Unreachable { code } => (4, u16::from(code)),
            ResetCause::HostGone => (5, 0),
            ResetCause::PeerLost => (6, 0),
            ResetCause::Stopping => (7, 0),
            ResetCause::Overload => (8, 0),
            ResetCause::NotAllowed => (9, 0),
            ResetCause::Protocol => (10, 0),
            ResetCause::Unknown => (11, 0),
        };
        cause << 8 | detail
    }

    /// The cause in a status field; `None` for values this version does not know.
    #[must_use]
    pub fn from_status(status: u16) -> Option<Self> {
        let [cause, code] = status.to_be_bytes();
        Some(match cause {
            1 => ResetCause::Host,
            2 => ResetCause::Refused,
            3 => ResetCause::Silence,
            4 => ResetCause::Unreachable { code },
            5 => ResetCause::HostGone,
            6 => ResetCause::PeerLost,
            7 => ResetCause::Stopping,
            8 => ResetCause::Overload,
            9 => ResetCause::NotAllowed,
            10 => ResetCause::Protocol,
            11 => ResetCause::Unknown,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_a_cause_or_unknown() {
        let mut known = 0;
        for status in 0..=u16::MAX {
            if let Some(cause) = ResetCause::from_status(status) {
                assert_eq!(ResetCause::from_status(cause.to_status()), Some(cause));
                known += 1;
            }
        }
        assert_eq!(known, 11 * 256);
        let unreachable = ResetCause::Unreachable { code: 13 };
        assert_eq!(ResetCause::from_status(unreachable.to_status()), Some(unreachable));
    }
}
