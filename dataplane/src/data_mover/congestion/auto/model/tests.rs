//! What the model believes of rounds.

use super::*;

const MBIT: u64 = 1_000_000;
const RTT_NS: u64 = 100 * MILLISECOND_NS;

fn model(rtt_ns: Option<u64>) -> Model {
    let path = PathStart { now: Time::ZERO, rtt_ns, datagram_bytes: 1_500 };
    let mut model = Model::new(10_000 * MBIT, path);
    model.set_capacity(100 * MBIT);
    model
}

/// Round `number`, with this round trip, at the capacity.
fn round(number: u64, mark: Mark, rtt_ns: u64) -> RoundSample {
    RoundSample {
        now: Time::ZERO + number * RTT_NS,
        mark,
        datagrams: 800,
        sent_bps: 100 * MBIT,
        delivered_bps: 100 * MBIT,
        passed_bps: 100 * MBIT,
        round_ns: RTT_NS,
        rtt_ns,
        rtt_last_ns: rtt_ns,
        rtt_count: 16,
        ..RoundSample::default()
    }
}

/// A round of 800 datagrams of which so many of a hundred were lost, sent at this rate.
fn lossy(mark: Mark, sent_bps: u64, lost_percent: u64) -> Settled {
    let lost_bytes = 12_000 * lost_percent;
    Settled {
        mark,
        sent_bps,
        arrived_bytes: 1_200_000 - lost_bytes,
        lost_bytes,
        rtt_ns: RTT_NS,
        rtt_count: 16,
        silent: false,
    }
}

#[test]
fn what_start_up_loses_of_more_than_ever_arrived_is_not_random() {
    let mut model = model(Some(RTT_NS));
    let mut number = 0;
    let mut learn = |model: &mut Model, sent_bps| {
        number += 1;
        let settled = Some(lossy(Mark::Startup, sent_bps, 20));
        model.on_round(&RoundSample { settled, ..round(number, Mark::Startup, RTT_NS) });
        model.loss.ppm()
    };
    assert_eq!(learn(&mut model, 130 * MBIT), 0, "a short queue is full, and not seen");
    assert_eq!(learn(&mut model, 60 * MBIT), 200_000);
}

#[test]
fn what_passes_after_start_up_and_meets_its_queue_is_what_the_path_carries() {
    let capacity_after = |mark, rtt_ns| {
        let mut model = model(Some(RTT_NS));
        // A burst of losses was in the way.
        model.filled(70 * MBIT);
        model.on_round(&round(1, mark, rtt_ns));
        model.capacity_bps()
    };
    assert_eq!(capacity_after(Mark::Startup, 2 * RTT_NS), 90 * MBIT);
    assert_eq!(capacity_after(Mark::Startup, RTT_NS), 70 * MBIT);
    assert_eq!(capacity_after(Mark::Drain, 2 * RTT_NS), 70 * MBIT);
}

/// The rounds after a dip, in which the round trip became this much shorter, until the next.
fn rounds_until_next_dip(left_ns: u64, shorter_ns: u64) -> u64 {
    let mut model = model(Some(RTT_NS));
    model.set_base(Time::ZERO, RTT_NS);
    let rtt_ns = RTT_NS + left_ns;
    let seen = round(1, Mark::ProbeRtt, rtt_ns);
    assert!(!model.seen_low(&seen, rtt_ns + shorter_ns, WHOLE / 5, false));
    (2..1_000).find(|number| model.is_base_old(Time::ZERO + number * RTT_NS)).unwrap_or(0)
}

#[test]
fn a_queue_that_may_be_none_is_looked_at_again_soon() {
    let soon = rounds_until_next_dip(8 * MILLISECOND_NS, 5 * MILLISECOND_NS);
    let ours = rounds_until_next_dip(60 * MILLISECOND_NS, 18 * MILLISECOND_NS);
    let others = rounds_until_next_dip(60 * MILLISECOND_NS, 8 * MILLISECOND_NS);
    assert_eq!(soon, BASE_DOUBTED_ROUNDS + 2);
    assert_eq!(ours, soon);
    assert_eq!(others, BASE_VALID_NS_MAX / RTT_NS + 2);
}

#[test]
fn a_little_more_than_what_filled_the_path_is_doubted_where_answers_take_long() {
    let mut model = model(Some(RTT_NS));
    let just = |model: &mut Model, bps| {
        model.set_capacity(bps);
        model.is_just_full()
    };
    assert!(!just(&mut model, 100 * MBIT), "it was never full");
    model.full(100 * MBIT);
    assert!(!just(&mut model, 99 * MBIT));
    assert!(just(&mut model, 101 * MBIT));
    assert!(!just(&mut model, 105 * MBIT));
    for number in 1..20 {
        let long = RoundSample { round_ns: 3 * RTT_NS, ..round(number, Mark::Cruise, RTT_NS) };
        model.on_round(&long);
    }
    assert!(!just(&mut model, 101 * MBIT), "before a round is over it is known");
}

#[test]
fn an_overflow_is_as_large_as_in_all_the_rounds_that_showed_it() {
    let mut model = model(Some(RTT_NS));
    for _ in 0..100 {
        model.loss.learn(&lossy(Mark::ProbeRtt, 100 * MBIT, 5), true);
    }
    let mut overflow = |lost_percent| {
        let settled = Some(lossy(Mark::Cruise, 100 * MBIT, lost_percent));
        model.overflow_ppm(&RoundSample { settled, ..round(1, Mark::Cruise, RTT_NS) })
    };
    assert_eq!(overflow(6), None);
    // 3 and then 5 of a hundred more than is lost at random, which together is more than chance.
    assert_eq!(overflow(8), None);
    assert_eq!(overflow(10), Some(40_000));
}

#[test]
fn the_round_trip_is_unknown_until_it_is_told_or_seen() {
    assert!(model(Some(RTT_NS)).is_path_known());
    let mut model = model(None);
    assert!(!model.is_path_known());
    let ack = AckSample { now: Time::ZERO, rtt_ns: Some(RTT_NS), ..AckSample::default() };
    model.on_ack(&ack);
    assert!(model.is_path_known());
    assert_eq!(model.base_ns(), RTT_NS);
}
