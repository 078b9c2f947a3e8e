//! Appliances with several peers, and a network between them, in virtual time.

use std::net::SocketAddr;

use super::super::demux::{Sessions, Source};
use super::super::security::{KeyExchange, PeerKeys};
use super::super::{Incarnation, PeerConfig, Session, State};
use super::harness::{Heard, pool, private};
use crate::frame::MacAddr;
use crate::packet_driver::{BufferPool, PeerIndex};
use crate::time::{MILLISECOND_NS, Time};

const DELAY_MS: u64 = 20;
const RATE_BPS: u64 = 10_000_000;
/// What each peer may hold of the memory that they share, which is enough for three of them.
pub(super) const REASSEMBLY_BYTES_MAX: u32 = 1 << 20;

/// The address of the appliance with this last byte.
pub(super) fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 4980))
}

/// An appliance.
pub(super) struct Node {
    pub(super) address: SocketAddr,
    pub(super) sessions: Sessions,
    pub(super) pool: BufferPool,
    /// By peer.
    pub(super) heard: Vec<Heard>,
    pub(super) runs: bool,
    exchange: KeyExchange,
}

impl Node {
    /// `key` and those of the peers name private keys; a peer is an address and a key.
    pub(super) fn new(last: u8, incarnation: u64, key: usize, peers: &[(u8, usize)]) -> Self {
        let pool = pool(RATE_BPS);
        let session = |(index, (last, _)): (u16, &(u8, usize))| {
            let mut config = PeerConfig::new(PeerIndex(index), RATE_BPS);
            config.reassembly_bytes_max = REASSEMBLY_BYTES_MAX;
            let seed = incarnation + u64::from(index);
            (address(*last), Session::new(config, Incarnation(incarnation), pool.clone(), seed))
        };
        let mut sessions = Sessions::new((0..).zip(peers).map(session).collect());
        let keys = peers.iter().map(|(_, key)| private(*key).public());
        let keys = keys.map(|public| Some(PeerKeys { public, psk: None })).collect();
        let mut count = incarnation;
        let entropy = move |bytes: &mut [u8]| {
            bytes.iter_mut().for_each(|byte| {
                count = count.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = count.to_be_bytes()[0];
            });
            true
        };
        let exchange =
            sessions.secure(private(key), keys, true, [incarnation; 4], Box::new(entropy));
        let heard = peers.iter().map(|_| Heard::default()).collect();
        Node { address: address(last), sessions, pool, heard, runs: true, exchange }
    }

    pub(super) fn session(&self, peer: PeerIndex) -> &Session {
        self.sessions.get(peer).unwrap()
    }

    pub(super) fn is_up(&self, peer: PeerIndex) -> bool {
        matches!(self.session(peer).state(), State::Up(_))
    }

    /// Everything that it sends now.
    fn sent(&mut self, now: Time) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut all = Vec::new();
        let Node { sessions, exchange, heard, .. } = self;
        loop {
            while let Some(reply) = sessions.reply() {
                let heard = &mut heard[usize::from(reply.peer().0)];
                sessions.on_reply(now, reply, heard);
            }
            sessions.ask(now);
            while let Some(outgoing) = sessions.outgoing() {
                all.push((outgoing.to.remote, outgoing.bytes().to_vec()));
            }
            for (peer, heard) in (0..).map(PeerIndex).zip(&mut *heard) {
                let to = sessions.endpoint(peer).unwrap();
                let session = sessions.get_mut(peer).unwrap();
                session.on_timeout(now, heard);
                let mut out = [0; 2_048];
                while let Some(len) = session.transmit(now, &mut out) {
                    all.push((to, out[..len].to_vec()));
                }
            }
            if !exchange.turn() {
                return all;
            }
        }
    }

    /// A datagram arrives, as the stage treats it.
    pub(super) fn receive(&mut self, now: Time, from: SocketAddr, bytes: &mut [u8]) {
        let source = Source { remote: from, local: self.address, station: MacAddr([2; 6]) };
        if let Some((peer, session)) = self.sessions.route(now, &source, bytes)
            && session.receive(now, bytes, &mut self.heard[usize::from(peer.0)])
        {
            self.sessions.found(peer, from);
        }
    }
}

/// Nodes and what is on its way between them.
pub(super) struct Net {
    pub(super) now: Time,
    pub(super) nodes: Vec<Node>,
    on_the_way: Vec<(Time, SocketAddr, SocketAddr, Vec<u8>)>,
}

impl Net {
    pub(super) fn new(nodes: Vec<Node>) -> Self {
        Net { now: Time::ZERO, nodes, on_the_way: Vec::new() }
    }

    pub(super) fn run(&mut self, ms: u64) {
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
