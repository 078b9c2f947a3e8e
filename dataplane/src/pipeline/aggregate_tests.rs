//! The aggregate stage between links, with peers whose state is set by hand.

use std::slice::from_mut;

use super::*;
use crate::frame::heap::{HeapFrame, HeapSource};
use crate::packet_driver::{
    AggregateConfig, AggregateCounter, Backlog, BufferPool, Class, Disaggregator, FlowId,
    MessageHeader, OutboundBody, PoolClass,
};

const LEN: u32 = 1000;

fn message(
    source: &mut HeapSource,
    kind: MessageKind,
    peer: u16,
    sequence: u64,
) -> Upstream<HeapFrame> {
    let frame = source.frame_of(&[7; LEN as usize]).unwrap();
    Upstream::Message(Outbound {
        peer: PeerIndex(peer),
        class: Class(0),
        compress: false,
        slot: u32::from(peer) * 2 + u32::from(kind == MessageKind::Datagram),
        header: MessageHeader { kind, flow: FlowId(1), key: None, sequence, status: 0 },
        body: OutboundBody::Frame { frame, offset: 0, len: LEN },
    })
}

#[test]
fn a_buffer_waits_for_more_while_what_goes_before_it_has_still_to_leave() {
    let status = [PeerStatus::default()];
    status[0].set_session(SessionNumber(1));
    status[0].set_path(MILLISECOND_NS, 1_000_000_000);
    let bulk = Lane::new(Class(1), false);
    let states = |queued: u64| {
        let mut queued_bytes = [0; Lane::COUNT];
        queued_bytes[bulk.index()] = queued;
        status[0].set_queue(queued_bytes, 0);
        let gone = HandedOn { handed_on: &[0], buffer_limits: &[4096], ahead_max: 2 };
        let states = gone.downstream(&status, PeerIndex(0));
        let of = |lane: Lane| states[lane.index()];
        let before = [Lane::BULK, Lane::new(Class(1), true)].map(of);
        let behind = [Lane::new(Class(2), true), Lane::new(Class(3), false)].map(of);
        (before, of(bulk), behind)
    };
    use Downstream::{Busy, Full, Idle};
    assert_eq!(states(0), ([Idle; 2], Idle, [Idle; 2]));
    assert_eq!(states(5_000), ([Idle; 2], Busy, [Busy; 2]));
    assert_eq!(states(1 << 30), ([Idle; 2], Full, [Busy; 2]));
}

/// Streams of two peers through four places, beside packets; the first peer stands still for
/// a while, and there are no buffers for a while.
#[test]
fn streams_wait_for_places_and_only_packets_are_dropped() {
    const EACH: u64 = 30;
    let pool = BufferPool::new(&[PoolClass { size: 4096, count: 4, reserve: 0 }]);
    let aggregator = Aggregator::new(
        AggregateConfig {
            flows_max: 4,
            messages_max: 6,
            control_reserve: 2,
            buffer_size_max: 4096,
            peers: vec![None, None],
            ..AggregateConfig::default()
        },
        pool.clone(),
    );
    let (counters, backlog) = (aggregator.counters().clone(), aggregator.backlog());
    let peers: Arc<[PeerStatus]> = (0..2).map(|_| PeerStatus::default()).collect();
    for status in peers.iter() {
        status.set_session(SessionNumber(1));
        status.set_path(MILLISECOND_NS, 1_000_000_000);
    }
    let mut stage = AggregateStage::new(aggregator, Arc::clone(&peers), 4096, MILLISECOND_NS);
    let mut source = HeapSource::new(200);
    let (mut messages, mut buffers) = (Link::direct(200), Dealt::alone(Link::direct(4)));
    for peer in [PeerIndex(0), PeerIndex(1)] {
        let session = SessionNumber(1);
        assert!(messages.push(Upstream::Session { peer, session }).is_ok());
    }
    for n in 0..EACH {
        for peer in 0..2 {
            for kind in [MessageKind::Data, MessageKind::Datagram] {
                let sequence = n * u64::from(LEN);
                assert!(messages.push(message(&mut source, kind, peer, sequence)).is_ok());
            }
        }
    }
    let mut taken: Vec<_> = std::iter::from_fn(|| pool.alloc(4096)).collect();
    let (mut received, mut packets) = ([0; 2], 0);
    for turn in 0..1000 {
        peers[0].set_queue([if turn < 300 { 1 << 30 } else { 0 }; Lane::COUNT], u64::MAX);
        peers[1].set_queue([0; Lane::COUNT], u64::MAX);
        if turn == 100 {
            taken.clear();
        }
        stage.turn(Time::from_ms(turn), from_mut(&mut messages), &mut buffers);
        while let Some(buffer) = buffers.of(0).unwrap().pop() {
            for message in Disaggregator::default().messages(buffer.peer, buffer.bytes) {
                if message.header.kind == MessageKind::Datagram {
                    packets += 1;
                } else {
                    let end = &mut received[usize::from(message.peer.0)];
                    assert_eq!(message.header.sequence, *end);
                    *end += message.data.len() as u64;
                }
            }
        }
    }
    assert_eq!(received, [EACH * u64::from(LEN); 2]);
    let full = counters.get(AggregateCounter::DatagramsFull);
    // Those of the peer that stood still waited for longer than they are of use.
    let expired = counters.get(AggregateCounter::DatagramsExpired);
    assert!(full > 0 && expired > 0, "{full} {expired}");
    let dropped = full + expired;
    assert_eq!(packets + dropped, 2 * EACH);
    assert_eq!(counters.get(AggregateCounter::MessagesIn), 4 * EACH);
    assert_eq!(backlog.drained_messages_of_all(), 4 * EACH);
    for slot in 0..4 {
        assert_eq!(backlog.drained_bytes(slot), EACH * u64::from(LEN));
    }
    assert_eq!((source.in_use(), pool.in_use_bytes()), (0, 0));
}

/// Two edges hear of a new session at different times: what each says is of the session that it
/// knows, and what one of them has queued for the new one stays when the other hears of it. Both
/// lists of flows held are one for the peer.
#[test]
fn each_edge_is_in_the_session_that_it_knows_and_their_lists_are_one() {
    let pool = BufferPool::new(&[PoolClass { size: 16_384, count: 4, reserve: 0 }]);
    let config = AggregateConfig {
        flows_max: 8,
        edges: 2,
        messages_max: 64,
        control_reserve: 8,
        buffer_size_max: 16_384,
        peers: vec![None],
        ..AggregateConfig::default()
    };
    let aggregator = Aggregator::new(config, pool.clone());
    let backlogs = [0, 1].map(|edge| aggregator.backlog().of_edge(edge));
    assert_eq!(backlogs.each_ref().map(|backlog| backlog.first_slot()), [0, 4]);
    assert_eq!(backlogs.each_ref().map(|backlog| backlog.places()), [28, 28]);
    let counters = aggregator.counters().clone();
    let peers: Arc<[PeerStatus]> = Arc::new([PeerStatus::default()]);
    peers[0].set_path(MILLISECOND_NS, 1_000_000_000);
    peers[0].set_session(SessionNumber(2));
    let mut stage = AggregateStage::new(aggregator, Arc::clone(&peers), 16_384, MILLISECOND_NS);
    let (peer, mut source) = (PeerIndex(0), HeapSource::new(16));
    let (mut links, mut buffers) =
        ([Link::direct(16), Link::direct(16)], Dealt::alone(Link::direct(4)));
    let in_session = |session| Upstream::Session { peer, session: SessionNumber(session) };
    let list_end = |flows| {
        let header = MessageHeader {
            kind: MessageKind::HeldEnd,
            flow: FlowId(0),
            key: None,
            sequence: flows,
            status: 0,
        };
        let (class, body) = (Class(0), OutboundBody::Empty);
        Upstream::Message(Outbound { peer, class, compress: false, slot: 0, header, body })
    };
    let push = |link: &mut Link<Upstream<HeapFrame>>, item| assert!(link.push(item).is_ok());
    // The first is in the new session, the second still in the former one.
    push(&mut links[0], in_session(2));
    push(&mut links[0], message(&mut source, MessageKind::Data, 0, 0));
    push(&mut links[0], list_end(3));
    push(&mut links[1], in_session(1));
    push(&mut links[1], message(&mut source, MessageKind::Data, 0, 0));
    peers[0].set_queue([1 << 30; Lane::COUNT], u64::MAX);
    stage.turn(Time::ZERO, &mut links, &mut buffers);
    assert_eq!(counters.get(AggregateCounter::MessagesPeerLost), 1);
    assert_eq!(backlogs.each_ref().map(Backlog::drained_messages_of_all), [0, 1]);
    assert_eq!(backlogs.each_ref().map(|backlog| backlog.drained_bytes(0)), [0, LEN.into()]);
    push(&mut links[1], in_session(2));
    push(&mut links[1], message(&mut source, MessageKind::Data, 0, 0));
    push(&mut links[1], list_end(4));
    peers[0].set_queue([0; Lane::COUNT], u64::MAX);
    for turn in 1..10 {
        stage.turn(Time::from_ms(turn), &mut links, &mut buffers);
    }
    let mut sent = Vec::new();
    while let Some(buffer) = buffers.of(0).unwrap().pop() {
        assert_eq!(buffer.session, SessionNumber(2));
        for message in Disaggregator::default().messages(peer, buffer.bytes) {
            sent.push((message.header.kind, message.header.sequence, message.data.len()));
        }
    }
    let data = (MessageKind::Data, 0, LEN as usize);
    assert_eq!(sent, [(MessageKind::HeldEnd, 7, 0), data, data]);
    assert_eq!(backlogs.each_ref().map(Backlog::drained_messages_of_all), [1, 2]);
    assert_eq!((source.in_use(), pool.in_use_bytes(), stage.is_empty()), (0, 0, true));
}

/// Flows have the same share, whichever edge gives their messages: one of an edge's own against
/// three of another's.
#[test]
fn flows_share_alike_however_they_are_spread_over_edges() {
    let pool = BufferPool::new(&[PoolClass { size: 16_384, count: 4, reserve: 0 }]);
    let config = AggregateConfig {
        flows_max: 8,
        edges: 2,
        messages_max: 1_000,
        control_reserve: 8,
        buffer_size_max: 16_384,
        peers: vec![None],
        ..AggregateConfig::default()
    };
    let aggregator = Aggregator::new(config, pool);
    let backlog = aggregator.backlog();
    let peers: Arc<[PeerStatus]> = Arc::new([PeerStatus::default()]);
    peers[0].set_path(MILLISECOND_NS, 1_000_000_000);
    peers[0].set_session(SessionNumber(1));
    let mut stage = AggregateStage::new(aggregator, Arc::clone(&peers), 16_384, MILLISECOND_NS);
    let (peer, mut source) = (PeerIndex(0), HeapSource::new(1_000));
    let (mut links, mut buffers) =
        ([Link::direct(256), Link::direct(256)], Dealt::alone(Link::direct(4)));
    for link in &mut links {
        assert!(link.push(Upstream::Session { peer, session: SessionNumber(1) }).is_ok());
    }
    for n in 0..80 {
        for (edge, slot) in [(0, 0), (1, 0), (1, 1), (1, 2)] {
            let sequence = n * u64::from(LEN);
            let mut item = message(&mut source, MessageKind::Data, 0, sequence);
            item.put_behind(slot);
            assert!(links[edge].push(item).is_ok());
        }
    }
    peers[0].set_queue([1 << 30; Lane::COUNT], u64::MAX);
    for turn in 0..10 {
        stage.turn(Time::from_ms(turn), &mut links, &mut buffers);
    }
    peers[0].set_queue([0; Lane::COUNT], u64::MAX);
    for turn in 10..18 {
        stage.turn(Time::from_ms(turn), &mut links, &mut buffers);
        buffers.of(0).unwrap().pop();
    }
    let sent = [0, 4, 5, 6].map(|slot| backlog.drained_bytes(slot));
    let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
    assert!(*least > 0 && most - least <= 16_384, "{sent:?}");
}

fn small_stage(rate_bps: u64) -> (AggregateStage<HeapFrame>, Arc<[PeerStatus]>) {
    let aggregator = Aggregator::new(
        AggregateConfig {
            flows_max: 2,
            messages_max: 32,
            control_reserve: 2,
            buffer_size_max: 16_384,
            peers: vec![None],
            ..AggregateConfig::default()
        },
        BufferPool::new(&[PoolClass { size: 16_384, count: 4, reserve: 0 }]),
    );
    let peers: Arc<[PeerStatus]> = Arc::new([PeerStatus::default()]);
    peers[0].set_path(MILLISECOND_NS, rate_bps);
    (AggregateStage::new(aggregator, Arc::clone(&peers), 16_384, MILLISECOND_NS), peers)
}

#[test]
fn messages_of_a_session_that_is_over_give_their_places_back() {
    let (mut stage, _) = small_stage(1_000_000_000);
    let backlog = stage.aggregator.backlog();
    let (mut source, mut messages) = (HeapSource::new(8), Link::direct(8));
    for kind in [MessageKind::Data, MessageKind::Datagram] {
        assert!(messages.push(message(&mut source, kind, 0, 0)).is_ok());
    }
    stage.turn(Time::ZERO, from_mut(&mut messages), &mut Dealt::alone(Link::direct(4)));
    assert_eq!((backlog.drained_messages(PeerIndex(0)), source.in_use()), (2, 0));
    assert_eq!(backlog.drained_messages_of_all(), 2);
}

/// A large buffer of packets is half a second of a slow link, for all that comes behind it; and
/// packets that share no datagram share no loss.
#[test]
fn packets_fill_no_more_than_a_slow_link_takes_at_a_time() {
    let (mut stage, peers) = small_stage(1_000_000);
    let (peer, session) = (PeerIndex(0), SessionNumber(1));
    peers[0].set_session(session);
    let (mut source, mut messages) = (HeapSource::new(16), Link::direct(16));
    assert!(messages.push(Upstream::Session { peer, session }).is_ok());
    for n in 0..12 {
        let packet = message(&mut source, MessageKind::Datagram, 0, n);
        assert!(messages.push(packet).is_ok());
    }
    let (mut packets, mut taken) = (0, 0);
    for turn in 0..20 {
        let mut buffers = Dealt::alone(Link::direct(4));
        stage.turn(Time::from_ms(turn), from_mut(&mut messages), &mut buffers);
        while let Some(buffer) = buffers.of(0).unwrap().pop() {
            assert!(buffer.bytes.len() <= 1_400);
            packets += Disaggregator::default().messages(peer, buffer.bytes).count();
            taken += 1;
        }
        peers[0].set_queue([0; Lane::COUNT], taken);
    }
    assert_eq!((packets, taken, source.in_use()), (12, 12, 0));
}
