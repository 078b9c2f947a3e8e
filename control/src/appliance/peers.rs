//! Peers as `show peer` has them.

use std::collections::HashMap;
use std::time::Instant;

use dataplane::data_mover::security::ExchangeCounter;
use dataplane::data_mover::wire::WIRE_VERSION;
use dataplane::data_mover::{Mark, MoverCounter, PathMtuState};
use dataplane::edge::LanCounter;
use dataplane::packet_driver::{LastEnd, PeerAnswer, PeerIndex, PeerStatus, Shield};
use dataplane::pipeline::appliance::Handles;

use crate::cli::{Direction, Parity, PeerState, PeerView};
use crate::config::{Encryption, Peer, PeerRate};

/// What grows with a peer's traffic.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    sent: u64,
    lost: u64,
    parity: Parity,
    to_peer: Direction,
    from_peer: Direction,
    clear: u64,
    sealed: u64,
    responses: u64,
    path_probes: u64,
    path_probes_lost: u64,
    black_holes: u64,
}

impl Traffic {
    /// That of the place at `index`, since the start.
    pub(super) fn of(handles: &Handles, index: usize) -> Self {
        let mover = |counter| handles.movers.get(index).map_or(0, |mover| mover.get(counter));
        let lan = |counter| handles.lan.get(index).map_or(0, |lan| lan.get(counter));
        Traffic {
            sent: mover(MoverCounter::DatagramsOut).saturating_sub(mover(MoverCounter::AcksOut)),
            lost: mover(MoverCounter::DatagramsLost),
            parity: Parity {
                sent: mover(MoverCounter::ParityOut),
                received: mover(MoverCounter::ParityIn),
                useless: mover(MoverCounter::ParityUseless),
                pieces_restored: mover(MoverCounter::PiecesRestored),
            },
            to_peer: Direction {
                lan_bytes: lan(LanCounter::BytesToPeer),
                wan_bytes: mover(MoverCounter::BytesOut),
            },
            from_peer: Direction {
                lan_bytes: lan(LanCounter::BytesFromPeer),
                wan_bytes: mover(MoverCounter::BytesIn),
            },
            clear: mover(MoverCounter::DropClear),
            sealed: mover(MoverCounter::DropSealed),
            responses: handles.exchange.get(ExchangeCounter::DropResponse),
            path_probes: mover(MoverCounter::PathProbes),
            path_probes_lost: mover(MoverCounter::PathProbesLost),
            black_holes: mover(MoverCounter::BlackHoles),
        }
    }

    /// What came since `earlier`.
    pub(super) fn since(&self, earlier: &Traffic) -> Self {
        let direction = |now: Direction, earlier: Direction| Direction {
            lan_bytes: now.lan_bytes.saturating_sub(earlier.lan_bytes),
            wan_bytes: now.wan_bytes.saturating_sub(earlier.wan_bytes),
        };
        Traffic {
            sent: self.sent.saturating_sub(earlier.sent),
            lost: self.lost.saturating_sub(earlier.lost),
            parity: Parity {
                sent: self.parity.sent.saturating_sub(earlier.parity.sent),
                received: self.parity.received.saturating_sub(earlier.parity.received),
                useless: self.parity.useless.saturating_sub(earlier.parity.useless),
                pieces_restored: self
                    .parity
                    .pieces_restored
                    .saturating_sub(earlier.parity.pieces_restored),
            },
            to_peer: direction(self.to_peer, earlier.to_peer),
            from_peer: direction(self.from_peer, earlier.from_peer),
            clear: self.clear.saturating_sub(earlier.clear),
            sealed: self.sealed.saturating_sub(earlier.sealed),
            responses: self.responses.saturating_sub(earlier.responses),
            path_probes: self.path_probes.saturating_sub(earlier.path_probes),
            path_probes_lost: self.path_probes_lost.saturating_sub(earlier.path_probes_lost),
            black_holes: self.black_holes.saturating_sub(earlier.black_holes),
        }
    }

    /// What the counters say of a peer without a session. What they count did not authenticate:
    /// it is a hint, and nothing more.
    fn warning(&self, encryption: Encryption) -> Option<&'static str> {
        match encryption {
            Encryption::On if self.clear > 0 => Some(
                "its endpoint greets us in the clear: encryption = \"none\" there and not here; \
                 nothing is exchanged until both say the same",
            ),
            Encryption::None if self.sealed > 0 => Some(
                "its endpoint wants to encrypt: encryption = \"none\" here and not there; nothing \
                 is exchanged until both say the same",
            ),
            Encryption::On if self.responses > 0 => Some(
                "responses to our handshakes do not authenticate: compare psk_file at both ends",
            ),
            _ => None,
        }
    }
}

/// How what is exchanged with a peer is protected.
fn encryption(peer: &Peer, status: Option<&PeerStatus>) -> &'static str {
    match (peer.encryption, status.map(|status| status.security.shield())) {
        (Encryption::None, _) => "none",
        (Encryption::On, Some(Shield::Aes256Gcm)) => "AES-256-GCM",
        (Encryption::On, Some(Shield::ChaCha20Poly1305)) => "ChaCha20-Poly1305",
        (Encryption::On, _) => "on",
    }
}

fn last_end(end: LastEnd) -> Option<&'static str> {
    match end {
        LastEnd::Never => None,
        LastEnd::Silent => Some("the peer was silent for too long"),
        LastEnd::Replaced => Some("the peer began anew"),
        LastEnd::Closed => Some("the peer closed it"),
        LastEnd::Malformed => Some("the peer broke the protocol with a malformed datagram"),
        LastEnd::Acknowledgement => {
            Some("the peer broke the protocol: it acknowledged what it has not received")
        }
        LastEnd::Contradiction => {
            Some("the peer broke the protocol: its pieces of a buffer contradict each other")
        }
        LastEnd::Expired => Some("its keys could not be renewed in time"),
    }
}

/// How a peer is; without a status, nothing runs.
pub(super) fn state(status: Option<&PeerStatus>) -> PeerState {
    match status {
        Some(status) if status.is_up() => PeerState::Up,
        Some(status) if status.answer() != PeerAnswer::Silence => PeerState::Connecting,
        _ => PeerState::Down,
    }
}

fn agrees(status: Option<&PeerStatus>) -> Option<bool> {
    match status {
        Some(status) if status.answer() == PeerAnswer::Disagrees => Some(false),
        Some(status) if status.is_up() => Some(true),
        _ => None,
    }
}

const DISAGREES: &str = "its configuration disagrees with ours: compare networks and encryption";
const TWIN: &str = "another appliance has its key and asks for a session too, a copied configuration \
                    for one: the one that was started later keeps the session";

/// What is wrong with the wire versions that a peer speaks.
fn other_version((min, max): (u8, u8)) -> String {
    let theirs = match min == max {
        true => format!("wire version {min}"),
        false => format!("wire versions {min} to {max}"),
    };
    format!("it speaks {theirs} and this tpo {WIRE_VERSION}: one of the two needs an update")
}

/// What is noticed about a peer besides its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Noticed {
    agrees: Option<bool>,
    twin: bool,
    versions: Option<(u8, u8)>,
}

impl Noticed {
    pub(super) fn of(status: Option<&PeerStatus>) -> Self {
        Noticed {
            agrees: agrees(status),
            twin: status.is_some_and(|status| status.security.has_twin()),
            versions: status.and_then(PeerStatus::versions),
        }
    }

    /// What of it is to be said of a peer without or with a session.
    fn warning(&self, is_up: bool) -> Option<String> {
        match self.versions {
            _ if is_up => self.twin.then(|| TWIN.to_owned()),
            versions => versions.map(other_version),
        }
    }
}

/// What is to be logged when a peer is otherwise than before.
pub(super) fn change(peer: &Peer, status: Option<&PeerStatus>) -> String {
    let state = state(status);
    let noticed = Noticed::of(status);
    let warning = noticed.warning(state == PeerState::Up);
    let why = match (state, status.map(PeerStatus::answer)) {
        (PeerState::Up, answer) => {
            let disagrees = (answer == Some(PeerAnswer::Disagrees)).then(|| DISAGREES.to_owned());
            let rest = [disagrees, warning].into_iter().flatten();
            let rest: String = rest.map(|what| format!("; {what}")).collect();
            format!(", encryption {}{rest}", encryption(peer, status))
        }
        (PeerState::Connecting, Some(PeerAnswer::Disagrees)) => format!(": {DISAGREES}"),
        (PeerState::Connecting, Some(PeerAnswer::Copy)) => {
            ": it is this tpo itself, or a copy of it".to_owned()
        }
        (PeerState::Connecting, _) => {
            warning.map_or_else(String::new, |warning| format!(": {warning}"))
        }
        (PeerState::Down, _) => {
            let reason = status.and_then(|status| last_end(status.security.ended()));
            let all = reason.map(str::to_owned).into_iter().chain(warning);
            all.map(|what| format!(": {what}")).collect()
        }
    };
    format!("peer {}: {}{why}", peer.name, state.name())
}

/// Since when the peer in each place is as it is, and what was noticed about it.
#[derive(Debug, Default)]
pub(super) struct States(HashMap<PeerIndex, (PeerState, Instant, Noticed)>);

impl States {
    /// Another peer has this place.
    pub(super) fn forget(&mut self, place: PeerIndex) {
        self.0.remove(&place);
    }

    /// Notes how the peer in this place is; whether it was otherwise before.
    pub(super) fn note(
        &mut self,
        place: PeerIndex,
        (state, noticed): (PeerState, Noticed),
        now: Instant,
    ) -> bool {
        match self.0.get_mut(&place) {
            Some(known) if known.0 != state => {
                *known = (state, now, noticed);
                return true;
            }
            Some((.., known)) => return std::mem::replace(known, noticed) != noticed,
            None => {
                self.0.insert(place, (state, now, noticed));
            }
        }
        false
    }

    /// For how many seconds it has been so.
    fn seconds(&self, place: PeerIndex, state: PeerState) -> u64 {
        let noted = self.0.get(&place).filter(|(known, ..)| *known == state);
        noted.map_or(0, |(_, since, _)| since.elapsed().as_secs())
    }
}

/// The peer in this place.
pub(super) fn view(
    (place, peer): (PeerIndex, &Peer),
    status: Option<&PeerStatus>,
    states: &States,
    traffic: &Traffic,
    flows: u64,
) -> PeerView {
    let state = state(status);
    let up = status.filter(|_| state == PeerState::Up);
    let measured = |value: fn(&PeerStatus) -> u64| status.map(value).filter(|value| *value > 0);
    PeerView {
        name: peer.name.clone(),
        endpoint: peer.endpoint,
        found: status.and_then(|status| status.security.found()),
        encryption: encryption(peer, status).to_owned(),
        public_key: peer.public_key.map(|key| crate::keys::encode(&key.0)),
        last_end: status.and_then(|status| last_end(status.security.ended())).map(str::to_owned),
        warning: Noticed::of(status).warning(up.is_some()).or_else(|| {
            let traffic = Some(traffic).filter(|_| up.is_none());
            traffic.and_then(|traffic| traffic.warning(peer.encryption)).map(str::to_owned)
        }),
        state,
        state_seconds: states.seconds(place, state),
        configuration_agrees: agrees(status),
        // Before a session it is a guess.
        rtt_us: measured(PeerStatus::rtt_ns)
            .filter(|_| state == PeerState::Up)
            .map(|rtt_ns| rtt_ns / 1000),
        rate_bps: measured(PeerStatus::rate_bps).unwrap_or(match peer.rate {
            PeerRate::Fixed(rate) => rate.0,
            PeerRate::Auto => 0,
        }),
        controller: match peer.rate {
            PeerRate::Fixed(_) => "fixed".to_owned(),
            PeerRate::Auto => "auto".to_owned(),
        },
        controller_phase: status
            .filter(|_| state == PeerState::Up)
            .and_then(|status| Mark::ALL.get(usize::from(status.control().0)))
            .map(|mark| mark.name().to_owned()),
        random_loss: status.map_or(0.0, |status| status.control().1 as f64 / 1e6),
        path_mtu: up.map(|status| status.path_mtu().0),
        path_mtu_state: up
            .and_then(|status| PathMtuState::ALL.get(usize::from(status.path_mtu().1)))
            .map(|state| state.name().to_owned()),
        path_probes: traffic.path_probes,
        path_probes_lost: traffic.path_probes_lost,
        black_holes: traffic.black_holes,
        flows,
        datagrams_sent: traffic.sent,
        datagrams_lost: traffic.lost,
        fec: peer.fec.to_string(),
        parity: traffic.parity,
        to_peer: traffic.to_peer,
        from_peer: traffic.from_peer,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dataplane::packet_driver::SessionNumber;

    use super::*;

    #[test]
    fn a_state_is_as_old_as_its_last_change() {
        const FIRST: PeerIndex = PeerIndex(0);
        let mut states = States::default();
        let before = Instant::now().checked_sub(Duration::from_secs(90)).unwrap();
        let none = Noticed::default();
        states.note(FIRST, (PeerState::Down, none), before);
        states.note(FIRST, (PeerState::Down, none), Instant::now());
        assert_eq!(states.seconds(FIRST, PeerState::Down), 90);
        assert_eq!(states.seconds(FIRST, PeerState::Up), 0);
        states.note(FIRST, (PeerState::Up, none), Instant::now());
        let twin = Noticed { twin: true, ..none };
        assert!(states.note(FIRST, (PeerState::Up, twin), Instant::now()), "to be logged, too");
        assert!(!states.note(FIRST, (PeerState::Up, twin), Instant::now()));
        assert_eq!(states.seconds(FIRST, PeerState::Up), 0);
        assert_eq!(states.seconds(PeerIndex(7), PeerState::Up), 0);
        // Another one has its place: it has been nothing yet.
        states.forget(FIRST);
        assert!(!states.note(FIRST, (PeerState::Down, none), Instant::now()));
    }

    #[test]
    fn what_a_peer_answers_tells_how_it_is() {
        let status = PeerStatus::default();
        assert_eq!((state(None), agrees(None)), (PeerState::Down, None));
        assert_eq!((state(Some(&status)), agrees(Some(&status))), (PeerState::Down, None));
        status.set_answer(PeerAnswer::Disagrees);
        let expected = (PeerState::Connecting, Some(false));
        assert_eq!((state(Some(&status)), agrees(Some(&status))), expected);
        status.set_session(SessionNumber(1));
        assert_eq!((state(Some(&status)), agrees(Some(&status))), (PeerState::Up, Some(false)));
        status.set_answer(PeerAnswer::Silence);
        assert_eq!((state(Some(&status)), agrees(Some(&status))), (PeerState::Up, Some(true)));
    }

    #[test]
    fn what_is_logged_says_why() {
        let peer = Peer {
            name: "site-b".into(),
            endpoint: ([10, 77, 2, 2], 4980).into(),
            networks: Vec::new(),
            rate: PeerRate::Fixed(crate::config::Rate(1)),
            rate_max: crate::config::Rate(1),
            rate_hint: None,
            encryption: Encryption::On,
            public_key: None,
            psk_file: None,
            fec: crate::config::Fec::Auto,
            compression: crate::config::PeerCompression::Auto,
            fallback: crate::config::Fallback::Refuse,
            dead_after: Duration::from_secs(1),
            keepalive: Duration::from_secs(1),
        };
        let status = PeerStatus::default();
        status.security.set(Shield::Unknown, LastEnd::Acknowledgement);
        let line = change(&peer, Some(&status));
        assert!(line.starts_with("peer site-b: down: the peer broke the protocol"), "{line}");
        status.set_answer(PeerAnswer::Disagrees);
        assert!(change(&peer, Some(&status)).contains("disagrees with ours"));
        status.set_answer(PeerAnswer::OtherVersion);
        status.set_versions(Some((4, 5)));
        let line = change(&peer, Some(&status));
        assert!(line.contains("it speaks wire versions 4 to 5 and this tpo 3"), "{line}");
        status.set_answer(PeerAnswer::Copy);
        assert!(change(&peer, Some(&status)).contains("a copy of it"));
        status.set_answer(PeerAnswer::Silence);
        status.set_versions(Some((3, 3)));
        let line = change(&peer, Some(&status));
        assert!(line.contains("down") && line.contains("wire version 3 and"), "{line}");
        status.set_versions(None);
        status.set_session(SessionNumber(1));
        status.security.set(Shield::Aes256Gcm, LastEnd::Acknowledgement);
        assert_eq!(change(&peer, Some(&status)), "peer site-b: up, encryption AES-256-GCM");
        status.set_answer(PeerAnswer::Disagrees);
        status.security.set_twin(true);
        let line = change(&peer, Some(&status));
        assert!(line.contains("disagrees with ours") && line.contains("has its key"), "{line}");
    }

    #[test]
    fn warnings_follow_from_what_was_counted() {
        let of =
            |clear, sealed, responses| Traffic { clear, sealed, responses, ..Traffic::default() };
        assert_eq!(of(0, 0, 0).warning(Encryption::On), None);
        assert!(of(1, 0, 0).warning(Encryption::On).unwrap().contains("in the clear"));
        assert!(of(0, 1, 0).warning(Encryption::None).unwrap().contains("wants to encrypt"));
        assert!(of(0, 0, 1).warning(Encryption::On).unwrap().contains("psk_file"));
        assert_eq!(of(1, 0, 1).warning(Encryption::None), None);
    }

    #[test]
    fn traffic_counts_from_what_was_cleared() {
        let of = |n| Traffic {
            sent: n,
            lost: n / 2,
            to_peer: Direction { lan_bytes: 2 * n, wan_bytes: n },
            from_peer: Direction { lan_bytes: 3 * n, wan_bytes: n },
            ..Traffic::default()
        };
        let since = of(10).since(&of(4));
        assert_eq!((since.sent, since.lost, since.from_peer.lan_bytes), (6, 3, 18));
        assert_eq!(of(4).since(&of(10)).to_peer, Direction::default());
    }
}
