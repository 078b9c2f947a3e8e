//! `auto` through what happens to a path: start-up, changes, silence, little to send.

use super::super::{Congestion, Mark, MoverCounter as C, PeerConfig};
use super::harness::{Link, MBIT, World, config};
use crate::packet_driver::BufferKind;
use crate::time::MILLISECOND_NS;

const BULK: (usize, usize) = (60_000, 65_536);
/// Half of the round trip.
const DELAY_NS: u64 = 40 * MILLISECOND_NS;

/// A pair that finds its rate, on a path of this capacity; room for ten times as much.
fn world(link_bps: u64, hint_bps: Option<u64>, loss: u64, seed: u64) -> World {
    let congestion = Congestion::Auto { hint_bps, rate_bps_max: 1_000 * MBIT };
    let config = PeerConfig { congestion, ..config(1_000 * MBIT) };
    World::new(config, Link::new(link_bps, DELAY_NS, loss), seed)
}

fn bulk(link_bps: u64, loss: u64, seed: u64) -> World {
    let mut world = world(link_bps, None, loss, seed);
    world.source(0, BufferKind::Stream, BULK, u64::MAX);
    world
}

fn capacity_mbps(world: &World) -> f64 {
    world.sides[0].session.report().capacity_bps as f64 / MBIT as f64
}

/// Share of the capacity that arrives within the next `ms`, by the counters of datagrams.
fn arriving(world: &mut World, ms: u64) -> f64 {
    let before = world.sides[1].get(C::BytesIn);
    world.run_ms(ms);
    let bytes = world.sides[1].get(C::BytesIn) - before;
    bytes as f64 * 8_000.0 / ms as f64 / world.sides[0].link.rate_bps as f64
}

/// Round trips until the path is full.
fn rounds_until_full(world: &mut World) -> u64 {
    while !world.sides.iter().all(|side| side.is_up()) {
        world.run_ms(1);
    }
    (1..40).find(|_| arriving(world, 80) > 0.9).unwrap_or(40)
}

#[test]
fn start_up_doubles_every_round_trip_and_a_hint_shortens_it() {
    // 200 Mb/s and 80 ms are 1,366 datagrams: from 10 of them it takes 7 doublings.
    let mut world = bulk(200 * MBIT, 0, 1);
    let rounds = rounds_until_full(&mut world);
    assert!(rounds <= 9, "{rounds}");
    world = self::world(200 * MBIT, Some(200 * MBIT), 0, 1);
    world.source(0, BufferKind::Stream, BULK, u64::MAX);
    let rounds = rounds_until_full(&mut world);
    assert!(rounds <= 4, "{rounds} with a hint");
}

#[test]
fn a_wrong_hint_does_no_harm() {
    for hint_mbps in [2, 900] {
        let mut world = world(50 * MBIT, Some(hint_mbps * MBIT), 0, 2);
        world.source(0, BufferKind::Stream, BULK, u64::MAX);
        world.run_ms(4_000);
        let eta = world.eta(0, 4_000);
        assert!(eta >= 0.97, "{eta} after a hint of {hint_mbps}");
    }
}

#[test]
fn random_loss_does_not_reduce_the_rate() {
    for (loss, eta_min) in [(0, 0.98), (10_000, 0.98), (100_000, 0.95), (200_000, 0.90)] {
        let mut world = bulk(50 * MBIT, loss, 3);
        world.run_ms(4_000);
        let eta = world.eta(loss, 8_000);
        println!("loss {loss}: eta {eta:.4} {:?}", world.sides[0].session.report());
        assert!(eta >= eta_min, "{eta} at {loss}");
    }
}

#[test]
fn a_path_that_carries_less_is_followed_at_once() {
    let mut world = bulk(100 * MBIT, 1_000, 4);
    world.run_ms(4_000);
    world.links(|link| link.rate_bps = 20 * MBIT);
    world.run_ms(2_000);
    assert!(capacity_mbps(&world) < 22.0, "{}", capacity_mbps(&world));
    world.run_ms(2_000);
    let lost = world.sides[0].get(C::DatagramsLost);
    let sent = world.sides[0].get(C::DatagramsOut);
    assert!(arriving(&mut world, 4_000) >= 0.97);
    let lost = (world.sides[0].get(C::DatagramsLost) - lost) as f64;
    let share = lost / (world.sides[0].get(C::DatagramsOut) - sent) as f64;
    assert!(share < 0.02, "{share} is lost");
}

#[test]
fn a_path_that_carries_more_is_found() {
    let mut world = bulk(20 * MBIT, 1_000, 5);
    world.run_ms(4_000);
    world.links(|link| link.rate_bps = 200 * MBIT);
    // Ten times as much: a probe every nine round trips until one succeeds, then one every two.
    world.run_ms(4_000);
    let share = arriving(&mut world, 2_000);
    assert!(share >= 0.9, "{share} {:?}", world.sides[0].session.report());
}

#[test]
fn a_black_hole_of_five_seconds_is_survived() {
    let mut world = bulk(100 * MBIT, 0, 6);
    world.run_ms(4_000);
    let before = capacity_mbps(&world);
    world.links(|link| link.cut = true);
    world.run_ms(5_000);
    assert!(world.sides[0].heard.downs.is_empty());
    world.links(|link| link.cut = false);
    world.run_ms(1_000);
    let share = arriving(&mut world, 2_000);
    assert!(share >= 0.95, "{share}, {before} before, {:?}", world.sides[0].session.report());
    assert!(world.sides[0].session.report().random_loss_ppm < 5_000);
}

#[test]
fn what_was_idle_begins_at_the_known_rate_and_without_a_burst() {
    let mut world = world(50 * MBIT, None, 0, 7);
    world.source(0, BufferKind::Stream, BULK, 500);
    assert!(world.run_until_done(20_000));
    world.run_ms(3_000);
    world.links(|link| link.queue_bytes = 6_000);
    let lost = world.sides[0].get(C::DatagramsLost);
    world.source(0, BufferKind::Stream, BULK, 60);
    world.run_ms(300);
    assert!(capacity_mbps(&world) > 45.0, "{}", capacity_mbps(&world));
    assert_eq!(world.sides[0].get(C::DatagramsLost), lost, "no burst");
    assert!(world.run_until_done(2_000));
}

#[test]
fn little_to_send_says_nothing_about_the_path() {
    let mut world = bulk(50 * MBIT, 0, 8);
    world.run_ms(4_000);
    world.sides[0].sources.clear();
    // A tenth of the capacity, for long.
    world.source_every(0, BufferKind::Stream, (6_250, 6_250), u64::MAX, 10 * MILLISECOND_NS);
    world.run_ms(15_000);
    assert!(capacity_mbps(&world) > 45.0, "{}", capacity_mbps(&world));
    world.source(0, BufferKind::Stream, BULK, u64::MAX);
    world.run_ms(500);
    assert!(arriving(&mut world, 2_000) >= 0.95);
}

#[test]
fn jitter_and_reordering_cost_little() {
    let mut world = bulk(50 * MBIT, 5_000, 9);
    world.links(|link| link.jitter_ns = DELAY_NS / 2);
    world.run_ms(5_000);
    let (out, late) = (world.sides[0].get(C::DatagramsOut), world.sides[0].get(C::LossesSpurious));
    let eta = world.eta(5_000, 8_000);
    let a = &world.sides[0];
    let late = (a.get(C::LossesSpurious) - late) as f64 / (a.get(C::DatagramsOut) - out) as f64;
    println!("eta {eta}, spurious {late}");
    assert!(eta >= 0.95, "{eta}");
    assert!(late <= 0.01, "{late}");
}

#[test]
fn both_directions_fill_the_link_at_once() {
    let mut world = bulk(50 * MBIT, 5_000, 10);
    world.source(1, BufferKind::Stream, BULK, u64::MAX);
    world.run_ms(4_000);
    let before = world.sides[0].heard.bytes;
    let eta = world.eta(5_000, 6_000);
    let other = (world.sides[0].heard.bytes - before) as f64;
    let other = other / (50e6 / 8.0 * 6.0 * 0.995 * 1_410.0 / 1_458.0);
    println!("{eta} and {other}");
    assert!(eta >= 0.96 && other >= 0.96, "{eta} and {other}");
}

#[test]
fn a_slow_way_back_leaves_the_fast_one_full() {
    let mut world = bulk(100 * MBIT, 0, 11);
    world.sides[1].link.rate_bps = 2 * MBIT;
    world.sides[1].link.queue_bytes = 20_000;
    world.run_ms(4_000);
    let (data, acks) = (world.sides[0].get(C::BytesOut), world.sides[1].get(C::BytesOut));
    let eta = world.eta(0, 4_000);
    assert!(eta >= 0.97, "{eta}");
    let data = world.sides[0].get(C::BytesOut) - data;
    let acks = world.sides[1].get(C::BytesOut) - acks;
    assert!(acks * 100 <= data, "{acks} bytes of acknowledgements for {data}");
}

/// How much arrives in the second that begins one and a half after a path of 200 Mb/s that was
/// nearly idle, and then became another, gets much to send.
fn after_a_change_while_idle(seed: u64, few: (usize, u64), change: impl Fn(&mut Link)) -> f64 {
    let mut world = world(200 * MBIT, None, 0, seed);
    let (bytes, every_ms) = few;
    let every_ns = every_ms * MILLISECOND_NS;
    world.source_every(0, BufferKind::Stream, (bytes, bytes), u64::MAX, every_ns);
    world.run_ms(2_000);
    world.links(change);
    world.run_ms(3_000);
    world.source(0, BufferKind::Stream, BULK, u64::MAX);
    world.run_ms(1_500);
    arriving(&mut world, 1_000)
}

#[test]
fn a_path_that_becomes_longer_while_idle_is_no_queue() {
    for (few, seed) in [(200, 200), (200, 20), (12_000, 20), (12_000, 20)].into_iter().zip(19..) {
        let longer = after_a_change_while_idle(seed, few, |link| link.delay_ns *= 2);
        let jitter = |link: &mut Link| (link.delay_ns, link.jitter_ns) = (DELAY_NS, 30_000_000);
        let jitter = after_a_change_while_idle(seed, few, jitter);
        println!("{few:?}: {longer:.3} when longer, {jitter:.3} with jitter");
        assert!(longer >= 0.9, "{longer} after {few:?}");
        assert!(jitter >= 0.9, "{jitter} after {few:?}");
    }
}

#[test]
fn a_path_that_becomes_longer_under_load_stays_full() {
    for (seed, jitter_ns) in [(1, 0), (2, 30_000_000)] {
        let mut world = bulk(100 * MBIT, 0, seed);
        world.run_ms(4_000);
        world.links(|link| (link.delay_ns, link.jitter_ns) = (2 * DELAY_NS, jitter_ns));
        let shares: Vec<f64> = (0..20).map(|_| arriving(&mut world, 1_000)).collect();
        println!("{shares:.3?}");
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        assert!(mean >= 0.9, "{shares:.3?}");
        assert!(shares[10..].iter().all(|share| *share >= 0.95), "{shares:.3?}");
    }
}

#[test]
fn phases_follow_each_other() {
    let mut world = bulk(50 * MBIT, 0, 12);
    let mut seen = Vec::new();
    for _ in 0..6_000 {
        world.run_ms(1);
        let phase = world.sides[0].session.report().phase;
        if world.sides[0].is_up() && seen.last() != Some(&phase) {
            seen.push(phase);
        }
    }
    let expected =
        [Mark::Startup, Mark::Drain, Mark::ProbeRtt, Mark::Cruise, Mark::ProbeUp, Mark::Cruise];
    assert_eq!(seen[..6], expected, "{seen:?}");
}
