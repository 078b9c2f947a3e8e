//! An appliance with two peers, one of them with the right keys and bad intentions: the other one
//! loses nothing by it.

use super::super::fuzz::{Carried, sealed};
use super::super::wire::Piece;
use super::super::{Down, MoverCounter as C, Violation};
use super::harness::filled;
use super::network::{Net, Node, REASSEMBLY_BYTES_MAX, address};
use crate::packet_driver::{BufferKind, Lane, OutboundBuffer, PeerIndex, SessionNumber};

const CENTRE: usize = 0;
const HONEST: usize = 1;
const HOSTILE: usize = 2;
/// What the centre calls its peers.
const OF_HONEST: PeerIndex = PeerIndex(0);
const OF_HOSTILE: PeerIndex = PeerIndex(1);
/// What either peer calls the centre.
const TO_CENTRE: PeerIndex = PeerIndex(0);
const BUFFERS: u64 = 300;
const BUFFER_LEN: usize = 8_000;

/// The three, with sessions, and a number of buffers that the honest peer has still to send.
struct Three {
    net: Net,
    offered: u64,
}

impl Three {
    fn up() -> Self {
        let nodes = vec![
            Node::new(1, 5, 0, &[(2, 1), (3, 2)]),
            Node::new(2, 6, 1, &[(1, 0)]),
            Node::new(3, 7, 2, &[(1, 0)]),
        ];
        let mut net = Net::new(nodes);
        net.run(1_000);
        assert!([OF_HONEST, OF_HOSTILE].iter().all(|peer| net.nodes[CENTRE].is_up(*peer)));
        Three { net, offered: 0 }
    }

    /// The honest peer gives its session what that takes; then a millisecond passes.
    fn step(&mut self) {
        let honest = &mut self.net.nodes[HONEST];
        let session = honest.sessions.get_mut(TO_CENTRE).unwrap();
        while self.offered < BUFFERS && session.can_take(BufferKind::Stream, Lane::BULK) {
            let buffer = OutboundBuffer {
                peer: TO_CENTRE,
                session: SessionNumber(1),
                lane: Lane::BULK,
                kind: BufferKind::Stream,
                deadline: None,
                compress: false,
                bytes: filled(&honest.pool, BUFFER_LEN, self.offered).unwrap(),
            };
            assert!(session.send(buffer).is_ok());
            self.offered += 1;
        }
        self.net.run(1);
    }

    /// What the hostile peer writes under its own keys; `None` while it has no session.
    fn written(&mut self, piece: &Piece, rest: &[u8]) -> Option<Vec<u8>> {
        let now = self.net.now;
        let session = self.net.nodes[HOSTILE].sessions.get_mut(TO_CENTRE).unwrap();
        sealed(session, now, Carried::Pieces(&[*piece]), rest, &vec![7; usize::from(piece.len)])
    }

    fn arrives(&mut self, bytes: &mut [u8]) {
        let now = self.net.now;
        self.net.nodes[CENTRE].receive(now, address(3), bytes);
    }

    /// Goes on until everything of the honest peer has come, and nothing has befallen it.
    fn ends_well(mut self) {
        for _ in 0..20_000 {
            self.step();
        }
        let [centre, honest, _] = &self.net.nodes[..] else { panic!("three nodes") };
        let heard = &centre.heard[usize::from(OF_HONEST.0)];
        assert_eq!((heard.buffers.len() as u64, heard.wrong), (BUFFERS, 0));
        assert!(heard.buffers.values().all(|times| *times == 1));
        assert_eq!((heard.ups.len(), heard.downs.len()), (1, 0));
        assert_eq!((honest.heard[0].ups.len(), honest.heard[0].downs.len()), (1, 0));
    }
}

fn piece(logical: u64, len: u16) -> Piece {
    Piece { logical, kind: BufferKind::Stream, buffer_len: 65_536, offset: 5, len }
}

#[test]
fn buffers_that_one_peer_never_finishes_take_nothing_of_the_share_of_another() {
    let mut three = Three::up();
    // It writes only what is told it here, and does not care what it is answered.
    three.net.nodes[HOSTILE].runs = false;
    for logical in 0..2_000 {
        let mut bytes = three.written(&piece(logical, 2), &[]).unwrap();
        three.arrives(&mut bytes);
        three.step();
    }
    let centre = &three.net.nodes[CENTRE];
    assert!(centre.session(OF_HOSTILE).counters().get(C::DropRefused) > 1_000);
    let held = centre.pool.in_use_bytes();
    assert!(held <= 2 * REASSEMBLY_BYTES_MAX as usize, "{held}");
    assert!(centre.heard[usize::from(OF_HOSTILE.0)].downs.is_empty());
    three.ends_well();
}

#[test]
fn a_peer_whose_session_is_ended_over_and_over_disturbs_no_other() {
    let mut three = Three::up();
    for _ in 0..30_000 {
        // A close with a reason that there is none of, whenever there is a session.
        if let Some(mut bytes) = three.written(&piece(0, 2), &[5, 0, 3, 9, 9, 9]) {
            three.arrives(&mut bytes);
        }
        three.step();
    }
    let downs = &three.net.nodes[CENTRE].heard[usize::from(OF_HOSTILE.0)].downs;
    assert!(downs.len() > 2, "{downs:?}");
    assert!(downs.iter().all(|down| *down == Down::Broken(Violation::Malformed)), "{downs:?}");
    three.ends_well();
}

#[test]
fn a_peer_cannot_write_into_the_session_of_another() {
    let mut three = Three::up();
    let mut seen = Vec::new();
    three.step();
    for _ in 0..2_000 {
        // What it sees of the other on the way: whole, damaged, and under its own keys.
        let now = three.net.now;
        let honest = three.net.nodes[HONEST].sessions.get_mut(TO_CENTRE).unwrap();
        if let Some(header) = honest_header(honest, now) {
            seen = header;
        }
        let mut bytes = three.written(&piece(0, 1_000), &[]).unwrap();
        bytes[1] = seen[1];
        bytes[2..6].copy_from_slice(&seen[2..6]);
        three.arrives(&mut bytes);
        three.step();
    }
    let centre = &three.net.nodes[CENTRE];
    let dropped = [C::DropForged, C::DropDuplicate]
        .map(|reason| centre.session(OF_HONEST).counters().get(reason));
    assert_eq!(dropped.iter().sum::<u64>(), 2_000, "{dropped:?}");
    assert!(dropped[0] > 1_000, "{dropped:?}");
    assert_eq!(centre.sessions.endpoint(OF_HONEST), Some(address(2)));
    three.ends_well();
}

/// How datagrams of this session with one piece begin.
fn honest_header(session: &super::super::Session, now: crate::time::Time) -> Option<Vec<u8>> {
    let to = session.established?.peer.session;
    let epoch = session.security.as_ref()?.sealing(now)?;
    let mut header = vec![0, epoch];
    header.extend(to.0.to_be_bytes());
    Some(header)
}
