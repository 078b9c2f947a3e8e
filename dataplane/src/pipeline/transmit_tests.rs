//! Two transmit stages, datagram links crossed: what happens to buffers when a session is replaced.

use std::net::SocketAddr;
use std::sync::Arc;

use super::transmit::{PeerPath, TransmitCounter, TransmitStage};
use crate::data_mover::{CloseReason, Incarnation, PeerConfig, Session, Sessions};
use crate::frame::heap::{HeapFrame, HeapSource};
use crate::frame::{Frame, MacAddr};
use crate::link::{Collected, Dealt, Link};
use crate::packet_driver::{
    Arrived, BufferKind, BufferPool, Lane, OutboundBuffer, PeerIndex, PeerStatus, PoolClass,
    SessionChange, SessionNumber,
};
use crate::time::{MILLISECOND_NS, SECOND_NS, Time};

const ADDRESSES: [&str; 2] = ["10.0.0.1:4980", "10.0.0.2:4980"];

struct End {
    stage: TransmitStage<HeapFrame>,
    status: Arc<[PeerStatus]>,
    pool: BufferPool,
    datagrams_in: Link<HeapFrame>,
    packed: Collected<OutboundBuffer>,
    arrived: Dealt<Arrived>,
    datagrams_out: Link<HeapFrame>,
}

impl End {
    fn new(index: usize, incarnation: u64) -> Self {
        let config = PeerConfig { buffers_max: 64, ..PeerConfig::new(PeerIndex(0), 1_000_000_000) };
        End::configured(index, incarnation, config)
    }

    fn configured(index: usize, incarnation: u64, config: PeerConfig) -> Self {
        let pool = BufferPool::new(&[PoolClass { size: 2048, count: 128, reserve: 0 }]);
        let address = |index: usize| -> SocketAddr { ADDRESSES[index].parse().unwrap() };
        let session = Session::new(config, Incarnation(incarnation), pool.clone(), incarnation);
        let status: Arc<[PeerStatus]> = Arc::new([PeerStatus::default()]);
        status[0].set_next_hop(Some([2, 0, 0, 0, 0, 9]));
        let path = PeerPath {
            source: address(index),
            destination: address(1 - index),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            vlan: 0,
            device_checksums: index == 0,
        };
        let sessions = Sessions::new(vec![(address(1 - index), session)]);
        End {
            stage: TransmitStage::new(sessions, vec![path], Arc::clone(&status)),
            status,
            pool,
            datagrams_in: Link::direct(512),
            packed: Collected::alone(Link::direct(8)),
            arrived: Dealt::alone(Link::direct(256)),
            datagrams_out: Link::direct(512),
        }
    }

    fn turn(&mut self, now: Time, source: &mut HeapSource) {
        self.stage.turn(
            now,
            &mut self.datagrams_in,
            &mut self.packed,
            &mut self.arrived,
            &mut self.datagrams_out,
            source,
        );
    }

    fn session(&self) -> SessionNumber {
        self.status[0].session()
    }

    fn push(&mut self, session: SessionNumber, content: u8) {
        assert!(self.push_long(session, content, 1));
    }

    /// Hands a buffer of so many bytes over, if there is one.
    fn push_long(&mut self, session: SessionNumber, content: u8, len: usize) -> bool {
        let Some(mut bytes) = self.pool.alloc(len) else { return false };
        bytes.append(len).unwrap().fill(content);
        let buffer = OutboundBuffer {
            peer: PeerIndex(0),
            session,
            lane: Lane::BULK,
            kind: BufferKind::Stream,
            deadline: None,
            compress: false,
            bytes: bytes.freeze(),
        };
        self.packed.of(0).unwrap().push(buffer).is_ok()
    }

    /// Buffers that arrived since the last time, and how often a session began.
    fn take_arrived(&mut self) -> (Vec<u8>, Vec<SessionChange>) {
        let (mut buffers, mut changes) = (Vec::new(), Vec::new());
        while let Some(arrived) = self.arrived.of(0).unwrap().pop() {
            match arrived {
                Arrived::Buffer { bytes, .. } => buffers.push(bytes[0]),
                Arrived::Session { change, .. } => changes.push(change),
            }
        }
        (buffers, changes)
    }

    fn counted(&self, counter: TransmitCounter) -> u64 {
        self.stage.counters().get(counter)
    }
}

/// Turns both once; what one sends the other has.
fn exchange(ends: &mut [End; 2], now: Time, source: &mut HeapSource) {
    for end in ends.iter_mut() {
        end.turn(now, source);
    }
    let [a, b] = ends;
    for (from, to) in
        [(&mut a.datagrams_out, &mut b.datagrams_in), (&mut b.datagrams_out, &mut a.datagrams_in)]
    {
        while let Some(frame) = from.pop() {
            to.push(source.frame_of(frame.head()).unwrap()).unwrap();
        }
    }
}

/// Turns both until `done`, at most ten seconds of virtual time.
fn run(ends: &mut [End; 2], now: &mut Time, done: impl Fn(&[End; 2]) -> bool) {
    let mut source = HeapSource::new(1024);
    for _ in 0..10_000 {
        exchange(ends, *now, &mut source);
        if done(ends) {
            return;
        }
        *now = *now + MILLISECOND_NS;
    }
    panic!("never done");
}

fn both_up(ends: &[End; 2]) -> bool {
    ends.iter().all(|end| end.session() != SessionNumber::NONE)
}

#[test]
fn a_buffer_of_a_former_session_is_dropped_and_its_memory_returned() {
    let (mut ends, mut now) = ([End::new(0, 1), End::new(1, 2)], Time::ZERO);
    run(&mut ends, &mut now, both_up);
    let first = ends[0].session();
    ends[0].push(first, 1);
    run(&mut ends, &mut now, |ends| ends[1].arrived.room() < 255);
    assert_eq!(ends[1].take_arrived().0, [1]);

    // The peer begins anew; the session is replaced, never seen as down in between.
    ends[1] = End::new(1, 3);
    run(&mut ends, &mut now, |ends| both_up(ends) && ends[0].session() != first);
    let second = ends[0].session();
    for (session, content) in [(first, 2), (SessionNumber::NONE, 3), (second, 4)] {
        ends[0].push(session, content);
    }
    run(&mut ends, &mut now, |ends| ends[1].arrived.room() < 255);
    run(&mut ends, &mut now, |ends| ends[0].pool.in_use_bytes() == 0);
    assert_eq!(ends[1].take_arrived().0, [4]);
    let counted =
        [TransmitCounter::BuffersIn, TransmitCounter::BuffersTaken, TransmitCounter::BuffersStale];
    assert_eq!(counted.map(|counter| ends[0].counted(counter)), [4, 2, 2]);
    // What aggregation had on its way is accounted for.
    assert_eq!(ends[0].status[0].buffers_taken(), 4);
}

#[test]
fn a_session_without_slots_says_so_before_a_buffer_has_to_wait() {
    let (mut ends, mut now) = ([End::new(0, 1), End::new(1, 2)], Time::ZERO);
    run(&mut ends, &mut now, both_up);
    // The peer falls silent: nothing is acknowledged any more.
    let mut source = HeapSource::new(1024);
    let end = &mut ends[0];
    let mut accepted = 0;
    while end.status[0].queued_bytes()[0] != u64::MAX {
        assert!(accepted < 64, "never full");
        end.push(end.session(), 1);
        accepted += 1;
        end.turn(now, &mut source);
    }
    // What was on its way then finds a place all the same.
    for _ in 0..2 {
        end.push(end.session(), 1);
        end.turn(now, &mut source);
        assert!(end.packed.is_empty());
    }
    assert_eq!(end.counted(TransmitCounter::BuffersTaken), accepted + 2);
}

/// A worker comes by when its turn ends, which may be many datagrams later.
#[test]
fn the_rate_is_kept_where_a_turn_is_longer_than_a_datagram_takes() {
    const TURN_NS: u64 = 100_000;
    const TURNS: u64 = 300;
    let (mut ends, mut now) = ([End::new(0, 1), End::new(1, 2)], Time::ZERO);
    run(&mut ends, &mut now, both_up);
    let session = ends[0].session();
    let mut source = HeapSource::new(1024);
    let mut bytes = 0;
    for _ in 0..TURNS {
        while ends[0].packed.of(0).unwrap().room() > 0 && ends[0].push_long(session, 1, 2_048) {}
        exchange(&mut ends, now, &mut source);
        bytes += 2_048 * ends[1].take_arrived().0.len() as u64;
        now = now + TURN_NS;
    }
    let rate_bytes = 1_000_000_000 / 8 * (TURNS * TURN_NS) / SECOND_NS;
    // The pool bounds what may be on its way: headers, and what is not acknowledged yet.
    assert!(bytes > rate_bytes * 8 / 10 && bytes <= rate_bytes, "{bytes} of {rate_bytes}");
}

#[test]
fn where_frames_are_longer_datagrams_may_be_too() {
    let config =
        PeerConfig { segment_size_max: 1_900, ..PeerConfig::new(PeerIndex(0), 1_000_000_000) };
    let mut ends = [0, 1].map(|index| End::configured(index, 1 + index as u64, config));
    let full = |end: &End| end.status[0].path_mtu().0 > 1_900;
    run(&mut ends, &mut Time::ZERO.clone(), |ends| ends.iter().all(full));
}

#[test]
fn the_larger_incarnation_opens_with_the_opener_bit() {
    let (mut ends, mut now) = ([End::new(0, 1), End::new(1, 2)], Time::ZERO);
    run(&mut ends, &mut now, both_up);
    for (end, expected) in ends.iter_mut().zip([false, true]) {
        let session = end.session();
        let (_, changes) = end.take_arrived();
        assert_eq!(changes, [SessionChange::Up { session, restarted: false, opener: expected }]);
    }
}

#[test]
fn nothing_is_taken_after_the_close() {
    let (mut ends, mut now) = ([End::new(0, 1), End::new(1, 2)], Time::ZERO);
    run(&mut ends, &mut now, both_up);
    let session = ends[0].session();
    ends[0].stage.close(now, CloseReason::Stopping);
    ends[0].push(session, 1);
    run(&mut ends, &mut now, |ends| ends[1].session() == SessionNumber::NONE);
    assert_eq!(ends[0].counted(TransmitCounter::BuffersStale), 1);
    assert_eq!(ends[0].pool.in_use_bytes(), 0);
}
