//! Which session a datagram belongs to.
//!
//! In: the payload and source address of a UDP datagram. Out: the peer. Never: an answer to a
//! stranger.

use std::net::SocketAddr;

use super::session::Session;
use super::wire::{DatagramHeader, DatagramKind, Malformed};
use crate::counters::Counters;
use crate::packet_driver::PeerIndex;

crate::counters! {
    /// Counters of datagrams that reached no session.
    pub enum DemuxCounter, "demux" {
        DatagramsIn: In, "datagrams_in", "datagrams", "Datagrams that came to our UDP port.";
        DatagramsRouted: Out, "datagrams_routed", "datagrams", "Datagrams given to a session.";
        DropMalformed: Drop, "drop_malformed", "datagrams", "Not a datagram of this protocol.";
        DropVersion: Drop, "drop_version", "datagrams", "Another version of the wire format.";
        DropStranger: Drop, "drop_stranger", "datagrams", "From an address that is no peer's endpoint.";
        DropSession: Drop, "drop_session", "datagrams", "Of a session that is over, or never was.";
    }
}

/// The sessions of all peers, by [`PeerIndex`].
#[derive(Debug, Default)]
pub struct Sessions {
    list: Vec<(SocketAddr, Session)>,
    counters: Counters<DemuxCounter>,
}

impl Sessions {
    /// Sessions with the endpoints of their peers, in the order of their [`PeerIndex`].
    #[must_use]
    pub fn new(list: Vec<(SocketAddr, Session)>) -> Self {
        Sessions { list, counters: Counters::default() }
    }

    /// The counters: a handle for the control thread.
    #[must_use]
    pub fn counters(&self) -> Counters<DemuxCounter> {
        self.counters.clone()
    }

    /// The session of a peer.
    #[must_use]
    pub fn get(&self, peer: PeerIndex) -> Option<&Session> {
        self.list.get(usize::from(peer.0)).map(|(_, session)| session)
    }

    /// The session of a peer.
    pub fn get_mut(&mut self, peer: PeerIndex) -> Option<&mut Session> {
        self.list.get_mut(usize::from(peer.0)).map(|(_, session)| session)
    }

    /// The endpoint of a peer.
    #[must_use]
    pub fn endpoint(&self, peer: PeerIndex) -> Option<SocketAddr> {
        self.list.get(usize::from(peer.0)).map(|(endpoint, _)| *endpoint)
    }

    /// All sessions with the indices of their peers.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (PeerIndex, &mut Session)> {
        (0..).map(PeerIndex).zip(self.list.iter_mut().map(|(_, session)| session))
    }

    /// The peer and the session that a datagram from `source` is for; `None`, and counted, when
    /// it is for none. A datagram is taken only from the endpoint of its peer.
    pub fn route(
        &mut self,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Option<(PeerIndex, &mut Session)> {
        self.counters.increment(DemuxCounter::DatagramsIn);
        match self.find(source, datagram) {
            Ok(index) => {
                self.counters.increment(DemuxCounter::DatagramsRouted);
                let peer = PeerIndex(u16::try_from(index).ok()?);
                self.list.get_mut(index).map(|(_, session)| (peer, session))
            }
            Err(reason) => {
                self.counters.increment(reason);
                None
            }
        }
    }

    fn find(&self, source: SocketAddr, datagram: &[u8]) -> Result<usize, DemuxCounter> {
        let header = match DatagramHeader::parse(datagram) {
            Ok((header, _, _)) => header,
            Err(Malformed::Version) => return Err(DemuxCounter::DropVersion),
            Err(_) => return Err(DemuxCounter::DropMalformed),
        };
        if header.kind == DatagramKind::Hello {
            let peer = self.list.iter().position(|(endpoint, _)| *endpoint == source);
            return peer.ok_or(DemuxCounter::DropStranger);
        }
        let index = usize::from(header.session.peer());
        match self.list.get(index) {
            Some((endpoint, _)) if *endpoint != source => Err(DemuxCounter::DropStranger),
            Some((_, session)) if session.answers_to(header.session) => Ok(index),
            _ => Err(DemuxCounter::DropSession),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Incarnation, PeerConfig};
    use super::*;
    use crate::packet_driver::{BufferPool, PoolClass};
    use crate::time::Time;

    fn sessions(first: u16, incarnation: u64) -> Sessions {
        let pool = BufferPool::new(&[PoolClass { size: 2_048, count: 8, reserve: 0 }]);
        let session = |i: u16| {
            let config = PeerConfig::new(PeerIndex(i), 1_000_000);
            let endpoint = SocketAddr::from(([10, 0, 0, u8::try_from(first + i).unwrap()], 4980));
            (endpoint, Session::new(config, Incarnation(incarnation), pool.clone(), u64::from(i)))
        };
        Sessions::new((0..3).map(session).collect())
    }

    struct Nothing;

    impl super::super::Sink for Nothing {
        fn delivered(
            &mut self,
            _: crate::packet_driver::BufferSlice,
            _: crate::packet_driver::BufferKind,
        ) {
        }
        fn up(&mut self, _: super::super::Up) {}
        fn down(&mut self, _: super::super::Down) {}
    }

    #[test]
    fn hello_by_address_and_session_by_id() {
        let (mut ours, mut theirs) = (sessions(0, 1), sessions(0, 2));
        let source = ours.endpoint(PeerIndex(2)).unwrap();
        let mut out = [0; 2_048];
        let mut routed = 0;
        for ms in 0..20 {
            let now = Time::from_ms(ms);
            while let Some(len) =
                theirs.get_mut(PeerIndex(2)).and_then(|s| s.transmit(now, &mut out))
            {
                let (peer, session) = ours.route(source, &out[..len]).unwrap();
                assert_eq!(peer, PeerIndex(2));
                session.receive(now, &out[..len], &mut Nothing);
                routed += 1;
                assert!(ours.route(([9, 9, 9, 9], 4980).into(), &out[..len]).is_none());
            }
            while let Some(len) = ours.get_mut(PeerIndex(2)).and_then(|s| s.transmit(now, &mut out))
            {
                theirs.get_mut(PeerIndex(2)).unwrap().receive(now, &out[..len], &mut Nothing);
            }
        }
        assert!(routed >= 3, "{routed}");
        let counters = ours.counters();
        assert_eq!(counters.get(DemuxCounter::DatagramsRouted), routed);
        assert_eq!(counters.get(DemuxCounter::DropStranger), routed);
        // A session that is none, from the right address; then bytes that are nothing.
        out[..8].copy_from_slice(&[0x12, 0, 0, 0, 1, 1, 4, 2]);
        assert!(ours.route(source, &out[..8]).is_none());
        assert!(ours.route(source, &out[..7]).is_none());
        assert!(ours.route(source, &[0x22; 8]).is_none());
        assert_eq!(counters.get(DemuxCounter::DropSession), 1);
        assert_eq!(counters.get(DemuxCounter::DropMalformed), 1);
        assert_eq!(counters.get(DemuxCounter::DropVersion), 1);
    }
}
