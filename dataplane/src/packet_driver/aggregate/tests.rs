mod order;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::routing::RoutingView;
use super::super::{Class, Disaggregator, FlowId, Message, MessageHeader, OutboundBody, PoolClass};
use super::*;
use crate::frame::heap::{HeapFrame, HeapSource};

const SIZE: usize = 16 * 1024;
const SEGMENT: usize = 1460;
const HEADERS: u32 = 54;

struct Bench {
    aggregator: Aggregator<HeapFrame>,
    pool: BufferPool,
    frames: HeapSource,
    sent: BTreeMap<u32, u64>,
}

fn config() -> AggregateConfig {
    AggregateConfig {
        flows_max: 16,
        messages_max: 256,
        control_reserve: 8,
        buffer_size_max: SIZE,
        packet_buffer_size_max: SIZE,
        control_size_max: 1024,
        quantum_bytes: 4096,
        peers: vec![None, None],
        ..Default::default()
    }
}

impl Bench {
    fn new(config: AggregateConfig) -> Self {
        let pool = BufferPool::new(&[
            PoolClass { size: 1024, count: 16, reserve: 4 },
            PoolClass { size: SIZE, count: 16, reserve: 0 },
        ]);
        let aggregator = Aggregator::new(config, pool.clone());
        Bench { aggregator, pool, frames: HeapSource::new(300), sent: BTreeMap::new() }
    }

    fn message(&mut self, slot: u32, kind: MessageKind, len: usize) -> Outbound<HeapFrame> {
        let sequence = self.sent.entry(slot).or_insert(0);
        let from = *sequence;
        *sequence += len as u64;
        let mut bytes = vec![0xee; HEADERS as usize];
        bytes.extend((from..from + len as u64).map(|offset| pattern(slot, offset)));
        let frame = self.frames.frame_of(&bytes).unwrap();
        Outbound {
            peer: PeerIndex(0),
            class: Class(1),
            compress: false,
            slot,
            header: MessageHeader {
                kind,
                flow: FlowId(u64::from(slot) + 100),
                key: None,
                sequence: from,
                status: 0,
            },
            body: OutboundBody::Frame { frame, offset: HEADERS, len: u32::try_from(len).unwrap() },
        }
    }

    fn push(&mut self, slot: u32, len: usize) {
        let message = self.message(slot, MessageKind::Data, len);
        self.aggregator.push(Time::ZERO, message).unwrap();
    }

    fn control(&mut self, slot: u32, kind: MessageKind) -> bool {
        let header = MessageHeader {
            kind,
            flow: FlowId(u64::from(slot) + 100),
            key: None,
            sequence: 0,
            status: 0,
        };
        let message = Outbound {
            peer: PeerIndex(0),
            class: Class(1),
            compress: false,
            slot,
            header,
            body: OutboundBody::Empty,
        };
        self.aggregator.push(Time::ZERO, message).is_ok()
    }

    fn pull(&mut self, now: Time, downstream: Downstream) -> Option<OutboundBuffer> {
        self.aggregator.pull(now, |_| [downstream; Lane::COUNT])
    }

    fn count(&self, counter: AggregateCounter) -> u64 {
        self.aggregator.counters().get(counter)
    }

    fn assert_nothing_is_left(&self) {
        use AggregateCounter::*;
        assert_eq!(self.aggregator.queued_messages(), 0);
        assert_eq!(self.frames.in_use(), 0);
        assert_eq!(self.pool.in_use_bytes(), 0);
        assert_eq!(self.aggregator.backlog().queued_bytes(PeerIndex(0)), 0);
        let dropped =
            [MessagesReset, MessagesPeerLost, DatagramsFull, DatagramsExpired, MessagesRefused];
        let dropped: u64 = dropped.into_iter().map(|reason| self.count(reason)).sum();
        assert_eq!(self.count(MessagesIn), self.count(MessagesOut) + dropped);
        assert_eq!(
            self.count(DataBytesIn),
            self.count(DataBytesOut) + self.count(DataBytesDiscarded)
        );
        for slot in 0..16 {
            assert_eq!(self.aggregator.queued_bytes(slot), 0);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a pattern of bytes")]
fn pattern(slot: u32, offset: u64) -> u8 {
    (offset.wrapping_mul(31) >> 3) as u8 ^ slot as u8
}

fn messages(buffer: OutboundBuffer) -> Vec<Message> {
    Disaggregator::default().messages(buffer.peer, buffer.bytes).collect()
}

fn assert_content(slot: u32, message: &Message) {
    let bytes = message.data.iter().zip(message.header.sequence..);
    assert!(bytes.into_iter().all(|(byte, offset)| *byte == pattern(slot, offset)));
}

#[test]
fn bulk_costs_one_header_a_buffer_and_fills_it_to_the_last_byte() {
    let mut bench = Bench::new(config());
    for _ in 0..30 {
        bench.push(3, SEGMENT);
    }
    let first = bench.pull(Time::ZERO, Downstream::Busy).unwrap();
    assert_eq!(first.bytes.len(), SIZE);
    let first = messages(first);
    assert_eq!(first.len(), 1);
    assert_content(3, &first[0]);
    assert_eq!(bench.frames.in_use(), 30 - first[0].data.len() / SEGMENT, "copied frames are free");

    let second = messages(bench.pull(Time::ZERO, Downstream::Busy).unwrap());
    assert_eq!(second[0].header.sequence, first[0].data.len() as u64);
    assert_content(3, &second[0]);
    assert!(bench.pull(Time::ZERO, Downstream::Busy).is_none(), "the rest waits for more");
    let third = messages(bench.pull(Time::ZERO, Downstream::Idle).unwrap());
    assert_content(3, &third[0]);
    let total: usize = [&first, &second, &third].iter().map(|m| m[0].data.len()).sum();
    assert_eq!(total, 30 * SEGMENT);
    drop((first, second, third));
    bench.assert_nothing_is_left();
}

#[test]
fn a_gap_or_another_flow_begins_a_new_message() {
    let mut bench = Bench::new(config());
    bench.push(1, 100);
    *bench.sent.get_mut(&1).unwrap() += 1;
    bench.push(1, 100);
    bench.push(2, 100);
    bench.push(1, 100);
    let messages = messages(bench.pull(Time::ZERO, Downstream::Idle).unwrap());
    let seen: Vec<_> =
        messages.iter().map(|m| (m.header.flow.0, m.header.sequence, m.data.len())).collect();
    assert_eq!(seen, [(101, 0, 100), (101, 101, 200), (102, 0, 100)]);
}

#[test]
fn a_buffer_is_no_larger_than_what_there_is_to_send() {
    let mut bench = Bench::new(config());
    bench.push(1, 10);
    let buffer = bench.pull(Time::ZERO, Downstream::Idle).unwrap();
    assert_eq!(buffer.bytes.pinned_bytes(), 1024);
}

#[test]
fn when_a_buffer_goes_depends_on_the_next_stage() {
    let deadline = Time::ZERO + config().flush_deadline_ns;
    let before = deadline - 1;
    for (now, state, goes, next) in [
        (Time::ZERO, Downstream::Idle, true, Time::ZERO),
        (Time::ZERO, Downstream::Busy, false, deadline),
        (before, Downstream::Busy, false, deadline),
        (deadline, Downstream::Busy, true, deadline),
        (deadline, Downstream::Full, false, Time::NEVER),
        (deadline, Downstream::Closed, false, Time::NEVER),
    ] {
        let mut bench = Bench::new(config());
        bench.push(1, 100);
        assert_eq!(bench.aggregator.next_timeout(|_| [state; Lane::COUNT]), next, "{state:?}");
        assert_eq!(bench.pull(now, state).is_some(), goes, "{now:?} {state:?}");
        let left = bench.aggregator.next_timeout(|_| [Downstream::Busy; Lane::COUNT]);
        assert_eq!(left, if goes { Time::NEVER } else { deadline });
    }
}

#[test]
fn control_goes_first_also_when_the_next_stage_is_full() {
    let mut bench = Bench::new(config());
    for _ in 0..20 {
        bench.push(1, SEGMENT);
    }
    assert!(bench.control(1, MessageKind::Fin));
    assert!(bench.control(2, MessageKind::Credit));
    assert_eq!(bench.aggregator.next_timeout(|_| [Downstream::Full; Lane::COUNT]), Time::ZERO);
    assert!(bench.pull(Time::ZERO, Downstream::Closed).is_none());
    let control = bench.pull(Time::ZERO, Downstream::Full).unwrap();
    assert_eq!(control.kind, BufferKind::Control);
    let kinds: Vec<_> = messages(control).iter().map(|m| m.header.kind).collect();
    assert_eq!(kinds, [MessageKind::Fin, MessageKind::Credit]);
    assert!(bench.pull(Time::ZERO, Downstream::Full).is_none());
    assert_eq!(bench.pull(Time::ZERO, Downstream::Busy).unwrap().kind, BufferKind::Stream);
}

#[test]
fn flows_of_a_class_share_evenly_however_much_they_queue() {
    let mut bench = Bench::new(config());
    for _ in 0..100 {
        bench.push(1, SEGMENT);
    }
    for slot in 2..6 {
        for _ in 0..25 {
            bench.push(slot, SEGMENT);
        }
    }
    let mut bytes = BTreeMap::new();
    for _ in 0..8 {
        for message in messages(bench.pull(Time::ZERO, Downstream::Busy).unwrap()) {
            *bytes.entry(message.header.flow.0).or_insert(0) += message.data.len();
        }
    }
    let (least, most) = (bytes.values().min().unwrap(), bytes.values().max().unwrap());
    assert_eq!(bytes.len(), 5);
    assert!(most - least <= 2 * 4096, "{bytes:?}");
}

#[test]
fn flows_share_evenly_across_compression_and_kind() {
    let mut bench = Bench::new(config());
    for slot in 1..5 {
        for _ in 0..45 {
            let kind = if slot == 4 { MessageKind::Datagram } else { MessageKind::Data };
            let mut message = bench.message(slot, kind, SEGMENT);
            message.compress = slot == 1;
            bench.aggregator.push(Time::ZERO, message).unwrap();
        }
    }
    let mut bytes = BTreeMap::new();
    for _ in 0..12 {
        let buffer = bench.pull(Time::ZERO, Downstream::Busy).unwrap();
        let (kind, compress) = (buffer.kind, buffer.compress);
        for message in messages(buffer) {
            assert_eq!(message.header.kind.buffer_kind(), kind);
            assert_eq!(message.header.flow.0 == 101, compress);
            *bytes.entry(message.header.flow.0).or_insert(0) += message.data.len();
        }
    }
    let (least, most) = (bytes.values().min().unwrap(), bytes.values().max().unwrap());
    assert_eq!(bytes.len(), 4);
    assert!(most - least <= 2 * SIZE, "{bytes:?}");
}

#[test]
fn a_class_served_first_leaves_the_others_their_share() {
    let mut bench = Bench::new(AggregateConfig { class_weights: [2, 1, 1, 1], ..config() });
    for (slot, class) in [(1, 0), (2, 2)] {
        for _ in 0..120 {
            let mut message = bench.message(slot, MessageKind::Data, SEGMENT);
            message.class = Class(class);
            bench.aggregator.push(Time::ZERO, message).unwrap();
        }
    }
    let classes: Vec<_> =
        (0..9).map(|_| bench.pull(Time::ZERO, Downstream::Busy).unwrap().lane.class().0).collect();
    assert_eq!(classes, [0, 0, 2, 0, 0, 2, 0, 0, 2]);
}

#[test]
fn peers_take_turns() {
    let mut bench = Bench::new(config());
    for (slot, peer) in [(1, 0), (2, 1)] {
        for _ in 0..60 {
            let mut message = bench.message(slot, MessageKind::Data, SEGMENT);
            message.peer = PeerIndex(peer);
            bench.aggregator.push(Time::ZERO, message).unwrap();
        }
    }
    let mut peers = Vec::new();
    for _ in 0..4 {
        peers.push(bench.pull(Time::ZERO, Downstream::Busy).unwrap().peer.0);
    }
    assert_eq!(peers, [0, 1, 0, 1]);
    let only = |peer| {
        let state = if peer == PeerIndex(1) { Downstream::Busy } else { Downstream::Full };
        [state; Lane::COUNT]
    };
    assert_eq!(bench.aggregator.pull(Time::ZERO, only).unwrap().peer.0, 1);
}

#[test]
fn a_reset_discards_what_its_flow_has_queued_and_nothing_else() {
    let mut bench = Bench::new(config());
    let backlog = bench.aggregator.backlog();
    bench.push(1, 1000);
    bench.push(2, 500);
    assert!(bench.control(1, MessageKind::Reset));
    assert_eq!(bench.aggregator.queued_bytes(1), 0);
    assert_eq!((backlog.drained_bytes(1), backlog.drained_bytes(2)), (1000, 0));
    assert_eq!(backlog.queued_bytes(PeerIndex(0)), 500);
    assert_eq!(bench.frames.in_use(), 1);
    let control = messages(bench.pull(Time::ZERO, Downstream::Idle).unwrap());
    assert_eq!(control[0].header.kind, MessageKind::Reset);
    let data = messages(bench.pull(Time::ZERO, Downstream::Idle).unwrap());
    assert_eq!((data.len(), data[0].header.flow), (1, FlowId(102)));
    assert_eq!(bench.count(AggregateCounter::DataBytesDiscarded), 1000);
    drop((control, data));
    bench.assert_nothing_is_left();
}

#[test]
fn a_reset_of_the_former_flow_of_a_slot_spares_the_present_one() {
    let mut bench = Bench::new(config());
    bench.push(1, 700);
    let mut message = bench.message(1, MessageKind::Data, 300);
    message.header.flow = FlowId(999);
    message.class = Class(3);
    bench.aggregator.push(Time::ZERO, message).unwrap();
    assert!(bench.control(1, MessageKind::Reset));
    assert_eq!(bench.aggregator.queued_bytes(1), 300);
    drop(bench.pull(Time::ZERO, Downstream::Idle));
    let buffer = bench.pull(Time::ZERO, Downstream::Idle).unwrap();
    assert_eq!(buffer.lane.class(), Class(3));
    let data = messages(buffer);
    assert_eq!((data.len(), data[0].header.flow, data[0].data.len()), (1, FlowId(999), 300));
    drop(data);
    bench.assert_nothing_is_left();
}

#[test]
fn a_lost_peer_takes_all_that_was_queued_for_it() {
    let mut bench = Bench::new(config());
    for slot in 1..4 {
        bench.push(slot, 100);
    }
    assert!(bench.control(1, MessageKind::Open));
    bench.aggregator.discard_peer(PeerIndex(0));
    assert!(bench.pull(Time::NEVER, Downstream::Idle).is_none());
    assert_eq!(bench.count(AggregateCounter::MessagesPeerLost), 4);
    bench.assert_nothing_is_left();
}

#[test]
fn full_places_hand_the_message_back_and_keep_some_for_control() {
    let mut bench = Bench::new(AggregateConfig { messages_max: 10, ..config() });
    bench.push(1, 10);
    bench.push(1, 10);
    let message = bench.message(1, MessageKind::Data, 10);
    let back = bench.aggregator.push(Time::ZERO, message).unwrap_err();
    assert_eq!(back.header.sequence, 20);
    for _ in 0..8 {
        assert!(bench.control(1, MessageKind::Credit));
    }
    assert!(!bench.control(1, MessageKind::Credit));
    assert_eq!(bench.count(AggregateCounter::MessagesWaited), 2);
    assert_eq!(bench.count(AggregateCounter::MessagesIn), 10);
}

#[test]
fn a_packet_that_finds_no_place_is_dropped_by_name_and_drained_from_every_account() {
    let mut bench = Bench::new(AggregateConfig { messages_max: 10, ..config() });
    let backlog = bench.aggregator.backlog();
    assert_eq!(backlog.places(), 2);
    bench.push(1, 10);
    bench.push(1, 10);
    let packet = bench.message(2, MessageKind::Datagram, 70);
    assert!(bench.aggregator.push(Time::ZERO, packet).is_ok());
    assert_eq!(bench.count(AggregateCounter::DatagramsFull), 1);
    assert_eq!((backlog.drained_bytes(2), backlog.drained_messages(PeerIndex(0))), (70, 1));
    // A slot that is another peer's as well.
    drop(bench.pull(Time::ZERO, Downstream::Idle));
    for peer in [0, 1] {
        let mut packet = bench.message(2, MessageKind::Datagram, 50);
        packet.peer = PeerIndex(peer);
        assert!(bench.aggregator.push(Time::ZERO, packet).is_ok());
    }
    assert_eq!(bench.count(AggregateCounter::DatagramsFull), 2);
    assert_eq!((backlog.drained_bytes(2), backlog.drained_messages(PeerIndex(1))), (120, 1));
    drop(bench.pull(Time::ZERO, Downstream::Idle));
    assert_eq!(backlog.drained_bytes(2), 170);
    assert_eq!(backlog.drained_messages_of_all(), 5);
    bench.assert_nothing_is_left();
}

#[test]
fn data_of_a_stream_wait_for_a_slot_that_is_still_another_peers() {
    let mut bench = Bench::new(config());
    bench.push(1, 10);
    let mut message = bench.message(1, MessageKind::Data, 20);
    message.peer = PeerIndex(1);
    let message = bench.aggregator.push(Time::ZERO, message).unwrap_err();
    drop(bench.pull(Time::ZERO, Downstream::Idle));
    assert!(bench.aggregator.push(Time::ZERO, message).is_ok());
    let buffer = bench.pull(Time::ZERO, Downstream::Idle).unwrap();
    assert_eq!(buffer.peer, PeerIndex(1));
    drop(buffer);
    bench.assert_nothing_is_left();
}

#[test]
fn peers_take_turns_and_one_that_takes_nothing_is_in_nobodys_way() {
    let config = AggregateConfig { peers: vec![None; 3], ..config() };
    let mut bench = Bench::new(config);
    for (slot, peer) in [(1, 0), (2, 1), (3, 2)] {
        for _ in 0..40 {
            let mut packet = bench.message(slot, MessageKind::Datagram, SEGMENT);
            packet.peer = PeerIndex(peer);
            assert!(bench.aggregator.push(Time::ZERO, packet).is_ok());
        }
    }
    let state = |peer| {
        let state = if peer == PeerIndex(1) { Downstream::Full } else { Downstream::Busy };
        [state; Lane::COUNT]
    };
    let order: Vec<u16> =
        (0..6).map(|_| bench.aggregator.pull(Time::ZERO, state).unwrap().peer.0).collect();
    assert_eq!(order, [0, 2, 0, 2, 0, 2]);
    bench.aggregator.discard_peer(PeerIndex(1));
    assert_eq!(bench.aggregator.backlog().drained_messages(PeerIndex(1)), 40);
    assert_eq!(bench.aggregator.backlog().drained_bytes(2), 40 * SEGMENT as u64);
    while bench.aggregator.pull(Time::NEVER, state).is_some() {}
    bench.assert_nothing_is_left();
}

#[test]
fn what_no_buffer_can_carry_is_dropped_by_name() {
    let mut bench = Bench::new(AggregateConfig { buffer_size_max: 2048, ..config() });
    let refuse = |bench: &mut Bench, change: &dyn Fn(&mut Outbound<HeapFrame>)| {
        let mut message = bench.message(1, MessageKind::Datagram, 100);
        change(&mut message);
        assert!(bench.aggregator.push(Time::ZERO, message).is_ok());
    };
    refuse(&mut bench, &|m| m.slot = 16);
    refuse(&mut bench, &|m| m.peer = PeerIndex(2));
    refuse(&mut bench, &|m| {
        if let OutboundBody::Frame { len, .. } = &mut m.body {
            *len += 1;
        }
    });
    let key = crate::frame::FlowKey::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 1, 2, 17, 0);
    let mut long = bench.message(1, MessageKind::Datagram, 1990);
    long.header.key = Some(key);
    assert!(bench.aggregator.push(Time::ZERO, long).is_ok());
    assert_eq!(bench.count(AggregateCounter::MessagesRefused), 4);
    let drained = bench.aggregator.backlog().drained_bytes(1);
    assert_eq!(drained, 100 + 101 + 1990);
    bench.assert_nothing_is_left();
}

#[test]
fn an_empty_pool_holds_data_back_but_not_control() {
    let mut bench = Bench::new(config());
    bench.push(1, SEGMENT);
    assert!(bench.control(1, MessageKind::Credit));
    let mut taken = Vec::new();
    while let Some(buffer) = bench.pool.alloc(1) {
        taken.push(buffer);
    }
    let control = bench.pull(Time::ZERO, Downstream::Idle);
    assert_eq!(control.map(|buffer| buffer.kind), Some(BufferKind::Control));
    assert!(bench.pull(Time::ZERO, Downstream::Idle).is_none());
    assert_eq!(bench.count(AggregateCounter::NoBuffer), 1);
    let retry = bench.aggregator.next_timeout(|_| [Downstream::Idle; Lane::COUNT]);
    assert_eq!(retry, Time::ZERO + config().flush_deadline_ns);
    taken.clear();
    assert!(bench.pull(retry, Downstream::Idle).is_some());
    bench.assert_nothing_is_left();
}

#[test]
fn a_host_is_not_promised_more_than_there_are_places_for() {
    let mut bench = Bench::new(config());
    bench.aggregator.set_backlog_limit(PeerIndex(0), 1 << 40);
    let backlog = bench.aggregator.backlog();
    let share_bytes = backlog.flow_share_bytes(PeerIndex(0));
    // As many full segments as that are find a place each.
    assert!(share_bytes / SEGMENT as u64 <= backlog.places(), "{share_bytes}");
    for _ in 0..share_bytes / SEGMENT as u64 {
        bench.push(0, SEGMENT);
    }
    assert_eq!(bench.count(AggregateCounter::MessagesWaited), 0);
}

#[test]
fn the_backlog_is_shared_by_the_flows_that_have_data() {
    let mut bench = Bench::new(config());
    bench.aggregator.set_backlog_limit(PeerIndex(0), 30_000);
    let backlog = bench.aggregator.backlog();
    assert_eq!(backlog.flow_share_bytes(PeerIndex(0)), 30_000);
    for slot in 1..4 {
        bench.push(slot, 1000);
    }
    assert_eq!(backlog.flow_share_bytes(PeerIndex(0)), 10_000);
    assert_eq!(backlog.room_bytes(PeerIndex(0)), 27_000);
    bench.aggregator.set_backlog_limit(PeerIndex(0), 2000);
    assert_eq!(backlog.flow_share_bytes(PeerIndex(0)), FLOW_SHARE_BYTES_MIN);
    assert_eq!(backlog.room_bytes(PeerIndex(0)), 0);
    bench.push(1, 1000);
    drop(bench.pull(Time::ZERO, Downstream::Idle));
    assert_eq!(backlog.drained_bytes(1), 2000);
    bench.assert_nothing_is_left();
}

#[derive(Clone, Debug)]
enum Step {
    Push { slot: u32, len: usize, compress: bool, class: u8 },
    Control { slot: u32 },
    Pull { state: Downstream },
}

fn any_step() -> impl Strategy<Value = Step> {
    let state = prop_oneof![
        Just(Downstream::Closed),
        Just(Downstream::Full),
        Just(Downstream::Busy),
        Just(Downstream::Idle)
    ];
    prop_oneof![
        6 => (0u32..6, 1usize..1900, any::<bool>(), 0u8..4).prop_map(
            |(slot, len, compress, class)| Step::Push { slot, len, compress, class }
        ),
        1 => (0u32..6).prop_map(|slot| Step::Control { slot }),
        3 => state.prop_map(|state| Step::Pull { state }),
    ]
}

proptest! {
    #[test]
    fn every_stream_comes_out_whole_and_in_order(
        steps in proptest::collection::vec(any_step(), 0..250),
    ) {
        let mut bench = Bench::new(config());
        let mut received = BTreeMap::<u64, u64>::new();
        let mut datagrams = 0;
        let mut controls = (0, 0);
        let mut now = Time::ZERO;
        let mut take = |buffer: OutboundBuffer| {
            assert!(buffer.bytes.len() <= SIZE);
            assert!(RoutingView::new_checked(&buffer.bytes).unwrap().messages() > 0);
            for message in messages(buffer) {
                match message.header.kind {
                    MessageKind::Data => {
                        let end = received.entry(message.header.flow.0).or_insert(0);
                        assert_eq!(message.header.sequence, *end);
                        *end += message.data.len() as u64;
                    }
                    MessageKind::Datagram => datagrams += 1,
                    _ => controls.1 += 1,
                }
                if message.header.flow.0 < 200 && message.header.kind != MessageKind::Credit {
                    assert_content(u32::try_from(message.header.flow.0).unwrap() - 100, &message);
                }
            }
        };
        let mut pushed_datagrams = 0;
        for step in steps {
            now = now + 50_000;
            match step {
                Step::Push { slot, len, compress, class } => {
                    // Slot 5 carries datagrams; class and compression may change under way.
                    let kind = if slot == 5 { MessageKind::Datagram } else { MessageKind::Data };
                    let before = bench.sent.get(&slot).copied();
                    let dropped = bench.count(AggregateCounter::DatagramsFull);
                    let mut message = bench.message(slot, kind, len);
                    message.compress = compress;
                    message.class = Class(class);
                    match bench.aggregator.push(now, message) {
                        Ok(()) => {
                            let dropped = bench.count(AggregateCounter::DatagramsFull) - dropped;
                            pushed_datagrams += u64::from(slot == 5) - dropped;
                        }
                        Err(_) => {
                            bench.sent.insert(slot, before.unwrap_or(0));
                        }
                    }
                }
                Step::Control { slot } => {
                    controls.0 += u64::from(bench.control(slot, MessageKind::Credit));
                }
                Step::Pull { state } => {
                    if let Some(buffer) = bench.pull(now, state) {
                        take(buffer);
                    }
                }
            }
        }
        while let Some(buffer) = bench.pull(now, Downstream::Idle) {
            take(buffer);
        }
        for (slot, sent) in bench.sent.iter().filter(|(slot, sent)| **slot != 5 && **sent > 0) {
            prop_assert_eq!(received.get(&(u64::from(*slot) + 100)), Some(sent));
            prop_assert_eq!(bench.aggregator.backlog().drained_bytes(*slot), *sent);
        }
        prop_assert_eq!(datagrams, pushed_datagrams);
        prop_assert_eq!(controls.0, controls.1);
        bench.assert_nothing_is_left();
    }
}
