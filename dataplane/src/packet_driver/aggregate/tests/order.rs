//! Who goes before whom: flows that send little, and packets while they are of use.

use super::*;

/// A flow that has sent nothing for a while and begins with little passes a crowd of bulk, also
/// where the next stage takes no more of the bulk; bulk that begins anew does not.
#[test]
fn a_flow_that_sends_little_goes_before_the_bulk_of_its_class() {
    let mut bench = Bench::new(config());
    for slot in 0..8 {
        for _ in 0..20 {
            bench.push(slot, SEGMENT);
        }
    }
    let later = Time::from_ms(100);
    let message = bench.message(9, MessageKind::Data, 200);
    bench.aggregator.push(later, message).unwrap();
    let message = bench.message(10, MessageKind::Data, SEGMENT);
    bench.aggregator.push(later, message).unwrap();
    let mut states = [Downstream::Full; Lane::COUNT];
    for lane in Lane::all().filter(|lane| lane.is_sparse()) {
        states[lane.index()] = Downstream::Idle;
    }
    let sparse_only = |_| states;
    assert_eq!(bench.aggregator.next_timeout(sparse_only), Time::ZERO);
    let buffer = bench.aggregator.pull(later, sparse_only).unwrap();
    assert_eq!(buffer.lane, Lane::new(Class(1), true));
    let first = messages(buffer);
    assert_eq!((first.len(), first[0].header.flow), (1, FlowId(109)));
    drop(first);
    assert_eq!(bench.aggregator.next_timeout(sparse_only), Time::NEVER);
    // It has just been served: now it is one of many.
    let message = bench.message(9, MessageKind::Data, 200);
    bench.aggregator.push(later, message).unwrap();
    assert!(bench.aggregator.pull(later, sparse_only).is_none());
    while let Some(buffer) = bench.pull(later, Downstream::Idle) {
        assert_eq!(buffer.lane, Lane::new(Class(1), false));
    }
    bench.assert_nothing_is_left();
}

#[test]
fn flows_that_send_little_leave_half_to_the_bulk_of_their_class() {
    let mut bench = Bench::new(AggregateConfig { buffer_size_max: 4096, ..config() });
    for _ in 0..100 {
        bench.push(0, SEGMENT);
    }
    let (mut little, mut bulk) = (0, 0);
    for n in 1..=40 {
        // Ten of them, each with 1,000 bytes every 10 ms: a buffer of 4 KiB takes three.
        let now = Time::from_ms(n * 10);
        for slot in 1..11 {
            let message = bench.message(slot, MessageKind::Data, 1_000);
            bench.aggregator.push(now, message).unwrap();
        }
        for _ in 0..4 {
            let buffer = bench.pull(now, Downstream::Idle).unwrap();
            let len = buffer.bytes.len();
            *(if buffer.lane.is_sparse() { &mut little } else { &mut bulk }) += len;
        }
        if bench.aggregator.queued_bytes(0) == 0 {
            break;
        }
    }
    assert!(bulk * 10 > little * 8, "{bulk} {little}");
}

#[test]
fn a_flow_that_sends_much_after_all_is_one_of_many() {
    let mut bench = Bench::new(config());
    let now = Time::from_ms(100);
    for len in [200, SEGMENT, SEGMENT, SEGMENT, SEGMENT] {
        let message = bench.message(3, MessageKind::Data, len);
        bench.aggregator.push(now, message).unwrap();
    }
    let lens: Vec<_> = std::iter::from_fn(|| bench.pull(now, Downstream::Idle))
        .map(|buffer| (buffer.lane.is_sparse(), buffer.bytes.len() / SEGMENT))
        .collect();
    assert_eq!(lens, [(true, 2), (false, 2)]);
    bench.assert_nothing_is_left();
}

#[test]
fn packets_that_waited_beyond_the_deadline_of_their_class_are_dropped() {
    let mut deadlines_ns = [0; CLASS_COUNT];
    deadlines_ns[1] = 100 * crate::time::MILLISECOND_NS;
    let mut bench = Bench::new(AggregateConfig { deadlines_ns, ..config() });
    for (class, ms) in [(0, 0), (1, 0), (1, 60), (1, 70)] {
        let mut packet = bench.message(u32::from(class) + 1, MessageKind::Datagram, 300);
        packet.class = Class(class);
        bench.aggregator.push(Time::from_ms(ms), packet).unwrap();
    }
    let now = Time::from_ms(130);
    let buffers: Vec<_> = std::iter::from_fn(|| bench.pull(now, Downstream::Idle)).collect();
    let seen: Vec<_> =
        buffers.iter().map(|buffer| (buffer.lane.class().0, buffer.deadline)).collect();
    // With a deadline of 0 a packet is sent whenever it may be; of two packets, the earlier counts.
    assert_eq!(seen, [(0, None), (1, Some(Time::from_ms(160)))]);
    assert_eq!(bench.count(AggregateCounter::DatagramsExpired), 1);
    drop(buffers);
    bench.assert_nothing_is_left();
}
