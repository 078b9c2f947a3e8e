//! Bytes to the host: cutting, windows, probes, timeouts, loss recovery.

use super::support::{Event, Wire, numbers, slice_of};
use super::table::*;
use crate::edge::tcp::{
    Connection, DeliverError, Disposition, Options, State, TcpConfig, Transmitted,
};
use crate::packet_driver::reset::ResetCause;
use crate::time::{MILLISECOND_NS, SECOND_NS};

fn full() -> Vec<u8> {
    vec![0x55; usize::from(MSS)]
}

#[test]
fn a_large_slice_is_cut_by_the_segment_size() {
    let mut case = Case::established();
    let bytes: Vec<u8> = (0..2500_u32).map(|n| n.to_be_bytes()[3]).collect();
    case.deliver(&bytes);
    case.sends(&[
        us(1, 1, ACK).with(&bytes[..1000]),
        us(1001, 1, ACK).with(&bytes[1000..2000]),
        us(2001, 1, PSH_ACK).with(&bytes[2000..]),
    ]);
}

/// What is sent of 7,500 bytes with runs of so many, and how many runs; with a FIN behind the first
/// 7,000.
fn sent_in_runs(run_bytes_max: u32, ends: bool) -> (Vec<Vec<u8>>, usize) {
    let mut case = Case::established();
    let len = if ends { 7_000 } else { 7_500 };
    case.deliver(&vec![0x55; len]);
    if ends {
        case.connection.deliver_fin(7_000).unwrap();
    }
    let mut wire = Wire { run_bytes_max, ..Wire::default() };
    assert_eq!(case.connection.transmit(case.now, &mut wire), Transmitted::Done);
    case.connection.check();
    // Each segment of a run is in flight by itself: this is the loss of the second alone.
    case.takes(&host(1, 1_001, ACK).sack(&[(2_001, 7_001)]), Disposition::Taken);
    assert_eq!(case.connection.transmit(case.now, &mut wire), Transmitted::Done);
    (wire.sent, wire.runs)
}

#[test]
fn runs_are_the_segments_that_would_be_sent_one_by_one() {
    for ends in [false, true] {
        let (alone, runs) = sent_in_runs(0, ends);
        assert_eq!(runs, 0);
        assert_eq!(alone.len(), if ends { 8 } else { 9 }, "one of them again");
        for (run_bytes_max, runs) in [(1_999, 0), (3_500, 2), (65_000, 1)] {
            assert_eq!(sent_in_runs(run_bytes_max, ends), (alone.clone(), runs));
        }
    }
}

#[test]
fn small_slices_share_a_segment() {
    let mut case = Case::established();
    for part in ["one ", "two ", "three"] {
        case.deliver(part.as_bytes());
    }
    assert_eq!(case.connection.queued_pieces(), 3);
    case.sends(&[us(1, 1, PSH_ACK).with(b"one two three")]);
    // Acknowledged in the middle of the second.
    case.takes(&host(1, 7, ACK), Disposition::Taken);
    assert_eq!(case.connection.queued_pieces(), 2);
    assert_eq!(case.connection.unread_bytes(), 7);
}

#[test]
fn slices_may_come_in_any_order_and_more_than_once() {
    let mut case = Case::established();
    case.connection.grant(12);
    let pieces: [(u64, &[u8]); 6] =
        [(8, b"ijkl"), (4, b"ef"), (2, b"cdefgh"), (8, b"ij"), (0, b"abcd"), (0, b"abcdefghijkl")];
    let mut sent = Vec::new();
    for (offset, bytes) in pieces {
        let slice = slice_of(&case.buffers, bytes);
        case.connection.deliver(offset, slice).unwrap();
        for packet in case.output() {
            sent.extend_from_slice(&packet.payload);
        }
    }
    assert_eq!(sent, b"abcdefghijkl");
    assert_eq!(case.connection.unread_bytes(), 12);
    case.takes(&host(1, 13, ACK), Disposition::Taken);
    assert_eq!(case.buffers.in_use_bytes(), 0);
    assert_eq!(case.connection.pinned_bytes(), 0);
    // Late copies of what is acknowledged are left out.
    let late = slice_of(&case.buffers, b"abcd");
    case.connection.deliver(0, late).unwrap();
    assert_eq!(case.connection.unread_bytes(), 0);
}

#[test]
fn nothing_is_taken_beyond_the_grant() {
    let mut case = Case::established();
    case.connection.grant(3);
    case.connection.grant(2);
    let four = slice_of(&case.buffers, b"abcd");
    assert_eq!(case.connection.deliver(0, four.clone()), Err(DeliverError::BeyondGrant));
    assert_eq!(case.connection.deliver(u64::MAX, four.clone()), Err(DeliverError::BeyondGrant));
    assert_eq!(case.connection.deliver(0, four.slice(0, 3).unwrap()), Ok(()));
}

#[test]
fn pieces_are_bounded() {
    let config = TcpConfig { send_pieces_max: 2, ..plain_config() };
    let mut case = Case::established_with(config, syn_options());
    case.connection.grant(100);
    for (offset, expected) in [(10, Ok(())), (20, Ok(())), (30, Err(DeliverError::TooManyPieces))] {
        let slice = slice_of(&case.buffers, b"x");
        assert_eq!(case.connection.deliver(offset, slice), expected);
    }
}

#[test]
fn without_a_frame_nothing_changes() {
    let mut case = Case::established();
    case.deliver(&full());
    case.deliver(&full());
    case.takes(&host(1, 1, FIN_ACK), Disposition::Taken);
    let mut wire = Wire { room: 1, ..Wire::default() };
    assert_eq!(case.connection.transmit(case.now, &mut wire), Transmitted::Blocked);
    assert!(case.connection.wants_transmit());
    case.connection.check();
    case.sends(&[us(nth(1), 1, PSH_ACK).with(&full())]);
    assert!(!case.connection.wants_transmit());
}

#[test]
fn the_hosts_window_bounds_what_is_in_flight() {
    let mut case = Case::established();
    for _ in 0..10 {
        case.deliver(&full());
    }
    assert_eq!(case.output().len(), 8);
    // The edge moves with the acknowledgement or stays.
    case.takes(&host(1, nth(2), ACK).window(6000), Disposition::Taken);
    case.sends(&[]);
    case.takes(&host(1, nth(3), ACK).window(6000), Disposition::Taken);
    case.sends(&[us(nth(8), 1, ACK).with(&full())]);
}

#[test]
fn an_old_segment_does_not_set_the_window() {
    let mut case = Case::established();
    // Two segments overtake each other: the later one's window holds.
    case.takes(&host(5, 1, ACK).with(b"efgh").window(5000), Disposition::Taken);
    case.takes(&host(1, 1, ACK).with(b"abcd").window(100), Disposition::Taken);
    assert_eq!(case.connection.report().host_window, 5000);
    case.takes(&host(9, 1, ACK).window(200), Disposition::Taken);
    assert_eq!(case.connection.report().host_window, 200);
    // Likewise by acknowledgement when the sequence numbers are the same.
    let mut case = Case::in_flight(3);
    case.takes(&host(1, nth(2), ACK).window(5000), Disposition::Taken);
    case.takes(&host(1, nth(1), ACK).window(100), Disposition::Taken);
    assert_eq!(case.connection.report().host_window, 5000);
}

#[test]
fn no_silly_segment_for_a_silly_window() {
    let mut case = Case::established();
    case.takes(&host(1, 1, ACK).window(300), Disposition::Taken);
    case.deliver(&full());
    case.sends(&[]);
    // After a while the window is used as it is.
    let sent = case.wait_for_output();
    assert_eq!(sent, [us(1, 1, ACK).with(&full()[..300])]);
    // Half of the largest window is not silly.
    let mut case = Case::established();
    case.takes(&host(1, 1, ACK).window(4000), Disposition::Taken);
    for _ in 0..5 {
        case.deliver(&full());
    }
    assert_eq!(case.output().len(), 4);
}

#[test]
fn a_closed_window_is_probed_for_as_long_as_the_host_answers() {
    let mut case = Case::established();
    case.takes(&host(1, 1, ACK).window(0), Disposition::Taken);
    case.deliver(b"waiting");
    case.sends(&[]);
    let mut interval_ns = 0;
    for _ in 0..16 {
        let before = case.now;
        assert_eq!(case.wait_for_output(), [us(1, 1, ACK).with(b"w")]);
        let waited_ns = case.now.since_ns(before);
        assert!(waited_ns >= interval_ns, "with back-off");
        assert!(waited_ns <= 61 * SECOND_NS);
        interval_ns = waited_ns;
        case.takes(&host(1, 1, ACK).window(0), Disposition::Taken);
        case.sends(&[]);
    }
    assert!(case.now.as_ns() > 100 * SECOND_NS, "longer than the user timeout");
    case.is(State::Established);
    // Open at last: the byte of the probes goes with the rest.
    case.takes(&host(1, 1, ACK), Disposition::Taken);
    case.sends(&[us(1, 1, PSH_ACK).with(b"waiting")]);
    assert_eq!(case.connection.report().totals.window_probes, 16);
    assert_eq!(case.connection.report().totals.timeouts, 0);
}

#[test]
fn the_byte_of_a_probe_may_be_kept() {
    let mut case = Case::established();
    case.takes(&host(1, 1, ACK).window(0), Disposition::Taken);
    case.deliver(b"waiting");
    assert_eq!(case.wait_for_output(), [us(1, 1, ACK).with(b"w")]);
    case.takes(&host(1, 2, ACK).window(0), Disposition::Taken);
    case.says(&[Event::Acknowledged(1)]);
    assert_eq!(case.wait_for_output(), [us(2, 1, ACK).with(b"a")]);
    case.takes(&host(1, 2, ACK).window(100), Disposition::Taken);
    case.sends(&[us(2, 1, PSH_ACK).with(b"aiting")]);
}

#[test]
fn a_late_acknowledgement_of_a_probe_taken_back_counts() {
    let mut case = Case::established();
    case.takes(&host(1, 1, ACK).window(0), Disposition::Taken);
    case.deliver(b"waiting");
    case.wait_for_output();
    let config = case.connection.report();
    assert_eq!(config.in_flight, 1);
    case.takes(&host(1, 1, ACK).window(1), Disposition::Taken);
    case.takes(&host(1, 2, ACK).window(100), Disposition::Taken);
    case.says(&[Event::Acknowledged(1)]);
    case.sends(&[us(2, 1, PSH_ACK).with(b"aiting")]);
}

#[test]
fn a_fin_is_probed_through_a_closed_window() {
    let mut case = Case::established();
    case.takes(&host(1, 1, ACK).window(0), Disposition::Taken);
    case.connection.deliver_fin(0).unwrap();
    case.sends(&[]);
    assert_eq!(case.wait_for_output(), [us(1, 1, FIN_ACK)]);
    case.takes(&host(1, 2, ACK).window(0), Disposition::Taken);
    case.is(State::FinWait2);
}

#[test]
fn unanswered_probes_end_in_a_reset() {
    let mut case = Case::established();
    case.takes(&host(1, 1, ACK).window(0), Disposition::Taken);
    case.deliver(b"waiting");
    while case.connection.state() == State::Established {
        case.wait_for_output();
    }
    case.says(&[Event::Reset(ResetCause::HostGone)]);
    let waited_s = case.now.as_ns() / SECOND_NS;
    assert!((100..230).contains(&waited_s), "{waited_s}");
}

#[test]
fn a_window_that_shrinks_over_what_is_in_flight() {
    let mut case = Case::in_flight(8);
    case.takes(&host(1, nth(2), ACK).window(0), Disposition::Taken);
    case.up.take();
    // What is in flight is repeated at its head only, and the host is not given up.
    for _ in 0..16 {
        let sent = case.wait_for_output();
        assert_eq!(starts(&sent), [nth(2)]);
        case.takes(&host(1, nth(2), ACK).window(0), Disposition::Taken);
    }
    assert!(case.now.as_ns() > 200 * SECOND_NS, "longer than the user timeout");
    case.is(State::Established);
    // It opens again: all of it is repeated without another wait.
    let mut acked = 2;
    while acked < 8 {
        case.takes(&host(1, nth(acked), ACK), Disposition::Taken);
        let sent = case.output();
        assert!(!sent.is_empty(), "at {acked}");
        acked += u32::try_from(sent.len()).unwrap();
    }
    case.takes(&host(1, nth(8), ACK), Disposition::Taken);
    assert_eq!(case.connection.unread_bytes(), 0);
}

#[test]
fn a_silent_host_is_retried_with_back_off_and_then_gone() {
    let mut case = Case::in_flight(1);
    let mut times = Vec::new();
    loop {
        let sent = case.wait_for_output();
        if case.connection.state() != State::Established {
            break;
        }
        assert_eq!(sent, [us(1, 1, PSH_ACK).with(&full())]);
        times.push(case.now.as_ns() / MILLISECOND_NS);
    }
    case.says(&[Event::Reset(ResetCause::HostGone)]);
    assert_eq!(case.buffers.in_use_bytes(), 0);
    assert!(times.len() > 8, "{times:?}");
    for pair in times.windows(3).skip(2) {
        assert!(pair[2] - pair[1] >= (pair[1] - pair[0]) * 2 || pair[2] - pair[1] == 60_000);
    }
}

#[test]
fn a_host_that_answers_without_progress_is_gone_too() {
    let mut case = Case::in_flight(1);
    while case.connection.state() == State::Established {
        case.wait_for_output();
        if case.connection.state() == State::Established {
            case.takes(&host(1, 1, ACK), Disposition::Taken);
        }
    }
    case.says(&[Event::Reset(ResetCause::HostGone)]);
    assert!(case.now.as_ns() > 100 * SECOND_NS);
}

#[test]
fn a_timeout_repeats_from_the_first_and_starts_slowly() {
    let config = TcpConfig { keepalive_idle_ns: None, ..plain_config() };
    let options = Options { sack_permitted: false, ..syn_options() };
    let mut case = Case::established_with(config, options);
    case.send_segments(6);
    let sent = case.wait_for_output();
    assert_eq!(starts(&sent), [1]);
    case.takes(&host(1, nth(1), ACK), Disposition::Taken);
    assert_eq!(starts(&case.output()), [nth(1), nth(2)]);
    case.takes(&host(1, nth(3), ACK), Disposition::Taken);
    assert_eq!(starts(&case.output()), [nth(3), nth(4), nth(5)]);
    let report = case.connection.report();
    assert_eq!(report.totals.timeouts, 1);
    assert_eq!(report.totals.retransmitted_segments, 6);
}

#[test]
fn three_sacked_segments_show_a_loss() {
    let mut case = Case::in_flight(6);
    case.after_ms(1);
    case.takes(&host(1, 1, ACK).sack(&[(nth(1), nth(2))]), Disposition::Taken);
    case.sends(&[]);
    case.takes(&host(1, 1, ACK).sack(&[(nth(1), nth(3))]), Disposition::Taken);
    case.sends(&[]);
    case.takes(&host(1, 1, ACK).sack(&[(nth(1), nth(4))]), Disposition::Taken);
    assert_eq!(starts(&case.output()), [1]);
    case.takes(&host(1, nth(6), ACK), Disposition::Taken);
    let report = case.connection.report();
    assert_eq!((report.totals.recoveries, report.totals.timeouts), (1, 0));
    assert_eq!(report.totals.retransmitted_segments, 1);
}

#[test]
fn one_sacked_segment_shows_a_loss_a_little_later() {
    let mut case = Case::in_flight(2);
    case.after_ms(1);
    case.takes(&host(1, 1, ACK).sack(&[(nth(1), nth(2))]), Disposition::Taken);
    case.sends(&[]);
    // A quarter of the round trip (RFC 8985 6.2).
    assert_eq!(case.wait_ns(), MILLISECOND_NS / 4);
    assert_eq!(starts(&case.output()), [1]);
}

#[test]
fn several_losses_are_repaired_in_one_round() {
    let mut case = Case::in_flight(8);
    case.after_ms(1);
    let blocks = [(nth(1), nth(2)), (nth(3), nth(4)), (nth(5), nth(8))];
    case.takes(&host(1, 1, ACK).sack(&blocks), Disposition::Taken);
    assert_eq!(starts(&case.output()), [1, nth(2), nth(4)]);
    case.takes(&host(1, nth(8), ACK), Disposition::Taken);
    assert_eq!(case.connection.report().totals.recoveries, 1);
    assert!(case.connection.report().congestion_window >= 8 * u64::from(MSS));
}

#[test]
fn repairs_stay_within_a_window_that_shrank() {
    let mut case = Case::in_flight(8);
    case.after_ms(1);
    let blocks = [(nth(1), nth(2)), (nth(3), nth(4)), (nth(5), nth(8))];
    case.takes(&host(1, 1, ACK).window(2999).sack(&blocks), Disposition::Taken);
    assert_eq!(starts(&case.output()), [1]);
    case.takes(&host(1, nth(2), ACK).sack(&blocks[1..]), Disposition::Taken);
    assert_eq!(starts(&case.output()), [nth(2), nth(4)]);
}

#[test]
fn a_lost_retransmission_is_found_before_the_timeout() {
    let mut case = Case::in_flight(5);
    case.after_ms(1);
    case.takes(&host(1, 1, ACK).sack(&[(nth(1), nth(5))]), Disposition::Taken);
    assert_eq!(starts(&case.output()), [1]);
    case.deliver(&full());
    case.deliver(&full());
    assert_eq!(starts(&case.output()), [nth(5), nth(6)]);
    // What was sent after the retransmission arrives, the retransmission does not.
    case.after_ms(2);
    case.takes(&host(1, 1, ACK).sack(&[(nth(1), nth(7))]), Disposition::Taken);
    assert_eq!(starts(&case.output()), [1]);
    assert_eq!(case.connection.report().totals.timeouts, 0);
}

#[test]
fn reordering_is_not_loss_once_it_was_seen() {
    let mut case = Case::in_flight(4);
    case.after_ms(1);
    case.takes(&host(1, 1, ACK).sack(&[(nth(1), nth(2))]), Disposition::Taken);
    // The first arrives late: reordering.
    case.takes(&host(1, nth(4), ACK), Disposition::Taken);
    case.send_segments(4);
    case.after_ms(1);
    case.takes(&host(1, nth(4), ACK).sack(&[(nth(5), nth(8))]), Disposition::Taken);
    case.sends(&[]);
    case.takes(&host(1, nth(8), ACK), Disposition::Taken);
    assert_eq!(case.connection.report().totals.retransmitted_segments, 0);
}

#[test]
fn three_duplicates_show_a_loss_to_a_host_without_sack() {
    let mut case = Case::established_without_sack();
    case.send_segments(6);
    case.after_ms(1);
    for _ in 0..2 {
        case.takes(&host(1, 1, ACK), Disposition::Taken);
        case.sends(&[]);
    }
    case.takes(&host(1, 1, ACK), Disposition::Taken);
    assert_eq!(starts(&case.output()), [1]);
    // A partial acknowledgement shows the next (RFC 6582).
    case.takes(&host(1, nth(3), ACK), Disposition::Taken);
    assert_eq!(starts(&case.output()), [nth(3)]);
    case.takes(&host(1, nth(6), ACK), Disposition::Taken);
    let report = case.connection.report();
    assert_eq!((report.totals.recoveries, report.totals.timeouts), (1, 0));
}

#[test]
fn window_updates_are_no_duplicates() {
    let mut case = Case::established_without_sack();
    case.send_segments(6);
    case.after_ms(1);
    for n in 1..=4 {
        case.takes(&host(1, 1, ACK).window(WINDOW + n), Disposition::Taken);
        case.sends(&[]);
    }
    for n in 0..4 {
        case.takes(&host(1 + n, 1, ACK).with(b"d"), Disposition::Taken);
    }
    assert!(case.output().iter().all(|packet| packet.payload.is_empty()));
}

#[test]
fn a_silent_tail_is_probed_before_the_timeout() {
    let mut case = Case::in_flight(3);
    let before = case.now;
    let sent = case.wait_for_output();
    assert_eq!(starts(&sent), [nth(2)]);
    assert_eq!(case.now.since_ns(before), 2 * MILLISECOND_NS);
    assert_eq!(case.connection.report().totals.tail_probes, 1);
    // The answer shows what is missing.
    case.after_ms(1);
    case.takes(&host(1, 1, ACK).sack(&[(nth(2), nth(3))]), Disposition::Taken);
    assert_eq!(starts(&case.wait_for_output()), [1, nth(1)]);
    assert_eq!(case.connection.report().totals.timeouts, 0);
}

#[test]
fn a_host_that_delays_its_acknowledgement_is_not_hurried() {
    let mut case = Case::established();
    for letter in [b"a", b"b", b"c"] {
        case.deliver(letter);
        assert_eq!(case.output().len(), 1);
        case.after_ms(1);
    }
    // As Linux does for small segments.
    case.after_ms(39);
    case.sends(&[]);
    case.takes(&host(1, 4, ACK), Disposition::Taken);
    case.sends(&[]);
    assert_eq!(case.connection.report().totals.retransmitted_segments, 0);
}

#[test]
fn data_from_the_host_do_not_put_the_probe_off() {
    let mut case = Case::in_flight(3);
    for n in 0..2 {
        case.after_ms(1);
        case.takes(&host(1 + n, 1, ACK).with(b"d"), Disposition::Taken);
        if n == 0 {
            case.sends(&[]);
        }
    }
    assert_eq!(starts(&case.output())[0], nth(2));
}

#[test]
fn a_probe_that_repaired_the_tail_counts_as_a_loss() {
    let mut case = Case::in_flight(3);
    let window = case.connection.report().congestion_window;
    case.wait_for_output();
    case.deliver(&full());
    assert_eq!(starts(&case.output()), [nth(3)]);
    case.after_ms(1);
    case.takes(&host(1, nth(4), ACK), Disposition::Taken);
    assert!(case.connection.report().congestion_window < window);
    // Not so when the host says that the probe was a duplicate.
    let mut case = Case::in_flight(3);
    case.wait_for_output();
    case.deliver(&full());
    case.output();
    case.after_ms(1);
    let duplicate = host(1, nth(4), ACK).sack(&[(nth(2), nth(3))]);
    case.takes(&duplicate, Disposition::Taken);
    assert_eq!(case.connection.report().congestion_window, window);
}

#[test]
fn new_data_make_the_better_probe() {
    let mut case = Case::established();
    // The congestion window holds the eleventh back.
    case.takes(&host(1, 1, ACK).window(u16::MAX), Disposition::Taken);
    for _ in 0..11 {
        case.deliver(&full());
    }
    assert_eq!(case.output().len(), 10);
    assert_eq!(starts(&case.wait_for_output()), [nth(10)]);
}

#[test]
fn a_timeout_for_nothing_is_undone() {
    let config = TcpConfig { sack: false, ..TcpConfig::for_mtu(1500, true) };
    let stamps = |value, echo| Options {
        timestamps: Some(crate::edge::tcp::Timestamps { value, echo }),
        ..Options::default()
    };
    let options = Options { mss: Some(1012), ..stamps(1, 0) };
    let mut case = Case::held_with(config, options);
    case.connection.answer(case.now);
    case.output();
    case.after_ms(1);
    let ours = numbers(US).timestamp_offset;
    case.takes(&host(1, 1, ACK).options(stamps(2, ours + 1)), Disposition::Taken);
    case.send_segments(6);
    let sent_at = ours + 2;
    let window = case.connection.report().congestion_window;
    case.wait_for_output();
    assert_eq!(case.connection.report().totals.timeouts, 1);
    assert!(case.connection.report().congestion_window < window);
    // All had arrived: the acknowledgement echoes the first transmission (RFC 3522).
    case.takes(&host(1, nth(2), ACK).options(stamps(3, sent_at)), Disposition::Taken);
    assert!(case.connection.report().congestion_window >= window);
    case.sends(&[]);
    assert_eq!(case.connection.report().totals.retransmitted_segments, 1);
}

#[test]
fn a_smaller_path_mtu_cuts_what_is_in_flight_anew() {
    let mut case = Case::in_flight(2);
    case.connection.reduce_mss(400);
    let sent = case.output();
    let lengths: Vec<usize> = sent.iter().map(|packet| packet.payload.len()).collect();
    assert_eq!(starts(&sent), [1, 401, 801, 1001, 1401, 1801]);
    assert_eq!(lengths, [400, 400, 200, 400, 400, 200]);
    case.connection.reduce_mss(1000);
    assert_eq!(case.connection.report().segment_size, 400);
    case.takes(&host(1, nth(2), ACK), Disposition::Taken);
    assert_eq!(case.connection.unread_bytes(), 0);
}

#[test]
fn acknowledgements_stay_within_the_hosts_window() {
    // Beyond a window that shrank, the host would not look at them.
    let mut case = Case::in_flight(4);
    case.takes(&host(1, nth(1), ACK).window(500).with(b"x"), Disposition::Taken);
    case.after_ms(2);
    let sent = case.output();
    assert_eq!(sent, [us(nth(1) + 500, 2, ACK)]);
}

#[test]
fn an_idle_connection_forgets_how_fast_it_was() {
    let mut case = Case::in_flight(6);
    case.takes(&host(1, nth(6), ACK).window(u16::MAX), Disposition::Taken);
    for _ in 0..5 {
        for _ in 0..20 {
            case.deliver(&full());
        }
        while case.connection.unread_bytes() > 0 {
            let sent = case.output();
            let last = sent.last().map_or(1, |packet| packet.seq.wrapping_sub(US) + 1000);
            case.takes(&host(1, last, ACK).window(u16::MAX), Disposition::Taken);
        }
    }
    let fast = case.connection.report().congestion_window;
    assert!(fast > 20_000, "{fast}");
    case.after_s(10);
    case.deliver(&full());
    case.output();
    assert_eq!(case.connection.report().congestion_window, 10_000);
}

#[test]
fn a_connection_in_use_keeps_its_queues() {
    let mut case = Case::established();
    let mut next = 1;
    for _ in 0..40 {
        case.deliver(&full());
        case.output();
        next += u32::from(MSS);
        case.after_ms(100);
        case.takes(&host(1, next, ACK), Disposition::Taken);
        case.output();
        assert!(Connection::has_spare_memory(&case.connection), "nothing to allocate next time");
    }
}
