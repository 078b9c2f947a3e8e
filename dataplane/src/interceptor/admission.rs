//! Admission: what is decided about a flow by its first packet from the LAN side.
//!
//! In: the packet, the rules, the state of the peers. Out: a decision, or a refusal. Never: state
//! of its own; the same packet under the same circumstances gets the same answer.

use super::own::{self, Own};
use super::reason::{DropReason, PassReason, RefuseReason};
use super::table::{Probe, RuleAction, RuleMatch, RuleTable};
use super::verdict::{Decision, Verdict};
use crate::frame::ip::protocol;
use crate::frame::{Parsed, Transport};
use crate::packet_driver::PeerIndex;

/// What becomes of new flows when their peer cannot take them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// They are bridged.
    #[default]
    Pass,
    /// They are refused.
    Refuse,
}

/// What admission knows of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// What becomes of new flows while it is not up, or it or we are overloaded.
    pub fallback: Fallback,
    /// There is a session.
    pub up: bool,
    /// It takes no more flows, or its share of memory here is used up.
    pub overloaded: bool,
    /// After a restart: until it has listed the flows it held, connections that are under way are
    /// neither passed nor taken.
    pub holding: bool,
}

/// All that a decision depends on besides the packet.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The rules.
    pub rules: &'a RuleTable,
    /// The peers, by index.
    pub peers: &'a [PeerStatus],
    /// Who the TPO is.
    pub own: &'a Own,
    /// The flow table or the edge has no room for another split flow.
    pub overloaded: bool,
}

/// Decides about the flow of a packet. `head` is the first part of its frame.
///
/// # Errors
/// The flow is refused: the host is to be told.
pub fn admit(
    circumstances: &Circumstances,
    parsed: &Parsed,
    head: &[u8],
) -> Result<Decision, RefuseReason> {
    if !parsed.is_ip() {
        return Ok(Decision::pass(PassReason::NotIp));
    }
    let to_group = head.first().is_some_and(|first| first & 1 != 0);
    if to_group || !own::is_takeable(circumstances.own, &parsed.key) {
        return Ok(Decision::pass(PassReason::NotUnicast));
    }
    let probe =
        Probe { key: &parsed.key, dscp: parsed.dscp(), ports_known: parsed.fragment.is_none() };
    let Some(found) = circumstances.rules.find(&probe) else {
        let slot = syn_sequence(parsed, head);
        return Ok(Decision { slot, ..Decision::pass(PassReason::NoRule) });
    };
    let verdict = match found.rule.action {
        RuleAction::Pass => Verdict::Pass(PassReason::RulePass),
        RuleAction::Drop => Verdict::Drop(DropReason::RuleDrop),
        RuleAction::Tunnel => match found.peer {
            None => Verdict::Pass(PassReason::NoPeer),
            Some(peer) => under_fallback(circumstances, peer, Verdict::Datagram)?,
        },
        RuleAction::Optimize => match found.peer {
            None => Verdict::Pass(PassReason::NoPeer),
            Some(peer) => optimize(circumstances, peer, parsed, head)?,
        },
    };
    Ok(decision(verdict, &found, parsed, head))
}

/// A rule says optimize, and there is a peer.
fn optimize(
    circumstances: &Circumstances,
    peer: PeerIndex,
    parsed: &Parsed,
    head: &[u8],
) -> Result<Verdict, RefuseReason> {
    match parsed.key.protocol {
        protocol::ESP | protocol::AH => Ok(Verdict::Pass(PassReason::Encapsulated)),
        protocol::TCP if parsed.transport != Transport::Tcp => {
            Ok(Verdict::Pass(PassReason::TcpFragment))
        }
        protocol::TCP if !parsed.is_syn() => {
            let holding = status(circumstances, peer).holding;
            Ok(if holding {
                Verdict::Drop(DropReason::HeldAfterRestart)
            } else {
                Verdict::Pass(PassReason::SynNotSeen)
            })
        }
        protocol::TCP if has_authentication(parsed.tcp_options(head)) => {
            Ok(Verdict::Pass(PassReason::TcpAuthentication))
        }
        protocol::TCP => under_fallback(circumstances, peer, Verdict::Optimize),
        _ => under_fallback(circumstances, peer, Verdict::Datagram),
    }
}

/// `taken` if the peer and this TPO can take it; otherwise what the peer's fallback says. Packet
/// mode needs no memory of ours, so our own overload does not keep it out.
fn under_fallback(
    circumstances: &Circumstances,
    peer: PeerIndex,
    taken: Verdict,
) -> Result<Verdict, RefuseReason> {
    let status = status(circumstances, peer);
    let overloaded = status.overloaded || (circumstances.overloaded && taken == Verdict::Optimize);
    let (pass, refuse) = if !status.up {
        (PassReason::PeerDown, RefuseReason::RefusedPeerDown)
    } else if overloaded {
        (PassReason::Overloaded, RefuseReason::RefusedOverloaded)
    } else {
        return Ok(taken);
    };
    match status.fallback {
        Fallback::Pass => Ok(Verdict::Pass(pass)),
        Fallback::Refuse => Err(refuse),
    }
}

/// A peer that is not in the list is down.
fn status(circumstances: &Circumstances, peer: PeerIndex) -> PeerStatus {
    circumstances.peers.get(usize::from(peer.0)).copied().unwrap_or_default()
}

fn decision(verdict: Verdict, found: &RuleMatch, parsed: &Parsed, head: &[u8]) -> Decision {
    let taken = matches!(verdict, Verdict::Optimize | Verdict::Datagram);
    Decision {
        verdict,
        rule: found.id,
        peer: found.peer.unwrap_or_default(),
        class: found.rule.class,
        compress: found.rule.compress,
        slot: if taken { Decision::NO_SLOT } else { syn_sequence(parsed, head) },
    }
}

/// The sequence number of a SYN, by which its retransmission is told from a new connection;
/// [`Decision::NO_SLOT`] for anything else.
pub(crate) fn syn_sequence(parsed: &Parsed, head: &[u8]) -> u32 {
    if !parsed.is_syn() {
        return Decision::NO_SLOT;
    }
    parsed
        .l4(head)
        .get(4..8)
        .and_then(|bytes| bytes.first_chunk::<4>())
        .map_or(Decision::NO_SLOT, |bytes| u32::from_be_bytes(*bytes))
}

/// Whether TCP options hold an MD5 signature (RFC 2385) or an authentication option (RFC 5925):
/// a connection that nobody can split.
#[must_use]
pub fn has_authentication(mut options: &[u8]) -> bool {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const MD5_SIGNATURE: u8 = 19;
    const AUTHENTICATION: u8 = 29;
    while let Some((&kind, rest)) = options.split_first() {
        options = match kind {
            END => return false,
            NO_OPERATION => rest,
            MD5_SIGNATURE | AUTHENTICATION => return true,
            _ => {
                let Some(len) = rest.first().map(|len| usize::from(*len)).filter(|len| *len >= 2)
                else {
                    return false;
                };
                options.get(len..).unwrap_or(&[])
            }
        };
    }
    false
}
