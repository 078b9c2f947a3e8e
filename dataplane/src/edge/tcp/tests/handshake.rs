//! Opening: LISTEN (held SYN), SYN-SENT, SYN-RECEIVED (RFC 9293 3.5 and 3.10.7).

use super::support::Event;
use super::table::*;
use crate::edge::tcp::{
    Disposition, Finished, Flags, HostParameters, MSS_DEFAULT_V4, Options, State, TcpConfig,
};
use crate::packet_driver::reset::ResetCause;
use crate::time::{SECOND_NS, Time};

fn syn_ack_options() -> Options {
    Options { mss: Some(1460), sack_permitted: true, ..Options::default() }
}

fn our_syn_options() -> Options {
    Options { window_scale: Some(8), ..syn_ack_options() }
}

#[test]
fn a_held_syn_is_answered_only_when_the_far_side_has_connected() {
    let mut case = Case::held();
    let syn = host(0, 0, SYN).options(syn_options());
    for _ in 0..3 {
        case.after_s(1);
        case.takes(&syn, Disposition::Duplicate);
        case.sends(&[]);
    }
    assert_eq!(case.connection.next_timeout(), Time::NEVER);
    case.connection.answer(case.now);
    case.sends(&[us(0, 1, SYN_ACK).options(syn_ack_options())]);
    case.is(State::SynReceived);
    case.takes(&host(1, 1, ACK), Disposition::Taken);
    case.is(State::Established);
    case.says(&[]);
}

#[test]
fn a_held_syn_says_what_the_host_offers() {
    let options = Options {
        mss: Some(8960),
        window_scale: Some(9),
        sack_permitted: true,
        ..Options::default()
    };
    let case = Case::held_with(plain_config(), options);
    let expected = HostParameters {
        mss: 8960,
        window_scale: Some(9),
        sack_permitted: true,
        timestamps: false,
    };
    assert_eq!(case.connection.host_parameters(), expected);
}

#[test]
fn nothing_but_its_own_reset_ends_a_held_syn() {
    let mut case = Case::held();
    case.takes(&host(1, 7, ACK), Disposition::Unexpected);
    case.takes(&host(1, 1, FIN_ACK), Disposition::Unexpected);
    case.takes(&host(0, 7, SYN_ACK), Disposition::Unexpected);
    case.takes(&host(500, 0, RST), Disposition::OutOfWindow);
    case.sends(&[]);
    case.is(State::Held);
    case.takes(&host(1, 0, RST), Disposition::Taken);
    case.says(&[Event::Reset(ResetCause::Host)]);
    assert_eq!(case.connection.finished(), Some(Finished::Closed));
}

#[test]
fn a_new_syn_from_the_same_port_replaces_the_held_one() {
    let mut case = Case::held();
    case.takes(&host(70_000, 0, SYN).options(syn_options()), Disposition::Taken);
    case.connection.answer(case.now);
    let answer = us(0, 70_001, SYN_ACK);
    let sent = case.output();
    assert_eq!((sent[0].seq, sent[0].ack, sent[0].flags), (answer.seq, answer.ack, answer.flags));
}

#[test]
fn a_refused_port_is_refused() {
    let mut case = Case::held();
    case.connection.reset(case.now);
    let mut refusal = us(0, 1, RST_ACK).window(0);
    refusal.seq = 0;
    case.sends(std::slice::from_ref(&refusal));
    // Lost: the host asks again.
    case.takes(&host(0, 0, SYN), Disposition::Duplicate);
    case.sends(&[refusal]);
}

#[test]
fn silence_stays_silence() {
    let mut case = Case::held();
    case.connection.abandon();
    case.sends(&[]);
    assert_eq!(case.connection.finished(), Some(Finished::Closed));
}

#[test]
fn a_syn_ack_offers_only_what_the_syn_did() {
    let cases = [
        (Options::default(), Options { mss: Some(1460), ..Options::default() }),
        (
            Options { window_scale: Some(0), ..Options::default() },
            Options { mss: Some(1460), window_scale: Some(8), ..Options::default() },
        ),
        (syn_options(), syn_ack_options()),
    ];
    for (offered, answered) in cases {
        let mut case = Case::held_with(TcpConfig::for_mtu(1500, true), offered);
        case.connection.answer(case.now);
        case.sends(&[us(0, 1, SYN_ACK).options(answered)]);
    }
}

#[test]
fn a_syn_ack_is_repeated_with_back_off_and_then_given_up() {
    let mut case = Case::syn_received();
    for retry in 0..5 {
        assert_eq!(case.wait_ns(), SECOND_NS << retry);
        case.sends(&[us(0, 1, SYN_ACK).options(syn_ack_options())]);
    }
    case.wait_ns();
    case.says(&[Event::Reset(ResetCause::HostGone)]);
    case.is(State::Resetting);
}

#[test]
fn a_repeated_syn_gets_the_syn_ack_again() {
    let mut case = Case::syn_received();
    case.takes(&host(0, 0, SYN).options(syn_options()), Disposition::Duplicate);
    case.sends(&[us(0, 1, SYN_ACK).options(syn_ack_options())]);
    case.is(State::SynReceived);
}

#[test]
fn syn_received_takes_only_the_acknowledgement_of_its_syn() {
    for ack in [0, 2, 0x8000_0001, u32::MAX] {
        let mut case = Case::syn_received();
        case.takes(&host(1, ack, ACK), Disposition::UnacceptableAck);
        case.sends(&[us(ack, 0, RST).window(0)]);
        case.is(State::SynReceived);
        case.takes(&host(1, 1, ACK), Disposition::Taken);
        case.is(State::Established);
    }
}

#[test]
fn syn_received_is_reset_by_an_exact_reset() {
    let mut case = Case::syn_received();
    case.takes(&host(1 + 20_000, 0, RST), Disposition::OutOfWindow);
    case.takes(&host(2, 0, RST), Disposition::Challenged);
    case.output();
    case.is(State::SynReceived);
    case.takes(&host(1, 0, RST), Disposition::Taken);
    case.says(&[Event::Reset(ResetCause::Host)]);
    case.is(State::Closed);
}

#[test]
fn syn_received_answers_what_is_unacceptable() {
    let mut case = Case::syn_received();
    case.takes(&host(2, 0, RST), Disposition::Challenged);
    case.sends(&[us(1, 1, ACK)]);
    case.takes(&host(20_000, 1, ACK).with(b"far"), Disposition::OutOfWindow);
    case.sends(&[us(1, 1, ACK)]);
    // The host has begun anew: it resets what it does not know, and then tries again.
    case.takes(&host(70_000, 0, SYN).options(syn_options()), Disposition::Challenged);
    case.sends(&[us(1, 1, ACK)]);
    case.takes(&host(1, 0, RST), Disposition::Taken);
    case.is(State::Closed);
}

#[test]
fn the_last_packet_of_the_handshake_may_bring_data_and_the_end() {
    let mut case = Case::syn_received();
    case.takes(&host(1, 1, FIN_ACK).with(b"hi"), Disposition::Taken);
    case.says(&[Event::Data(0, b"hi".to_vec()), Event::Fin(2)]);
    case.sends(&[us(1, 3, ACK)]);
}

#[test]
fn data_in_a_syn_is_not_taken() {
    let options = syn_options();
    let mut case = Case::held_with(plain_config(), options);
    case.takes(&host(0, 0, SYN).options(options).with(b"cookie"), Disposition::Duplicate);
    case.connection.answer(case.now);
    case.sends(&[us(0, 1, SYN_ACK).options(syn_ack_options())]);
    case.takes(&host(1, 1, ACK).with(b"cookie"), Disposition::Taken);
    case.says(&[Event::Data(0, b"cookie".to_vec())]);
}

#[test]
fn connects_and_tells_what_the_host_offers() {
    let mut case = Case::syn_sent();
    case.takes(&host(0, 1, SYN_ACK).options(syn_options()), Disposition::Taken);
    let parameters = HostParameters { mss: MSS, sack_permitted: true, ..HostParameters::default() };
    case.says(&[Event::Established(parameters)]);
    case.sends(&[us(1, 1, ACK)]);
    case.is(State::Established);
}

#[test]
fn a_syn_is_repeated_with_back_off_and_silence_is_told() {
    let mut case = Case::syn_sent();
    for retry in 0..5 {
        assert_eq!(case.wait_ns(), SECOND_NS << retry);
        case.sends(&[us(0, 0, SYN).window(10_000).options(our_syn_options())]);
    }
    assert_eq!(case.wait_ns(), SECOND_NS << 5);
    case.says(&[Event::Refused(ResetCause::Silence)]);
    case.sends(&[]);
    assert_eq!(case.connection.finished(), Some(Finished::Closed));
}

#[test]
fn syn_sent_is_refused_only_by_a_reset_that_acknowledges_the_syn() {
    let mut case = Case::syn_sent();
    case.takes(&host(0, 0, RST), Disposition::Unexpected);
    case.takes(&host(0, 2, RST_ACK), Disposition::UnacceptableAck);
    case.takes(&host(0, 0, RST_ACK), Disposition::UnacceptableAck);
    case.says(&[]);
    case.sends(&[]);
    case.is(State::SynSent);
    case.takes(&host(0, 1, RST_ACK), Disposition::Taken);
    case.says(&[Event::Refused(ResetCause::Refused)]);
    case.is(State::Closed);
}

#[test]
fn syn_sent_resets_an_acknowledgement_of_what_was_not_sent() {
    for (flags, ack) in [(ACK, 0), (ACK, 2), (SYN_ACK, 2), (SYN_ACK, 0), (FIN_ACK, 77)] {
        let mut case = Case::syn_sent();
        case.takes(&host(0, ack, flags), Disposition::UnacceptableAck);
        case.sends(&[us(ack, 0, RST).window(0)]);
        case.is(State::SynSent);
    }
}

#[test]
fn syn_sent_ignores_what_is_neither_syn_nor_reset() {
    let mut case = Case::syn_sent();
    case.takes(&host(0, 1, ACK), Disposition::Unexpected);
    case.takes(&host(0, 0, Flags::FIN), Disposition::Unexpected);
    case.sends(&[]);
    case.is(State::SynSent);
}

#[test]
fn simultaneous_open() {
    let mut case = Case::syn_sent();
    case.takes(&host(0, 0, SYN).options(syn_options()), Disposition::Taken);
    case.is(State::SynReceived);
    case.sends(&[us(0, 1, SYN_ACK).options(syn_ack_options())]);
    // The host's SYN-ACK, sent when our SYN reached it, completes it.
    case.takes(&host(0, 1, SYN_ACK).options(syn_options()), Disposition::Taken);
    case.is(State::Established);
    case.sends(&[us(1, 1, ACK)]);
    assert!(matches!(case.up.take()[..], [Event::Established(_)]));
}

#[test]
fn simultaneous_open_completed_by_an_acknowledgement() {
    let mut case = Case::syn_sent();
    case.takes(&host(0, 0, SYN).options(syn_options()), Disposition::Taken);
    case.output();
    case.takes(&host(1, 1, ACK), Disposition::Taken);
    case.is(State::Established);
    assert!(matches!(case.up.take()[..], [Event::Established(_)]));
}

#[test]
fn queued_data_wait_for_the_handshake() {
    let mut case = Case::syn_sent();
    case.deliver(b"early");
    case.sends(&[]);
    case.takes(&host(0, 1, SYN_ACK).options(syn_options()), Disposition::Taken);
    case.sends(&[us(1, 1, PSH_ACK).with(b"early")]);
}

#[test]
fn a_reset_of_a_connection_that_is_not_there_yet() {
    let mut case = Case::syn_sent();
    case.connection.reset(case.now);
    case.sends(&[us(1, 0, RST).window(0)]);
}

#[test]
fn a_host_without_mss_gets_the_default() {
    let cases = [(None, MSS_DEFAULT_V4), (Some(1300), 1300), (Some(9000), 1460), (Some(0), 64)];
    for (mss, expected) in cases {
        let options = Options { mss, ..Options::default() };
        let mut case = Case::established_with(plain_config(), options);
        assert_eq!(case.connection.report().segment_size, expected);
        case.deliver(&[1; 3000]);
        let sent = case.output();
        assert_eq!(sent[0].payload.len(), usize::from(expected));
    }
    let v6 = TcpConfig { timestamps: false, ..TcpConfig::for_mtu(1500, false) };
    let case = Case::established_with(v6, Options::default());
    assert_eq!(case.connection.report().segment_size, 1220);
}

#[test]
fn windows_of_the_handshake_are_not_scaled_and_all_others_are() {
    let options = Options { window_scale: Some(3), ..syn_options() };
    let mut case = Case::held_with(plain_config(), options);
    case.connection.set_receive_limit(1_000_000);
    case.connection.answer(case.now);
    let sent = case.output();
    assert_eq!(sent[0].window, u16::MAX);
    case.takes(&host(1, 1, ACK).window(1000), Disposition::Taken);
    assert_eq!(case.connection.report().host_window, 8000);
    case.takes(&host(1, 1, ACK).with(&[1; 10]), Disposition::Taken);
    case.after_ms(5);
    let sent = case.output();
    // Rounded down: up would be beyond what may be received.
    assert_eq!(u32::from(sent[0].window), 999_990 / 256);
}

#[test]
fn scaling_needs_both_sides() {
    let mut case = Case::held();
    case.connection.set_receive_limit(1_000_000);
    case.connection.answer(case.now);
    case.output();
    case.takes(&host(1, 1, ACK).with(&[1; 10]), Disposition::Taken);
    case.after_ms(5);
    assert_eq!(case.output()[0].window, u16::MAX);
}

#[test]
fn a_window_with_the_top_bit_set_is_large_not_negative() {
    let mut case = Case::established();
    case.takes(&host(1, 1, ACK).window(0x8000), Disposition::Taken);
    assert_eq!(case.connection.report().host_window, 0x8000);
    case.takes(&host(1, 1, ACK).window(0xffff), Disposition::Taken);
    assert_eq!(case.connection.report().host_window, 0xffff);
}

#[test]
fn no_state_grows_beyond_its_limit() {
    assert!(size_of::<super::support::TestConnection>() <= 1024);
}
