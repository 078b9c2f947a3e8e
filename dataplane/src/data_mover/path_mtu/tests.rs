//! The search by itself, with a path that answers every probe after a round trip.

use super::confirming::DOUBT_LOSSES;
use super::search::{GAP_LEN, USUAL_IP_BYTES};
use super::*;
use crate::time::SECOND_NS;

const GAP_NS: u64 = 100 * MILLISECOND_NS;
const RAISE_NS: u64 = 600 * SECOND_NS;

/// A path that takes so many bytes of payload, and what its probes are answered.
struct Path {
    mtu: PathMtu,
    now: Time,
    takes: u16,
    probes: u32,
}

impl Path {
    fn new(ceiling: usize, takes: u16) -> Self {
        let mtu = PathMtu::new(564, ceiling, 28, RAISE_NS);
        Path { mtu, now: Time::from_ms(1_000), takes, probes: 0 }
    }

    /// Lets time pass; all probes are answered after a round trip.
    fn run(&mut self, ns: u64) {
        let end = self.now + ns;
        while self.mtu.due() <= end {
            self.now = self.now.max(self.mtu.due());
            let mut sent = Vec::new();
            while self.mtu.due() <= self.now {
                sent.push((self.mtu.probe(self.now), self.now));
                self.mtu.probe_sent(self.now, GAP_NS);
                self.probes += 1;
            }
            self.now = self.now + GAP_NS / 2;
            sent.into_iter().for_each(|(len, at)| self.answer(len, at, true));
        }
        self.now = end;
    }

    fn answer(&mut self, len: usize, sent_at: Time, probe: bool) {
        let ip_bytes = u32::try_from(len).unwrap() + 28;
        let outcome = Outcome { ip_bytes, sent_at, probe };
        match len <= usize::from(self.takes) {
            true => self.mtu.passed(self.now, &outcome, GAP_NS),
            false => self.mtu.lost(self.now, &outcome, true, GAP_NS),
        }
    }

    /// A datagram of full length.
    fn send(&mut self) {
        let (len, at) = (self.mtu.datagram_len(), self.now);
        self.now = self.now + MILLISECOND_NS;
        self.answer(len, at, false);
    }

    fn is(&self) -> (usize, PathMtuState) {
        (self.mtu.datagram_len(), self.mtu.state())
    }
}

#[test]
fn the_ceiling_holds_from_the_beginning_and_is_confirmed_by_one_set() {
    let mut path = Path::new(1_472, 1_472);
    assert_eq!(path.is(), (1_472, PathMtuState::Confirming));
    path.run(SECOND_NS);
    assert_eq!((path.is(), path.probes), ((1_472, PathMtuState::Complete), 3));
    path.run(2 * RAISE_NS);
    assert_eq!(path.probes, 3, "there is nothing to raise");
}

#[test]
fn every_path_is_found_within_the_gap_and_usual_ones_exactly() {
    for takes in (564..1_472).step_by(7).chain([1_252, 1_372, 1_392, 1_464]) {
        let mut path = Path::new(1_472, takes);
        path.run(30 * SECOND_NS);
        let (found, state) = path.is();
        let expected = if takes < 1_200 { PathMtuState::Error } else { PathMtuState::Complete };
        assert_eq!(state, expected);
        let found = u16::try_from(found).unwrap();
        assert!(found <= takes && found + GAP_LEN >= takes, "{found} of {takes}");
        let usual = USUAL_IP_BYTES.contains(&(takes + 28)) && takes >= 1_200;
        assert!(!usual || found == takes, "{found} of {takes}");
        assert!(path.probes <= 120, "{}", path.probes);
        assert!(path.mtu.take_change().is_some());
    }
}

#[test]
fn nothing_shorter_than_the_shortest_is_tried() {
    let mut path = Path::new(500, 100);
    path.run(RAISE_NS);
    assert_eq!((path.is(), path.probes), ((500, PathMtuState::Complete), 0));
    let mut path = Path::new(1_000, 900);
    path.run(10 * SECOND_NS);
    assert!(path.is().0 <= 900, "{:?}", path.is());
}

#[test]
fn long_datagrams_that_vanish_are_a_black_hole_only_if_shorter_probes_pass() {
    for takes in [0, 1_200, 1_472] {
        let mut path = Path::new(1_472, 1_472);
        path.run(SECOND_NS);
        path.takes = takes;
        (0..u32::from(DOUBT_LOSSES)).for_each(|_| path.mtu.note_loss(path.now, 1_472, path.now));
        assert_eq!(path.mtu.state(), PathMtuState::Confirming);
        path.run(20 * SECOND_NS);
        let change = path.mtu.take_change();
        assert_eq!(change, (takes == 1_200).then_some(Change::BlackHole), "{takes}");
        let expected = match takes {
            0 => (1_472, PathMtuState::Confirming),
            1_200 => (1_200, PathMtuState::Complete),
            _ => (1_472, PathMtuState::Complete),
        };
        assert_eq!(path.is(), expected);
    }
}

#[test]
fn a_loss_that_a_later_datagram_survives_raises_no_doubt() {
    let mut path = Path::new(1_472, 1_472);
    path.run(SECOND_NS);
    for _ in 0..100 {
        path.now = path.now + MILLISECOND_NS;
        let sent_at = path.now - GAP_NS;
        path.send();
        path.mtu.note_loss(path.now, 1_472, sent_at);
    }
    assert_eq!((path.is(), path.probes), ((1_472, PathMtuState::Complete), 3));
    assert!(path.mtu.is_sound());
}

#[test]
fn a_search_is_repeated_later_and_finds_more() {
    let mut path = Path::new(1_472, 1_372);
    path.run(20 * SECOND_NS);
    assert_eq!(path.is(), (1_372, PathMtuState::Complete));
    path.takes = 1_472;
    path.run(RAISE_NS - 20 * SECOND_NS);
    assert_eq!(path.is(), (1_372, PathMtuState::Complete));
    path.run(20 * SECOND_NS);
    assert_eq!(path.is(), (1_472, PathMtuState::Complete));
    assert_eq!(path.mtu.take_change(), Some(Change::Raised));
}

#[test]
fn a_device_that_takes_less_is_a_ceiling_too() {
    let mut path = Path::new(8_972, 8_972);
    assert_eq!(path.is().0, 1_472, "an ordinary packet first");
    path.mtu.limit(1_400);
    path.run(10 * SECOND_NS);
    assert_eq!(path.is(), (1_400, PathMtuState::Complete));
    let mut path = Path::new(8_972, 8_972);
    path.run(10 * SECOND_NS);
    assert_eq!(path.is(), (8_972, PathMtuState::Complete));
}
