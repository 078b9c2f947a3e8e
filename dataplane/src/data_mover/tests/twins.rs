//! Three appliances, two of them with one key: a copied configuration.

use std::net::SocketAddr;

use super::super::demux::{Sessions, Source};
use super::super::security::{KeyExchange, PeerKeys};
use super::super::{Down, Incarnation, MoverCounter as C, PeerConfig, Session, Sink, State, Up};
use super::harness::{pool, private};
use crate::frame::MacAddr;
use crate::packet_driver::{BufferKind, BufferSlice, PeerIndex};
use crate::time::{MILLISECOND_NS, SECOND_NS, Time};

const PEER: PeerIndex = PeerIndex(0);
const DELAY_MS: u64 = 20;

#[derive(Default)]
struct Heard {
    ups: Vec<Up>,
    downs: Vec<Down>,
}

impl Sink for Heard {
    fn delivered(&mut self, _: BufferSlice, _: BufferKind) {}

    fn up(&mut self, up: Up) {
        self.ups.push(up);
    }

    fn down(&mut self, reason: Down) {
        self.downs.push(reason);
    }
}

/// An appliance with one peer.
struct Node {
    address: SocketAddr,
    sessions: Sessions,
    exchange: KeyExchange,
    heard: Heard,
    runs: bool,
}

impl Node {
    /// `key` and `peer_key` name private keys.
    fn new(last: u8, incarnation: u64, key: usize, peer: u8) -> Self {
        let address = |last: u8| SocketAddr::from(([10, 0, 0, last], 4980));
        let config = PeerConfig::new(PEER, 10_000_000);
        let session = Session::new(config, Incarnation(incarnation), pool(10_000_000), incarnation);
        let mut sessions = Sessions::new(vec![(address(peer), session)]);
        let peers = vec![Some(PeerKeys { public: private(1 - key).public(), psk: None })];
        let mut count = incarnation;
        let entropy = move |bytes: &mut [u8]| {
            bytes.iter_mut().for_each(|byte| {
                count = count.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = count.to_be_bytes()[0];
            });
            true
        };
        let exchange =
            sessions.secure(private(key), peers, true, [incarnation; 4], Box::new(entropy));
        let address = address(last);
        Node { address, sessions, exchange, heard: Heard::default(), runs: true }
    }

    fn session(&self) -> &Session {
        self.sessions.get(PEER).unwrap()
    }

    fn is_up(&self) -> bool {
        matches!(self.session().state(), State::Up(_))
    }

    /// Everything that it sends now.
    fn sent(&mut self, now: Time) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut all = Vec::new();
        let Node { sessions, exchange, heard, .. } = self;
        loop {
            while let Some(reply) = sessions.reply() {
                sessions.on_reply(now, reply, heard);
            }
            sessions.ask(now);
            while let Some(outgoing) = sessions.outgoing() {
                all.push((outgoing.to.remote, outgoing.bytes().to_vec()));
            }
            let to = sessions.endpoint(PEER).unwrap();
            let session = sessions.get_mut(PEER).unwrap();
            session.on_timeout(now, heard);
            let mut out = [0; 2_048];
            while let Some(len) = session.transmit(now, &mut out) {
                all.push((to, out[..len].to_vec()));
            }
            if !exchange.turn() {
                return all;
            }
        }
    }

    fn receive(&mut self, now: Time, from: SocketAddr, bytes: &mut [u8]) {
        let source = Source { remote: from, local: self.address, station: MacAddr([2; 6]) };
        if let Some((peer, session)) = self.sessions.route(now, &source, bytes)
            && session.receive(now, bytes, &mut self.heard)
        {
            self.sessions.found(peer, from);
        }
    }
}

/// Nodes and what is on its way between them.
struct Net {
    now: Time,
    nodes: Vec<Node>,
    on_the_way: Vec<(Time, SocketAddr, SocketAddr, Vec<u8>)>,
}

impl Net {
    fn run(&mut self, ms: u64) {
        let end = self.now + ms * MILLISECOND_NS;
        while self.now < end {
            self.now = self.now + MILLISECOND_NS;
            let due: Vec<_> = self.on_the_way.extract_if(.., |one| one.0 <= self.now).collect();
            for (_, from, to, mut bytes) in due {
                for node in self.nodes.iter_mut().filter(|node| node.runs && node.address == to) {
                    node.receive(self.now, from, &mut bytes);
                }
            }
            for node in self.nodes.iter_mut().filter(|node| node.runs) {
                let from = node.address;
                let at = self.now + DELAY_MS * MILLISECOND_NS;
                let sent = node.sent(self.now);
                self.on_the_way.extend(sent.into_iter().map(|(to, bytes)| (at, from, to, bytes)));
            }
        }
    }
}

#[test]
fn of_two_appliances_with_one_key_the_later_start_has_the_session_and_keeps_it() {
    let nodes = vec![Node::new(1, 5, 0, 2), Node::new(2, 10, 1, 1)];
    let mut net = Net { now: Time::ZERO, nodes, on_the_way: Vec::new() };
    net.run(2_000);
    assert!(net.nodes.iter().all(Node::is_up));
    // The copy is started elsewhere.
    net.nodes.push(Node::new(3, 20, 1, 1));
    net.run(3_000);
    let a = &net.nodes[0];
    assert_eq!(a.heard.downs, [Down::Replaced]);
    assert_eq!(a.heard.ups.last().unwrap().incarnation, Incarnation(20));
    assert!(a.heard.ups.last().unwrap().restarted && net.nodes[2].is_up());
    // The first one goes on asking, for minutes: nothing changes, and it is said.
    net.run(120_000);
    let [a, first, copy] = &net.nodes[..] else { panic!("three nodes") };
    assert!(a.is_up() && copy.is_up() && !first.is_up());
    assert_eq!((a.heard.ups.len(), copy.heard.downs.len()), (2, 0), "no change to and fro");
    assert_eq!(first.heard.downs, [Down::Dead]);
    assert!(a.session().report().twin && !copy.session().report().twin);
    assert!(a.session().counters().get(C::DropStaleHello) > 30);
    let out = first.session().counters().get(C::HellosOut);
    assert!(out < 300, "it asks no more than once a second: {out}");
    // When the later one is gone, the earlier one gets the session.
    net.nodes[2].runs = false;
    net.run(10 * SECOND_NS / MILLISECOND_NS + 3_000);
    let [a, first, _] = &net.nodes[..] else { panic!("three nodes") };
    assert!(a.is_up() && first.is_up(), "{:?}", a.heard.downs);
    assert!(!a.session().report().twin);
}

#[test]
fn a_restarted_appliance_is_no_twin() {
    let nodes = vec![Node::new(1, 5, 0, 2), Node::new(2, 10, 1, 1)];
    let mut net = Net { now: Time::ZERO, nodes, on_the_way: Vec::new() };
    for incarnation in 11..14 {
        net.run(5_000);
        net.nodes[1] = Node::new(2, incarnation, 1, 1);
    }
    net.run(5_000);
    assert!(net.nodes.iter().all(Node::is_up));
    assert!(net.nodes.iter().all(|node| !node.session().report().twin));
    assert_eq!(net.nodes[0].heard.ups.len(), 4);
}
