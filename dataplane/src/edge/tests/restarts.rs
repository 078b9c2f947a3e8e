//! The restart procedure, from both ends.

use super::*;
use crate::time::SECOND_NS;

impl Bench {
    /// Flows that a peer which comes back is told of; `restarted`: it has forgotten them.
    fn listed(&mut self, restarted: bool) -> Vec<FlowKey> {
        self.said();
        self.session(restarted);
        let mut said = self.said();
        said.retain(|said| matches!(said.kind, MessageKind::Held | MessageKind::HeldEnd));
        let end = said.pop().unwrap();
        assert_eq!((end.kind, end.sequence), (MessageKind::HeldEnd, said.len() as u64));
        said.iter().map(|said| said.key.unwrap()).collect()
    }

    /// The peer is lost, and the host has heard of it.
    fn lose(&mut self) {
        self.change(SessionChange::Down);
        self.wait(5 * SECOND_NS);
    }

    /// The host shows an old connection that we know nothing of, and the peer lists it.
    fn held(&mut self) {
        self.host(&segment(Flags::ACK, 5_000, 9_000));
        assert_eq!((self.host_got(), self.sent(Side::Wan)), (vec![], vec![]));
        self.said();
        self.list();
    }

    /// The peer's list: the host's connection, and that there are no more.
    fn list(&mut self) {
        self.far(MessageKind::Held, FlowId(0), Some(key()), 0, 0, &[]);
        self.far(MessageKind::HeldEnd, FlowId(0), None, 1, 0, &[]);
    }
}

#[test]
fn flows_are_listed_for_a_minute_also_those_still_half_open() {
    for half_open in [true, false] {
        let mut bench = Bench::up();
        if half_open {
            bench.open();
        } else {
            bench.connect();
        }
        bench.lose();
        let resets = bench.host_got().iter().filter(|sent| sent.flags.has(Flags::RST)).count();
        assert_eq!(resets > 0, !half_open, "nothing was promised to a host that still waits");
        assert_eq!(bench.listed(true), [key().reversed()]);
        // A list may be lost with its session.
        bench.lose();
        assert_eq!(bench.listed(false), [key().reversed()]);
        bench.wait(60 * SECOND_NS);
        assert_eq!(bench.listed(false), []);
    }
}

#[test]
fn flows_are_not_listed_to_a_peer_that_remembers_them() {
    let mut bench = Bench::up();
    bench.connect();
    bench.lose();
    assert_eq!(bench.listed(false), []);
}

#[test]
fn a_flow_whose_hosts_begin_anew_is_not_listed() {
    // While the peer is away, what rules want split is passed: the next SYN of either host.
    for side in [Side::Lan, Side::Wan] {
        for half_open in [true, false] {
            let mut bench = Bench::up();
            if half_open {
                bench.open();
            } else {
                bench.connect();
            }
            bench.lose();
            bench.sent(side.other());
            let key = if side == Side::Lan { key() } else { key().reversed() };
            let syn = segment(Flags::SYN, 77_000, 0);
            bench.frame(side, &key, &syn);
            let passed = bench.sent(side.other());
            let [passed] = passed.as_slice() else { panic!("{passed:?}") };
            assert_eq!((passed.flags, passed.seq), (syn.flags, syn.seq));
            assert_eq!(bench.listed(true), [], "from {side:?}");
        }
    }
    // Once it is back they are split again.
    let mut bench = Bench::up();
    bench.connect();
    bench.lose();
    assert_eq!(bench.listed(true), [key().reversed()]);
    bench.host(&segment(Flags::SYN, 77_000, 0));
    assert!(bench.said().iter().any(|said| said.kind == MessageKind::Open));
    assert_eq!(bench.listed(false), []);
}

#[test]
fn a_host_that_answers_seldom_is_asked_again_and_reset_exactly() {
    let mut bench = Bench::new();
    bench.session(false);
    bench.held();
    bench.wait(SECOND_NS);
    let asked = bench.host_got();
    assert_eq!(asked.len(), 6, "each form once: {asked:?}");
    assert!(asked.iter().all(|ask| ask.flags.has(Flags::SYN)));
    // The host's stack answers such segments once a second, and the answer to those was lost.
    bench.wait(3 * SECOND_NS);
    assert_eq!(bench.host_got().len(), 3);
    bench.host(&segment(Flags::ACK, 5_000, 9_000));
    bench.wait(10 * SECOND_NS);
    let resets = bench.host_got();
    assert_eq!(resets.len(), 3, "one may be lost: {resets:?}");
    for reset in resets {
        assert_eq!((reset.flags, reset.seq), (Flags::RST, 9_000));
    }
    assert_eq!(bench.stage.counters().get(EdgeCounter::RestartResets), 1);
    assert_eq!(bench.sent(Side::Wan), []);
}

#[test]
fn a_host_that_never_answers_is_not_asked_for_ever() {
    let mut bench = Bench::new();
    bench.session(false);
    bench.held();
    bench.wait(60 * SECOND_NS);
    assert_eq!(bench.host_got().len(), 12);
}

#[test]
fn a_host_that_begins_anew_is_neither_asked_nor_reset() {
    // Before the list comes, while it is passed; after it, when it is split.
    let mut bench = Bench::new();
    bench.host(&segment(Flags::SYN, 77_000, 0));
    assert_eq!(bench.sent(Side::Wan).len(), 1);
    bench.session(false);
    bench.list();
    bench.wait(20 * SECOND_NS);
    assert_eq!(bench.host_got(), []);

    let mut bench = Bench::new();
    bench.session(false);
    bench.held();
    assert_eq!(bench.host_got().len(), 1);
    bench.open();
    bench.wait(20 * SECOND_NS);
    assert_eq!(bench.host_got(), []);
}
