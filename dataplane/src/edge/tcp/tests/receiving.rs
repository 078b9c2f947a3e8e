//! Bytes from the host: order, acknowledgements, the window we offer, blind attacks.

use super::support::Event;
use super::table::*;
use crate::edge::tcp::{Disposition, Options, State, TcpConfig};
use crate::packet_driver::reset::ResetCause;
use crate::time::{MILLISECOND_NS, SECOND_NS, Time};

fn data(offset: u64, bytes: &[u8]) -> Event {
    Event::Data(offset, bytes.to_vec())
}

#[test]
fn a_lone_segment_is_acknowledged_after_a_short_wait() {
    let mut case = Case::established();
    case.takes(&host(1, 1, ACK).with(b"abc"), Disposition::Taken);
    case.says(&[data(0, b"abc")]);
    case.sends(&[]);
    assert_eq!(case.wait_ns(), 2 * MILLISECOND_NS);
    case.sends(&[us(1, 4, ACK)]);
}

#[test]
fn every_second_full_segment_is_acknowledged_at_once() {
    let mut case = Case::established();
    let full = [7; MSS as usize];
    case.takes(&host(1, 1, ACK).with(&full), Disposition::Taken);
    case.sends(&[]);
    case.takes(&host(nth(1), 1, ACK).with(&full), Disposition::Taken);
    case.sends(&[us(1, nth(2), ACK)]);
    case.takes(&host(nth(2), 1, ACK).with(&full), Disposition::Taken);
    case.sends(&[]);
}

#[test]
fn an_acknowledgement_rides_on_data() {
    let mut case = Case::established();
    case.takes(&host(1, 1, ACK).with(b"ping"), Disposition::Taken);
    case.deliver(b"pong");
    case.sends(&[us(1, 5, PSH_ACK).with(b"pong")]);
    case.after_ms(10);
    case.sends(&[]);
}

#[test]
fn out_of_order_segments_wait_and_are_reported() {
    let mut case = Case::established();
    case.takes(&host(4, 1, ACK).with(b"def"), Disposition::Taken);
    case.sends(&[us(1, 1, ACK).sack_host(&[(4, 7)])]);
    case.takes(&host(10, 1, ACK).with(b"jkl"), Disposition::Taken);
    case.sends(&[us(1, 1, ACK).sack_host(&[(10, 13), (4, 7)])]);
    case.takes(&host(7, 1, ACK).with(b"ghi"), Disposition::Taken);
    case.sends(&[us(1, 1, ACK).sack_host(&[(4, 13)])]);
    case.says(&[]);
    assert_eq!(case.frames.in_use(), 3);
    case.takes(&host(1, 1, ACK).with(b"abc"), Disposition::Taken);
    case.says(&[data(0, b"abc"), data(3, b"def"), data(6, b"ghi"), data(9, b"jkl")]);
    case.sends(&[us(1, 13, ACK)]);
    assert_eq!(case.frames.in_use(), 0);
}

#[test]
fn the_latest_block_is_reported_first() {
    let mut case = Case::established();
    for seq in [100, 200, 300, 400, 500] {
        case.takes(&host(seq, 1, ACK).with(b"x"), Disposition::Taken);
        case.output();
    }
    case.takes(&host(201, 1, ACK).with(b"x"), Disposition::Taken);
    let blocks = [(200, 202), (500, 501), (400, 401), (300, 301)];
    case.sends(&[us(1, 1, ACK).sack_host(&blocks)]);
}

#[test]
fn a_host_without_sack_gets_a_duplicate_for_each_segment_behind_a_gap() {
    let mut case = Case::established_without_sack();
    for seq in [100, 200, 300] {
        case.takes(&host(seq, 1, ACK).with(b"x"), Disposition::Taken);
    }
    case.sends(&[us(1, 1, ACK), us(1, 1, ACK), us(1, 1, ACK)]);
}

#[test]
fn duplicates_are_acknowledged_and_reported() {
    let mut case = Case::established();
    case.takes(&host(1, 1, ACK).with(b"abcdef"), Disposition::Taken);
    case.says(&[data(0, b"abcdef")]);
    case.after_ms(2);
    case.sends(&[us(1, 7, ACK)]);
    case.takes(&host(1, 1, ACK).with(b"abcdef"), Disposition::OutOfWindow);
    case.sends(&[us(1, 7, ACK)]);
    // Half old, half new: only the new goes up.
    case.takes(&host(4, 1, ACK).with(b"defghi"), Disposition::Taken);
    case.says(&[data(6, b"ghi")]);
    case.sends(&[us(1, 10, ACK).sack_host(&[(4, 7)])]);
}

#[test]
fn overlaps_behind_a_gap_keep_each_byte_once() {
    let mut case = Case::established();
    case.takes(&host(5, 1, ACK).with(b"efgh"), Disposition::Taken);
    case.takes(&host(7, 1, ACK).with(b"ghijk"), Disposition::Taken);
    case.takes(&host(4, 1, ACK).with(b"defghijkl"), Disposition::Taken);
    case.takes(&host(5, 1, ACK).with(b"ef"), Disposition::Duplicate);
    case.takes(&host(1, 1, ACK).with(b"abc"), Disposition::Taken);
    case.says(&[data(0, b"abc"), data(3, b"d"), data(4, b"efgh"), data(8, b"ijk")]);
    case.takes(&host(12, 1, ACK).with(b"l"), Disposition::Taken);
    case.says(&[data(11, b"l")]);
    assert_eq!(case.frames.in_use(), 0);
}

#[test]
fn frames_behind_a_gap_are_bounded() {
    let config = TcpConfig { held_frames_max: 2, ..plain_config() };
    let mut case = Case::established_with(config, syn_options());
    case.takes(&host(100, 1, ACK).with(b"x"), Disposition::Taken);
    case.takes(&host(200, 1, ACK).with(b"x"), Disposition::Taken);
    case.takes(&host(300, 1, ACK).with(b"x"), Disposition::NoRoom);
    assert_eq!(case.frames.in_use(), 2);
    case.sends(&[us(1, 1, ACK).sack_host(&[(200, 201), (100, 101)])]);
    case.connection.discard_held_frames(2);
    assert_eq!(case.frames.in_use(), 0);
}

#[test]
fn what_was_discarded_behind_a_gap_is_not_reported_and_taken_again() {
    let mut case = Case::established();
    case.takes(&host(4, 1, ACK).with(b"def"), Disposition::Taken);
    case.takes(&host(10, 1, ACK).with(b"jkl"), Disposition::Taken);
    case.sends(&[us(1, 1, ACK).sack_host(&[(10, 13), (4, 7)])]);
    assert_eq!(case.connection.discard_held_frames(1), 1);
    assert_eq!(case.frames.in_use(), 1);
    // Of what was reported before, only what is still here (RFC 2018 section 8).
    case.takes(&host(4, 1, ACK).with(b"def"), Disposition::Duplicate);
    case.sends(&[us(1, 1, ACK).sack_host(&[(4, 7), (4, 7)])]);
    case.takes(&host(1, 1, ACK).with(b"abc"), Disposition::Taken);
    case.says(&[data(0, b"abc"), data(3, b"def")]);
    case.sends(&[us(1, 7, ACK)]);
    case.takes(&host(7, 1, ACK).with(b"ghi"), Disposition::Taken);
    case.takes(&host(10, 1, ACK).with(b"jkl"), Disposition::Taken);
    case.says(&[data(6, b"ghi"), data(9, b"jkl")]);
    assert_eq!(case.connection.discard_held_frames(9), 0);
}

#[test]
fn data_outside_the_window_are_answered_and_dropped() {
    let limit = u32::try_from(LIMIT).unwrap();
    for seq in [1 + limit, 2 + limit, 0x8000_0000, u32::MAX - 500] {
        let mut case = Case::established();
        case.takes(&host(seq, 1, ACK).with(b"far"), Disposition::OutOfWindow);
        case.says(&[]);
        case.sends(&[us(1, 1, ACK)]);
    }
    // The last byte of the window is in it, the one behind is not.
    let mut case = Case::established();
    case.takes(&host(limit, 1, ACK).with(b"yn"), Disposition::Taken);
    case.sends(&[us(1, 1, ACK).sack_host(&[(limit, limit + 1)])]);
}

#[test]
fn unacceptable_acknowledgements_are_answered_and_dropped() {
    // Of what was not sent, and of what is older than any window (RFC 5961 5.2).
    for ack in [2, 1000, 0x7fff_ffff, 0u32.wrapping_sub(u32::from(WINDOW))] {
        let mut case = Case::established();
        case.takes(&host(1, ack, ACK).with(b"evil"), Disposition::UnacceptableAck);
        case.says(&[]);
        case.sends(&[us(1, 1, ACK)]);
    }
    let mut case = Case::in_flight(8);
    case.takes(&host(1, nth(8), ACK), Disposition::Taken);
    case.send_segments(1);
    case.takes(&host(1, 0, ACK).with(b"evil"), Disposition::UnacceptableAck);
    case.sends(&[us(nth(9), 1, ACK)]);
    case.takes(&host(1, 1, ACK).with(b"fine"), Disposition::Taken);
    // An old one within a window of the present says nothing, its data count.
    let mut case = Case::established();
    case.takes(&host(1, 0, ACK).with(b"fine"), Disposition::Taken);
    case.says(&[data(0, b"fine")]);
}

#[test]
fn a_segment_without_ack_is_dropped() {
    let mut case = Case::established();
    let packet = host(1, 0, crate::edge::tcp::Flags::PSH).with(b"no ack");
    case.takes(&packet, Disposition::Unexpected);
    case.says(&[]);
    case.sends(&[]);
}

#[test]
fn a_reset_must_be_exact() {
    let mut case = Case::established();
    let limit = u32::try_from(LIMIT).unwrap();
    for seq in [2, 500, limit] {
        case.takes(&host(seq, 0, RST), Disposition::Challenged);
        case.sends(&[us(1, 1, ACK)]);
    }
    for seq in [0, limit + 1, 0x8000_0000] {
        case.takes(&host(seq, 0, RST), Disposition::OutOfWindow);
        case.sends(&[]);
    }
    case.is(State::Established);
    case.takes(&host(1, 0, RST), Disposition::Taken);
    case.says(&[Event::Reset(ResetCause::Host)]);
    case.is(State::Closed);
    assert_eq!(case.connection.next_timeout(), Time::NEVER);
    case.takes(&host(1, 1, ACK), Disposition::Closed);
}

#[test]
fn a_reset_discards_what_is_queued() {
    let mut case = Case::established();
    case.deliver(&[1; 5000]);
    case.output();
    case.takes(&host(100, 1, ACK).with(b"x"), Disposition::Taken);
    case.takes(&host(1, 0, RST_ACK), Disposition::Taken);
    assert_eq!(case.buffers.in_use_bytes(), 0);
    assert_eq!(case.frames.in_use(), 0);
}

#[test]
fn a_syn_on_a_live_connection_is_challenged() {
    let mut case = Case::established();
    for seq in [0, 1, 500, 0x8000_0000] {
        case.takes(&host(seq, 0, SYN).options(syn_options()), Disposition::Challenged);
        case.sends(&[us(1, 1, ACK)]);
    }
    case.is(State::Established);
}

#[test]
fn challenges_are_limited_per_second() {
    let config = TcpConfig { challenge_acks_per_second: 3, ..plain_config() };
    let mut case = Case::established_with(config, syn_options());
    let mut answers = 0;
    for _ in 0..10 {
        case.takes(&host(2, 0, RST), Disposition::Challenged);
        answers += case.output().len();
    }
    assert_eq!(answers, 3);
    case.after_s(1);
    case.takes(&host(2, 0, RST), Disposition::Challenged);
    assert_eq!(case.output().len(), 1);
}

#[test]
fn a_keepalive_of_the_host_is_answered() {
    let mut case = Case::established();
    case.takes(&host(0, 1, ACK), Disposition::OutOfWindow);
    case.sends(&[us(1, 1, ACK)]);
    case.takes(&host(0, 1, ACK).with(b"?"), Disposition::OutOfWindow);
    case.sends(&[us(1, 1, ACK)]);
}

#[test]
fn the_far_side_hears_of_keepalives_once_a_second() {
    let mut case = Case::established();
    case.takes(&host(0, 1, ACK), Disposition::OutOfWindow);
    case.takes(&host(0, 1, ACK).with(b"?"), Disposition::OutOfWindow);
    case.says(&[Event::Asked]);
    case.after_s(1);
    // Not what came before that, whole retransmissions, or data.
    case.takes(&host(1, 1, ACK).with(b"abc"), Disposition::Taken);
    case.takes(&host(1, 1, ACK).with(b"abc"), Disposition::OutOfWindow);
    case.takes(&host(2, 1, ACK), Disposition::OutOfWindow);
    case.says(&[data(0, b"abc")]);
    case.takes(&host(3, 1, ACK), Disposition::OutOfWindow);
    case.says(&[Event::Asked]);
}

#[test]
fn a_host_that_the_far_host_asks_for_has_to_answer() {
    let config = TcpConfig { keepalive_probes: 3, ..plain_config() };
    let mut case = Case::established_with(config.clone(), syn_options());
    case.ask();
    case.sends(&[us(0, 1, ACK)]);
    case.takes(&host(1, 1, RST), Disposition::Taken);
    case.says(&[Event::Reset(ResetCause::Host)]);

    let mut case = Case::established_with(config, syn_options());
    for _ in 0..3 {
        case.ask();
        case.sends(&[us(0, 1, ACK)]);
        case.takes(&host(1, 1, ACK), Disposition::Taken);
        case.after_s(1);
    }
    for _ in 0..3 {
        case.ask();
        case.sends(&[us(0, 1, ACK)]);
        // Held up on their way, these come together: the host could not answer yet.
        for _ in 0..10 {
            case.ask();
            case.sends(&[]);
        }
        case.after_s(1);
    }
    case.ask();
    case.says(&[Event::Reset(ResetCause::HostGone)]);
}

#[test]
fn urgent_data_stay_in_line() {
    let mut case = Case::established();
    let urgent = crate::edge::tcp::Flags::URG;
    case.takes(&host(1, 1, ACK.with(urgent)).with(b"now!"), Disposition::Taken);
    case.says(&[data(0, b"now!")]);
}

#[test]
fn the_window_closes_as_bytes_come_and_opens_with_the_limit() {
    let mut case = Case::established();
    let full = [7; MSS as usize];
    for n in 0..10 {
        case.takes(&host(nth(n), 1, ACK).with(&full), Disposition::Taken);
    }
    case.sends(&[us(1, nth(10), ACK).window(0)]);
    // A probe of the closed window is answered, its byte not taken.
    for _ in 0..3 {
        case.after_s(20);
        case.takes(&host(nth(10), 1, ACK).with(b"?"), Disposition::OutOfWindow);
        case.sends(&[us(1, nth(10), ACK).window(0)]);
    }
    case.up.take();
    // Less than a segment of room is no news (silly window).
    case.connection.set_receive_limit(LIMIT + 500);
    case.sends(&[]);
    case.connection.set_receive_limit(LIMIT + 1459);
    case.sends(&[]);
    case.connection.set_receive_limit(LIMIT + 1460);
    case.sends(&[us(1, nth(10), ACK).window(1460)]);
    // A bit more is no news either; a doubling is.
    case.connection.set_receive_limit(LIMIT + 2000);
    case.sends(&[]);
    case.connection.set_receive_limit(LIMIT + 4000);
    case.sends(&[us(1, nth(10), ACK).window(4000)]);
}

#[test]
fn a_closed_window_still_takes_acknowledgements_and_resets() {
    let mut case = Case::established();
    case.takes(&host(1, 1, ACK).with(&[1; 1400]), Disposition::Taken);
    for n in 0..6 {
        case.takes(&host(1401 + n * 1400, 1, ACK).with(&[1; 1400]), Disposition::Taken);
    }
    case.takes(&host(9801, 1, ACK).with(&[1; 300]), Disposition::Taken);
    case.up.take();
    case.deliver(b"reply");
    case.sends(&[us(1, 10_001, PSH_ACK).with(b"reply").window(0)]);
    // On a probe, and bare.
    case.takes(&host(10_001, 6, ACK).with(b"?"), Disposition::OutOfWindow);
    case.says(&[Event::Acknowledged(5)]);
    case.takes(&host(10_001, 0, RST), Disposition::Taken);
    case.is(State::Closed);
}

#[test]
fn the_right_edge_never_moves_back() {
    for scale in [None, Some(0)] {
        let options = Options { window_scale: scale, ..syn_options() };
        let mut case = Case::established_with(plain_config(), options);
        let shift = if scale.is_some() { 8 } else { 0 };
        let mut edge = 0;
        let mut seq = 1;
        let mut limit = LIMIT;
        for n in 1..=200_u32 {
            let len = 1 + (n * 7919) % 137;
            case.takes(&host(seq, 1, ACK).with(&vec![0; len as usize]), Disposition::Taken);
            seq += len;
            limit += u64::from((n * 31) % 200);
            case.connection.set_receive_limit(limit);
            case.connection.set_receive_limit(limit / 2);
            case.after_ms(3);
            for packet in case.output() {
                let told = u64::from(packet.ack - HOST) + (u64::from(packet.window) << shift);
                // Only the granularity of the scale may show, at the very limit (RFC 7323 2.4).
                assert!(told + (1 << shift) > edge, "{told} after {edge}");
                assert!(told <= limit + 1);
                edge = edge.max(told);
            }
        }
        assert!(edge > LIMIT);
    }
}

#[test]
fn the_offered_window_has_a_limit_of_its_own() {
    let config = TcpConfig { receive_window_max: 20_000, ..plain_config() };
    let mut case = Case::established_with(config, syn_options());
    case.connection.set_receive_limit(1 << 40);
    case.sends(&[us(1, 1, ACK).window(20_000)]);
}

#[test]
fn a_silent_host_is_asked_and_given_up() {
    let config = TcpConfig {
        keepalive_idle_ns: Some(100 * SECOND_NS),
        keepalive_interval_ns: 10 * SECOND_NS,
        keepalive_probes: 3,
        ..plain_config()
    };
    let mut case = Case::established_with(config, syn_options());
    assert_eq!(case.wait_ns(), 100 * SECOND_NS);
    case.sends(&[us(0, 1, ACK)]);
    case.takes(&host(1, 1, ACK), Disposition::Taken);
    let mut waited = 0;
    let mut probes = 0;
    while case.connection.state() == State::Established {
        waited += case.wait_ns();
        probes += case.output().len();
    }
    assert_eq!(waited, 130 * SECOND_NS);
    // Three probes, and the reset.
    assert_eq!(probes, 4);
    case.says(&[Event::Reset(ResetCause::HostGone)]);
}

#[test]
fn nothing_happens_on_an_idle_connection() {
    let config = TcpConfig { keepalive_idle_ns: None, ..plain_config() };
    let mut case = Case::established_with(config, syn_options());
    case.deliver(b"x");
    case.output();
    case.takes(&host(1, 2, ACK), Disposition::Taken);
    case.sends(&[]);
    // The memory of the queues goes back, then silence.
    case.wait_ns();
    case.sends(&[]);
    assert_eq!(case.connection.next_timeout(), Time::NEVER);
    assert!(case.connection.is_idle());
    assert_eq!(case.buffers.in_use_bytes(), 0);
}
