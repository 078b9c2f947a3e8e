//! The search by itself, with a path that answers every probe after a round trip.

use super::confirming::DOUBT_LOSSES;
use super::search::{GAP_LEN, USUAL_IP_BYTES};
use super::*;
use crate::time::SECOND_NS;

const GAP_NS: u64 = 100 * MILLISECOND_NS;
const PACE: Pace = Pace { round_ns: GAP_NS, answer_ns: GAP_NS, share_ns: 0 };
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
            while let Some(len) = self.mtu.probe(self.now) {
                sent.push((len, self.now));
                self.mtu.probe_sent(self.now, &PACE);
                self.probes += 1;
            }
            self.now = self.now + GAP_NS / 2;
            sent.into_iter().for_each(|(len, at)| self.answer(len, at, true));
        }
        self.now = end;
    }

    /// The probes of the next set: their lengths, and when they were sent.
    fn next_set(&mut self) -> Vec<(usize, Time)> {
        let mut sent = Vec::new();
        while sent.is_empty() && self.mtu.state() == PathMtuState::Confirming {
            self.now = self.now.max(self.mtu.due());
            while let Some(len) = self.mtu.probe(self.now) {
                sent.push((len, self.now));
                self.mtu.probe_sent(self.now, &PACE);
            }
        }
        sent
    }

    fn answer(&mut self, len: usize, sent_at: Time, probe: bool) {
        let ip_bytes = u32::try_from(len).unwrap() + 28;
        let outcome = Outcome { ip_bytes, sent_at, probe };
        match len <= usize::from(self.takes) {
            true => self.mtu.passed(self.now, &outcome),
            false => self.mtu.lost(self.now, &outcome, true),
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
        (0..u32::from(DOUBT_LOSSES)).for_each(|_| path.mtu.note_loss(1_472, path.now));
        path.mtu.on_timeout(path.now);
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
        path.mtu.note_loss(1_472, sent_at);
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

#[test]
fn a_set_ends_without_answers_and_late_ones_count() {
    let mut path = Path::new(1_472, 1_200);
    // Nobody says anything of the first ones.
    let sets: Vec<_> = (0..3).map(|_| path.next_set()).collect();
    assert!(sets.iter().all(|set| set.len() == 3));
    // That the shorter ones arrived is known long after, and of the long ones nothing ever is.
    for set in &sets[..2] {
        set.iter().skip(1).for_each(|(len, at)| path.answer(*len, *at, true));
        path.next_set();
    }
    assert_eq!(path.is().0, 1_200);
    assert_eq!(path.mtu.take_change(), Some(Change::BlackHole));
    // What vanished before says nothing of what is sent now.
    (0..DOUBT_LOSSES).for_each(|_| path.mtu.note_loss(1_472, path.now));
    assert!(!path.mtu.is_asking());
}

#[test]
fn a_doubt_that_comes_too_early_is_not_forgotten() {
    let mut path = Path::new(1_472, 1_472);
    path.run(GAP_NS);
    assert_eq!(path.is(), (1_472, PathMtuState::Complete));
    let confirmed = path.now;
    (0..DOUBT_LOSSES).for_each(|_| path.mtu.note_loss(1_472, path.now));
    path.mtu.on_timeout(path.now);
    assert_eq!(path.is(), (1_472, PathMtuState::Complete));
    assert!(path.mtu.is_asking() && path.mtu.due() > path.now);
    assert!(path.mtu.due() <= confirmed + CALM_NS);
    path.now = path.mtu.due();
    path.mtu.on_timeout(path.now);
    assert_eq!(path.is(), (1_472, PathMtuState::Confirming));
}

#[test]
fn silence_is_a_doubt_only_if_long_datagrams_are_on_their_way() {
    for len in [500, 600] {
        let mut path = Path::new(1_472, 1_472);
        path.run(SECOND_NS);
        path.mtu.sent(path.now, len + 28);
        path.mtu.silent(path.now, GAP_NS);
        assert!(!path.mtu.is_asking());
        path.mtu.silent(path.now + GAP_NS, GAP_NS);
        assert_eq!(path.mtu.is_asking(), len == 600);
    }
}
