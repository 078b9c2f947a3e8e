//! FIN and RST in every state: half-close, held FINs, simultaneous close, resets of ours.

use super::support::{Event, slice_of};
use super::table::*;
use crate::edge::tcp::{DeliverError, Disposition, Finished, State};
use crate::packet_driver::reset::ResetCause;
use crate::time::{SECOND_NS, Time};

#[test]
fn the_hosts_fin_waits_for_the_far_host() {
    let mut case = Case::established();
    case.takes(&host(1, 1, FIN_ACK).with(b"bye"), Disposition::Taken);
    case.says(&[Event::Data(0, b"bye".to_vec()), Event::Fin(3)]);
    // The data are acknowledged, the FIN is not; also when it comes again.
    case.sends(&[us(1, 4, ACK)]);
    case.takes(&host(4, 1, FIN_ACK), Disposition::Taken);
    case.sends(&[us(1, 4, ACK)]);
    case.says(&[]);
    case.is(State::Established);
    case.connection.fin_acknowledged();
    case.sends(&[us(1, 5, ACK)]);
    case.is(State::CloseWait);
    // The acknowledgement was lost.
    case.takes(&host(4, 1, FIN_ACK), Disposition::OutOfWindow);
    case.sends(&[us(1, 5, ACK)]);
}

#[test]
fn behind_a_held_fin_the_host_goes_on_acknowledging() {
    let mut case = Case::fin_held();
    case.deliver(b"still here");
    case.sends(&[us(1, 1, PSH_ACK).with(b"still here")]);
    // Its sequence number is behind its FIN now.
    case.takes(&host(2, 11, ACK), Disposition::Taken);
    case.says(&[Event::Acknowledged(10)]);
    assert_eq!(case.buffers.in_use_bytes(), 0);
}

#[test]
fn behind_a_held_fin_the_hosts_reset_is_believed() {
    for seq in [1, 2] {
        let mut case = Case::fin_held();
        case.takes(&host(seq, 0, RST), Disposition::Taken);
        case.says(&[Event::Reset(ResetCause::Host)]);
        case.is(State::Closed);
    }
}

#[test]
fn behind_the_fin_there_are_no_data() {
    let mut case = Case::fin_held();
    case.takes(&host(1, 1, ACK).with(b"more"), Disposition::OutOfWindow);
    case.takes(&host(2, 1, ACK).with(b"more"), Disposition::OutOfWindow);
    case.says(&[]);
    case.connection.fin_acknowledged();
    case.output();
    case.takes(&host(2, 1, ACK).with(b"more"), Disposition::OutOfWindow);
    case.says(&[]);
    case.sends(&[us(1, 2, ACK)]);
}

#[test]
fn a_fin_that_overtakes_data_waits_for_them() {
    let mut case = Case::established();
    case.takes(&host(4, 1, FIN_ACK).with(b"def"), Disposition::Taken);
    case.says(&[]);
    case.takes(&host(7, 1, FIN_ACK), Disposition::Taken);
    case.says(&[]);
    case.takes(&host(1, 1, ACK).with(b"abc"), Disposition::Taken);
    case.says(&[Event::Data(0, b"abc".to_vec()), Event::Data(3, b"def".to_vec()), Event::Fin(6)]);
}

#[test]
fn a_fin_at_the_edge_of_a_closed_window_counts() {
    let mut case = Case::established();
    for n in 0..10 {
        case.takes(&host(nth(n), 1, ACK).with(&[1; MSS as usize]), Disposition::Taken);
    }
    case.up.take();
    case.takes(&host(10_001, 1, FIN_ACK), Disposition::Taken);
    case.says(&[Event::Fin(10_000)]);
    case.connection.fin_acknowledged();
    case.sends(&[us(1, 10_002, ACK).window(0)]);
}

#[test]
fn a_held_fin_is_acknowledged_after_its_time_if_every_byte_is_stored() {
    // Stored first, then the time; and the other way round.
    let mut case = Case::fin_held();
    case.connection.fin_stored();
    case.sends(&[]);
    assert_eq!(case.wait_ns(), 30 * SECOND_NS);
    case.sends(&[us(1, 2, ACK)]);
    case.is(State::CloseWait);

    let mut case = Case::fin_held();
    case.after_s(30);
    case.sends(&[]);
    case.is(State::Established);
    case.connection.fin_stored();
    case.sends(&[us(1, 2, ACK)]);
    case.is(State::CloseWait);
}

#[test]
fn without_a_fin_nothing_is_acknowledged_in_advance() {
    let mut case = Case::established();
    case.connection.fin_acknowledged();
    case.connection.fin_stored();
    case.sends(&[]);
    case.takes(&host(1, 1, FIN_ACK), Disposition::Taken);
    case.sends(&[us(1, 1, ACK)]);
    case.is(State::Established);
}

#[test]
fn our_fin_follows_the_last_byte() {
    let mut case = Case::established();
    let late = slice_of(&case.buffers, b"def");
    case.connection.grant(6);
    case.connection.deliver(3, late).unwrap();
    case.connection.deliver_fin(6).unwrap();
    case.sends(&[]);
    case.is(State::Established);
    let early = slice_of(&case.buffers, b"abc");
    case.connection.deliver(0, early).unwrap();
    case.sends(&[us(1, 1, FIN_ACK.with(PSH_ACK)).with(b"abcdef")]);
    case.is(State::FinWait1);
    case.takes(&host(1, 8, ACK), Disposition::Taken);
    case.says(&[Event::Acknowledged(6), Event::FinAcknowledged(6)]);
    case.is(State::FinWait2);
}

#[test]
fn an_end_that_contradicts_itself_is_an_error() {
    let mut case = Case::established();
    case.deliver(b"abc");
    assert_eq!(case.connection.deliver_fin(2), Err(DeliverError::BeyondEnd));
    assert_eq!(case.connection.deliver_fin(5), Ok(()));
    assert_eq!(case.connection.deliver_fin(5), Ok(()));
    assert_eq!(case.connection.deliver_fin(6), Err(DeliverError::BeyondEnd));
    case.connection.grant(100);
    let beyond = slice_of(&case.buffers, b"defg");
    assert_eq!(case.connection.deliver(3, beyond), Err(DeliverError::BeyondEnd));
}

#[test]
fn our_fin_is_repeated_until_acknowledged() {
    let mut case = Case::fin_wait_1();
    for _ in 0..3 {
        assert_eq!(case.wait_for_output(), [us(1, 1, FIN_ACK)]);
        case.is(State::FinWait1);
    }
    case.takes(&host(1, 2, ACK), Disposition::Taken);
    case.is(State::FinWait2);
}

#[test]
fn a_fin_is_repeated_together_with_its_data() {
    let mut case = Case::established();
    case.deliver(b"end");
    case.connection.deliver_fin(3).unwrap();
    let fin = us(1, 1, FIN_ACK.with(PSH_ACK)).with(b"end");
    case.sends(std::slice::from_ref(&fin));
    assert_eq!(case.wait_for_output(), [fin]);
    // Half of it arrived.
    case.takes(&host(1, 3, ACK), Disposition::Taken);
    assert_eq!(case.wait_for_output(), [us(3, 1, FIN_ACK.with(PSH_ACK)).with(b"d")]);
}

#[test]
fn half_closed_by_the_far_host_our_host_sends_for_as_long_as_it_wants() {
    let mut case = Case::fin_wait_2();
    let mut seq = 1;
    for hour in 0..48 {
        case.after_s(3600);
        assert_eq!(case.connection.state(), State::FinWait2, "after {hour} hours");
        case.takes(&host(seq, 2, ACK).with(b"data"), Disposition::Taken);
        case.says(&[Event::Data(u64::from(seq) - 1, b"data".to_vec())]);
        seq += 4;
        case.after_ms(5);
        case.sends(&[us(2, seq, ACK)]);
    }
    case.takes(&host(seq, 2, FIN_ACK), Disposition::Taken);
    case.says(&[Event::Fin(u64::from(seq) - 1)]);
    case.sends(&[us(2, seq, ACK)]);
    case.connection.fin_acknowledged();
    case.is(State::TimeWait);
    case.sends(&[us(2, seq + 1, ACK)]);
    assert!(matches!(case.connection.finished(), Some(Finished::TimeWait(_))));
}

#[test]
fn half_closed_by_our_host_the_far_host_sends_for_as_long_as_it_wants() {
    let mut case = Case::close_wait();
    let mut seq = 1;
    for _ in 0..48 {
        case.after_s(3600);
        case.output();
        case.takes(&host(2, seq, ACK), Disposition::Taken);
        case.deliver(b"data");
        case.sends(&[us(seq, 2, PSH_ACK).with(b"data")]);
        seq += 4;
        case.takes(&host(2, seq, ACK), Disposition::Taken);
        case.says(&[Event::Acknowledged(u64::from(seq) - 1)]);
    }
    case.is(State::CloseWait);
    case.connection.deliver_fin(u64::from(seq) - 1).unwrap();
    case.sends(&[us(seq, 2, FIN_ACK)]);
    case.is(State::LastAck);
    case.takes(&host(2, seq + 1, ACK), Disposition::Taken);
    case.is(State::Closed);
    assert_eq!(case.connection.finished(), Some(Finished::Closed));
}

#[test]
fn close_wait_answers_what_is_unacceptable() {
    let mut case = Case::close_wait();
    case.takes(&host(2, 9, ACK), Disposition::UnacceptableAck);
    case.sends(&[us(1, 2, ACK)]);
    case.takes(&host(30_000, 1, ACK).with(b"far"), Disposition::OutOfWindow);
    case.sends(&[us(1, 2, ACK)]);
    case.is(State::CloseWait);
}

#[test]
fn data_outside_the_window_are_answered_while_closing() {
    for mut case in [Case::fin_wait_1(), Case::fin_wait_2(), Case::closing(), Case::last_ack()] {
        let state = case.connection.state();
        let next = if matches!(state, State::Closing | State::LastAck) { 2 } else { 1 };
        case.takes(&host(11_000, 1, ACK).with(b"far"), Disposition::OutOfWindow);
        let sent = case.output();
        assert_eq!(sent.len(), 1, "in {state:?}");
        assert_eq!((sent[0].flags, sent[0].ack), (ACK, HOST + next), "in {state:?}");
        assert_eq!(case.connection.state(), state);
    }
}

#[test]
fn simultaneous_close() {
    let mut case = Case::closing();
    // The host has not seen our FIN yet.
    case.takes(&host(2, 1, ACK), Disposition::Taken);
    case.is(State::Closing);
    case.takes(&host(2, 2, ACK), Disposition::Taken);
    case.is(State::TimeWait);
}

#[test]
fn simultaneous_close_with_the_hosts_fin_still_held() {
    let mut case = Case::fin_wait_1();
    case.takes(&host(1, 2, FIN_ACK), Disposition::Taken);
    case.says(&[Event::Acknowledged(0), Event::FinAcknowledged(0), Event::Fin(0)]);
    case.is(State::FinWait2);
    case.sends(&[us(2, 1, ACK)]);
    case.connection.fin_acknowledged();
    case.is(State::TimeWait);
    case.sends(&[us(2, 2, ACK)]);
}

#[test]
fn last_ack_ends_without_time_wait() {
    let mut case = Case::last_ack();
    case.takes(&host(2, 2, ACK), Disposition::Taken);
    case.says(&[Event::Acknowledged(0), Event::FinAcknowledged(0)]);
    case.is(State::Closed);
    case.sends(&[]);
    assert_eq!(case.connection.finished(), Some(Finished::Closed));
    assert_eq!(case.connection.next_timeout(), Time::NEVER);
}

#[test]
fn last_ack_repeats_its_fin() {
    let mut case = Case::last_ack();
    assert_eq!(case.wait_for_output(), [us(1, 2, FIN_ACK)]);
    case.is(State::LastAck);
}

#[test]
fn time_wait_answers_before_it_is_handed_over() {
    let mut case = Case::time_wait();
    case.takes(&host(1, 2, FIN_ACK), Disposition::Duplicate);
    case.sends(&[us(2, 2, ACK)]);
}

#[test]
fn a_reset_of_the_host_ends_every_state() {
    let cases = [
        (Case::syn_received(), 1),
        (Case::established(), 1),
        (Case::fin_wait_1(), 1),
        (Case::fin_wait_2(), 1),
        (Case::fin_held(), 2),
        (Case::close_wait(), 2),
        (Case::closing(), 2),
        (Case::last_ack(), 2),
    ];
    for (mut case, seq) in cases {
        let state = case.connection.state();
        case.takes(&host(seq, 1, RST_ACK), Disposition::Taken);
        assert_eq!(case.up.take(), [Event::Reset(ResetCause::Host)], "in {state:?}");
        assert_eq!(case.connection.finished(), Some(Finished::Closed), "in {state:?}");
        assert_eq!(case.connection.next_timeout(), Time::NEVER, "in {state:?}");
    }
}

#[test]
fn a_reset_of_ours_ends_every_state() {
    let cases: [(Case, u32, u32); 7] = [
        (Case::syn_received(), 1, 1),
        (Case::established(), 1, 1),
        (Case::fin_wait_2(), 2, 1),
        (Case::fin_held(), 1, 1),
        (Case::close_wait(), 1, 2),
        (Case::fin_wait_1(), 2, 1),
        (Case::last_ack(), 2, 2),
    ];
    for (mut case, seq, ack) in cases {
        let state = case.connection.state();
        case.connection.reset(case.now);
        let sent = case.output();
        let first = us(seq, ack, RST_ACK).window(0);
        assert_eq!(sent[0], first, "in {state:?}");
        assert_eq!(case.connection.state(), State::Resetting);
        // Repeated, then over.
        let mut resets = sent.len();
        while case.connection.finished().is_none() {
            case.wait_ns();
            resets += case.output().len();
        }
        assert!((3..=6).contains(&resets), "{resets} in {state:?}");
        assert_eq!(case.connection.next_timeout(), Time::NEVER);
    }
}

#[test]
fn a_reset_reaches_a_host_that_misses_some_of_what_was_sent() {
    let mut case = Case::in_flight(3);
    case.connection.reset(case.now);
    // With everything arrived, and with nothing.
    case.sends(&[us(nth(3), 1, RST_ACK).window(0), us(1, 1, RST_ACK).window(0)]);
    assert_eq!(case.buffers.in_use_bytes(), 0);
    // The host has some of it and challenges: the answer is exact (RFC 5961 3.2).
    case.takes(&host(1, nth(2), ACK), Disposition::Duplicate);
    case.sends(&[us(nth(2), 0, RST).window(0)]);
    // A new connection from the same port takes the place.
    case.takes(&host(99_999, 0, SYN), Disposition::Closed);
    assert_eq!(case.connection.finished(), Some(Finished::Closed));
}

#[test]
fn a_connection_that_is_over_takes_nothing() {
    let mut case = Case::last_ack();
    case.takes(&host(2, 2, ACK), Disposition::Taken);
    case.connection.grant(10);
    let slice = slice_of(&case.buffers, b"late");
    assert_eq!(case.connection.deliver(0, slice), Err(DeliverError::NotOpen));
    case.connection.reset(case.now);
    case.sends(&[]);
    assert_eq!(case.buffers.in_use_bytes(), 0);
}
