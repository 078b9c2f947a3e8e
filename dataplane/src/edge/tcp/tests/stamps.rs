//! Timestamps and PAWS (RFC 7323), and TIME-WAIT with reuse (RFC 6191).

use super::support::{Event, numbers};
use super::table::*;
use crate::edge::tcp::{
    Disposition, Flags, Options, Segment, TcpConfig, TimeWait, TimeWaitTable, TimeWaitVerdict,
    Timestamps,
};
use crate::frame::FlowKey;
use crate::interceptor::FlowHasher;
use crate::time::{SECOND_NS, Time};

fn stamps(value: u32, echo: u32) -> Options {
    Options { timestamps: Some(Timestamps { value, echo }), ..Options::default() }
}

fn established() -> Case {
    let options = Options { mss: Some(MSS), sack_permitted: true, ..stamps(1000, 0) };
    let mut case = Case::held_with(TcpConfig::for_mtu(1500, true), options);
    case.connection.answer(case.now);
    let ours = numbers(US).timestamp_offset + 1;
    let answer = Options { mss: Some(1460), sack_permitted: true, ..stamps(ours, 1000) };
    case.sends(&[us(0, 1, SYN_ACK).options(answer)]);
    case.takes(&host(1, 1, ACK).options(stamps(1001, ours)), Disposition::Taken);
    case
}

#[test]
fn the_stamp_of_the_acknowledged_segment_is_echoed() {
    let mut case = established();
    assert_eq!(case.connection.report().segment_size, MSS - 12);
    let stamp = |value| stamps(value, 0);
    case.takes(&host(1, 1, ACK).with(b"a").options(stamp(1010)), Disposition::Taken);
    case.takes(&host(2, 1, ACK).with(b"b").options(stamp(1020)), Disposition::Taken);
    // Two segments, one acknowledgement: the earlier stamp includes the delay (RFC 7323 4.2).
    let ours = numbers(US).timestamp_offset + 1;
    case.sends(&[us(1, 3, ACK).options(stamps(ours, 1010))]);
    // Behind a gap, the stamp from before the gap.
    case.takes(&host(9, 1, ACK).with(b"z").options(stamp(1030)), Disposition::Taken);
    let expected = us(1, 3, ACK).options(stamps(ours, 1010)).sack_host(&[(9, 10)]);
    case.sends(&[expected]);
}

#[test]
fn an_old_duplicate_is_known_by_its_stamp() {
    let mut case = established();
    case.takes(&host(1, 1, ACK).with(b"old").options(stamps(999, 0)), Disposition::OldTimestamp);
    case.says(&[]);
    assert_eq!(case.output().len(), 1);
    case.takes(&host(1, 1, ACK).with(b"new").options(stamps(1001, 0)), Disposition::Taken);
    case.says(&[Event::Data(0, b"new".to_vec())]);
    // A reset needs no stamp.
    case.takes(&host(4, 0, RST), Disposition::Taken);
}

#[test]
fn after_24_days_stamps_say_nothing() {
    let mut case = established();
    case.now = case.now + 25 * 24 * 3600 * SECOND_NS;
    case.takes(&host(1, 1, ACK).with(b"back").options(stamps(5, 0)), Disposition::Taken);
    case.says(&[Event::Data(0, b"back".to_vec())]);
}

#[test]
fn a_segment_without_its_stamp_is_dropped() {
    let mut case = established();
    case.takes(&host(1, 1, ACK).with(b"bare"), Disposition::MissingTimestamp);
    case.says(&[]);
    case.sends(&[]);
}

fn key(port: u16) -> FlowKey {
    FlowKey::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), port, 80, 6, 0)
}

fn time_wait_table(capacity: usize) -> TimeWaitTable {
    TimeWaitTable::new(capacity, &FlowHasher::new([1, 2]))
}

fn syn(seq: u32, timestamp: Option<u32>) -> Segment {
    let mut segment = Segment { seq, flags: Flags::SYN, ..Segment::default() };
    segment.options.timestamps = timestamp.map(|value| Timestamps { value, echo: 0 });
    segment
}

#[test]
fn time_wait_answers_late_segments_and_ignores_resets() {
    let mut table = time_wait_table(4);
    let state = TimeWait { seq: 100, ack: 200, timestamps: Some((50, 7)) };
    let now = Time::from_ms(3);
    assert_eq!(table.insert(now, key(1), state), None);
    let fin = Segment { seq: 199, ack: 100, flags: FIN_ACK, ..Segment::default() };
    let mut answer = Segment { seq: 100, ack: 200, flags: ACK, ..Segment::default() };
    answer.options.timestamps = Some(Timestamps { value: 53, echo: 7 });
    assert_eq!(table.segment(now, &key(1), &fin), Some(TimeWaitVerdict::Answer(answer)));
    let reset = Segment { seq: 200, flags: RST, ..Segment::default() };
    assert_eq!(table.segment(now, &key(1), &reset), Some(TimeWaitVerdict::Drop));
    let bare = Segment { seq: 200, ack: 100, flags: ACK, ..Segment::default() };
    assert_eq!(table.segment(now, &key(1), &bare), Some(TimeWaitVerdict::Drop));
    assert_eq!(table.segment(now, &key(2), &fin), None);
    assert_eq!(table.len(), 1);
}

#[test]
fn time_wait_yields_to_a_newer_syn() {
    // (timestamps of the old connection, SYN, whether it may begin a new one)
    let cases = [
        (Some((0, 7)), syn(0, Some(8)), true),
        (Some((0, 7)), syn(201, Some(7)), true),
        (Some((0, 7)), syn(200, Some(7)), false),
        (Some((0, 7)), syn(201, Some(6)), false),
        (Some((0, 7)), syn(201, None), true),
        (Some((0, 7)), syn(200, None), false),
        (None, syn(0, Some(1)), true),
        (None, syn(201, None), true),
        (None, syn(199, None), false),
    ];
    for (timestamps, syn, reuse) in cases {
        let mut table = time_wait_table(4);
        table.insert(Time::ZERO, key(1), TimeWait { seq: 100, ack: 200, timestamps });
        let verdict = table.segment(Time::ZERO, &key(1), &syn);
        assert_eq!(verdict == Some(TimeWaitVerdict::Reuse), reuse, "{timestamps:?} {syn:?}");
        assert_eq!(table.is_empty(), reuse);
    }
}

/// RFC 9293 3.10.7.3: a host in SYN-SENT answers an acknowledgement it did not expect with a RST
/// that has its number. With that, and only with that, an older sequence number gets its way too.
#[test]
fn time_wait_yields_to_a_host_that_has_forgotten() {
    let mut table = time_wait_table(4);
    table.insert(Time::ZERO, key(1), TimeWait { seq: 100, ack: 200, timestamps: None });
    let older = syn(50, None);
    let rst = |seq| Segment { seq, flags: Flags::RST, ..Segment::default() };
    let mut judge = |segment: &Segment| table.segment(Time::ZERO, &key(1), segment);
    assert_eq!(judge(&rst(200)), Some(TimeWaitVerdict::Drop));
    let Some(TimeWaitVerdict::Answer(answer)) = judge(&older) else { panic!("no answer") };
    assert_eq!((answer.flags, answer.ack), (Flags::ACK, 200));
    assert_eq!(judge(&rst(201)), Some(TimeWaitVerdict::Drop));
    assert!(matches!(judge(&older), Some(TimeWaitVerdict::Answer(_))));
    assert_eq!(judge(&rst(answer.ack)), Some(TimeWaitVerdict::Drop));
    assert_eq!(judge(&older), None);
}

#[test]
fn late_segments_of_a_reset_connection_are_refused() {
    let mut table = time_wait_table(4);
    table.insert_reset(Time::ZERO, key(1));
    let data = Segment { seq: 5, ack: 9, flags: Flags::ACK, payload_len: 3, ..Segment::default() };
    let refusal = Segment { seq: 9, flags: Flags::RST, ..Segment::default() };
    let refused = Some(TimeWaitVerdict::Answer(refusal));
    assert_eq!(table.segment(Time::ZERO, &key(1), &data), refused);
    assert_eq!(table.segment(Time::ZERO, &key(1), &refusal), Some(TimeWaitVerdict::Drop));
    assert_eq!(table.segment(Time::ZERO, &key(1), &syn(1, None)), Some(TimeWaitVerdict::Reuse));
    assert_eq!(table.segment(Time::ZERO, &key(1), &data), None);
}

#[test]
fn time_wait_is_bounded_and_the_oldest_makes_room() {
    let mut table = time_wait_table(3);
    let state = TimeWait { seq: 1, ack: 2, timestamps: None };
    for port in 1..=3 {
        assert_eq!(table.insert(Time::from_ms(u64::from(port)), key(port), state), None);
    }
    // Renewed: no longer the oldest.
    assert_eq!(table.insert(Time::from_ms(4), key(1), state), None);
    assert_eq!(table.insert(Time::from_ms(5), key(4), state), Some(key(2)));
    for n in 0..1000 {
        table.insert(Time::from_ms(10 + n), key(1), state);
    }
    assert_eq!(table.len(), 3);
}

#[test]
fn time_wait_ends() {
    let mut table = time_wait_table(3);
    let state = TimeWait { seq: 1, ack: 2, timestamps: None };
    table.insert(Time::ZERO, key(1), state);
    table.insert(Time::from_ns(SECOND_NS), key(2), state);
    assert_eq!(table.next_timeout(), Time::from_ns(60 * SECOND_NS));
    table.expire(Time::from_ns(60 * SECOND_NS), 10);
    assert_eq!(table.len(), 1);
    let fin = Segment { flags: FIN_ACK, ..Segment::default() };
    assert_eq!(table.segment(Time::from_ns(61 * SECOND_NS), &key(2), &fin), None);
    table.expire(Time::from_ns(100 * SECOND_NS), 10);
    assert!(table.is_empty());
    assert_eq!(table.next_timeout(), Time::NEVER);
}
